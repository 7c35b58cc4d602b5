"""The Data dock: open a folder of scans, see which image belongs to which mask and what is wrong, decide who trains, and keep it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMessageBox, QPushButton, QToolButton

from napari_seg3d.datasets import Case, Dataset, Report, presence_of
from napari_seg3d.datasets.layouts.manifest import FILE_NAME
from napari_seg3d.errors import Seg3dError
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.viewer.session import session_of
from napari_seg3d.widgets.case_table import CaseTable
from napari_seg3d.widgets.findings_list import FindingsList
from napari_seg3d.widgets.layer_pairs import LayerPairs
from napari_seg3d.widgets.parts import Dock, Folded, Notice, ProgressRow, choose_file, choose_folder, choose_new_file
from napari_seg3d.widgets.recovery import RecoveryPanel
from napari_seg3d.widgets.split_form import SplitForm

if TYPE_CHECKING:
    from napari import Viewer

    from napari_seg3d.viewer.layer_dataset import LayerPair

_READING = "Reading"
_DESCRIPTIONS = (".yaml", ".yml", ".csv")
_MASKS = "Masks (*.nii *.nii.gz *.nrrd *.mha *.mhd *.mat *.png *.tif *.tiff *.dcm *.h5 *.npy *.mgz);;All files (*)"


class DataDock(Dock):
    """Opens a data set, shows its cases, and lets a person decide about them.

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
        self._masks: Path | None = None
        self.setAcceptDrops(True)

        self.notice = Notice()
        self.recovery = RecoveryPanel(napari_viewer)
        self.recovery.said.connect(self.notice.say)
        self.body.addWidget(self.recovery)

        buttons = QHBoxLayout()
        self.open_button = QPushButton("Open folder…")
        self.open_button.setToolTip(
            "<p>Choose the folder of a data set: one with a dataset.yaml, with imagesTr and labelsTr, images and labels, Img and Mask, or "
            "scans with masks beside them. A folder can also be dropped here.</p>"
        )
        self.open_button.clicked.connect(self._choose_folder)
        self.sample_button = QPushButton("Sample data")
        self.sample_button.setToolTip("<p>Open a small data set of phantoms that comes with the program, to try things.</p>")
        self.sample_button.clicked.connect(lambda: self.open(dataset_folder()))
        buttons.addWidget(self.open_button)
        buttons.addWidget(self.sample_button)
        self.body.addLayout(buttons)
        self.body.addWidget(self._other_ways())
        self.layers = LayerPairs(napari_viewer)
        self.layers.chosen.connect(self._save_layers)
        self.body.addWidget(self.layers)

        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.body.addWidget(self.summary)
        self.body.addWidget(self.notice)
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._model.cancel)
        self.body.addWidget(self.progress)

        self.cases = CaseTable()
        self.table = self.cases.table
        self.body.addWidget(self.cases, 1)
        self.cases.looked.connect(self._show)
        self.cases.placed.connect(self._model.set_place)
        self.cases.paired.connect(self._pair)
        self.cases.unpaired.connect(self._model.unpair)
        self.cases.excluded.connect(self._model.exclude)
        self.cases.included.connect(self._model.include)

        self.split = SplitForm()
        self.split.drawn.connect(lambda: self._model.make_split(self.split.wish))
        self.split.testDrawn.connect(lambda share: self._model.draw_test(share, self.split.wish))
        self.split.frozen.connect(self._freeze)
        self.split.unfrozen.connect(self._unfreeze)
        self.body.addWidget(self.split)
        self.findings = FindingsList()
        self.findings.mended.connect(self._model.apply)
        self.findings.pointed.connect(lambda case: self.cases.choose([case]))
        self.body.addWidget(self.findings)

        self.unsaved = Notice()
        self.body.addWidget(self.unsaved)
        keeping = QHBoxLayout()
        self.save_button = QPushButton("Save data set")
        self.save_button.setToolTip(
            "<p>Write dataset.yaml: pairs, subjects, sets, and what is left out. Training takes it from there. The scans stay as they "
            "are.</p>"
        )
        self.save_button.clicked.connect(self._save)
        self.report_button = QPushButton("Save report…")
        self.report_button.setToolTip("<p>Write what the check found as a page (HTML) with pictures, to hand to a colleague.</p>")
        self.report_button.clicked.connect(self._save_report)
        keeping.addWidget(self.save_button)
        keeping.addWidget(self.report_button)
        self.body.addLayout(keeping)

        self._model.changed.connect(self._synchronise)
        self._model.progressed.connect(lambda done, total: self.progress.step(f"{self._model.doing}:", done, total))
        self._model.caseShown.connect(self._case_shown)
        self._synchronise()

    def _other_ways(self) -> Folded:
        elsewhere = Folded(
            "Other ways to open", "For masks that lie elsewhere, and for data sets that a file describes instead of a folder."
        )
        row = QHBoxLayout()
        self.masks_label = QLabel("none")
        masks_button = QPushButton("Masks folder…")
        masks_button.setToolTip(
            "<p>Only needed when the masks are neither in the data set's folder nor beside the images: choose their folder, then open "
            "the folder of the images.</p>"
        )
        masks_button.clicked.connect(self._choose_masks)
        clear = QToolButton()
        clear.setText("✕")
        clear.setToolTip("Look for the masks in the data set again")
        clear.clicked.connect(lambda: self._set_masks(None))
        row.addWidget(masks_button)
        row.addWidget(self.masks_label, 1)
        row.addWidget(clear)
        elsewhere.rows.addLayout(row)
        file_button = QPushButton("Open dataset.yaml or list…")
        file_button.setToolTip("<p>Open a dataset.yaml, or a CSV with the columns image and mask (and case, subject, set).</p>")
        file_button.clicked.connect(self._choose_description)
        elsewhere.rows.addWidget(file_button)
        return elsewhere

    # -- what the user wants -------------------------------------------------------------------------------------------------------

    def open(self, folder: Path) -> None:
        """Open a data set; asks first when that would lose changes."""
        if self._model.is_changed and not self._agrees(
            "Unsaved changes", "What you changed in the data set that is open is not saved. Open another one and lose it?"
        ):
            return
        self._model.open(folder, self._masks if folder.suffix.lower() not in _DESCRIPTIONS else None)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take folders, dataset.yaml and lists."""
        if any(_can_open(Path(url.toLocalFile())) for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped."""
        found = [Path(url.toLocalFile()) for url in event.mimeData().urls() if _can_open(Path(url.toLocalFile()))]
        self.open(found[0])
        event.acceptProposedAction()

    def _choose_folder(self) -> None:
        folder = choose_folder(self, "Open a data set")
        if folder is not None:
            self.open(folder)

    def _choose_description(self) -> None:
        file = choose_file(self, "Open a data set", "Data sets (*.yaml *.yml *.csv)")
        if file is not None:
            self.open(file)

    def _choose_masks(self) -> None:
        self._set_masks(choose_folder(self, "Folder of the masks") or self._masks)

    def _set_masks(self, folder: Path | None) -> None:
        self._masks = folder
        self.masks_label.setText(folder.name if folder else "none")
        self.masks_label.setToolTip(str(folder) if folder else "")

    def _show(self, case: Case) -> None:
        self.notice.say(f"{_READING} {case.id}…")
        self._model.show_case(case)

    def _pair(self, case: str, mask: Path | None) -> None:
        mask = mask or choose_file(self, f"Mask of {case}", _MASKS)
        if mask is not None:
            self._model.pair(case, mask)

    def _freeze(self) -> None:
        if self._agrees(
            "Freeze the test set",
            "Freeze the test set? From then on every training refuses its scans, so that models can be compared by them. Its scans are "
            "read for that.",
        ):
            self._model.freeze_test()

    def _unfreeze(self) -> None:
        if self._agrees(
            "Unfreeze the test set",
            "Let the test set be changed? Results before and after can then no longer be compared, and a model that was trained on some "
            "of these scans looks better than it is.",
        ):
            self._model.unfreeze_test()

    def _save(self) -> None:
        dataset = self._model.dataset
        if dataset is None or dataset.file is not None:
            self._model.save()
            return
        chosen = choose_new_file(self, "Save the data set", str(dataset.root / FILE_NAME), ["Data set (*.yaml)"])
        if chosen is not None:
            self._model.save(chosen[0])

    def _save_report(self) -> None:
        dataset = self._model.dataset
        chosen = choose_new_file(
            self, "Save the report", f"{dataset.name if dataset else 'data set'} report.html", ["Page (*.html)"]
        )
        if chosen is not None:
            self._model.save_report(chosen[0])

    def _save_layers(self, pairs: list[LayerPair]) -> None:
        folder = choose_folder(self, "A new or empty folder for the data set")
        if folder is not None:
            self._model.open_layers(pairs, folder)

    def _agrees(self, title: str, question: str) -> bool:
        return bool(QMessageBox.question(self, title, question) == QMessageBox.StandardButton.Yes)

    # -- what there is to see ------------------------------------------------------------------------------------------------------

    def _synchronise(self) -> None:
        """Show what the model holds now."""
        model, report, dataset = self._model, self._model.report, self._model.dataset
        if model.job is not None:
            self.progress.begin(f"{model.doing}…")
        else:
            self.progress.hide()
        if model.error is not None:
            self.notice.say_error(model.error)
        elif model.done:
            self.notice.say(model.done)
        else:
            self.notice.say("")
        self.unsaved.say("Not saved yet: training takes what is saved." if model.is_changed else "", "warning")
        found = report.findings if report else dataset.problems if dataset else ()
        # While the check goes on pairs can be changed; while something is written about them they cannot.
        is_free = dataset is not None and (model.job is None or model.doing == "Checking")
        self.summary.setText(_summary(dataset, report))
        self.summary.setToolTip(str(model.folder or ""))
        self.cases.show_dataset(dataset, found, is_free)
        self.findings.show_findings(found, report is not None and model.job is None)
        self.split.setVisible(dataset is not None)
        presence = presence_of(report.facts) if report else {}
        labels = report.dataset.labels if report else {}
        self.split.show_split(model.split, dataset, presence, labels, report is not None and model.job is None)
        self.save_button.setEnabled(is_free)
        self.save_button.setText("Save data set" if dataset is None or dataset.file is not None else "Save data set…")
        self.report_button.setEnabled(report is not None)
        for button in (self.save_button, self.report_button):
            button.setVisible(dataset is not None)

    def _case_shown(self, case: Case, error: Seg3dError | None, kept: list[str]) -> None:
        if error is not None:
            self.notice.say_error(error)
        elif kept:
            self.notice.say(
                f"You changed {', '.join(kept)} and did not save it: it stays in the list of layers, hidden.", "warning"
            )
        elif self.notice.text().startswith(_READING):
            self.notice.say("")


def _summary(dataset: Dataset | None, report: Report | None) -> str:
    if dataset is None:
        return "Open a folder of scans and masks, or try the sample data."
    ready = f", <b>{len(report.sound)} ready to train on</b>" if report else ""
    out = f", {len(dataset.excluded)} left out" if dataset.excluded else ""
    named = sorted((report.dataset if report else dataset).labels.items())
    labels = ", ".join(f"{name} ({value})" for value, name in named[:8]) + (
        f" and {len(named) - 8} more" if len(named) > 8 else ""
    )
    subjects = len({case.subject for case in dataset.cases})
    return (
        f"<b>{dataset.name}</b>: {len(dataset.cases)} cases of {subjects} subjects, {len(dataset.pairs)} with a mask{out}{ready}."
        + (f"<br>Labels: {labels}" if labels else "")
    )


def _can_open(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in _DESCRIPTIONS
