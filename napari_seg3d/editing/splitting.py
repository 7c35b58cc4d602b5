"""Objects that touch, split where they are thinnest.

The watershed of the distance to the surface: from every voxel one climbs to where the label is thickest, and each such core has a basin.
Small bumps have basins, too. So basins are joined again over their highest passes first, and of each join it is known how deep the pass lies
below the lower of both cores (its persistence); the deepest passes are where the label is cut. That order needs no threshold, and finds as
many parts as a person asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.boxes import HAIR, Steps, box_of_labels, check_place, check_spacing, is_label
from napari_seg3d.editing.change import Box, Change, check_label, no_change
from napari_seg3d.errors import ConfigError


def split(
    mask: NDArray[np.integer],
    label: int,
    spacing: Sequence[float],
    parts: int = 2,
    *,
    least_depth_mm: float = 0.5,
    first: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Change:
    """Split a label in two, or in more parts, at its narrowest places.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    label : int
        Which label. The largest part keeps it.
    spacing : sequence of float
        The mm of each axis.
    parts : int
        How many parts there shall be. Pieces that do not touch are parts, too, where they are as thick as the others; specks are not.
    least_depth_mm : float
        How much thinner (in radius) a narrow place must be than both parts that it joins; there are fewer parts where it is not.
    first : int, optional
        The label of the second largest part; those of the others follow. Above all that the mask has, if not given.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each step.

    Raises
    ------
    LabelError
        The numbers of the mask cannot hold so many labels.
    ConfigError
        Fewer than two parts.
    Cancelled
        `cancelled` said so.
    """
    check_spacing(mask, spacing)
    if parts < 2:
        raise ConfigError(f"A label cannot be split into {parts} parts.", "Ask for two or more.")
    steps = Steps(3, progress, cancelled)
    found = _basins(mask, label, spacing, steps)
    if found is None:
        return no_change(mask)
    box, basins = found
    joins = basins.joins()
    deepest = sorted((depth, number) for number, (depth, _, _) in enumerate(joins) if depth >= least_depth_mm * (1 - HAIR))
    cuts = {number for _, number in deepest[::-1][: parts - 1]}
    union = _Union(basins.count)
    for number, (_, one, other) in enumerate(joins):
        if number not in cuts:
            union.join(one, other)
    part = np.unique([union.of(basin) for basin in range(basins.count)], return_inverse=True)[1][basins.of]
    sizes = np.bincount(part)
    ranks = np.empty(len(sizes), np.int64)
    ranks[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    change = _relabelled(mask, label, box, ranks[part], first)
    steps.done()
    return change


def split_by_seeds(
    mask: NDArray[np.integer],
    label: int,
    spacing: Sequence[float],
    seeds: Sequence[Sequence[float]],
    *,
    first: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Change:
    """Split a label so that each seed has a part: at the narrowest places between them or, in one core, half way.

    Parameters
    ----------
    mask, label, spacing, progress, cancelled
        As for `split`.
    seeds : sequence of places
        Voxels of the label. The part of the first one keeps it, and so do pieces without a seed.
    first : int, optional
        The label of the second seed's part; those of the others follow. Above all that the mask has, if not given.

    Raises
    ------
    ConfigError
        A seed does not lie in the label.
    GeometryError
        A seed lies outside.
    LabelError
        The numbers of the mask cannot hold so many labels.
    Cancelled
        `cancelled` said so.
    """
    check_spacing(mask, spacing)
    voxels = [check_place(mask, seed) for seed in seeds]
    for voxel in voxels:
        if not is_label(mask[voxel].reshape(1), label)[0]:
            raise ConfigError(
                f"The seed at {voxel} does not lie in label {label}.", "Click inside the object that shall be split."
            )
    steps = Steps(3, progress, cancelled)
    found = _basins(mask, label, spacing, steps) if voxels else None
    if found is None:
        return no_change(mask)
    box, basins = found
    inside = [tuple(at - side.start for at, side in zip(voxel, box, strict=True)) for voxel in voxels]
    basins.divide(inside, spacing)
    seed_of = {int(basins.of[basins.number_at(place)]): number for number, place in reversed(list(enumerate(inside)))}
    union = _Union(basins.count)
    for one, other in basins.passes_from_above():
        a, b = union.of(one), union.of(other)
        if a != b and not (a in seed_of and b in seed_of):
            kept, gone = (a, b) if a in seed_of else (b, a)
            union.parent[gone] = kept
    parts = np.array([seed_of.get(union.of(basin), 0) for basin in range(basins.count)])
    change = _relabelled(mask, label, box, parts[basins.of], first)
    steps.done()
    return change


class _Union:
    """Sets of basins that are joined (union-find)."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def of(self, basin: int) -> int:
        while self.parent[basin] != basin:
            self.parent[basin] = self.parent[self.parent[basin]]
            basin = self.parent[basin]
        return basin

    def join(self, one: int, other: int) -> None:
        self.parent[self.of(other)] = self.of(one)


