"""Which seed is nearest to each voxel, on ways that are longer where the image changes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.change import Box

Seeds = NDArray[np.int64]

#: In seeds: this voxel is to be given a label.
OPEN = -1
#: In seeds, and in what comes back: no way leads through this voxel, or to it.
WALL = -2
# By how many times its length a step is longer if the image changes in it by as much as it does from voxel to voxel on average.
_STEEPNESS = 10.0
# With more voxels than this, every second one is decided first, and only what lies between two labels after that.
_MOST = 1_000_000
# Sides that are not halved any more, because nothing would be left of what is painted.
_SHORTEST = 16


def nearest_seeds(seeds: Seeds, image: NDArray[np.float32], spacing: Sequence[float]) -> Seeds:
    """Give each open voxel the label of the seed from which the shortest way leads to it.

    The length of a step is its mm times 1 + 10 d / D, where d is how much the image changes in it, and D how much it changes from voxel to
    voxel on average (additive costs, as P. J. Toivanen's gray-weighted distances, 1996; the forest of shortest ways is the one of A. X.
    Falcão, J. Stolfi and R. de Alencar Lotufo, The image foresting transform, 2004). One run of Dijkstra's algorithm serves all labels. Of
    large volumes, every second voxel along each axis is decided first, and what lies near the borders after that.

    Parameters
    ----------
    seeds : array of int64
        In two or three dimensions: a label from 0, :data:`OPEN`, or :data:`WALL`.
    image : array of float32
        Of the same shape.
    spacing : sequence of float
        The mm of each axis.

    Returns
    -------
    array of int64
        The seeds, and a label for each open voxel to which there is a way; the others stay open.
    """
    return _nearest(seeds, image, spacing, _change(image))


def _nearest(seeds: Seeds, image: NDArray[np.float32], spacing: Sequence[float], change: float) -> Seeds:
    if np.count_nonzero(seeds == OPEN) <= _MOST or max(seeds.shape) < 2 * _SHORTEST:
        return _shortest(seeds, image, spacing, change)
    # Long voxels are not made longer.
    steps = [
        2 if size >= 2 * _SHORTEST and side < 1.8 * min(spacing) else 1 for side, size in zip(spacing, seeds.shape, strict=True)
    ]
    if max(steps) == 1:
        return _shortest(seeds, image, spacing, change)
    coarse = _nearest(
        _fewer_seeds(seeds, steps), _means(image, steps), [side * step for side, step in zip(spacing, steps, strict=True)], change
    )
    return _shortest(_settled(seeds, coarse, steps), image, spacing, change)


def _settled(seeds: Seeds, coarse: Seeds, steps: Sequence[int]) -> Seeds:
    """Return seeds in which what lies far from any border of coarse labels has its label already."""
    from scipy import ndimage

    border = ndimage.maximum_filter(coarse, 3) != ndimage.minimum_filter(coarse, 3)
    coarse = np.where(border | (coarse < 0), OPEN, coarse)
    fine = coarse
    for axis, step in enumerate(steps):
        fine = np.repeat(fine, step, axis=axis)
    fine = fine[tuple(slice(size) for size in seeds.shape)]
    # A thin stroke may have been lost on the way: around it, everything is open again.
    lost = (seeds >= 0) & (fine >= 0) & (fine != seeds)
    if lost.any():
        fine = np.where(ndimage.binary_dilation(lost, np.ones((3,) * seeds.ndim, np.bool_), iterations=2), OPEN, fine)
    return np.where(seeds == OPEN, fine, seeds)


def _fewer_seeds(seeds: Seeds, steps: Sequence[int]) -> Seeds:
    """Return one seed for each block of voxels: the largest that is painted in it; a wall where there is nothing but walls."""
    blocks = _blocks(seeds, steps, WALL)
    result: Seeds = blocks.max(axis=tuple(range(1, blocks.ndim, 2)))
    return result


def _means(image: NDArray[np.float32], steps: Sequence[int]) -> NDArray[np.float32]:
    shape = tuple(-(-size // step) for size, step in zip(image.shape, steps, strict=True))
    padded = np.pad(
        image,
        [(0, many * step - size) for many, step, size in zip(shape, steps, image.shape, strict=True)],
        mode="edge",
    )
    blocks = _blocks(padded, steps, 0)
    mean: NDArray[np.float32] = blocks.mean(axis=tuple(range(1, blocks.ndim, 2)), dtype=np.float32)
    return mean


def _blocks(array: NDArray[np.generic], steps: Sequence[int], fill: int) -> NDArray[np.generic]:
    """Return an array whose axes are taken apart into blocks: (blocks, voxels of each) for each axis."""
    shape = [-(-size // step) for size, step in zip(array.shape, steps, strict=True)]
    missing = [(0, many * step - size) for many, step, size in zip(shape, steps, array.shape, strict=True)]
    padded = np.pad(array, missing, constant_values=fill)
    return padded.reshape([side for pair in zip(shape, steps, strict=True) for side in pair])


def _shortest(seeds: Seeds, image: NDArray[np.float32], spacing: Sequence[float], change: float) -> Seeds:
    """Run Dijkstra's algorithm over the open voxels and the seeds beside them."""
    from scipy import ndimage, sparse

    open_ = seeds == OPEN
    if not open_.any():
        return seeds
    used = ndimage.binary_dilation(open_, np.ones((3,) * seeds.ndim, np.bool_)) & (seeds != WALL)
    number = np.full(seeds.shape, -1, np.int32)
    count = int(np.count_nonzero(used))
    number[used] = np.arange(count, dtype=np.int32)
    starts = number[used & ~open_]
    if not starts.size:
        return seeds
    froms, tos, lengths = [], [], []
    for step in _steps(seeds.ndim):
        here, there = _pair(seeds.shape, step)
        linked = used[here] & used[there] & (open_[here] | open_[there])
        mm = np.float32(np.sqrt(sum((voxels * side) ** 2 for voxels, side in zip(step, spacing, strict=True))))
        differs = np.abs(image[here][linked] - image[there][linked])
        froms.append(number[here][linked])
        tos.append(number[there][linked])
        lengths.append(mm * (1 + np.float32(_STEEPNESS / change) * differs))
    graph = sparse.csr_matrix(
        (np.concatenate(lengths).astype(np.float64), (np.concatenate(froms), np.concatenate(tos))), shape=(count, count)
    )
    _, _, sources = sparse.csgraph.dijkstra(graph, directed=False, indices=starts, min_only=True, return_predecessors=True)
    labels = seeds[used]
    result = seeds.copy()
    result[used] = np.where(sources >= 0, labels[np.maximum(sources, 0)], labels)
    return result


def _steps(axes: int) -> list[tuple[int, ...]]:
    """Return the steps to voxels that share a face or an edge, one of each pair of opposite ones."""
    every = itertools.product((-1, 0, 1), repeat=axes)
    return [step for step in every if step > (0,) * axes and sum(map(abs, step)) <= 2]


def _pair(shape: Sequence[int], step: Sequence[int]) -> tuple[Box, Box]:
    """Return all voxels from which a step stays inside, and where it leads."""
    here = tuple(slice(max(-voxels, 0), size - max(voxels, 0)) for voxels, size in zip(step, shape, strict=True))
    there = tuple(slice(max(voxels, 0), size - max(-voxels, 0)) for voxels, size in zip(step, shape, strict=True))
    return here, there


def _change(image: NDArray[np.float32]) -> float:
    """Return how much an image changes from voxel to voxel on average; 1 where it does not change at all."""
    total, many = 0.0, 0
    for axis in range(image.ndim):
        steps = np.abs(np.diff(image, axis=axis))
        total, many = total + float(steps.sum(dtype=np.float64)), many + steps.size
    return total / many if total > 0 else 1.0
