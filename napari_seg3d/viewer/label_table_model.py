"""`LabelTableModel`: the labels of the mask that is looked at, with what they look like, how large and how bright they are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, QTimer, Signal

from napari_seg3d.errors import Seg3dError
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.label_census import Count, middle, take_census
from napari_seg3d.viewer.label_locks import keep_locks
from napari_seg3d.viewer.label_look import LabelStyle, foresee, history_of, locked_values, set_styles, style_of, styles_of
from napari_seg3d.viewer.layers import native_of

if TYPE_CHECKING:
    from napari import Viewer

# A stroke is counted when the hand rests.
_MILLISECONDS_OF_REST = 500


@dataclass(frozen=True)
class LabelRow:
    """What the table says about one label.

    Parameters
    ----------
    value : int
        Its number in the mask.
    style : LabelStyle
        Name, colour, visible, locked.
    voxels : int or None
        How many there are; None as long as nobody has counted.
    size : float or None
        The same in `LabelTableModel.size_unit`.
    mean : float or None
        Mean intensity of `LabelTableModel.image` in it; None without one.
    """

    value: int
    style: LabelStyle
    voxels: int | None = None
    size: float | None = None
    mean: float | None = None


class LabelTableModel(QObject):
    """The labels of one mask: the selected Labels layer, else the one that was, else the topmost visible one.

    Attributes
    ----------
    layer : Labels or None
        The mask.
    image : Image or None
        The visible scan at the same place, whose intensities are averaged.
    rows : list of LabelRow
        What the mask holds and what has a name, by value.
    job : Job or None
        The count that is made.
    error : Seg3dError or None
        Why it was not.
    """

    #: The mask, its rows, the job or the error is another.
    changed = Signal()
    #: The mask's selected label, contour or opacity is another.
    lookChanged = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.layer: Labels | None = None
        self.image: Image | None = None
        self.rows: list[LabelRow] = []
        self.job: Job | None = None
        self.error: Seg3dError | None = None
        self._counts: dict[int, Count] | None = None
        self._is_stale = True
        self._views: set[object] = set()
        self._history: tuple[int, ...] = ()
        self._rest = QTimer(self, singleShot=True, interval=_MILLISECONDS_OF_REST)
        self._rest.timeout.connect(self._count)
        layers = viewer.layers
        for event in (layers.events.inserted, layers.events.removed):
            event.connect(self._heed_layers)
        for event in (layers.events.reordered, layers.selection.events.active):
            event.connect(self._follow)
        self._heard: list[Layer] = []
        self._heed_layers()

    @property
    def size_unit(self) -> str:
        """``"ml"``, or ``"cm²"`` for a mask of one slice."""
        return "" if self.layer is None else _voxel_size(self.layer)[1]

    @property
    def mean_unit(self) -> str:
        """``"HU"`` over a CT, else empty: the numbers of other scans have no unit."""
        native = native_of(self.image) if self.image is not None else None
        return native.unit if native is not None else ""

    # -- what the user wants -------------------------------------------------------------------------------------------------------

    def set_shown(self, view: object, is_shown: bool) -> None:
        """Say that a view has come up, or has gone: nothing is counted while nobody looks."""
        if is_shown:
            self._views.add(view)
            QTimer.singleShot(0, self._count)
        else:
            self._views.discard(view)

    def refresh(self) -> None:
        """Count again, soon: for edits that napari does not tell about."""
        self._is_stale = True
        self._rest.start()

    def rename(self, value: int, name: str) -> None:
        """Give a label a name."""
        self._restyle({value: replace(self._style(value), name=name.strip())})

    def recolour(self, value: int, colour: str) -> None:
        """Give a label a colour, ``#rrggbb``."""
        self._restyle({value: replace(self._style(value), colour=colour)})

    def set_visible(self, value: int, visible: bool) -> None:
        """Show or hide a label."""
        self._restyle({value: replace(self._style(value), visible=visible)})

    def set_locked(self, value: int, locked: bool) -> None:
        """Protect a label from being painted over, or let it go; raises where this napari cannot."""
        if self.layer is not None and locked:
            keep_locks(self.layer)
        self._restyle({value: replace(self._style(value), locked=locked)})

    def show_all(self) -> None:
        """Show every label."""
        self._restyle({row.value: replace(row.style, visible=True) for row in self.rows})

    def show_only(self, value: int) -> None:
        """Show one label and hide the others."""
        self._restyle({row.value: replace(row.style, visible=row.value == value) for row in self.rows})

    def select(self, value: int) -> None:
        """Paint with a label."""
        if self.layer is not None:
            self.layer.selected_label = value

    def add(self) -> int:
        """Name a label that is not in use yet, and paint with it.

        Raises
        ------
        Seg3dError
            The numbers of the mask cannot hold another one.
        """
        if self.layer is None:
            raise Seg3dError("There is no mask.", "Open one, or make one with napari's New labels button.")
        used = {row.value for row in self.rows}
        value = next(number for number in itertools.count(1) if number not in used)
        if value > np.iinfo(self.layer.dtype).max:
            raise Seg3dError(
                f"The mask {self.layer.name} holds no more than {len(used)} labels ({self.layer.dtype}).",
                "Convert it to a larger number type: right-click the layer, Convert data type.",
            )
        self.rename(value, f"label {value}")
        self.select(value)
        return value

    def go_to(self, value: int) -> bool:
        """Bring the middle of a label into view; return whether it was found."""
        count = (self._counts or {}).get(value)
        layer = self.layer
        if layer is None or count is None:
            return False
        inside = middle(np.asarray(_array(layer)[count.plane]), value)
        if inside is None:  # erased a moment ago, and not counted yet
            return False
        place = layer.data_to_world((*count.plane, *inside))
        dims, camera = self._viewer.dims, self._viewer.scene.camera
        dims.set_point(range(dims.ndim - layer.ndim, dims.ndim), place)
        # Where the view is zoomed in, the slice alone would not show it.
        shown = [dims.point[axis] for axis in dims.displayed]
        camera.center = (*camera.center[: 3 - len(shown)], *shown)
        return True

    # -- which mask ----------------------------------------------------------------------------------------------------------------

    def _heed_layers(self, event: object = None) -> None:
        layers = list(self._viewer.layers)
        for layer in self._heard:
            if layer not in layers:
                layer.events.visible.disconnect(self._follow)
        for layer in layers:
            if layer not in self._heard:
                layer.events.visible.connect(self._follow)
        self._heard = layers
        self._follow()

    def _follow(self, event: object = None) -> None:
        layer = self._wanted()
        image = None if layer is None else _image_with(layer, self._viewer.layers)
        if layer is not self.layer:
            if self.job is not None:
                self.job.cancel()
            self._connect(layer)
            self.layer, self.image = layer, image
            self._counts, self.error = None, None
            self._history = history_of(layer)
            if layer is not None and locked_values(layer):  # a duplicate of a layer with locks
                keep_locks(layer)
            self._list()
            self.refresh()
        elif image is not self.image:
            self.image = image
            self.refresh()

    def _wanted(self) -> Labels | None:
        layers = self._viewer.layers
        active = layers.selection.active
        if isinstance(active, Labels):
            return active
        if self.layer is not None and self.layer in layers and self.layer.visible:
            return self.layer
        return next((layer for layer in reversed(layers) if isinstance(layer, Labels) and layer.visible), None)

    def _connect(self, layer: Labels | None) -> None:
        for event, answer in self._answers(self.layer):
            event.disconnect(answer)
        for event, answer in self._answers(layer):
            event.connect(answer)

    def _answers(self, layer: Labels | None) -> list[tuple[Any, Callable[..., None]]]:
        if layer is None:
            return []
        events = layer.events
        heard = [(event, self._on_edit) for event in (events.paint, events.data)]
        heard += [(events.set_data, self._on_drawn)]
        heard += [(event, self._list) for event in (events.features, events.colormap, events.name)]
        return heard + [(event, self._on_look) for event in (events.selected_label, events.contour, events.opacity)]

    def _on_edit(self, event: object = None) -> None:
        self.refresh()

    def _on_drawn(self, event: object = None) -> None:
        # Undo and redo have no event of their own: they draw anew, as scrolling does. What tells them apart is the history.
        history = history_of(self.layer)
        if history != self._history:
            self._history = history
            self.refresh()

    def _on_look(self, event: object = None) -> None:
        self.lookChanged.emit()

    # -- what is in it -------------------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        layer = self.layer
        if layer is None or not self._is_stale or not self._views:
            return
        if self.job is not None:
            return  # one at a time; `_ended` looks again
        self._is_stale = False
        labels = _array(layer)
        image = _array(self.image) if self.image is not None else None
        self.job = start_job(
            lambda job: take_census(labels, image, job.is_cancelled),
            returned=lambda counts: self._take(layer, counts),
            failed=self._failed,
            cancelled=self._cancelled,
            ended=self._ended,
        )
        self.changed.emit()

    def _take(self, layer: Labels, counts: dict[int, Count]) -> None:
        if layer is self.layer:
            self._counts, self.error = counts, None
            foresee(layer, counts)

    def _failed(self, error: Seg3dError) -> None:
        self.error = error

    def _cancelled(self) -> None:
        self._is_stale = True

    def _ended(self) -> None:
        self.job = None
        self._list()
        if self._is_stale and not self._rest.isActive():
            self._rest.start()

    def _list(self, event: object = None) -> None:
        self.rows = [] if self.layer is None else _rows(self.layer, self._counts)
        self.changed.emit()

    def _style(self, value: int) -> LabelStyle:
        if self.layer is None:
            raise Seg3dError("There is no mask.", "Select a labels layer.")
        return style_of(self.layer, value)

    def _restyle(self, styles: dict[int, LabelStyle]) -> None:
        if self.layer is not None:
            set_styles(self.layer, styles)
            self._list()


