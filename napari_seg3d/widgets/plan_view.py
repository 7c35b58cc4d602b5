"""What `auto` chooses: each setting with its value and the reason, and a way to make it one's own."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QPushButton, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_seg3d.training import TrainConfig
from napari_seg3d.training.plan import Reason

_HEIGHT = 240


class PlanView(QWidget):
    """Lists reasons.

    Attributes
    ----------
    table : QTableWidget
        A row for each; the first column says setting and value, the second why.
    take_button : QPushButton
        Takes the selected rows over.
    """

    #: Settings shall be as planned: dotted name -> value.
    taken = Signal(dict)

    def __init__(self) -> None:
        super().__init__()
        self._reasons: tuple[Reason, ...] = ()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.table = QTableWidget(0, 2)
        self.table.setHorizontalHeaderLabels(["Chosen", "Why"])
        self.table.setToolTip(
            "<p>What auto chose, and why. Double click a row to make it a setting of your own, then change it.</p>"
        )
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self.table.horizontalHeader().setMaximumSectionSize(240)
        self.table.setWordWrap(True)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.table.setFixedHeight(_HEIGHT)
        self.table.itemSelectionChanged.connect(self._enable)
        self.table.cellDoubleClicked.connect(lambda row, _column: self._take([row]))
        column.addWidget(self.table)
        self.take_button = QPushButton("Take over")
        self.take_button.setToolTip(
            "<p>Make the selected choices settings of your own: they stay as they are, whatever the data.</p>"
        )
        self.take_button.clicked.connect(lambda: self._take(sorted({index.row() for index in self.table.selectedIndexes()})))
        column.addWidget(self.take_button)
        self._enable()

    def show_reasons(self, reasons: Sequence[Reason]) -> None:
        """List reasons."""
        if tuple(reasons) == self._reasons:
            return
        self._reasons = tuple(reasons)
        self.table.setRowCount(len(self._reasons))
        for row, reason in enumerate(self._reasons):
            for place, text in enumerate((f"{setting_title(reason.setting)}\n{value_text(reason.value)}", reason.why)):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
                item.setToolTip(f"<p>{reason.setting}: {reason.why}</p>")
                self.table.setItem(row, place, item)
        self._enable()

    def _take(self, rows: Sequence[int]) -> None:
        known = TrainConfig.setting_names()
        chosen = {self._reasons[row].setting: self._reasons[row].value for row in rows}
        settings = {name: value for name, value in chosen.items() if name in known}
        if settings:
            self.taken.emit(settings)

    def _enable(self) -> None:
        self.take_button.setEnabled(bool(self.table.selectedIndexes()))


def setting_title(name: str) -> str:
    """Return what a person calls a dotted setting; names of no setting as they are."""
    section, _, setting = name.partition(".")
    about = TrainConfig.model_fields.get(section)
    fields = about.annotation.model_fields if about is not None else {}  # type: ignore[union-attr]  # every field is a section
    return fields[setting].title or name if setting in fields else name


def value_text(value: object) -> str:
    """Return a plain value as a person reads it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        if any(isinstance(part, dict) for part in value):
            return ", ".join(str(part.get("name", "…")) if isinstance(part, dict) else value_text(part) for part in value)
        return " x ".join(value_text(part) for part in value)
    return str(value)
