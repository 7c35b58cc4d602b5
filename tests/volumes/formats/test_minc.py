"""MINC 1 and 2: files that come with nibabel, and files that ITK writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.testing import data_path
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes import read_volume
from tests.volumes.affines import ORDERS, Order, affine_of
from tests.volumes.formats.damaging import assert_survives_damage

SHAPE = (5, 6, 7)
EXAMPLES = Path(data_path)


def write_minc2(path: Path, data: NDArray[np.generic], affine: NDArray[np.float64]) -> Path:
    """Write with ITK, whose MINC module takes places as they are: in MINC's own directions, which are ours."""
    image = sitk.GetImageFromArray(data.T)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetOrigin(affine[:3, 3])
    image.SetDirection((affine[:3, :3] / spacing).ravel())
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("order", ORDERS[::3])
def test_a_minc_2_of_itk_lies_where_it_should(order: Order, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(-500, 1000, SHAPE).astype(np.int16)
    affine = affine_of(order, (10, -5, 20))
    expected = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    volume = read_volume(write_minc2(tmp_path / "scan.mnc", data, affine), "image").canonical()
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-5)
    np.testing.assert_allclose(volume.data[0], np.asarray(expected.dataobj), atol=0.02)


@pytest.mark.parametrize("name", ["tiny.mnc", "minc1_1_scale.mnc", "minc1_4d.mnc", "small.mnc", "minc2_4d.mnc", "minc2-4d-d.mnc"])
def test_values_are_scaled_slice_by_slice_as_nibabel_does(name: str) -> None:
    volume, reference = read_volume(EXAMPLES / name, "image"), nib.load(EXAMPLES / name)
    data = np.asarray(reference.dataobj)
    np.testing.assert_allclose(volume.data, data if data.ndim == 4 else data[np.newaxis], rtol=1e-6)
    assert (volume.fourth == "time") == (data.ndim == 4)
    assert any("time" in note for note in volume.notes) == (data.ndim == 4)


def test_the_first_voxel_lies_where_the_dimensions_say() -> None:
    volume = read_volume(EXAMPLES / "tiny.mnc")
    assert volume.orientation == "SAR"  # zspace, yspace, xspace
    np.testing.assert_array_equal(volume.affine @ (0, 0, 0, 1), (-20, -20, -10, 1))
    np.testing.assert_array_equal(volume.affine @ (9, 3, 5, 1), (-20 + 5 * 2, -20 + 3 * 2, -10 + 9 * 2, 1))


def test_labels_stay_whole_numbers(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 2:5, 3:6] = 7
    labels[3, 3, 3] = 255
    volume = read_volume(write_minc2(tmp_path / "mask.mnc", labels, affine_of()), "labels").canonical()
    np.testing.assert_array_equal(volume.data[0], labels)


@pytest.mark.filterwarnings("ignore:Invalid spacing")
@pytest.mark.parametrize("name", ["tiny.mnc", "minc2_1_scale.mnc"])
def test_damage_never_crashes(name: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / name, tmp_path / name)
    assert assert_survives_damage(tmp_path / name) > 10


def test_voxels_in_another_file_are_not_fetched(tmp_path: Path) -> None:
    write_minc2(tmp_path / "other.mnc", np.ones(SHAPE, np.uint8), affine_of())
    path = write_minc2(tmp_path / "scan.mnc", np.ones(SHAPE, np.uint8), affine_of())
    with h5py.File(path, "a") as file:
        del file["minc-2.0/image/0/image"]
        file["minc-2.0/image/0/image"] = h5py.ExternalLink("other.mnc", "minc-2.0/image/0/image")
    with pytest.raises(ReadError, match="of its own"):
        read_volume(path)


def test_another_hdf5_file_under_this_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.mnc", "w") as file:
        file["data"] = np.zeros((3, 4, 5))
    with pytest.raises(ReadError, match="no MINC scan"):
        read_volume(tmp_path / "scan.mnc")
