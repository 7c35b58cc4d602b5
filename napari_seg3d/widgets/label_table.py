"""The table of labels: what a mask holds, in which colours, how large it is; what is shown, locked and painted with."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QColor, QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_seg3d.errors import Seg3dError
from napari_seg3d.viewer.label_table_model import LabelRow, LabelTableModel
from napari_seg3d.widgets.label_icons import eye, padlock, swatch
from napari_seg3d.widgets.parts import Notice

_COLOUR, _EYE, _LOCK, _NAME, _VALUE, _SIZE, _MEAN = range(7)
_WIDTHS = {_COLOUR: 26, _EYE: 26, _LOCK: 26, _VALUE: 38, _SIZE: 58, _MEAN: 54}
_HEADINGS = {
    _COLOUR: "Click a colour to choose another one.",
    _EYE: "Click an eye to hide a label, or to show it again. The mask itself does not change.",
    _LOCK: "Click a padlock to protect a label: brush, eraser, fill and polygon then leave it as it is. "
    "Lock what is finished before you paint beside it.",
    _NAME: "Double-click a name to change it; it is shown in napari's status bar, too.",
    _VALUE: "The number that a label has in the mask and in its file.",
}
# A person looks through no more rows than this; masks of single cells have many thousands.
_MOST_ROWS = 300
_MOST_CONTOUR = 20


class LabelTable(QWidget):
    """Shows a `LabelTableModel`; to be put into a dock.

    Parameters
    ----------
    model : LabelTableModel
        What it shows, and what it tells what the user wants.
    """

    def __init__(self, model: LabelTableModel) -> None:
        super().__init__()
        self._model = model
        self._rows: list[LabelRow] = []
        self._icons = {(picture, is_on): picture(is_on) for picture in (eye, padlock) for is_on in (True, False)}

        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        self.heading = QLabel()
        self.heading.setTextFormat(Qt.TextFormat.PlainText)
        self.heading.setWordWrap(True)
        # A long name without a space would else widen the dock.
        self.heading.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        column.addWidget(self.heading)
        self.table = self._make_table()
        column.addWidget(self.table, 1)
        self.notice = Notice()
        column.addWidget(self.notice)

        buttons = QHBoxLayout()
        buttons.setSpacing(4)
        self.add_button = _button(
            "Add", "Gives the first free number a name and paints with it: for a structure that the mask does not have yet."
        )
        self.go_button = _button(
            "Go to", "Moves all views to the middle of the selected label. A double click on its number does the same."
        )
        self.only_button = _button("Only this", "Hides all labels but the selected one, to see what lies under the others.")
        self.all_button = _button("Show all", "Shows every label again.")
        for button, answer in (
            (self.add_button, self._add),
            (self.go_button, self._go),
            (self.only_button, self._show_only),
            (self.all_button, model.show_all),
        ):
            button.clicked.connect(lambda _checked, answer=answer: answer())
            buttons.addWidget(button)
        column.addLayout(buttons)

        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.contour = QSpinBox()
        self.contour.setRange(0, _MOST_CONTOUR)
        self.contour.setSpecialValueText("filled")
        self.contour.setSuffix(" voxels")
        self.contour.setToolTip(
            "<p>How wide the outline of each label is; at 0 it is filled. An outline leaves the scan visible inside: choose 1 or 2 to judge "
            "an edge. In 3D the labels are always filled.</p>"
        )
        self.contour.valueChanged.connect(self._set_contour)
        form.addRow("Outline", self.contour)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setToolTip("<p>How much the labels cover the scan: to the left they vanish, to the right they hide it.</p>")
        self.opacity.valueChanged.connect(self._set_opacity)
        form.addRow("Opacity", self.opacity)
        column.addLayout(form)

        model.changed.connect(self._synchronise)
        model.lookChanged.connect(self._synchronise_look)
        # The model counts for those who look. Whether this is one of them must be known when nothing is left of it but its number.
        view = self._view = object()
        self.destroyed.connect(lambda: model.set_shown(view, False))
        self._synchronise()

    def showEvent(self, event: QShowEvent) -> None:
        """Let the model count while somebody looks."""
        super().showEvent(event)
        self._model.set_shown(self._view, True)

    def hideEvent(self, event: QHideEvent) -> None:
        """Let it rest."""
        super().hideEvent(event)
        self._model.set_shown(self._view, False)

    def _make_table(self) -> QTableWidget:
        table = QTableWidget(0, 7)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.setIconSize(QSize(16, 16))
        table.setShowGrid(False)
        table.setMinimumHeight(150)
        table.setToolTip("<p>Click a row to paint with that label.</p>")
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(24)
        header = table.horizontalHeader()
        header.setMinimumSectionSize(20)
        for place in range(7):
            item = QTableWidgetItem({_NAME: "Name", _VALUE: "No."}.get(place, ""))
            item.setToolTip(f"<p>{_HEADINGS.get(place, '')}</p>")
            table.setHorizontalHeaderItem(place, item)
            header.setSectionResizeMode(place, QHeaderView.ResizeMode.Stretch if place == _NAME else QHeaderView.ResizeMode.Fixed)
        for place, width in _WIDTHS.items():
            table.setColumnWidth(place, width)
        table.currentCellChanged.connect(self._select)
        table.cellClicked.connect(self._click)
        table.cellDoubleClicked.connect(self._double_click)
        table.itemChanged.connect(self._rename)
        # What happened while a name was typed is shown afterwards.
        table.itemDelegate().closeEditor.connect(lambda *_: QTimer.singleShot(0, self._synchronise))
        return table

    # -- what the user wants -------------------------------------------------------------------------------------------------------

    def _select(self, row: int, place: int, *_last: int) -> None:
        # A click on an eye, a padlock or a colour says nothing about what to paint with.
        if 0 <= row < len(self._rows) and place >= _NAME:
            self._model.select(self._rows[row].value)

    def _click(self, row: int, place: int) -> None:
        label = self._rows[row]
        if place == _COLOUR:
            self._choose_colour(label)
        elif place == _EYE:
            self._model.set_visible(label.value, not label.style.visible)
        elif place == _LOCK:
            self._try(lambda: self._model.set_locked(label.value, not label.style.locked))
        self._mark_selected()

    def _double_click(self, row: int, place: int) -> None:
        if place >= _VALUE:
            self._model.go_to(self._rows[row].value)

    def _rename(self, item: QTableWidgetItem) -> None:
        self._model.rename(self._rows[item.row()].value, item.text())

    def _choose_colour(self, label: LabelRow) -> None:
        dialog = QColorDialog(QColor(label.style.colour), self)
        dialog.setWindowTitle(f"Colour of {_name(label)}")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.colorSelected.connect(lambda colour: self._model.recolour(label.value, colour.name()))
        dialog.open()

    def _add(self) -> None:
        self._try(self._model.add)

    def _go(self) -> None:
        label = self._selected()
        if label is not None and not self._model.go_to(label.value):
            self.notice.say(f"{_name(label)} has no voxels yet.")

    def _show_only(self) -> None:
        label = self._selected()
        if label is not None:
            self._model.show_only(label.value)

    def _try(self, wish: Callable[[], object]) -> None:
        self.notice.say("")
        try:
            wish()
        except Seg3dError as error:
            self.notice.say_error(error)

    def _set_contour(self, width: int) -> None:
        if self._model.layer is not None:
            self._model.layer.contour = width

    def _set_opacity(self, percent: int) -> None:
        if self._model.layer is not None:
            self._model.layer.opacity = percent / 100

    # -- what there is -------------------------------------------------------------------------------------------------------------

    def _synchronise(self) -> None:
        """Show what the model holds now."""
        if self.table.state() == QAbstractItemView.State.EditingState:
            return  # a row that moved would give the typed name to another label
        layer = self._model.layer
        rows = self._model.rows
        self._rows = rows if len(rows) <= _MOST_ROWS else _largest(rows)
        self.heading.setText(
            layer.name if layer is not None else "No mask is selected: open one, or make one with napari's New labels."
        )
        self.table.blockSignals(True)
        self._fill_heading()
        self.table.setRowCount(len(self._rows))
        for row, label in enumerate(self._rows):
            self._fill(row, label)
        self.table.blockSignals(False)
        if self._model.error is not None:
            self.notice.say_error(self._model.error)
        elif len(self._rows) < len(rows):
            self.notice.say(f"The largest {len(self._rows)} of {len(rows)} labels.")
        else:
            self.notice.say("")
        self._synchronise_look()

    def _synchronise_look(self) -> None:
        layer = self._model.layer
        for control in (self.table, self.add_button, self.all_button, self.contour, self.opacity):
            control.setEnabled(layer is not None)
        if layer is not None:
            for control, value in ((self.contour, layer.contour), (self.opacity, round(100 * layer.opacity))):
                control.blockSignals(True)
                control.setValue(value)
                control.blockSignals(False)
        self._mark_selected()

    def _mark_selected(self) -> None:
        label = self._selected()
        row = self._rows.index(label) if label is not None else -1
        if row != self.table.currentRow() or not self.table.selectedItems():
            self.table.blockSignals(True)
            self.table.setCurrentCell(row, _NAME if row >= 0 else -1)
            self.table.blockSignals(False)
        for button in (self.go_button, self.only_button):
            button.setEnabled(label is not None)

    def _selected(self) -> LabelRow | None:
        layer = self._model.layer
        return next((label for label in self._rows if layer is not None and label.value == layer.selected_label), None)

    def _fill_heading(self) -> None:
        volume = "Area of the slice" if self._model.size_unit == "cm²" else "Volume"
        image = self._model.image
        measured = (
            f"Mean of {image.name} in each label."
            if image is not None
            else "Show the scan under the mask to see its mean in each label."
        )
        for place, text, tooltip in (
            (_SIZE, self._model.size_unit, f"{volume} of each label; counted again when you have painted."),
            (_MEAN, self._model.mean_unit or "Mean", measured),
        ):
            item = self.table.horizontalHeaderItem(place)
            item.setText(text)
            item.setToolTip(f"<p>{tooltip}</p>")

    def _fill(self, row: int, label: LabelRow) -> None:
        style, counted = label.style, label.voxels is not None
        texts = {
            _NAME: _name(label),
            _VALUE: str(label.value),
            _SIZE: _rounded(label.size) if counted else "…",
            _MEAN: _rounded(label.mean),
        }
        tooltips = {
            _COLOUR: "Choose another colour",
            _EYE: "Shown: click to hide it" if style.visible else "Hidden: click to show it",
            _LOCK: "Locked: click to paint over it again" if style.locked else "Click to protect it from brush and eraser",
            _NAME: f"{_name(label)}: click to paint with it, double-click to rename it",
            _VALUE: "Double-click to go there",
            _SIZE: f"{label.voxels:,} voxels" if counted else "Being counted",
            _MEAN: "",
        }
        icons = {
            _COLOUR: swatch(style.colour, style.visible),
            _EYE: self._icons[eye, style.visible],
            _LOCK: self._icons[padlock, style.locked],
        }
        for place in range(7):
            item = self.table.item(row, place)
            if item is None:
                item = QTableWidgetItem()
                if place != _NAME:
                    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                if place >= _VALUE:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, place, item)
            item.setText(texts.get(place, ""))
            item.setToolTip(tooltips[place])
            if place in icons:
                item.setIcon(icons[place])


def _button(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(f"<p>{tooltip}</p>")
    return button


def _name(label: LabelRow) -> str:
    return label.style.name or f"label {label.value}"


def _rounded(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


def _largest(rows: list[LabelRow]) -> list[LabelRow]:
    chosen = sorted(rows, key=lambda label: label.voxels or 0, reverse=True)[:_MOST_ROWS]
    return sorted(chosen, key=lambda label: label.value)
