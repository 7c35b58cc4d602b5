"""One undo for a mask: napari's brush and our tools lie on one pile, which Ctrl+Z and Ctrl+Shift+Z of napari take from.

napari keeps its levels in two deques of the layer, which further views share (see `mirror`), with whole index arrays or boxes in them. Here
the deques stay, because whatever looks at them goes on working; what lies in them is compact, bounded by bytes, and taken back by `History`.
For that a layer gets its own version of the methods of `Labels` that put there, take from there, give up a stroke, or forget.
"""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import napari
import numpy as np
from napari.layers import Labels

from napari_seg3d.editing import Box, Change, Delta, History, Limits, apply
from napari_seg3d.editing.change import joined
from napari_seg3d.errors import GeometryError, Seg3dError
from napari_seg3d.viewer.label_locks import keep_locks, limits_of

#: How many levels of a mask can be undone at most, however small they are.
LEVELS = 1000

#: What napari's own tools are called in `tools_used`, by the mode of the layer.
_NAPARI = {"paint": "napari brush", "erase": "napari eraser", "fill": "napari fill", "polygon": "napari polygon"}

_HOOKS = ("_save_history", "_append_to_undo_history", "_load_history", "_abort_stroke", "_reset_history")


@dataclass(frozen=True)
class Edit:
    """What has just happened to a mask.

    Parameters
    ----------
    deltas : tuple of Delta
        In the order in which they were done.
    is_undone : bool
        Whether they were taken back, the last one first; else they were done, or done again.
    """

    deltas: tuple[Delta, ...]
    is_undone: bool

    @property
    def box(self) -> Box:
        """Where the mask is another."""
        return joined([delta.box for delta in self.deltas])


#: Told about an edit, an undo or a redo as soon as it is written; of a stroke, at each move of the brush.
Listener = Callable[[Edit], None]


def edit_layer(layer: Labels, change: Change, limits: Limits | None = None, tool: str = "") -> Box | None:
    """Write what a tool wants into a mask, as one level of undo, and show it.

    Parameters
    ----------
    layer : Labels
        The mask.
    change : Change
        What the tool wants.
    limits : Limits, optional
        What may be touched; left out, what the layer says (`limits_of`): its locked labels and its range of intensities.
    tool : str
        What it is called in `tools_used`.

    Returns
    -------
    tuple of slice or None
        Where something changed; None where nothing did.

    Raises
    ------
    Seg3dError
        The mask lies on the disk, or is being made and cannot be edited yet.
    GeometryError, LabelError
        The change is none of this mask.
    """
    undo = keep_undo(layer)
    if not isinstance(layer.data, np.ndarray):
        raise Seg3dError(
            f"The mask {layer.name} lies on the disk and cannot be edited.",
            "Duplicate it into memory: right-click the layer, Duplicate.",
        )
    if not layer.editable:
        raise Seg3dError(f"The mask {layer.name} cannot be edited.", "Wait until it is made, or unlock the layer.")
    delta = apply(layer.data, change, limits_of(layer) if limits is None else limits)
    if delta is None:
        return None
    undo.add(replace(delta, tool=tool))
    return delta.box


def tools_used(layer: Labels) -> Counter[str]:
    """Return what a mask was edited with since it was kept the last time: the tools in the order of their first use, and how often.

    What was undone does not count. A stroke counts once for each move of the mouse.
    """
    return +keep_undo(layer).book.tools


def note_kept(layer: Labels, tools: Counter[str]) -> None:
    """Note that a mask was kept as it was when `tools_used` said this: only what came after that counts from now on."""
    book = keep_undo(layer).book
    book.tools -= tools


def note_tools(layer: Labels, tools: Counter[str]) -> None:
    """Note what a mask was edited with before it came into the viewer."""
    keep_undo(layer).book.tools += tools


def on_edit(layer: Labels, listener: Listener) -> Callable[[], None]:
    """Tell somebody about each edit of a mask from now on, whichever view or tool it comes from.

    Returns
    -------
    callable
        Call it to hear no more.
    """
    listeners = keep_undo(layer).book.listeners
    listeners.append(listener)

    def stop() -> None:
        if listener in listeners:
            listeners.remove(listener)

    return stop


def keep_undo(layer: Labels, like: Labels | None = None) -> LayerUndo:
    """Let the undo of a layer be compact and cover our tools from now on; once is enough, more does no harm.

    Parameters
    ----------
    layer : Labels
        The mask.
    like : Labels, optional
        The layer whose mask `layer` shows in another view: from now on they have one history, and the same limits.

    Raises
    ------
    Seg3dError
        This version of napari keeps its history in another way.
    """
    there = undo_of(layer)
    if there is not None:
        return there
    if not all(callable(getattr(Labels, hook, None)) for hook in _HOOKS):
        raise Seg3dError(
            f"Edits cannot be undone in napari {napari.__version__}: it keeps its history in another way than the versions before.",
            "Look for a newer napari-seg3d.",
        )
    return LayerUndo(layer, like)


def undo_of(layer: Labels) -> LayerUndo | None:
    """Return what undoes in a layer, None where that is napari alone."""
    hook = getattr(layer.__dict__.get("_load_history"), "__self__", None)
    return hook if isinstance(hook, LayerUndo) else None


