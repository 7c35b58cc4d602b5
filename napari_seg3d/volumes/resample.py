"""Bring the values of one grid onto another, in the patient's millimetres."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.volumes.formats.itk import from_itk_array, place, to_itk
from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.volume import Volume


def resample(volume: Volume, grid: Grid, interpolation: Literal["nearest", "linear"] = "linear") -> NDArray[np.generic]:
    """Return the values of `volume` at the voxel centres of `grid`.

    Places outside the volume take the nearest value at its border within one voxel and 0 beyond, so that a rim of half a voxel
    between two spacings does not turn into background.

    Parameters
    ----------
    volume : Volume
        What to resample, with one or more channels.
    grid : Grid
        Where to. When it matches the volume's own grid, the data is returned as it is.
    interpolation : {"nearest", "linear"}
        Nearest for labels, linear for images and probabilities.

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
    data = volume.data
    if interpolation == "linear" and data.dtype.kind in "biu":
        data = data.astype(np.float32)  # ITK would cut the fractions off, and darken the image by half a step
    channels = []
    for channel in range(data.shape[0]):
        # One voxel of border on each side stands for "the nearest value" just outside the first and last voxel centre.
        padded = np.pad(data[channel : channel + 1], ((0, 0), (1, 1), (1, 1), (1, 1)), mode="edge")
        affine = volume.affine.copy()
        affine[:3, 3] -= affine[:3, :3] @ np.ones(3)
        image = to_itk(Volume(padded, affine, volume.kind))
        channels.append(from_itk_array(sitk.GetArrayFromImage(resampler.Execute(image))))
    return np.stack(channels)
