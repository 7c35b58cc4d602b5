"""The table of the Data dock: each case with its mask and its set, and what can be done with those that are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import QPoint, Qt, Signal
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QMenu,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_seg3d.datasets import Case, Dataset, Place, Problem, StoredSplit, Test, complete, files_of, name_of
from napari_seg3d.widgets.parts import readable

SIGNS = {"error": "✗", "warning": "!", "info": "i", "": "✓", "out": "–"}
COLOURS = {"error": "#e06c60", "warning": "#e0b040", "info": "#6fa8dc", "": "#60b060", "out": "#909090"}
_COLUMNS = ("", "Case", "Subject", "Mask", "Set")
_WIDTHS = {0: 24, 3: 58, 4: 62}
_TIPS = (
    "What was found in the files",
    "Id of the case",
    "Who was scanned: cases of one subject stay together",
    "How sure image and mask belong together",
    "Who trains, who validates (or in which fold), and who is held back to test",
)
#: How sure a pair is, from this on.
_SURE = ((0.85, "sure", ""), (0.7, "likely", "warning"), (0.0, "unsure", "error"))
_BY_TRAINING = "auto"  # whoever starts a training draws it


class CaseTable(QWidget):
    """Shows cases; several can be chosen, and one at a time is looked at.

    Attributes
    ----------
    looked : Signal
        (Case) One case was chosen.
    placed : Signal
        (ids, set) The chosen cases shall go into a set.
    paired : Signal
        (id, Path or None) A case shall have this mask; None asks for a file.
    unpaired, excluded, included : Signal
        (ids) Their masks shall be taken away; they shall be left out, or taken back.
    """

    looked = Signal(object)
    placed = Signal(list, object)
    paired = Signal(str, object)
    unpaired = Signal(list)
    excluded = Signal(list)
    included = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self._cases: list[Case] = []
        self._dataset: Dataset | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        for number, text in enumerate(_TIPS):
            self.table.horizontalHeaderItem(number).setToolTip(text)
        self.table.setToolTip(
            "<p>Click a case to look at it; hold Ctrl or Shift to choose several, and click right for what can be done with them. "
            "Hold the mouse over a row to see why image and mask were put together.</p>"
        )
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setTextElideMode(Qt.TextElideMode.ElideLeft)  # names of cases differ at their end
        self.table.setMinimumHeight(220)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        for number, width in _WIDTHS.items():
            header.setSectionResizeMode(number, QHeaderView.ResizeMode.Fixed)
            self.table.setColumnWidth(number, width)
        self.table.itemSelectionChanged.connect(self._selection_changed)
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.table.customContextMenuRequested.connect(self._open_menu)
        column.addWidget(self.table, 1)

        row = QHBoxLayout()
        self.place_box = QComboBox()
        self.place_box.setToolTip("<p>Put the chosen cases into a set. All cases of a subject must go together.</p>")
        self.place_box.activated.connect(self._place_chosen)
        self.mask_button = QPushButton("Mask")
        self.mask_button.setToolTip("<p>Choose the mask of this case yourself, or take it away.</p>")
        self._mask_menu = QMenu(self.mask_button)
        self._mask_menu.aboutToShow.connect(lambda: self._fill_mask_menu(self._mask_menu))
        self.mask_button.setMenu(self._mask_menu)
        self.leave_button = QPushButton("Leave out")
        self.leave_button.clicked.connect(self._leave_out_or_take_back)
        for widget in (self.place_box, self.mask_button, self.leave_button):
            row.addWidget(widget, 1)
        column.addLayout(row)
        self._editable = True
        self._enable()

    @property
    def chosen(self) -> list[Case]:
        """The cases of the rows that are selected."""
        rows = sorted({index.row() for index in self.table.selectionModel().selectedRows()})
        return [self._cases[row] for row in rows if row < len(self._cases)]

    def show_dataset(self, dataset: Dataset | None, problems: Sequence[Problem], editable: bool) -> None:
        """Show the cases of a data set; those that were chosen stay so."""
        before = {case.id for case in self.chosen}
        self._dataset, self._editable = dataset, editable
        self._cases = list(dataset.cases) if dataset is not None else []
        of_case: dict[str | None, list[Problem]] = {}
        for problem in problems:
            of_case.setdefault(problem.case, []).append(problem)
        places = complete(dataset.split, self._cases) if dataset is not None and dataset.split is not None else {}
        self.table.blockSignals(True)
        self.table.setUpdatesEnabled(False)
        self.table.setRowCount(len(self._cases))
        for number, case in enumerate(self._cases):
            assert dataset is not None
            self._fill_row(number, case, of_case.get(case.id, []), places.get(case.id), dataset.excluded.get(case.id))
        everybody_once = all(case.subject == case.id for case in self._cases)
        self.table.setColumnHidden(2, everybody_once)
        # The row of another data set's case must not look as if this one were shown.
        self.table.clearSelection()
        self.table.setCurrentCell(-1, -1)
        self._choose([case.id for case in self._cases if case.id in before])
        self.table.setUpdatesEnabled(True)
        self.table.blockSignals(False)
        self._fill_places(dataset.split if dataset is not None else None)
        self._enable()

    def choose(self, ids: Sequence[str]) -> None:
        """Select the rows of cases."""
        self.table.blockSignals(True)
        self.table.clearSelection()
        self._choose(ids)
        self.table.blockSignals(False)
        self._selection_changed()

    def _choose(self, ids: Sequence[str]) -> None:
        model, flags = self.table.selectionModel(), self.table.selectionModel().SelectionFlag
        wanted = set(ids)
        for row, case in enumerate(self._cases):
            if case.id in wanted:
                model.select(self.table.model().index(row, 0), flags.Select | flags.Rows)

    def _fill_row(
        self, row: int, case: Case, problems: Sequence[Problem], place: Place | Test | None, excluded: str | None
    ) -> None:
        severities = [problem.severity for problem in problems]
        severity = next((one for one in ("error", "warning") if one in severities), "")
        sign = "out" if excluded is not None else severity
        sure, colour = _sureness(case)
        words = [problem.what for problem in problems if problem.severity != "info"]
        tooltip = "\n".join(
            [*([f"Left out: {excluded}"] if excluded is not None else []), f"{_files(case)}: {case.reason}".rstrip(": "), *words]
        )
        shown = "out" if excluded is not None else _shown(place) if case.mask is not None or place == "test" else ""
        for column, value in enumerate((SIGNS[sign], case.id, case.subject, sure, shown)):
            item = QTableWidgetItem(value)
            item.setToolTip(tooltip)
            if excluded is not None:
                item.setForeground(QBrush(QColor(readable(COLOURS["out"], self))))
            elif column == 3 and colour:
                item.setForeground(QBrush(QColor(readable(COLOURS[colour], self))))
            if column == 0:
                item.setForeground(QBrush(QColor(readable(COLOURS[sign], self))))
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            self.table.setItem(row, column, item)

    def _fill_places(self, split: StoredSplit | None) -> None:
        places: tuple[Place | Test, ...] = (*(split or StoredSplit("lists")).places, "test")
        self.place_box.clear()
        self.place_box.addItem("Set…", None)
        for place in places:
            self.place_box.addItem(name_of(place), place)

    def _selection_changed(self) -> None:
        self._enable()
        if len(self.chosen) == 1:
            self.looked.emit(self.chosen[0])

    def _enable(self) -> None:
        chosen = self.chosen
        excluded = self._dataset.excluded if self._dataset is not None else {}
        self.place_box.setEnabled(self._editable and bool(chosen))
        self.mask_button.setEnabled(self._editable and bool(chosen))
        self.leave_button.setEnabled(self._editable and bool(chosen))
        is_out = bool(chosen) and all(case.id in excluded for case in chosen)
        self.leave_button.setText("Take back" if is_out else "Leave out")
        self.leave_button.setToolTip(
            "<p>Check and train on these cases again.</p>"
            if is_out
            else "<p>Leave the chosen cases out of check and training; their files stay.</p>"
        )

    def _place_chosen(self, index: int) -> None:
        place = self.place_box.itemData(index)
        self.place_box.setCurrentIndex(0)
        if place is not None:
            self.placed.emit([case.id for case in self.chosen], place)

    def _leave_out_or_take_back(self) -> None:
        excluded = self._dataset.excluded if self._dataset is not None else {}
        ids = [case.id for case in self.chosen]
        if all(case in excluded for case in ids):
            self.included.emit(ids)
        else:
            self.excluded.emit([case for case in ids if case not in excluded])

    def _open_menu(self, where: QPoint) -> None:
        if not self.chosen or not self._editable:
            return
        menu = QMenu(self.table)
        for index in range(1, self.place_box.count()):
            action = menu.addAction(f"Set: {self.place_box.itemText(index)}")
            action.triggered.connect(lambda _on=False, index=index: self._place_chosen(index))
        menu.addSeparator()
        self._fill_mask_menu(menu, clear=False)
        menu.addSeparator()
        menu.addAction(self.leave_button.text()).triggered.connect(self._leave_out_or_take_back)
        menu.exec(self.table.viewport().mapToGlobal(where))

    def _fill_mask_menu(self, menu: QMenu, clear: bool = True) -> None:
        if clear:
            menu.clear()
        chosen = self.chosen
        if len(chosen) == 1:
            menu.addAction("Choose mask…").triggered.connect(lambda _on=False: self.paired.emit(chosen[0].id, None))
            for mask in self._dataset.unused_masks[:20] if self._dataset is not None else ():
                action = menu.addAction(f"Take {mask.name}, which no case has")
                action.triggered.connect(lambda _on=False, mask=mask: self.paired.emit(chosen[0].id, mask))
        paired = [case.id for case in chosen if case.mask is not None]
        action = menu.addAction("Unpair")
        action.setEnabled(bool(paired))
        action.triggered.connect(lambda _on=False: self.unpaired.emit(paired))


def _sureness(case: Case) -> tuple[str, str]:
    if case.mask is None:
        return "none", ""
    return next((word, colour) for least, word, colour in _SURE if case.sureness >= least)


def _shown(place: Place | Test | None) -> str:
    return _BY_TRAINING if place is None else "valid." if place == "validation" else name_of(place)


def _files(case: Case) -> str:
    masks: tuple[Path, ...] = files_of(case)[len(case.images) :]
    if not masks:
        return f"{case.images[0].name} has no mask"
    return f"{case.images[0].name} and {masks[0].name}" + (f" and {len(masks) - 1} more" if len(masks) > 1 else "")
