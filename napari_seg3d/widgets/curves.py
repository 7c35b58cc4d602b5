"""The live curves of a run: loss, and Dice of each label."""

from __future__ import annotations

import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_seg3d.viewer.label_colours import label_colour

_LOSS_COLOUR = "#9aa5b1"
_MEAN_COLOUR = "#ffffff"
_HEIGHT = 260


class Curves(QWidget):
    """Loss above, Dice below, over the epochs; told what to show, knows nothing of runs."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._plots = pg.GraphicsLayoutWidget()
        self._plots.setBackground(None)
        self._plots.setFixedHeight(_HEIGHT)
        layout.addWidget(self._plots)
        self._loss = self._plots.addPlot(row=0, col=0)
        self._dice = self._plots.addPlot(row=1, col=0)
        for plot, name in ((self._loss, "Loss"), (self._dice, "Dice")):
            plot.setLabel("left", name)
            plot.getAxis("left").setWidth(48)
            plot.showGrid(y=True, alpha=0.2)
            plot.setMouseEnabled(x=False, y=False)
            plot.setMenuEnabled(False)
            plot.hideButtons()
        self._dice.setLabel("bottom", "Epoch")
        self._dice.setXLink(self._loss)
        self._dice.setYRange(0, 1, padding=0.02)
        self._dice.addLegend(offset=(-6, -6), labelTextSize="8pt", verSpacing=-4)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        for plot in (self._loss, self._dice):
            plot.clear()
        self._loss_points: tuple[list[float], list[float]] = ([], [])
        self._dice_points: dict[str, tuple[list[float], list[float]]] = {}
        self._loss_line = self._loss.plot(pen=pg.mkPen(_LOSS_COLOUR, width=2))
        self._dice_lines: dict[str, pg.PlotDataItem] = {}

    def add_loss(self, epoch: float, loss: float) -> None:
        """Add a point to the curve of the loss; `redraw` shows it."""
        self._loss_points[0].append(epoch)
        self._loss_points[1].append(loss)

    def add_dice(self, epoch: float, name: str, dice: float, value: int | None) -> None:
        """Add a point to the curve of a label; `value` is its mask value and chooses the mask's colour, None is the mean."""
        if name not in self._dice_points:
            colour = _MEAN_COLOUR if value is None else label_colour(value)
            self._dice_points[name] = ([], [])
            # Dashes, so that the mean does not hide the labels where they agree.
            pen = pg.mkPen(colour, width=1, style=Qt.PenStyle.DashLine) if value is None else pg.mkPen(colour, width=2)
            self._dice_lines[name] = self._dice.plot(
                pen=pen, symbol=None if value is None else "o", symbolSize=5, symbolBrush=colour, symbolPen=None, name=name
            )
        self._dice_points[name][0].append(epoch)
        self._dice_points[name][1].append(dice)

    def redraw(self) -> None:
        """Show what was added."""
        self._loss_line.setData(*self._loss_points)
        for name, line in self._dice_lines.items():
            line.setData(*self._dice_points[name])
