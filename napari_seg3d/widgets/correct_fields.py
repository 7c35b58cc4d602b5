"""The few parameters of a tool, as fields made from its description; labels are chosen by name, and not typed as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QHBoxLayout, QLabel, QMenu, QPushButton, QVBoxLayout, QWidget

from napari_seg3d.editing.tool_spec import ToolSpec
from napari_seg3d.transforms import Parameter
from napari_seg3d.viewer.label_look import LabelStyle
from napari_seg3d.widgets.label_icons import swatch
from napari_seg3d.widgets.parts import Notice
from napari_seg3d.widgets.step_fields import Field, Flag, Numbers, make_field

_ONE_LABEL = ("other", "background")
_LABELS = ("below", "by", "also", "labels")
_NOTHING = "—"
#: What parameters are called, where their name in code says too little.
_NAMES = {
    "radius_mm": "Radius",
    "in_slice": "In this slice only",
    "over_others": "Over other labels",
    "intensities": "Between",
    "connected": "Only what hangs together",
    "spread": "How different",
    "below": "These labels",
    "most_ml": "At most",
    "most_mm": "At most",
    "tolerance": "Tolerance",
    "neck_mm": "Narrowest",
    "side": "Side",
    "above": "Brighter than",
    "every_label": "All labels",
    "onto": "Onto",
    "follow_image": "Follow the image",
    "background": "Background strokes",
    "margin_mm": "Around strokes",
    "near": "Prefer what is near",
    "method": "Method",
    "mm": "How much",
    "wall": "Wall",
    "least_ml": "At least",
    "drop": "Remove it instead",
    "first": "First new label",
    "most": "At most",
    "parts": "Parts",
    "least_depth_mm": "Narrower by",
    "other": "Other label",
    "operation": "Operation",
    "by": "By these labels",
    "also": "And from these",
    "filled": "Holes belong to it",
    "labels": "Of these labels",
}
#: What they are to some tools.
_NAMES_OF = {
    ("smooth", "in_slice"): "Slice by slice",
    ("margin", "in_slice"): "Slice by slice",
    ("fill_holes", "in_slice"): "Slice by slice",
    ("hollow", "mm"): "Thickness",
    ("cut", "mm"): "Reaching beyond",
}
Styles = Mapping[int, LabelStyle]


class ToolFields(QWidget):
    """Shows and edits the parameters of one tool; needs no viewer."""

    #: A person changed something that can be used.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._rows: QWidget | None = None
        self._spec: ToolSpec | None = None
        self._styles: Styles = {}
        self.fields: dict[str, Field] = {}
        self.problem = Notice()
        self._column.addWidget(self.problem)

    def value(self) -> dict[str, Any]:
        """Return the parameters. Raises a ValueError where one cannot be used."""
        return {name: field.value() for name, field in self.fields.items()}

    def show_tool(self, spec: ToolSpec | None, values: Mapping[str, Any], styles: Styles, is_flat: bool = False) -> None:
        """Show the parameters of a tool, or nothing.

        Parameters
        ----------
        spec : ToolSpec or None
            The tool.
        values : mapping
            Its parameters.
        styles : mapping of int to LabelStyle
            The labels that there are.
        is_flat : bool
            Whether the mask has but one slice, in which there is nothing to choose between slice and volume.
        """
        key = (spec, is_flat)
        if key != (self._spec, self.property("flat")) or (dict(styles) != dict(self._styles) and self._asks_for_labels()):
            self._spec, self._styles = spec, dict(styles)
            self.setProperty("flat", is_flat)
            self._build(is_flat)
        for name, field in self.fields.items():
            if not field.isAncestorOf(self.focusWidget() or self) and _differs(field, values[name]):
                field.set_value(values[name])

    def _asks_for_labels(self) -> bool:
        return any(isinstance(field, OneLabel | SeveralLabels) for field in self.fields.values())

    def _build(self, is_flat: bool) -> None:
        if self._rows is not None:
            self._rows.setParent(None)
            self._rows.deleteLater()
        self._rows, self.fields = QWidget(), {}
        form = QFormLayout(self._rows)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(3)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for parameter in self._spec.parameters if self._spec is not None else ():
            if not (is_flat and parameter.name == "in_slice"):
                self._add(form, parameter)
        self._column.insertWidget(0, self._rows)
        self._rows.setVisible(bool(self.fields))
        self.problem.say("")

    def _add(self, form: QFormLayout, parameter: Parameter) -> None:
        if parameter.name in _ONE_LABEL:
            field: Field = OneLabel(self._styles, parameter.optional)
        elif parameter.name in _LABELS:
            field = SeveralLabels(self._styles)
        else:
            field = make_field(parameter)
            field.set_value(parameter.default)
        if isinstance(field, Numbers):
            field.form_button.hide()  # a range has two ends here
        unit = f" ({parameter.unit})" if parameter.unit else ""
        tool = self._spec.id if self._spec is not None else ""
        name = _NAMES_OF.get((tool, parameter.name)) or _NAMES.get(parameter.name, parameter.name.replace("_", " "))
        label = QLabel(name + unit)
        for widget in (label, field):
            widget.setToolTip(f"<p>{parameter.help}</p>")
        if isinstance(field, Flag):
            label.setMinimumWidth(1)
        form.addRow(label, field)
        self.fields[parameter.name] = field
        field.changed.connect(self._take)

    def _take(self) -> None:
        try:
            self.value()
        except ValueError as error:
            self.problem.say(f"{error}.", "error")
            return
        self.problem.say("")
        self.changed.emit()


class OneLabel(Field):
    """One label, by colour, number and name.

    Parameters
    ----------
    styles : mapping of int to LabelStyle
        The labels there are.
    optional : bool
        Whether it may be none.
    """

    def __init__(self, styles: Styles, optional: bool) -> None:
        super().__init__()
        self.control = label_combo()
        if optional:
            self.control.addItem(_NOTHING, None)
        fill_labels(self.control, styles)
        self.control.activated.connect(lambda _index: self.changed.emit())
        self._place(self.control)

    def value(self) -> int | None:
        """Return the label, or None."""
        found: int | None = self.control.currentData()
        return found

    def set_value(self, value: Any) -> None:
        """Choose another label; one that is not there yet is offered, too."""
        at = self.control.findData(value)
        if at < 0 and value is not None:
            self.control.addItem(str(value), value)
            at = self.control.count() - 1
        self.control.setCurrentIndex(at)


class SeveralLabels(Field):
    """Several labels, ticked in a menu.

    Parameters
    ----------
    styles : mapping of int to LabelStyle
        The labels there are.
    """

    def __init__(self, styles: Styles) -> None:
        super().__init__()
        self._styles = styles
        self._chosen: list[int] = []
        self.control = QPushButton()
        self._menu = QMenu(self.control)
        self._menu.setToolTipsVisible(True)
        self.control.setMenu(self._menu)
        for value, style in styles.items():
            action = self._menu.addAction(swatch(style.colour, style.visible), label_text(value, style))
            action.setCheckable(True)
            action.setData(value)
            action.toggled.connect(self._tick)
        self._place(self.control)
        self._write()

    def value(self) -> list[int]:
        """Return the labels."""
        return list(self._chosen)

    def set_value(self, value: Any) -> None:
        """Tick other labels."""
        self._chosen = [int(one) for one in value]
        for action in self._menu.actions():
            action.blockSignals(True)
            action.setChecked(action.data() in self._chosen)
            action.blockSignals(False)
        self._write()

    def _tick(self, _on: bool) -> None:
        self._chosen = [action.data() for action in self._menu.actions() if action.isChecked()]
        self._write()
        self.changed.emit()

    def _write(self) -> None:
        names = [self._styles[value].name or str(value) if value in self._styles else str(value) for value in self._chosen]
        text = "choose…" if not names else ", ".join(names) if len(", ".join(names)) < 24 else f"{len(names)} labels"
        self.control.setText(text)


def label_combo() -> QComboBox:
    """Return a combo box for labels that does not widen the dock."""
    combo = QComboBox()
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(10)
    return combo


def fill_labels(combo: QComboBox, styles: Styles) -> None:
    """Add labels to a combo box; their numbers are the data."""
    for value, style in styles.items():
        combo.addItem(swatch(style.colour, style.visible), label_text(value, style), value)


def label_text(value: int, style: LabelStyle) -> str:
    """Return a label as a person reads it: ``3 spleen (locked)``."""
    name = style.name if style.name and style.name != f"label {value}" else ""
    return " ".join([str(value), *([name] if name else []), *(["(locked)"] if style.locked else [])])


def _differs(field: Field, value: Any) -> bool:
    try:
        return bool(field.value() != value)
    except ValueError:
        return True


def short_row(*widgets: QWidget, stretch: Sequence[int] = ()) -> QHBoxLayout:
    """Return widgets in a row without margins."""
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(4)
    for at, widget in enumerate(widgets):
        row.addWidget(widget, stretch[at] if at < len(stretch) else 0)
    return row
