"""Two masks of a scan: where they agree, and the pieces in which they differ, from large to small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from napari_seg3d.errors import Cancelled
from napari_seg3d.evaluation.counts import check_shapes

#: What a voxel is in a map of the agreement; 0 where both masks are background.
AGREED, MISSED, TOO_MUCH, OTHER = 1, 2, 3, 4
Kind = Literal["missed", "too much", "other label"]


@dataclass(frozen=True)
class Difference:
    """A connected piece in which a mask differs from the reference in one way.

    Parameters
    ----------
    kind : {"missed", "too much", "other label"}
        The reference has a label where the mask has none; the mask has one where the reference has none; both have different ones.
    label : int
        The label that was missed or is too much; of two different ones that of the reference.
    instead : int
        What the mask says there; 0 where it was missed.
    ml : float
        How large it is.
    box : tuple of slice
        The voxels that it lies in, in the order of the axes of the masks.
    centre : tuple of int
        A voxel of it, in its fullest slices: the mean of a shell would lie outside of it.
    """

    kind: Kind
    label: int
    instead: int
    ml: float
    box: tuple[slice, ...]
    centre: tuple[int, ...]


def agreement_map(mask: NDArray[np.integer], reference: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return for each voxel how two masks agree there.

    Parameters
    ----------
    mask, reference : arrays of one shape
        Label maps; 0 is the background.

    Returns
    -------
    array of uint8, of that shape
        0, `AGREED`, `MISSED`, `TOO_MUCH` or `OTHER`.

    Raises
    ------
    GeometryError
        The shapes differ.
    """
    check_shapes(mask, reference)
    found = np.zeros(mask.shape, np.uint8)
    box = _box_of((mask != 0) | (reference != 0))
    if box is None:
        return found
    one, other = mask[box], reference[box]
    part = found[box]
    part[one == 0] = MISSED
    part[other == 0] = TOO_MUCH
    part[(one != 0) & (other != 0)] = OTHER
    part[one == other] = AGREED
    part[(one == 0) & (other == 0)] = 0
    return found


def differences(
    mask: NDArray[np.integer],
    reference: NDArray[np.integer],
    spacing: tuple[float, ...],
    smallest_ml: float = 0.0,
    most: int = 1000,
    cancelled: Callable[[], bool] | None = None,
) -> list[Difference]:
    """Return the pieces in which two masks differ, from large to small.

    Voxels belong together that share a face and differ in the same way: the same label in the reference, the same in the mask.

    Parameters
    ----------
    mask, reference : arrays of one shape
        Label maps, 2D or 3D, in any axis order.
    spacing : tuple of float
        mm along each axis; of 2D masks a pixel counts as 1 mm thick.
    smallest_ml : float
        Smaller pieces are left out.
    most : int
        So many at most: the largest ones.
    cancelled : callable, optional
        Asked once in between.

    Raises
    ------
    GeometryError
        The shapes differ.
    Cancelled
        `cancelled` returned True.
    """
    check_shapes(mask, reference)
    box = _box_of(mask != reference)
    if box is None:
        return []
    runs = _runs_of(mask[box], reference[box])
    if cancelled is not None and cancelled():
        raise Cancelled("The comparison was cancelled.")
    piece_of = _pieces(runs)
    sizes = np.bincount(piece_of, weights=runs.lengths).astype(np.int64)
    voxel = float(np.prod(spacing)) / 1000
    kept = np.flatnonzero(sizes >= max(1, int(np.ceil(smallest_ml / voxel - 1e-9))))
    kept = kept[np.argsort(-sizes[kept], kind="stable")][:most]
    # The runs of a piece beside each other.
    order = np.argsort(piece_of, kind="stable")
    ends = np.searchsorted(piece_of[order], kept, "right")
    begins = np.searchsorted(piece_of[order], kept, "left")
    corner = [part.start for part in box]
    return [
        _difference(runs.of(order[begin:end]), corner, float(sizes[piece]) * voxel)
        for piece, begin, end in zip(kept, begins, ends, strict=True)
    ]


