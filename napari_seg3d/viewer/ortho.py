"""`OrthoViews`: coronal, sagittal and 3D views beside the axial one, with a crosshair that links them.

Not the package napari-orthogonal-views: it has no 3D view, no letters, brings OpenCV, and replaces methods of napari's layers and
actions for the whole program. Here each further view is a viewer of napari on its own, whose layers share the arrays of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.qt import QtViewer
from qtpy.QtCore import QObject, QPointF, QRectF, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QGridLayout, QMainWindow, QSplitter, QWidget

from napari_seg3d.viewer.look import plane_order, show_plane, show_radiological
from napari_seg3d.viewer.mirror import Mirror

if TYPE_CHECKING:
    from napari import Viewer

# Which of (z, y, x) is stepped through in each view; the two others are shown. None is the 3D view.
_PLANES: dict[str, int | None] = {"coronal": 1, "sagittal": 2, "3D": None}
_FROM_THE_FRONT = (-0.3, -1.0, 0.35)  # along (z, y, x): a little from above, and from the patient's right
_COLOURS = {0: "#e0c040", 1: "#50c878", 2: "#e06060"}  # the lines at a place along z, y and x
_CLICK_PIXELS = 3


class OrthoViews(QObject):
    """The further views of one viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        The first view; it stays what it was.
    """

    #: They were shown or hidden.
    changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._views: list[_View] = []
        self._crosshairs: list[Crosshair] = []
        self._heard: list[tuple[Any, Callable[..., None]]] = []
        self._splitter: QSplitter | None = None
        self._is_moving = False

    @property
    def is_shown(self) -> bool:
        """Whether there are further views now."""
        return self._splitter is not None

    @property
    def views(self) -> list[tuple[ViewerModel, QtViewer]]:
        """The further views that are shown now, each with its widget."""
        return [(view.model, view.widget) for view in self._views]

    def show(self, window: QMainWindow) -> None:
        """Add the views to the viewer's window."""
        if self.is_shown:
            return
        main = window.centralWidget().findChild(QtViewer)
        layout = window.centralWidget().layout()
        place = layout.indexOf(main)
        self._show_axial()
        self._views = [_View(axis) for axis in _PLANES.values()]
        self._splitter = QSplitter(Qt.Orientation.Vertical)
        rows = [QSplitter(Qt.Orientation.Horizontal) for _ in range(2)]
        for number, widget in enumerate([main, *(view.widget for view in self._views)]):
            rows[number // 2].addWidget(widget)
        for row in rows:
            row.setSizes([1000, 1000])
            self._splitter.addWidget(row)
        self._splitter.setSizes([1000, 1000])
        layout.insertWidget(place, self._splitter)
        _draw_masks_over_scans(main)
        for layer in self._viewer.layers:
            self._mirror(layer)
        models = [self._viewer, *(view.model for view in self._views)]
        canvases = [main, *(view.widget for view in self._views)]
        self._crosshairs = [
            Crosshair(model, widget, self._viewer)
            for model, widget in zip(models, canvases, strict=True)
            if model.dims.ndisplay == 2
        ]
        for model in models:
            self._hear(model.dims.events.point, lambda _event, model=model: self._move(model))
            model.mouse_drag_callbacks.append(self._go_to_click)
        layers = self._viewer.layers
        self._hear(layers.events.inserted, lambda event: self._mirror(event.value))
        self._hear(layers.events.removed, lambda event: self._forget(event.value))
        self._hear(layers.events.reordered, lambda _event: self._reorder())
        self._hear(layers.selection.events.active, lambda _event: self._select())
        self._move(self._viewer)
        QTimer.singleShot(0, self._fill_views)
        self.changed.emit()

    def hide(self) -> None:
        """Leave only the first view."""
        if self._splitter is None:
            return
        for event, answer in self._heard:
            event.disconnect(answer)
        self._heard.clear()
        self._viewer.mouse_drag_callbacks.remove(self._go_to_click)
        for crosshair in self._crosshairs:
            crosshair.remove()
        main = self._splitter.widget(0).widget(0)
        layout = self._splitter.parentWidget().layout()
        layout.insertWidget(layout.indexOf(self._splitter), main)
        _draw_masks_over_scans(main)
        for view in self._views:
            view.close()
        self._splitter.setParent(None)
        self._splitter.deleteLater()
        self._views, self._crosshairs, self._splitter = [], [], None
        QTimer.singleShot(0, self._fill_views)
        self.changed.emit()

    def _fill_views(self) -> None:
        """Let the patient fill each view; the window has given them their sizes by now."""
        for model in (self._viewer, *(view.model for view in self._views)):
            place = model.dims.point
            model.reset_view()
            model.dims.point = place

    def _show_axial(self) -> None:
        show_plane(self._viewer, 0)

    def _hear(self, event: Any, answer: Callable[..., None]) -> None:
        event.connect(answer)
        self._heard.append((event, answer))

    def _mirror(self, layer: Layer) -> None:
        if isinstance(layer, Image | Labels):
            for view in self._views:
                view.add(layer)
            self._reorder()
            self._move(self._viewer)

    def _forget(self, layer: Layer) -> None:
        for view in self._views:
            view.forget(layer)

    def _reorder(self) -> None:
        for view in self._views:
            view.reorder(list(self._viewer.layers))

    def _select(self) -> None:
        for view in self._views:
            view.select(self._viewer.layers.selection.active)

    def _move(self, source: ViewerModel) -> None:
        """Bring all views to the place of one."""
        if self._is_moving:
            return
        self._is_moving = True
        try:
            for model in (self._viewer, *(view.model for view in self._views)):
                if model is not source and model.dims.ndim == source.dims.ndim:
                    model.dims.point = source.dims.point
        finally:
            self._is_moving = False
        for crosshair in self._crosshairs:
            crosshair.update()

    def _go_to_click(self, model: ViewerModel, event: Any) -> Iterator[None]:
        """Bring all views to the place that is clicked; a drag moves the picture, as ever."""
        active = model.layers.selection.active
        if event.button != 1 or model.dims.ndisplay != 2 or (active is not None and active.mode != "pan_zoom"):
            return
        pressed, place = np.array(event.pos), event.position
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.array(event.pos) - pressed).max() <= _CLICK_PIXELS:
            model.dims.point = place


