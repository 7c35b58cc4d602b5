from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.errors import GeometryError
from napari_seg3d.volumes import Grid
from napari_seg3d.volumes.grid import TOLERANCE
from tests.volumes.affines import ORDERS, Order, affine_of, rotation

ANGLES = st.floats(-30, 30)
SHAPES = st.tuples(*[st.integers(1, 6)] * 3)


def moved(grid: Grid, *, by: tuple[float, float, float] = (0, 0, 0), turned: tuple[float, float, float] = (0, 0, 0)) -> Grid:
    """Return the grid shifted in mm and turned about its first voxel."""
    affine = grid.affine.copy()
    affine[:3, :3] = rotation(turned) @ affine[:3, :3]
    affine[:3, 3] += by
    return Grid(grid.shape, affine)


@given(st.sampled_from(ORDERS), st.tuples(ANGLES, ANGLES, ANGLES), SHAPES, st.integers(1, 3))
def test_canonical_and_back_is_a_view_and_the_same_to_the_bit(
    order: Order, degrees: tuple[float, float, float], shape: tuple[int, int, int], channels: int
) -> None:
    grid = Grid(shape, affine_of(order, degrees))
    array = np.arange(channels * np.prod(shape)).reshape(channels, *shape)
    there = grid.to_canonical(array)
    back = grid.from_canonical(there)
    assert np.shares_memory(there, array)
    assert np.shares_memory(back, array)
    np.testing.assert_array_equal(back, array)
    assert there.shape == (channels, *grid.canonical().shape)

    # Every voxel is still where it was in the patient.
    voxels = np.argwhere(array[0] >= 0)
    in_canonical = np.array([np.argwhere(there[0] == array[0][tuple(voxel)])[0] for voxel in voxels])
    np.testing.assert_allclose(grid.canonical().to_world(in_canonical), grid.to_world(voxels), atol=1e-9)


@given(st.sampled_from(ORDERS), st.tuples(ANGLES, ANGLES, ANGLES))
def test_canonical_lies_nearest_to_ras(order: Order, degrees: tuple[float, float, float]) -> None:
    canonical = Grid((3, 4, 5), affine_of(order, degrees)).canonical()
    assert canonical.orientation == "RAS"
    assert canonical.canonical().matches(canonical)


@pytest.mark.parametrize("order", ORDERS)
def test_numbers_of_a_grid(order: Order) -> None:
    grid = Grid((3, 4, 5), affine_of(order))
    assert grid.orientation == "".join(("LR", "PA", "IS")[axis][sign > 0] for axis, sign in zip(*order, strict=True))
    assert grid.spacing == pytest.approx((0.8, 1.5, 4.0))
    assert grid.voxel_volume == pytest.approx(4.8)
    assert not grid.is_oblique
    assert Grid((3, 4, 5), affine_of(order, (0, 0, 10))).is_oblique


@given(st.sampled_from(ORDERS), st.tuples(ANGLES, ANGLES, ANGLES))
def test_what_is_the_same_grid(order: Order, degrees: tuple[float, float, float]) -> None:
    grid = Grid((40, 50, 12), affine_of(order, degrees))
    assert grid.matches(grid)
    nearly = grid.affine.copy()
    nearly[:3, :3] += 1e-8
    assert grid.matches(Grid(grid.shape, nearly))
    for axis in range(3):
        edge = grid.affine[:3, axis]
        shifted = grid.affine.copy()
        shifted[:3, 3] += edge / 2
        assert not grid.matches(Grid(grid.shape, shifted))
        # Flipped about its own middle: the same box in the patient, the voxels the other way round.
        flipped = grid.affine.copy()
        flipped[:3, axis] *= -1
        flipped[:3, 3] += edge * (grid.shape[axis] - 1)
        assert not grid.matches(Grid(grid.shape, flipped))


@given(st.sampled_from(ORDERS), st.tuples(ANGLES, ANGLES, ANGLES))
def test_rounding_of_a_large_scan_stays_within_the_tolerance(order: Order, degrees: tuple[float, float, float]) -> None:
    grid = Grid((512, 512, 400), affine_of(order, degrees))
    assert grid.matches(Grid(grid.shape, grid.affine.astype(np.float32)))
    assert grid.matches(Grid(grid.shape, grid.affine.round(5)))


def test_the_tolerance_is_the_one_stated() -> None:
    grid = Grid((10, 10, 10), affine_of())
    allowed = TOLERANCE * min(grid.spacing)
    assert grid.matches(moved(grid, by=(0.99 * allowed, 0, 0)))
    assert not grid.matches(moved(grid, by=(1.01 * allowed, 0, 0)))
    assert not grid.matches(moved(grid, turned=(0, 0, 1)))


@pytest.mark.parametrize(
    ("place", "value"), [((0, 0), np.nan), ((1, 3), np.inf), ((slice(0, 3), 1), 0.0), ((2, slice(0, 3)), 0.0), ((0, 0), 1e300)]
)
def test_an_impossible_affine_is_refused(place: tuple[int | slice, ...], value: float) -> None:
    affine = affine_of()
    affine[place] = value
    with np.errstate(over="ignore"), pytest.raises(GeometryError) as error:
        Grid((2, 3, 4), affine)
    assert error.value.fix


def test_two_axes_on_one_line_are_refused() -> None:
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 1] = affine[:3, 0]
    with pytest.raises(GeometryError, match="does not span three dimensions"):
        Grid((2, 3, 4), affine)


def test_the_difference_in_words() -> None:
    grid = Grid((10, 20, 30), affine_of())
    assert grid.difference(grid) == ""
    assert grid.difference(Grid((10, 20, 31), grid.affine)) == "10x20x30 voxels against 10x20x31"
    assert grid.difference(Grid(grid.shape, grid.affine @ np.diag([2, 1, 1, 1]))) == (
        "spacing 0.8 x 1.5 x 4 mm against 1.6 x 1.5 x 4 mm"
    )
    assert grid.difference(Grid(grid.shape, grid.affine @ np.diag([-1, 1, 1, 1]))) == "axis order RAS against LAS"
    assert grid.difference(moved(grid, by=(0, 2, 0))) == "the corners lie 2 mm apart"
    tiny = Grid(grid.shape, np.diag([1e-3, 1e-3, 1e-3, 1]))
    assert tiny.difference(moved(tiny, by=(5e-4, 0, 0))) == "the corners lie 0.0005 mm apart"
    assert str(grid) == "10x20x30 voxels of 0.8 x 1.5 x 4 mm, RAS"


def test_an_array_of_another_grid_is_refused() -> None:
    grid = Grid((2, 3, 4), affine_of(((2, 0, 1), (1, 1, 1))))
    with pytest.raises(GeometryError, match="4x3x2 voxels does not lie on a grid of 2x3x4"):
        grid.to_canonical(np.zeros((1, 4, 3, 2)))
    with pytest.raises(GeometryError):
        grid.from_canonical(np.zeros((1, 2, 3, 4)))


def test_the_affine_cannot_be_changed_behind_the_grid() -> None:
    affine = affine_of()
    grid = Grid((2, 3, 4), affine)
    affine[:] = 0
    assert grid.spacing == pytest.approx((0.8, 1.5, 4.0))
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 5
