"""Tilted and unevenly spaced slices are refused as they are, and land where they belong when they are resampled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError, IrregularSeries
from napari_seg3d.volumes import Volume, find_series, read_volume
from tests.volumes.dicom.series_writer import AXIAL, CORONAL, SAGITTAL, write_series

UNEVEN = [*[4.0] * 6, 1.08, *[7.0] * 6]
PIXEL, SIDE = 0.9, 64


def axes_of(orientation: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    return row, column, np.cross(row, column)


def tilted_positions(orientation: Sequence[float], tilt: float, gaps: Sequence[float]) -> NDArray[np.float64]:
    """Return positions with these gaps along the normal, on a line that leaves the normal by `tilt` degrees (LPS)."""
    _, column, normal = axes_of(orientation)
    heights = np.concatenate([[0.0], np.cumsum(gaps)])
    return np.array([-30.0, -25.0, 40.0]) + heights[:, None] * (normal + np.tan(np.radians(tilt)) * column)


def write_edge(
    folder: Path, orientation: Sequence[float], positions: NDArray[np.float64], direction: NDArray[np.float64]
) -> float:
    """Write a phantom that is 0 on one side of a plane and 1000 on the other; return where the plane lies along `direction`."""
    row, column, _ = axes_of(orientation)
    steps = PIXEL * np.arange(SIDE)
    inside = steps[None, :, None] * row + steps[:, None, None] * column  # rows, columns, 3
    places = positions[:, None, None, :] + inside
    middle = float(places.reshape(-1, 3).mean(axis=0) @ direction)
    share = np.clip(0.5 + (places @ direction - middle) / PIXEL, 0, 1)  # as a pixel that the edge cuts through
    stored = np.rint(1000 * share).astype(np.int16)
    stored[:, 0, 0] = -1000  # the air outside must be told apart from the phantom
    write_series(folder, stored, orientation, positions, spacing=(PIXEL, PIXEL))
    return middle


def edge_errors(volume: Volume, direction: NDArray[np.float64], middle: float) -> NDArray[np.float64]:
    """Return by how many voxels the edge is misplaced, along the voxel axis that crosses it most steeply."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    steps = direction @ lps[:3, :3]
    axis = int(np.abs(steps[:2]).argmax())
    lines = np.moveaxis(volume.data[0].astype(float), axis, -1)
    others = [one for one in range(3) if one != axis]
    errors = []
    for start in np.ndindex(lines.shape[:-1]):
        line = lines[start]
        index = np.zeros(3)
        index[others] = start
        truth = (middle - direction @ lps[:3, 3] - steps @ index) / steps[axis]
        low, high = int(np.floor(truth)) - 6, int(np.floor(truth)) + 8
        if low < 1 or high > len(line) - 1 or line[low:high].min() < 0:
            continue  # too near to the rim of the data
        above = line[low:high] > 500
        (crossings,) = np.nonzero(above[1:] != above[:-1])
        assert len(crossings) == 1
        before = low + int(crossings[0])
        found = before + (500 - line[before]) / (line[before + 1] - line[before])
        errors.append(found - truth)
    return np.array(errors)


@pytest.mark.parametrize("tilt", [18.5, -18.5, 0.0, 7.0])
@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, (0.8, 0.6, 0, 0, 0, -1)])
def test_an_edge_lies_where_it_is_within_half_a_voxel(orientation: tuple[float, ...], tilt: float, tmp_path: Path) -> None:
    row, column, normal = axes_of(orientation)
    line = normal + np.tan(np.radians(tilt)) * column
    upright = np.cross(line, row)  # perpendicular to the line on which the slices lie: such an edge is upright in the patient
    edges = {
        "upright in the patient": upright / np.linalg.norm(upright),
        "upright on the slices": column,
        "along the tilt": row,
        "both": (row + upright / np.linalg.norm(upright)) / np.sqrt(2),
    }
    for name, direction in edges.items():
        middle = write_edge(tmp_path / name, orientation, tilted_positions(orientation, tilt, UNEVEN), direction)
        volume = read_volume(tmp_path / name, resample_irregular=True)
        errors = edge_errors(volume, direction, middle)
        assert len(errors) > 300, name
        assert np.abs(errors).max() <= 0.5, f"{name}: {np.abs(errors).max():.2f} voxels"


def test_values_between_slices_are_those_of_a_slope(tmp_path: Path) -> None:
    # What is linear in the patient must come out exactly, wherever it is asked for.
    positions = tilted_positions(AXIAL, 18.5, UNEVEN)
    row, column, _ = axes_of(AXIAL)
    places = positions[:, None, None, :] + PIXEL * (np.arange(20)[None, :, None] * row + np.arange(20)[:, None, None] * column)
    slope = np.array([3.0, -5.0, 7.0])
    stored = np.rint(100 + places @ slope).astype(np.int16)
    write_series(tmp_path, stored, AXIAL, positions, spacing=(PIXEL, PIXEL))
    volume = read_volume(tmp_path, resample_irregular=True)
    indices = np.argwhere(volume.data[0] > stored.min())
    lps = volume.grid.to_world(indices) * (-1, -1, 1)
    np.testing.assert_allclose(volume.data[0][tuple(indices.T)], 100 + lps @ slope, atol=1.6)


