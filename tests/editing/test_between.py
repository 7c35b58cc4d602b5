"""Slices in between follow from the painted ones, and the painted ones stay as they are."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_seg3d.editing import History, Limits
from napari_seg3d.editing.between import fill_between, painted_slices
from napari_seg3d.errors import Cancelled, ConfigError, GeometryError, LabelError
from napari_seg3d.evaluation.counts import count_labels
from napari_seg3d.volumes import read_volume


def filled(mask, *args, **kwargs):
    result = mask.copy()
    change = fill_between(mask, *args, **kwargs)
    result[change.box] = change.values
    return result


def kept(mask, axis, every):
    result = np.zeros_like(mask)
    some = tuple(slice(0, None, every) if other == axis else slice(None) for other in range(3))
    result[some] = mask[some]
    return result


def blobs(seed, shape=(17, 24, 20)):
    """Three labels that touch, with pieces and holes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.5)
    low, middle, high = np.quantile(noise, [0.5, 0.7, 0.9])
    return np.select([noise > high, noise > middle, noise > low], [7, 2, 5], 0).astype(np.int16)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 2]), st.sampled_from([2, 3, 5]), st.booleans())
def test_painted_voxels_and_locked_labels_stay_and_undo_restores_every_bit(seed, axis, every, with_image):
    mask = kept(blobs(seed), axis, every)
    image = ndimage.gaussian_filter(blobs(seed).astype(np.float32), 0.5) if with_image else None
    before, limits = mask.copy(), Limits(frozenset({5}))
    history = History()
    change = fill_between(mask, (1.5, 1.0, 0.8), axis, image=image, limits=limits)
    assert np.array_equal(mask, before), "a tool writes nothing"
    history.apply(mask, change, limits)
    assert np.array_equal(mask[before > 0], before[before > 0])
    assert np.array_equal(mask == 5, before == 5)
    for label in (2, 7):
        slices = painted_slices(before, label, axis)
        new = painted_slices(mask, label, axis)
        assert new[0] == slices[0]
        assert new[-1] == slices[-1], "nothing beyond the ends"
        painted = np.take(mask == label, slices, axis)
        assert np.array_equal(painted, np.take(before == label, slices, axis)), "painted slices stay to the bit"
    after = mask.copy()
    history.undo(mask)
    assert np.array_equal(mask, before)
    history.redo(mask)
    assert np.array_equal(mask, after)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.permutations([0, 1, 2]), st.lists(st.booleans(), min_size=3, max_size=3))
def test_no_direction_is_special(seed, order, flips):
    mask, spacing = kept(blobs(seed), 0, 4), (2.0, 1.0, 1.0)
    turned = mask.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    expected = filled(mask, spacing, 0).transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    result = filled(np.ascontiguousarray(turned), tuple(spacing[axis] for axis in order), order.index(0))
    # Pixels just as near to two outlines go to either; so do pieces just as far from each other.
    assert np.mean(result != expected) < 0.01


@settings(max_examples=20, deadline=None)
@given(st.floats(3, 9), st.floats(3, 9), st.integers(2, 8))
def test_between_two_discs_lies_what_lies_between_them(small, large, gap):
    y, x = np.ogrid[-12:13, -12:13]
    first, second = (np.hypot(y, x) <= radius for radius in sorted((small, large)))
    mask = np.zeros((gap + 1, 25, 25), np.uint8)
    mask[0][first], mask[gap][second] = 3, 3
    result = filled(mask, (1.0, 1.0, 1.0), 0) == 3
    areas = result.sum(axis=(1, 2))
    assert np.all(np.diff(areas) >= 0)
    assert np.all(result[:, first])
    assert not np.any(result[:, ~second])


def test_a_disc_that_moves_sideways_is_followed():
    y, x = np.ogrid[:30, :40]
    mask = np.zeros((9, 30, 40), np.uint8)
    mask[0][np.hypot(y - 10, x - 8) < 4] = 1
    mask[8][np.hypot(y - 20, x - 28) < 4] = 1
    result = filled(mask, (3.0, 1.0, 1.0), 0)
    middle = np.argwhere(result[4])
    assert np.allclose(middle.mean(axis=0), (15, 18), atol=0.5)
    assert abs(len(middle) - np.count_nonzero(mask[0])) < 6


def test_branches_join_and_holes_stay():
    y, x = np.ogrid[:30, :40]
    mask = np.zeros((5, 30, 40), np.uint8)
    mask[0][np.hypot(y - 15, x - 20) < 13] = 1
    mask[0][np.hypot(y - 15, x - 20) < 4] = 0
    mask[4] = mask[0]
    assert np.array_equal(filled(mask, (1.0, 1.0, 1.0), 0)[2], mask[0])
    fork = np.zeros_like(mask)
    fork[0][np.hypot(y - 15, (x - 20) / 2) < 6] = 1
    fork[4][(np.hypot(y - 15, x - 12) < 5) | (np.hypot(y - 15, x - 28) < 5)] = 1
    _, pieces = ndimage.label(filled(fork, (1.0, 1.0, 1.0), 0))
    assert pieces == 1


def test_slices_that_are_named_say_where_a_label_is_no_more():
    mask = np.zeros((13, 20, 20), np.uint8)
    mask[[0, 4]] = np.hypot(*np.ogrid[-10:10, -10:10]) < 7
    assert painted_slices(filled(mask, (1, 1, 1), 0), 1, 0) == [0, 1, 2, 3, 4]
    told = filled(mask, (1, 1, 1), 0, slices=[0, 4, 8, 12])
    assert painted_slices(told, 1, 0) == [0, 1, 2, 3, 4, 5], "it ends half-way"


