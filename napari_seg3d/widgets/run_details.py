"""Two tables of the Runs dock: how well each validation case was predicted, and in which settings runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_seg3d.training.runs.settings import Difference

_ROW = 22
_POOR, _GOOD = 0.5, 0.8
_COLOURS = {"poor": "#e06c60", "middling": "#e0b040", "good": "#60b060"}


class CaseScores(QTableWidget):
    """Validation cases with their Dice, the worst first.

    Attributes
    ----------
    caseWanted : Signal
        (id) Somebody wants to see this case.
    """

    caseWanted = Signal(str)

    def __init__(self) -> None:
        super().__init__(0, 3)
        self.setHorizontalHeaderLabels(["Case", "Dice", "Prediction"])
        tips = (
            "Id of the validation case",
            "Mean over its labels, at the epoch that is shown",
            "Whether the run keeps the predictions of this case; of the others the scan is shown with the truth",
        )
        for column, tip in enumerate(tips):
            self.horizontalHeaderItem(column).setToolTip(f"<p>{tip}</p>")
        self.setToolTip("<p>The worst cases come first. Click one to see it.</p>")
        _set_up(self)
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.resizeSection(1, 60)
        header.resizeSection(2, 80)
        self.cellClicked.connect(lambda row, _column: self.caseWanted.emit(self.item(row, 0).text()))

    def show_scores(self, scores: Mapping[str, float | None], kept: Sequence[str], looked_at: str) -> None:
        """Show the Dice of each case, which of them were kept, and which is in the viewer (empty for none)."""
        ordered = sorted(
            scores.items(), key=lambda found: (found[1] is None, found[1] if found[1] is not None else 0.0, found[0])
        )
        self.setRowCount(len(ordered))
        for row, (case, dice) in enumerate(ordered):
            texts = (case, f"{dice:.3f}" if dice is not None else "–", "kept" if case in kept else "")
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(case)
                font = item.font()
                font.setBold(case == looked_at)
                item.setFont(font)
                if column == 1 and dice is not None:
                    item.setForeground(QColor(_COLOURS["poor" if dice < _POOR else "middling" if dice < _GOOD else "good"]))
                self.setItem(row, column, item)
        _fit(self, 6)


class Differences(QTableWidget):
    """The settings in which runs differ, a column for each run."""

    def __init__(self) -> None:
        super().__init__(0, 0)
        self.setToolTip("<p>Only settings that are not the same in all chosen runs.</p>")
        _set_up(self)

    def show_differences(self, rows: Sequence[Difference], runs: Sequence[str], colours: Sequence[str]) -> None:
        """Show these settings of runs with these names and colours."""
        self.setColumnCount(1 + len(runs))
        self.setHorizontalHeaderLabels(["Setting", *runs])
        for place, (name, colour) in enumerate(zip(runs, colours, strict=True), start=1):
            self.horizontalHeaderItem(place).setForeground(QColor(colour))
            self.horizontalHeaderItem(place).setToolTip(name)
        self.setRowCount(len(rows))
        for row, difference in enumerate(rows):
            title = QTableWidgetItem(difference.title)
            title.setToolTip(difference.setting)
            self.setItem(row, 0, title)
            for column, value in enumerate(difference.values, start=1):
                item = QTableWidgetItem(in_words(value))
                item.setToolTip(str(value))
                self.setItem(row, column, item)
        self.resizeColumnsToContents()
        for column in range(self.columnCount()):
            self.setColumnWidth(column, min(self.columnWidth(column), 130))
        _fit(self, 8)


def in_words(value: Any) -> str:
    """Return the value of a setting as a person reads it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        if value and all(isinstance(step, dict) for step in value):
            return ", ".join(str(step.get("name", "?")) for step in value)
        return ", ".join(map(in_words, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {in_words(found)}" for name, found in value.items()) or "none"
    if isinstance(value, str) and "/" in value:
        return PurePath(value).name
    return f"{value:g}" if isinstance(value, float) else str(value)


def _set_up(table: QTableWidget) -> None:
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    table.setWordWrap(False)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(_ROW)


def _fit(table: QTableWidget, most_rows: int) -> None:
    """Make a table as high as its rows, or as so many of them."""
    bar = table.horizontalScrollBar().sizeHint().height()
    height = table.horizontalHeader().sizeHint().height() + _ROW * min(max(1, table.rowCount()), most_rows) + bar
    table.setFixedHeight(height + 2 * table.frameWidth())
