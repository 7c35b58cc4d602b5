"""`Autosave`: each mask that is edited in a viewer has a journal, from its first edit until it is saved.

One `Autosave` per viewer (`session_of(viewer).autosave`) does its work by itself. Whoever saves a mask, or has asked the user whether it may
be thrown away, calls `forget_edits(layer)`. What is removed in any other way, or was there when the program ended, `recovery` brings back.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_seg3d.editing.journal import SECONDS, Journal
from napari_seg3d.editing.records import About
from napari_seg3d.errors import Seg3dError
from napari_seg3d.files import user_folder
from napari_seg3d.viewer.layers import native_of
from napari_seg3d.viewer.saving import native_labels
from napari_seg3d.viewer.undo import Edit, on_edit, tools_used
from napari_seg3d.volumes import Source

if TYPE_CHECKING:
    from napari import Viewer

_journals: weakref.WeakKeyDictionary[Labels, Journal] = weakref.WeakKeyDictionary()


def autosave_folder() -> Path:
    """Return where journals lie: a folder that only the user can look into."""
    return user_folder("state") / "autosave"


def journal_of(layer: Labels) -> Journal | None:
    """Return the journal of a mask; None where nothing was edited since it came, or was saved."""
    return _journals.get(layer)


def forget_edits(layer: Labels) -> None:
    """Remove the journal of a mask that was saved, or that nobody wants."""
    journal = _journals.pop(layer, None)
    if journal is not None:
        journal.end()


class Autosave(QObject):
    """The journals of the masks of one viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        Where.
    seconds : float
        How often the disk is asked to make sure.

    Attributes
    ----------
    problem : Seg3dError or None
        Why edits are not on the disk, as long as they are not; they wait in memory meanwhile.
    """

    #: The problem is another.
    changed = Signal()
    _told = Signal(object)  # by the thread that writes

    def __init__(self, viewer: Viewer, seconds: float = SECONDS) -> None:
        super().__init__()
        self._viewer, self._seconds = viewer, seconds
        self.problem: Seg3dError | None = None
        self._told.connect(self._take_problem)
        self._followed: dict[int, _Followed] = {}  # by the identity of the layer, which this must not hold
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._heed_layers)
        viewer.dims.events.current_step.connect(self.flush)
        self._heed_layers()

    def flush(self, event: object = None) -> None:
        """Ask the disk to make sure of all edits now; returns at once."""
        for layer in self._masks():
            journal = journal_of(layer)
            if journal is not None:
                journal.flush()

    def begin(self, layer: Labels, mask: NDArray[np.integer]) -> Journal | None:
        """Begin the journal of a mask.

        Parameters
        ----------
        layer : Labels
            The mask.
        mask : array of integers
            Its voxels before the edits that follow; nobody may write into this array any more.

        Returns
        -------
        Journal or None
            None where the folder cannot be written, which `problem` says.
        """
        try:
            about = about_of(layer, self._viewer.layers)
            journal = Journal.begin(autosave_folder(), mask, about, seconds=self._seconds, on_problem=self._tell)
        except Seg3dError as error:
            self._take_problem(error)
            return None
        _journals[layer] = journal
        weakref.finalize(layer, journal.close)
        return journal

    def _masks(self) -> list[Labels]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Labels)]

    def _heed_layers(self, event: object = None) -> None:
        there = {id(layer): layer for layer in self._masks() if isinstance(layer.data, np.ndarray)}
        for key in [key for key in self._followed if key not in there]:
            gone = self._followed.pop(key)
            gone.stop()
            layer = gone.layer()
            journal = None if layer is None else _journals.pop(layer, None)
            if journal is not None:
                journal.close()  # nobody has said that it is not wanted
        for key, layer in there.items():
            if key not in self._followed:
                self._followed[key] = _Followed.of(layer, self)

    def note(self, layer: Labels, edit: Edit) -> None:
        """Write down what has just happened to a mask."""
        journal = journal_of(layer)
        if journal is None:
            before = np.array(layer.data)
            for delta in edit.deltas if edit.is_undone else reversed(edit.deltas):
                if edit.is_undone:
                    delta.redo(before)
                else:
                    delta.undo(before)
            journal = self.begin(layer, before)
        if journal is not None:
            for delta in reversed(edit.deltas) if edit.is_undone else edit.deltas:
                journal.note(delta, edit.is_undone)

    def begin_anew(self, layer: Labels) -> None:
        """Begin again with the array that an edited mask has now, such as the same labels in another type."""
        journal = journal_of(layer)
        if journal is None:
            return
        if isinstance(layer.data, np.ndarray) and self.begin(layer, np.array(layer.data)) is not None:
            journal.end()

    def _tell(self, problem: Seg3dError | None) -> None:
        with contextlib.suppress(RuntimeError):  # the window may be gone by now
            self._told.emit(problem)

    def _take_problem(self, problem: Seg3dError | None) -> None:
        self.problem = problem
        self.changed.emit()


@dataclass(frozen=True)
class _Followed:
    """A layer that is listened to; what listens holds neither the layer nor the autosave."""

    layer: weakref.ref[Labels]
    stop: Callable[[], None]

    @classmethod
    def of(cls, layer: Labels, autosave: Autosave) -> _Followed:
        whom, what = weakref.ref(autosave), weakref.ref(layer)
        array = [weakref.ref(layer.data)]

        def heard(edit: Edit) -> None:
            one, edited = whom(), what()
            if one is not None and edited is not None:
                one.note(edited, edit)

        def replaced(event: object = None) -> None:
            one, edited = whom(), what()
            if one is not None and edited is not None and edited.data is not array[0]():
                if isinstance(edited.data, np.ndarray):
                    array[0] = weakref.ref(edited.data)
                one.begin_anew(edited)

        stop_edits = on_edit(layer, heard)
        layer.events.data.connect(replaced)

        def stop() -> None:
            stop_edits()
            left = what()
            if left is not None:
                left.events.data.disconnect(replaced)

        return cls(what, stop)


def about_of(layer: Labels, layers: Iterable[Layer]) -> About:
    """Return what a journal says about a mask, so that `recovery` can show it again."""
    native = native_of(layer)
    scan = _scan_of(layer, layers)
    more: dict[str, Any] = {
        "scale": [float(one) for one in layer.scale],
        "translate": [float(one) for one in layer.translate],
        "units": [str(one) for one in layer.units],
        "axis_labels": list(layer.axis_labels),
        "labels": {str(value): [label.name, label.colour] for value, label in native_labels(layer).items()},
        "tools": list(tools_used(layer)),
    }
    if native is not None:
        more["native"] = {
            "shape": [int(side) for side in native.grid.shape],
            "affine": native.grid.affine.tolist(),
            "axes": native.placement.frame.axes.tolist(),
            "modality": native.modality,
            "is_oriented": native.is_oriented,
            "file": "" if native.source is None else str(native.source.path),
        }
    return About(
        layer.name,
        tuple(layer.data.shape),
        layer.data.dtype.str,
        "" if scan is None else scan.path.name,
        "" if scan is None else str(scan.path),
        more,
    )


def _scan_of(mask: Labels, layers: Iterable[Layer]) -> Source | None:
    """Return the file of the image at the place of a mask, the one right below it first."""
    layers = list(layers)
    at = layers.index(mask) if mask in layers else 0
    for layer in (*reversed(layers[:at]), *layers[at:]):
        native = native_of(layer)
        if not isinstance(layer, Image) or layer.multiscale or native is None or native.source is None:
            continue
        if tuple(layer.data.shape[-3:]) == tuple(mask.data.shape[-3:]) and all(
            np.allclose(one[-3:], other[-3:], atol=1e-3)
            for one, other in ((layer.scale, mask.scale), (layer.translate, mask.translate))
        ):
            return native.source
    return None
