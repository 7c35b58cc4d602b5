"""A box of a volume, in its place in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from napari_seg3d.errors import GeometryError
from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.volume import Volume

#: A box of voxels: the first voxel and the one after the last, along I, J and K.
Box = tuple[slice, slice, slice]


def box_of(first: Sequence[int], last: Sequence[int]) -> Box:
    """Return the box from voxel `first` to before voxel `last`."""
    i, j, k = (slice(int(start), int(stop)) for start, stop in zip(first, last, strict=True))
    return i, j, k


def crop_grid(grid: Grid, box: Box) -> Grid:
    """Return the grid of a box of `grid`, each voxel where it was.

    Raises
    ------
    GeometryError
        The box is empty, or reaches beyond the grid.
    """
    if any(not 0 <= side.start < side.stop <= voxels for side, voxels in zip(box, grid.shape, strict=True)):
        sides = ", ".join(f"{side.start} to {side.stop}" for side in box)
        raise GeometryError(f"The box of voxels {sides} does not lie in a grid of {grid}.", "Choose a box inside the scan.")
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    i, j, k = (side.stop - side.start for side in box)
    return Grid((i, j, k), affine)


def crop(volume: Volume, box: Box) -> Volume:
    """Return a box of `volume`, whose data is a view; raises as `crop_grid` does."""
    grid = crop_grid(volume.grid, box)
    return replace(volume, data=volume.data[(slice(None), *box)], affine=grid.affine)