def undulating(noise):
    """A bright lesion whose width goes up and down faster than every eighth slice can tell."""
    z, y, x = np.ogrid[:45, :60, :60]
    truth = np.hypot(y - 30, (x - 30) * 0.8) < 13 + 3 * np.sin(z / 13 * 2 * np.pi)
    image = np.where(truth, 100, 40) + np.random.default_rng(0).normal(0, noise, truth.shape)
    return truth, image.astype(np.float32)


def wrong_between(truth, image, painted):
    """How many voxels are wrong between painted slices, by shape and with the image."""
    mask = np.zeros(truth.shape, np.uint8)
    mask[list(painted)] = truth[list(painted)]
    between = slice(painted[0], painted[-1])
    results = (filled(mask, (1.0, 1.0, 1.0), 0, image=under) for under in (None, image))
    return [np.count_nonzero((result > 0)[between] != truth[between]) for result in results]


@pytest.mark.parametrize("noise", [1, 20, 40])
@pytest.mark.parametrize("painted", [(2, 10), range(2, 45, 8)])
def test_an_image_shows_what_no_painted_slice_does(noise, painted):
    by_shape, with_image = wrong_between(*undulating(noise), painted)
    assert with_image < 0.7 * by_shape


def test_an_image_of_something_else_does_no_harm():
    z, y, x = np.ogrid[:81, :50, :50]
    truth = np.hypot(y - 25, x - 25 - 5 * np.sin(z / 9)) < 12
    image = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=truth.shape), (1, 4, 4))
    by_shape, with_image = wrong_between(truth, image, range(0, 81, 4))
    assert with_image < by_shape + 0.005 * np.count_nonzero(truth)


@pytest.mark.parametrize("where", ["even", "gap"])
def test_an_image_without_numbers_says_nothing(where):
    truth, image = undulating(1)
    image[:] = np.nan if where == "even" else image
    image[5:8] = np.nan
    mask = np.zeros(truth.shape, np.uint8)
    mask[[2, 10]] = truth[[2, 10]]
    by_shape, with_image = (filled(mask, (1.0, 1.0, 1.0), 0, image=under) for under in (None, image))
    assert with_image[5:8].all(axis=0).sum() > 0.5 * by_shape[5:8].all(axis=0).sum()
    assert where == "gap" or np.array_equal(with_image, by_shape)


def test_progress_is_told_and_a_cancel_heard_while_it_learns_from_the_image():
    truth, image = undulating(20)
    mask = np.zeros(truth.shape, np.uint8)
    mask[::4] = truth[::4]
    told, asked = [], []
    fill_between(mask, (1, 1, 1), 0, image=image, progress=lambda done, total: told.append((done, total)))
    total = 12 + 8 + 11
    assert told == [(done, total) for done in range(1, total + 1)], "slices looked at, tried, and gaps between them"
    for after in (3, 12):
        asked.clear()
        with pytest.raises(Cancelled):
            fill_between(mask, (1, 1, 1), 0, image=image, cancelled=lambda: len(asked) == after or asked.append(None))  # noqa: B023
        assert len(asked) == after


def test_a_stray_voxel_far_away_changes_nothing():
    y, x = np.ogrid[:60, :60]
    mask = np.zeros((9, 60, 60), np.uint8)
    mask[0][np.hypot(y - 30, x - 20) < 8] = 1
    mask[8][(np.hypot((y - 34) / 3, x - 32) < 4) & ((y < 30) | (x < 32))] = 1
    stray = mask.copy()
    stray[0, [1, 58], [1, 58]] = 1
    near = (slice(1, 8), slice(8, 52), slice(8, 52))
    assert np.array_equal(filled(mask, (3.0, 1.0, 1.0), 0)[near], filled(stray, (3.0, 1.0, 1.0), 0)[near])


def test_what_cannot_be_filled_says_why():
    mask = np.zeros((6, 8, 8), np.uint8)
    with pytest.raises(LabelError, match="Paint the label in two slices"):
        fill_between(mask, (1, 1, 1), 0)
    mask[0, 2:5, 2:5] = 1
    with pytest.raises(ConfigError, match="Paint slices with some between them"):
        fill_between(mask, (1, 1, 1), 0)
    mask[4, 2:5, 2:5] = 1
    with pytest.raises(ConfigError, match="Unlock"):
        fill_between(mask, (1, 1, 1), 0, limits=Limits(frozenset({1})))
    with pytest.raises(ConfigError, match="axis 0, 1 or 2"):
        fill_between(mask, (1, 1, 1), 3)
    with pytest.raises(ConfigError, match="no slices"):
        fill_between(mask[0], (1, 1), 0)
    with pytest.raises(ConfigError, match="from 0 to 5"):
        fill_between(mask, (1, 1, 1), 0, slices=[0, 9])
    with pytest.raises(GeometryError, match="image"):
        fill_between(mask, (1, 1, 1), 0, image=np.zeros((2, 2, 2)))
    with pytest.raises(Cancelled):
        fill_between(mask, (1, 1, 1), 0, cancelled=lambda: True)
    told = []
    fill_between(mask, (1, 1, 1), 0, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (1, 1)


@pytest.mark.parametrize(("every", "least"), [(2, 0.88), (4, 0.82), (8, 0.7)])
def test_organs_are_found_again(shared_data: Path, every, least):
    mask = read_volume(shared_data / "totalseg" / "example_seg_fast_force_split.nii.gz", "labels")
    truth = np.where(np.isin(mask.data[0], (1, 2, 3, 5, 6, 7, 51, 52)), mask.data[0], 0)
    result = filled(kept(truth, 2, every), mask.spacing, 2)
    found = [one.dice for one in count_labels(result, truth, np.unique(truth)[1:].tolist()).values()]
    assert np.mean(found) > least
