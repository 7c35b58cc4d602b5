"""Which seed is nearest to each voxel, on ways that are longer where the image changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.boxes import Steps
from napari_seg3d.editing.fronts import advance, steps_to
from napari_seg3d.editing.looks import Brightness, Looks

Seeds = NDArray[np.int16]
Picture = NDArray[np.float32]

#: In seeds: this voxel is to be given a label.
OPEN = -1
#: In seeds, and in what comes back: no way leads through this voxel, or to it.
WALL = -2
# By how many times its length a step is longer if the image changes in it by as much as it does from voxel to voxel on average; and how many
# such changes it is worth if what a voxel looks like becomes another label's altogether.
_STEEPNESS, _OTHER = 10.0, 4.0
# With more voxels than this, every second one is decided first, and only what lies between two labels after that.
_MOST = 500_000
# Sides that are not halved any more, because nothing would be left of what is painted.
_SHORTEST = 16
# In sides of the shortest voxel: how far around a voxel the labels are counted.
_VOTES = 1.0
# Of the votes of a label, one part in three depends on how well the brightness fits: scans are brighter at one end than at the other.
_DOUBT = 2.0
# Voxels whose probabilities are computed, and that vote, at a time.
_PIECE = 1 << 16


def nearest_seeds(
    seeds: Seeds,
    image: Picture,
    spacing: Sequence[float],
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Seeds:
    """Give each open voxel the label of the seed from which the shortest way leads to it, unless those around it say otherwise.

    The length of a step is its mm times 1 + 10 (d / D + 4 p). d is how much the brightness changes in it, without noise, and D how much it
    does on average. p is how much the probabilities of the labels change, as far as they follow from the brightness of their seeds (additive
    costs, as P. J. Toivanen's gray-weighted distances, 1996; the forest of shortest ways is the one of A. X. Falcão, J. Stolfi and R. de
    Alencar Lotufo, The image foresting transform, 2004; probabilities in its costs are those of X. Bai and G. Sapiro, A geodesic framework,
    2007). Then each voxel takes the label that most voxels around it have, weighed by how well its brightness fits.

    Of large volumes, every second voxel along each axis is decided first, and what lies near the borders after that.

    Parameters
    ----------
    seeds : array of int16
        In two or three dimensions: a label from 0, without gaps between them; :data:`OPEN`, or :data:`WALL`.
    image : array of float32
        Of the same shape.
    spacing : sequence of float
        The mm of each axis.
    progress, cancelled : callable, optional
        Told (done, total) after each step; asked often.

    Returns
    -------
    array of int16
        The seeds, and a label for each open voxel to which there is a way; the others stay open.

    Raises
    ------
    Cancelled
        `cancelled` said so.
    """
    count = int(seeds.max(initial=OPEN)) + 1
    if count == 0:  # all seeds lie in walls
        return seeds
    halvings = _halvings(seeds, spacing)
    steps = Steps(2 * len(halvings) + 2, progress, cancelled)
    levels = [(seeds, image, tuple(map(float, spacing)))]
    for blocks in halvings:
        fine, picture, sides = levels[-1]
        longer = tuple(side * many for side, many in zip(sides, blocks, strict=True))
        levels.append((_fewer_seeds(fine, blocks), _means(picture, blocks), longer))
        steps.ask()
    strokes, picture, sides = levels.pop()
    result = _decided(strokes, strokes, picture, sides, count, steps)
    for blocks in reversed(halvings):
        strokes, picture, sides = levels.pop()
        settled = _settled(strokes, result, blocks)
        steps.ask()
        result = _decided(settled, strokes, picture, sides, count, steps)
    return result


def _halvings(seeds: Seeds, spacing: Sequence[float]) -> list[tuple[int, ...]]:
    """Return by how much each axis is made shorter, again and again, until there are few enough voxels."""
    sides, shape, many, halvings = np.array(spacing, float), np.array(seeds.shape), np.count_nonzero(seeds == OPEN), []
    while many > _MOST:
        # Long voxels are not made longer.
        blocks = np.where((shape >= 2 * _SHORTEST) & (sides < 1.8 * sides.min()), 2, 1)
        if blocks.max() == 1:
            break
        halvings.append(tuple(blocks.tolist()))
        sides, shape, many = sides * blocks, -(-shape // blocks), many // int(blocks.prod())
    return halvings


def _decided(seeds: Seeds, strokes: Seeds, image: Picture, spacing: Sequence[float], count: int, steps: Steps) -> Seeds:
    """Return seeds with a label for each open voxel; what labels look like is known from the strokes."""
    # With a rim of one voxel every voxel has all its neighbours, and in a fixed order they lie at fixed distances.
    grid = np.pad(np.ascontiguousarray(seeds), 1, constant_values=WALL)
    rim = np.pad(np.ascontiguousarray(image), 1, mode="edge")
    labels = grid.ravel()
    steps.ask()
    open_ = np.flatnonzero(labels == OPEN)
    strides = np.array(grid.strides) // grid.itemsize
    if open_.size:
        brightness = Brightness(rim, spacing)
        looks = Looks(np.pad(np.ascontiguousarray(strokes), 1, constant_values=WALL), count, brightness)
        steps.ask()
        # Over the edges of voxels, too, where ways are long; between borders that are near, through their faces only.
        _grow(labels, open_, strides, brightness, looks, spacing, 2 if seeds is strokes else 1, steps)
        steps.done()
        labels[open_] = _voted(labels, open_, strides, brightness, looks, spacing, steps)
    else:
        steps.done()
    steps.done()
    return grid[(slice(1, -1),) * grid.ndim]


def _grow(
    labels: Seeds,
    open_: NDArray[np.int64],
    strides: NDArray[np.int64],
    brightness: Brightness,
    looks: Looks,
    spacing: Sequence[float],
    most: int,
    steps: Steps,
) -> None:
    """Give the open voxels of raveled labels that of the nearest seed, in steps that change at most so many indices."""
    # Voxels by number, but for those that no way from a seed to an open voxel leads through.
    directions = steps_to(len(spacing), most)
    used = np.zeros(labels.size, np.bool_)
    for step in directions:
        used[open_ + int(np.dot(step, strides))] = True
    used[open_] = True
    used &= labels != WALL
    steps.ask()
    voxels = np.flatnonzero(used)
    number = np.full(labels.size, len(voxels), np.int32)
    number[voxels] = np.arange(len(voxels), dtype=np.int32)
    values = np.empty(len(voxels), np.float32)
    shares = np.empty((looks.count, len(voxels)), np.float32)
    for start in range(0, len(voxels), _PIECE):
        steps.ask()
        piece = slice(start, start + _PIECE)
        values[piece] = brightness(voxels[piece])
        shares[:, piece] = looks.shares(values[piece])
    steps.ask()
    to = np.empty((len(voxels), len(directions)), np.int32)
    lengths = np.empty(to.shape, np.float32)
    scale = np.float32(1 / brightness.change) if brightness.change else np.float32(0)
    for place, step in enumerate(directions):
        there = to[:, place] = number[voxels + int(np.dot(step, strides))]
        if place % 2:  # back on the step before this one
            lengths[:, place] = np.append(lengths[:, place - 1], np.float32(0))[there]
            continue
        there = np.where(there < len(voxels), there, np.arange(len(voxels), dtype=np.int32))
        differs = np.abs(values[there] - values) * scale
        for share in shares:
            differs += np.float32(_OTHER) * np.abs(share[there] - share)
        mm = np.sqrt(sum((indices * side) ** 2 for indices, side in zip(step, spacing, strict=True)))
        lengths[:, place] = np.float32(mm) * (1 + np.float32(_STEEPNESS) * differs)
        steps.ask()
    found = labels[voxels]
    advance(found, to, lengths, steps.ask)
    labels[voxels] = found


def _voted(
    labels: Seeds,
    open_: NDArray[np.int64],
    strides: NDArray[np.int64],
    brightness: Brightness,
    looks: Looks,
    spacing: Sequence[float],
    steps: Steps,
) -> Seeds:
    """Return for each open voxel the label that fits best to what lies around it and to how bright it is."""
    around = list(itertools.product((-1, 0, 1), repeat=len(spacing)))
    shortest = min(spacing)
    weights = [
        np.float32(
            np.exp(-sum((voxels * side / shortest) ** 2 for voxels, side in zip(step, spacing, strict=True)) / 2 / _VOTES**2)
        )
        for step in around
    ]
    result = labels[open_]
    for start in range(0, len(open_), _PIECE):
        steps.ask()
        voxels = open_[start : start + _PIECE]
        near = np.stack([labels[voxels + int(np.dot(step, strides))] for step in around])
        own = near[len(around) // 2]
        between = np.flatnonzero((own >= 0) & ((near != own) & (near >= 0)).any(axis=0))
        if not between.size:
            continue
        near, fits = near[:, between], looks.fits(brightness(voxels[between]))
        rivals = [label for label in np.unique(near).tolist() if label >= 0]
        votes = np.stack([sum(weight * (row == label) for weight, row in zip(weights, near, strict=True)) for label in rivals])
        fits = np.where(votes > 0, fits[rivals], -np.inf)
        best = fits.max(axis=0)
        chances = np.exp(fits - np.where(np.isfinite(best), best, 0))
        result[start + between] = np.array(rivals, result.dtype)[np.argmax(votes * (chances + np.float32(_DOUBT)), axis=0)]
    return result


def _settled(seeds: Seeds, coarse: Seeds, steps: Sequence[int]) -> Seeds:
    """Return seeds in which what lies far from any border of coarse labels has its label already."""
    from scipy import ndimage

    border = ndimage.maximum_filter(coarse, 3) != ndimage.minimum_filter(coarse, 3)
    fine = np.where(border | (coarse < 0), np.int16(OPEN), coarse)
    for axis, step in enumerate(steps):
        fine = np.repeat(fine, step, axis=axis)
    fine = fine[tuple(slice(size) for size in seeds.shape)]
    # A thin stroke may have been lost on the way: around it, everything is open again.
    lost = (seeds >= 0) & (fine >= 0) & (fine != seeds)
    if lost.any():
        fine[ndimage.binary_dilation(lost, np.ones((3,) * seeds.ndim, np.bool_), iterations=2)] = OPEN
    painted = seeds != OPEN
    fine[painted] = seeds[painted]
    return fine


def _fewer_seeds(seeds: Seeds, steps: Sequence[int]) -> Seeds:
    """Return one seed for each block of voxels: the largest that is painted in it; a wall where there is nothing but walls."""
    for axis, step in enumerate(steps):
        if step == 2:
            first, second = _pairs(seeds, axis)
            seeds = np.maximum(first, second)
    return seeds


def _means(image: Picture, steps: Sequence[int]) -> Picture:
    for axis, step in enumerate(steps):
        if step == 2:
            first, second = _pairs(image, axis)
            image = (first + second) * np.float32(0.5)
    return image


def _pairs(array: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first and the second of each two neighbours along an axis; the last one is its own neighbour where it has none."""
    if array.shape[axis] % 2:
        array = np.concatenate([array, array.take([-1], axis)], axis)
    before = (slice(None),) * axis
    return array[(*before, slice(0, None, 2))], array[(*before, slice(1, None, 2))]
