"""The Measure dock: how well a mask agrees with another one, as a table; a click on a row shows where it is worst."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
)

from napari_seg3d.evaluation import EvaluationRow
from napari_seg3d.viewer.label_look import style_of
from napari_seg3d.viewer.session import session_of
from napari_seg3d.widgets.parts import Dock, Notice, ProgressRow, choose_new_file, narrow_combo

if TYPE_CHECKING:
    from napari import Viewer

#: What a column is called, what it means, and what it shows of a row.
_COLUMNS: tuple[tuple[str, str, Callable[[EvaluationRow], str]], ...] = (
    ("Label", "The label.", lambda row: row.name),
    ("Dice", "Overlap: 1 where both are equal, 0 where they share no voxel.", lambda row: _number(row.dice, ".3f")),
    ("HD95", "mm: 95 % of both surfaces are nearer to each other than this.", lambda row: _number(row.hd95, ".1f")),
    ("ASSD", "mm: how far the two surfaces lie apart on average.", lambda row: _number(row.assd, ".2f")),
    ("NSD", "Share of both surfaces that is within the tolerance of the other.", lambda row: _number(row.nsd, ".3f")),
    ("ml", "Volume in the mask.", lambda row: _number(row.prediction_ml, ".4g")),
    ("Error", "Volume of the mask against that of the reference.", lambda row: _number(100 * row.volume_error, "+.0f", " %")),
    ("IoU", "Intersection over union.", lambda row: _number(row.iou, ".3f")),
    ("Precision", "Share of the mask that is right.", lambda row: _number(row.precision, ".3f")),
    ("Recall", "Share of the reference that was found.", lambda row: _number(row.recall, ".3f")),
)


class MeasureDock(Dock):
    """Measures a mask against a reference.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Where the masks are.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Measure")
        self._viewer = napari_viewer
        session = session_of(napari_viewer)
        session.add_dock(self)
        self._model = session.measure

        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.mask = narrow_combo("<p>What is measured, such as a prediction.</p>")
        self.reference = narrow_combo("<p>What it is measured against, such as the mask of an expert.</p>")
        self.tolerance = QDoubleSpinBox()
        self.tolerance.setRange(0, 100)
        self.tolerance.setSingleStep(0.5)
        self.tolerance.setValue(1.0)
        self.tolerance.setSuffix(" mm")
        self.tolerance.setToolTip(
            "<p>How far surfaces may lie apart and count as equal for the NSD, such as what two readers differ by.</p>"
        )
        form.addRow("Mask", self.mask)
        form.addRow("Reference", self.reference)
        form.addRow("Tolerance", self.tolerance)
        self.body.addLayout(form)
        self.button = QPushButton("Measure")
        self.button.setToolTip("<p>Compares both masks as they are now, label by label.</p>")
        self.button.clicked.connect(self._measure)
        self.body.addWidget(self.button)
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._model.cancel)
        self.body.addWidget(self.progress)
        self.notice = Notice()
        self.body.addWidget(self.notice)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels([name for name, _, _ in _COLUMNS])
        for at, (_, meaning, _) in enumerate(_COLUMNS):
            self.table.horizontalHeaderItem(at).setToolTip(f"<p>{meaning}</p>")
        self.table.setToolTip("<p>Click a label: the slice in which most of it is wrong opens, in the plane that is shown.</p>")
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        self.table.cellClicked.connect(lambda row, _column: self._go(row))
        self.body.addWidget(self.table, 1)
        row = QHBoxLayout()
        self.csv_button = _button("Save table…", "<p>All numbers as CSV.</p>", self._save_csv)
        self.html_button = _button(
            "Save page…", "<p>A page with plots and a picture of the worst slice of each label.</p>", self._save_html
        )
        row.addWidget(self.csv_button)
        row.addWidget(self.html_button)
        self.body.addLayout(row)

        self._model.changed.connect(self._synchronise)
        self._model.progressed.connect(lambda done, total: self.progress.step("Label", done, total))
        layers = napari_viewer.layers.events
        heard = (layers.inserted, layers.removed, layers.reordered)
        for event in heard:
            event.connect(self.reset_choices)
        # Qt forgets the slots of a widget that is gone; napari does not.
        self.destroyed.connect(lambda: [event.disconnect(self.reset_choices) for event in heard])
        for combo in (self.mask, self.reference):
            combo.currentIndexChanged.connect(self._enable)
        self.reset_choices()
        self._synchronise()

    def reset_choices(self, event: object = None) -> None:
        """Offer the masks that there are now; a choice stays where it can."""
        masks = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        for combo, first in ((self.mask, -1), (self.reference, 0)):
            chosen = combo.currentData()
            combo.blockSignals(True)
            combo.clear()
            for layer in masks:
                combo.addItem(layer.name, layer)
            if masks:
                combo.setCurrentIndex(masks.index(chosen) if chosen in masks else first % len(masks))
            combo.blockSignals(False)
        self._enable()

    def _measure(self) -> None:
        self._model.measure(self.mask.currentData(), self.reference.currentData(), self.tolerance.value())

    def _go(self, row: int) -> None:
        self._model.go_to_worst(self.table.item(row, 0).data(Qt.ItemDataRole.UserRole))

    def _save_csv(self) -> None:
        chosen = choose_new_file(self, "Save the table", "measures.csv", ["Tables (*.csv)"])
        if chosen is not None:
            self._model.save_csv(Path(chosen[0]))

    def _save_html(self) -> None:
        chosen = choose_new_file(self, "Save the page", "measures.html", ["Pages (*.html)"])
        if chosen is not None:
            self._model.save_html(Path(chosen[0]))

    def _enable(self, event: object = None) -> None:
        one, other = self.mask.currentData(), self.reference.currentData()
        is_idle = self._model.job is None
        self.button.setEnabled(is_idle and one is not None and one is not other)
        for button in (self.csv_button, self.html_button):
            button.setEnabled(is_idle and self._model.evaluation is not None)

    def _synchronise(self) -> None:
        model = self._model
        if model.job is not None:
            self.progress.begin("Measuring…")
        else:
            self.progress.hide()
        if model.error is not None:
            self.notice.say_error(model.error)
        else:
            few = "" if self.mask.count() > 1 else "Open two masks of one scan: what is measured, and what against."
            self.notice.say(model.done or few)
        rows = model.evaluation.rows if model.evaluation is not None else ()
        self.table.setRowCount(len(rows))
        mask = self.mask.currentData()
        for at, row in enumerate(rows):
            for column, (_, _, text) in enumerate(_COLUMNS):
                item = QTableWidgetItem(text(row))
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                elif mask is not None:
                    colour = QPixmap(10, 10)
                    colour.fill(QColor(style_of(mask, row.label).colour))
                    item.setData(Qt.ItemDataRole.DecorationRole, colour)
                item.setData(Qt.ItemDataRole.UserRole, row.label)
                self.table.setItem(at, column, item)
        self._enable()


def _number(value: float, digits: str, unit: str = "") -> str:
    """Return a measure as a person reads it; a dash where it is not defined."""
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:{digits}}{unit}"


def _button(text: str, tooltip: str, pressed: Callable[[], None]) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.clicked.connect(lambda _on=False: pressed())
    return button