@dataclass
class _Basins:
    """The voxels of a label by the core that one climbs to from each.

    Parameters
    ----------
    where : array of bool
        The label in its box, which has a margin of one voxel.
    height : array of float, shape (voxels,)
        Distance to the surface in mm, of each voxel of the label in the order of the array.
    of : array of int, shape (voxels,)
        Its basin.
    count : int
        How many there are.
    """

    where: NDArray[np.bool_]
    height: NDArray[np.float32]
    of: NDArray[np.int64]
    count: int

    def number_at(self, place: tuple[int, ...]) -> int:
        """Return which voxel of the label lies at a place of the box."""
        flat = int(np.ravel_multi_index(place, self.where.shape))
        return int(np.count_nonzero(self.where.ravel()[:flat]))

    def divide(self, places: list[tuple[int, ...]], spacing: Sequence[float]) -> None:
        """Divide basins that hold several places: each voxel goes to the nearest."""
        held: dict[int, list[tuple[int, ...]]] = {}
        for place in dict.fromkeys(places):
            held.setdefault(int(self.of[self.number_at(place)]), []).append(place)
        at = np.flatnonzero(self.where)
        for basin, together in held.items():
            if len(together) > 1:
                members = np.flatnonzero(self.of == basin)
                coordinates = np.stack(np.unravel_index(at[members], self.where.shape), axis=1) * np.array(spacing)
                off = [((coordinates - np.array(place) * np.array(spacing)) ** 2).sum(axis=1) for place in together]
                nearest = np.argmin(off, axis=0)
                self.of[members[nearest > 0]] = self.count - 1 + nearest[nearest > 0]
                self.count += len(together) - 1

    def passes_from_above(self) -> list[tuple[int, int]]:
        """Return the pairs of basins that touch, those with the highest pass between them first."""
        return [(one, other) for _, one, other in self._passes()]

    def joins(self) -> list[tuple[float, int, int]]:
        """Return the joins that make the label one: how deep the pass lies below the lower core, and the two basins that it lies between."""
        peaks = np.zeros(self.count, np.float32)
        np.maximum.at(peaks, self.of, self.height)
        union, joins = _Union(self.count), []
        for height, one, other in self._passes():
            a, b = union.of(one), union.of(other)
            if a != b:
                low, high = (a, b) if peaks[a] < peaks[b] else (b, a)
                joins.append((float(peaks[low]) - height, one, other))
                union.parent[low] = high
        # Between pieces that do not touch, the pass lies at the surface: specks are joined before the halves of an organ are.
        pieces = [basin for basin in range(self.count) if union.of(basin) == basin]
        highest = max(pieces, key=lambda basin: float(peaks[basin]))
        return joins + [(float(peaks[piece]), highest, piece) for piece in pieces if piece != highest]

    def _passes(self) -> list[tuple[float, int, int]]:
        numbers = np.full(self.where.shape, -1, np.int32)
        numbers[self.where] = np.arange(len(self.of), dtype=np.int32)
        flat, at = numbers.ravel(), np.flatnonzero(self.where)
        keys, heights = [], []
        for step in _steps(self.where.ndim)[: (3**self.where.ndim - 1) // 2]:
            beside = flat[at + _flat(step, self.where.shape)]
            here = np.flatnonzero((beside >= 0) & (self.of[beside] != self.of))
            pair = np.sort(np.stack([self.of[here], self.of[beside[here]]]), axis=0)
            keys.append(pair[0] * self.count + pair[1])
            heights.append(np.minimum(self.height[here], self.height[beside[here]]))
        key, height = np.concatenate(keys), np.concatenate(heights)
        order = np.lexsort((-height, key))
        key, height = key[order], height[order]
        highest = np.flatnonzero(np.diff(key, prepend=-1))
        key, height = key[highest], height[highest]
        order = np.argsort(-height, kind="stable")
        return list(
            zip(height[order].tolist(), (key[order] // self.count).tolist(), (key[order] % self.count).tolist(), strict=True)
        )


def _basins(
    mask: NDArray[np.integer], label: int, spacing: Sequence[float], steps: Steps
) -> tuple[tuple[slice, ...], _Basins] | None:
    """Return the basins of a label, and the box that their array covers: one voxel more than the label on all sides, also beyond the mask."""
    tight = box_of_labels(mask, [label])
    steps.done()
    if tight is None or label == 0:
        return None
    where = np.pad(is_label(mask[tight], label), 1)
    height = _heights(where, spacing)
    values = height.ravel()
    at = np.flatnonzero(where)
    best, parent = np.zeros(len(at), np.float32), np.arange(len(at))
    numbers = np.zeros(where.size, np.int32)
    numbers[at] = np.arange(len(at), dtype=np.int32)
    own = values[at]
    for step in _steps(where.ndim):
        to = at + _flat(step, where.shape)
        far = float(np.sqrt(sum((one * side) ** 2 for one, side in zip(step, spacing, strict=True))))
        slope = (values[to] - own) / np.float32(far)
        steeper = slope > best
        best[steeper] = slope[steeper]
        parent[steeper] = numbers[to[steeper]]
    while not np.array_equal(parent, further := parent[parent]):
        parent = further
    cores, of = np.unique(parent, return_inverse=True)
    steps.done()
    return tuple(slice(side.start - 1, side.stop + 1) for side in tight), _Basins(where, own, of, len(cores))


def _heights(where: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float32]:
    """Return the distance of each voxel to the surface in mm, slightly blurred; far below 0 outside."""
    import SimpleITK as sitk
    from scipy import ndimage

    picture = sitk.GetImageFromArray(where.astype(np.uint8))
    picture.SetSpacing([float(side) for side in spacing][::-1])
    # scipy's takes four times as long.
    distance = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(picture, True, False, True))
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(
        distance.astype(np.float32), [min(spacing) / side for side in spacing], truncate=2.0
    )
    return np.where(where, blurred, np.float32(-1e9))


def _steps(axes: int) -> list[tuple[int, ...]]:
    """Return the steps to all neighbours; those of the first half and those of the second are opposite."""
    return [step for step in product((-1, 0, 1), repeat=axes) if any(step)]


def _flat(step: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Return how far a step goes in an array that is laid out flat."""
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]
    return int(np.dot(step, strides))


def _relabelled(mask: NDArray[np.integer], label: int, box: Box, parts: NDArray[np.int64], first: int | None) -> Change:
    """Return the change that gives part 0 of a label its own label, and part n the label ``first + n - 1``."""
    first = max(int(mask.max()), 0) + 1 if first is None else first
    check_label(mask, first + max(int(parts.max()) - 1, 0))
    inside = tuple(slice(side.start + 1, side.stop - 1) for side in box)
    values = mask[inside].copy()
    new = np.concatenate([[label], first + np.arange(int(parts.max()))])
    values[is_label(values, label)] = new.astype(mask.dtype)[parts]
    return Change(inside, values)
