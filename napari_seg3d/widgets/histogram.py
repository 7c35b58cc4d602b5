"""How often each intensity occurs, before and after a transform."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtWidgets import QVBoxLayout, QWidget

_HEIGHT = 96
_COLOURS = {"before": "#9aa5b1", "after": "#4fb3ff"}


class Histogram(QWidget):
    """Two histograms beside each other; told what to show, knows nothing of images."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip(
            "<p>How often each intensity occurs in what is shown, before and after (on a square root scale, so that small structures can "
            "be seen beside the air).</p>"
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        view = pg.GraphicsLayoutWidget()
        view.setBackground(None)
        view.setFixedHeight(_HEIGHT)
        view.ci.layout.setContentsMargins(0, 0, 6, 0)
        layout.addWidget(view)
        self._lines: dict[str, pg.PlotDataItem] = {}
        for column, (name, colour) in enumerate(_COLOURS.items()):
            plot = view.addPlot(row=0, col=column, title=f'<span style="font-size:8pt">{name}</span>')
            plot.setMouseEnabled(x=False, y=False)
            plot.setMenuEnabled(False)
            plot.hideButtons()
            plot.hideAxis("left")
            plot.getAxis("bottom").setHeight(18)
            self._lines[name] = plot.plot(
                stepMode="center", fillLevel=0, pen=pg.mkPen(colour), brush=pg.mkBrush(colour + "60"), x=[0, 1], y=[0]
            )

    def show_counts(
        self, before: tuple[NDArray[np.generic], NDArray[np.generic]], after: tuple[NDArray[np.generic], NDArray[np.generic]]
    ) -> None:
        """Show counts and the edges of their bins, as `numpy.histogram` returns them."""
        for name, (counts, edges) in (("before", before), ("after", after)):
            self._lines[name].setData(x=edges, y=np.sqrt(counts))

    def counts(self, name: str) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
        """Return edges and heights (square roots) of what is shown as "before" or "after"."""
        edges, heights = self._lines[name].getData()
        return edges, heights
