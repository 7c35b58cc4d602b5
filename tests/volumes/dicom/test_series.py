"""A folder of single-frame files becomes the volume that the scanner saw."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.volumes import Volume, find_series, read_grid, read_volume
from tests.volumes.affines import rotation
from tests.volumes.dicom.series_writer import AXIAL, CORONAL, SAGITTAL, write_series


def by_itk(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def assert_like_itk(volume: Volume, folder: Path) -> None:
    """Every voxel has the value and the place in the patient that ITK and GDCM give it."""
    image = by_itk(folder)
    assert image.GetSize() == volume.grid.shape
    np.testing.assert_array_equal(np.transpose(sitk.GetArrayFromImage(image), (2, 1, 0)), volume.data[0])
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.grid.shape])).reshape(3, -1).T
    itk = np.array([image.TransformIndexToPhysicalPoint([int(i) for i in corner]) for corner in corners]) * (-1, -1, 1)
    np.testing.assert_allclose(volume.grid.to_world(corners), itk, atol=1e-3)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, (0.8, 0.6, 0, 0, 0, -1), (0.6, 0, 0.8, 0, 1, 0)])
def test_voxels_lie_where_itk_has_them(orientation: tuple[float, ...], tmp_path: Path) -> None:
    stored = np.random.default_rng(1).integers(0, 2000, (7, 5, 6), np.int16)
    write_series(tmp_path, stored, orientation)
    volume = read_volume(tmp_path)
    assert volume.data.shape == (1, 6, 5, 7)
    np.testing.assert_allclose(volume.spacing, (0.9, 0.7, 2.5), atol=1e-6)
    assert volume.modality == "CT"
    assert volume.is_oriented
    assert_like_itk(volume, tmp_path)


@settings(max_examples=25, deadline=None)
@given(
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(st.floats(0.05, 5), st.floats(0.05, 5)),
    gap=st.floats(0.1, 12),
    first=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_any_orientation_spacing_and_place(
    degrees: tuple[float, float, float], spacing: tuple[float, float], gap: float, first: tuple[float, float, float]
) -> None:
    axes = rotation(degrees)
    orientation = (*axes[:, 0], *axes[:, 1])
    stored = np.random.default_rng(1).integers(-1000, 2000, (4, 5, 6), np.int16)
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder), stored, orientation, spacing=spacing, gap=gap, first=first)
        volume = read_volume(folder)
    assert volume.data.shape == (1, 6, 5, 4)
    # Slice k, row j, column i, as the standard says (C.7.6.2.1.1), and not as we read it.
    for k, j, i in ((0, 0, 0), (3, 4, 5), (1, 2, 3), (3, 0, 0), (0, 4, 0), (0, 0, 5)):
        lps = np.array(first) + axes[:, 2] * gap * k + axes[:, 0] * spacing[1] * i + axes[:, 1] * spacing[0] * j
        np.testing.assert_allclose(volume.grid.to_world(np.array([[i, j, k]]))[0], lps * (-1, -1, 1), atol=1e-3)
        assert volume.data[0, i, j, k] == stored[k, j, i]


def test_files_come_in_slice_order_whatever_their_names(tmp_path: Path) -> None:
    stored = np.arange(8, dtype=np.int16)[:, None, None] + np.zeros((8, 4, 4), np.int16)
    files = write_series(tmp_path, stored)
    volume = read_volume(tmp_path)
    assert volume.source is not None
    assert volume.source.files == tuple(files)
    assert volume.source.path == tmp_path
    np.testing.assert_array_equal(volume.data[0, 0, 0], np.arange(8))


def test_a_file_alone_is_one_slice_with_its_thickness(tmp_path: Path) -> None:
    files = write_series(tmp_path, np.zeros((3, 4, 4), np.int16), SliceThickness=5)
    volume = read_volume(files[1])
    assert volume.data.shape == (1, 4, 4, 1)
    assert volume.spacing == pytest.approx((0.9, 0.7, 5))
    assert any("thickness" in note for note in volume.notes)


@pytest.mark.parametrize("folder", ["ct_head_64x64x93", "mr_t1post_siemens", "hippocrop_study3", "ct3slice_seg/ct"])
def test_real_series_are_as_itk_has_them(folder: str, shared_data: Path) -> None:
    (series,) = find_series(shared_data / "dicom" / folder)
    assert series.problem is None
    assert_like_itk(series.read(), shared_data / "dicom" / folder)
    assert read_grid(shared_data / "dicom" / folder).matches(series.read().grid)
