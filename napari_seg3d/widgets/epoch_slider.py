"""The row with which a person goes through the kept predictions of a run: case, slider, one back, one on."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSlider, QToolButton, QVBoxLayout, QWidget

from napari_seg3d.training.runs.history import Kept
from napari_seg3d.viewer.epochs import Epochs


class EpochSlider(QWidget):
    """Shows and changes which kept prediction is looked at.

    Parameters
    ----------
    epochs : Epochs
        What is looked at.
    """

    def __init__(self, epochs: Epochs) -> None:
        super().__init__()
        self._epochs = epochs
        self.cases = QComboBox()
        self.cases.setToolTip("<p>Of these validation cases the run keeps its prediction at every validation.</p>")
        self.cases.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.cases.setMinimumContentsLength(12)
        self.cases.textActivated.connect(epochs.choose_case)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setPageStep(1)
        self.slider.setToolTip(
            "<p>Go through the training: what the network predicted after each validation. The arrow keys go one back and one on.</p>"
        )
        self.slider.valueChanged.connect(epochs.go_to)
        # A click on a slider that already stands there shows the prediction, too.
        self.slider.sliderPressed.connect(lambda: epochs.go_to(self.slider.value()))
        self.back, self.on = (_button(text, tooltip) for text, tooltip in _BUTTONS)
        self.back.clicked.connect(lambda: epochs.step(-1))
        self.on.clicked.connect(lambda: epochs.step(1))
        self.text = QLabel()
        self.text.setWordWrap(True)

        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(QLabel("Case"))
        first.addWidget(self.cases, 1)
        second.addWidget(self.back)
        second.addWidget(self.slider, 1)
        second.addWidget(self.on)
        column.addLayout(first)
        column.addLayout(second)
        column.addWidget(self.text)
        epochs.changed.connect(self._synchronise)
        self._synchronise()

    def _synchronise(self) -> None:
        """Show what is looked at now."""
        history, kept, shown = self._epochs.history, self._epochs.kept, self._epochs.shown
        cases = history.shown_cases if history is not None else []
        if [self.cases.itemText(row) for row in range(self.cases.count())] != cases:
            self.cases.clear()
            self.cases.addItems(cases)
        self.cases.setCurrentText(self._epochs.case)
        with QSignalBlocker(self.slider):
            self.slider.setRange(0, max(0, len(kept) - 1))
            self.slider.setValue(kept.index(shown) if shown is not None else len(kept) - 1)
        for control in (self.cases, self.slider, self.back, self.on):
            control.setEnabled(bool(kept))
        self.text.setText(_in_words(shown) if shown is not None else _HINT if kept else _NONE)


_BUTTONS = (
    ("◀", "The prediction of the validation before"),
    ("▶", "The prediction of the next validation"),
)
_HINT = "Click on the curve, or move the slider, to see what the network predicted then."
_NONE = "No prediction was kept yet: the first validation keeps one."


def _in_words(kept: Kept) -> str:
    dice = f", Dice <b>{kept.dice:.3f}</b>" if kept.dice is not None else ""
    return f"Epoch <b>{kept.epoch:g}</b> (step {kept.iteration}){dice}"


def _button(text: str, tooltip: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(f"<p>{tooltip}</p>")
    button.setAutoRepeat(True)
    return button
