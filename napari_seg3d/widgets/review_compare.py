"""A row of the Review dock: the mask compared with another one, and the jump from difference to difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_seg3d.review import Difference
from napari_seg3d.widgets.parts import readable

if TYPE_CHECKING:
    from napari_seg3d.viewer.review_model import ReviewModel

_SPIN_WIDTH = 86
_COLOURS = {"missed": "#ff5c5c", "too much": "#00d5ff", "other label": "#ffd166"}


class CompareRow(QWidget):
    """Switches the comparison on, says what it found, and jumps.

    Parameters
    ----------
    model : ReviewModel
        Whose case is compared.
    """

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self._model = model
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        first = QHBoxLayout()
        self.button = QPushButton("Compare")
        self.button.setCheckable(True)
        self.button.setToolTip(
            "<p>Show where the mask differs from another one: red what is missing, blue what is too much, yellow what has another label; "
            "and go to the largest difference. (Ctrl+Shift+D)</p>"
        )
        self.button.clicked.connect(self._compare)
        self.other = QComboBox()
        self.other.setToolTip("<p>What the mask is compared with.</p>")
        self.other.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.other.setMinimumContentsLength(6)
        self.other.activated.connect(self._choose_other)
        first.addWidget(self.button)
        first.addWidget(self.other, 1)
        self.smallest = QDoubleSpinBox()
        self.smallest.setRange(0, 100)
        self.smallest.setDecimals(3)
        self.smallest.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.smallest.setPrefix("≥ ")
        self.smallest.setSuffix(" ml")
        self.smallest.setValue(self._model.comparison.smallest_ml)
        self.smallest.setKeyboardTracking(False)
        self.smallest.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.smallest.setMaximumWidth(_SPIN_WIDTH)  # what is compared has the longer name
        self.smallest.setToolTip("<p>Smaller differences are shown in colour, but not jumped to.</p>")
        self.smallest.valueChanged.connect(self._model.comparison.set_smallest)
        first.addWidget(self.smallest)
        column.addLayout(first)
        second = QHBoxLayout()
        self.previous_button = _arrow("◀", "Go to the next larger difference. (Ctrl+PgUp)")
        self.previous_button.clicked.connect(lambda _on=False: self._model.comparison.jump(-1))
        self.text = QLabel()
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.next_button = _arrow(
            "▶", "Go to the next smaller difference; after an edit the masks are compared anew first. (Ctrl+PgDown)"
        )
        self.next_button.clicked.connect(lambda _on=False: self._model.comparison.jump(1))
        second.addWidget(self.previous_button)
        second.addWidget(self.text, 1)
        second.addWidget(self.next_button)
        self._second = QWidget()
        second.setContentsMargins(0, 0, 0, 0)
        self._second.setLayout(second)
        column.addWidget(self._second)

    def synchronise(self) -> None:
        """Show what can be compared, and what was found."""
        names = [name for name, _ in self._model.masks_to_compare()]
        if names != [self.other.itemText(row) for row in range(self.other.count())]:
            self.other.clear()
            self.other.addItems(names)
        comparison = self._model.comparison
        self.button.setEnabled(bool(names) and not self._model.is_opening)
        self.other.setEnabled(len(names) > 1)
        self.button.setChecked(comparison.is_on)
        self._second.setVisible(comparison.is_on or comparison.error is not None)
        for button in (self.previous_button, self.next_button):
            button.setEnabled(comparison.is_on and comparison.job is None)
        if comparison.error is not None:
            self.text.setText(comparison.error.what)
        elif comparison.job is not None:
            self.text.setText("Comparing…")
        elif comparison.piece is None:
            self.text.setText("No difference of that size.")
        else:
            self.text.setText(_words(comparison.piece, comparison.index, len(comparison.pieces), self._names(), self))

    def _compare(self, _on: bool = False) -> None:
        self._model.compare(max(0, self.other.currentIndex()))

    def _choose_other(self, index: int) -> None:
        if self._model.comparison.is_on:
            self._model.comparison.end()
            self._model.compare(index)

    def _names(self) -> dict[int, str]:
        return self._model.worklist.dataset.labels if self._model.worklist is not None else {}


def _arrow(text: str, tooltip: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(f"<p>{tooltip}</p>")
    return button


def _words(piece: Difference, index: int, count: int, names: dict[int, str], on: QWidget) -> str:
    label = names.get(piece.label) or f"label {piece.label}"
    instead = f" as {names.get(piece.instead) or f'label {piece.instead}'}" if piece.kind == "other label" else ""
    kind = "" if piece.kind == "other label" else f"{piece.kind} "
    size = f"{piece.ml:.3g} ml" if piece.ml >= 0.01 else f"{1000 * piece.ml:.3g} mm³"
    colour = readable(_COLOURS[piece.kind], on)
    return f"{index + 1} of {count}: <span style='color: {colour}'>{kind}{label}{instead}</span>, {size}"
