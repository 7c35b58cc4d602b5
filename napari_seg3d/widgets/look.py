"""The Look dock: the grey values of the scan, the planes to look at it in, and the table of its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPushButton,
)

from napari_seg3d.viewer.layers import native_of
from napari_seg3d.viewer.look import show_plane
from napari_seg3d.viewer.session import session_of
from napari_seg3d.viewer.windows import OWN_WINDOW
from napari_seg3d.widgets.label_table import LabelTable
from napari_seg3d.widgets.parts import Dock, Notice

if TYPE_CHECKING:
    from napari import Viewer

_PLANES = {
    "Axial": "<p>Slices from feet to head, seen from the feet: the patient's right is on the left of the screen.</p>",
    "Coronal": "<p>Slices from back to front, seen from the front: the patient's right is on the left of the screen.</p>",
    "Sagittal": "<p>Slices from side to side: the front of the patient is on the left of the screen.</p>",
}


class LookDock(Dock):
    """How scans and masks appear.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers are looked at.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Look")
        self._viewer = napari_viewer
        session = session_of(napari_viewer)
        session.add_dock(self)
        self._window, self._ortho = session.window, session.ortho

        views = QHBoxLayout()
        self.planes = QButtonGroup(self)
        for number, (name, tooltip) in enumerate(_PLANES.items()):
            button = QPushButton(name)
            button.setToolTip(tooltip)
            button.clicked.connect(lambda _checked, axis=number: show_plane(self._viewer, axis))
            self.planes.addButton(button, number)
            views.addWidget(button)
        self.four = QPushButton("Four views")
        self.four.setCheckable(True)
        self.four.setToolTip(
            "<p>Axial, coronal, sagittal and 3D beside each other, linked by a crosshair. Click a place in one view, and the others go "
            "there. Painting in one view paints in all of them.</p>"
        )
        self.four.toggled.connect(self._show_four)
        views.addWidget(self.four)
        self.body.addLayout(views)

        self.window_label = QLabel("Window")
        self.preset = QComboBox()
        self.preset.setToolTip(
            "<p>The usual windows for this kind of scan. In the scan itself, drag with the right mouse button: up and down changes "
            "the brightness (level), right and left the contrast (width).</p>"
        )
        self.preset.activated.connect(self._apply_preset)
        row = QHBoxLayout()
        row.addWidget(self.window_label)
        row.addWidget(self.preset, 1)
        self.body.addLayout(row)
        self.level, self.width_field = QDoubleSpinBox(), QDoubleSpinBox()
        numbers = QHBoxLayout()
        for label, field, tooltip in (
            ("level", self.level, "<p>The intensity that is shown as middle grey.</p>"),
            ("width", self.width_field, "<p>How many intensities there are from black to white.</p>"),
        ):
            field.setRange(-1e7, 1e7)
            field.setKeyboardTracking(False)
            field.setMinimumWidth(70)  # the hint has room for ten million
            field.setToolTip(tooltip)
            field.valueChanged.connect(self._set_window)
            numbers.addWidget(QLabel(label))
            numbers.addWidget(field, 1)
        self.width_field.setMinimum(0.0)
        self.body.addLayout(numbers)
        self.notice = Notice()
        self.body.addWidget(self.notice)

        self.table = LabelTable(session.labels)
        self.body.addWidget(self.table, 1)

        self._window.changed.connect(self._synchronise)
        self._ortho.changed.connect(self._synchronise)
        self._synchronise()

    def _show_four(self, is_on: bool) -> None:
        if is_on:
            window = self.window()
            assert isinstance(window, QMainWindow)
            self._ortho.show(window)
        else:
            self._ortho.hide()

    def _apply_preset(self, _index: int) -> None:
        if self.preset.currentText() != OWN_WINDOW:
            self._window.apply(self.preset.currentText())

    def _set_window(self, _value: float) -> None:
        self._window.set(self.level.value(), self.width_field.value())

    def _synchronise(self) -> None:
        """Show what the models hold now."""
        names = [OWN_WINDOW, *self._window.presets]
        if [self.preset.itemText(at) for at in range(self.preset.count())] != names:
            self.preset.clear()
            self.preset.addItems(names)
        level, width = self._window.limits
        decimals = 0 if width >= 20 else 2 if width >= 0.2 else 5
        for field, value in ((self.level, level), (self.width_field, width)):
            field.blockSignals(True)
            field.setDecimals(decimals)
            field.setSingleStep(max(width / 50, 10.0**-decimals))
            field.setValue(value)
            field.setEnabled(self._window.image is not None)
            field.blockSignals(False)
        self.window_label.setText(f"Window ({self._window.unit})" if self._window.unit else "Window")
        self.preset.setCurrentText(self._window.preset_now())
        self.preset.setEnabled(self._window.image is not None)
        self.four.blockSignals(True)
        self.four.setChecked(self._ortho.is_shown)
        self.four.blockSignals(False)
        for button in self.planes.buttons():
            button.setEnabled(not self._ortho.is_shown)
        self.notice.say(self._remark(), "warning")

    def _remark(self) -> str:
        image = self._window.image
        native = native_of(image) if image is not None else None
        if image is None or native is None:
            return ""
        if native.original is not None:
            return f"{image.name} lies at an angle to the first scan: what is shown of it is resampled, what is saved is not."
        if not native.is_oriented:
            return f"{image.name} does not say how it lies in the patient: there are no letters, and right may be left."
        return ""
