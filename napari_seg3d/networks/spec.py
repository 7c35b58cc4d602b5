"""`NetworkSpec`: a network as plain values, as a checkpoint stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from napari_seg3d.errors import ConfigError
from napari_seg3d.networks.info import NetworkInfo
from napari_seg3d.networks.options import OptionValue, checked_options
from napari_seg3d.networks.zoo import NETWORKS, network_info

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
_CHANGE = "Change that setting under Network."


class NetworkSpec(BaseModel):
    """What `build_network` needs to make a network.

    What is left out (features, strides, options) is taken from the network's `NetworkInfo`, so that a stored spec says everything.

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

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        info = NETWORKS.get(str(_renamed(given.get("name", "dynunet"))))
        if info is None:
            return given
        filled = {"features": info.features, **given}
        if info.answers == "deepest":  # it says where something is, not what
            filled.setdefault("out_channels", 1)
        if "strides" not in filled and isinstance(filled["features"], Sequence):
            halves = (2, 2, 1) if filled.get("dims") == 2 else (2, 2, 2)
            filled["strides"] = (halves,) * (len(filled["features"]) - 1)
        return filled

    @field_validator("name", mode="before")
    @classmethod
    def _renamed(cls, name: object) -> object:
        return _renamed(name)

    @model_validator(mode="after")
    def _possible(self) -> NetworkSpec:
        info = NETWORKS[self.name]
        _check_levels(self, info)
        if self.dims not in info.dims:
            raise ValueError(f"{self.name} takes {info.dims[0]}D samples only")
        if self.deep_supervision and info.deep_supervision is None:
            raise ValueError(f"{self.name} has no coarse levels that answer: deep supervision is off for it")
        options = checked_options(info.options, self.options, self.dims)
        object.__setattr__(self, "options", options)  # frozen for others; a validator completes what is being made
        info.check(self)
        return self

    @property
    def divisor(self) -> tuple[int, int, int]:
        """What the sides of the input must be divisible by; 1 for networks that take any size."""
        if NETWORKS[self.name].sides == "any":
            return 1, 1, 1
        return self.shrinking

    @property
    def shrinking(self) -> tuple[int, int, int]:
        """How many voxels along each axis become one at the deepest level."""
        i, j, k = np.prod(np.array(self.strides), axis=0).tolist()
        return i, j, k


def _renamed(name: object) -> object:
    return "dynunet" if name == "unet3d" else name  # its name in models of version 1


def _check_levels(spec: NetworkSpec, info: NetworkInfo) -> None:
    least, most = info.levels
    levels = len(spec.features)
    if not least <= levels <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise ValueError(f"{spec.name} has {wanted} levels, not {levels} ({', '.join(map(str, spec.features))})")
    if len(spec.strides) != levels - 1:
        raise ValueError(f"{levels} levels need {levels - 1} strides, not {len(spec.strides)}")
    if spec.dims == 2 and any(stride[2] != 1 for stride in spec.strides):
        raise ValueError("the third number of each stride is 1 for 2D networks")
    if info.strides == "two" and any(2 not in {*stride[: spec.dims]} or 1 in stride[: spec.dims] for stride in spec.strides):
        raise ValueError(f"every step of {spec.name} halves every axis: its strides are all 2")
    doubled = tuple(spec.features[0] * 2**level for level in range(levels))
    if info.features_rule == "doubling" and spec.features != doubled:
        raise ValueError(f"the filters of {spec.name} double from level to level: {', '.join(map(str, doubled))}")


def complete_spec(
    name: str,
    *,
    dims: int = 3,
    in_channels: int = 1,
    out_channels: int | None = None,
    features: Sequence[int] | Literal["auto"] = "auto",
    strides: Sequence[Sequence[int]] | None = None,
    deep_supervision: bool | Literal["auto"] = "auto",
    options: Mapping[str, OptionValue] | None = None,
    sides: Sequence[int] | None = None,
) -> NetworkSpec:
    """Return the spec that settings ask for, each `auto` as the network was published.

    Parameters
    ----------
    name, dims, in_channels, out_channels, features, strides, deep_supervision, options
        As in `NetworkSpec`.
    sides : sequence of int, optional
        What the network will be shown; only one with a fixed size has to know.

    Raises
    ------
    ConfigError
        The network cannot do that.
    """
    info = network_info(name)
    values: dict[str, Any] = {"name": name, "dims": dims, "in_channels": in_channels}
    if out_channels is not None:
        values["out_channels"] = out_channels
    if features != "auto":
        values["features"] = tuple(features)
    if strides is not None:
        values["strides"] = tuple(tuple(stride) for stride in strides)
    values["deep_supervision"] = bool(info.deep_supervision) if deep_supervision == "auto" else deep_supervision
    values["options"] = dict(options or {})
    if sides is not None:
        whole = [*sides, 1][:3]
        values["options"] |= {o.name: whole for o in info.options if o.kind == "sides" and o.name not in values["options"]}
    try:
        values["options"] = checked_options(info.options, values["options"], dims)
        return NetworkSpec.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        what = f"{where}: {problem['msg']}" if where else problem["msg"].removeprefix("Value error, ")
        raise ConfigError(f"The network {name} cannot be made: {what}.", _CHANGE) from error
    except ValueError as error:
        raise ConfigError(f"The network {name} cannot be made: {error}.", _CHANGE) from error


def fitting_strides(
    name: str, features: Sequence[int], shape: Sequence[int], spacing: Sequence[float], dims: int = 3
) -> tuple[Stride, ...]:
    """Return strides that suit these voxels (see `plan_strides`) where the network leaves the choice, else all halves."""
    if network_info(name).strides == "two":
        return (((2, 2, 1) if dims == 2 else (2, 2, 2)),) * (len(features) - 1)
    return plan_strides(len(features), shape, spacing, dims)


def plan_strides(levels: int, shape: Sequence[int], spacing: Sequence[float], dims: int = 3) -> tuple[Stride, ...]:
    """Return strides that shrink an axis only while it is fine and long enough.

    Thick slices are left whole until the finer axes have caught up with them, as in nnU-Net (Isensee et al., Nature Methods 2021), and
    no axis shrinks below four voxels.

    Parameters
    ----------
    levels : int
        Number of levels of the network.
    shape : three ints
        Voxels along each axis of what the network sees; in 2D the third counts nothing.
    spacing : three floats
        Voxel edges in mm.
    dims : {2, 3}
        Slices or volumes.
    """
    size, edge = np.array(shape, dtype=float)[:dims], np.array(spacing, dtype=float)[:dims]
    strides: list[Stride] = []
    for _ in range(levels - 1):
        shrink = (size >= 8) & (edge < 2 * edge[size >= 8].min(initial=np.inf))
        step = np.where(shrink, 2, 1)
        size, edge = size / step, edge * step
        i, j, k = [*step.tolist(), 1][:3]
        strides.append((i, j, k))
    return tuple(strides)
