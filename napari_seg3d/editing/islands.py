"""The pieces of a label, and its holes: kept, dropped, split, filled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.boxes import HAIR, Steps, box_of_labels, check_place, check_spacing, is_label, voxel_ml
from napari_seg3d.editing.change import Box, Change, check_label, no_change, paint
from napari_seg3d.editing.pieces import holes_of, pieces_of
from napari_seg3d.errors import ConfigError

_Progress = Callable[[int, int], None] | None
_Cancelled = Callable[[], bool] | None


def keep_largest(mask: NDArray[np.integer], label: int, *, progress: _Progress = None, cancelled: _Cancelled = None) -> Change:
    """Keep the largest piece of a label, of equal ones the first; the others become background.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions. Voxels that share a face, an edge or a corner belong to one piece.
    label : int
        Which label.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each step.

    Raises
    ------
    Cancelled
        `cancelled` said so.
    """
    found = _pieces(mask, label, progress, cancelled)
    if found is None:
        return no_change(mask)
    box, pieces, sizes = found
    return paint(mask, box, (pieces > 0) & (pieces != int(sizes.argmax()) + 1), 0)


def drop_small(
    mask: NDArray[np.integer],
    label: int,
    spacing: Sequence[float],
    least_ml: float,
    *,
    progress: _Progress = None,
    cancelled: _Cancelled = None,
) -> Change:
    """Drop the pieces of a label that are smaller than `least_ml`; see `keep_largest`."""
    check_spacing(mask, spacing)
    found = _pieces(mask, label, progress, cancelled)
    if found is None:
        return no_change(mask)
    box, pieces, sizes = found
    small = np.concatenate([[False], sizes * voxel_ml(spacing) < least_ml * (1 - HAIR)])
    return paint(mask, box, small[pieces], 0)


def split_islands(
    mask: NDArray[np.integer],
    label: int,
    *,
    first: int | None = None,
    most: int = 100,
    progress: _Progress = None,
    cancelled: _Cancelled = None,
) -> Change:
    """Give each piece of a label a label of its own; the largest keeps the one that it has.

    Parameters
    ----------
    mask, label, progress, cancelled
        As for `keep_largest`.
    first : int, optional
        The label of the second largest piece; those of the others follow, by falling size. Above all that the mask has, if not given.
    most : int
        More pieces than this are specks: drop the small ones before.

    Raises
    ------
    ConfigError
        There are more pieces than `most`.
    LabelError
        The numbers of the mask cannot hold so many labels.
    """
    found = _pieces(mask, label, progress, cancelled)
    if found is None:
        return no_change(mask)
    box, pieces, sizes = found
    if len(sizes) > most:
        raise ConfigError(f"Label {label} has {len(sizes)} pieces, more than {most}.", "Drop the small ones before.")
    first = max(int(mask.max()), 0) + 1 if first is None else first
    check_label(mask, first + max(len(sizes) - 2, 0))
    values = mask[box].copy()
    for number, piece in enumerate(np.argsort(-sizes, kind="stable")[1:].tolist()):
        values[pieces == piece + 1] = first + number
    return Change(box, values)


def keep_island(mask: NDArray[np.integer], place: Sequence[float], *, drop: bool = False) -> Change:
    """Keep the piece that was clicked, and drop the others of its label; or drop that piece, and keep the others.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    place : sequence of float
        A voxel of the piece; on background nothing changes.
    drop : bool
        Whether the piece goes, instead of the others.

    Raises
    ------
    GeometryError
        The click lies outside.
    """
    voxel = check_place(mask, place)
    label = int(mask[voxel])
    found = _pieces(mask, label, None, None) if label else None
    if found is None:
        return no_change(mask)
    box, pieces, _ = found
    clicked = pieces == pieces[tuple(at - side.start for at, side in zip(voxel, box, strict=True))]
    return paint(mask, box, clicked if drop else (pieces > 0) & ~clicked, 0)


def fill_holes(
    mask: NDArray[np.integer],
    label: int,
    spacing: Sequence[float],
    *,
    across: int | None = None,
    most_ml: float | None = None,
    progress: _Progress = None,
    cancelled: _Cancelled = None,
) -> Change:
    """Fill the background that a label encloses and touches.

    Parameters
    ----------
    mask, label, progress, cancelled
        As for `keep_largest`.
    spacing : sequence of float
        The mm of each axis.
    across : int, optional
        A hole need only be closed in the slices across this axis. Else it must be in all directions.
    most_ml : float, optional
        Larger holes stay open.

    Raises
    ------
    Cancelled
        `cancelled` said so.
    """
    check_spacing(mask, spacing)
    check_label(mask, label)
    steps = Steps(2, progress, cancelled)
    box = box_of_labels(mask, [label])
    steps.done()
    if box is None or label == 0:
        return no_change(mask)
    flat = {axis for axis, size in enumerate(mask.shape) if size == 1}
    where = holes_of(mask[box], label, flat if across is None else flat | {across})
    if most_ml is not None:
        holes, sizes = pieces_of(where)
        where &= np.concatenate([[False], sizes * voxel_ml(spacing) <= most_ml * (1 + HAIR)])[holes]
    steps.done()
    return paint(mask, box, where, label)


def _pieces(
    mask: NDArray[np.integer], label: int, progress: _Progress, cancelled: _Cancelled
) -> tuple[Box, NDArray[np.integer], NDArray[np.integer]] | None:
    steps = Steps(2, progress, cancelled)
    box = box_of_labels(mask, [label])
    steps.done()
    if box is None:
        return None
    pieces, sizes = pieces_of(is_label(mask[box], label))
    steps.done()
    return box, pieces, sizes
