"""The Train dock: start a run with one button, watch it learn, pause it, stop and keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton

from napari_seg3d.errors import Seg3dError
from napari_seg3d.training import Run, TrainConfig, find_runs
from napari_seg3d.viewer.preset_choice import with_choice
from napari_seg3d.viewer.session import session_of
from napari_seg3d.widgets.cockpit import Cockpit
from napari_seg3d.widgets.config_form import ConfigForm
from napari_seg3d.widgets.parts import Dock, Notice, choose_file, choose_new_file
from napari_seg3d.widgets.plan_panel import PlanPanel
from napari_seg3d.widgets.preset_row import PresetRow
from napari_seg3d.widgets.preview_row import PreviewRow
from napari_seg3d.widgets.run_buttons import RunButtons

if TYPE_CHECKING:
    from napari import Viewer

_MOST_RUNS = 30


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
        self._data, self._watch, self._plan = session.data, session.watch, session.plan
        self._recipe = session.transforms.recipe

        self.data_label = QLabel()
        self.data_label.setWordWrap(True)
        self.body.addWidget(self.data_label)
        self.presets = PresetRow()
        self.body.addWidget(self.presets)
        # As the dock was left, if it was open before.
        config = self._recipe.config
        self.form = ConfigForm(config)
        if config != config.with_defaults():
            self.presets.forget()
        self.form.more.rows.addLayout(self._file_buttons())
        self.body.addWidget(self.form)
        self.plan = PlanPanel(self._plan)
        self.body.addWidget(self.plan)
        self.buttons = RunButtons(self._watch)
        self.start_button, self.kill_button = self.buttons.start, self.buttons.kill
        self.pause_button, self.queue_button = self.buttons.pause, self.buttons.queue
        self.body.addWidget(self.buttons)
        self.notice = Notice()
        self.body.addWidget(self.notice)
        self.cockpit = Cockpit()
        self.body.addWidget(self.cockpit)
        self.preview = PreviewRow(session.preview)
        self.body.addWidget(self.preview)
        self.body.addLayout(self._run_row())
        self.body.addStretch(1)

        self.presets.chosen.connect(self._take_preset)
        self.form.valueChanged.connect(self._settings_changed)
        self.plan.wanted.connect(self._make_plan)
        self.plan.taken.connect(self._take_settings)
        self.buttons.wanted.connect(self._start)
        self.buttons.failed.connect(self.notice.say_error)
        self._data.changed.connect(self._show_data)
        self._watch.runChanged.connect(self._show_run)
        self._watch.eventsArrived.connect(self._take)
        self._watch.statusChanged.connect(self._show_status)
        session.preview.failed.connect(self.notice.say_error)
        self._recipe.configChanged.connect(self._take_steps)
        self._take_steps()
        self._watch.find_again()
        self._show_data()
        self._show_run()

    # -- what the user wants -------------------------------------------------------------------------------------------------------

    def _start(self, queue: bool) -> None:
        followed = self._watch.run
        try:
            run = self._watch.start(self.form.value(), queue=queue)
        except Seg3dError as error:
            self.notice.say_error(error)
            return
        if self._watch.run == followed:
            self.notice.say(f"{run.name} waits until the runs before it have ended. Choose it below to follow it.")
        self._fill_runs()

    def _take_preset(self, name: str, before: str | None) -> None:
        try:
            # The last settings that could be used: what is being typed now is given up.
            self.form.setValue(with_choice(self._recipe.config, name, before))
        except Seg3dError as error:
            self.notice.say_error(error)

    def _take_settings(self, settings: dict[str, Any]) -> None:
        """Make what was planned settings of the user's own."""
        try:
            self.form.setValue(self._recipe.config.with_values(settings))
        except Seg3dError as error:
            self.notice.say_error(error)

    def _make_plan(self) -> None:
        try:
            self._plan.make(self.form.value())
        except Seg3dError as error:
            self.notice.say_error(error)

    def _load_settings(self) -> None:
        path = choose_file(self, "Load settings", "Settings (*.yaml *.yml)")
        if path is None:
            return
        try:
            self.use_settings(TrainConfig.from_yaml(path))
        except Seg3dError as error:
            self.notice.say_error(error)

    def use_settings(self, config: TrainConfig) -> None:
        """Fill the form, and open the data set that the settings were made for (the Runs dock asks for that, too)."""
        self.notice.say("")
        self.presets.forget()
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

    def _settings_changed(self) -> None:
        try:
            config = self.form.value()
        except Seg3dError:
            pass  # the form says what is wrong
        else:
            self._recipe.set_config(config)
            self.presets.show_changes(config)
        self._enable()

    def _enable(self) -> None:
        try:
            self.form.value()
            blocked = ""
        except Seg3dError:
            blocked = "Correct the setting that is marked first."
        if not self._plan.is_possible:
            blocked = self._why_nothing_to_train_on()
        elif self._data.is_changed:
            blocked = "Save the data set in the Data dock first: training takes what is saved."
        self.buttons.update_for(blocked)

    def _why_nothing_to_train_on(self) -> str:
        report = self._data.report
        if report is None and self._data.job is not None:
            return "Wait until the data set is checked."
        if report is not None and report.dataset.pairs:
            return "No case can be trained on: the Data dock says what is wrong with them."
        return "Open a data set with masks in the Data dock first."

    def _show_run(self) -> None:
        run = self._watch.run
        self.cockpit.begin()
        self.notice.say("")
        for widget in (self.cockpit, self.preview, self.folder_button):
            widget.setVisible(run is not None)
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

    def _take(self, events: list[dict[str, Any]]) -> None:
        self.cockpit.take(events)
        self.cockpit.show_status(self._watch.run, self._watch.status, self._watch.says)

    def _show_status(self) -> None:
        status = self._watch.status
        self.cockpit.show_status(self._watch.run, status, self._watch.says)
        if self._watch.run is not None and status.ended:
            self.notice.say(status.message, "info" if status.state in ("finished", "stopped") else "error")
        self._enable()

    # -- parts -----------------------------------------------------------------------------------------------------------------------

    def _file_buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
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
            row.addWidget(button)
        return row

    def _run_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.runs = QComboBox()
        self.runs.setToolTip("<p>The runs on this machine, newest first. Choose one to see its curves.</p>")
        self.runs.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.runs.setMinimumContentsLength(12)
        self.runs.activated.connect(self._choose_run)
        self.folder_button = QPushButton("Open folder")
        self.folder_button.setToolTip("<p>Open the folder of this run: checkpoints, settings, metrics and log.</p>")
        self.folder_button.clicked.connect(self._open_folder)
        row.addWidget(QLabel("Run"))
        row.addWidget(self.runs, 1)
        row.addWidget(self.folder_button)
        return row
