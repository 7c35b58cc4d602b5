"""Curves of several runs in one plot, and the line that says which epoch is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtGui import QKeyEvent, QMouseEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_seg3d.training.runs.history import Curve

_HEIGHT = 210
_MARKER_COLOUR = "#ffffff"
_MOST_IN_LEGEND = 6
_LONGEST_NAME = 26
_LINES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine)


@dataclass(frozen=True, eq=False)
class NamedCurve:
    """A curve as it is drawn.

    Parameters
    ----------
    owner : int
        Which of the runs it belongs to.
    name : str
        For the legend; empty for none of its own.
    colour : str
        As ``#rrggbb``.
    line : int
        0 for a solid line, 1 for dashes, 2 for dots.
    curve : Curve
        Where it goes.
    """

    owner: int
    name: str
    colour: str
    line: int
    curve: Curve


class RunCurves(QWidget):
    """A quantity over the epochs; told what to show, knows nothing of runs.

    A click, or a drag with the mouse, asks for the epoch under it; the arrow keys for the one before or behind.
    """

    #: (owner, epoch) Somebody wants to see this epoch of the run whose curve is nearest.
    epochWanted = Signal(int, float)
    #: (by) Somebody wants to go so many kept predictions on.
    stepWanted = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._curves: list[NamedCurve] = []
        self._plots = _Plots()
        self._plots.setBackground(None)
        self._plots.setFixedHeight(_HEIGHT)
        self._plots.dragged.connect(self._look_for)
        self._plots.stepped.connect(self.stepWanted)
        self._plots.setToolTip(
            "<p>Click or drag to see what the network predicted at that epoch; the left and right arrow keys go on from there.</p>"
        )
        self.plot = self._plots.addPlot()
        self.plot.showGrid(y=True, alpha=0.2)
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.setLabel("bottom", "Epoch")
        self.plot.getAxis("left").setWidth(48)
        # A long run has more steps than the screen has pixels.
        self.plot.setDownsampling(auto=True, mode="peak")
        self.plot.setClipToView(True)
        self._legend = self.plot.addLegend(offset=(-6, -6), labelTextSize="8pt", verSpacing=-4)
        self.marker = pg.InfiniteLine(angle=90, pen=pg.mkPen(_MARKER_COLOUR, width=1))
        self.marker.setZValue(10)
        self.marker.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._plots)

    def show_curves(self, title: str, curves: Sequence[NamedCurve], limits: tuple[float, float] | None = None) -> None:
        """Show these curves instead; with limits where the quantity has some."""
        self._curves = list(curves)
        self.plot.clear()
        self._legend.clear()
        self._legend.setVisible(1 < len(curves) <= _MOST_IN_LEGEND)
        self.plot.setLabel("left", title)
        for one in curves:
            # Few points are seen better as points.
            dots = (
                {"symbol": "o", "symbolSize": 5, "symbolBrush": one.colour, "symbolPen": None}
                if len(one.curve.values) < 60
                else {}
            )
            pen = pg.mkPen(one.colour, width=2, style=_LINES[one.line % len(_LINES)])
            self.plot.plot(one.curve.epochs, one.curve.values, pen=pen, name=_short(one.name) or None, connect="finite", **dots)
        if limits is not None:
            self.plot.setYRange(*limits, padding=0.02)
        else:
            self.plot.enableAutoRange(axis="y")
        self.plot.enableAutoRange(axis="x")
        self.plot.addItem(self.marker, ignoreBounds=True)

    def show_marker(self, epoch: float | None) -> None:
        """Show which epoch is looked at, or that none is."""
        self.marker.setVisible(epoch is not None)
        if epoch is not None:
            self.marker.setPos(epoch)

    def _look_for(self, place: QPointF) -> None:
        if not self._curves:
            return
        view = self.plot.vb
        at = view.mapSceneToView(place)
        width, height = view.viewPixelSize()
        distances = [_distance(one.curve, at.x(), at.y(), width, height) for one in self._curves]
        nearest = self._curves[int(np.argmin(distances))]
        self.epochWanted.emit(nearest.owner, float(at.x()))


class _Plots(pg.GraphicsLayoutWidget):
    """Tells where the mouse is pressed and dragged, and of the arrow keys."""

    dragged = Signal(QPointF)
    stepped = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        super().mousePressEvent(event)
        if event.button() == Qt.MouseButton.LeftButton:
            self.dragged.emit(self.mapToScene(event.pos()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        super().mouseMoveEvent(event)
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.dragged.emit(self.mapToScene(event.pos()))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        if event.key() in steps:
            self.stepped.emit(steps[event.key()])
        else:
            super().keyPressEvent(event)


def _distance(curve: Curve, x: float, y: float, width: float, height: float) -> float:
    """Return how many pixels lie between a place and a curve; `width` and `height` are those of a pixel."""
    known = np.isfinite(curve.values)
    if not known.any():
        return float("inf")
    epochs, values = curve.epochs[known], curve.values[known]
    nearest = float(np.clip(x, epochs.min(), epochs.max()))
    return float(np.hypot((x - nearest) / width, (y - np.interp(nearest, epochs, values)) / height))


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
