from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError
from napari_seg3d.volumes import Grid, Volume, place_on, resample
from tests.volumes.affines import ORDERS, Order, affine_of


def bump(grid: Grid, centre: NDArray[np.float64], width: float = 6.0) -> NDArray[np.float64]:
    """Return a smooth hill around a place in the patient."""
    voxels = np.indices(grid.shape).reshape(3, -1).T
    distance = np.linalg.norm(grid.to_world(voxels) - centre, axis=1)
    hill: NDArray[np.float64] = np.exp(-((distance / width) ** 2)).reshape(1, *grid.shape)
    return hill


@pytest.mark.parametrize("order", ORDERS)
def test_a_landmark_stays_in_the_patient(order: Order) -> None:
    start = Grid((40, 30, 14), affine_of(order, (12, -20, 30)))
    centre = start.to_world(np.array([[20, 15, 7]]))[0]
    volume = Volume(bump(start, centre).astype(np.float32), start.affine)
    target_affine = np.diag([1.3, 1.3, 1.3, 1.0])
    target_affine[:3, 3] = centre - 1.3 * np.array([15, 16, 17])
    target = Grid((30, 32, 34), target_affine)

    found = resample(volume, target).astype(np.float64)
    assert found.shape == (1, *target.shape)
    assert np.unravel_index(found[0].argmax(), target.shape) == (15, 16, 17)
    weights = found[0].ravel() / found.sum()
    middle = weights @ target.to_world(np.indices(target.shape).reshape(3, -1).T)
    np.testing.assert_allclose(middle, centre, atol=0.3)


@pytest.mark.parametrize("order", ORDERS[::7])
def test_a_flip_and_a_permutation_are_exact(order: Order) -> None:
    random = np.random.default_rng(0)
    volume = Volume(random.integers(0, 9, (2, 5, 6, 7)).astype(np.int16), affine_of(order, (10, 20, 30)))
    canonical = volume.canonical()
    np.testing.assert_array_equal(resample(volume, canonical.grid, "nearest"), canonical.data)
    interpolated = resample(volume, canonical.grid, "linear").astype(np.float64)
    np.testing.assert_allclose(interpolated, canonical.data.astype(np.float64), atol=1e-4)


def test_whole_numbers_are_interpolated_not_cut_off() -> None:
    ramp = np.arange(8, dtype=np.uint8).reshape(1, 8, 1, 1)
    between = np.eye(4)
    between[0, 3] = 0.75
    found = resample(Volume(ramp, np.eye(4)), Grid((7, 1, 1), between))
    np.testing.assert_allclose(found[0, :, 0, 0].astype(np.float64), np.arange(7) + 0.75)


def test_the_same_grid_gives_the_data_itself() -> None:
    volume = Volume(np.zeros((1, 3, 4, 5), np.uint8), affine_of())
    assert resample(volume, Grid((3, 4, 5), affine_of() + 1e-9)) is volume.data


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8", ">i2", "?"])
def test_nearest_keeps_the_label_values(dtype: str) -> None:
    labels = (np.random.default_rng(0).choice([0, 1, 7, 100], (1, 10, 10, 10))).astype(dtype)
    volume = Volume(labels, affine_of(), "labels")
    found = resample(volume, Grid((17, 21, 30), affine_of(degrees=(0, 0, 25)) @ np.diag([0.5, 0.5, 0.3, 1])), "nearest")
    assert set(np.unique(found)) <= set(np.unique(labels))
    assert found.any()


def test_channels_are_resampled_each_for_itself() -> None:
    grid = Grid((8, 9, 10), affine_of())
    data = np.random.default_rng(0).normal(size=(3, 8, 9, 10))
    volume = Volume(data, grid.affine)
    finer = Grid((16, 18, 20), grid.affine @ np.diag([0.5, 0.5, 0.5, 1]))
    together = resample(volume, finer)
    for channel in range(3):
        alone = resample(Volume(volume.data[channel : channel + 1], grid.affine), finer)
        np.testing.assert_array_equal(together[channel], alone[0])
    # Every second voxel of the finer grid lies on one of the coarser.
    np.testing.assert_allclose(together[:, ::2, ::2, ::2].astype(np.float64), data, atol=1e-5)


