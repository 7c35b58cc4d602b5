"""Random masks for tests of tools: blobs of several labels, in two and three dimensions, any integer type, any spacing."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

LABELS = (0, 1, 2, 7)
SPACINGS = st.sampled_from([0.5, 0.8, 1.0, 1.5, 3.0])


@st.composite
def masks(draw: st.DrawFn, least: int = 1, most: int = 9, axes: tuple[int, ...] = (2, 3)) -> NDArray[np.integer]:
    """Blobs of the labels 1, 2 and 7; perhaps empty, or of a single voxel."""
    shape = draw(st.lists(st.integers(least, most), min_size=min(axes), max_size=max(axes)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    field = ndimage.gaussian_filter(random.normal(size=shape), draw(st.sampled_from([0, 0.7, 1.2])))
    dtype = draw(st.sampled_from([np.uint8, np.int16, np.int32, np.uint64, np.int8]))
    cuts = np.quantile(field, draw(st.sampled_from([(0.4, 0.6, 0.8), (0.9, 0.95, 1.0), (0.1, 0.8, 0.9)])))
    mask = np.array(LABELS, dtype)[np.searchsorted(cuts, field, side="left")]
    return np.asfortranarray(mask) if draw(st.booleans()) else mask


@st.composite
def scenes(
    draw: st.DrawFn, least: int = 1, most: int = 9, axes: tuple[int, ...] = (2, 3)
) -> tuple[NDArray[np.integer], tuple[float, ...], NDArray[np.float32]]:
    """A mask, its spacing and an image under it."""
    mask = draw(masks(least, most, axes))
    spacing = tuple(draw(SPACINGS) for _ in mask.shape)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = 10 * ndimage.gaussian_filter(random.normal(size=mask.shape), 1) + mask
    return mask, spacing, (np.round(8 * image) / 8).astype(np.float32)  # so that differences of intensities are exact


@st.composite
def places(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A voxel of a mask."""
    return tuple(draw(st.integers(0, size - 1)) for size in shape)


def turns(axes: int) -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """Every way to put the axes in another order and to flip them."""
    return list(product(permutations(range(axes)), product([False, True], repeat=axes)))


def turned(array: NDArray[np.generic], turn: tuple[tuple[int, ...], tuple[bool, ...]]) -> NDArray[np.generic]:
    """The array, the other way round."""
    order, flips = turn
    return np.flip(array.transpose(order), [axis for axis, flipped in enumerate(flips) if flipped])


def turned_place(
    place: tuple[float, ...], shape: tuple[int, ...], turn: tuple[tuple[int, ...], tuple[bool, ...]]
) -> tuple[float, ...]:
    """Where a voxel of the array is after `turned`."""
    order, flips = turn
    return tuple(shape[axis] - 1 - place[axis] if flipped else place[axis] for axis, flipped in zip(order, flips, strict=True))


def after(mask: NDArray[np.integer], change: object) -> NDArray[np.integer]:
    """The mask with a change."""
    result = mask.copy()
    result[change.box] = change.values  # type: ignore[attr-defined]
    return result


def distances(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """The distance of each voxel to the nearest of a mask, one pair after the other."""
    scale = np.array(spacing)
    there = np.argwhere(mask) * scale
    grid = np.argwhere(np.ones(mask.shape, bool)) * scale
    if not len(there):
        return np.full(mask.shape, np.inf)
    return np.sqrt(((grid[:, None] - there[None]) ** 2).sum(-1)).min(1).reshape(mask.shape)
