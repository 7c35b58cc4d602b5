"""Learning from the approved cases, below the worklist: one button, the progress, both models case by case, and the way back."""

from __future__ import annotations

import math

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QBrush, QColor, QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
)

from napari_seg3d.training import Run
from napari_seg3d.training.rounds import RoundRecord
from napari_seg3d.viewer.learn_model import LearnModel
from napari_seg3d.widgets.parts import Folded, Notice, ProgressRow, duration, readable

_BETTER, _WORSE = "#7bbf7b", "#e06c60"
_DOING = {"planning": "Looking at the cases", "judging": "Judging both models", "predicting": "Predicting the other cases"}
_MOST_PIXELS_HIGH = 280


class LearnSection(Folded):
    """Shows a `LearnModel`.

    Parameters
    ----------
    model : LearnModel
        Which.
    """

    def __init__(self, model: LearnModel) -> None:
        super().__init__(
            "Learn from corrections",
            "Trains on from a model with the cases that were approved, and with those that it learnt from before. The model is kept "
            "only if it is better on the test set.",
        )
        self._model = model
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.runs = QComboBox()
        self.runs.setMinimumContentsLength(8)
        self.runs.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.runs.setToolTip("<p>The training whose best model learns more; the current model comes first.</p>")
        self.runs.activated.connect(self._choose)
        form.addRow("Go on from", self.runs)
        self.minutes = QDoubleSpinBox()
        self.minutes.setRange(0, 60 * 24)
        self.minutes.setDecimals(1)
        self.minutes.setSpecialValueText("auto")
        self.minutes.setSuffix(" min")
        self.minutes.setToolTip(
            "<p>How long to learn. auto: by the first training and the number of cases, a fifth of it at least.</p>"
        )
        form.addRow("For", self.minutes)
        self.rows.addLayout(form)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.rows.addWidget(self.words)
        self.learn_button = QPushButton()
        self.learn_button.setToolTip(
            "<p>Trains in a process of its own, which goes on when this window closes. Then both models are judged on cases that neither "
            "has learnt from, the better one is kept, and it predicts the cases that are not approved.</p>"
        )
        self.learn_button.clicked.connect(lambda: self._model.learn(self.minutes.value() or None))
        self.rows.addWidget(self.learn_button)
        self.progress = ProgressRow()
        self.progress.button.setText("Stop")
        self.progress.button.setToolTip("<p>A training that is stopped keeps what it has learnt, and is judged.</p>")
        self.progress.cancelled.connect(model.stop)
        self.rows.addWidget(self.progress)
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.rows.addWidget(self.verdict)
        self.table = QTableWidget(0, 4)
        self.table.setHorizontalHeaderLabels(["Case", "Label", "Before", "After"])
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setToolTip("<p>Dice of each label on the cases that judge, by the model before and by the one after.</p>")
        self.table.verticalHeader().hide()
        self.table.setSizeAdjustPolicy(QTableWidget.SizeAdjustPolicy.AdjustToContents)  # as high as its rows, up to a limit
        self.table.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.table.setMaximumHeight(_MOST_PIXELS_HIGH)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.rows.addWidget(self.table)
        self.back_button = QPushButton()
        self.back_button.setToolTip("<p>Makes the other model the current one; both stay on the disk.</p>")
        self.back_button.clicked.connect(self._use_the_other)
        self.rows.addWidget(self.back_button)
        self.notice = Notice()
        self.rows.addWidget(self.notice)

        model.changed.connect(self._synchronise)
        model.progressed.connect(self._step)
        model.watch.eventsArrived.connect(self._training_told)
        self.toggled.connect(lambda is_open: self._model.set_shown(is_open and self.isVisible()))
        self._shown: RoundRecord | None = None
        self._synchronise()

    def showEvent(self, event: QShowEvent) -> None:
        """Keep up to date while it is seen."""
        super().showEvent(event)
        self._model.set_shown(self.isExpanded())

    def hideEvent(self, event: QHideEvent) -> None:
        """Leave the disk alone while it is not."""
        super().hideEvent(event)
        self._model.set_shown(False)

    # -- what the user wants -------------------------------------------------------------------------------------------------------

    def _choose(self, place: int) -> None:
        self._model.choose(self._model.runs[place])

    def _other(self) -> int | None:
        """Return the round whose model can be brought back: the last one, or the one that it began with."""
        last, current = self._model.last, self._model.current
        if last is None or current is None:
            return None
        if current[0] != last.number:
            return last.number
        return next((one.number for one in self._model.records if one.run == last.before), 0)

    def _use_the_other(self) -> None:
        other = self._other()
        if other is not None:
            self._model.use(other)

    # -- what there is to see ------------------------------------------------------------------------------------------------------

    def _synchronise(self) -> None:
        model = self._model
        is_idle = not model.step
        self._fill_runs()
        self.words.setText(model.words)
        self.words.setVisible(bool(model.words))
        cases = "case" if model.count == 1 else "cases"
        self.learn_button.setText(f"Learn from {model.count} approved {cases}" if model.count else "Learn from approved cases")
        self.learn_button.setEnabled(is_idle and model.count > 0)
        for widget in (self.runs, self.minutes):
            widget.setEnabled(is_idle and bool(model.runs))
        if is_idle:
            self.progress.hide()
        elif model.step == "training":
            if not self.progress.isVisible():
                self.progress.begin(f"Training {model.watch.run.name if model.watch.run is not None else ''}…")
        else:
            self.progress.begin(f"{_DOING[model.step]}…")
        self._show_last()
        self.notice.say_error(model.error)

    def _fill_runs(self) -> None:
        model = self._model
        with QSignalBlocker(self.runs):
            names = [self._name_of(run) for run in model.runs]
            if names != [self.runs.itemText(place) for place in range(self.runs.count())]:
                self.runs.clear()
                self.runs.addItems(names)
            if model.run is not None:
                self.runs.setCurrentIndex(model.runs.index(model.run))

    def _name_of(self, run: Run) -> str:
        current = self._model.current
        return f"{run.name} (current)" if current is not None and current[1] == run else run.name

    def _show_last(self) -> None:
        model = self._model
        last, other = model.last, self._other()
        for widget in (self.verdict, self.table, self.back_button):
            widget.setVisible(last is not None)
        if last is None or last.comparison is None:
            self.back_button.setEnabled(False)
            return
        found = last.comparison
        is_new = model.current is not None and model.current[0] == last.number
        used = "The new model is in use." if is_new else "The model before is in use."
        self.verdict.setText(
            f"Round {last.number}: mean Dice {_number(found.mean_before)} before, {_number(found.mean_after)} after, on the "
            f"{last.judged_on} ({len(last.judges)}). {used}"
        )
        self.back_button.setText("Use the old model again" if is_new else f"Use the model of round {last.number}")
        self.back_button.setEnabled(not model.step and other is not None)
        if last == self._shown:
            return
        self._shown = last
        self.table.setRowCount(len(found.rows))
        for place, row in enumerate(found.rows):
            texts = (row.case, row.name, _number(row.before), _number(row.after))
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(f"HD95 {_number(row.hd95_before, 1)} mm before, {_number(row.hd95_after, 1)} mm after")
                if column >= 2:
                    item.setTextAlignment(int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter))
                if column == 3 and row.after != row.before and not math.isnan(row.after):
                    item.setForeground(QBrush(QColor(readable(_BETTER if row.after > row.before else _WORSE, self))))
                self.table.setItem(place, column, item)
        self.table.updateGeometry()

    def _step(self, done: int, total: int) -> None:
        if self._model.step in _DOING:
            self.progress.step(_DOING[self._model.step], done, total)

    def _training_told(self, events: list[dict[str, object]]) -> None:
        if self._model.step != "training":
            return
        for event in reversed(events):
            if event["kind"] == "step":
                passed, left = float(str(event["elapsed"])), float(str(event["seconds_left"]))
                self.progress.show_share(f"Training, {duration(left)} left", passed, passed + left)
                return
            if event["kind"] == "progress":
                self.progress.show_share(
                    f"{event['what']} {event['done']} of {event['total']}", float(str(event["done"])), float(str(event["total"]))
                )
                return


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.{digits}f}"
