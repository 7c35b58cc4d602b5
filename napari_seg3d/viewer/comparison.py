"""`Comparison`: two linked views, before and after, in the place of the canvas.

Both are viewers of napari on their own, as in `ortho`: the user's layers, their order, selection and visibility, and the place that the
user looks at are not touched at all, so that nothing has to be put back when the comparison ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from napari.qt import QtViewer
from napari.utils.colormaps import Colormap
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMainWindow, QSplitter, QToolButton, QVBoxLayout, QWidget

from napari_seg3d.viewer.layers import LayerTuple
from napari_seg3d.viewer.look import go_to_centre, show_radiological

if TYPE_CHECKING:
    from napari import Viewer

_CLICK_PIXELS = 3


class Comparison(QObject):
    """Two views of one place, linked in slice, zoom and position.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer whose canvas they cover; what it holds stays as it is.
    """

    #: The user closed the views.
    closed = Signal()
    #: The user looks at another place: scrolled, or clicked.
    moved = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._panes: list[_Pane] = []
        self._covered: QWidget | None = None
        self._splitter: QSplitter | None = None
        self._heard: list[tuple[Any, Callable[..., None]]] = []
        self._is_moving = False

    @property
    def is_shown(self) -> bool:
        """Whether the views are there now."""
        return self._splitter is not None

    @property
    def point(self) -> tuple[float, ...]:
        """Where in the world ``(z, y, x)`` the user looks: here, or in the viewer while there are no views."""
        shown = self._panes[0].model if self._panes and len(self._panes[0].model.layers) else self._viewer
        return tuple(shown.dims.point[-3:])

    @property
    def order(self) -> tuple[int, ...]:
        """The axes of ``(z, y, x)``: the one that is stepped through first, then rows and columns."""
        return _order_of(self._viewer)

    def show(self, window: QMainWindow) -> None:
        """Cover the canvas of a window with two empty views."""
        if self.is_shown:
            return
        layout = window.centralWidget().layout()
        main = window.centralWidget().findChild(QtViewer)
        # The canvas itself, or the splitter that holds it while there are four views.
        place = next(at for at in range(layout.count()) if _holds(layout.itemAt(at).widget(), main))
        self._covered = layout.itemAt(place).widget()
        self._panes = [_Pane("Before"), _Pane("After")]
        close = QToolButton()
        close.setText("✕")
        close.setAutoRaise(True)
        close.setToolTip("<p>End the preview; your layers are as you left them.</p>")
        close.clicked.connect(self.closed)
        self._panes[1].heading.addWidget(close)
        self._splitter = QSplitter(Qt.Orientation.Horizontal)
        for pane in self._panes:
            self._splitter.addWidget(pane)
            self._listen(pane.model)
        self._hear(self._viewer.dims.events.order, self._turn)
        self._splitter.setSizes([1000, 1000])
        self._covered.hide()
        layout.insertWidget(place, self._splitter)

    def hide(self) -> None:
        """Show the canvas again."""
        if self._splitter is None:
            return
        for event, answer in self._heard:
            event.disconnect(answer)
        self._heard.clear()
        for pane in self._panes:
            pane.close()
        self._splitter.setParent(None)
        self._splitter.deleteLater()
        covered, self._covered, self._splitter, self._panes = self._covered, None, None, []
        if covered is not None:
            # Four views that were covered may be gone meanwhile, with the canvas back in its own place.
            with contextlib.suppress(RuntimeError):
                covered.show()

    def forget(self) -> None:
        """Let go of views that went with their window."""
        self._covered, self._splitter, self._panes = None, None, []
        self._heard.clear()

    def set(self, before: list[LayerTuple], after: list[LayerTuple], titles: tuple[str, str]) -> None:
        """Show other layers; the place that is looked at stays, unless these are the first ones.

        Parameters
        ----------
        before, after : list of LayerTuple
            The image first.
        titles : two strings
            What to write above each view.
        """
        if not self._panes:
            return
        is_first = not len(self._panes[1].model.layers)
        self._is_moving = True
        try:
            for pane, layers, title in zip(self._panes, (before, after), titles, strict=True):
                pane.set(layers, title)
        finally:
            self._is_moving = False
        if is_first:
            self._turn()
            # The window gives the views their sizes after this.
            QTimer.singleShot(0, self.fill)

    def clear(self) -> None:
        """Show nothing, with the views in place."""
        self._is_moving = True  # without layers, places have another number of axes
        try:
            for pane in self._panes:
                pane.set([], "")
        finally:
            self._is_moving = False

    def show_masks(self, is_on: bool) -> None:
        """Show or hide all masks."""
        for pane in self._panes:
            pane.shows_masks = is_on
            pane.apply_visibility()

    def fill(self) -> None:
        """Let what the right view shows fill it, and go to the place that the viewer shows, or to its middle."""
        if not self._panes or not len(self._panes[1].model.layers):
            return
        model = self._panes[1].model
        image = model.layers[0]
        low, high = image.extent.world[:, -3:]
        wanted = np.array(self._viewer.dims.point[-3:]) if self._viewer.dims.ndim >= 3 else (low + high) / 2
        go_to_centre(model, image)
        if ((wanted >= low) & (wanted <= high)).all():
            model.dims.set_point(range(model.dims.ndim - 3, model.dims.ndim), wanted)
        self._follow(model)
        self._zoom(model)

    # -- links ---------------------------------------------------------------------------------------------------------------------

    def _listen(self, model: ViewerModel) -> None:
        self._hear(model.dims.events.point, lambda _event: self._follow(model))
        camera = model.scene.camera
        for event in (camera.events.center, camera.events.zoom):
            self._hear(event, lambda _event: self._zoom(model))
        model.mouse_drag_callbacks.append(self._go_to_click)

    def _hear(self, event: Any, answer: Callable[..., None]) -> None:
        event.connect(answer)
        self._heard.append((event, answer))

    def _follow(self, source: ViewerModel) -> None:
        if self._is_moving:
            return
        self._is_moving = True
        try:
            for pane in self._panes:
                if pane.model is not source and pane.model.dims.ndim == source.dims.ndim:
                    pane.model.dims.point = source.dims.point
        finally:
            self._is_moving = False
        self.moved.emit()

    def _zoom(self, source: ViewerModel) -> None:
        if self._is_moving:
            return
        self._is_moving = True
        try:
            for pane in self._panes:
                if pane.model is not source:
                    pane.model.scene.camera.center = source.scene.camera.center
                    pane.model.scene.camera.zoom = source.scene.camera.zoom
        finally:
            self._is_moving = False

    def _turn(self, event: object = None) -> None:
        """Show the plane that the viewer shows."""
        for pane in self._panes:
            if pane.model.dims.ndim == 3 and tuple(pane.model.dims.order) != self.order:
                pane.model.dims.order = self.order
                pane.model.reset_view()

    def _go_to_click(self, model: ViewerModel, event: Any) -> Iterator[None]:
        """Bring both views to the place that is clicked; a drag moves the picture, as ever."""
        if event.button != 1:
            return
        pressed, place = np.array(event.pos), event.position
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.array(event.pos) - pressed).max() <= _CLICK_PIXELS:
            model.dims.point = place


class _Pane(QWidget):
    """A heading above a viewer."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.model = ViewerModel(ndisplay=2)
        self.widget = QtViewer(self.model)
        self.widget.setMinimumSize(80, 80)
        self.title = QLabel(title)
        self.title.setMinimumWidth(1)  # a long title must not widen the view
        self.heading = QHBoxLayout()
        self.heading.setContentsMargins(6, 2, 2, 2)
        self.heading.addWidget(self.title, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(self.heading)
        column.addWidget(self.widget, 1)
        self.shows_masks = True
        show_radiological(self.model)

    def set(self, wanted: list[LayerTuple], title: str) -> None:
        """Show other layers in the place of those that there are; what has the same shape and place only gets other voxels."""
        self.title.setText(title)
        self.title.setToolTip(title)
        for at, (data, settings, kind) in enumerate(wanted):
            shown = self.model.layers[at] if at < len(self.model.layers) else None
            if shown is not None and _can_hold(shown, data, settings, kind):
                if shown.data is not data:
                    shown.data = data
                # napari draws everything anew for each property that is set, the same value or not.
                if shown.name != settings["name"]:
                    shown.name = settings["name"]
                shown.metadata = settings["metadata"]
                if kind == "image":
                    _set_colours(shown, settings["colormap"], settings["contrast_limits"])
                continue
            layer = Layer.create(data, settings, kind)
            if kind == "labels":
                layer.contour = 1  # what lies below must be seen
            if shown is not None:
                del self.model.layers[at]
            self.model.layers.insert(at, layer)
        while len(self.model.layers) > len(wanted):
            del self.model.layers[-1]
        self.apply_visibility()

    def apply_visibility(self) -> None:
        """Show or hide the masks, as is wished."""
        for layer in self.model.layers:
            if layer._type_string == "labels" and layer.visible != self.shows_masks:
                layer.visible = self.shows_masks

    def close(self) -> bool:
        """End this view."""
        self.model.layers.clear()
        self.widget.close()
        self.widget.deleteLater()
        return super().close()


def _can_hold(layer: Layer, data: Any, settings: dict[str, Any], kind: str) -> bool:
    return (
        layer._type_string == kind
        and tuple(layer.data.shape) == tuple(data.shape)
        and layer.data.dtype == data.dtype
        and np.allclose(layer.scale, settings["scale"])
        and np.allclose(layer.translate, settings["translate"])
    )


def _set_colours(layer: Layer, colormap: str | Colormap, limits: tuple[float, float]) -> None:
    if layer.colormap.name != (colormap if isinstance(colormap, str) else colormap.name):
        layer.colormap = colormap
    if tuple(layer.contrast_limits) != tuple(limits):
        # napari clips the limits to their range, which is that of the first values.
        whole = layer.contrast_limits_range
        layer.contrast_limits_range = (min(limits[0], whole[0]), max(limits[1], whole[1]))
        layer.contrast_limits = limits


def _holds(widget: QWidget | None, main: QWidget) -> bool:
    return widget is not None and (widget is main or widget.isAncestorOf(main))


def _order_of(viewer: ViewerModel) -> tuple[int, ...]:
    order = [axis - viewer.dims.ndim + 3 for axis in viewer.dims.order]
    spatial = tuple(axis for axis in order if axis >= 0)
    return spatial if len(spatial) == 3 else (0, 1, 2)
