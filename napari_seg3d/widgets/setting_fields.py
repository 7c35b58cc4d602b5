"""A control for each kind of setting, made from the field of the config; each shows a plain value, as the YAML file holds it."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_seg3d.widgets.parts import choose_file

_MOST = 1e12  # of numbers without a limit
_DIGITS = 10
_PART_OF_A_NUMBER = re.compile(r"[\d.,eE+-]*")


class SettingField(Protocol):
    """The control of one setting."""

    widget: QWidget

    def value(self) -> object:
        """Return the setting as the YAML file holds it."""

    def setValue(self, value: object) -> None:
        """Show such a value."""


def make_field(field: FieldInfo, changed: Callable[[], None], kinds: str = "", empty: str = "none") -> SettingField:
    """Return the control that a field of the config asks for.

    Parameters
    ----------
    field : FieldInfo
        Type, limits and default.
    changed : callable
        Called after every change by a person.
    kinds : str
        For paths: which files may be chosen, as a file dialog says it.
    empty : str
        What is shown where nothing is set.
    """
    members = _members(field.annotation)
    special = next((word for word in ("auto", None) if word in members), False)
    choices = [choice for member in members if get_origin(member) is Literal for choice in get_args(member)]
    choices += ["auto"] if special == "auto" else []
    kind = next((member for member in members if member not in ("auto", None) and get_origin(member) is not Literal), None)
    if kind is None:
        return _Choice([(str(choice), choice) for choice in choices], changed)
    if kind is bool and special == "auto":
        return _Choice([("auto", "auto"), ("on", True), ("off", False)], changed)
    if kind is bool:
        return _Switch(changed)
    base, limits = _without_limits(kind)
    if base in (int, float):
        words = {False: "", "auto": "auto", None: empty}[special]
        return _Number(base is int, [*field.metadata, *limits], field.default, special, words, changed)
    if base is Path:
        return _File(kinds, empty, changed)
    if base is str:
        return _Text(lambda text: text, str, empty, changed)
    if get_origin(base) is dict:
        return _Text(_mapping, _as_mapping, empty, changed, none={})
    if get_origin(base) is tuple and get_origin(get_args(base)[0]) is Literal:
        return _Several(get_args(get_args(base)[0]), changed)
    if base == list[dict[str, Any]]:
        return _Steps()
    return _Text(_numbers, _as_numbers, empty, changed)


def _members(kind: Any) -> list[Any]:
    """Return the members of a union; ``Literal["auto"]`` as "auto", and None for None."""
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    named = {Literal["auto"]: "auto", type(None): None}
    return [named.get(part, part) if not isinstance(part, list) else part for part in parts]


def _without_limits(kind: Any) -> tuple[Any, list[Any]]:
    if get_origin(kind) is not Annotated:
        return kind, []
    base, *notes = get_args(kind)
    return base, [limit for note in notes for limit in (note.metadata if isinstance(note, FieldInfo) else [note])]


class _Choice:
    def __init__(self, choices: Sequence[tuple[str, object]], changed: Callable[[], None]) -> None:
        self._values = [value for _, value in choices]
        self.widget = QComboBox()
        self.widget.addItems([text for text, _ in choices])
        # The longest choice must not make the dock wider.
        self.widget.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.widget.setMinimumContentsLength(8)
        self.widget.currentIndexChanged.connect(lambda _index: changed())
        _ignore_wheel(self.widget)

    def value(self) -> object:
        return self._values[self.widget.currentIndex()]

    def setValue(self, value: object) -> None:
        self.widget.setCurrentIndex(self._values.index(value))


class _Switch:
    def __init__(self, changed: Callable[[], None]) -> None:
        self.widget = QCheckBox()
        self.widget.toggled.connect(lambda _on: changed())

    def value(self) -> object:
        return self.widget.isChecked()

    def setValue(self, value: object) -> None:
        self.widget.setChecked(bool(value))


class NumberBox(QDoubleSpinBox):
    """A number with as many digits as it has, and perhaps a word just below the lowest one.

    Parameters
    ----------
    low, high : float
        The range.
    word : str
        What the value below `low` means; empty where there is none.
    """

    # Qt asks for texts before a constructor is through.
    _low, _word = -_MOST, ""

    def __init__(self, low: float, high: float, word: str = "") -> None:
        super().__init__()
        self._low, self._word = low, word
        self.setDecimals(_DIGITS)
        self.setRange(low - 1 if word else low, high)
        self.setSpecialValueText(word)
        _ignore_wheel(self)

    def textFromValue(self, value: float) -> str:
        """Return the number as a person writes it."""
        return f"{value:.{_DIGITS}g}"

    def valueFromText(self, text: str) -> float:
        """Return the number; the word's value for the word, and for nothing."""
        if self._word and text.strip() in ("", self._word):
            return float(self.minimum())
        return float(text.replace(",", "."))

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Return whether a text is a number in the range, or may become one."""
        try:
            value = self.valueFromText(text)
            fits = self._low <= value <= self.maximum() or (self._word and value == self.minimum())
            state = QValidator.State.Acceptable if fits else QValidator.State.Intermediate
        except ValueError:
            could_be = _PART_OF_A_NUMBER.fullmatch(text) or self._word.startswith(text.strip())
            state = QValidator.State.Intermediate if could_be else QValidator.State.Invalid
        return state, text, position

    def stepBy(self, steps: int) -> None:
        """Step through the range, and from its lowest number to the word."""
        is_word = self._word and self.value() < self._low
        start = self._low - self.singleStep() if is_word else self.value()
        wanted = start + steps * self.singleStep()
        below = self.minimum() if self._word and steps < 0 and self.value() <= self._low else self._low
        self.setValue(below if wanted < self._low else wanted)


class _Number:
    def __init__(
        self, is_whole: bool, limits: Sequence[Any], default: object, special: object, word: str, changed: Callable[[], None]
    ) -> None:
        self._is_whole, self._special, self._has_word = is_whole, special, bool(word)
        usual = float(default) if isinstance(default, int | float) and default else 1.0
        self._low, high = _range(limits)
        self.widget = NumberBox(self._low, high, word)
        self.widget.setSingleStep(1.0 if is_whole or usual >= 1 else 0.05 if usual >= 0.02 else usual / 2)
        self._exact: float | None = None
        self.widget.valueChanged.connect(lambda _value: changed())

    def value(self) -> object:
        shown = self.widget.value()
        if self._has_word and shown < self._low:
            return self._special
        if self._is_whole and shown == round(shown):
            return round(shown)
        # The box rounds; as long as nobody turned it, the value that was set is the value.
        return self._exact if self._exact is not None and round(self._exact, _DIGITS) == round(shown, _DIGITS) else shown

    def setValue(self, value: object) -> None:
        is_number = isinstance(value, int | float)
        self._exact = float(str(value)) if is_number else None
        self.widget.setValue(self._exact if self._exact is not None else self.widget.minimum())


class _Text:
    """Whatever has no control of its own: numbers with commas between them, pairs, words."""

    def __init__(
        self,
        parse: Callable[[str], object],
        write: Callable[[Any], str],
        empty: str,
        changed: Callable[[], None],
        none: object = None,
    ) -> None:
        self._parse, self._write, self._none = parse, write, none
        self._exact: tuple[str, object] | None = None
        self.widget = QLineEdit()
        self.widget.setPlaceholderText(empty)
        self.widget.textChanged.connect(lambda _text: changed())

    def value(self) -> object:
        text = self.widget.text().strip()
        if self._exact is not None and text == self._exact[0]:
            return self._exact[1]  # what is shown may have fewer digits
        return self._parse(text) if text else self._none

    def setValue(self, value: object) -> None:
        text = "" if value is None or value == self._none else self._write(value).strip()
        self._exact = text, value
        self.widget.setText(text)


class _Several:
    """Some of a few choices; their order is that in which they were chosen."""

    def __init__(self, choices: Sequence[str], changed: Callable[[], None]) -> None:
        self.widget = QWidget()
        rows = QVBoxLayout(self.widget)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(0)
        self._chosen: list[str] = []
        self._changed = changed
        self.boxes = {choice: QCheckBox(choice) for choice in choices}
        for choice, box in self.boxes.items():
            box.clicked.connect(lambda is_on, choice=choice: self._choose(choice, is_on))
            rows.addWidget(box)

    def _choose(self, choice: str, is_on: bool) -> None:
        self._chosen = [*self._chosen, choice] if is_on else [other for other in self._chosen if other != choice]
        self._changed()

    def value(self) -> object:
        return list(self._chosen)

    def setValue(self, value: object) -> None:
        self._chosen = list(value) if isinstance(value, list | tuple) else []
        for choice, box in self.boxes.items():
            box.setChecked(choice in self._chosen)


class _Steps:
    """Steps that the Transforms dock makes; here they can only be seen, and set back to those of the program."""

    def __init__(self) -> None:
        self.widget = QLabel()
        self.widget.setMinimumWidth(1)
        self._value: object = "auto"

    def value(self) -> object:
        return self._value

    def setValue(self, value: object) -> None:
        self._value = value
        names = [str(step["name"]) for step in value] if isinstance(value, list) else ["auto"]
        self.widget.setText(", ".join(names) or "none")


class _File:
    def __init__(self, kinds: str, empty: str, changed: Callable[[], None]) -> None:
        self._kinds = kinds
        self.widget = QWidget()
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        self.line = QLineEdit()
        self.line.setPlaceholderText(empty)
        self.line.textChanged.connect(lambda _text: changed())
        button = QToolButton()
        button.setText("…")
        button.setToolTip("Choose a file")
        button.clicked.connect(self._choose)
        row.addWidget(self.line)
        row.addWidget(button)

    def _choose(self) -> None:
        path = choose_file(self.widget, "Choose a file", self._kinds)
        if path is not None:
            self.line.setText(str(path))

    def value(self) -> object:
        return self.line.text().strip() or None

    def setValue(self, value: object) -> None:
        self.line.setText("" if value is None else str(value))


class _WheelGuard(QObject):
    """Whoever scrolls through the dock must not turn the numbers that pass under the mouse."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        return False


