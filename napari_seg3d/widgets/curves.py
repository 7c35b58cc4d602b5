"""The live curves of a run: loss, learning rate, and how well each label is found."""

from __future__ import annotations

from typing import Any

import pyqtgraph as pg
from qtpy.QtCore import QEvent, QPointF, Qt, QTimer, Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_seg3d.viewer.label_colours import label_colour
from napari_seg3d.viewer.telemetry import MEAN, QUANTITIES, Stage
from napari_seg3d.widgets.label_key import LabelKey

_LOSS_COLOUR, _RATE_COLOUR, _CURSOR_COLOUR = "#9aa5b1", "#c0a060", "#808890"
_MEAN_COLOUR = "#ffffff"
_HEIGHTS = {"loss": 100, "rate": 68, "metric": 152}
_AXIS_WIDTH = 66
_MILLISECONDS_BETWEEN_DRAWINGS = 250
_MANY = 8  # labels; the curves of more are thin


class Curves(QWidget):
    """Loss, learning rate and one quantity of each label over the epochs; told what to show, knows nothing of runs.

    Under the mouse, all values at that epoch are read out; the list of labels is the key to the colours, and hides and stresses curves.

    Attributes
    ----------
    key : LabelKey
        The list of labels.
    readout : QLabel
        Epoch, loss and learning rate under the mouse, or the newest ones.
    """

    #: Something was drawn; at most a few times a second.
    drawn = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self._canvas = pg.GraphicsLayoutWidget()
        self._canvas.setBackground(None)
        self._canvas.setFixedHeight(sum(_HEIGHTS.values()))
        self._canvas.setToolTip("<p>Loss, learning rate, and what is chosen above for each label, over the epochs.</p>")
        self._canvas.viewport().installEventFilter(self)
        layout.addWidget(self._canvas)
        self.readout = QLabel()
        self.readout.setToolTip("<p>The values under the mouse; the newest ones while it is elsewhere.</p>")
        layout.addWidget(self.readout)
        self.key = LabelKey()
        self.key.changed.connect(self._style)
        layout.addWidget(self.key)

        self._plots: dict[str, Any] = {}
        for row, (name, title) in enumerate((("loss", "Loss"), ("rate", "Rate"), ("metric", QUANTITIES["dice"]))):
            self._plots[name] = self._add_plot(row, name, title)
        self._plots["metric"].setLabel("bottom", "Epoch")
        self._loss_line = self._plots["loss"].plot(pen=pg.mkPen(_LOSS_COLOUR, width=2))
        self._rate_line = self._plots["rate"].plot(pen=pg.mkPen(_RATE_COLOUR, width=2))
        self._cursors = [self._add_line(plot, Qt.PenStyle.SolidLine) for plot in self._plots.values()]
        self._best = self._add_line(self._plots["metric"], Qt.PenStyle.DotLine)
        self._lines: dict[str, Any] = {}
        self._drawn: dict[str, int] = {}  # label -> values that are drawn
        self._stage = Stage()
        self._quantity = "dice"
        self._epoch: float | None = None  # under the mouse
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_MILLISECONDS_BETWEEN_DRAWINGS)
        self._timer.timeout.connect(self.draw_now)
        self._mouse = pg.SignalProxy(self._canvas.scene().sigMouseMoved, rateLimit=30, slot=lambda where: self._point(where[0]))

    @property
    def labels(self) -> list[str]:
        """Names of the labels with a curve, the mean first under its own name."""
        return list(self._lines)

    def show_stage(self, stage: Stage, quantity: str) -> None:
        """Show the curves of a run or of one stage of it, and one quantity of its labels, from now on."""
        for line in self._lines.values():
            self._plots["metric"].removeItem(line)
        self._lines, self._drawn = {}, {}
        self._stage, self._quantity, self._epoch = stage, quantity, None
        self._plots["metric"].setLabel("left", QUANTITIES[quantity])
        is_share = quantity in ("tp", "fn", "fp")
        if quantity == "fp":
            self._plots["metric"].enableAutoRange(y=True)  # there may be any times as much as there should be
        else:
            self._plots["metric"].setYRange(0, 100 if is_share else 1, padding=0.02)
        self.draw_now()

    def redraw(self) -> None:
        """Show soon what was added to the stage."""
        if not self._timer.isActive():
            self._timer.start()

    def draw_now(self) -> None:
        """Show what was added to the stage."""
        self._loss_line.setData(*self._stage.loss.points())
        self._rate_line.setData(*self._stage.learning_rate.points())
        curves = self._stage.curves(self._quantity)
        if len(curves) == 2:
            curves.pop(MEAN, None)  # the mean of one label is that label
        if list(curves) != list(self._lines):
            self._make_lines(list(curves))
        for label, curve in curves.items():
            if self._drawn.get(label) != curve.added:
                self._lines[label].setData(*curve.points())
                self._drawn[label] = curve.added
        best = self._stage.best
        self._best.setVisible(best is not None)
        if best is not None:
            self._best.setValue(best["epoch"])
        self._read_out()
        self.drawn.emit()

    def point_at(self, epoch: float | None) -> None:
        """Read the values at an epoch out; None: the newest ones."""
        self._epoch = epoch
        for cursor in self._cursors:
            cursor.setVisible(epoch is not None)
            if epoch is not None:
                cursor.setValue(epoch)
        self._read_out()

    def points(self, label: str) -> tuple[Any, Any]:
        """Return what is drawn for a label: epochs and values."""
        x, y = self._lines[label].getData()
        return x, y

    def colour(self, label: str) -> str:
        """Return the colour of a label's curve, which is that of its mask."""
        return _MEAN_COLOUR if label == MEAN else label_colour(self._stage.labels.get(label, 1))

    def eventFilter(self, watched: object, event: QEvent | None) -> bool:
        """Forget the epoch under the mouse when it leaves."""
        if event is not None and event.type() == QEvent.Type.Leave:
            self.point_at(None)
        return False

    def _add_plot(self, row: int, name: str, title: str) -> Any:
        plot = self._canvas.addPlot(row=row, col=0)
        self._canvas.ci.layout.setRowPreferredHeight(row, _HEIGHTS[name])
        plot.setLabel("left", title)
        plot.getAxis("left").setWidth(_AXIS_WIDTH)
        plot.getAxis("left").enableAutoSIPrefix(False)
        plot.showGrid(y=True, alpha=0.2)
        plot.setMouseEnabled(x=False, y=False)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        # Drawn are only as many points as there are pixels.
        plot.setDownsampling(auto=True, mode="peak")
        if row:
            plot.setXLink(self._plots["loss"])
        if name != "metric":
            plot.getAxis("bottom").setStyle(showValues=False)
        return plot

    def _add_line(self, plot: Any, style: Qt.PenStyle) -> Any:
        line = pg.InfiniteLine(angle=90, pen=pg.mkPen(_CURSOR_COLOUR, width=1, style=style))
        line.setVisible(False)
        plot.addItem(line, ignoreBounds=True)
        return line

    def _make_lines(self, labels: list[str]) -> None:
        for line in self._lines.values():
            self._plots["metric"].removeItem(line)
        self._drawn = {}
        self._lines = {label: self._plots["metric"].plot() for label in labels}
        self.key.set_labels({label: (label or "mean", self.colour(label)) for label in labels})
        self._style()

    def _style(self) -> None:
        """Draw what the key says: some hidden, one stressed."""
        usual = 1 if len(self._lines) > _MANY else 2
        for label, line in self._lines.items():
            colour, is_stressed = self.colour(label), label == self.key.stressed
            # Dashes, so that the mean does not hide the labels where they agree.
            style = Qt.PenStyle.DashLine if label == MEAN else Qt.PenStyle.SolidLine
            line.setPen(pg.mkPen(colour, width=4 if is_stressed else usual, style=style))
            if label != MEAN:
                line.setSymbol("o")
                line.setSymbolSize(5 if usual == 2 or is_stressed else 3)
                line.setSymbolBrush(colour)
                line.setSymbolPen(None)
            line.setZValue(1 if is_stressed else 0)
            line.setVisible(label not in self.key.hidden)

    def _point(self, where: QPointF) -> None:
        over = next((plot for plot in self._plots.values() if plot.sceneBoundingRect().contains(where)), None)
        self.point_at(float(over.getViewBox().mapSceneToView(where).x()) if over is not None else None)

    def _read_out(self) -> None:
        epochs, _ = self._stage.loss.points()
        words = []
        if len(epochs):
            words.append(f"Epoch {epochs[-1] if self._epoch is None else min(max(self._epoch, epochs[0]), epochs[-1]):.1f}")
            words.append(f"loss {self._stage.loss.at(self._epoch):.3f}")
            rate = self._stage.learning_rate.at(self._epoch)
            words += [f"rate {rate:.2g}"] if rate is not None else []
        self.readout.setText(", ".join(words))
        digits = 1 if self._quantity in ("tp", "fn", "fp") else 3
        found = {label: curve.at(self._epoch) for label, curve in self._stage.curves(self._quantity).items()}
        self.key.set_values({label: f"{value:.{digits}f}" for label, value in found.items() if value is not None})
