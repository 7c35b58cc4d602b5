"""The network, layer by layer: shapes, parameters, memory, and whether it fits the device."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QLabel, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_seg3d.viewer.plan_model import Layers
from napari_seg3d.widgets.cockpit import gigabytes

_COLUMNS = ("Layer", "Output", "Parameters", "Forward", "Backward")
_TIPS = (
    "What the network calls the layer, and of which kind it is.",
    "Samples, channels and size of what it makes.",
    "Numbers that are learnt.",
    "Memory of its output; none where it writes over its input.",
    "Memory of its gradients; never of all layers at a time.",
)
_HEIGHT = 260
_WRONG = "color: #e06c60"


class LayerTable(QWidget):
    """Lists the layers of a network.

    Attributes
    ----------
    verdict : QLabel
        What a step needs, and whether that fits the device.
    table : QTableWidget
        A row for each layer, and one of totals.
    """

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.verdict.setToolTip(
            "<p>Weights, their gradients and the state of the optimiser, and what the layers hold in a step.</p>"
        )
        column.addWidget(self.verdict)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        for place, tip in enumerate(_TIPS):
            self.table.horizontalHeaderItem(place).setToolTip(f"<p>{tip}</p>")
        self.table.setToolTip("<p>The layers of the network, from input to output; totals in the last row.</p>")
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.table.setFixedHeight(_HEIGHT)
        column.addWidget(self.table)
        self._shown: Layers | None = None

    def show_layers(self, layers: Layers | None) -> None:
        """List the layers of a network, or none."""
        if layers is not None and layers is self._shown:
            return
        self._shown = layers
        self.verdict.setText(layers.verdict if layers is not None else "")
        self.verdict.setStyleSheet("" if layers is None or layers.fits else _WRONG)
        rows = layers.summary.rows if layers is not None else ()
        self.table.setRowCount(len(rows) + bool(rows))
        for at, row in enumerate(rows):
            shape = " x ".join(map(str, row.shape))
            self._fill(at, f"{row.name} ({row.kind})", shape, row.parameters, row.forward_bytes, row.backward_bytes)
        if layers is not None and rows:
            total = layers.summary
            self._fill(len(rows), "Total", "", total.parameters, total.forward_bytes, total.backward_bytes)
            # Once, when all is there: a header that keeps to the contents measures every row again for every cell.
            self.table.resizeColumnsToContents()

    def _fill(self, at: int, name: str, shape: str, parameters: int, forward: int, backward: int) -> None:
        texts = (name, shape, f"{parameters:,}" if parameters else "", gigabytes(forward), gigabytes(backward))
        for place, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            side = Qt.AlignmentFlag.AlignLeft if place < 2 else Qt.AlignmentFlag.AlignRight
            item.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
            self.table.setItem(at, place, item)