def _draw_masks_over_scans(view: QtViewer) -> None:
    """Say again to a canvas that was moved what napari says to each new one: what lies on the scan is drawn, too.

    Qt gives a canvas that it moves a new context. Masks, which lie where the scan does, would be hidden by it.
    """
    view.canvas._scene_canvas.context.set_depth_func("lequal")


class _View:
    """One further view: a viewer model, its widget, and the mirrored layers."""

    def __init__(self, axis: int | None) -> None:
        self.axis = axis
        self.model = ViewerModel(ndisplay=3 if axis is None else 2)
        self.widget = QtViewer(self.model)
        self.widget.setMinimumSize(80, 80)
        self._mirrors: list[Mirror] = []
        show_radiological(self.model)

    def add(self, layer: Image | Labels) -> None:
        """Show a layer here too."""
        mirror = Mirror(layer, apart={"opacity", "visible"} if self.axis is None else set())
        self._mirrors.append(mirror)
        self.model.add_layer(mirror.copy)
        dims = self.model.dims
        if self.axis is None:
            if dims.ndisplay == 2 or len(self._mirrors) == 1:
                dims.ndisplay = 3
                self.model.scene.camera.set_view_direction(_FROM_THE_FRONT, up_direction=(1, 0, 0))
            self._show_surfaces()
            layer.events.visible.connect(self._show_surfaces)
            return
        if dims.order != plane_order(dims.ndim, self.axis):
            show_plane(self.model, self.axis)

    def forget(self, layer: Layer) -> None:
        """Take a layer away that the first view has no more."""
        for mirror in [one for one in self._mirrors if one.layer is layer]:
            self._disconnect(mirror)
            self._mirrors.remove(mirror)
            self.model.layers.remove(mirror.copy)
        self._show_surfaces()

    def _disconnect(self, mirror: Mirror) -> None:
        mirror.disconnect()
        if self.axis is None:
            mirror.layer.events.visible.disconnect(self._show_surfaces)

    def _show_surfaces(self, event: object = None) -> None:
        """In 3D, show masks as solid surfaces; a scan would hide them, so it is only shown where there is no mask."""
        if self.axis is not None:
            return
        masks = [mirror for mirror in self._mirrors if isinstance(mirror.layer, Labels) and mirror.layer.visible]
        for mirror in self._mirrors:
            mirror.copy.visible = mirror.layer.visible and (mirror in masks or not masks)
            if isinstance(mirror.layer, Labels):
                mirror.copy.opacity = 1.0

    def reorder(self, layers: list[Layer]) -> None:
        """Stack the layers as the first view does."""
        ordered = sorted(self._mirrors, key=lambda mirror: layers.index(mirror.layer))
        for place, mirror in enumerate(ordered):
            if self.model.layers.index(mirror.copy) != place:
                self.model.layers.move(self.model.layers.index(mirror.copy), place)

    def select(self, layer: Layer | None) -> None:
        """Select what is selected in the first view, so that it is what a brush paints on."""
        found = next((mirror.copy for mirror in self._mirrors if mirror.layer is layer), None)
        self.model.layers.selection.active = found

    def close(self) -> None:
        """End this view."""
        for mirror in self._mirrors:
            self._disconnect(mirror)
        self._mirrors.clear()
        self.model.layers.clear()
        self.widget.close()
        self.widget.deleteLater()


