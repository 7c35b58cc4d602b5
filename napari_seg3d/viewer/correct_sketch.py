"""`Sketch`: over a canvas, the size of the brush where the mouse is, and what was clicked or drawn of a polygon so far."""

from __future__ import annotations

from collections.abc import Sequence

from napari.components import ViewerModel
from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QObject, QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

_POINT = 3.0  # pixels


class Sketch(QWidget):
    """Lies over a canvas and lets the mouse through.

    Parameters
    ----------
    model : ViewerModel
        The view.
    view : QtViewer
        Its widget.
    """

    def __init__(self, model: ViewerModel, view: QtViewer) -> None:
        canvas: QWidget = view.canvas.native
        super().__init__(canvas)
        self._model = model
        self._colour = "#ffffff"
        self._circle: tuple[Sequence[float], float] | None = None
        self._points: list[tuple[float, ...]] = []
        self._is_line = False
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        # Not in the canvas' layout, in which the crosshair lies: what comes there second is put below the first.
        self.setGeometry(canvas.rect())
        canvas.installEventFilter(self)
        self._events = (
            model.scene.camera.events.center,
            model.scene.camera.events.zoom,
            model.dims.events.order,
            model.dims.events.point,
        )
        for event in self._events:
            event.connect(self._redraw)
        self.show()
        self.raise_()

    def show_circle(self, position: Sequence[float] | None, radius_mm: float = 0.0, colour: str = "#ffffff") -> None:
        """Show a circle of some millimetres around a place of the display, or none."""
        self._circle = None if position is None else (tuple(position), radius_mm)
        self._colour = colour
        self.update()

    def show_points(self, points: Sequence[Sequence[float]], is_line: bool, colour: str) -> None:
        """Show what was clicked, at places of the display; joined by lines, as a polygon that is being drawn."""
        self._points = [tuple(point) for point in points]
        self._is_line, self._colour = is_line, colour
        self.update()

    def remove(self) -> None:
        """Take it away."""
        for event in self._events:
            event.disconnect(self._redraw)
        self.setParent(None)
        self.deleteLater()

    def pixel(self, position: Sequence[float]) -> QPointF:
        """Return where on the canvas a place of the display is."""
        camera, found = self._model.scene.camera, []
        for row, axis in enumerate(self._model.dims.displayed[-2:]):
            size = self.height() if row == 0 else self.width()
            off = (position[axis - self._model.dims.ndim] - camera.center[-2 + row]) * camera.zoom
            found.append(size / 2 + (off if camera.orientation2d[row] in ("down", "right") else -off))
        return QPointF(found[1], found[0])

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Be as large as the canvas."""
        if event.type() == QEvent.Type.Resize and isinstance(watched, QWidget):
            self.setGeometry(watched.rect())
        return False

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw, in the label's colour with a dark edge: it is seen on bone and on air."""
        if self._model.dims.ndisplay != 2 or (self._circle is None and not self._points):
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for colour, width in (("#000000", 3.0), (self._colour, 1.5)):
            painter.setPen(QPen(QColor(colour), width))
            if self._circle is not None:
                radius = max(self._circle[1] * self._model.scene.camera.zoom, 1.0)
                painter.drawEllipse(self.pixel(self._circle[0]), radius, radius)
            places = [self.pixel(point) for point in self._points]
            if self._is_line:
                painter.drawPolyline(QPolygonF(places))
            for place in places:
                painter.drawEllipse(place, _POINT, _POINT)
        painter.end()

    def _redraw(self, event: object = None) -> None:
        if self._circle is not None or self._points:
            self.update()
