"""Two masks compared: every voxel counted once, every piece where it says it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_seg3d.errors import Cancelled, GeometryError
from napari_seg3d.review import AGREED, MISSED, OTHER, TOO_MUCH, agreement_map, differences

SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9)


@st.composite
def two_masks(draw):
    shape = draw(SHAPES)
    dtype = draw(st.sampled_from([np.uint8, np.int32]))
    values = st.sampled_from([0, 0, 0, 1, 2, 200])
    return tuple(draw(hnp.arrays(dtype, shape, elements=values, fill=st.just(0))) for _ in range(2))


@given(masks=two_masks())
def test_the_map_says_what_each_voxel_is(masks):
    mask, reference = masks
    found = agreement_map(mask, reference)
    assert np.array_equal(found == AGREED, (mask == reference) & (mask != 0))
    assert np.array_equal(found == MISSED, (mask == 0) & (reference != 0))
    assert np.array_equal(found == TOO_MUCH, (mask != 0) & (reference == 0))
    assert np.array_equal(found == OTHER, (mask != reference) & (mask != 0) & (reference != 0))


@given(masks=two_masks(), spacing=st.lists(st.floats(0.3, 5), min_size=3, max_size=3), data=st.data())
@settings(deadline=None)
def test_the_pieces_are_those_that_a_naive_search_finds(masks, spacing, data):
    mask, reference = masks
    step = tuple(spacing[: mask.ndim])
    voxel = float(np.prod(step)) / 1000
    smallest = data.draw(st.integers(0, 4)) * voxel
    found = differences(mask, reference, step, smallest)
    expected = []
    for instead in np.unique(mask):
        for label in np.unique(reference):
            if instead == label:
                continue
            where = (mask == instead) & (reference == label)
            pieces, count = ndimage.label(where)
            for piece in range(1, count + 1):
                size = int((pieces == piece).sum())
                if size * voxel >= smallest - 1e-9:
                    expected.append((size, int(label or instead), int(instead)))
    told = [(round(one.ml / voxel), one.label, one.instead) for one in found]
    assert sorted(told) == sorted(expected)
    assert [one.ml for one in found] == sorted((one.ml for one in found), reverse=True)
    for one in found:
        at = one.centre
        assert mask[at] == one.instead
        assert (reference[at] or mask[at]) == one.label
        assert all(part.start <= place < part.stop for part, place in zip(one.box, at, strict=True))
        kind = "missed" if mask[at] == 0 else "too much" if reference[at] == 0 else "other label"
        assert one.kind == kind
        marked = (mask == mask[at]) & (reference == reference[at])
        pieces, _ = ndimage.label(marked)
        assert one.box == ndimage.find_objects(pieces)[pieces[at] - 1]


def test_the_centre_of_a_shell_lies_in_it():
    grid = np.indices((31, 31, 31)) - 15
    distance = np.sqrt((grid**2).sum(axis=0))
    reference, mask = (distance < 12).astype(np.uint8), (distance < 10).astype(np.uint8)
    (one,) = differences(mask, reference, (1, 1, 1))
    assert one.kind == "missed"
    assert 10 <= distance[one.centre] < 12


def test_edges():
    empty = np.zeros((4, 4, 4), np.uint8)
    assert differences(empty, empty, (1, 1, 1)) == []
    assert not agreement_map(empty, empty).any()
    full = np.ones((4, 4, 4), np.uint8)
    (one,) = differences(full, empty, (1, 1, 1))
    assert (one.kind, one.label, one.ml) == ("too much", 1, pytest.approx(0.064))
    with pytest.raises(GeometryError):
        differences(full, full[1:], (1, 1, 1))
    with pytest.raises(Cancelled):
        differences(full, empty, (1, 1, 1), cancelled=lambda: True)
    noise = (np.indices((20, 20, 20)).sum(axis=0) % 2).astype(np.uint8)
    assert len(differences(noise, np.zeros_like(noise), (1, 1, 1), most=7)) == 7
