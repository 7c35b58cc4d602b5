"""Radiographs and films: two-dimensional, often without size or direction, and then that is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    MRImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from napari_seg3d.errors import GeometryError
from napari_seg3d.volumes import Volume, find_series, read_volume
from tests.volumes.dicom.series_writer import dataset, write_series

RAS = {"L": (-1, 0, 0), "R": (1, 0, 0), "P": (0, -1, 0), "A": (0, 1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
STORED = np.random.default_rng(0).integers(0, 4000, (4, 6), np.uint16)


def radiograph(folder: Path, stored: np.ndarray = STORED, **elements: Any) -> Volume:
    made = dataset(stored, "CR", SOPClassUID=ComputedRadiographyImageStorage, ImageType=["ORIGINAL", "PRIMARY"], **elements)
    folder.mkdir(exist_ok=True)
    made.save_as(folder / "one", enforce_file_format=True)
    return read_volume(folder / "one")


def test_a_radiograph_is_one_slice(tmp_path: Path) -> None:
    volume = radiograph(tmp_path, PixelSpacing=[0.2, 0.3], PatientOrientation=["L", "F"])
    assert volume.data.shape == (1, 6, 4, 1)
    np.testing.assert_array_equal(volume.data[0, :, :, 0], STORED.T)
    assert volume.spacing[:2] == pytest.approx((0.3, 0.2))
    assert volume.modality == "CR"


@pytest.mark.parametrize(
    ("letters", "orientation"),
    [
        (["L", "F"], "LIA"),  # rows to the patient's left, columns to the feet, and the third axis by the right hand in LPS
        (["R", "F"], "RIP"),
        (["P", "F"], "PIL"),
        (["A", "F"], "AIR"),
        (["A", "FL"], "AIR"),
        (["L", "P"], "LPS"),
        (["H", "L"], "SLA"),
    ],
)
def test_letters_say_how_it_lies(letters: list[str], orientation: str, tmp_path: Path) -> None:
    volume = radiograph(tmp_path, PixelSpacing=[1, 1], PatientOrientation=letters)
    assert volume.is_oriented
    row, column = (np.array(RAS[one[0]]) for one in letters)
    np.testing.assert_array_equal(volume.affine[:3, 0], row)
    np.testing.assert_array_equal(volume.affine[:3, 1], column)
    np.testing.assert_array_equal(volume.affine[:3, 2], np.cross(row, column))
    assert volume.orientation[:2] == orientation[:2]


@pytest.mark.parametrize("letters", [None, ["L"], ["L", "R"], ["X", "Y"]])
def test_without_direction_it_hangs_as_on_a_light_box_and_says_so(letters: list[str] | None, tmp_path: Path) -> None:
    volume = radiograph(tmp_path, PixelSpacing=[0.2, 0.3], PatientOrientation=letters)
    assert not volume.is_oriented
    np.testing.assert_allclose(volume.affine, np.diag([-0.3, -0.2, 0.2, 1]))
    assert any("right and left are not known" in note for note in volume.notes)


@pytest.mark.parametrize("spacing", [None, [0, 0]])
def test_a_size_that_is_not_given_is_not_invented(spacing: list[float] | None, tmp_path: Path) -> None:
    volume = radiograph(tmp_path, PixelSpacing=spacing)
    assert volume.spacing == (1, 1, 1)
    assert any("mm are unknown" in note for note in volume.notes)


def test_a_size_at_the_detector_is_called_that(tmp_path: Path) -> None:
    volume = radiograph(tmp_path / "a", ImagerPixelSpacing=[0.2, 0.3])
    assert volume.spacing[:2] == pytest.approx((0.3, 0.2))
    assert any("at the detector" in note for note in volume.notes)
    magnified = radiograph(tmp_path / "b", ImagerPixelSpacing=[0.2, 0.3], EstimatedRadiographicMagnificationFactor=1.25)
    assert magnified.spacing[:2] == pytest.approx((0.24, 0.16))
    assert any("1.25" in note for note in magnified.notes)


def test_the_views_of_one_radiograph_are_two_series(tmp_path: Path) -> None:
    for number in range(2):
        made = dataset(STORED, "DX", SOPClassUID=ComputedRadiographyImageStorage, PixelSpacing=[1, 1], InstanceNumber=number)
        made.save_as(tmp_path / str(number), enforce_file_format=True)
    assert [len(series.files) for series in find_series(tmp_path)] == [1, 1]


def test_a_film_counts_time(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (5, 4, 6), np.uint8)
    made = dataset(frames[0], "US", SOPClassUID=UltrasoundMultiFrameImageStorage, NumberOfFrames=5, FrameTime=40)
    made.FrameIncrementPointer = 0x00181063
    made.PixelData = frames.tobytes()
    made.save_as(tmp_path / "film", enforce_file_format=True)
    volume = read_volume(tmp_path / "film")
    assert volume.fourth == "time"
    assert volume.data.shape == (5, 6, 4, 1)
    np.testing.assert_array_equal(volume.data[:, :, :, 0], np.transpose(frames, (0, 2, 1)))


@pytest.mark.parametrize("storage", [CTImageStorage, MRImageStorage])
@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_slices_that_do_not_say_where_they_lie_are_refused(storage: str, missing: str, tmp_path: Path) -> None:
    stored = np.zeros((3, 4, 5), np.int16)
    files = write_series(tmp_path, stored, change=lambda one, _: one.__delitem__(missing), SOPClassUID=storage)
    with pytest.raises(GeometryError, match="do not say where they lie") as caught:
        read_volume(tmp_path)
    assert str(tmp_path) in str(caught.value)
    alone = read_volume(files[0])
    assert not alone.is_oriented


@pytest.mark.parametrize("orientation", [(1, 0, 0, 1, 0, 0), (0, 0, 0, 0, 0, 0), (2, 0, 0, 0, 1, 0)])
def test_an_impossible_orientation_is_refused(orientation: tuple[float, ...], tmp_path: Path) -> None:
    write_series(
        tmp_path, np.zeros((3, 4, 5), np.int16), change=lambda one, _: setattr(one, "ImageOrientationPatient", list(orientation))
    )
    with pytest.raises(GeometryError, match="orientation in the header is impossible"):
        read_volume(tmp_path)


def test_slices_without_a_pixel_size_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, np.zeros((3, 4, 5), np.int16), PixelSpacing=None)
    with pytest.raises(GeometryError, match="PixelSpacing"):
        read_volume(tmp_path)


def test_a_real_radiograph(shared_data: Path) -> None:
    volume = read_volume(shared_data / "dicom" / "cr")
    assert volume.data.shape == (1, 1760, 1760, 1)
    assert volume.is_oriented  # rows to the right, columns to the feet
    assert volume.orientation[:2] == "RI"
    assert any("MONOCHROME1" in note for note in volume.notes)
    assert any("mm are unknown" in note for note in volume.notes)
