"""`Pyramid`: an image that stays on the disk, at several resolutions, read piece by piece as it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_seg3d.volumes.grid import FloatArray
from napari_seg3d.volumes.volume import Fourth, Source

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
    """An image at several resolutions, the finest first; fields of the same name mean what they mean in `Volume`."""

    levels: tuple[Level, ...]
    source: Source | None = None
    is_labels: bool = False
    fourth: Fourth = "channel"
    channels: tuple[str, ...] = ()
    is_oriented: bool = True
    notes: tuple[str, ...] = ()
