"""Where labelled voxels lie in the patient, for two other libraries."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.affines import apply_affine
from numpy.typing import NDArray

#: RAS+ millimetres of the voxel (the only one) that has a label.
Places = dict[int, NDArray[np.float64]]


def places_by_nibabel(path: Path) -> Places:
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    return {int(data[tuple(voxel)]): apply_affine(image.affine, voxel) for voxel in np.argwhere(data)}


def places_by_itk(path: Path) -> Places:
    """Ask ITK for physical points, which are LPS+, of indices, which run against the order of its arrays."""
    image = sitk.ReadImage(str(path))
    data = sitk.GetArrayFromImage(image)
    return {
        int(data[tuple(voxel)]): np.array(image.TransformIndexToPhysicalPoint([int(i) for i in voxel[::-1]])) * (-1, -1, 1)
        for voxel in np.argwhere(data)
    }


def through_itk(path: Path) -> Path:
    """Return a NIfTI that ITK made of a file which nibabel does not read; another one as it is."""
    if path.name.endswith((".nii", ".nii.gz")):
        return path
    made = path.parent / f"{path.name}_by_itk.nii"
    sitk.WriteImage(sitk.ReadImage(str(path)), str(made))
    return made


def assert_same(found: Places, wanted: Places) -> None:
    assert found.keys() == wanted.keys()
    labels = sorted(wanted)
    np.testing.assert_allclose([found[label] for label in labels], [wanted[label] for label in labels], atol=1e-4)