class Crosshair(QWidget):
    """Two lines over a canvas, where the planes of the other views cut it.

    Parameters
    ----------
    model : ViewerModel
        The view that it lies on.
    view : QtViewer
        Its widget.
    viewer : ViewerModel
        The first view, whose place is shown.
    """

    def __init__(self, model: ViewerModel, view: QtViewer, viewer: ViewerModel) -> None:
        canvas: QWidget = view.canvas.native
        super().__init__(canvas)
        self._model, self._viewer, self._canvas = model, viewer, canvas
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        layout = canvas.layout() or QGridLayout(canvas)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self)
        self._events = (model.scene.camera.events.center, model.scene.camera.events.zoom, model.dims.events.order)
        for event in self._events:
            event.connect(self._redraw)
        self.show()

    def remove(self) -> None:
        """Take the lines away."""
        for event in self._events:
            event.disconnect(self._redraw)
        self.setParent(None)
        self.deleteLater()

    def lines(self) -> list[tuple[int, QRectF]]:
        """Return the lines as the axis (0 for z, 1 for y, 2 for x) whose place each shows, and its ends in pixels."""
        dims, camera = self._model.dims, self._model.scene.camera
        if dims.ndisplay != 2 or not len(self._viewer.layers):
            return []
        width, height = self.width(), self.height()
        found = []
        for row, axis in enumerate(dims.displayed):
            place = (self._viewer.dims.point[axis] - camera.center[-2 + row]) * camera.zoom
            ascending = camera.orientation2d[row] in ("down", "right")
            at = (height if row == 0 else width) / 2 + (place if ascending else -place)
            line = QRectF(0, at, width, 0) if row == 0 else QRectF(at, 0, 0, height)
            found.append((axis - dims.ndim + 3, line))
        return found

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the lines, with a gap in the middle so that what they point at can be seen."""
        painter = QPainter(self)
        lines = self.lines()
        if len(lines) == 2:
            centre = QPointF(lines[1][1].left(), lines[0][1].top())
            for axis, line in lines:
                pen = QPen(QColor(_COLOURS.get(axis, "#ffffff")))
                pen.setWidthF(1.0)
                painter.setPen(pen)
                gap = QPointF(8, 0) if line.width() else QPointF(0, 8)
                painter.drawLine(line.topLeft(), centre - gap)
                painter.drawLine(centre + gap, line.bottomRight())
        painter.end()

    def _redraw(self, event: object = None) -> None:
        self.update()
