"""Brushes, polygons and copied slices, against their definitions voxel by voxel."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_seg3d.editing import Change
from napari_seg3d.editing.brushes import adaptive_brush, brush, erase_brush, range_under, replace_brush, stroke, threshold_brush
from napari_seg3d.editing.polygons import fill_polygon
from napari_seg3d.editing.slices import copy_slice
from napari_seg3d.errors import ConfigError, GeometryError
from tests.editing.blobs import SPACINGS, after, masks, scenes

_PLACE = st.floats(-4, 13, allow_nan=False) | st.integers(-2, 11).map(float)


def _to_line(shape: tuple[int, ...], line: NDArray[np.float64], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distance of each voxel to a line through places, in mm; a long way round."""
    points = np.argwhere(np.ones(shape, bool)) * spacing
    nearest = np.linalg.norm(points - line[0] * spacing, axis=1)
    for first, last in zip(line[:-1] * spacing, line[1:] * spacing, strict=True):
        length = np.linalg.norm(last - first)
        for point, best in enumerate(nearest):
            along = 0.0 if length == 0 else np.clip(np.dot(points[point] - first, last - first) / length**2, 0, 1)
            nearest[point] = min(best, float(np.linalg.norm(points[point] - first - along * (last - first))))
    return nearest.reshape(shape)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_brush_is_all_voxels_near_the_line_of_its_centres(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=3)))
    spacing = tuple(data.draw(SPACINGS) for _ in shape)
    line = np.array(data.draw(st.lists(st.tuples(*[_PLACE] * len(shape)), min_size=1, max_size=4)))
    radius = data.draw(st.floats(0, 6))
    across = data.draw(st.none() | st.integers(0, 2)) if len(shape) == 3 else None
    scale = np.array(spacing)
    if across is not None:
        line[:, across] = np.rint(line[0, across])
    distance = _to_line(shape, line, scale)
    near, far = distance <= radius - 1e-6, distance > radius + 1e-6
    for place in np.rint(line).astype(int):
        if ((place >= 0) & (place < shape)).all():
            near[tuple(place)] = True
            far[tuple(place)] = False
    if across is not None:
        there = np.arange(shape[across]) == line[0, across]
        off = np.expand_dims(~there, tuple(axis for axis in range(3) if axis != across))
        near, far = near & ~off, far | off
    found = np.zeros(shape, bool)
    drawn = stroke(shape, line, radius, spacing, across)
    if drawn is not None:
        box, where = drawn
        found[box] = where
    assert found[near].all()
    assert not found[far].any()


def test_a_brush_counts_millimetres_with_both_ends() -> None:
    mask = np.zeros((9, 9, 9), np.uint8)
    found = after(mask, brush(mask, (4, 4, 4), 0.3, (0.1, 0.3, 0.15), 1))
    assert np.flatnonzero(found[:, 4, 4]).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert np.flatnonzero(found[4, :, 4]).tolist() == [3, 4, 5]
    assert np.flatnonzero(found[4, 4]).tolist() == [2, 3, 4, 5, 6]


def test_a_brush_that_is_smaller_than_a_voxel_paints_the_one_under_it() -> None:
    mask = np.zeros((5, 5), np.int32)
    assert np.argwhere(after(mask, brush(mask, [(1.4, 2.6)], 0.01, (3, 3), 9))).tolist() == [[1, 3]]


def test_a_long_fast_stroke_has_no_gaps() -> None:
    mask = np.zeros((200, 300), np.uint8)
    found = after(mask, brush(mask, [(5, 5), (190, 290)], 2, (1, 1), 1))
    assert (found[5:191].any(axis=1)).all()
    assert found.sum() == pytest.approx(4 * np.hypot(185, 285) + np.pi * 4, rel=0.02)


