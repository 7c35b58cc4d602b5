"""The cockpit: where a run stands, how it learns, what it warns of and what it says."""

from __future__ import annotations

import time
from typing import Any

from qtpy.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QLabel, QPlainTextEdit, QVBoxLayout, QWidget

from napari_seg3d.training import Run, Status
from napari_seg3d.viewer.telemetry import QUANTITIES, Stage, Telemetry
from napari_seg3d.widgets.curves import Curves
from napari_seg3d.widgets.parts import Folded, Notice, ProgressRow, duration

STATES = {
    "starting": "Starting…",
    "queued": "Queued",
    "preparing": "Preparing",
    "training": "Training",
    "validating": "Validating",
    "paused": "Paused",
    "finished": "Finished",
    "stopped": "Stopped",
    "failed": "Failed",
    "died": "Ended without a word",
}
STAGES = {"": "The whole run", "find": "1 Find the object", "segment": "2 Segment in its box"}
_RESTING = ("queued", "paused")
_MOST_LOG_LINES = 500
_MOST_WARNINGS = 3  # at once; the log has all
_MOST_LABELS = 8  # named beside the best Dice
#: What is shown as a number: caption, tooltip.
NUMBERS = {
    "epoch": ("Epoch", "How many times each training case was shown, on average."),
    "step": ("Step", "How often the weights were changed so far."),
    "speed": ("Steps a second", "How many steps the network takes in a second."),
    "wait": ("Waiting", "Share of the time in which the network waits for data. Above 10 %, more loader processes help."),
    "memory": ("Memory", "What the training process occupies."),
    "device": ("GPU memory", "What the training occupies of the GPU."),
}