@dataclass(frozen=True)
class _Runs:
    """Stretches along the last axis in which two masks differ in one way, in the order of the voxels; much fewer than voxels."""

    shape: tuple[int, ...]
    starts: NDArray[np.int64]  # number of the first voxel
    lengths: NDArray[np.int64]
    instead: NDArray[np.integer]
    labels: NDArray[np.integer]

    def of(self, which: NDArray[np.intp]) -> _Runs:
        return _Runs(self.shape, self.starts[which], self.lengths[which], self.instead[which], self.labels[which])


def _runs_of(mask: NDArray[np.integer], reference: NDArray[np.integer]) -> _Runs:
    flat_mask, flat_reference = np.ravel(mask), np.ravel(reference)
    places = np.flatnonzero(flat_mask != flat_reference)
    instead, labels = flat_mask[places], flat_reference[places]
    is_first = np.ones(len(places), bool)
    is_first[1:] = (np.diff(places) != 1) | (instead[1:] != instead[:-1]) | (labels[1:] != labels[:-1])
    is_first |= places % mask.shape[-1] == 0
    first = np.flatnonzero(is_first)
    return _Runs(mask.shape, places[first], np.diff(np.append(first, len(places))), instead[first], labels[first])


def _pieces(runs: _Runs) -> NDArray[np.int32]:
    """Return for each run the number of the piece that it belongs to."""
    one: list[NDArray[np.intp]] = []
    other: list[NDArray[np.intp]] = []
    stride = runs.shape[-1]
    for length in runs.shape[-2::-1]:
        place = runs.starts // stride % length
        # Two runs touch where one of them begins beside the other.
        for step in (-1, 1):
            inside = np.flatnonzero((place + step >= 0) & (place + step < length))
            beside = runs.starts[inside] + step * stride
            found = np.searchsorted(runs.starts, beside, "right") - 1
            touches = (found >= 0) & (beside < runs.starts[found] + runs.lengths[found])
            touches &= (runs.instead[found] == runs.instead[inside]) & (runs.labels[found] == runs.labels[inside])
            one.append(inside[touches])
            other.append(found[touches])
        stride *= length
    edges = (np.concatenate(one), np.concatenate(other)) if one else (np.empty(0, np.intp), np.empty(0, np.intp))
    graph = sparse.coo_array((np.ones(len(edges[0]), bool), edges), shape=(len(runs.starts),) * 2)
    pieces: NDArray[np.int32] = csgraph.connected_components(graph, directed=False)[1]
    return pieces


def _difference(runs: _Runs, corner: list[int], ml: float) -> Difference:
    """Return the difference that some runs are."""
    *rows, first = np.unravel_index(runs.starts, runs.shape)
    box = [slice(int(row.min()), int(row.max()) + 1) for row in rows]
    box.append(slice(int(first.min()), int((first + runs.lengths).max())))
    # In its fullest plane, there in the fullest line, and there in the middle of the longest run.
    centre: list[int] = []
    rest = np.arange(len(runs.starts))
    for row in rows:
        counts = np.bincount(row[rest], weights=runs.lengths[rest])
        fullest = np.flatnonzero(counts == counts.max())
        centre.append(int(fullest[len(fullest) // 2]))  # of planes that are equally full the middle one
        rest = rest[row[rest] == centre[-1]]
    longest = rest[np.argmax(runs.lengths[rest])]
    centre.append(int(first[longest] + (runs.lengths[longest] - 1) // 2))
    label, instead = int(runs.labels[0]), int(runs.instead[0])
    kind: Kind = "missed" if instead == 0 else "too much" if label == 0 else "other label"
    return Difference(
        kind,
        label or instead,
        instead,
        ml,
        tuple(slice(part.start + at, part.stop + at) for part, at in zip(box, corner, strict=True)),
        tuple(at + place for at, place in zip(corner, centre, strict=True)),
    )


def _box_of(where: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Return the box of what is true; quicker than looking for objects, because whole planes are asked at once."""
    box: list[slice] = []
    for axis in range(where.ndim):
        others = tuple(other for other in range(where.ndim) if other != axis)
        marked = np.flatnonzero(where[tuple(box)].any(axis=others))  # what is left of the axes before
        if not len(marked):
            return None
        box.append(slice(int(marked[0]), int(marked[-1]) + 1))
    return tuple(box)
