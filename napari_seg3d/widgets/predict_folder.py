"""A folder of scans, predicted in the background: where from, where to, and what became of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
)

from napari_seg3d.inference.batch_folder import TABLE, BatchOutput, CaseResult
from napari_seg3d.viewer.folder_prediction import FolderPrediction
from napari_seg3d.widgets.parts import Folded, Notice, ProgressRow, choose_folder, duration

_ROWS_SHOWN = 6


class PredictFolder(Folded):
    """Scans of a folder to masks in another one.

    Parameters
    ----------
    model : FolderPrediction
        What does it.
    """

    #: The user pressed the button; both folders are there.
    requested = Signal()

    def __init__(self, model: FolderPrediction) -> None:
        super().__init__("A folder of scans", "Predicts every scan of a folder, in the background, and writes the masks.")
        self._model = model
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.scans = _folder_row(
            form, "Scans", "A folder of scans of any format, of DICOM series, or a data set.", self, self._suggest
        )
        self.out = _folder_row(
            form, "Masks to", "Where the masks and a table of volumes go. Predicting again goes on where it stopped.", self
        )
        self.rows.addLayout(form)
        self.button = QPushButton("Predict folder")
        self.button.setToolTip(
            "<p>Predicts all scans with the model above, and the choices above. A scan that cannot be predicted is told here, and the rest "
            "goes on; masks that are there already are kept.</p>"
        )
        self.button.clicked.connect(self.requested)
        self.rows.addWidget(self.button)
        self.progress = ProgressRow()
        self.progress.button.setToolTip("<p>Stops after the patch that is computed. Masks that are written stay.</p>")
        self.progress.cancelled.connect(model.cancel)
        self.rows.addWidget(self.progress)
        self.notice = Notice()
        self.rows.addWidget(self.notice)
        self.table = QTableWidget(0, 2)
        self.table.setHorizontalHeaderLabels(["Scan", "Result"])
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setToolTip("<p>What became of each scan; the whole of a cell is told when the mouse rests on it.</p>")
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)
        self.table.setMinimumHeight(self.table.verticalHeader().defaultSectionSize() * _ROWS_SHOWN)
        self.table.hide()
        self.rows.addWidget(self.table)

        model.changed.connect(self._synchronise)
        model.progressed.connect(lambda done, total: self.progress.step("Scan", done, total))
        model.caseDone.connect(self._add)
        for result in model.results:
            self._add(result)
        self._synchronise()

    def output(self) -> BatchOutput | None:
        """Return where the masks go; None, and words in the dock, where a folder is missing."""
        if not self.scans.text().strip() or not self.out.text().strip():
            self.notice.say("Choose the folder of the scans, and the one for the masks.", "error")
            return None
        self.notice.say("")
        self.table.setRowCount(0)
        return BatchOutput(Path(self.out.text().strip()))

    def enable(self, is_ready: bool) -> None:
        """Let the button be pressed where there is a model and nothing else goes on."""
        self.button.setEnabled(is_ready and self._model.job is None)

    def _suggest(self) -> None:
        """Suggest a folder beside that of the scans."""
        scans = Path(self.scans.text())
        self.out.setText(str(scans.with_name(f"{scans.name}_masks")))

    def _add(self, result: CaseResult) -> None:
        row = self.table.rowCount()
        self.table.insertRow(row)
        volumes = ", ".join(f"{self._model.labels.get(value, value)} {ml:.1f} ml" for value, ml in result.volumes.items())
        if result.error is not None:
            said = str(result.error)
        else:
            when = "was there" if result.was_there else duration(result.seconds)
            said = " · ".join(part for part in (when, volumes, " ".join(result.warnings)) if part)
        for column, text in enumerate((result.case, said)):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            if result.error is not None:
                item.setForeground(Qt.GlobalColor.red)
            self.table.setItem(row, column, item)
        self.table.show()
        self.table.scrollToBottom()

    def _synchronise(self) -> None:
        model = self._model
        if model.job is not None:
            self.progress.begin("Loading the model…")
            return
        self.progress.hide()
        if model.error is not None:
            self.notice.say_error(model.error)
        elif model.results:
            failed = sum(result.error is not None for result in model.results)
            done = len(model.results) - failed
            end = "Cancelled: " if model.was_cancelled else ""
            bad = f", {failed} could not be predicted" if failed else ""
            self.notice.say(f"{end}{done} scans have their masks{bad}. {TABLE} beside them holds the volumes.")


def _folder_row(
    form: QFormLayout, name: str, tooltip: str, parent: Folded, chosen: Callable[[], None] | None = None
) -> QLineEdit:
    field = QLineEdit()
    field.setToolTip(f"<p>{tooltip}</p>")
    button = QToolButton()
    button.setText("…")
    button.setToolTip("<p>Choose a folder.</p>")

    def choose() -> None:
        folder = choose_folder(parent, name)
        if folder is not None:
            field.setText(str(folder))
            if chosen is not None:
                chosen()

    button.clicked.connect(choose)
    row = QHBoxLayout()
    row.addWidget(field, 1)
    row.addWidget(button)
    form.addRow(name, row)
    return field