class Cockpit(QWidget):
    """Shows what a run tells; told events, knows no folder.

    Attributes
    ----------
    telemetry : Telemetry
        What it was told.
    state_label : QLabel
        Where the run stands, in words.
    progress : ProgressRow
        How far it is.
    numbers : dict of str to QLabel
        By the keys of `NUMBERS`.
    best_label : QLabel
        The best model so far.
    stage, quantity : QComboBox
        Which stage of a cascade, and what of its labels, the curves show.
    curves : Curves
        The curves.
    warnings : Notice
        What the run warned of.
    log : QPlainTextEdit
        What it said, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.state_label = QLabel()
        self.state_label.setWordWrap(True)
        column.addWidget(self.state_label)
        self.progress = ProgressRow(cancel=False)
        column.addWidget(self.progress)
        column.addLayout(self._make_numbers())
        self.best_label = QLabel()
        self.best_label.setWordWrap(True)
        column.addWidget(self.best_label)
        self.warnings = Notice()
        column.addWidget(self.warnings)
        choosers = QHBoxLayout()
        self.stage = QComboBox()
        self.stage.setToolTip(
            "<p>A cascade learns to find the object first, then to segment inside its box: which curves to see.</p>"
        )
        self.stage.activated.connect(lambda _index: self._show_curves())
        self.quantity = QComboBox()
        self.quantity.setToolTip(
            "<p>What the lower curves show of each label, on whole validation scans. Found, missed and too much are voxels in % of those "
            "of the label.</p>"
        )
        for quantity, title in QUANTITIES.items():
            self.quantity.addItem(title, quantity)
        self.quantity.activated.connect(lambda _index: self._show_curves())
        choosers.addWidget(self.stage, 1)
        choosers.addWidget(self.quantity, 1)
        column.addLayout(choosers)
        self.curves = Curves()
        column.addWidget(self.curves)
        log = Folded("Log", "What the run said, in order.")
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(_MOST_LOG_LINES)
        self.log.setMinimumHeight(140)
        self.log.setToolTip("<p>What the run said, in order; the whole log is in its folder.</p>")
        log.rows.addWidget(self.log)
        column.addWidget(log)
        self.begin()

    def begin(self) -> None:
        """Forget everything: another run is shown."""
        self.telemetry = Telemetry()
        self.log.clear()
        self.progress.hide()
        self.state_label.setText("")
        self.best_label.setText("")
        self.warnings.say("")
        self.stage.clear()
        self.stage.hide()
        for name in NUMBERS:
            self._show_number(name, "")
        self._show_curves()

    def take(self, events: list[dict[str, Any]]) -> None:
        """Take in what the run told, oldest first."""
        self.telemetry.take(events)
        for event in events:
            line = log_line(event)
            if line:
                self.log.appendPlainText(f"{time.strftime('%H:%M:%S', time.localtime(event['time']))} {line}")
        self._show_stages()
        if self.telemetry.step is not None:
            self._show_step(self.telemetry.step)
        self._show_best()
        self._show_warnings()
        self.curves.redraw()

    def show_status(self, run: Run | None, status: Status, says: str = "") -> None:
        """Show where a run stands, and what it says about that."""
        if run is None:
            return
        words = [f"<b>{STATES[status.state]}</b>", f"stage {STAGES[self.telemetry.stage]}" if self.telemetry.stage else "", says]
        self.state_label.setText(": ".join(part for part in (words[0], ". ".join(filter(None, words[1:]))) if part))
        if status.ended or status.state in _RESTING:
            self.progress.hide()
        else:
            self._show_progress(STATES[status.state])

    def _show_progress(self, doing: str) -> None:
        now, step = self.telemetry.progress, self.telemetry.step
        if now is not None:
            self.progress.show_share(f"{now['what']}: {now['done']} of {now['total']}", now["done"], now["total"])
        elif step is not None:
            total = step["elapsed"] + step["seconds_left"]
            self.progress.show_share(f"{duration(step['seconds_left'])} left", step["elapsed"], total)
        else:
            self.progress.begin(doing)

    def _make_numbers(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(0)
        self.numbers: dict[str, QLabel] = {}
        self._captions: dict[str, QLabel] = {}
        for at, (name, (caption, tooltip)) in enumerate(NUMBERS.items()):
            self._captions[name], self.numbers[name] = QLabel(caption), QLabel()
            self._captions[name].setStyleSheet("color: #9a9a9a; font-size: 8pt")
            for line, label in enumerate((self._captions[name], self.numbers[name])):
                label.setToolTip(f"<p>{tooltip}</p>")
                grid.addWidget(label, 2 * (at // 3) + line, at % 3)
        for place in range(3):
            grid.setColumnStretch(place, 1)
        return grid

    def _show_number(self, name: str, text: str) -> None:
        self.numbers[name].setText(text)
        for label in (self._captions[name], self.numbers[name]):
            label.setVisible(bool(text))

    def _show_step(self, event: Any) -> None:
        self._show_number("epoch", f"{event['epoch']:.1f}")
        self._show_number("step", f"{event['iteration']:,}")
        self._show_number("speed", f"{event['iterations_per_second']:.3g}")
        if event.get("samples_per_second") is not None:
            samples = f"At present {event['samples_per_second']:.3g} samples a second."
            self.numbers["speed"].setToolTip(f"<p>{NUMBERS['speed'][1]} {samples}</p>")
        if event.get("wait_share") is not None:
            self._show_number("wait", f"{100 * event['wait_share']:.0f} %")
        for name, key in (("memory", "memory"), ("device", "device_memory")):
            self._show_number(name, gigabytes(event[key]) if event.get(key) else "")

    def _show_best(self) -> None:
        best = self._shown_stage().best
        if best is None:
            return
        known = [f"{name} {dice:.3f}" for name, dice in best["dice"].items() if dice is not None]
        labels = ", ".join(known[:_MOST_LABELS]) + (f" and {len(known) - _MOST_LABELS} more" if len(known) > _MOST_LABELS else "")
        metric = best.get("metric", "dice")
        judged = f", chosen by {metric} {best['score']:.3f}" if metric != "dice" and best.get("score") is not None else ""
        dice = f"{best['mean_dice']:.3f}" if best["mean_dice"] is not None else "none"
        self.best_label.setText(
            f"Best Dice <b>{dice}</b> on {len(best['cases'])} validation cases, epoch {best['epoch']:g}{judged}<br>{labels}"
        )

    def _show_warnings(self) -> None:
        found = self.telemetry.warnings
        more = [f"{len(found) - _MOST_WARNINGS} more warnings are in the log."] if len(found) > _MOST_WARNINGS else []
        words = [f"{event['message']} {event['fix']}" for event in found[-_MOST_WARNINGS:]]
        self.warnings.say("\n".join(words + more), "warning")

    def _show_stages(self) -> None:
        """Offer the stages of a cascade; a new one is shown, as the newest prediction is."""
        stages = list(self.telemetry.stages)
        if len(stages) > self.stage.count():
            for stage in stages[self.stage.count() :]:
                self.stage.addItem(STAGES.get(stage, stage), stage)
            self.stage.setCurrentIndex(len(stages) - 1)
            self.stage.setVisible(len(stages) > 1)
            self._show_curves()

    def _shown_stage(self) -> Stage:
        return self.telemetry.stages.get(self.stage.currentData() or "", Stage())

    def _show_curves(self) -> None:
        self.curves.show_stage(self._shown_stage(), self.quantity.currentData())
        self._show_best()


def log_line(event: dict[str, Any]) -> str:
    """Return an event as a line of the log; empty where it says nothing to a person."""
    kind = event["kind"]
    if kind == "state":
        return " ".join(str(event[name]) for name in ("state", "message", "fix") if event.get(name))
    if kind == "plan":
        sides = " x ".join(map(str, event["patch_size"]))
        network = f"{event['network']}, {event['parameters']:,} parameters; " if event.get("network") else ""
        return (
            f"{event['train_cases']} cases train, {event['validation_cases']} validate; {network}{event['device']}, "
            f"{event['precision']}; patch {sides}, {event['batch_size']} per step"
        )
    if kind == "validation" and event["mean_dice"] is not None:
        return f"epoch {event['epoch']:g}: Dice {event['mean_dice']:.4f}{' (best so far)' if event['best'] else ''}"
    if kind == "warning":
        return f"Warning: {event['message']} {event['fix']}"
    if kind == "resumed":
        return f"Goes on from step {event['iteration']}."
    return ""


def gigabytes(count: float) -> str:
    """Return bytes as a person says them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