def test_the_message_has_the_tilt_and_the_gaps(tmp_path: Path) -> None:
    write_series(tmp_path, np.zeros((14, 8, 8), np.int16), AXIAL, tilted_positions(AXIAL, -18.5, UNEVEN))
    with pytest.raises(IrregularSeries) as caught:
        read_volume(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "18.5 degrees" in message
    assert "1.08 to 7.00 mm" in message
    assert "resampled" in message
    (series,) = find_series(tmp_path)
    assert isinstance(series.problem, IrregularSeries)
    assert str(series.problem) == message


def test_missing_slices_are_named_by_their_position(tmp_path: Path) -> None:
    positions = np.array([[0, 0, 2.5 * k] for k in range(12) if k not in (5, 6, 9)])
    write_series(tmp_path, np.zeros((9, 8, 8), np.int16), AXIAL, positions)
    with pytest.raises(IrregularSeries, match=r"3 slices are missing, at z = 12.5, 15.0, 22.5 mm"):
        read_volume(tmp_path)
    volume = read_volume(tmp_path, resample_irregular=True)
    assert volume.grid.shape == (8, 8, 12)
    assert volume.spacing == pytest.approx((0.9, 0.7, 2.5))


def test_a_missing_sagittal_slice_has_the_patient_s_coordinate(tmp_path: Path) -> None:
    positions = np.array([[2.0 * k, 0, 0] for k in range(8) if k != 3])  # LPS: 6 mm to the left
    write_series(tmp_path, np.zeros((7, 8, 8), np.int16), SAGITTAL, positions)
    with pytest.raises(IrregularSeries, match=r"missing, at x = -6.0 mm"):
        read_volume(tmp_path)


@pytest.mark.parametrize(("share", "is_tilted"), [(0.04, False), (0.06, True)])
def test_what_slides_by_less_than_a_twentieth_of_a_pixel_is_no_tilt(share: float, is_tilted: bool, tmp_path: Path) -> None:
    positions = np.array([[0, share * PIXEL * k / 9, 2.0 * k] for k in range(10)])
    write_series(tmp_path, np.zeros((10, 8, 8), np.int16), AXIAL, positions, spacing=(PIXEL, PIXEL))
    (series,) = find_series(tmp_path)
    assert isinstance(series.problem, IrregularSeries) == is_tilted


@pytest.mark.parametrize(("jump", "is_uneven"), [(0.02, False), (0.2, True)])
def test_rounded_positions_are_even(jump: float, is_uneven: bool, tmp_path: Path) -> None:
    positions = np.array([[0, 0, 2.0 * k + jump * (k % 2)] for k in range(10)])
    write_series(tmp_path, np.zeros((10, 8, 8), np.int16), AXIAL, positions)
    (series,) = find_series(tmp_path)
    assert isinstance(series.problem, IrregularSeries) == is_uneven


def test_gaps_that_grow_by_little_but_always_are_uneven(tmp_path: Path) -> None:
    heights = np.concatenate([[0], np.cumsum(np.linspace(1.0, 1.04, 200))])
    write_series(tmp_path, np.zeros((201, 4, 4), np.int16), AXIAL, heights[:, None] * (0, 0, 1.0))
    (series,) = find_series(tmp_path)
    assert isinstance(series.problem, IrregularSeries)


def test_a_resampled_volume_says_so_and_is_bounded(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-1024, 2000, (14, 30, 30), np.int16)
    write_series(tmp_path, stored, AXIAL, tilted_positions(AXIAL, 18.5, UNEVEN))
    volume = read_volume(tmp_path, resample_irregular=True)
    assert volume.data.dtype == np.int16
    assert volume.data.min() == stored.min()
    assert volume.data.max() <= stored.max()
    assert volume.grid.spacing[2] == pytest.approx(sum(UNEVEN) / round(sum(UNEVEN) / 4.0))
    assert any("Resampled" in note and "18.5 degrees" in note for note in volume.notes)
    assert not any(str(tmp_path) in note for note in volume.notes)


def test_a_regular_series_is_not_touched_by_resampling(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-1024, 2000, (5, 6, 7), np.int16)
    write_series(tmp_path, stored)
    as_it_is, resampled = read_volume(tmp_path), read_volume(tmp_path, resample_irregular=True)
    np.testing.assert_array_equal(as_it_is.data, resampled.data)
    assert not resampled.notes


def test_the_real_tilted_scan(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "ct_ge_tilt_uneven"
    with pytest.raises(IrregularSeries, match=r"18.5 degrees.*1.08 to 7.00 mm"):
        read_volume(folder)
    volume = read_volume(folder, resample_irregular=True)
    assert volume.data.shape[1] == 512
    assert volume.data.shape[2] > 600  # the slices slide by some 100 pixels
    assert volume.spacing[:2] == pytest.approx((0.4882812, 0.4882812))


def test_a_slice_that_lies_a_world_away_is_no_missing_slices(tmp_path: Path) -> None:
    positions = np.array([[0, 0, 2.0 * k] for k in range(5)] + [[0, 0, 2e12]])
    write_series(tmp_path, np.zeros((6, 8, 8), np.int16), AXIAL, positions)
    with pytest.raises(IrregularSeries, match=r"from 2.00 to 19\d+.\d+ mm; the usual gap is 2.00 mm"):
        read_volume(tmp_path)
    with pytest.raises(GeometryError, match="too far apart to be resampled"):
        read_volume(tmp_path, resample_irregular=True)
