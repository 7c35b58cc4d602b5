"""`NetworkSpec`: a network as plain values, as a checkpoint stores it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

NetworkName = Literal[
    "dynunet",
    "torchio-unet",
    "spine-unet",
    "nodule-unet",
    "cascade-unet",
    "cascade-roi",
    "vnet",
    "mini-vnet",
    "segresnet",
    "unetr",
    "swinunetr",
    "attentionunet",
    "mednext",
]
Stride = tuple[Annotated[int, Field(ge=1, le=2)], Annotated[int, Field(ge=1, le=2)], Annotated[int, Field(ge=1, le=2)]]


class NetworkSpec(BaseModel):
    """What `build_network` needs to make a network.

    Parameters
    ----------
    name : str
        Which network of the zoo.
    dims : {2, 3}
        Slices or volumes.
    in_channels, out_channels : int
        Channels of the image (with those of context slices) and of the output: classes with the background as class 0 for exclusive
        labels, labels for overlapping ones.
    features : tuple of int
        Filters per level, finest first.
    strides : tuple of (int, int, int)
        By how much each step down shrinks I, J and K; one fewer than `features`. For 2D the last is 1.
    deep_supervision : bool
        Whether the coarse levels answer, too, while training.
    options : dict
        What only this network knows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: NetworkName = "dynunet"
    dims: Literal[2, 3] = 3
    in_channels: int = Field(1, ge=1, le=1024)
    out_channels: int = Field(2, ge=1, le=1024)
    features: tuple[Annotated[int, Field(ge=1, le=2048)], ...] = Field((16, 32, 64, 128), min_length=2, max_length=8)
    strides: tuple[Stride, ...] = ((2, 2, 2),) * 3
    deep_supervision: bool = False
    options: dict[str, bool | int | float | str | list[int]] = Field(default_factory=dict)

    @field_validator("name", mode="before")
    @classmethod
    def _renamed(cls, name: object) -> object:
        return "dynunet" if name == "unet3d" else name  # its name in models of version 1

    @model_validator(mode="after")
    def _one_stride_per_step(self) -> NetworkSpec:
        if len(self.strides) != len(self.features) - 1:
            raise ValueError(f"{len(self.features)} levels need {len(self.features) - 1} strides, not {len(self.strides)}")
        return self

    @property
    def divisor(self) -> tuple[int, int, int]:
        """What the sides of the input must be divisible by."""
        i, j, k = np.prod(np.array(self.strides), axis=0).tolist()
        return i, j, k


def plan_strides(levels: int, shape: Sequence[int], spacing: Sequence[float]) -> tuple[Stride, ...]:
    """Return strides that shrink an axis only while it is fine and long enough.

    Thick slices are left whole until the finer axes have caught up with them, as in nnU-Net (Isensee et al., Nature Methods 2021), and
    no axis shrinks below four voxels.

    Parameters
    ----------
    levels : int
        Number of levels of the network.
    shape : three ints
        Voxels along each axis of what the network sees.
    spacing : three floats
        Voxel edges in mm.
    """
    size, edge = np.array(shape, dtype=float), np.array(spacing, dtype=float)
    strides: list[Stride] = []
    for _ in range(levels - 1):
        shrink = (size >= 8) & (edge < 2 * edge[size >= 8].min(initial=np.inf))
        step = np.where(shrink, 2, 1)
        size, edge = size / step, edge * step
        strides.append((int(step[0]), int(step[1]), int(step[2])))
    return tuple(strides)
