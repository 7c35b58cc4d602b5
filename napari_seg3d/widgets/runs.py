"""The Runs dock: compare runs, go through the epochs of one with the mouse, and go on from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QUrl
from qtpy.QtGui import QAction, QDesktopServices, QGuiApplication, QShowEvent
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QMenu, QMessageBox, QPushButton, QToolButton

from napari_seg3d.errors import Seg3dError
from napari_seg3d.training import Run, TrainConfig
from napari_seg3d.training.runs.history import LABEL_QUANTITIES, CurveKey, RunHistory
from napari_seg3d.training.runs.settings import config_differences
from napari_seg3d.viewer.session import session_of
from napari_seg3d.widgets.epoch_slider import EpochSlider
from napari_seg3d.widgets.parts import Dock, Notice, choose_folder, choose_new_file, dock_beside
from napari_seg3d.widgets.predict import PredictDock
from napari_seg3d.widgets.run_curves import NamedCurve, RunCurves
from napari_seg3d.widgets.run_details import CaseScores, Differences
from napari_seg3d.widgets.run_table import COLOURS, RunTable, size_in_words
from napari_seg3d.widgets.train import TrainDock

if TYPE_CHECKING:
    from napari import Viewer

    from napari_seg3d.inference.export import Format

_QUANTITIES = {
    "loss": "Loss",
    "learning rate": "Learning rate",
    "score": "Score",
    "dice": "Dice",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "tp": "Found, % of voxels",
    "fn": "Missed, % of voxels",
    "fp": "Too much, % of voxels",
}
_SHARES = ("score", "dice", "precision", "recall", "f1")  # between 0 and 1
_MOST_COMPARED = 12
_EXPORTS: dict[str, Format] = {"Model, for napari-seg3d (*.pt)": "model", "ONNX (*.onnx)": "onnx", "OpenVINO (*.xml)": "openvino"}


class RunsDock(Dock):
    """Lists and compares runs, and shows what they predicted.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Where the predictions appear.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Runs")
        self._viewer = napari_viewer
        session = session_of(napari_viewer)
        session.add_dock(self)
        self._model, self._epochs, self._watch = session.runs, session.epochs, session.watch
        self._is_watching = False
        self._focus: Run | None = None  # whose epochs are looked at, of those that are compared
        self._offered: list[CurveKey] = []

        where = QHBoxLayout()
        self.where = QLabel()
        self.where.setMinimumWidth(1)
        self.folder_button = QPushButton("Look elsewhere…")
        self.folder_button.setToolTip(
            "<p>Look for runs in another folder, too, such as one that was copied from another machine: in it, and two levels below.</p>"
        )
        self.folder_button.clicked.connect(self._choose_folder)
        where.addWidget(self.where, 1)
        where.addWidget(self.folder_button)
        self.body.addLayout(where)
        self.table = RunTable()
        self.body.addWidget(self.table)
        self.body.addLayout(self._make_buttons())
        self.notice = Notice()
        self.body.addWidget(self.notice)

        self.metrics = QComboBox()
        self.metrics.setToolTip("<p>What the curves show. Dice and the like are those of whole validation scans.</p>")
        self.metrics.activated.connect(self._show_curves)
        row = QHBoxLayout()
        row.addWidget(QLabel("Curve"))
        row.addWidget(self.metrics, 1)
        self.body.addLayout(row)
        self.curves = RunCurves()
        self.curves.epochWanted.connect(self._go_to_epoch)
        self.curves.stepWanted.connect(self._epochs.step)
        self.body.addWidget(self.curves)
        self.slider = EpochSlider(self._epochs)
        self.body.addWidget(self.slider)
        self.cases_label = QLabel()
        self.cases_label.setWordWrap(True)
        self.body.addWidget(self.cases_label)
        self.cases = CaseScores()
        self.cases.caseWanted.connect(self._epochs.show_case)
        self.body.addWidget(self.cases)
        self.differences_label = QLabel()
        self.differences_label.setWordWrap(True)
        self.body.addWidget(self.differences_label)
        self.differences = Differences()
        self.body.addWidget(self.differences)
        self.body.addStretch(1)

        self.table.chosen.connect(self._choose)
        self._model.changed.connect(self._show_runs)
        self._model.comparedChanged.connect(self._show_compared)
        self._model.failed.connect(self.notice.say_error)
        self._model.done.connect(self.notice.say)
        self._epochs.changed.connect(self._show_epoch)
        self._epochs.failed.connect(self.notice.say_error)
        session.preview.failed.connect(self.notice.say_error)
        self._show_runs()
        self.table.choose([history.run for history in self._model.compared])
        self._show_compared()

    def showEvent(self, event: QShowEvent) -> None:
        """Keep up to date while it is seen, and leave the disk alone while it is not."""
        super().showEvent(event)
        self._model.set_watched(True)
        frame = self.frame()
        if frame is not None and not self._is_watching:
            self._is_watching = True
            # Behind another tab a dock is visible to Qt.
            frame.visibilityChanged.connect(self._model.set_watched)

    # -- what the user wants -------------------------------------------------------------------------------------------------------

    def _make_buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.predict_button = QPushButton("Predict with it")
        self.predict_button.setToolTip("<p>Takes the best model of this run to the Predict dock.</p>")
        self.predict_button.clicked.connect(self._open_model)
        self.resume_button = QPushButton("Resume")
        self.resume_button.setToolTip(
            "<p>Goes on with a run that was stopped or broke off, exactly from its last saved state, in the same folder.</p>"
        )
        self.resume_button.clicked.connect(self._resume)
        self.more_button = QToolButton()
        self.more_button.setText("More")
        self.more_button.setStyleSheet("QToolButton { padding: 4px 16px 4px 8px; }")  # room for the arrow of the menu
        self.more_button.setToolTip("<p>What else can be done with the chosen run.</p>")
        self.more_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.more_button)
        menu.setToolTipsVisible(True)
        self.more_button.setMenu(menu)
        self.actions: dict[str, QAction] = {}
        for name, text, tooltip, slot in (
            ("follow", "Show in the Train dock", "Its curves, its log, and Stop, Pause and Kill while it trains.", self._follow),
            (
                "continue",
                "Continue from this model",
                "Fills the Train dock with the settings of this run, to start from the weights of its best model.",
                self._continue_from,
            ),
            ("settings", "Use its settings", "Fills the Train dock with the settings of this run.", self._use_settings),
            (
                "export",
                "Export model…",
                "Writes the best model as one file, or its network as ONNX or for OpenVINO.",
                self._export,
            ),
            ("folder", "Open folder", "Checkpoints, settings, metrics and log, as plain files.", self._open_folder),
            (
                "tensorboard",
                "TensorBoard",
                "Copies the command that shows the chosen runs in TensorBoard.",
                self._say_tensorboard,
            ),
            ("delete", "Delete…", "Deletes the folders of the chosen runs, with their models, after asking.", self._delete),
        ):
            action = menu.addAction(text)
            action.setToolTip(tooltip)
            action.triggered.connect(self._careful(slot))
            self.actions[name] = action
        for button in (self.predict_button, self.resume_button):
            row.addWidget(button, 1)
        row.addWidget(self.more_button)
        return row

    def _careful(self, slot: Callable[[], None]) -> Callable[[], None]:
        def act() -> None:
            try:
                slot()
            except Seg3dError as error:
                self.notice.say_error(error)

        return act

    def _choose_folder(self) -> None:
        folder = choose_folder(self, "Look for runs in a folder")
        if folder is not None:
            self.look_in(folder)

    def look_in(self, folder: Path) -> None:
        """List the runs in a folder, too."""
        self._model.look_in(folder)
        self._show_runs()

    def _choose(self, runs: Sequence[Run]) -> None:
        self.notice.say("")
        # In the order in which they were chosen, so that a run keeps its colour when another one joins.
        before = [history.run for history in self._model.compared if history.run in runs]
        chosen = [*before, *(run for run in runs if run not in before)][:_MOST_COMPARED]
        self._focus = self._focus if self._focus in chosen else chosen[0] if chosen else None
        self._model.choose(chosen)
        self._enable()

    def _chosen(self) -> RunHistory:
        """Return the one run that is chosen; whoever calls it is enabled only then."""
        (run,) = self.table.chosen_runs()
        return next(history for history in self._model.histories if history.run == run)

    def _open_model(self) -> None:
        dock = dock_beside(self, self._viewer, PredictDock, "Predict")
        dock.add_model(self._chosen().run.best)
        dock.come_forward()

    def _resume(self) -> None:
        self._model.resume(self._chosen().run)

    def _follow(self) -> None:
        dock = dock_beside(self, self._viewer, TrainDock, "Train")
        self._watch.follow(self._chosen().run)
        dock.come_forward()

    def _use_settings(self) -> None:
        self._fill_train_dock(self._chosen().run.config())

    def _continue_from(self) -> None:
        run = self._chosen().run
        self._fill_train_dock(run.config().with_values({"network.pretrained": str(run.best)}))

    def _fill_train_dock(self, config: TrainConfig) -> None:
        dock = dock_beside(self, self._viewer, TrainDock, "Train")
        dock.use_settings(config)
        dock.come_forward()

    def _export(self) -> None:
        run = self._chosen().run
        chosen = choose_new_file(self, "Export the model", f"{run.name}.pt", list(_EXPORTS))
        if chosen is not None:
            path, kind = chosen
            self._model.export(run, path, _EXPORTS[kind])

    def _open_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._chosen().run.folder)))

    def _say_tensorboard(self) -> None:
        runs = self.table.chosen_runs()
        boards = {run.name: run.folder / "tensorboard" for run in runs}
        if len(boards) == 1:
            command = f'tensorboard --logdir "{next(iter(boards.values()))}"'
        else:
            command = f'tensorboard --logdir_spec "{",".join(f"{name}:{path}" for name, path in boards.items())}"'
        QGuiApplication.clipboard().setText(command)
        self.notice.say(f"Copied; paste it into a terminal: {command}")

    def _delete(self) -> None:
        runs = self.table.chosen_runs()
        size = sum(history.size for history in self._model.histories if history.run in runs)
        what = f"the run {runs[0].name}" if len(runs) == 1 else f"{len(runs)} runs"
        answer = QMessageBox.question(
            self, "Delete runs", f"Delete {what}, with the models ({size_in_words(size)})? This cannot be undone."
        )
        if answer == QMessageBox.StandardButton.Yes:
            self._model.delete(runs)

    # -- what there is to see ------------------------------------------------------------------------------------------------------

    def _show_runs(self) -> None:
        folder, count = self._model.folder, len(self._model.histories)
        runs = "1 run" if count == 1 else f"{count or 'no'} runs"
        self.where.setText(f"{runs} on this machine" + (f" and in {folder.name}" if folder is not None else ""))
        self.where.setToolTip(str(folder) if folder is not None else "")
        self.table.show_runs(self._model.histories)
        self._enable()

    def _enable(self) -> None:
        chosen = set(self.table.chosen_runs())
        histories = [history for history in self._model.histories if history.run in chosen]
        one = histories[0] if len(histories) == 1 else None
        has_model = one is not None and one.run.best.exists()
        self.predict_button.setEnabled(has_model)
        self.resume_button.setEnabled(one is not None and one.run.can_resume_after(one.status))
        for name, is_enabled in {
            "follow": one is not None,
            "continue": has_model,
            "export": has_model,
            "settings": one is not None,
            "folder": one is not None,
            "tensorboard": bool(histories),
            "delete": bool(histories) and all(history.status.ended for history in histories),
        }.items():
            self.actions[name].setEnabled(is_enabled)
        self.more_button.setEnabled(bool(histories))

    def _show_compared(self) -> None:
        compared = self._model.compared
        runs = [history.run for history in compared]
        self.table.paint(runs)
        self._fill_metrics()
        self._show_curves()
        self._epochs.look_at(next((history for history in compared if history.run == self._focus), None))
        rows = config_differences([history.settings for history in compared])
        several = len(compared) > 1
        self.differences_label.setText("Settings that differ" if rows else "These runs have the same settings.")
        self.differences_label.setVisible(several)
        self.differences.setVisible(several and bool(rows))
        if rows:
            self.differences.show_differences(rows, [run.name for run in runs], [_colour(place) for place in range(len(runs))])

    def _fill_metrics(self) -> None:
        keys = {key._replace(stage="") for history in self._model.compared for key in history.curves}
        labels = list(dict.fromkeys(name for history in self._model.compared for name in history.labels.values()))
        labels += sorted({key.label for key in keys} - {*labels, ""})
        ordered = [CurveKey("loss"), CurveKey("learning rate"), CurveKey("score")]
        ordered += [CurveKey(quantity, label) for quantity in LABEL_QUANTITIES for label in ("", *labels)]
        offered = [key for key in ordered if key in keys]
        if offered == self._offered:
            return
        chosen = self._metric() or CurveKey("dice")
        self._offered = offered
        self.metrics.clear()
        for key in offered:
            mean = "mean" if key.quantity in LABEL_QUANTITIES else ""
            self.metrics.addItem(" · ".join(filter(None, (_QUANTITIES[key.quantity], key.label or mean))))
        self.metrics.setCurrentIndex(offered.index(chosen) if chosen in offered else 0 if offered else -1)

    def _metric(self) -> CurveKey | None:
        row = self.metrics.currentIndex()
        return self._offered[row] if row >= 0 else None

    def _show_curves(self) -> None:
        key = self._metric()
        if key is None:
            self.curves.show_curves("", [])
            return
        curves = []
        for place, history in enumerate(self._model.compared):
            stages = [found.stage for found in history.curves if found[:2] == key[:2]]
            for line, stage in enumerate(reversed(stages)):
                name = f"{history.run.name} {stage if len(stages) > 1 else ''}".strip()
                curves.append(NamedCurve(place, name, _colour(place), line, history.curves[key._replace(stage=stage)]))
        self.curves.show_curves(_QUANTITIES[key.quantity], curves, (0, 1) if key.quantity in _SHARES else None)

    def _go_to_epoch(self, place: int, epoch: float) -> None:
        compared = self._model.compared
        if place < len(compared):
            self._focus = compared[place].run
            if self._epochs.history is not compared[place]:
                self._epochs.look_at(compared[place])
            self._epochs.go_to_epoch(epoch)

    def _show_epoch(self) -> None:
        history, shown, validation = self._epochs.history, self._epochs.shown, self._epochs.validation
        self.curves.show_marker(shown.epoch if shown is not None else None)
        visible = history is not None and validation is not None and bool(validation.cases)
        self.cases_label.setVisible(visible)
        self.cases.setVisible(visible)
        if history is None or validation is None:
            return
        of = f" of {history.run.name}" if len(self._model.compared) > 1 else ""
        self.cases_label.setText(f"Validation cases{of} at epoch {validation.epoch:g}, the worst first")
        self.cases.show_scores(validation.cases, history.shown_cases, shown.case if shown is not None else "")


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
