"""Mouse and keys of a person at a viewer, as real Qt events on real widgets."""

from __future__ import annotations

from collections.abc import Sequence

from napari.components import ViewerModel
from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from tests.pumping import pump


def canvas_of(viewer) -> QtViewer:
    """Return the widget of the first view."""
    return viewer.window._qt_window.centralWidget().findChild(QtViewer)


def pixel(model: ViewerModel, view: QtViewer, position: Sequence[float]) -> QPoint:
    """Return where on the canvas a place of the display is, as vispy draws it."""
    camera, found = model.scene.camera, []
    for row, axis in enumerate(model.dims.displayed):
        size = view.canvas.native.height() if row == 0 else view.canvas.native.width()
        off = (position[axis] - camera.center[-2 + row]) * camera.zoom
        found.append(size / 2 + (off if camera.orientation2d[row] in ("down", "right") else -off))
    return QPoint(round(found[1]), round(found[0]))


def mouse_event(view: QtViewer, kind: QEvent.Type, at: QPoint) -> QMouseEvent:
    """Return an event of the left button; moves of QTest have no button, and are none of a drag."""
    is_move, is_up = kind == QEvent.Type.MouseMove, kind == QEvent.Type.MouseButtonRelease
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    canvas = view.canvas.native
    return QMouseEvent(
        kind,
        QPointF(at),
        QPointF(canvas.mapToGlobal(at)),
        none if is_move else left,
        none if is_up else left,
        Qt.KeyboardModifier.NoModifier,
    )


def mouse(view: QtViewer, kind: QEvent.Type, at: QPoint) -> None:
    """Send one event of the left button."""
    QApplication.sendEvent(view.canvas.native, mouse_event(view, kind, at))
    pump(0.02)


def drag(view: QtViewer, points: Sequence[QPoint]) -> None:
    """Draw along some points; one point is a click."""
    mouse(view, QEvent.Type.MouseButtonPress, points[0])
    for point in points[1:]:
        mouse(view, QEvent.Type.MouseMove, point)
    mouse(view, QEvent.Type.MouseButtonRelease, points[-1])


def double_click(view: QtViewer, at: QPoint) -> None:
    """Click twice, as Qt tells it: the second press is a double click."""
    drag(view, [at])
    mouse(view, QEvent.Type.MouseButtonDblClick, at)
    mouse(view, QEvent.Type.MouseButtonRelease, at)


def press_key(widget: QWidget, key: str) -> None:
    """Press a key on a widget, as napari writes keys: ``"Control-Shift-F"``."""
    *held, name = key.split("-") if len(key) > 1 else [key]
    modifiers = Qt.KeyboardModifier.NoModifier
    for one in held:
        modifiers |= {"Shift": Qt.KeyboardModifier.ShiftModifier, "Control": Qt.KeyboardModifier.ControlModifier}.get(
            one, Qt.KeyboardModifier.AltModifier
        )
    code = {".": "Period", ",": "Comma", "Enter": "Return", "PgDown": "PageDown", "PgUp": "PageUp"}.get(name, name)
    QTest.keyClick(widget, getattr(Qt.Key, f"Key_{code}"), modifiers)
    pump(0.02)


def press(view: QtViewer, key: str) -> None:
    """Press a key on a canvas."""
    press_key(view.canvas.native, key)
