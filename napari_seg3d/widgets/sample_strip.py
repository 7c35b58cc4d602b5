"""Small pictures of what other seeds make of a case; a click takes the seed."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QSpinBox, QToolButton, QVBoxLayout, QWidget

from napari_seg3d.viewer.transform_preview import Sample

_EDGE = 76
_COLUMNS = 4
_MOST = 16


class SampleStrip(QWidget):
    """A grid of small pictures, and how many there shall be."""

    #: Another number of pictures is wanted.
    countChanged = Signal(int)
    #: The seed of the picture that was clicked.
    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        row.addWidget(QLabel("Other samples"))
        self.count = QSpinBox()
        self.count.setRange(0, _MOST)
        self.count.setToolTip("<p>How many random samples to show; each is the middle slice with the outline of the mask.</p>")
        self.count.valueChanged.connect(self.countChanged)
        row.addWidget(self.count)
        row.addStretch(1)
        column.addLayout(row)
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(3)
        self._grid.setColumnStretch(_COLUMNS, 1)
        column.addLayout(self._grid)
        self.buttons: list[QToolButton] = []

    def set_count(self, count: int) -> None:
        """Show how many there shall be, without a word to anybody."""
        self.count.blockSignals(True)
        self.count.setValue(count)
        self.count.blockSignals(False)

    def add(self, sample: Sample) -> None:
        """Add a picture."""
        button = QToolButton()
        picture = np.ascontiguousarray(sample.picture)
        rows, columns, _ = picture.shape
        image = QImage(picture.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
        shown = QPixmap.fromImage(image).scaled(
            _EDGE, _EDGE, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
        button.setIcon(QIcon(shown))
        button.setIconSize(QSize(_EDGE, _EDGE))
        button.setAutoRaise(True)
        button.setFixedSize(_EDGE + 6, _EDGE + 6)
        button.setToolTip(f"<p>Seed {sample.seed}: click to look at it.</p>")
        button.clicked.connect(lambda _checked, seed=sample.seed: self.chosen.emit(seed))
        at = len(self.buttons)
        self._grid.addWidget(button, at // _COLUMNS, at % _COLUMNS)
        self.buttons.append(button)

    def clear(self) -> None:
        """Take all pictures away."""
        for button in self.buttons:
            self._grid.removeWidget(button)
            button.setParent(None)
            button.deleteLater()
        self.buttons = []
