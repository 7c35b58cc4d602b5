"""The shape of one label between its painted slices: signed distances, which are moved along with the pieces that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.between_pieces import Bond, Contour, Flat, bonds_between

Depth = NDArray[np.float32]
Sides = tuple[slice, slice]

# A piece that goes on nowhere ends so far on the way to the slice in which it is no more: in the middle, where its end is expected.
_END = 0.5
# Depths of less than this are the outline itself, whatever the last digit of a sum is.
_HAIR = 1e-4
# Further out than this, in mm, nothing is inside.
_OUTSIDE = -1e3
# Movements of less than this part of a pixel are none.
_STILL = 0.02


@dataclass(frozen=True)
class _Slab:
    """A part of one slice, and how deep inside the label each of its pixels is."""

    at: int
    sides: Sides
    depth: Depth


@dataclass(frozen=True)
class _Node:
    """A shape in a painted slice: when that comes, in parts of the gap that is filled, and where the shape is, in pixels."""

    time: float
    place: NDArray[np.float64]
    flat: Flat


def depths_of(
    contours: Sequence[Contour],
    spacing: Sequence[float],
    thickness: float,
    wanted: Collection[int],
    margin: int = 1,
    step: Callable[[], None] | None = None,
) -> Iterator[tuple[int, Depth]]:
    """Interpolate one label between its painted slices.

    The signed distance to the outline is interpolated (S. P. Raya and J. K. Udupa, Shape-based interpolation of multidimensional objects,
    1990) by monotone cubic polynomials over four slices (F. N. Fritsch and R. E. Carlson, 1980), once for the whole slice where it lies, and
    once for each piece along its way from slice to slice; what either says is inside is inside.

    Parameters
    ----------
    contours : sequence of Contour
        The painted slices, in order.
    spacing : two floats
        mm in the slices.
    thickness : float
        mm from a slice to the next.
    wanted : collection of int
        Which slices between painted ones.
    margin : int
        So many pixels around a shape have depths, too.
    step : callable, optional
        Called after each gap.

    Yields
    ------
    int, array
        A slice, and how many mm inside the label each of its pixels is, above 0, or outside. Slices in which there is nothing may be missing.
    """
    way = _Way(contours, spacing, thickness, margin)
    for number in range(len(contours) - 1):
        found: dict[int, Depth] = {}
        places = [at for at in range(contours[number].at + 1, contours[number + 1].at) if at in wanted]
        for slab in way.between(number, places) if places else ():
            depth = found.setdefault(slab.at, np.full(contours[0].pieces.shape, _OUTSIDE, np.float32))
            np.maximum(depth[slab.sides], slab.depth, out=depth[slab.sides])
        yield from found.items()
        if step is not None:
            step()


def reached(depth: Depth) -> Sides:
    """Return the part of a slice in which depths are known."""
    return _around([depth > _OUTSIDE], 0)


def depth_of(flat: Flat, spacing: Sequence[float]) -> Depth:
    """Return how many mm each pixel lies inside (above 0) or outside of a shape, from the middle of pixels to the sides between them."""
    from scipy import ndimage

    if not flat.any():
        return np.full(flat.shape, _OUTSIDE, np.float32)
    half = min(spacing) / 2
    inside = ndimage.distance_transform_edt(np.pad(flat, 1), sampling=spacing)[1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~flat, sampling=spacing)
    depth: Depth = np.where(flat, inside - half, half - outside).astype(np.float32)
    return depth


class _Way:
    """The painted slices of a label, and which of their pieces belong together."""

    def __init__(self, contours: Sequence[Contour], spacing: Sequence[float], thickness: float, margin: int) -> None:
        self._contours, self._spacing, self._margin = contours, spacing, margin
        steps = pairwise(contours)
        self._bonds = [bonds_between(one, other, spacing, thickness * (other.at - one.at)) for one, other in steps]
        self._onward = [{bond.before: bond for bond in bonds if bond.before and bond.after} for bonds in self._bonds]
        self._backward = [{bond.after: bond for bond in bonds if bond.before and bond.after} for bonds in self._bonds]

    def between(self, number: int, places: list[int]) -> Iterator[_Slab]:
        """Yield what lies in some slices between a painted slice and the next one."""
        for bond in self._bonds[number]:
            if bond.before and bond.after:
                yield from self._moving(number, bond, places)
            else:
                yield from self._ending(number, bond, places)
        yield from self._lying(number, places)

    def _moving(self, number: int, bond: Bond, places: list[int]) -> Iterator[_Slab]:
        """Follow a piece from one slice to the next, with regard to the slices before and after, where it goes on there."""
        contours, still = self._contours, np.zeros(2)
        nodes: list[_Node | None] = [
            None,
            _Node(0.0, still, contours[number].part(bond.before)),
            _Node(1.0, bond.moved, contours[number + 1].part(bond.after)),
            None,
        ]
        back = self._backward[number - 1].get(bond.before) if number > 0 else None
        if back is not None:
            nodes[0] = _Node(self._when(number, number - 1), -back.moved, contours[number - 1].part(back.before))
        on = self._onward[number + 1].get(bond.after) if number + 1 < len(self._onward) else None
        if on is not None:
            nodes[3] = _Node(self._when(number, number + 2), bond.moved + on.moved, contours[number + 2].part(on.after))
        there = [node for node in nodes if node is not None]
        farthest = max(float(np.abs(node.place).max()) for node in there)
        # Beyond the slice, too: what is moved into it from there is as far outside as it is.
        wide = _around([node.flat for node in there], self._margin + int(np.ceil(farthest)), clipped=False)
        sides, own = _clipped(wide, there[0].flat.shape)
        times = [None if node is None else node.time for node in nodes]
        ways = [None if node is None else node.place for node in nodes]
        depths = [None if node is None else depth_of(_cut(node.flat, wide), self._spacing) for node in nodes]
        for at in places:
            time = self._time(number, at)
            place = _cubic(time, times, ways)
            moved = [
                None if depth is None or way is None else _moved_by(depth, place - way)
                for depth, way in zip(depths, ways, strict=True)
            ]
            yield _Slab(at, sides, _cubic(time, times, moved)[own] - np.float32(_HAIR))

    def _lying(self, number: int, places: list[int]) -> Iterator[_Slab]:
        """Interpolate a slice as a whole where it lies: nothing is lost on which both slices agree."""
        numbers = range(number - 1, number + 3)
        flats = [
            self._contours[one].pieces > 0 if 0 <= one < len(self._contours) and self._contours[one].count else None
            for one in numbers
        ]
        if flats[1] is None or flats[2] is None:
            return
        sides = _around([flat for flat in flats if flat is not None], self._margin)
        times = [None if flat is None else self._when(number, one) for one, flat in zip(numbers, flats, strict=True)]
        depths = [None if flat is None else depth_of(flat[sides], self._spacing) for flat in flats]
        for at in places:
            yield _Slab(at, sides, _cubic(self._time(number, at), times, depths) - np.float32(_HAIR))

    def _ending(self, number: int, bond: Bond, places: list[int]) -> Iterator[_Slab]:
        """Let a piece that is in one of two slices only end between them, round like a dome."""
        flat = self._contours[number].part(bond.before) if bond.before else self._contours[number + 1].part(bond.after)
        sides = _around([flat], self._margin)
        depth = depth_of(flat[sides], self._spacing)
        for at in places:
            time = self._time(number, at)
            gone = (time if bond.before else 1 - time) / _END
            if gone < 1:
                yield _Slab(at, sides, depth - depth.max() * np.float32(gone * gone) - np.float32(_HAIR))

    def _time(self, number: int, at: int) -> float:
        """Return the part of the way from a painted slice to the next one."""
        start, stop = self._contours[number].at, self._contours[number + 1].at
        return (at - start) / (stop - start)

    def _when(self, number: int, other: int) -> float:
        return self._time(number, self._contours[other].at)


_Number = TypeVar("_Number", np.float32, np.float64)


def _cubic(time: float, times: Sequence[float | None], values: Sequence[NDArray[_Number] | None]) -> NDArray[_Number]:
    """Interpolate between the second and the third of four values by a cubic that is monotone between them; the outer ones may be missing."""
    before, start, stop, after = values
    if start is None or stop is None:
        raise ValueError("There is nothing to interpolate between.")
    secant = stop - start
    first = _slope(start - before, -times[0], secant, 1.0) if before is not None and times[0] is not None else None
    last = _slope(secant, 1.0, after - stop, times[3] - 1) if after is not None and times[3] is not None else None
    if first is None:
        first = secant if last is None else 1.5 * secant - 0.5 * last
    if last is None:
        last = 1.5 * secant - 0.5 * first
    square, cube = time * time, time**3
    smooth = 3 * square - 2 * cube
    curved: NDArray[_Number] = start + smooth * secant + (cube - 2 * square + time) * first + (cube - square) * last
    return curved


def _slope(rise: NDArray[_Number], run: float, next_rise: NDArray[_Number], next_run: float) -> NDArray[_Number]:
    """Return the slope in a node: the weighted harmonic mean of those on both sides, and 0 where it turns."""
    one, other = rise / run, next_rise / next_run
    weight, next_weight = 2 * next_run + run, next_run + 2 * run
    turns = one * other <= 0
    below = np.where(turns, 1, weight * other + next_weight * one)
    slope: NDArray[_Number] = np.where(turns, 0, (weight + next_weight) * one * other / np.where(below == 0, 1, below))
    return slope


def _moved_by(depth: Depth, pixels: NDArray[np.float64]) -> Depth:
    from scipy import ndimage

    if np.abs(pixels).max() < _STILL:
        return depth
    moved: Depth = ndimage.shift(depth, pixels, order=1, mode="nearest")
    return moved


def _around(flats: Sequence[Flat], margin: int, *, clipped: bool = True) -> Sides:
    """Return the box of some shapes together, with a margin, as far as there is any or beyond."""
    whole = flats[0].copy()
    for flat in flats[1:]:
        whole |= flat
    rows, columns = (np.flatnonzero(whole.any(axis=axis)) for axis in (1, 0))
    wide = tuple(slice(int(found[0]) - margin, int(found[-1]) + 1 + margin) for found in (rows, columns))
    return _clipped(wide, whole.shape)[0] if clipped else wide  # type: ignore[arg-type, return-value]


def _clipped(wide: Sides, shape: Sequence[int]) -> tuple[Sides, Sides]:
    """Return the part of a box that lies in a slice, there and in the box."""
    sides = tuple(slice(max(side.start, 0), min(side.stop, size)) for side, size in zip(wide, shape, strict=True))
    own = tuple(slice(side.start - outer.start, side.stop - outer.start) for side, outer in zip(sides, wide, strict=True))
    return sides, own  # type: ignore[return-value]


def _cut(flat: Flat, wide: Sides) -> Flat:
    """Return the part of a shape in a box; beyond the slice there is nothing of it."""
    sides, own = _clipped(wide, flat.shape)
    part = np.zeros([side.stop - side.start for side in wide], np.bool_)
    part[own] = flat[sides]
    return part
