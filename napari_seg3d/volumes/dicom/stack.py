"""`Stack`: the frames of one volume in order, and what is known about them before a pixel is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from napari_seg3d.errors import Seg3dError
from napari_seg3d.volumes.dicom.frames import Frame
from napari_seg3d.volumes.dicom.planes import Plane, Spread
from napari_seg3d.volumes.grid import FloatArray
from napari_seg3d.volumes.volume import Fourth


@dataclass(frozen=True, eq=False)
class Stack:
    """The frames of one volume.

    Parameters
    ----------
    frames : sequence of sequences of Frame
        ``[channel][slice]``; slices ascend along the normal.
    affine : array of shape (4, 4) or None
        Voxel to RAS+ millimetres; None where the slices do not form a regular grid, or do not say where they lie.
    problem : Seg3dError or None
        Why this cannot be opened as it is.
    plane, spread : Plane and Spread, or None
        Where the slices lie, where they say so.
    copies : tuple of (Frame, Frame)
        Frames that seem to be there twice, the kept one first: refused unless their pixels are the same.
    is_certain : bool
        Whether headers tell the channels apart as such; if not, channels that are all the same picture are one.
    """

    frames: Sequence[Sequence[Frame]]
    affine: FloatArray | None = None
    problem: Seg3dError | None = None
    plane: Plane | None = None
    spread: Spread | None = None
    fourth: Fourth = "channel"
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_oriented: bool = True
    copies: tuple[tuple[Frame, Frame], ...] = field(default=(), repr=False)
    is_certain: bool = True

    @property
    def first(self) -> Frame:
        """The first frame, which tells what all have in common."""
        return self.frames[0][0]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of channels and of voxels ``(C, I, J, K)``."""
        header = self.first.header
        return len(self.frames), header.columns, header.rows, len(self.frames[0])
