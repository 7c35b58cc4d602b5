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
