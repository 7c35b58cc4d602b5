"""The Train dock: start a run with one button, watch it learn, stop and keep."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QMessageBox, QPlainTextEdit, QPushButton

from napari_seg3d.errors import Seg3dError
from napari_seg3d.training import Run, TrainConfig, find_runs
from napari_seg3d.viewer.session import session_of
from napari_seg3d.widgets.config_form import ConfigForm
from napari_seg3d.widgets.curves import Curves
from napari_seg3d.widgets.parts import Dock, Folded, Notice, ProgressRow, choose_file, choose_new_file, duration

if TYPE_CHECKING:
    from napari import Viewer

_STATES = {
    "starting": "Starting…",
    "preparing": "Preparing",
    "training": "Training",
    "validating": "Validating",
    "finished": "Finished",
    "stopped": "Stopped",
    "failed": "Failed",
    "died": "Ended without a word",
}
_MOST_RUNS = 30
_MOST_LOG_LINES = 500
_MOST_LABELS = 8  # with a curve and a number each; of more, the mean tells
_START, _STOP = "Start training", "Stop and keep"


class TrainDock(Dock):
    """Starts and follows training runs.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer in which the validation case appears.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Train")
        session = session_of(napari_viewer)
        session.add_dock(self)
        self._data, self._watch, self._preview = session.data, session.watch, session.preview
        self._recipe = session.transforms.recipe

        self.data_label = QLabel()
        self.data_label.setWordWrap(True)
        self.body.addWidget(self.data_label)
        self.form = ConfigForm(TrainConfig.parse({"data": {"images": "."}}))
        self.body.addWidget(self.form)
        files = QHBoxLayout()
        for text, tooltip, action in (
            (
                "Load settings…",
                "Take all settings from a YAML file, such as the run.yaml of an earlier run.",
                self._load_settings,
            ),
            ("Save settings…", "Write the settings to a YAML file, for the command line or a colleague.", self._save_settings),
        ):
            button = QPushButton(text)
            button.setToolTip(f"<p>{tooltip}</p>")
            button.clicked.connect(action)
            files.addWidget(button)
        self.form.more.rows.addLayout(files)

        buttons = QHBoxLayout()
        self.start_button = QPushButton(_START)
        self.start_button.clicked.connect(self._start_or_stop)
        self.kill_button = QPushButton("Kill")
        self.kill_button.setToolTip(
            "<p>End the training process at once. Only what the last validation saved is kept; Stop and keep loses nothing.</p>"
        )
        self.kill_button.clicked.connect(self._kill)
        buttons.addWidget(self.start_button, 1)
        buttons.addWidget(self.kill_button)
        self.body.addLayout(buttons)
        self.notice = Notice()
        self.body.addWidget(self.notice)

        self.progress = ProgressRow(cancel=False)
        self.body.addWidget(self.progress)
        self.state_label = QLabel()
        self.state_label.setWordWrap(True)
        self.body.addWidget(self.state_label)
        self.curves = Curves()
        self.body.addWidget(self.curves)
        self.preview_box = QCheckBox("Show the validation case")
        self.preview_box.setToolTip(
            "<p>Shows one case that the network does not train on: its mask as an outline, the prediction filled, redrawn after each "
            "validation.</p>"
        )
        self.preview_box.setChecked(self._preview.is_on)
        self.preview_box.toggled.connect(self._preview.set_on)
        self.body.addWidget(self.preview_box)

        runs = QHBoxLayout()
        self.runs = QComboBox()
        self.runs.setToolTip("<p>The runs on this machine, newest first. Choose one to see its curves.</p>")
        self.runs.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.runs.setMinimumContentsLength(12)
        self.runs.activated.connect(self._choose_run)
        self.folder_button = QPushButton("Open folder")
        self.folder_button.setToolTip("<p>Open the folder of this run: checkpoints, settings, metrics and log.</p>")
        self.folder_button.clicked.connect(self._open_folder)
        runs.addWidget(QLabel("Run"))
        runs.addWidget(self.runs, 1)
        runs.addWidget(self.folder_button)
        self.body.addLayout(runs)

        log = Folded("Log", "What the run said, in order.")
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(_MOST_LOG_LINES)
        self.log.setMinimumHeight(140)
        log.rows.addWidget(self.log)
        self.body.addWidget(log)
        self.body.addStretch(1)

        self._best: dict[str, Any] | None = None
        self._labels: dict[str, int] = {}
        self.form.valueChanged.connect(self._enable)
        self._data.changed.connect(self._show_data)
        self._watch.runChanged.connect(self._show_run)
        self._watch.eventsArrived.connect(self._take)
        self._watch.statusChanged.connect(self._show_status)
        self._preview.failed.connect(self.notice.say_error)
        self._recipe.configChanged.connect(self._take_steps)
        self._take_steps()
        self._watch.find_again()
        self._show_data()
        self._show_run()

    # -- what the user wants -------------------------------------------------------------------------------------------------------

    def _start_or_stop(self) -> None:
        if self._watch.run is not None and self._watch.is_running:
            try:
                self._watch.run.stop()
            except Seg3dError as error:
                self.notice.say_error(error)
                return
            self.start_button.setEnabled(False)
            self.start_button.setText("Stopping…")
            return
        try:
            self._watch.start(self.form.value())
        except Seg3dError as error:
            self.notice.say_error(error)

    def _kill(self) -> None:
        answer = QMessageBox.question(
            self, "Kill the training", "End the process at once and keep only what the last validation saved?"
        )
        if answer == QMessageBox.StandardButton.Yes and self._watch.run is not None:
            self._watch.run.kill()

    def _load_settings(self) -> None:
        path = choose_file(self, "Load settings", "Settings (*.yaml *.yml)")
        if path is None:
            return
        try:
            self.use_settings(TrainConfig.from_yaml(path))
        except Seg3dError as error:
            self.notice.say_error(error)

    def use_settings(self, config: TrainConfig) -> None:
        """Fill the form, and open the data set that the settings were made for."""
        self.notice.say("")
        self.form.setValue(config)
        if self._data.folder != config.data.images or self._data.masks != config.data.masks:
            self._data.open(config.data.images, config.data.masks)

    def _take_steps(self) -> None:
        """Take the steps that the Transforms dock hands over."""
        try:
            now, steps = self.form.value(), self._recipe.config.transforms
            if now.transforms != steps:
                self.form.setValue(now.with_values({f"transforms.{name}": value for name, value in steps}))
        except Seg3dError as error:
            self.notice.say_error(error)

    def _save_settings(self) -> None:
        chosen = choose_new_file(self, "Save settings", "settings.yaml", ["Settings (*.yaml)"])
        if chosen is not None:
            try:
                self.form.value().save(chosen[0])
            except Seg3dError as error:
                self.notice.say_error(error)

    def _choose_run(self, index: int) -> None:
        self._watch.follow(Run(Path(self.runs.itemData(index))))

    def _open_folder(self) -> None:
        if self._watch.run is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._watch.run.folder)))

    # -- what there is to see ------------------------------------------------------------------------------------------------------

    def _show_data(self) -> None:
        folder, report = self._data.folder, self._data.report
        if folder is None:
            self.data_label.setText("Open a data set in the Data dock first.")
        else:
            ready = f"{len(report.sound)} cases ready" if report else "being checked…"
            name = self._data.dataset.name if self._data.dataset is not None else folder.name
            changed = (
                ", but the data set has changes that are not saved: save it in the Data dock first"
                if self._data.is_changed
                else ""
            )
            self.data_label.setText(f"Train on <b>{name}</b>: {ready}{changed}")
            try:
                images, masks = str(folder), str(self._data.masks) if self._data.masks else None
                self.form.setValue(self.form.value().with_values({"data.images": images, "data.masks": masks}))
            except Seg3dError:
                pass  # a setting is being typed; the form shows which, and Start waits for it
        self._enable()

    def _enable(self) -> None:
        running = self._watch.is_running
        asked = running and self._watch.run is not None and self._watch.run.stop_asked()
        self.start_button.setText("Stopping…" if asked else _STOP if running else _START)
        self.start_button.setToolTip(
            "<p>Ends the training after this step, judges the model once more and keeps it.</p>"
            if running
            else "<p>Trains in the background with the settings above. The viewer stays free, and may be closed.</p>"
        )
        self.kill_button.setVisible(running)
        if running:
            self.start_button.setEnabled(not asked)
            return
        try:
            self._recipe.set_config(self.form.value())
            usable = True
        except Seg3dError:
            usable = False
        checked = self._data.report is not None and bool(self._data.report.sound)
        self.start_button.setEnabled(usable and checked and not self._data.is_changed)
        if self._data.is_changed:
            self.start_button.setToolTip("<p>Save the data set in the Data dock first: training takes what is saved.</p>")
        if not checked:
            self.start_button.setToolTip("<p>Open a data set with masks in the Data dock first.</p>")

    def _show_run(self) -> None:
        run = self._watch.run
        self.curves.clear()
        self.log.clear()
        self.notice.say("")
        self.progress.hide()
        self.state_label.setText("")
        self._best, self._labels = None, {}
        visible = run is not None
        for widget in (self.curves, self.preview_box, self.folder_button):
            widget.setVisible(visible)
        self._fill_runs()
        self._take(self._watch.events)
        self._show_status()

    def _fill_runs(self) -> None:
        self.runs.clear()
        known = find_runs()[:_MOST_RUNS]
        current = self._watch.run
        if current is not None and current not in known:
            known.insert(0, current)
        for run in known:
            self.runs.addItem(run.name, str(run.folder))
        self.runs.setCurrentIndex(known.index(current) if current is not None else -1)
        self.runs.setPlaceholderText("none is shown" if known else "no run yet")

    def _show_status(self) -> None:
        status = self._watch.status
        if self._watch.run is None:
            self._enable()
            return
        if status.ended:
            self.progress.hide()
            kind = "info" if status.state in ("finished", "stopped") else "error"
            self.notice.say(status.message, kind)
        elif not self.progress.isVisible():
            self.progress.begin(_STATES[status.state])
        self._show_best()
        self._enable()

    def _show_best(self) -> None:
        if self._best is None:
            return
        known = [f"{name} {dice:.3f}" for name, dice in self._best["dice"].items() if dice is not None]
        labels = ", ".join(known[:_MOST_LABELS]) + (f" and {len(known) - _MOST_LABELS} more" if len(known) > _MOST_LABELS else "")
        self.state_label.setText(
            f"Best Dice <b>{self._best['mean_dice']:.3f}</b> on {len(self._best['cases'])} validation cases, epoch {self._best['epoch']:g}"
            f"<br>{labels}"
        )

    def _take(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            match event["kind"]:
                case "plan":
                    self._labels = {name: int(value) for value, name in event["labels"].items()}
                case "progress":
                    self.progress.show_share(
                        f"{event['what']}: {event['done']} of {event['total']}", event["done"], event["total"]
                    )
                case "step":
                    self._take_step(event)
                case "validation":
                    self._take_validation(event)
            line = _line(event)
            if line:
                self.log.appendPlainText(f"{time.strftime('%H:%M:%S', time.localtime(event['time']))} {line}")
        self.curves.redraw()

    def _take_step(self, event: dict[str, Any]) -> None:
        self.curves.add_loss(event["epoch"], event["loss"])
        total = event["elapsed"] + event["seconds_left"]
        text = f"Epoch {event['epoch']:.1f}, {event['iterations_per_second']:.1f} steps a second, {duration(event['seconds_left'])} left"
        self.progress.show_share(text, event["elapsed"], total)

    def _take_validation(self, event: dict[str, Any]) -> None:
        many = len(event["dice"]) > 1
        for name, dice in event["dice"].items():
            if dice is not None and len(event["dice"]) <= _MOST_LABELS:
                self.curves.add_dice(event["epoch"], name, dice, self._labels.get(name))
        if event["mean_dice"] is not None:
            if many:
                self.curves.add_dice(event["epoch"], "mean", event["mean_dice"], None)
            if event["best"]:
                self._best = event
        self._show_best()


def _line(event: dict[str, Any]) -> str:
    kind = event["kind"]
    if kind == "state":
        return " ".join(str(event[name]) for name in ("state", "message", "fix") if event.get(name))
    if kind == "plan":
        sides = " x ".join(map(str, event["patch_size"]))
        return (
            f"{event['train_cases']} cases train, {event['validation_cases']} validate; {event['device']}, {event['precision']}; "
            f"patch {sides}, {event['batch_size']} per step"
        )
    if kind == "validation" and event["mean_dice"] is not None:
        return f"epoch {event['epoch']:g}: Dice {event['mean_dice']:.4f}{' (best so far)' if event['best'] else ''}"
    if kind == "warning":
        return f"Warning: {event['message']} {event['fix']}"
    return ""
