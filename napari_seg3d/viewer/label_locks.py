"""Locked labels, and a range of intensities that may be painted: brush, eraser, fill and polygon leave all other voxels alone.

napari 0.9 writes every stroke through `Labels._apply_mask_to_data`, which also notes it for undo, and `Labels.data_setitem` does both for
code. A layer with limits gets its own version of the two, which takes out first what may not be touched; and nothing is painted with a locked
label. So a locked voxel is never written, not even for a moment, and what undo knows about is exactly what was changed. Undoing an edit
from before the lock is still possible.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import napari
import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_warning
from numpy.typing import NDArray

from napari_seg3d.editing import Limits
from napari_seg3d.errors import GeometryError, Seg3dError
from napari_seg3d.viewer.label_look import locked_values, style_of

_HOOKS = ("_apply_mask_to_data", "data_setitem")
_SECONDS_BETWEEN_WARNINGS = 3.0


def set_limits(layer: Labels, image: NDArray[np.generic] | None, intensities: tuple[float, float] | None) -> None:
    """Let only voxels be painted whose intensity lies in a range, by brush, eraser, fill and polygon as by our tools.

    Parameters
    ----------
    layer : Labels
        The mask. Copies of it in other views follow.
    image : array, optional
        The image under the mask, of its shape. It stays in memory as long as the limits do.
    intensities : (float, float), optional
        The range, both ends included; None takes the limits away.

    Raises
    ------
    ConfigError, GeometryError, Seg3dError
        The range is empty, the image is not of the mask's shape, or this napari paints in another way.
    """
    if intensities is None:
        _ranges.pop(layer, None)
        return
    Limits(image=image, intensities=intensities)
    if image is None or image.shape != layer.data.shape:
        raise GeometryError(
            f"The image has {image.shape if image is not None else 'no'} voxels, the mask {layer.name} has {layer.data.shape}.",
            "Choose the image that the mask belongs to.",
        )
    keep_locks(layer)
    _ranges[layer] = _Range(image, *intensities)


def limits_of(layer: Labels) -> Limits:
    """Return what may be touched in a mask: not its locked labels, and only the range of intensities that was set."""
    within = _ranges.get(layer)
    if within is None:
        return Limits(locked_values(layer))
    return Limits(locked_values(layer), within.image, (within.low, within.high))


def keep_locks(layer: Labels, like: Labels | None = None, written: Callable[[], None] | None = None) -> None:
    """Let a layer respect its locked labels and limits from now on; once is enough, more does no harm.

    Parameters
    ----------
    layer : Labels
        The layer that is painted in.
    like : Labels, optional
        Whose locks count; for a second layer with the same voxels in another view. Left out, its own.
    written : callable, optional
        Called from now on after each edit of this layer; in place of one that was given before.

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
    hook = layer.__dict__.get("data_setitem")
    if not isinstance(hook, _GuardedSetItem):
        guard = _Guard(layer, layer if like is None else like)
        layer._apply_mask_to_data = _GuardedMask(guard)
        layer.data_setitem = hook = _GuardedSetItem(guard)
    if written is not None:
        hook.guard.written = written


@dataclass(frozen=True, eq=False)
class _Range:
    """Which intensities may be painted."""

    image: NDArray[np.generic]
    low: float
    high: float

    def holds(self, index: tuple[slice, ...] | tuple[NDArray[np.integer], ...]) -> NDArray[np.bool_]:
        """Return which of these voxels lie in it."""
        under = self.image[index]
        return np.greater_equal(under, self.low) & np.less_equal(under, self.high)


_ranges: weakref.WeakKeyDictionary[Labels, _Range] = weakref.WeakKeyDictionary()


class _Guard:
    """Knows what a layer has locked, and says why nothing was painted."""

    def __init__(self, layer: Labels, like: Labels) -> None:
        # The layer holds this: a strong reference would keep it, and its array, in memory after it was removed.
        self._layer, self._like = weakref.ref(layer), weakref.ref(like)
        self._changed = self._warned = -_SECONDS_BETWEEN_WARNINGS
        self.written: Callable[[], None] | None = None

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

    def range(self) -> _Range | None:
        """Return which intensities may be painted; None where all may, and where the mask has got another shape since."""
        found = _ranges.get(self.like)
        return found if found is not None and found.image.shape == self.layer.data.shape else None

    def note_change(self) -> None:
        """Remember that something was painted just now, and tell who wants to know."""
        self._changed = time.monotonic()
        if self.written is not None:
            self.written()

    def warn(self, value: int) -> None:
        """Say that a label is locked, unless that was said a moment ago."""
        name = style_of(self.like, value).name or f"Label {value}"
        self._say(f"{name} is locked: nothing was painted. Unlock it in the table of labels.")

    def warn_of_nothing(self, under: NDArray[np.integer], locked: list[int]) -> None:
        """Say why an edit did nothing at all; a stroke that has painted and then crosses a locked label is no news.

        `under` are the values that were to be painted over.
        """
        if time.monotonic() - self._changed <= _SECONDS_BETWEEN_WARNINGS:
            return
        within = self.range()
        if within is None or np.isin(under, locked).all():
            self.warn(int(under[0]))
        else:
            self._say(
                f"Nothing was painted: only intensities from {within.low:g} to {within.high:g} may be, and none is here. "
                "Widen the range, or switch it off."
            )

    def _say(self, message: str) -> None:
        now = time.monotonic()
        if now - self._warned > _SECONDS_BETWEEN_WARNINGS:
            self._warned = now
            show_warning(message)


class _GuardedMask:
    """In place of `Labels._apply_mask_to_data`."""

    def __init__(self, guard: _Guard) -> None:
        self._guard = guard

    def __call__(
        self, data: NDArray[np.integer], mask: NDArray[np.bool_], new_label: int, volume_slice: tuple[slice, ...]
    ) -> NDArray[np.bool_] | None:
        """Paint `new_label` where `mask` is and nothing forbids it; return what changed, as napari's own does."""
        guard, locked, within = self._guard, self._guard.locked(), self._guard.range()
        if locked or within is not None:
            if new_label in locked:
                guard.warn(int(new_label))
                return None
            free = mask & ~np.isin(data, locked)
            if within is not None:
                free &= within.holds(volume_slice)
            if mask.any() and not free.any():
                guard.warn_of_nothing(data[mask], locked)
                return None
            mask = free
        changed: NDArray[np.bool_] | None = Labels._apply_mask_to_data(guard.layer, data, mask, new_label, volume_slice)
        if changed is not None:
            guard.note_change()
        return changed


class _GuardedSetItem:
    """In place of `Labels.data_setitem`."""

    def __init__(self, guard: _Guard) -> None:
        self.guard = guard

    def __call__(self, indices: tuple[NDArray[np.integer], ...], value: int | NDArray[np.integer], refresh: bool = True) -> None:
        """Write `value` at `indices` where nothing forbids it, and no locked value."""
        guard, locked, within = self.guard, self.guard.locked(), self.guard.range()
        if locked or within is not None:
            new, old = np.asarray(value), np.asarray(guard.layer.data[indices])
            if new.ndim == 0 and new in locked:
                guard.warn(int(new))
                return
            free = ~np.isin(old, locked) & ~np.isin(new, locked)
            if within is not None:
                free &= within.holds(indices)
            if old.size and not free.any():
                guard.warn_of_nothing(old.ravel(), locked)
                return
            indices = tuple(index[free] for index in indices)
            value = np.broadcast_to(new, old.shape)[free] if new.ndim else value
        Labels.data_setitem(guard.layer, indices, value, refresh)
        guard.note_change()
