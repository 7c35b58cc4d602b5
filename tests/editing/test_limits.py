"""Voxels outside a range of intensities stay; walls for tools in which labels compete."""

import numpy as np
import pytest

from napari_seg3d.editing import Change, Limits, apply, touchable, within
from napari_seg3d.errors import ConfigError, GeometryError

_ALL = (slice(0, 4), slice(0, 5))


def test_only_intensities_in_the_range_are_painted_both_ends_included():
    mask = np.zeros((4, 5), np.uint8)
    image = np.arange(20, dtype=np.float32).reshape(4, 5)
    image[0, 3] = np.nan
    limits = Limits(image=image, intensities=(2, 7))
    apply(mask, Change(_ALL, np.ones_like(mask)), limits)
    assert np.array_equal(np.flatnonzero(mask), [2, 4, 5, 6, 7])


def test_a_change_is_told_what_of_it_is_allowed():
    mask = np.array([[1, 2, 0, 0, 0]] * 4, np.int16)
    change = within(mask, Change(_ALL, np.full_like(mask, 3)), Limits(frozenset({2})))
    assert np.array_equal(change.values[0], [3, 2, 3, 3, 3])
    assert np.array_equal(mask[0], [1, 2, 0, 0, 0]), "nothing was written"
    free = touchable(mask, Limits(frozenset({1, 0})), _ALL)
    assert np.array_equal(free[0], [False, True, False, False, False])
    assert within(mask, Change(_ALL, np.full_like(mask, 2)), Limits(frozenset({2}))).values[0, 0] == 1


def test_limits_that_cannot_be():
    mask = np.zeros((4, 5), np.uint8)
    with pytest.raises(ConfigError, match="empty"):
        Limits(image=mask, intensities=(3, 2))
    with pytest.raises(ConfigError, match="needs an image"):
        Limits(intensities=(2, 3))
    with pytest.raises(GeometryError, match="image has"):
        apply(mask, Change(_ALL, np.ones_like(mask)), Limits(image=np.zeros((4, 4)), intensities=(0, 1)))