def _rows(layer: Labels, counts: dict[int, Count] | None) -> list[LabelRow]:
    size, _ = _voxel_size(layer)
    rows = []
    for value, style in styles_of(layer, counts or ()).items():
        if counts is None:
            rows.append(LabelRow(value, style))
        else:
            count = counts.get(value, Count())
            rows.append(LabelRow(value, style, count.voxels, count.voxels * size, count.mean))
    return rows


def _voxel_size(layer: Labels) -> tuple[float, str]:
    """Return the volume of a voxel in ml, or its area where there is but one slice, whose thickness says nothing."""
    shape, scale = layer.data.shape[-3:], np.abs(layer.scale[-3:])
    if layer.multiscale:
        shape = layer.data[0].shape[-3:]
    if len(shape) < 3 or 1 in shape:
        edges = [float(edge) for edge, length in zip(scale, shape, strict=True) if length > 1]
        return float(np.prod(edges)) / 100, "cm²"
    return float(np.prod(scale)) / 1000, "ml"


def _image_with(mask: Labels, layers: Iterable[Layer]) -> Image | None:
    """Return the visible image at the place of a mask: the next below it, else the next above."""
    layers = list(layers)
    at = layers.index(mask)
    for layer in (*reversed(layers[:at]), *layers[at + 1 :]):
        if isinstance(layer, Image) and layer.visible and not layer.rgb and _array(layer).shape == _array(mask).shape:
            tolerance = 1e-3 * float(np.abs(mask.scale).min())
            if np.allclose(layer.scale, mask.scale, atol=tolerance) and np.allclose(
                layer.translate, mask.translate, atol=tolerance
            ):
                return layer
    return None


def _array(layer: Layer) -> Any:
    return layer.data[0] if layer.multiscale else layer.data
