"""The table of the Review dock: each case with its picture, its state and what was measured; a heading sorts."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QApplication, QHeaderView, QTableView, QVBoxLayout, QWidget

from napari_seg3d.review import LARGEST_FIRST, Entry, Order, State
from napari_seg3d.widgets.parts import duration, readable

#: The colour and the sign of each state.
LOOK: dict[State, tuple[str, str]] = {
    "to do": ("#a0a0a0", "○"),
    "predicted": ("#6fa8dc", "◔"),
    "in work": ("#e0b040", "◑"),
    "approved": ("#60b060", "✓"),
    "flagged": ("#e06c60", "⚑"),
}
_PICTURE = 40
_MOST_PICTURES = 300
_MOST_EVENTS = 12
_WALK = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Home, Qt.Key.Key_End, Qt.Key.Key_Return, Qt.Key.Key_Enter)
_ODD = 3.5  # above this Iglewicz and Hoaglin call a value an outlier


class _Column(NamedTuple):
    title: str
    tooltip: str
    width: int
    order: Order | None
    text: Callable[[Entry], str]


_FIRST = (
    _Column("", "The slice with most of the mask, and its outlines", _PICTURE + 8, None, lambda entry: ""),
    _Column("Case", "Id of the case: the name of its file", 92, "case", lambda entry: entry.case.id),
    _Column("State", "Where it is", 84, "state", lambda entry: f"{LOOK[entry.state][1]} {entry.state}"),
)
_SCORES = (
    _Column(
        "Unsure",
        "How unsure the model is, 0 to 1: the mean entropy in and around what it found. The largest first: these cases teach it most",
        56,
        "uncertainty",
        lambda entry: _number(entry.uncertainty, 3),
    ),
    _Column("Dice", "With the reference, the mean over the labels", 48, "dice", lambda entry: _number(entry.dice, 3)),
    _Column(
        "Odd",
        "How unusual the volumes are among the other cases, in robust standard deviations; above 3.5 is an outlier",
        44,
        "oddness",
        lambda entry: "∞" if entry.oddness == math.inf else _number(entry.oddness, 1),
    ),
)
_LAST = (
    _Column("Time", "How long it was open", 58, "time", lambda entry: duration(entry.seconds) if entry.seconds else ""),
    _Column("By", "Who said the state", 64, "reviewer", lambda entry: entry.reviewer),
    _Column("Comment", "What was said of it", 160, "comment", lambda entry: entry.comment),
)


class ReviewTable(QWidget):
    """Shows cases; one is looked at.

    Parameters
    ----------
    picture_of : callable
        Returns the file with the picture of an entry where it is known, and else sees to it that it will be.

    Attributes
    ----------
    chosen : Signal
        (str) Somebody wants to look at the case of this id.
    sorted : Signal
        (Order, bool) Somebody wants another order; whether the largest comes first.
    """

    chosen = Signal(str)
    sorted = Signal(str, bool)

    def __init__(self, picture_of: Callable[[Entry], Path | None]) -> None:
        super().__init__()
        self.model = _Model(picture_of, self)
        self.view = _Rows()
        self.view.setModel(self.model)
        self.view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.setWordWrap(False)
        self.view.setShowGrid(False)
        self.view.setTextElideMode(Qt.TextElideMode.ElideLeft)  # names of cases differ at their end
        self.view.setIconSize(QSize(_PICTURE, _PICTURE))
        self.view.setMinimumHeight(240)
        self.view.setToolTip("<p>Click a case to open it. A heading sorts; click it again for the other way round.</p>")
        self.view.verticalHeader().hide()
        self.view.verticalHeader().setDefaultSectionSize(_PICTURE + 4)
        header = self.view.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setMinimumSectionSize(24)
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.sectionClicked.connect(self._sort)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self.view.clicked.connect(lambda index: self.chosen.emit(self.model.entries[index.row()].case.id))
        self.view.activated.connect(lambda index: self.chosen.emit(self.model.entries[index.row()].case.id))
        self._order: tuple[Order, bool] = ("case", False)

    def show_entries(self, entries: Sequence[Entry], names: dict[int, str], current: str | None) -> None:
        """Show these cases in their order, with a column for the volume of each label; the one that is looked at is selected."""
        labels = sorted({label for entry in entries if entry.measures is not None for label in entry.measures.volumes})
        if self.model.replace(entries, labels, names):
            for column, about in enumerate(self.model.columns):
                self.view.setColumnWidth(column, about.width)
        rows = [row for row, entry in enumerate(entries) if entry.case.id == current]
        selected = [index.row() for index in self.view.selectionModel().selectedRows()]
        if rows and rows != selected:
            self.view.selectRow(rows[0])
            self.view.scrollTo(self.model.index(rows[0], 0))
        elif not rows and selected:
            self.view.clearSelection()

    def show_order(self, order: Order, descending: bool | None) -> None:
        """Mark the heading by which the rows are sorted."""
        is_falling = order in LARGEST_FIRST if descending is None else descending
        self._order = (order, is_falling)
        column = next((place for place, about in enumerate(self.model.columns) if about.order == order), -1)
        self.view.horizontalHeader().setSortIndicator(
            column, Qt.SortOrder.DescendingOrder if is_falling else Qt.SortOrder.AscendingOrder
        )

    def refresh_pictures(self) -> None:
        """Show pictures that are there by now."""
        self.model.forget_missing_pictures()

    def _sort(self, column: int) -> None:
        order = self.model.columns[column].order
        if order is not None:
            is_falling = not self._order[1] if self._order[0] == order else order in LARGEST_FIRST
            self.sorted.emit(order, is_falling)
        self.show_order(*self._order)


class _Rows(QTableView):
    """Rows that one walks through with the keys in `_WALK`; all others do what they do in the scan."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Give a key to the window: Qt would look for a case that begins with that letter, and the dock would scroll with arrows."""
        if event.key() in _WALK:
            super().keyPressEvent(event)
        else:
            QApplication.sendEvent(self.window(), event)