def _ignore_wheel(widget: QWidget) -> None:
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.installEventFilter(_WheelGuard(widget))


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()


def _numbers(text: str) -> object:
    """Return ``auto`` and the like as they are, and numbers with commas (or "x") between them as a list."""
    inner = text.strip("[]() ")
    if not inner[:1].isdigit():
        return inner
    return [_number(part) for part in re.split(r"[,;x]", inner) if part.strip()]


def _as_numbers(value: object) -> str:
    return ", ".join(f"{part:.{_DIGITS}g}" for part in value) if isinstance(value, list) else str(value)


def _mapping(text: str) -> object:
    """Return ``1: 2, dropout: 0.2`` as a dict; what is none as it is, for the config to refuse it."""
    try:
        return yaml.safe_load(f"{{{text.strip('{} ')}}}")
    except yaml.YAMLError:
        return text


def _as_mapping(value: object) -> str:
    written = yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False).strip().strip("{}")
    return re.sub(r"'(\d+)':", r"\1:", written)  # labels are numbers, though JSON makes their keys text


def _range(limits: Sequence[Any]) -> tuple[float, float]:
    low, high = -_MOST, _MOST
    for limit in limits:
        low = max(low, *(getattr(limit, name) for name in ("ge", "gt") if getattr(limit, name, None) is not None), low)
        high = min(high, *(getattr(limit, name) for name in ("le", "lt") if getattr(limit, name, None) is not None), high)
    return low, high
