"""Locked labels: brush, eraser, fill and polygon leave their voxels alone, and nothing is painted with them.

napari 0.9 writes every stroke through `Labels._apply_mask_to_data`, which also notes it for undo, and `Labels.data_setitem` does both for
code. A layer with locked labels gets its own version of the two, which takes the locked voxels out first. So a locked voxel is never
written, not even for a moment, and what undo knows about is exactly what was changed. Undoing an edit from before the lock is still
possible.
"""

from __future__ import annotations

import time
import weakref

import napari
import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_warning
from numpy.typing import NDArray

from napari_seg3d.errors import Seg3dError
from napari_seg3d.viewer.label_look import locked_values, style_of

_HOOKS = ("_apply_mask_to_data", "data_setitem")
_SECONDS_BETWEEN_WARNINGS = 3.0


def keep_locks(layer: Labels, like: Labels | None = None) -> None:
    """Let a layer respect its locked labels from now on; once is enough, more does no harm.

    Parameters
    ----------
    layer : Labels
        The layer that is painted in.
    like : Labels, optional
        Whose locks count; for a second layer with the same voxels in another view. Left out, its own.

    Raises
    ------
    Seg3dError
        This version of napari paints in another way.
    """
    if not all(callable(getattr(Labels, hook, None)) for hook in _HOOKS):
        raise Seg3dError(
            f"Labels cannot be locked in napari {napari.__version__}: it paints in another way than the versions before.",
            "Paint with napari's 'preserve labels' instead, or look for a newer napari-seg3d.",
        )
    if not isinstance(layer.__dict__.get("data_setitem"), _GuardedSetItem):
        guard = _Guard(layer, layer if like is None else like)
        layer._apply_mask_to_data = _GuardedMask(guard)
        layer.data_setitem = _GuardedSetItem(guard)


class _Guard:
    """Knows what a layer has locked, and says why nothing was painted."""

    def __init__(self, layer: Labels, like: Labels) -> None:
        # The layer holds this: a strong reference would keep it, and its array, in memory after it was removed.
        self._layer, self._like = weakref.ref(layer), weakref.ref(like)
        self._changed = self._warned = -_SECONDS_BETWEEN_WARNINGS

    @property
    def layer(self) -> Labels:
        """The layer; alive, as it is what calls."""
        return self._layer()

    @property
    def like(self) -> Labels:
        """The layer whose locks count; where that is gone, the one that is painted in."""
        return self._like() or self.layer

    def locked(self) -> list[int]:
        """Return the locked values that the layer's numbers can hold."""
        limits = np.iinfo(self.layer.dtype)
        return [value for value in locked_values(self.like) if limits.min <= value <= limits.max]

    def note_change(self) -> None:
        """Remember that something was painted just now."""
        self._changed = time.monotonic()

    def warn(self, value: int) -> None:
        """Say that a label is locked, unless that was said a moment ago."""
        now = time.monotonic()
        if now - self._warned > _SECONDS_BETWEEN_WARNINGS:
            self._warned = now
            name = style_of(self.like, value).name or f"Label {value}"
            show_warning(f"{name} is locked: nothing was painted. Unlock it in the table of labels.")

    def warn_of_nothing(self, under: NDArray[np.integer]) -> None:
        """Say why an edit did nothing at all; a stroke that has painted and then crosses a locked label is no news."""
        if time.monotonic() - self._changed > _SECONDS_BETWEEN_WARNINGS:
            self.warn(int(under[0]))


class _GuardedMask:
    """In place of `Labels._apply_mask_to_data`."""

    def __init__(self, guard: _Guard) -> None:
        self._guard = guard

    def __call__(
        self, data: NDArray[np.integer], mask: NDArray[np.bool_], new_label: int, *rest: object, **named: object
    ) -> NDArray[np.bool_] | None:
        """Paint `new_label` where `mask` is and nothing locked lies; return what changed, as napari's own does."""
        guard, locked = self._guard, self._guard.locked()
        if locked:
            if new_label in locked:
                guard.warn(int(new_label))
                return None
            free = mask & ~np.isin(data, locked)
            if mask.any() and not free.any():
                guard.warn_of_nothing(data[mask])
                return None
            mask = free
        changed: NDArray[np.bool_] | None = Labels._apply_mask_to_data(guard.layer, data, mask, new_label, *rest, **named)
        if changed is not None:
            guard.note_change()
        return changed


class _GuardedSetItem:
    """In place of `Labels.data_setitem`."""

    def __init__(self, guard: _Guard) -> None:
        self._guard = guard

    def __call__(self, indices: tuple[NDArray[np.integer], ...], value: int | NDArray[np.integer], refresh: bool = True) -> None:
        """Write `value` at `indices` where nothing locked lies, and no locked value."""
        guard, locked = self._guard, self._guard.locked()
        if locked:
            new, old = np.asarray(value), np.asarray(guard.layer.data[indices])
            if new.ndim == 0 and new in locked:
                guard.warn(int(new))
                return
            free = ~np.isin(old, locked) & ~np.isin(new, locked)
            if old.size and not free.any():
                guard.warn_of_nothing(old.ravel())
                return
            indices = tuple(index[free] for index in indices)
            value = np.broadcast_to(new, old.shape)[free] if new.ndim else value
        Labels.data_setitem(guard.layer, indices, value, refresh)
        guard.note_change()
