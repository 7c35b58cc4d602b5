"""Files with many frames: each frame says for itself where and when it was taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, RLELossless

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes import find_series, read_volume
from tests.volumes.dicom.series_writer import AXIAL, SAGITTAL, dataset, normal_of


def item(**elements: Any) -> list[Dataset]:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return [found]


def write_enhanced(
    path: Path,
    stored: np.ndarray,
    positions: Sequence[Sequence[float]],
    orientation: Sequence[float] = AXIAL,
    frames: Sequence[dict[str, Any]] = (),
    **elements: Any,
) -> None:
    """Write frames ``(n, rows, columns)``; `frames` may add functional groups to each."""
    made = dataset(stored[0], "MR", SOPClassUID=EnhancedMRImageStorage, NumberOfFrames=len(stored), **elements)
    made.PixelData = stored.tobytes()
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.7, 0.9], SliceThickness=99)
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=list(orientation))
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = []
    for number, position in enumerate(positions):
        group = Dataset()
        group.PlanePositionSequence = item(ImagePositionPatient=[float(one) for one in position])
        for keyword, value in (frames[number] if frames else {}).items():
            setattr(group, keyword, value)
        made.PerFrameFunctionalGroupsSequence.append(group)
    made.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL])
def test_frames_are_ordered_by_where_they_lie(orientation: Sequence[float], tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (6, 4, 5), np.uint16)
    order = np.random.default_rng(1).permutation(6)
    positions = 2.5 * order[:, None] * normal_of(orientation)
    write_enhanced(tmp_path / "one", stored, positions, orientation)
    volume = read_volume(tmp_path / "one")
    np.testing.assert_array_equal(volume.data[0], np.transpose(stored[np.argsort(order)], (2, 1, 0)))
    assert volume.spacing == pytest.approx((0.9, 0.7, 2.5))
    np.testing.assert_allclose(volume.affine[:3, 2], 2.5 * normal_of(orientation) * (-1, -1, 1), atol=1e-9)


def test_each_frame_has_its_own_rescale(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (3, 4, 5), np.uint16)
    slopes, intercepts = (1.5, 2.0, 0.25), (-5.0, 0.0, 7.5)
    frames = [
        {"PixelValueTransformationSequence": item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")}
        for slope, intercept in zip(slopes, intercepts, strict=True)
    ]
    write_enhanced(tmp_path / "one", stored, [(0, 0, k) for k in range(3)], frames=frames)
    wanted = stored * np.array(slopes)[:, None, None] + np.array(intercepts)[:, None, None]
    np.testing.assert_allclose(read_volume(tmp_path / "one").data[0], np.transpose(wanted, (2, 1, 0)), rtol=1e-6)


@pytest.mark.parametrize("n_files", [1, 3])
def test_time_points_in_one_file_or_in_many(n_files: int, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (3, 4, 4, 5), np.uint16)
    for number in range(n_files):
        times = range(3) if n_files == 1 else [number]
        write_enhanced(
            tmp_path / f"{number}",
            stored[list(times)].reshape(-1, 4, 5),
            [(0, 0, 2 * k) for _ in times for k in range(4)],
            frames=[{"FrameContentSequence": item(TemporalPositionIndex=time + 1)} for time in times for _ in range(4)],
            AcquisitionNumber=number,
        )
    volume = read_volume(tmp_path)
    assert volume.fourth == "time"
    np.testing.assert_array_equal(volume.data, np.transpose(stored, (0, 3, 2, 1)))


def test_two_stacks_in_one_file_are_two_series(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (7, 4, 5), np.uint16)
    frames = [{"FrameContentSequence": item(StackID="1" if k < 4 else "2")} for k in range(7)]
    write_enhanced(
        tmp_path / "one", stored, [(0, 0, 2 * k) for k in range(4)] + [(0, 0, 50 + k) for k in range(3)], frames=frames
    )
    found = find_series(tmp_path / "one")
    assert [series.size for series in found] == ["5 x 4 x 4", "5 x 4 x 3"]
    np.testing.assert_array_equal(found[1].read().data[0], np.transpose(stored[4:], (2, 1, 0)))
    with pytest.raises(ReadError, match="2 series"):
        read_volume(tmp_path / "one")


def test_compressed_frames_are_read_by_their_number(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (5, 8, 6), np.uint16)
    write_enhanced(tmp_path / "plain", stored, [(0, 0, -k) for k in range(5)])
    from pydicom import dcmread

    made = dcmread(tmp_path / "plain")
    made.compress(RLELossless)
    made.save_as(tmp_path / "rle")
    plain, compressed = read_volume(tmp_path / "plain"), read_volume(tmp_path / "rle")
    np.testing.assert_array_equal(plain.data[0], np.transpose(stored[::-1], (2, 1, 0)))
    np.testing.assert_array_equal(plain.data, compressed.data)


def test_a_header_that_describes_other_frames_is_refused(tmp_path: Path) -> None:
    stored = np.zeros((5, 4, 5), np.uint16)
    write_enhanced(tmp_path / "one", stored, [(0, 0, k) for k in range(4)], SOPInstanceUID="1.2")
    with pytest.raises(ReadError, match="5 frames, but its header describes 4"):
        read_volume(tmp_path / "one")


def test_pixels_that_are_too_few_are_refused(tmp_path: Path) -> None:
    stored = np.zeros((5, 4, 5), np.uint16)
    write_enhanced(tmp_path / "one", stored, [(0, 0, k) for k in range(5)])
    content = (tmp_path / "one").read_bytes()
    (tmp_path / "cut").write_bytes(content[:-8])
    with pytest.raises(ReadError, match="cut off: 192 bytes of pixels instead of 200"):
        read_volume(tmp_path / "cut")


def test_five_real_encodings_are_equal_and_the_cut_off_one_is_refused(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "enhanced"
    cut_off = folder / "emri_small_jpeg_2k_lossless_too_short.dcm"
    volumes = [read_volume(file) for file in sorted(folder.iterdir()) if file != cut_off]
    assert len(volumes) == 5
    assert volumes[0].data.shape == (1, 64, 64, 10)
    assert not volumes[0].is_oriented  # the header was stripped of where the frames lie
    for volume in volumes:
        np.testing.assert_array_equal(volume.data, volumes[0].data)
        assert volume.grid.matches(volumes[0].grid)
    with pytest.raises(ReadError, match="cut off") as caught:
        read_volume(cut_off)
    assert cut_off.name in str(caught.value)


def test_four_real_time_points(shared_data: Path) -> None:
    volume = read_volume(shared_data / "dicom" / "enhanced_siemens_xa_4timepoints")
    assert volume.data.shape == (4, 64, 64, 6)
    assert volume.fourth == "time"
    assert volume.channels == ("0 s", "0.5 s", "1 s", "1.5 s")
    assert volume.spacing == pytest.approx((3.375, 3.375, 2.4), abs=1e-4)
    one = read_volume(shared_data / "dicom" / "enhanced_siemens_xa_4timepoints" / "6_3.dcm")
    np.testing.assert_array_equal(volume.data[2], one.data[0])
