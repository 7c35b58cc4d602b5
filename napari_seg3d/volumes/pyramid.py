"""`Pyramid`: an image that stays on the disk, at several resolutions, read piece by piece as it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_seg3d.volumes.grid import FloatArray
from napari_seg3d.volumes.volume import Fourth, Label, Source

if TYPE_CHECKING:
    import dask.array as da


@dataclass(frozen=True, eq=False)
class Level:
    """One resolution.

    Parameters
    ----------
    data : dask array of shape (C, I, J, K)
        Read when it is computed.
    affine : array of shape (4, 4)
        Voxel index to RAS+ millimetres.
    """

    data: da.Array
    affine: FloatArray


@dataclass(frozen=True, eq=False)
class Pyramid:
    """An image at several resolutions, the finest first; fields of the same name mean what they mean in `Volume`.

    `label_paths` are the masks that the image brings along; each opens as a pyramid of its own.
    """

    levels: tuple[Level, ...]
    source: Source | None = None
    is_labels: bool = False
    fourth: Fourth = "channel"
    channels: tuple[str, ...] = ()
    is_oriented: bool = True
    notes: tuple[str, ...] = ()
    labels: Mapping[int, Label] = field(default_factory=dict)
    label_paths: tuple[Path, ...] = ()
