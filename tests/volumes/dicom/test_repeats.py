"""Several pictures of one slice are time points or channels, or the same file twice: never more slices."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes import find_series, read_volume
from tests.volumes.dicom.series_writer import write_series

SLICES, ROWS, COLUMNS = 4, 5, 6


def repeated(folder: Path, times: int, mark: Callable[[Dataset, int, int], None], **elements: Any) -> np.ndarray:
    """Write `times` pictures of each slice and return what they hold ``(time, slice, row, column)``."""
    stored = np.random.default_rng(0).integers(0, 1000, (times, SLICES, ROWS, COLUMNS), np.int16)
    positions = np.tile(np.arange(SLICES)[:, None] * (0, 0, 3.0), (times, 1))

    def change(one: Dataset, number: int) -> None:
        mark(one, *divmod(number, SLICES))

    write_series(folder, stored.reshape(-1, ROWS, COLUMNS), positions=positions, change=change, modality="MR", **elements)
    return stored


def by_time(one: Dataset, time: int, k: int) -> None:
    one.AcquisitionDate, one.AcquisitionTime = "20200229", f"1200{5 * time:02d}.{k}00000"


def by_temporal_position(one: Dataset, time: int, _: int) -> None:
    one.TemporalPositionIdentifier, one.NumberOfTemporalPositions = time + 1, 3


def by_acquisition(one: Dataset, time: int, _: int) -> None:
    one.AcquisitionNumber = 10 - time  # on purpose not in the order of the time below
    one.AcquisitionTime = "120000"


def by_trigger(one: Dataset, time: int, k: int) -> None:
    one.TriggerTime = 40.0 * time + k


@pytest.mark.parametrize("mark", [by_time, by_temporal_position, by_acquisition, by_trigger])
def test_time_points(mark: Callable[[Dataset, int, int], None], tmp_path: Path) -> None:
    stored = repeated(tmp_path, 3, mark)
    if mark is by_acquisition:
        stored = stored[::-1]
    volume = read_volume(tmp_path)
    assert volume.fourth == "time"
    assert len(volume.channels) == 3
    np.testing.assert_array_equal(volume.data, np.transpose(stored, (0, 3, 2, 1)))
    assert volume.spacing == pytest.approx((0.9, 0.7, 3))
    assert any("3 time points" in note for note in volume.notes)
    assert volume.source is not None
    assert len(volume.source.files) == 3 * SLICES


def test_seconds_since_the_first_name_the_time_points_and_no_date_does(tmp_path: Path) -> None:
    repeated(tmp_path, 3, by_time)
    volume = read_volume(tmp_path)
    assert volume.channels == ("0 s", "5 s", "10 s")
    assert "2020" not in " ".join(volume.notes)


def test_a_film_of_one_slice_is_a_time_series(tmp_path: Path) -> None:
    stored = np.arange(5, dtype=np.int16)[:, None, None] + np.zeros((5, ROWS, COLUMNS), np.int16)

    def mark(one: Dataset, number: int) -> None:
        one.TriggerTime = 10.0 * number

    write_series(tmp_path, stored, positions=np.zeros((5, 3)), change=mark, modality="MR")
    volume = read_volume(tmp_path)
    assert volume.fourth == "time"
    np.testing.assert_array_equal(volume.data[:, 0, 0, 0], np.arange(5))


def test_echoes_are_channels(tmp_path: Path) -> None:
    def mark(one: Dataset, echo: int, _: int) -> None:
        one.EchoTime = (20.5, 4.9)[echo]

    stored = repeated(tmp_path, 2, mark)
    volume = read_volume(tmp_path)
    assert volume.fourth == "channel"
    assert volume.channels == ("echo time 4.9 ms", "echo time 20.5 ms")
    np.testing.assert_array_equal(volume.data, np.transpose(stored[::-1], (0, 3, 2, 1)))


def test_b_values_and_a_map_made_of_them_are_channels(tmp_path: Path) -> None:
    def mark(one: Dataset, number: int, _: int) -> None:
        if number == 2:
            one.ImageType = ["DERIVED", "PRIMARY", "ADC"]
        else:
            one.DiffusionBValue = (0.0, 1000.0)[number]
            one.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION"]

    stored = repeated(tmp_path, 3, mark)
    volume = read_volume(tmp_path)
    assert volume.fourth == "channel"
    found = dict(zip(volume.channels, volume.data, strict=True))
    assert set(found) == {"ADC", "b-value 0, DIFFUSION", "b-value 1000, DIFFUSION"}
    np.testing.assert_array_equal(found["ADC"], np.transpose(stored[2], (2, 1, 0)))


def test_magnitude_and_phase_of_many_times_are_all_channels(tmp_path: Path) -> None:
    def mark(one: Dataset, number: int, _: int) -> None:
        one.ImageType = ["ORIGINAL", "PRIMARY", "MP"[number % 2]]
        one.AcquisitionNumber = number // 2

    stored = repeated(tmp_path, 6, mark)
    volume = read_volume(tmp_path)
    assert volume.data.shape[0] == 6
    assert all("M" in name for name in volume.channels[:3])
    np.testing.assert_array_equal(volume.data[:3], np.transpose(stored[::2], (0, 3, 2, 1)))
    np.testing.assert_array_equal(volume.data[3:], np.transpose(stored[1::2], (0, 3, 2, 1)))


def test_a_phase_with_fewer_slices_is_a_series_of_its_own(tmp_path: Path) -> None:
    def mark(one: Dataset, number: int, _: int) -> None:
        one.ImageType = ["ORIGINAL", "PRIMARY", "MP"[number]]

    repeated(tmp_path, 2, mark)
    for file in tmp_path.iterdir():
        one = dcmread(file, stop_before_pixels=True)
        if one.ImageType[2] == "P" and float(one.ImagePositionPatient[2]) > 5:
            file.unlink()
    assert sorted(len(series.files) for series in find_series(tmp_path)) == [2, SLICES]


def test_a_time_series_with_a_slice_missing_is_refused(tmp_path: Path) -> None:
    repeated(tmp_path, 3, by_time)
    next(iter(tmp_path.iterdir())).unlink()
    with pytest.raises(ReadError, match="Slices are missing: 2 pictures lie at some of the 4 places"):
        read_volume(tmp_path)


@pytest.mark.parametrize("same_uid", [True, False])
def test_the_same_picture_twice_is_read_once(same_uid: bool, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (SLICES, ROWS, COLUMNS), np.int16)
    files = write_series(tmp_path, stored)
    one = dcmread(files[1])
    if not same_uid:
        one.SOPInstanceUID = generate_uid()
    (tmp_path / "sub").mkdir()
    one.save_as(tmp_path / "sub" / "copy")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data[0], np.transpose(stored, (2, 1, 0)))
    assert any("twice" in note for note in volume.notes)
    assert volume.source is not None
    assert len(volume.source.files) == SLICES


def test_slices_that_were_all_given_one_number_are_still_slices(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (SLICES, ROWS, COLUMNS), np.int16)
    write_series(tmp_path, stored, SOPInstanceUID="1.2.3")
    np.testing.assert_array_equal(read_volume(tmp_path).data[0], np.transpose(stored, (2, 1, 0)))


def test_a_whole_folder_copied_into_itself_is_read_once(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (SLICES, ROWS, COLUMNS), np.int16)
    write_series(tmp_path / "a", stored)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data[0], np.transpose(stored, (2, 1, 0)))


def test_a_series_sent_twice_under_new_numbers_is_read_once(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (SLICES, ROWS, COLUMNS), np.int16)
    write_series(tmp_path / "a", stored)
    write_series(tmp_path / "b", stored, order=[10, 11, 12, 13])
    volume = read_volume(tmp_path)
    assert volume.data.shape == (1, COLUMNS, ROWS, SLICES)
    assert any("the same pixels" in note for note in volume.notes)


@pytest.mark.parametrize("same_uid", [True, False])
def test_two_pictures_that_claim_one_slice_are_refused_by_name(same_uid: bool, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (SLICES, ROWS, COLUMNS), np.int16)
    files = write_series(tmp_path, stored)
    one = dcmread(files[1])
    if not same_uid:
        one.SOPInstanceUID = generate_uid()
    one.PixelData = (stored[1] + 1).tobytes()
    one.save_as(tmp_path / "other")
    with pytest.raises(ReadError, match="two different pictures of the same slice") as caught:
        read_volume(tmp_path)
    assert "other" in str(caught.value)
