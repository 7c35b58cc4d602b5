"""Pieces, holes, splitting and combining."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_seg3d.editing.combining import combine, cut, merge
from napari_seg3d.editing.islands import drop_small, fill_holes, keep_island, keep_largest, split_islands
from napari_seg3d.editing.pieces import enclosed
from napari_seg3d.editing.splitting import split, split_by_seeds
from napari_seg3d.errors import ConfigError, GeometryError, LabelError
from tests.editing.blobs import after, distances, masks, places, scenes


def _pieces(where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pieces, count = ndimage.label(where, np.ones((3,) * where.ndim))
    return pieces, np.array([(pieces == number + 1).sum() for number in range(count)])


@given(scenes(), st.data())
@settings(max_examples=60, deadline=None)
def test_pieces_are_kept_dropped_and_counted(scene: tuple, data: st.DataObject) -> None:
    mask, spacing, _ = scene
    pieces, sizes = _pieces(mask == 1)
    others = mask != 1
    largest = after(mask, keep_largest(mask, 1))
    assert np.array_equal(largest[others], mask[others])
    if len(sizes):
        kept, count = _pieces(largest == 1)
        assert count.tolist() == [sizes.max()]
        assert (kept[largest == 1] == 1).all()
    least = data.draw(st.sampled_from([1, 2, 5])) * float(np.prod(spacing)) / 1000
    dropped = after(mask, drop_small(mask, 1, spacing, least))
    wanted = np.isin(pieces, np.flatnonzero(sizes * np.prod(spacing) / 1000 >= least * (1 - 1e-9)) + 1)
    assert np.array_equal(dropped == 1, wanted)
    split_up = after(mask, split_islands(mask, 1, first=60))
    assert np.array_equal(split_up[others], mask[others])
    for number, size in enumerate(sorted(sizes, reverse=True)):
        assert (split_up == (1 if number == 0 else 59 + number)).sum() == size
    voxel = data.draw(places(mask.shape))
    clicked = (pieces == pieces[voxel]) & (pieces > 0)
    if mask[voxel] == 1:
        assert np.array_equal(after(mask, keep_island(mask, voxel)) == 1, clicked)
        assert np.array_equal(after(mask, keep_island(mask, voxel, drop=True)) == 1, (mask == 1) & ~clicked)


def test_pieces_get_labels_that_nobody_has() -> None:
    mask = np.zeros((3, 20), np.uint8)
    mask[1, 1:4] = mask[1, 6] = mask[1, 8:10] = 1
    mask[2, 19] = 200
    assert after(mask, split_islands(mask, 1))[1].tolist() == [0, 1, 1, 1, 0, 0, 202, 0, 201, 201, *[0] * 10]
    with pytest.raises(LabelError, match="256"):
        split_islands(mask, 1, first=255)
    with pytest.raises(ConfigError, match="3 pieces"):
        split_islands(mask, 1, most=2)
    with pytest.raises(GeometryError, match="does not lie"):
        keep_island(mask, (3, 3))


@given(scenes(), st.data())
@settings(max_examples=60, deadline=None)
def test_holes_are_those_that_scipy_fills(scene: tuple, data: st.DataObject) -> None:
    mask, spacing, _ = scene
    mask = np.where(mask == 1, 1, 0).astype(mask.dtype)
    across = data.draw(st.none() | st.integers(0, 2)) if mask.ndim == 3 else None
    if 1 in mask.shape:
        return
    own = mask == 1
    if across is None:
        wanted = ndimage.binary_fill_holes(own)
    else:
        wanted = np.stack([ndimage.binary_fill_holes(one) for one in np.moveaxis(own, across, 0)], axis=across)
    assert np.array_equal(after(mask, fill_holes(mask, 1, spacing, across=across)) == 1, wanted)
    assert np.array_equal(own | enclosed(own, () if across is None else (across,)), wanted)


def test_large_holes_stay_if_asked_and_others_in_them_too() -> None:
    mask = np.zeros((12, 12, 24), np.uint8)
    mask[1:11, 1:11, 1:23] = 1
    mask[3:5, 3:5, 3:5] = 0  # 8 voxels
    mask[3:8, 3:8, 10:20] = 0
    mask[5, 5, 15] = 2
    found = after(mask, fill_holes(mask, 1, (1, 1, 1), most_ml=0.008))
    assert (found[3:5, 3:5, 3:5] == 1).all()
    assert not found[3, 3, 10:20].any()
    full = after(mask, fill_holes(mask, 1, (1, 1, 1)))
    assert (full[1:11, 1:11, 1:23] != 0).all()
    assert full[5, 5, 15] == 2


# -- combining -----------------------------------------------------------------------------------------------------------------------------


@given(masks(), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=60, deadline=None)
def test_labels_of_two_masks_are_combined_as_sets_are(mask: np.ndarray, seed: int, over: bool) -> None:
    source = np.random.default_rng(seed).permutation(mask.ravel()).reshape(mask.shape)
    own, other = mask == 1, source == 2
    results = {"union": own | other, "subtract": own & ~other, "intersect": own & other, "xor": own ^ other, "copy": other}
    for operation, wanted in results.items():
        found = after(mask, combine(mask, 1, 2, operation, source, over_others=over))  # type: ignore[arg-type]
        wanted = wanted if over else wanted & (own | (mask == 0))
        assert np.array_equal(found == 1, wanted)
        assert not found[own & ~wanted].any()
        assert np.array_equal(found[~own & ~wanted], mask[~own & ~wanted])


@given(masks())
@settings(max_examples=30, deadline=None)
def test_labels_of_one_mask_never_overlap(mask: np.ndarray) -> None:
    own, other = mask == 1, mask == 2
    results = {"union": own | other, "subtract": own, "intersect": own & other, "xor": own | other, "copy": other}
    for operation, wanted in results.items():
        assert np.array_equal(after(mask, combine(mask, 1, 2, operation)) == 1, wanted)  # type: ignore[arg-type]
        assert combine(mask, 1, 1, operation).is_empty  # type: ignore[arg-type]
    merged = after(mask, merge(mask, 1, [2, 7, 0, 1, 3, 100_000]))
    assert np.array_equal(merged, np.where(mask != 0, 1, 0))


def test_an_operation_that_is_none() -> None:
    mask = np.ones((3, 3), np.uint8)
    with pytest.raises(ConfigError, match="nand"):
        combine(mask, 1, 2, "nand")  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match="the mask has"):
        combine(mask, 1, 2, "union", np.ones((3, 4), np.uint8))
    with pytest.raises(ConfigError, match="cut"):
        cut(mask, 1, [2], (1, 1), "beside")  # type: ignore[arg-type]


@given(scenes(), st.sampled_from([0.0, 1.0, 2.4]), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_label_is_cut_by_where_others_are(scene: tuple, mm: float, filled: bool, aside: bool) -> None:
    mask, spacing, _ = scene
    source = mask[::-1] if aside else None
    region = np.isin(mask if source is None else source, [2, 7])
    reached = distances(region, spacing) <= mm * (1 + 1e-9)
    if filled and 1 not in mask.shape:
        reached = ndimage.binary_fill_holes(reached)
    elif filled:
        return
    for side, stays in (("inside", reached), ("outside", ~reached)):
        found = after(mask, cut(mask, 1, [2, 7], spacing, side, source, mm=mm, filled=filled))  # type: ignore[arg-type]
        assert np.array_equal(found == 1, (mask == 1) & stays)
        assert np.array_equal(found[mask != 1], mask[mask != 1])


# -- splitting -----------------------------------------------------------------------------------------------------------------------------

_SPACING = (2.0, 1.0, 0.8)


def _balls(*centres: tuple[float, float, float], radius: float = 12) -> np.ndarray:
    """Balls that touch, in mm."""
    axes = [axis * side for axis, side in zip(np.ogrid[:24, :48, :90], _SPACING, strict=True)]
    far = [sum((axis - at) ** 2 for axis, at in zip(axes, centre, strict=True)) for centre in centres]
    return (np.minimum.reduce(far) <= radius**2).astype(np.uint8)


def _nearest(*centres: tuple[float, float, float]) -> np.ndarray:
    axes = [axis * side for axis, side in zip(np.ogrid[:24, :48, :90], _SPACING, strict=True)]
    return np.argmin([sum((axis - at) ** 2 for axis, at in zip(axes, centre, strict=True)) for centre in centres], axis=0)


_THREE = ((24.0, 20.0, 14.0), (24.0, 22.0, 34.0), (24.0, 20.0, 55.0))


@pytest.mark.parametrize("count", [2, 3])
def test_balls_that_touch_are_parted_where_they_do(count: int) -> None:
    mask = _balls(*_THREE[:count])
    mask[1, 1, 1] = 1  # a speck is no part
    found = after(mask, split(mask, 1, _SPACING, count))
    assert np.array_equal(found != 0, mask != 0)
    nearest = _nearest(*_THREE[:count])
    own = mask != 0
    agreement = sum(
        max((own & (nearest == number) & (found == label)).sum() for label in np.unique(found[own])) for number in range(count)
    )
    assert agreement / own.sum() > 0.98
    sizes = np.bincount(found[own])
    assert sizes[1] == sizes.max()
    assert len(np.flatnonzero(sizes)) == count


def test_clicks_say_where_the_parts_are() -> None:
    mask = _balls(*_THREE)
    clicks = [tuple(at / side for at, side in zip(centre, _SPACING, strict=True)) for centre in _THREE[::-1]]
    found = after(mask, split_by_seeds(mask, 1, _SPACING, clicks, first=50))
    own = mask != 0
    wanted = np.array([51, 50, 1])[_nearest(*_THREE)]
    assert (found == wanted)[own].mean() > 0.98
    for click, label in zip(clicks, (1, 50, 51), strict=True):
        assert found[tuple(round(at) for at in click)] == label
    # Two clicks in one ball: half each.
    one = _balls(_THREE[1])
    halves = after(one, split_by_seeds(one, 1, _SPACING, [(12, 22, 36), (12, 22, 48)]))
    assert 0.4 < (halves == 1).sum() / (one == 1).sum() < 0.6


def test_a_ball_is_not_split_and_pieces_are_parts() -> None:
    ball = _balls(_THREE[1])
    assert np.array_equal(after(ball, split(ball, 1, _SPACING)), ball)
    apart = _balls((24.0, 20.0, 14.0), (24.0, 22.0, 50.0), radius=10)
    parts = after(apart, split(apart, 1, _SPACING))
    assert len(np.unique(parts)) == 3
    assert all(ndimage.label(parts == label)[1] == 1 for label in (1, 2))


@given(scenes(axes=(2, 3)), st.integers(2, 4), st.data())
@settings(max_examples=60, deadline=None)
def test_no_voxel_is_lost_and_there_are_as_many_parts_as_asked_for_at_most(scene: tuple, parts: int, data: st.DataObject) -> None:
    mask, spacing, _ = scene
    own = mask == 1
    found = after(mask, split(mask, 1, spacing, parts, least_depth_mm=0.0, first=30))
    assert np.array_equal(found[~own], mask[~own])
    assert set(np.unique(found[own])) <= {1, *range(30, 29 + parts)}
    if own.any():
        voxels = np.argwhere(own)
        clicks = [tuple(voxels[data.draw(st.integers(0, len(voxels) - 1))]) for _ in range(parts)]
        seeded = after(mask, split_by_seeds(mask, 1, spacing, clicks, first=30))
        assert np.array_equal(seeded[~own], mask[~own])
        for number, click in enumerate(dict.fromkeys(clicks)):
            if len(set(clicks)) == parts:
                assert seeded[click] == (1 if number == 0 else 29 + number)


def test_seeds_that_are_none() -> None:
    mask = _balls(_THREE[1])
    with pytest.raises(ConfigError, match="does not lie in label 1"):
        split_by_seeds(mask, 1, _SPACING, [(0, 0, 0)])
    with pytest.raises(ConfigError, match="two or more"):
        split(mask, 1, _SPACING, 1)
    with pytest.raises(LabelError, match="256"):
        split_by_seeds(mask, 1, _SPACING, [(12, 22, 38), (12, 22, 48)], first=256)
    assert split_by_seeds(mask, 1, _SPACING, []).is_empty
    assert split(mask, 3, _SPACING).is_empty
