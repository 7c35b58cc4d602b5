"""Slices and their neighbours, on arrays whose values say where they come from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.networks.planes import AXIS, Plane, as_slices, from_slices, with_context

PLANES = st.sampled_from(sorted(AXIS))
SHAPES = st.tuples(st.integers(1, 3), *[st.integers(1, 6)] * 3)


def _volume(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape)


@pytest.mark.parametrize(("plane", "sides"), [("axial", (5, 6)), ("coronal", (5, 7)), ("sagittal", (6, 7))])
def test_a_plane_shows_the_sides_that_its_name_says(plane: Plane, sides: tuple[int, int]) -> None:
    volume = _volume((2, 5, 6, 7))
    slices = as_slices(volume, plane)
    assert slices.shape[1:3] == sides
    one = {"axial": volume[..., 3], "coronal": volume[:, :, 3], "sagittal": volume[:, 3]}[plane]
    assert np.array_equal(slices[..., 3], one)


@given(SHAPES, PLANES)
def test_there_and_back_is_the_same_volume_without_a_copy(shape: tuple[int, ...], plane: Plane) -> None:
    volume = _volume(shape)
    back = from_slices(as_slices(volume, plane), plane)
    assert np.array_equal(back, volume)
    assert np.shares_memory(back, volume)


@given(SHAPES, PLANES, st.integers(0, 4), st.data())
def test_context_is_a_window_on_a_stack_with_repeated_ends(
    shape: tuple[int, ...], plane: Plane, context: int, data: st.DataObject
) -> None:
    slices = as_slices(_volume(shape), plane)
    index = data.draw(st.integers(0, slices.shape[-1] - 1))
    found = with_context(slices, index, context)
    assert found.shape == ((2 * context + 1) * shape[0], *slices.shape[1:3])
    padded = np.pad(slices, ((0, 0), (0, 0), (0, 0), (context, context)), mode="edge")
    window = padded[..., index : index + 2 * context + 1]
    for place in range(2 * context + 1):  # all channels of one slice, then all of the next
        assert np.array_equal(found[place * shape[0] : (place + 1) * shape[0]], window[..., place])
