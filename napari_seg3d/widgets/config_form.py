"""A `TrainConfig` as a form: the few settings that matter on top, the rest folded away, all made from the config's own fields."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, get_origin

from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_seg3d.errors import ConfigError
from napari_seg3d.training import TrainConfig
from napari_seg3d.widgets.parts import Folded, choose_file

# The Data dock chooses these.
_NOT_SHOWN = ("data.images", "data.masks")


class _Editor(Protocol):
    """One setting: what it shows is a plain value, as the YAML file holds it."""

    widget: QWidget

    def value(self) -> object: ...

    def setValue(self, value: object) -> None: ...


class ConfigForm(QWidget):
    """Shows and edits a `TrainConfig`; needs no viewer and no data.

    Parameters
    ----------
    config : TrainConfig
        What to begin with. Settings that the form does not show (the data) stay as they are in it.
    """

    #: Emitted after every change that a person or `setValue` makes.
    valueChanged = Signal()

    def __init__(self, config: TrainConfig, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._base = config
        self._editors: dict[str, _Editor] = {}
        self._labels: dict[str, QLabel] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        top = _form()
        layout.addLayout(top)
        self.more = Folded(
            "More choices",
            "Everything else that can be set. The defaults suit most data; each has a tooltip that says when to touch it.",
        )
        for section, section_field in TrainConfig.model_fields.items():
            rows = _form()
            for name, field in section_field.annotation.model_fields.items():  # type: ignore[union-attr]  # every field is a section
                dotted = f"{section}.{name}"
                if dotted not in _NOT_SHOWN:
                    is_basic = isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("basic"))
                    self._add(top if is_basic else rows, dotted, field)
            if rows.rowCount():
                self.more.rows.addWidget(QLabel(f"<b>{section_field.title or section.capitalize()}</b>"))
                self.more.rows.addLayout(rows)
        layout.addWidget(self.more)
        self._error = QLabel()
        self._error.setWordWrap(True)
        self._error.setStyleSheet("color: #e06c60")
        self._error.hide()
        layout.addWidget(self._error)
        self.setValue(config)

    def value(self) -> TrainConfig:
        """Return what the form says; a ConfigError names the setting that cannot be used."""
        return self._base.with_values({name: editor.value() for name, editor in self._editors.items()})

    def setValue(self, config: TrainConfig) -> None:
        """Show another config."""
        self._base = config
        values = config.to_dict()
        for name, editor in self._editors.items():
            section, setting = name.split(".")
            editor.widget.blockSignals(True)
            editor.setValue(values[section][setting])
            editor.widget.blockSignals(False)
        self._changed()

    def editor(self, name: str) -> QWidget:
        """Return the control of a dotted setting, such as ``optimization.minutes``."""
        return self._editors[name].widget

    def _add(self, form: QFormLayout, name: str, field: FieldInfo) -> None:
        editor = _make_editor(field, self._changed)
        label = QLabel(field.title or name)
        for widget in (label, editor.widget):
            widget.setToolTip(f"<p>{field.description}</p>")
        form.addRow(label, editor.widget)
        self._editors[name], self._labels[name] = editor, label

    def _changed(self) -> None:
        try:
            self.value()
            problem = ""
        except ConfigError as error:
            problem = error.what
        self._error.setText(problem)
        self._error.setVisible(bool(problem))
        for name, label in self._labels.items():
            label.setStyleSheet("color: #e06c60" if f"{name} =" in problem else "")
        self.valueChanged.emit()


def _form() -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def _make_editor(field: FieldInfo, changed: Callable[[], None]) -> _Editor:
    kind = field.annotation
    if get_origin(kind) is Literal:
        return _Choice(get_args(kind), changed)
    if kind is bool:
        return _Switch(changed)
    if kind is int:
        return _Whole(field, changed)
    if kind is float:
        return _Decimal(field, changed)
    if kind is Path or Path in get_args(kind):
        return _File(changed)
    if list[dict[str, Any]] in get_args(kind):
        return _Steps(changed)
    return _Text(changed)


class _Choice:
    def __init__(self, choices: tuple[str, ...], changed: Callable[[], None]) -> None:
        self.widget = QComboBox()
        self.widget.addItems(choices)
        self.widget.currentTextChanged.connect(lambda _text: changed())

    def value(self) -> object:
        return self.widget.currentText()

    def setValue(self, value: object) -> None:
        self.widget.setCurrentText(str(value))


class _Switch:
    def __init__(self, changed: Callable[[], None]) -> None:
        self.widget = QCheckBox()
        self.widget.toggled.connect(lambda _on: changed())

    def value(self) -> object:
        return self.widget.isChecked()

    def setValue(self, value: object) -> None:
        self.widget.setChecked(bool(value))


class _Whole:
    def __init__(self, field: FieldInfo, changed: Callable[[], None]) -> None:
        low, high = _range(field)
        self.widget = QSpinBox()
        self.widget.setRange(int(max(low, -(2**31))), int(min(high, 2**31 - 1)))
        self.widget.valueChanged.connect(lambda _value: changed())

    def value(self) -> object:
        return self.widget.value()

    def setValue(self, value: object) -> None:
        self.widget.setValue(int(str(value)))


class _Decimal:
    def __init__(self, field: FieldInfo, changed: Callable[[], None]) -> None:
        low, high = _range(field)
        default = float(field.default) if field.default else 1.0
        self.widget = QDoubleSpinBox()
        self.widget.setDecimals(1 if default >= 1 else 2 if default >= 0.1 else 6)
        self.widget.setRange(low, min(high, 1e9))
        self.widget.setSingleStep(1.0 if default >= 1 else 0.05 if default >= 0.1 else default / 2)
        self.widget.valueChanged.connect(lambda _value: changed())
        self._exact: float | None = None

    def value(self) -> object:
        # The spin box rounds; as long as nobody turned it, the value that was set is the value.
        if self._exact is not None and round(self._exact, self.widget.decimals()) == round(
            self.widget.value(), self.widget.decimals()
        ):
            return self._exact
        return round(self.widget.value(), self.widget.decimals())

    def setValue(self, value: object) -> None:
        self._exact = float(str(value))
        self.widget.setValue(self._exact)


class _Text:
    """Whatever has several forms: ``auto``, a number, or numbers with commas between them; empty is none."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.widget = QLineEdit()
        self.widget.setPlaceholderText("no limit")
        self.widget.textChanged.connect(lambda _text: changed())

    def value(self) -> object:
        text = self.widget.text().strip().strip("[]()")
        if not text:
            return None
        parts = [_number(part) for part in text.replace("x", ",").replace(";", ",").split(",")] if text[0].isdigit() else [text]
        return parts[0] if len(parts) == 1 else parts

    def setValue(self, value: object) -> None:
        shown = ", ".join(f"{part:g}" for part in value) if isinstance(value, list) else "" if value is None else str(value)
        self.widget.setText(shown)


