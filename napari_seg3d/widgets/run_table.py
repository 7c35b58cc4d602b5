"""The table of the Runs dock: every run with what became of it; those that are chosen have the colour of their curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from qtpy.QtCore import QAbstractTableModel, QItemSelectionModel, QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QVBoxLayout, QWidget

from napari_seg3d.training import Run
from napari_seg3d.training.runs.history import RunHistory
from napari_seg3d.widgets.parts import duration

#: Colours of the curves, apart from each other for the colour-blind, too (Okabe and Ito).
COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#ffffff", "#4d7fd6")
#: How each state is called.
STATES = {
    "queued": "waiting",
    "starting": "starting",
    "preparing": "preparing",
    "training": "training",
    "validating": "validating",
    "paused": "paused",
    "finished": "finished",
    "stopped": "stopped",
    "failed": "failed",
    "died": "died",
}
_STATE_COLOURS = {"failed": "#e06c60", "died": "#e06c60", "paused": "#e0b040", "queued": "#e0b040"}
_LIVE = "#60b060"
_SORT = Qt.ItemDataRole.UserRole
_UNKNOWN = "–"


class _Column(NamedTuple):
    title: str
    tooltip: str
    width: int
    text: Callable[[RunHistory], str]
    value: Callable[[RunHistory], Any]  # what is sorted by


def _score(history: RunHistory) -> float:
    best = history.best
    return best.score if best is not None and best.score is not None else -1.0


_COLUMNS = (
    _Column("Run", "Name of the run folder", 138, lambda run: run.run.name, lambda run: run.run.name),
    _Column("State", "What it does, or how it ended", 66, lambda run: _state(run), lambda run: _state(run)),
    _Column(
        "Best",
        "Score of the best model on the validation cases: the mean Dice, or what the settings judge by",
        48,
        lambda run: f"{_score(run):.3f}" if _score(run) >= 0 else _UNKNOWN,
        _score,
    ),
    _Column("Epochs", "How often every training case was shown", 52, lambda run: f"{run.epoch:.3g}", lambda run: run.epoch),
    _Column("Data set", "Folder of the data set", 100, lambda run: run.data or _UNKNOWN, lambda run: run.data),
    _Column("Network", "Which network it trains", 84, lambda run: run.network or _UNKNOWN, lambda run: run.network),
    _Column("Time", "How long it worked, without breaks", 66, lambda run: duration(run.seconds), lambda run: run.seconds),
    _Column("Size", "Of the run folder on the disk", 62, lambda run: size_in_words(run.size), lambda run: run.size),
)


class RunTable(QWidget):
    """Shows runs; several can be chosen.

    Attributes
    ----------
    chosen : Signal
        (list of Run) Others are chosen, in the order of the table.
    """

    chosen = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self.model = _Model()
        self._sorted = QSortFilterProxyModel()
        self._sorted.setSourceModel(self.model)
        self._sorted.setSortRole(_SORT)
        self.view = QTableView()
        self.view.setModel(self._sorted)
        self.view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.setWordWrap(False)
        self.view.setSortingEnabled(True)
        self.view.setMinimumHeight(150)
        self.view.setToolTip("<p>Choose a run to see its curves; hold Ctrl or Shift to compare several. A heading sorts.</p>")
        self.view.verticalHeader().hide()
        self.view.verticalHeader().setDefaultSectionSize(22)
        header = self.view.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        # As the runs come, newest first, until somebody sorts otherwise.
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        for column, about in enumerate(_COLUMNS):
            self.view.setColumnWidth(column, about.width)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self.view.selectionModel().selectionChanged.connect(self._tell)

    def show_runs(self, histories: Sequence[RunHistory]) -> None:
        """Show these runs; who is chosen stays so."""
        if [history.run for history in histories] == [history.run for history in self.model.histories]:
            self.model.refresh(histories)
            return
        before = self.chosen_runs()
        selection = self.view.selectionModel()
        selection.blockSignals(True)
        self.model.replace(histories)
        self.choose(before)
        selection.blockSignals(False)
        if self.chosen_runs() != before:
            self._tell()

    def chosen_runs(self) -> list[Run]:
        """Return the chosen runs, in the order of the table."""
        rows = sorted(index.row() for index in self.view.selectionModel().selectedRows())
        places = (self._sorted.mapToSource(self._sorted.index(row, 0)).row() for row in rows)
        return [self.model.histories[place].run for place in places]

    def choose(self, runs: Sequence[Run]) -> None:
        """Choose these runs instead, as far as they are there."""
        selection = self.view.selectionModel()
        was_blocked = selection.blockSignals(True)
        selection.clearSelection()
        for place, history in enumerate(self.model.histories):
            if history.run in runs:
                index = self._sorted.mapFromSource(self.model.index(place, 0))
                selection.select(index, QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows)
        selection.blockSignals(was_blocked)
        self.view.viewport().update()
        if not was_blocked:
            self._tell()

    def paint(self, runs: Sequence[Run]) -> None:
        """Mark these runs with the colours of their curves, in their order."""
        self.model.paint({run: COLOURS[place % len(COLOURS)] for place, run in enumerate(runs)})

    def _tell(self, *_: object) -> None:
        self.chosen.emit(self.chosen_runs())


class _Model(QAbstractTableModel):
    def __init__(self) -> None:
        super().__init__()
        self.histories: list[RunHistory] = []
        self._colours: dict[Run, str] = {}

    def replace(self, histories: Sequence[RunHistory]) -> None:
        self.beginResetModel()
        self.histories = list(histories)
        self.endResetModel()

    def refresh(self, histories: Sequence[RunHistory]) -> None:
        """Show what the same runs tell by now."""
        for row, (now, before) in enumerate(zip(histories, self.histories, strict=True)):
            if now is not before:
                self.histories[row] = now
                self.dataChanged.emit(self.index(row, 0), self.index(row, len(_COLUMNS) - 1))

    def paint(self, colours: dict[Run, str]) -> None:
        self._colours = colours
        if self.histories:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.histories) - 1, 0), [Qt.ItemDataRole.DecorationRole])

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.histories)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return len(_COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[section].title
        return f"<p>{_COLUMNS[section].tooltip}</p>" if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        history, column = self.histories[index.row()], _COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(history)
        if role == _SORT:
            return column.value(history)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _about(history)
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0 and history.run in self._colours:
            swatch = QPixmap(10, 10)
            swatch.fill(QColor(self._colours[history.run]))
            return swatch
        if role == Qt.ItemDataRole.ForegroundRole and column.title == "State":
            status = history.status
            colour = _STATE_COLOURS.get(status.state, "" if status.ended else _LIVE)
            return QColor(colour) if colour else None
        return None


def size_in_words(size: int) -> str:
    """Return a size on the disk as a person says it: ``800 kB``, ``1.2 GB``."""
    number = float(size)
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _state(history: RunHistory) -> str:
    return STATES.get(history.status.state, history.status.state)


def _about(history: RunHistory) -> str:
    """Return all that the table says of a run, and what went wrong, for a tooltip."""
    lines = [f"<b>{history.run.name}</b>: {_state(history)}"]
    if history.status.message:
        lines.append(history.status.message.replace("\n", "<br>"))
    best = history.best
    if best is not None and best.score is not None:
        lines.append(f"best {best.metric} {best.score:.4f} at epoch {best.epoch:g}")
    if history.validations:
        last = history.validations[-1]
        lines.append(f"last {last.metric} {last.score:.4f}" if last.score is not None else f"last {last.metric} not defined")
    if history.problem:
        lines.append(history.problem)
    if history.damaged:
        lines.append(f"{history.damaged} lines of its events.jsonl are damaged and were passed over")
    lines.append(str(history.run.folder))
    return "<p>" + "<br>".join(lines) + "</p>"