class _Model(QAbstractTableModel):
    def __init__(self, picture_of: Callable[[Entry], Path | None], on: QWidget) -> None:
        super().__init__(on)
        self._on = on
        self.entries: list[Entry] = []
        self.columns: list[_Column] = [*_FIRST, *_SCORES, *_LAST]
        self._labels: list[int] | None = None
        self._picture_of = picture_of
        self._pictures: dict[Path, QPixmap] = {}

    def replace(self, entries: Sequence[Entry], labels: list[int], names: dict[int, str]) -> bool:
        """Show other cases; return whether the columns are others, too."""
        is_same = [one.case.id for one in entries] == [one.case.id for one in self.entries] and labels == self._labels
        if is_same:
            for row, (now, before) in enumerate(zip(entries, self.entries, strict=True)):
                if now is not before and now != before:
                    self.entries[row] = now
                    self.dataChanged.emit(self.index(row, 0), self.index(row, len(self.columns) - 1))
            return False
        are_others = labels != self._labels
        self.beginResetModel()
        self.entries, self._labels = list(entries), labels
        self.columns = [
            *_FIRST,
            *_SCORES,
            *(_volume_column(label, names.get(label, ""), len(labels) == 1) for label in labels),
            *_LAST,
        ]
        self.endResetModel()
        return are_others

    def forget_missing_pictures(self) -> None:
        if self.entries:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.entries) - 1, 0), [Qt.ItemDataRole.DecorationRole])

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.entries)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal or section >= len(self.columns):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.columns[section].title
        return f"<p>{self.columns[section].tooltip}</p>" if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        entry, column = self.entries[index.row()], self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(entry)
        if role == Qt.ItemDataRole.ToolTipRole:
            return about(entry)
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            return self._picture(entry)
        if role == Qt.ItemDataRole.ForegroundRole:
            if column.title == "State":
                return QColor(readable(LOOK[entry.state][0], self._on))
            if column.title == "Odd" and entry.oddness > _ODD:
                return QColor(readable(LOOK["in work"][0], self._on))
        if role == Qt.ItemDataRole.TextAlignmentRole and column.order in ("uncertainty", "dice", "oddness", "volume", "time"):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def _picture(self, entry: Entry) -> QPixmap | None:
        file = self._picture_of(entry)
        if file is None:
            return None
        if file not in self._pictures:
            if len(self._pictures) > _MOST_PICTURES:
                self._pictures.clear()
            self._pictures[file] = QPixmap(str(file)).scaled(
                _PICTURE, _PICTURE, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
            )
        return self._pictures[file]


def about(entry: Entry) -> str:
    """Return all that is known of a case, for a tooltip."""
    lines = [
        f"<b>{html.escape(entry.case.id)}</b>: {entry.state}"
        + (f", said by {html.escape(entry.reviewer)}" if entry.reviewer else "")
    ]
    if entry.is_blinded:
        lines.append("Read by two apart: what the other one says is shown when both are done.")
    if entry.comment:
        lines.append(html.escape(entry.comment))
    if entry.mask is not None:
        file = f": {html.escape(entry.mask.file.name)}" if entry.mask.file is not None else ""
        lines.append(f"Mask in use: {'that of the data set' if entry.mask.origin == 'data set' else entry.mask.origin}{file}")
    if entry.measures is not None:
        lines += [f"Label {label}: Dice {dice:.3f}" for label, dice in entry.measures.dice.items() if not math.isnan(dice)]
    said = [event for event in entry.history if event.field not in ("measured", "seconds")]
    for event in said[-_MOST_EVENTS:]:
        when = event.at.astimezone().strftime("%Y-%m-%d %H:%M")
        value = Path(str(event.value)).name if event.field in ("correction", "prediction") else str(event.value)
        lines.append(f"<small>{when} {html.escape(event.who)}: {html.escape(event.field)} {html.escape(value[:80])}</small>")
    return "<p>" + "<br>".join(lines) + "</p>"


def _volume_column(label: int, name: str, is_only: bool) -> _Column:
    called = name or f"label {label}"

    def text(entry: Entry) -> str:
        return _millilitres(entry.measures.volumes.get(label, math.nan)) if entry.measures is not None else ""

    tooltip = f"Volume of {html.escape(called)} in ml; sorted by that of all labels"
    return _Column("ml" if is_only else f"{called} ml", tooltip, 52 if is_only else 84, "volume", text)


def _millilitres(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.{2 if value < 100 else 0}f}"


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"
