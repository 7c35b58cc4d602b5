"""Which validation case is shown in the viewer while a run goes on."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QPushButton, QWidget

from napari_seg3d.viewer.preview_model import PreviewModel


class PreviewRow(QWidget):
    """Turns the validation case on and off, chooses among those that are kept, and goes back to the newest prediction.

    Parameters
    ----------
    model : PreviewModel
        What it shows and steers.
    """

    def __init__(self, model: PreviewModel) -> None:
        super().__init__()
        self._model = model
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.box = QCheckBox("Validation case")
        self.box.setToolTip(
            "<p>Shows a case that the network does not train on: its mask as an outline, the prediction filled, and what is wrong "
            "in red (missed) and blue (too much), redrawn after each validation.</p>"
        )
        self.box.toggled.connect(self._toggle)
        self.cases = QComboBox()
        self.cases.setToolTip("<p>The validation cases whose predictions are kept. More of them: Record, Cases to watch.</p>")
        self.cases.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.cases.setMinimumContentsLength(8)
        self.cases.activated.connect(lambda index: model.choose(self.cases.itemText(index)))
        self.newest = QPushButton("Newest")
        self.newest.setToolTip("<p>An older prediction is shown. Go back to the newest one, and follow the run.</p>")
        self.newest.clicked.connect(model.follow)
        row.addWidget(self.box)
        row.addWidget(self.cases, 1)
        row.addWidget(self.newest)
        model.changed.connect(self._show)
        self._show()

    def _toggle(self, is_on: bool) -> None:
        if is_on != self._model.is_on:
            self._model.set_on(is_on)

    def _show(self) -> None:
        model = self._model
        self.box.setChecked(model.is_on)
        if [self.cases.itemText(row) for row in range(self.cases.count())] != model.cases:
            self.cases.clear()
            self.cases.addItems(model.cases)
        shown = model.shown
        self.cases.setCurrentText(shown[1] if shown is not None and shown[1] in model.cases else model.case)
        self.cases.setVisible(bool(model.cases))
        self.newest.setVisible(model.is_on and not model.is_following)