class _Steps:
    """Steps that the Transforms dock makes; here they can only be seen, and given up for those of the program."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.widget = QWidget()
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        self._text = QLabel()
        self._text.setMinimumWidth(1)
        self.button = QToolButton()
        self.button.setText("auto")
        self.button.setToolTip("<p>Give these steps up: training does what it does by itself.</p>")
        self.button.clicked.connect(self._give_up)
        row.addWidget(self._text, 1)
        row.addWidget(self.button)
        self._changed = changed
        self._value: object = "auto"

    def _give_up(self) -> None:
        self.setValue("auto")
        self._changed()

    def value(self) -> object:
        return self._value

    def setValue(self, value: object) -> None:
        self._value = value
        names = [str(step["name"]) for step in value] if isinstance(value, list) else []
        self._text.setText(", ".join(names) or "none" if isinstance(value, list) else "auto")
        self._text.setToolTip("<p>" + "<br>".join(names) + "</p>" if names else "")
        self.button.setVisible(isinstance(value, list))


class _File:
    def __init__(self, changed: Callable[[], None]) -> None:
        self.widget = QWidget()
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        self._line = QLineEdit()
        self._line.setPlaceholderText("none")
        self._line.textChanged.connect(lambda _text: changed())
        button = QToolButton()
        button.setText("…")
        button.setToolTip("Choose a file")
        button.clicked.connect(self._choose)
        row.addWidget(self._line)
        row.addWidget(button)

    def _choose(self) -> None:
        path = choose_file(self.widget, "Choose a table", "Tables (*.csv)")
        if path is not None:
            self._line.setText(str(path))

    def value(self) -> object:
        return self._line.text().strip() or None

    def setValue(self, value: object) -> None:
        self._line.setText("" if value is None else str(value))


def _number(text: str) -> object:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text.strip()


def _range(field: FieldInfo) -> tuple[float, float]:
    low, high = float("-inf"), float("inf")
    for limit in field.metadata:
        bounds: Any = limit
        low = max(low, *(getattr(bounds, name) for name in ("ge", "gt") if getattr(bounds, name, None) is not None), low)
        high = min(high, *(getattr(bounds, name) for name in ("le", "lt") if getattr(bounds, name, None) is not None), high)
    return low, high
