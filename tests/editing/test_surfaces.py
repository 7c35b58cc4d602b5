"""Margins, hollow shapes and smoothing: exact distances in mm, and all labels together without gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_seg3d.editing import Limits
from napari_seg3d.editing.balls import ball, closed, dilated, eroded, opened
from napari_seg3d.editing.margins import hollow, margin
from napari_seg3d.editing.smoothing import smooth, smooth_jointly
from napari_seg3d.errors import ConfigError
from tests.editing.blobs import LABELS, SPACINGS, after, distances, masks, scenes

_RADII = st.sampled_from([0.5, 1.0, 1.5, 2.4, 3.0, 7.0, 40.0])
_HAIR = 1 + 1e-9


@given(scenes(most=12), _RADII)
@settings(max_examples=80, deadline=None)
def test_growing_and_shrinking_is_by_the_distance_of_each_voxel(scene: tuple, radius: float) -> None:
    mask, spacing, _ = scene
    own = mask == 1
    assert np.array_equal(dilated(own, radius, spacing), distances(own, spacing) <= radius * _HAIR)
    assert np.array_equal(eroded(own, radius, spacing), distances(~own, spacing) > radius * _HAIR)


@given(scenes(), st.sampled_from([1.0, 1.5, 2.4]))
@settings(max_examples=40, deadline=None)
def test_opening_and_closing_are_those_of_scipy(scene: tuple, radius: float) -> None:
    mask, spacing, _ = scene
    own, kernel = mask == 1, ball(radius, spacing)
    margins = [(size // 2 + 1,) * 2 for size in kernel.shape]
    inside = tuple(slice(a, -b) for a, b in margins)
    padded = np.pad(own, margins)
    assert np.array_equal(closed(own, radius, spacing), ndimage.binary_closing(padded, kernel)[inside] | own)
    shrunk = ndimage.binary_erosion(own, kernel, border_value=1)
    assert np.array_equal(opened(own, radius, spacing), ndimage.binary_dilation(shrunk, kernel) & own)


@given(scenes(most=12), st.sampled_from([-3.0, -1.0, -0.2, 0.0, 0.2, 1.0, 1.5, 3.0, 50.0]), st.data())
@settings(max_examples=80, deadline=None)
def test_a_margin_is_exact_to_the_voxel(scene: tuple, mm: float, data: st.DataObject) -> None:
    mask, spacing, _ = scene
    label = data.draw(st.sampled_from([1, 2, 7, 3]))
    across = data.draw(st.none() | st.integers(0, mask.ndim - 1))
    scale = tuple(1e6 if axis == across else side for axis, side in enumerate(spacing))
    own = mask == label
    wanted = distances(own, scale) <= mm * _HAIR if mm > 0 else distances(~own, scale) > -mm * _HAIR
    if mm == 0:
        wanted = own
    found = after(mask, margin(mask, label, spacing, mm, across=across, over_others=True))
    assert np.array_equal(found == label, wanted)
    assert np.array_equal(found[~own & ~wanted], mask[~own & ~wanted])
    kept = after(mask, margin(mask, label, spacing, mm, across=across))
    assert np.array_equal(kept == label, wanted & (own | (mask == 0)))


def test_the_end_of_the_scan_takes_nothing_away() -> None:
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[:, :, :5] = 1
    found = after(mask, margin(mask, 1, (1, 1, 1), -2))
    assert (found[:, :, :3] == 1).all()
    assert not found[:, :, 3:].any()


@given(scenes(most=12), st.sampled_from([0.5, 1.0, 2.4]))
@settings(max_examples=40, deadline=None)
def test_a_hollow_label_has_a_wall_of_the_thickness_that_was_asked_for(scene: tuple, mm: float) -> None:
    mask, spacing, _ = scene
    own = mask == 1
    out, deep = distances(own, spacing), distances(~own, spacing)
    walls = {
        "inside": own & (deep <= mm * _HAIR),
        "outside": ~own & (out <= mm * _HAIR),
        "centred": np.where(own, deep, out) <= mm / 2 * _HAIR,
    }
    for wall, wanted in walls.items():
        found = after(mask, hollow(mask, 1, spacing, mm, wall, over_others=True))  # type: ignore[arg-type]
        assert np.array_equal(found == 1, wanted)
        assert not found[own & ~wanted].any()
        modest = after(mask, hollow(mask, 1, spacing, mm, wall))  # type: ignore[arg-type]
        assert np.array_equal(modest == 1, wanted & (own | (mask == 0)))


def test_walls_that_cannot_be() -> None:
    mask = np.ones((3, 3), np.uint8)
    for mm, wall in ((0, "inside"), (1, "beside")):
        with pytest.raises(ConfigError, match="wall"):
            hollow(mask, 1, (1, 1), mm, wall)  # type: ignore[arg-type]


# -- smoothing -----------------------------------------------------------------------------------------------------------------------------


@given(scenes(most=12), st.sampled_from([0.4, 1.0, 2.0, 3.1]), st.data())
@settings(max_examples=40, deadline=None)
def test_the_median_is_the_majority_of_the_cuboid_around(scene: tuple, mm: float, data: st.DataObject) -> None:
    mask, spacing, _ = scene
    across = data.draw(st.none() | st.integers(0, mask.ndim - 1))
    size = [1 if axis == across else 2 * int(mm / side * _HAIR) + 1 for axis, side in enumerate(spacing)]
    wanted = ndimage.median_filter((mask == 1).astype(np.uint8), size=size, mode="nearest") == 1
    found = after(mask, smooth(mask, 1, spacing, "median", mm, across=across, over_others=True))
    assert np.array_equal(found == 1, wanted)


@given(scenes(most=12), st.sampled_from([0.4, 1.0, 2.0]))
@settings(max_examples=40, deadline=None)
def test_the_gaussian_is_that_of_the_whole_mask(scene: tuple, mm: float) -> None:
    mask, spacing, _ = scene
    blurred = ndimage.gaussian_filter((mask == 1).astype(float), [mm / side for side in spacing], mode="nearest", truncate=3)
    found = after(mask, smooth(mask, 1, spacing, "gaussian", mm, over_others=True)) == 1
    sure = np.abs(blurred - 0.5) > 1e-3
    assert np.array_equal(found[sure], (blurred > 0.5)[sure])
    assert np.array_equal(found[np.abs(blurred - 0.5) < 1e-5], (mask == 1)[np.abs(blurred - 0.5) < 1e-5])


def _rough_ball(random: np.random.Generator) -> np.ndarray:
    axes = np.ogrid[:40, :40, :40]
    far = sum((axis - 20) ** 2 for axis in axes)
    return far < 14**2 + 100 * ndimage.gaussian_filter(random.normal(size=(40, 40, 40)), 0.7)


@pytest.mark.parametrize("method", ["median", "gaussian", "opening", "closing"])
def test_a_rough_ball_becomes_smoother(method: str) -> None:
    own = _rough_ball(np.random.default_rng(0))
    mask = own.astype(np.uint8)
    found = after(mask, smooth(mask, 1, (1, 1, 1), method, 2)) == 1  # type: ignore[arg-type]

    def surface(shape: np.ndarray) -> int:
        return sum(int(np.count_nonzero(np.diff(shape, axis=axis))) for axis in range(3))

    assert surface(found) < 0.97 * surface(own)
    assert 0.85 * own.sum() < found.sum() < 1.15 * own.sum()


def test_smoothing_that_cannot_be() -> None:
    mask = np.ones((3, 3), np.uint8)
    for method, mm in (("median", 0), ("wavelets", 1)):
        with pytest.raises(ConfigError, match="smoothed"):
            smooth(mask, 1, (1, 1), method, mm)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="smoothed"):
        smooth_jointly(mask, (1, 1), 0)


@given(scenes(most=10), st.sampled_from([0.6, 1.5]), st.sets(st.sampled_from([1, 2, 7])))
@settings(max_examples=40, deadline=None)
def test_joint_smoothing_gives_each_voxel_to_the_label_with_most_of_it(scene: tuple, mm: float, locked: set[int]) -> None:
    mask, spacing, _ = scene
    free = ~np.isin(mask, list(locked))
    sigma = [mm / side for side in spacing]
    shares = np.stack(
        [ndimage.gaussian_filter(((mask == label) & free).astype(float), sigma, mode="nearest", truncate=3) for label in LABELS]
    )
    found = after(mask, smooth_jointly(mask, spacing, mm, Limits(frozenset(locked))))
    best = np.sort(shares, axis=0)
    sure = free & (best[-1] - best[-2] > 1e-3)
    assert np.array_equal(found[sure], np.array(LABELS)[shares.argmax(0)][sure])
    assert np.array_equal(found[~free], mask[~free])


@given(masks(least=6, most=12, axes=(3, 3)))
@settings(max_examples=30, deadline=None)
def test_joint_smoothing_opens_no_gaps(mask: np.ndarray) -> None:
    full = np.where(mask == 0, 1, mask).astype(mask.dtype)
    assert (after(full, smooth_jointly(full, (1, 1, 2), 1.5)) != 0).all()


def test_joint_smoothing_makes_a_rough_border_smooth() -> None:
    random = np.random.default_rng(1)
    level = 16 + 6 * ndimage.gaussian_filter(random.normal(size=(32, 32)), 0.6)
    column = np.arange(32)
    mask = np.where(column < level[..., None], 3, 900).astype(np.int32)
    mask[:, :4] = 0
    found = after(mask, smooth_jointly(mask, (1, 1, 1), 1.5))
    border = (found[4:] == 3).sum(-1)
    assert border[4:-4, 10:-4].std() < 0.6 * level[8:-4, 10:-4].std()
    assert set(np.unique(found)) == {0, 3, 900}


@given(SPACINGS, SPACINGS)
def test_what_is_not_there_is_not_smoothed(row: float, column: float) -> None:
    mask = np.zeros((5, 6), np.uint8)
    assert smooth(mask, 1, (row, column)).is_empty
    assert smooth_jointly(mask, (row, column)).is_empty
    assert margin(mask, 1, (row, column), 3).is_empty
    assert hollow(mask, 1, (row, column), 3).is_empty
