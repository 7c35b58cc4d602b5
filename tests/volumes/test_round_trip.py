"""Written by us, read by two other libraries: every labelled voxel lies at the same place in the patient."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_seg3d.volumes import GRID_SUFFIXES, Volume, read_grid, read_volume, write_volume
from tests.volumes.affines import ORDERS, Order, affine_of
from tests.volumes.places import Places, assert_same, places_by_itk, places_by_nibabel, through_itk

SHAPE = (5, 6, 7)
LABELLED = {(1, 4, 2): 1, (0, 0, 0): 2, (4, 5, 6): 300, (3, 0, 5): 4}
OBLIQUE = [(0, 0, 0), (30, 0, 0), (0, 30, 0), (0, 0, 30), (30, 30, 30)]


def mask_on(affine: NDArray[np.float64]) -> Volume:
    data = np.zeros((1, *SHAPE), np.int32)
    for voxel, label in LABELLED.items():
        data[(0, *voxel)] = label
    return Volume(data, affine, "labels")


def expected(affine: NDArray[np.float64]) -> Places:
    return {label: affine[:3, :3] @ voxel + affine[:3, 3] for voxel, label in LABELLED.items()}


@pytest.mark.parametrize("degrees", OBLIQUE)
@pytest.mark.parametrize("order", ORDERS[::5])
@pytest.mark.parametrize("ending", GRID_SUFFIXES)
def test_every_format_lies_right(ending: str, order: Order, degrees: tuple[float, float, float], tmp_path: Path) -> None:
    affine = affine_of(order, degrees)
    path = write_volume(mask_on(affine), tmp_path / f"mask{ending}")
    assert_same(places_by_itk(path), expected(affine))
    assert_same(places_by_nibabel(through_itk(path)), expected(affine))
    if ending in (".nii", ".nii.gz"):
        np.testing.assert_allclose(nib.load(path).get_qform(), affine, atol=1e-4)


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
@pytest.mark.parametrize("order", ORDERS[::3])
def test_what_we_write_we_read_to_the_voxel(order: Order, ending: str, tmp_path: Path) -> None:
    volume = mask_on(affine_of(order, (20, -10, 30)))
    path = write_volume(volume, tmp_path / f"mask{ending}")
    back = read_volume(path)
    np.testing.assert_array_equal(back.data, volume.data)
    assert back.kind == "labels"
    assert back.data.dtype == np.uint16
    assert back.grid.matches(volume.grid)
    assert read_grid(path).matches(volume.grid)


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
@pytest.mark.parametrize("source_ending", GRID_SUFFIXES)
def test_a_mask_in_another_format_lies_on_the_grid_of_its_image(source_ending: str, ending: str, tmp_path: Path) -> None:
    affine = affine_of(((2, 0, 1), (-1, 1, -1)), (30, 30, 30))
    scan = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)
    image = read_volume(write_volume(Volume(scan, affine), tmp_path / f"image{source_ending}"))
    mask = image.with_data(mask_on(affine).data, "labels")
    back = read_volume(write_volume(mask, tmp_path / f"mask{ending}"))
    assert back.grid.matches(image.grid)
    np.testing.assert_array_equal(back.data, mask.data)


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
def test_a_sheared_grid_stays_sheared(ending: str, tmp_path: Path) -> None:
    affine = affine_of()
    affine[1, 2] = 1.2  # a tilted gantry
    path = write_volume(mask_on(affine), tmp_path / f"mask{ending}")
    np.testing.assert_allclose(read_volume(path).affine, affine, atol=1e-5)


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_images_keep_their_type_and_values(dtype: str, ending: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(60, 20, (1, *SHAPE)).astype(dtype)
    if dtype.startswith("f"):
        values[0, 0, 0, :2] = np.nan, np.inf
    back = read_volume(write_volume(Volume(values, affine_of()), tmp_path / f"image{ending}"), "image")
    assert back.data.dtype == values.dtype
    np.testing.assert_array_equal(back.data, values)


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
@pytest.mark.parametrize(("dtype", "stored"), [("f2", "f4"), ("?", "u1"), (">i2", "i2"), (np.longdouble, "f8")])
def test_types_that_no_format_knows_become_the_next_that_all_do(
    dtype: str | type, stored: str, ending: str, tmp_path: Path
) -> None:
    values = (np.arange(np.prod(SHAPE)).reshape(1, *SHAPE) % 7).astype(dtype)
    back = read_volume(write_volume(Volume(values, affine_of()), tmp_path / f"image{ending}"), "image")
    assert back.data.dtype == np.dtype(stored)
    np.testing.assert_array_equal(back.data, values)


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
@pytest.mark.parametrize(
    ("largest", "dtype"), [(1, "u1"), (255, "u1"), (256, "u2"), (65536, "u4"), (2**32, "i8"), (-1, "i1"), (-200, "i2")]
)
def test_labels_take_the_smallest_type(largest: int, dtype: str, ending: str, tmp_path: Path) -> None:
    data = np.zeros((1, *SHAPE), np.int64)
    data[0, 1, 2, 3] = largest
    path = write_volume(Volume(data, affine_of(), "labels"), tmp_path / f"mask{ending}")
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert stored.dtype == np.dtype(dtype)
    assert stored[3, 2, 1] == largest


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
def test_channels_come_back_as_channels(ending: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    back = read_volume(write_volume(Volume(values, affine_of()), tmp_path / f"image{ending}"))
    np.testing.assert_array_equal(back.data, values)
    assert back.kind == "image"
    assert len(back.notes) == 1
    assert "as channels" in back.notes[0]
    assert read_grid(tmp_path / f"image{ending}").shape == SHAPE