class _Book:
    """What the layers of one mask have in common."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.tools: Counter[str] = Counter()


class LayerUndo:
    """The undo of one layer; made by `keep_undo`."""

    def __init__(self, layer: Labels, like: Labels | None) -> None:
        # The layer holds this: a strong reference would keep it, and its array, in memory after it was removed.
        self._layer = weakref.ref(layer)
        self.book: _Book = _Book() if like is None else keep_undo(like).book
        self._written: list[Delta] = []  # noted by napari, and about to be written by it
        self._data = weakref.ref(layer.data) if isinstance(layer.data, np.ndarray) else None
        if like is None:
            layer._undo_history = deque(map(self._compact, layer._undo_history), LEVELS)
            layer._redo_history = deque(map(self._compact, layer._redo_history), LEVELS)
        else:
            layer._undo_history, layer._redo_history = like._undo_history, like._redo_history
        layer._save_history = self.save
        layer._append_to_undo_history = self.append
        layer._load_history = self.load
        layer._abort_stroke = self.abort
        layer._reset_history = self.reset
        layer.events.data.connect(self._take_data)
        keep_locks(layer, like, self._tell_written)

    @property
    def layer(self) -> Labels:
        """The layer; alive, as it is what calls."""
        return self._layer()

    @property
    def history(self) -> History:
        """The levels of the layer, in napari's deques as they are now."""
        layer = self.layer
        return History(done=layer._undo_history, undone=layer._redo_history)

    def add(self, delta: Delta) -> None:
        """Take in what a tool has written; inside a stroke of napari's it becomes a part of that."""
        layer = self.layer
        self.save(delta)
        self._tell_written()
        if _is_shown(layer, delta.box):
            layer.refresh(extent=False)

    def save(self, value: Any) -> None:
        """In place of `Labels._save_history`: take in what napari is about to write."""
        layer = self.layer
        if not isinstance(layer.data, np.ndarray):
            Labels._save_history(layer, value)
            return
        deltas = self._compact([value])
        if not isinstance(value, Delta):
            deltas = [replace(delta, tool=_NAPARI.get(str(layer.mode), "")) for delta in deltas]
        self._written += deltas
        layer._redo_history.clear()
        if layer._block_history:
            layer._staged_history += deltas
        elif deltas:
            self.append(deltas)

    def append(self, item: Sequence[Any]) -> None:
        """In place of `Labels._append_to_undo_history`: add a level, and say that something was painted."""
        layer = self.layer
        level = self._compact(item)
        if level and isinstance(layer.data, np.ndarray):
            self.history.push(level)
        elif level:
            layer._undo_history.append(level)
        layer.events.paint(value=level)

    def load(self, before: deque[Any], after: deque[Any], undoing: bool = True) -> None:
        """In place of `Labels._load_history`: undo or redo the last level of `before`."""
        layer = self.layer
        if not isinstance(layer.data, np.ndarray):
            Labels._load_history(layer, before, after, undoing)
            return
        if not before:
            return
        level = before[-1] = self._compact(before[-1])
        history = self.history
        if undoing:
            history.undo(layer.data)
        else:
            history.redo(layer.data)
        self._tell(Edit(tuple(level), undoing))
        # Everybody who shows the mask listens for this: napari says nothing else about an undo.
        layer.refresh(extent=False)

    def abort(self) -> None:
        """In place of `Labels._abort_stroke`: take back what was painted of a stroke."""
        layer = self.layer
        if not isinstance(layer.data, np.ndarray):
            Labels._abort_stroke(layer)
            return
        staged = self._compact(layer._staged_history)
        for delta in reversed(staged):
            delta.undo(layer.data)
        layer._staged_history, layer._block_history = [], False
        if staged:
            self._tell(Edit(tuple(staged), True))
        layer.refresh(extent=False)

    def reset(self, event: object = None) -> None:
        """In place of `Labels._reset_history`: forget all levels. The deques stay, because other views have them, too."""
        layer = self.layer
        layer._undo_history.clear()
        layer._redo_history.clear()
        layer._staged_history, layer._block_history, self._written = [], False, []

    def _compact(self, item: Sequence[Any]) -> list[Any]:
        """Return a level of napari's as deltas; what is none of an array in memory stays as it is."""
        data = self.layer.data
        if not isinstance(data, np.ndarray):
            return list(item)
        deltas = [atom if isinstance(atom, Delta) else _delta_of(data, atom) for atom in item]
        return [delta for delta in deltas if delta is not None]

    def _tell_written(self) -> None:
        written, self._written = self._written, []
        if written:
            self._tell(Edit(tuple(written), False))

    def _tell(self, edit: Edit) -> None:
        tools = Counter(delta.tool for delta in edit.deltas if delta.tool)
        if edit.is_undone:
            self.book.tools -= tools  # never below nothing: what was kept may be undone, too
        else:
            self.book.tools += tools
        for listener in list(self.book.listeners):
            listener(edit)

    def _take_data(self, event: object = None) -> None:
        """Forget the edits of another array: napari keeps them, and would write them into this one."""
        layer = self.layer
        if self._data is not None and self._data() is layer.data:
            return
        self._data = weakref.ref(layer.data) if isinstance(layer.data, np.ndarray) else None
        self.reset()


def _delta_of(data: np.ndarray, atom: Any) -> Delta | None:
    """Return what napari has noted, or is about to write, as a delta."""
    if hasattr(atom, "slice_key"):
        return Delta.of_region(data, atom.slice_key, atom.mask, atom.old_values, atom.new_value)
    indices, before, after = atom
    if not isinstance(indices, tuple) or len(indices) != data.ndim:
        raise GeometryError(
            "An edit of another plugin is noted in a way that is not known here.",
            "Undo it with that plugin, or open the mask anew.",
        )
    return Delta.of_points(data, indices, before, after)


def _is_shown(layer: Labels, box: Box) -> bool:
    """Return whether the slice that is shown goes through a box."""
    if layer._slice_input.ndisplay == 3:
        return True
    return all(box[axis].start <= at < box[axis].stop for axis, at in layer._get_pt_not_disp().items())
