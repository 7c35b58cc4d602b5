"""Bring the values of one grid onto another, in the patient's millimetres."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError
from napari_seg3d.volumes.formats.itk import from_itk_array, place, to_itk
from napari_seg3d.volumes.grid import Grid, Shape3
from napari_seg3d.volumes.volume import Volume

# By this share of a voxel the nearest neighbour is looked for beside the place itself. Where a place lies half-way between two voxels,
# rounding would choose one of them, another one for each way to compute the same place; so it is always the lower one.
_ASIDE = 1e-6


def resample(
    volume: Volume, grid: Grid, interpolation: Literal["nearest", "linear"] = "linear", outside: float = 0.0
) -> NDArray[np.generic]:
    """Return the values of `volume` at the voxel centres of `grid`.

    Places outside the volume take the nearest value at its border within one voxel and `outside` beyond, so that a rim of half a voxel
    between two spacings does not turn into background.

    Parameters
    ----------
    volume : Volume
        What to resample, with one or more channels.
    grid : Grid
        Where to. When it matches the volume's own grid, the data is returned as it is.
    interpolation : {"nearest", "linear"}
        Nearest for labels, linear for images and probabilities.
    outside : float
        Value far from the volume.

    Returns
    -------
    array of shape (C, I, J, K)
        On `grid`; float32 where whole numbers were interpolated, else of the volume's own type.
    """
    if volume.grid.matches(grid):
        return volume.data
    import SimpleITK as sitk

    reference = sitk.Image(grid.shape, sitk.sitkUInt8)
    place(reference, grid)
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(reference)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if interpolation == "nearest" else sitk.sitkLinear)
    resampler.SetDefaultPixelValue(outside)
    data = volume.data
    if interpolation == "linear" and data.dtype.kind in "biu":
        data = data.astype(np.float32)  # ITK would cut the fractions off, and darken the image by half a step
    channels = []
    for channel in range(data.shape[0]):
        # One voxel of border on each side stands for "the nearest value" just outside the first and last voxel centre.
        padded = np.pad(data[channel : channel + 1], ((0, 0), (1, 1), (1, 1), (1, 1)), mode="edge")
        affine = volume.affine.copy()
        affine[:3, 3] -= affine[:3, :3] @ np.full(3, 1 - (_ASIDE if interpolation == "nearest" else 0))
        image = to_itk(Volume(padded, affine, volume.kind))
        channels.append(from_itk_array(sitk.GetArrayFromImage(resampler.Execute(image))))
    return np.stack(channels)


def lattice_offset(grid: Grid, other: Grid) -> Shape3 | None:
    """Return the voxel of `other` (it may lie outside) on which the first voxel of `grid` lies, or None.

    None means that the voxels of the two do not coincide: other spacing, other axes, or a shift by a part of a voxel.
    """
    origin = np.linalg.solve(other.affine, grid.affine @ (0, 0, 0, 1))[:3]
    i, j, k = (int(index) for index in np.rint(origin))
    moved = other.affine.copy()
    moved[:3, 3] = other.to_world(np.array([[i, j, k]]))[0]
    return (i, j, k) if Grid(grid.shape, moved).matches(grid) else None


def place_on(labels: Volume, grid: Grid) -> Volume:
    """Return a mask that covers a part of a scan on the whole grid of the scan, voxel by voxel.

    A DICOM SEG often holds only the slices with content. Nothing is interpolated; outside the part, the mask is 0.

    Parameters
    ----------
    labels : Volume
        The mask, whose voxels coincide with voxels of `grid`, in whichever axis order.
    grid : Grid
        The grid of the scan.

    Raises
    ------
    GeometryError
        The voxels do not coincide, or labels would lie outside the scan.
    """
    if labels.grid.shape == grid.shape and labels.grid.matches(grid):
        return replace(labels, affine=grid.affine)
    part, whole = labels.canonical(), grid.canonical()
    offset = lattice_offset(part.grid, whole)
    if offset is None:
        raise GeometryError(
            f"The mask ({labels.grid}) does not lie on the voxels of the scan ({grid}).", "Resample it onto the scan's grid."
        )
    inside, target = [], []
    for start, length, limit in zip(offset, part.grid.shape, whole.shape, strict=True):
        first, last = max(start, 0), min(start + length, limit)
        inside.append(slice(first - start, max(last, first) - start))
        target.append(slice(first, max(last, first)))
    placed = np.zeros((labels.data.shape[0], *whole.shape), labels.data.dtype)
    placed[(slice(None), *target)] = part.data[(slice(None), *inside)]
    if np.count_nonzero(placed) != np.count_nonzero(part.data):
        raise GeometryError(
            f"A part of the mask ({labels.grid}) lies outside the scan ({grid}).", "Choose the scan that it was drawn on."
        )
    return replace(labels, data=np.ascontiguousarray(grid.from_canonical(placed)), affine=grid.affine)