@given(scenes())
@settings(max_examples=30, deadline=None)
def test_what_a_brush_paints_over_is_as_asked(scene: tuple) -> None:
    mask, spacing, image = scene
    middle = tuple(size / 2 for size in mask.shape)
    all_of_it = after(mask, brush(mask, middle, 3, spacing, 5)) == 5
    only_empty = after(mask, brush(mask, middle, 3, spacing, 5, over_others=False)) == 5
    assert np.array_equal(only_empty, all_of_it & (mask == 0))
    below = after(mask, replace_brush(mask, middle, 3, spacing, 5, {2, 300})) == 5
    assert np.array_equal(below, all_of_it & (mask == 2))
    erased = after(mask, erase_brush(mask, middle, 3, spacing, 1))
    assert np.array_equal(erased != mask, all_of_it & (mask == 1))
    low, high = float(np.quantile(image, 0.3)), float(np.quantile(image, 0.7))
    bright = after(mask, threshold_brush(mask, image, middle, 3, spacing, 5, (low, high), over_others=True)) == 5
    assert np.array_equal(bright, all_of_it & (image >= low) & (image <= high))


def test_the_threshold_brush_takes_only_what_hangs_together_if_asked() -> None:
    image = np.zeros((1, 30, 30))
    image[0, 10:20, 5:12] = image[0, 10:20, 16:25] = 100
    mask = np.zeros(image.shape, np.uint8)
    both = after(mask, threshold_brush(mask, image, (0, 15, 8), 12, (1, 1, 1), 1, (50, 150)))
    one = after(mask, threshold_brush(mask, image, (0, 15, 8), 12, (1, 1, 1), 1, (50, 150), connected=True))
    assert both[0, 15, 18]
    assert not one[0, :, 13:].any()
    assert np.array_equal(one[0, :, :13], both[0, :, :13])
    line = after(mask, threshold_brush(mask, image, [(0, 15, 8), (0, 15, 20)], 6, (1, 1, 1), 1, (50, 150), connected=True))
    assert line[0, 15, 18]
    with pytest.raises(ConfigError, match="empty"):
        threshold_brush(mask, image, (0, 15, 8), 12, (1, 1, 1), 1, (150, 50))
    with pytest.raises(GeometryError, match="image has"):
        threshold_brush(mask, image[0], (0, 15, 8), 12, (1, 1, 1), 1, (0, 50))


def test_the_adaptive_brush_keeps_to_the_tissue_where_it_begins() -> None:
    random = np.random.default_rng(0)
    tissue = np.zeros((20, 40, 40), bool)
    tissue[:, :, :22] = True
    image = np.where(tissue, 60.0, 0.0) + random.normal(0, 5, tissue.shape)
    image[8:12, 18:22, 5:15] = 300  # a vessel beside the centre
    mask = np.zeros(image.shape, np.uint8)
    found = after(mask, adaptive_brush(mask, image, (10, 12, 12), 12, (1, 1, 1), 1, spread=3)) == 1
    assert not found[~tissue].any()
    assert not found[9:11, 19:21, 6:14].any()
    ball = after(mask, brush(mask, (10, 12, 12), 12, (1, 1, 1), 1)) == 1
    assert found[ball & tissue & (image < 200)].mean() > 0.97
    low, high = range_under(image, (10, 12, 12), 12, (1, 1, 1)) or (0, 0)
    assert low == pytest.approx(45, abs=5)
    assert high == pytest.approx(75, abs=5)
    assert range_under(image, (30, 0, 0), 12, (1, 1, 1)) is None
    assert range_under(np.full((3, 3), np.nan), (1, 1), 12, (1, 1)) is None


def test_strokes_that_are_none() -> None:
    mask = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(GeometryError, match="stroke"):
        brush(mask, [(1, 2)], 3, (1, 1, 1), 1)
    with pytest.raises(GeometryError, match="stroke"):
        brush(mask, [(np.nan, 2, 2)], 3, (1, 1, 1), 1)
    with pytest.raises(GeometryError, match="spacing"):
        brush(mask, [(1, 2, 2)], 3, (1, 1), 1)


# -- polygons ------------------------------------------------------------------------------------------------------------------------------


def _is_inside(row: int, column: int, corners: list[tuple[Fraction, Fraction]]) -> bool:
    """Even-odd in exact fractions: how many edges lie left of the pixel, or go through its centre."""
    crossed = 0
    for (row_a, column_a), (row_b, column_b) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (row_a <= row) != (row_b <= row):
            at = column_a + (row - row_a) * (column_b - column_a) / (row_b - row_a)
            crossed += at <= column
    return crossed % 2 == 1


_CORNER = st.tuples(*[st.integers(-24, 96).map(lambda eighths: eighths / 8)] * 2) | st.tuples(
    *[st.integers(-2, 12).map(float)] * 2
)


