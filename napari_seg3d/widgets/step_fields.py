"""One field for each kind of parameter, made with magicgui; each has `value()`, `set_value()` and `changed`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FloatSlider, FloatSpinBox, LineEdit, Slider, SpinBox
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractSpinBox, QCompleter, QGridLayout, QHBoxLayout, QMenu, QToolButton, QWidget

from napari_seg3d.transforms import Parameter

_NOTHING = "—"
_NEVER = 1e9  # a limit for spin boxes where there is none
_STEPS_OF_A_SLIDER = 200
_SPIN_WIDTH = 84
# How a value with so many numbers is called.
_FORMS = {1: "One number", 2: "Lowest and highest", 3: "One for each axis", 6: "Lowest and highest for each axis"}
_PAIR_OF_ENDS = {2: "First and last", 6: "First and last of each axis"}


class Field(QWidget):
    """What all fields have in common."""

    #: A person changed it.
    changed = Signal()

    def value(self) -> Any:
        """Return a plain value; a ValueError says what cannot be used."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Show another value, without a word to anybody."""
        raise NotImplementedError

    def _place(self, *widgets: QWidget) -> QHBoxLayout:
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        for widget in widgets:
            row.addWidget(widget)
        return row


class Flag(Field):
    """Yes or no."""

    def __init__(self) -> None:
        super().__init__()
        self.control = CheckBox(text="")
        self.control.changed.connect(lambda _value: self.changed.emit())
        self._place(self.control.native)

    def value(self) -> bool:
        """Return whether it is on."""
        return bool(self.control.value)

    def set_value(self, value: Any) -> None:
        """Switch it on or off."""
        with self.control.changed.blocked():
            self.control.value = bool(value)


class Choice(Field):
    """One of a few words, or none where the parameter may have no value."""

    def __init__(self, parameter: Parameter) -> None:
        super().__init__()
        choices: list[tuple[str, str | None]] = [(choice, choice) for choice in parameter.choices]
        self.control = ComboBox(choices=[(_NOTHING, None), *choices] if parameter.optional else choices)
        self.control.native.setMinimumContentsLength(6)
        self.control.changed.connect(lambda _value: self.changed.emit())
        self._place(self.control.native)

    def value(self) -> str | None:
        """Return the word, or None."""
        return self.control.value

    def set_value(self, value: Any) -> None:
        """Show another word."""
        with self.control.changed.blocked():
            self.control.value = value


class Text(Field):
    """Whatever is typed: lists, pairs, words, numbers that may be left out."""

    def __init__(self, parameter: Parameter) -> None:
        super().__init__()
        self._parameter = parameter
        self.control = LineEdit()
        self.control.native.setPlaceholderText("nothing" if parameter.optional else parameter.allowed)
        if parameter.choices:
            self.control.native.setCompleter(QCompleter(list(parameter.choices)))
        self.control.changed.connect(lambda _text: self.changed.emit())
        self._place(self.control.native)

    def value(self) -> Any:
        """Return what the text says."""
        return self._parameter.parse(self.control.value)

    def set_value(self, value: Any) -> None:
        """Show a value as text."""
        with self.control.changed.blocked():
            self.control.value = self._parameter.show(value)


