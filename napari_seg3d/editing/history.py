"""`History`: the levels of undo of one mask, bounded by bytes; and `apply`, which is how a change gets into a mask."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.change import Box, Change, check_change, joined, shape_of
from napari_seg3d.editing.delta import Delta, delta_of_slab, memory_order, slabs
from napari_seg3d.editing.limits import ANYTHING, Limits, allowed, check_image, is_limiting
from napari_seg3d.errors import Seg3dError

__all__ = ["BYTES", "Delta", "History", "Level", "apply"]

#: Bytes that the levels of one mask may take. The allocator takes up to a third more, so that this stays below 200 MB.
BYTES = 150_000_000

#: What one undo takes back: the deltas of a stroke or of a tool, in the order in which they were done.
Level = list[Delta]


def apply(mask: NDArray[np.integer], change: Change, limits: Limits = ANYTHING) -> Delta | None:
    """Write a change into a mask, as far as the limits allow.

    Memory beside mask and change stays at some tens of MB, whatever is edited.

    Parameters
    ----------
    mask : array of integers
        2D or 3D; it is written.
    change : Change
        What a tool wants.
    limits : Limits
        What may be touched.

    Returns
    -------
    Delta or None
        What was changed; None where that is nothing.

    Raises
    ------
    GeometryError, LabelError
        The change is none of this mask, or the image of the limits is not of the mask's shape. Nothing was written.
    Seg3dError
        The array may not be written.
    """
    check_change(mask, change)
    if not mask.flags.writeable:
        raise Seg3dError("The mask may not be written: its array is read-only.", "Edit a copy of it.")
    if is_limiting(limits):
        check_image(mask, limits)
    if change.is_empty:
        return None
    axes = memory_order(mask)
    pieces = []
    try:
        for slab in slabs([shape_of(change.box)[axis] for axis in axes]):
            inner = tuple(slab[axes.index(axis)] for axis in range(mask.ndim))
            outer = tuple(
                slice(side.start + part.start, side.start + part.stop) for side, part in zip(change.box, inner, strict=True)
            )
            new, old = change.values[inner], mask[outer]
            differs = old != new
            if is_limiting(limits) and differs.any():
                differs &= allowed(mask, limits, outer, new)
            there, wanted, flags = old.transpose(axes), new.transpose(axes), differs.transpose(axes)
            piece = delta_of_slab(outer, axes, flags, there, wanted)
            if piece is not None:
                pieces.append(piece)
                np.copyto(there, wanted, where=flags)
    except BaseException:
        # Out of memory, or stopped: an edit is whole or not there, because nobody could take half of it back.
        if pieces:
            Delta(mask.shape, mask.dtype, tuple(pieces)).undo(mask)
        raise
    return Delta(mask.shape, mask.dtype, tuple(pieces)) if pieces else None


class History:
    """The levels of undo of one mask.

    Parameters
    ----------
    limit : int
        Bytes that all levels may take together. The oldest are forgotten first; the last edit can always be undone.
    done, undone : deque of Level, optional
        Where the levels lie, the last one at the right; for somebody who keeps such deques already.
    """

    def __init__(self, limit: int = BYTES, done: deque[Level] | None = None, undone: deque[Level] | None = None) -> None:
        self.limit = limit
        self._done: deque[Level] = deque() if done is None else done
        self._undone: deque[Level] = deque() if undone is None else undone
        self._group: Level | None = None

    def apply(self, mask: NDArray[np.integer], change: Change, limits: Limits = ANYTHING) -> Box | None:
        """Write a change into the mask as a level of its own; return where something changed. Raises as `history.apply` does."""
        delta = apply(mask, change, limits)
        self.note(delta)
        return None if delta is None else delta.box

    def note(self, delta: Delta | None) -> None:
        """Add an edit that was written already; inside `group`, to the level that is being made. None is no edit."""
        if delta is None:
            return
        if self._group is not None:
            self._group.append(delta)
        else:
            self.push([delta])

    def push(self, level: Level) -> None:
        """Add a level; what had been undone before it cannot be done again any more."""
        self._undone.clear()
        self._done.append(level)
        spare = self.limit - self.nbytes
        while spare < 0 and len(self._done) > 1:
            spare += _nbytes(self._done.popleft())

    @contextmanager
    def group(self) -> Iterator[None]:
        """Make one level of all edits in the block, those inside further groups included."""
        if self._group is not None:
            yield
            return
        self._group = []
        try:
            yield
        finally:
            level, self._group = self._group, None
            if level:
                self.push(level)

    def undo(self, mask: NDArray[np.integer]) -> Box | None:
        """Take the last level back; return where, or None where there is none."""
        if not self._done:
            return None
        level = self._done[-1]
        boxes = [delta.undo(mask) for delta in reversed(level)]
        self._undone.append(self._done.pop())
        return joined(boxes)

    def redo(self, mask: NDArray[np.integer]) -> Box | None:
        """Do the level again that was undone last; return where, or None where there is none."""
        if not self._undone:
            return None
        level = self._undone[-1]
        boxes = [delta.redo(mask) for delta in level]
        self._done.append(self._undone.pop())
        return joined(boxes)

    def clear(self) -> None:
        """Forget all levels."""
        self._done.clear()
        self._undone.clear()

    @property
    def undo_levels(self) -> int:
        """How many levels can be undone."""
        return len(self._done)

    @property
    def redo_levels(self) -> int:
        """How many levels can be done again."""
        return len(self._undone)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the levels take."""
        return sum(map(_nbytes, self._done)) + sum(map(_nbytes, self._undone))


def _nbytes(level: Level) -> int:
    return sum(delta.nbytes for delta in level)