@given(st.lists(_CORNER, min_size=3, max_size=9))
@settings(max_examples=150, deadline=None)
def test_a_polygon_is_every_pixel_whose_centre_lies_inside(corners: list[tuple[float, float]]) -> None:
    mask = np.zeros((10, 11), np.uint8)
    exact = [(Fraction(row), Fraction(column)) for row, column in corners]
    wanted = [[_is_inside(row, column, exact) for column in range(11)] for row in range(10)]
    assert np.array_equal(after(mask, fill_polygon(mask, corners, 1)) == 1, wanted)


@given(st.lists(_CORNER, min_size=4, max_size=8), st.integers(2, 6))
@settings(max_examples=50, deadline=None)
def test_of_two_polygons_with_a_common_edge_each_pixel_is_in_one(corners: list[tuple[float, float]], cut: int) -> None:
    mask = np.zeros((10, 11), np.uint8)
    cut = min(cut, len(corners) - 2)
    whole, one, other = (
        after(mask, fill_polygon(mask, part, 1)) == 1 for part in (corners, corners[: cut + 1], [corners[0], *corners[cut:]])
    )
    assert np.array_equal(whole, one ^ other)


@pytest.mark.parametrize("across", [0, 1, 2])
def test_a_polygon_lies_in_the_slice_that_is_named(across: int) -> None:
    mask = np.zeros((8, 9, 10), np.int16)
    change = fill_polygon(mask, [(1, 1), (1, 5), (6, 1)], 3, across=across, index=4)
    flat = np.zeros([size for axis, size in enumerate(mask.shape) if axis != across], np.int16)
    assert np.array_equal(after(mask, change).take(4, axis=across), after(flat, fill_polygon(flat, [(1, 1), (1, 5), (6, 1)], 3)))
    assert np.delete(after(mask, change), 4, axis=across).max() == 0


def test_polygons_that_are_none() -> None:
    mask = np.zeros((8, 9, 10), np.int16)
    for corners in ([(1, 1), (1, 5)], [(-9, -9), (-9, -5), (-5, -9)], [(2, 2), (2, 2), (2, 2)]):
        assert not fill_polygon(mask, corners, 3, across=0, index=4).values.any()
    with pytest.raises(ConfigError, match="slice"):
        fill_polygon(mask, [(1, 1), (1, 5), (5, 1)], 3)
    with pytest.raises(GeometryError, match="no slice 8"):
        fill_polygon(mask, [(1, 1), (1, 5), (5, 1)], 3, across=0, index=8)
    with pytest.raises(GeometryError, match="corners"):
        fill_polygon(mask, [(1, 1, 1), (1, 5, 1), (5, 1, 1)], 3, across=0, index=4)


# -- slices --------------------------------------------------------------------------------------------------------------------------------


@given(masks(axes=(3, 3)), st.data())
@settings(max_examples=40, deadline=None)
def test_a_copied_slice(mask: np.ndarray, data: st.DataObject) -> None:
    across, step = data.draw(st.integers(0, 2)), data.draw(st.sampled_from([-2, -1, 1]))
    index, every = data.draw(st.integers(0, mask.shape[across] - 1)), data.draw(st.booleans())

    def copied(onto: str) -> Change:
        return copy_slice(mask, 1, across, index, step, every_label=every, onto=onto)  # type: ignore[arg-type]

    if not 0 <= index + step < mask.shape[across]:
        assert copied("over").is_empty
        return
    source, target = mask.take(index, across), mask.take(index + step, across)
    taken, gone = (source != 0, target != 0) if every else (source == 1, target == 1)
    for onto, wanted in (
        ("over", np.where(taken, source, target)),
        ("empty", np.where(taken & (target == 0), source, target)),
        ("replace", np.where(taken, source, np.where(gone, 0, target))),
    ):
        found = after(mask, copied(onto))
        assert np.array_equal(found.take(index + step, across), wanted)
        assert np.array_equal(np.delete(found, index + step, across), np.delete(mask, index + step, across))


def test_a_slice_that_is_not_there() -> None:
    with pytest.raises(GeometryError, match="no slice 5"):
        copy_slice(np.zeros((5, 5, 5), np.uint8), 1, 0, 5)
    with pytest.raises(GeometryError, match="no slice"):
        copy_slice(np.zeros((5, 5), np.uint8), 1, 0, 2)