class Number(Field):
    """A number to type, with a slider over the values that are usual.

    Parameters
    ----------
    low, high : float
        Limits.
    usual : pair of float, optional
        The ends of the slider; without, there is none.
    whole : bool
        Whether it has no fraction.
    """

    def __init__(self, low: float, high: float, usual: tuple[float, float] | None, whole: bool) -> None:
        super().__init__()
        ends = usual or (low, high)
        digits = 0 if whole else _decimals(ends)
        step = 1 if whole else 10.0**-digits * (5 if usual and ends[1] - ends[0] >= 200 * 10.0**-digits else 1)
        kind: Callable[..., Any] = SpinBox if whole else FloatSpinBox
        limits = (int(max(low, -(2**31) + 1)), int(min(high, 2**31 - 1))) if whole else (low, high)
        start = min(max(0, limits[0]), limits[1])
        self.control = kind(min=limits[0], max=limits[1], step=step, value=start)
        self._digits = digits
        box = self.control.native
        if not whole:
            box.setDecimals(digits)
        box.setMinimumWidth(1)
        box.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)  # the number needs their room; arrow keys do what they did
        self._exact: float | None = None
        self._shown: float | None = None  # in its place
        self.control.changed.connect(self._take_number)
        self.slider: Any = None
        if usual is None:
            self._place(box)
            return
        box.setFixedWidth(_SPIN_WIDTH)
        slider: Callable[..., Any] = Slider if whole else FloatSlider
        ends = (int(ends[0]), int(ends[1])) if whole else ends
        size = 1 if whole else (ends[1] - ends[0]) / _STEPS_OF_A_SLIDER
        self.slider = slider(min=ends[0], max=ends[1], step=size, value=min(max(start, ends[0]), ends[1]), readout=False)
        self.slider.changed.connect(self._take_slider)
        self.slider.native.setMinimumWidth(40)
        self._place(self.slider.native, box)

    def value(self) -> float:
        """Return the number; as long as nobody turned it, exactly the one that was set."""
        shown = self.control.value
        # Not compared with round(): Qt rounds halves up, Python to even digits. Limits may have changed more than a digit.
        if self._exact is not None and shown == self._shown and abs(self._exact - shown) < 0.51 * 10.0**-self._digits:
            return self._exact
        return shown if self._digits == 0 and isinstance(shown, int) else round(float(shown), self._digits)

    def set_value(self, value: Any) -> None:
        """Show another number."""
        self._exact = value
        with self.control.changed.blocked():
            self.control.value = value
        self._shown = self.control.value
        self._follow()

    def _follow(self) -> None:
        if self.slider is not None:
            with self.slider.changed.blocked():
                self.slider.value = min(max(self.control.value, self.slider.min), self.slider.max)

    def _take_number(self, _value: float) -> None:
        self._follow()
        self.changed.emit()

    def _take_slider(self, value: float) -> None:
        with self.control.changed.blocked():
            self.control.value = value if self._digits == 0 else round(value, self._digits)
        self.changed.emit()