@pytest.mark.parametrize("how", ["nearest", "linear"])
def test_the_border_reaches_one_voxel_beyond_the_volume(how: Literal["nearest", "linear"]) -> None:
    volume = Volume(np.full((1, 4, 4, 4), 5, np.float32), np.eye(4))
    # The volume ends half a voxel behind the centre of its last voxel.
    for outside, value in ((0.1, 5), (0.5, 5), (0.99, 5), (1.01, 0), (3, 0)):
        for axis in range(3):
            for place in (-0.5 - outside, 3.5 + outside):
                affine = np.eye(4)
                affine[:3, 3] = 1
                affine[axis, 3] = place
                assert resample(volume, Grid((1, 1, 1), affine), how).item() == value, (outside, axis, place)


def part_of(grid: Grid, first: tuple[int, int, int], shape: tuple[int, int, int]) -> Grid:
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(np.array([first]))[0]
    return Grid(shape, affine)


@pytest.mark.parametrize("order", ORDERS[::5])
def test_a_part_goes_onto_the_whole_voxel_by_voxel(order: Order) -> None:
    scan = Grid((9, 8, 7), affine_of(order, (12, -20, 30)))
    labels = np.random.default_rng(0).integers(0, 4, (2, 4, 8, 3)).astype(np.uint8)
    part = Volume(labels, part_of(scan, (2, 0, 3), (4, 8, 3)).affine, "labels")
    # In another axis order than the scan, and off by what a float32 header rounds.
    part = part.canonical()
    part = Volume(part.data, part.affine.astype(np.float32).astype(float), "labels")
    placed = place_on(part, scan)
    assert placed.grid.matches(scan)
    expected = np.zeros((2, 9, 8, 7), np.uint8)
    expected[:, 2:6, :, 3:6] = labels
    np.testing.assert_array_equal(placed.data, expected)
    assert placed.data.dtype == np.uint8


def test_empty_voxels_may_lie_outside_labels_may_not() -> None:
    scan = Grid((5, 5, 5), affine_of())
    data = np.zeros((1, 5, 5, 5), np.uint8)
    data[0, 0, 0, :3] = 1
    affine = part_of(scan, (4, 0, 2), (5, 5, 5)).affine
    placed = place_on(Volume(data, affine, "labels"), scan)
    assert np.argwhere(placed.data[0]).tolist() == [[4, 0, 2], [4, 0, 3], [4, 0, 4]]
    data[0, 0, 0, 3] = 1
    with pytest.raises(GeometryError, match="outside the scan"):
        place_on(Volume(data, affine, "labels"), scan)
    with pytest.raises(GeometryError, match="outside the scan"):
        place_on(Volume(data, part_of(scan, (40, 0, 2), (5, 5, 5)).affine, "labels"), scan)


@pytest.mark.parametrize("change", [(1.02, 0), (1, 0.3), (1, -0.5)])
def test_voxels_that_do_not_coincide_are_refused(change: tuple[float, float]) -> None:
    scan = Grid((5, 5, 5), affine_of())
    affine = scan.affine.copy()
    affine[:3, :3] *= change[0]
    affine[0, 3] += change[1] * scan.spacing[0]
    with pytest.raises(GeometryError, match="does not lie on the voxels"):
        place_on(Volume(np.ones((1, 5, 5, 5), np.uint8), affine, "labels"), scan)


@given(st.integers(0, 2), st.floats(-1e-9, 1e-9))
def test_the_nearest_of_two_voxels_alike_is_the_lower_one_however_its_place_was_computed(axis: int, noise: float) -> None:
    data = np.arange(4**3, dtype=np.int16).reshape(1, 4, 4, 4)
    between = np.eye(4)
    between[axis, 3] = 0.5 + noise
    found = resample(Volume(data, np.eye(4), "labels"), Grid((3, 3, 3), between), "nearest")
    assert np.array_equal(found, data[:, :3, :3, :3])
