"""The Data dock: open a folder of scans, see which image belongs to which mask and what is wrong, click a case to look at it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QBrush, QColor, QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
)

from napari_seg3d.datasets import Case, Problem
from napari_seg3d.errors import Seg3dError
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.viewer.session import session_of
from napari_seg3d.widgets.parts import Dock, Folded, Notice, ProgressRow, choose_folder

if TYPE_CHECKING:
    from napari import Viewer

_COLUMNS = ("", "Case", "Subject", "Mask")
_SIGNS = {"error": "✗", "warning": "!", "": "✓"}
_SIGN_COLOURS = {"error": "#e06c60", "warning": "#e0b040", "": "#60b060"}
_MOST_PROBLEMS = 200


class DataDock(Dock):
    """Opens a data set and shows its cases.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer in which a clicked case appears.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Data")
        session = session_of(napari_viewer)
        session.add_dock(self)
        self._model = session.data
        self._cases: list[Case] = []
        self._masks: Path | None = None
        self.setAcceptDrops(True)

        buttons = QHBoxLayout()
        self.open_button = QPushButton("Open folder…")
        self.open_button.setToolTip(
            "<p>Choose the folder of a data set: one with imagesTr and labelsTr, images and labels, Img and Mask, or scans with masks "
            "beside them. A folder can also be dropped here.</p>"
        )
        self.open_button.clicked.connect(self._choose_folder)
        self.sample_button = QPushButton("Sample data")
        self.sample_button.setToolTip("<p>Open a small data set of phantoms that comes with the program, to try things.</p>")
        self.sample_button.clicked.connect(lambda: self.open(dataset_folder()))
        buttons.addWidget(self.open_button)
        buttons.addWidget(self.sample_button)
        self.body.addLayout(buttons)

        elsewhere = Folded(
            "Masks lie elsewhere", "Only needed when the masks are neither in the data set's folder nor beside the images."
        )
        row = QHBoxLayout()
        self.masks_label = QLabel("none")
        masks_button = QPushButton("Masks folder…")
        masks_button.setToolTip("<p>Choose the folder of the masks; then open the folder of the images.</p>")
        masks_button.clicked.connect(self._choose_masks)
        clear = QToolButton()
        clear.setText("✕")
        clear.setToolTip("Look for the masks in the data set again")
        clear.clicked.connect(lambda: self._set_masks(None))
        row.addWidget(masks_button)
        row.addWidget(self.masks_label, 1)
        row.addWidget(clear)
        elsewhere.rows.addLayout(row)
        self.body.addWidget(elsewhere)

        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.body.addWidget(self.summary)
        self.notice = Notice()
        self.body.addWidget(self.notice)
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._cancel)
        self.body.addWidget(self.progress)

        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.setToolTip(
            "<p>Click a case to look at it. Hold the mouse over a row to see why image and mask were put together.</p>"
        )
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setTextElideMode(Qt.TextElideMode.ElideLeft)  # names of cases differ at their end
        self.table.setMinimumHeight(220)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(3, QHeaderView.ResizeMode.Fixed)
        self.table.setColumnWidth(0, 26)
        self.table.setColumnWidth(3, 84)
        self.table.itemSelectionChanged.connect(self._show_selected)
        self.body.addWidget(self.table, 1)

        self.problems = Folded("Problems", "What was found in the files, each with what to do about it.")
        self.problem_text = QLabel()
        self.problem_text.setWordWrap(True)
        self.problem_text.setTextFormat(Qt.TextFormat.RichText)
        self.problem_text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.problems.rows.addWidget(self.problem_text)
        self.body.addWidget(self.problems)

        self._model.changed.connect(self._synchronise)
        self._model.progressed.connect(lambda done, total: self.progress.step("Checking case", done, total))
        self._model.caseShown.connect(self._case_shown)
        self._synchronise()

    def open(self, folder: Path) -> None:
        """Open a data set."""
        self._model.open(folder, self._masks)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take folders."""
        if any(Path(url.toLocalFile()).is_dir() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open the folder that was dropped."""
        folders = [Path(url.toLocalFile()) for url in event.mimeData().urls() if Path(url.toLocalFile()).is_dir()]
        self.open(folders[0])
        event.acceptProposedAction()

    def _choose_folder(self) -> None:
        folder = choose_folder(self, "Open a data set")
        if folder is not None:
            self.open(folder)

    def _choose_masks(self) -> None:
        self._set_masks(choose_folder(self, "Folder of the masks") or self._masks)

    def _set_masks(self, folder: Path | None) -> None:
        self._masks = folder
        self.masks_label.setText(folder.name if folder else "none")
        self.masks_label.setToolTip(str(folder) if folder else "")

    def _cancel(self) -> None:
        if self._model.job is not None:
            self._model.job.cancel()

    def _synchronise(self) -> None:
        """Show what the model holds now."""
        report = self._model.report
        dataset = report.dataset if report else self._model.dataset
        if self._model.job is not None:
            self.progress.begin("Opening…")
        else:
            self.progress.hide()
        self.notice.say_error(self._model.error)
        problems = report.problems if report else dataset.problems if dataset else ()
        cases = list(dataset.cases) if dataset else []
        if dataset is None:
            self.summary.setText("Open a folder of scans and masks, or try the sample data.")
        else:
            ready = f", <b>{len(report.sound)} ready to train on</b>" if report else ""
            labels = ", ".join(f"{name} ({value})" for value, name in sorted(dataset.labels.items())[:8])
            more = f" and {len(dataset.labels) - 8} more" if len(dataset.labels) > 8 else ""
            subjects = len({case.subject for case in cases})
            self.summary.setText(
                f"<b>{dataset.name}</b>: {len(cases)} cases of {subjects} subjects, {len(dataset.pairs)} with a mask{ready}."
                + (f"<br>Labels: {labels}{more}" if labels else "")
            )
            self.summary.setToolTip(str(self._model.folder))
        self._fill_table(cases, problems)
        self._fill_problems(problems)

    def _fill_table(self, cases: list[Case], problems: tuple[Problem, ...]) -> None:
        worst: dict[str | None, str] = {}
        for problem in problems:
            if worst.get(problem.case) != "error":
                worst[problem.case] = problem.severity
        selected = self._cases[self.table.currentRow()].id if 0 <= self.table.currentRow() < len(self._cases) else None
        self._cases = cases
        self.table.blockSignals(True)
        self.table.setRowCount(len(cases))
        for row, case in enumerate(cases):
            severity = worst.get(case.id, "")
            words = [problem.what for problem in problems if problem.case == case.id] if severity else []
            tooltip = "\n".join(
                [f"{case.images[0].name} and {case.mask.name}: {case.reason}" if case.mask else "no mask", *words]
            )
            values = (_SIGNS[severity], case.id, case.subject, _mask_name(case))
            for column, value in enumerate(values):
                item = QTableWidgetItem(value)
                item.setToolTip(tooltip)
                if column == 0:
                    item.setForeground(QBrush(QColor(_SIGN_COLOURS[severity])))
                    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.table.setItem(row, column, item)
        # The row of another data set's case must not look as if this one were shown.
        self.table.setCurrentCell(-1, -1)
        if selected in (ids := [case.id for case in cases]):
            self.table.selectRow(ids.index(selected))
        self.table.blockSignals(False)

    def _fill_problems(self, problems: tuple[Problem, ...]) -> None:
        errors = sum(problem.severity == "error" for problem in problems)
        self.problems.setText(f"Problems: {errors} errors, {len(problems) - errors} warnings")
        self.problems.setVisible(bool(problems))
        shown = [
            f'<p><span style="color:{_SIGN_COLOURS[problem.severity]}">{_SIGNS[problem.severity]}</span> {_escape(problem.what)} '
            f"<i>{_escape(problem.fix)}</i></p>"
            for problem in sorted(problems, key=lambda problem: problem.severity != "error")[:_MOST_PROBLEMS]
        ]
        self.problem_text.setText("".join(shown))

    def _show_selected(self) -> None:
        row = self.table.currentRow()
        if 0 <= row < len(self._cases):
            self.notice.say(f"Reading {self._cases[row].id}…")
            self._model.show_case(self._cases[row])

    def _case_shown(self, case: Case, error: Seg3dError | None, kept: list[str]) -> None:
        if error is not None:
            self.notice.say_error(error)
        elif kept:
            self.notice.say(
                f"You changed {', '.join(kept)} and did not save it: it stays in the list of layers, hidden.", "warning"
            )
        else:
            self.notice.say("")


def _mask_name(case: Case) -> str:
    if case.mask is None:
        return "none"
    return "same name" if case.mask.name == case.images[0].name else case.mask.name


def _escape(text: str) -> str:
    # Places to break long names and paths at.
    return escape(text).replace("/", "/\u200b").replace("_", "_\u200b")