class Numbers(Field):
    """A range or a vector: one number with a slider, or several, as a menu behind them says.

    Parameters
    ----------
    parameter : Parameter
        Of kind range or vector.
    """

    def __init__(self, parameter: Parameter) -> None:
        super().__init__()
        self._parameter = parameter
        self._sizes = (1, 2) if parameter.kind == "range" else parameter.sizes
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(3)
        self._fields: list[Number] = []
        self._is_list = False
        row = self._place()
        row.addLayout(self._grid, 1)
        names = _FORMS if parameter.kind == "range" or parameter.around is not None else _FORMS | _PAIR_OF_ENDS
        self.form_button = QToolButton()
        self.form_button.setText("⋯")
        self.form_button.setToolTip(
            "<p>How many numbers there are: " + ", ".join(names[n].lower() for n in self._sizes) + ".</p>"
        )
        self.form_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.form_button)
        for size in self._sizes:
            menu.addAction(names[size], lambda size=size: self.set_size(size))
        self.form_button.setMenu(menu)
        self.form_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        row.addWidget(self.form_button, 0, Qt.AlignmentFlag.AlignTop)

    @property
    def numbers(self) -> list[Number]:
        """The fields of the numbers."""
        return self._fields

    def value(self) -> Any:
        """Return a number or a list of them."""
        values = [field.value() for field in self._fields]
        return self._parameter.check(values if self._is_list or len(values) > 1 else values[0])

    def set_value(self, value: Any) -> None:
        """Show another number or list."""
        self._is_list = isinstance(value, (list, tuple))
        values = list(value) if self._is_list else [value]
        if len(values) != len(self._fields):
            self._build(len(values))
        for field, number in zip(self._fields, values, strict=True):
            field.set_value(number)

    def set_size(self, size: int) -> None:
        """Show as many numbers, with the meaning as near as can be to what is shown now."""
        if size == len(self._fields):
            return
        self.set_value(_as_many([field.value() for field in self._fields], size, self._parameter))
        self.changed.emit()

    def _build(self, size: int) -> None:
        for field in self._fields:
            self._grid.removeWidget(field)
            field.setParent(None)
            field.deleteLater()
        self._fields = []
        low, high = _limits(self._parameter, size)
        usual = _usual(self._parameter, low, high) if size == 1 else None
        columns = 2 if size in (2, 6) else 3
        for at in range(size):
            field = Number(low, high, usual, self._parameter.whole)
            field.changed.connect(self.changed)
            self._fields.append(field)
            self._grid.addWidget(field, at // columns, at % columns)


def make_field(parameter: Parameter) -> Field:
    """Return the field for a parameter of any kind but "steps"."""
    if parameter.kind == "flag":
        return Flag()
    if parameter.kind == "choice" and not parameter.or_number:
        return Choice(parameter)
    if not parameter.optional:
        if parameter.kind in ("range", "vector"):
            return Numbers(parameter)
        if parameter.kind in ("number", "integer"):
            low, high = _limits(parameter, 1)
            return Number(low, high, _usual(parameter, low, high), parameter.kind == "integer" or parameter.whole)
    return Text(parameter)


def _limits(parameter: Parameter, size: int) -> tuple[float, float]:
    low = -_NEVER if parameter.minimum is None else parameter.minimum
    high = _NEVER if parameter.maximum is None else parameter.maximum
    if parameter.around is not None and size in (1, 3):
        return 0.0, min(high - parameter.around, parameter.around - low)  # half of the width of a range
    return low, high


def _usual(parameter: Parameter, low: float, high: float) -> tuple[float, float] | None:
    """Return the ends of a slider: what is allowed, where that is not much, else some times the default."""
    default = parameter.default if isinstance(parameter.default, (list, tuple)) else [parameter.default]
    size = max((abs(float(number)) for number in default if number is not None), default=0.0)
    if high - low <= max(20 * size, 2.0):
        return low, high
    reach = _round_up(4 * size) if size else 20.0 if parameter.unit else 1.0
    ends = max(low, 0.0 if low >= 0 else -reach), min(high, reach)
    return ends if ends[1] > ends[0] else None


def _round_up(number: float) -> float:
    """Return the next 1, 2 or 5 with zeros."""
    power = 10.0 ** math.floor(math.log10(number))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= number * 0.999)


def _decimals(ends: tuple[float, float]) -> int:
    span = ends[1] - ends[0]
    return int(min(max(3 - math.floor(math.log10(span)), 1), 6)) if 0 < span < 1000 else 2


def _as_many(values: Sequence[float], size: int, parameter: Parameter) -> Any:
    around, is_width = parameter.around, len(values) in (1, 3)
    if len(values) == 1:
        axes = [(values[0], values[0])] * 3
    elif len(values) == 2:
        axes = [(values[0], values[1])] * 3
    elif len(values) == 3:
        axes = [(number, number) for number in values]
    else:
        axes = list(zip(values[::2], values[1::2], strict=True))
    if size in (1, 3):
        # Of a range the width is what a single number says.
        single = [high if is_width or around is None else max(abs(low - around), abs(high - around)) for low, high in axes]
        return single[0] if size == 1 else single
    if is_width and around is not None:
        axes = [(around - low, around + high) for low, high in axes]
    elif is_width and (parameter.kind == "range" or parameter.name == "std"):
        axes = [(parameter.minimum or 0.0, high) for _low, high in axes]
    return list(axes[0]) if size == 2 else [number for pair in axes for number in pair]
