"""Which piece of a contour goes on as which piece in the next painted slice, and how far it has moved there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flat = NDArray[np.bool_]

#: Pieces of two slices that do not overlap may belong together if they lie at most so many mm apart for each mm between the slices.
_STEEPEST = 3.0
# Which part of the way between two centres is tried as the movement of a piece: a shape that grows at one side has not moved.
_PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_TOUCHING = np.ones((3, 3), np.bool_)


@dataclass(frozen=True)
class Contour:
    """One label in one painted slice, taken apart.

    Parameters
    ----------
    at : int
        Which slice.
    pieces : array of integers
        The number of the piece that each pixel belongs to; 0 for none.
    count : int
        How many there are.
    """

    at: int
    pieces: NDArray[np.integer]
    count: int

    @classmethod
    def of(cls, at: int, flat: Flat) -> Contour:
        """Take a slice apart; pixels that share a side or a corner belong to one piece."""
        from scipy import ndimage

        pieces, count = ndimage.label(flat, structure=_TOUCHING)
        return cls(at, pieces, count)

    def part(self, numbers: frozenset[int]) -> Flat:
        """Return the pixels of some of its pieces."""
        if len(numbers) == self.count:
            return self.pieces > 0
        if len(numbers) == 1:
            found: Flat = self.pieces == next(iter(numbers))
            return found
        return np.isin(self.pieces, sorted(numbers))


@dataclass(frozen=True)
class Bond:
    """Pieces of one slice that go on as pieces of the next; either side may be empty, where something ends or begins.

    Parameters
    ----------
    before, after : frozenset of int
        The numbers of the pieces.
    moved : array of 2 floats
        The way from the ones to the others, in pixels.
    """

    before: frozenset[int]
    after: frozenset[int]
    moved: NDArray[np.float64]


def bonds_between(one: Contour, other: Contour, spacing: Sequence[float], gap: float) -> list[Bond]:
    """Return which pieces belong together.

    Pieces that overlap do; of those that overlap with none, the nearest pairs do, as long as they are near.

    Parameters
    ----------
    one, other : Contour
        Two painted slices of a label, one after the other.
    spacing : two floats
        mm in the slice.
    gap : float
        mm between the slices.
    """
    both = (one.pieces > 0) & (other.pieces > 0)
    pairs = set(zip(one.pieces[both].tolist(), other.pieces[both].tolist(), strict=True))
    lone = sorted(set(range(1, one.count + 1)) - {pair[0] for pair in pairs})
    others = sorted(set(range(1, other.count + 1)) - {pair[1] for pair in pairs})
    if lone and others:
        ways = _centres(one, lone)[:, None] - _centres(other, others)[None]
        far = np.linalg.norm(ways * np.asarray(spacing, float), axis=-1)
        far[far > _STEEPEST * gap] = np.inf
        while np.isfinite(far).any():
            row, column = np.unravel_index(np.argmin(far), far.shape)
            pairs.add((lone[row], others[column]))
            far[row], far[:, column] = np.inf, np.inf
    return [Bond(before, after, _moved(one, other, before, after)) for before, after in _together(one.count, other.count, pairs)]


def _together(count: int, others: int, pairs: set[tuple[int, int]]) -> list[tuple[frozenset[int], frozenset[int]]]:
    """Return the pieces that hang together by pairs, in a fixed order."""
    from scipy import sparse

    rows, columns = [pair[0] - 1 for pair in pairs], [count + pair[1] - 1 for pair in pairs]
    total = count + others
    graph = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(total, total))
    sets, number = sparse.csgraph.connected_components(graph, directed=False)
    found = []
    for one in range(sets):
        members = np.flatnonzero(number == one)
        before = frozenset((members[members < count] + 1).tolist())
        found.append((before, frozenset((members[members >= count] - count + 1).tolist())))
    return found


def _moved(one: Contour, other: Contour, before: frozenset[int], after: frozenset[int]) -> NDArray[np.float64]:
    """Return by how much a shape moves: as much of the way between the centres as lays it best upon the other."""
    if not before or not after:
        return np.zeros(2)
    first, second = one.part(before), other.part(after)
    sides = tuple(slice(int(where.min()), int(where.max()) + 1) for where in np.nonzero(first | second))
    first, second = first[sides], second[sides]
    way = np.mean(np.nonzero(second), axis=1) - np.mean(np.nonzero(first), axis=1)
    part = max(_PARTS, key=lambda part: _common(first, second, np.rint(part * way).astype(int).tolist()))
    moved: NDArray[np.float64] = part * way
    return moved


def _common(first: Flat, second: Flat, way: list[int]) -> int:
    """Return how many pixels a shape that was moved has in common with another one."""
    to = tuple(slice(max(step, 0), size + min(step, 0)) for step, size in zip(way, first.shape, strict=True))
    there = tuple(slice(max(-step, 0), size - max(step, 0)) for step, size in zip(way, first.shape, strict=True))
    return int(np.count_nonzero(first[there] & second[to]))


def _centres(contour: Contour, numbers: list[int]) -> NDArray[np.float64]:
    from scipy import ndimage

    return np.array(ndimage.center_of_mass(contour.pieces > 0, contour.pieces, numbers))
