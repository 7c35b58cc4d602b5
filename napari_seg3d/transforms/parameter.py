"""`Parameter` and `TransformInfo`: what a transform may be told, in which range, so that a form can ask and a file be checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from napari_seg3d.errors import ConfigError

#: number, integer, flag, choice, text: one value. range: one number or ``[low, high]``. vector: one number or one for each axis (see
#: `Parameter.sizes`). integers, numbers: a list of any length. mapping: whole number -> whole number. steps: steps inside a step.
ParameterKind = Literal[
    "number", "integer", "flag", "choice", "range", "vector", "text", "integers", "numbers", "mapping", "steps"
]
TransformKind = Literal["spatial", "intensity", "label"]
_LONGEST = 512


@dataclass(frozen=True)
class Parameter:
    """One parameter of a transform.

    Parameters
    ----------
    name : str
        Its keyword.
    kind : ParameterKind
        What values look like.
    default : plain value
        Taken where a step does not say.
    minimum, maximum : float or None
        Limits of every number in the value, both allowed.
    choices : tuple of str
        For kind choice.
    unit : str
        Such as ``"mm"``; empty where there is none.
    help : str
        What it does, for a tooltip.
    sizes : tuple of int
        How many numbers a vector may hold: 1 for all axes, 3 for one per axis, 2 for low and high of all axes, 6 for the low and high
        (or first and last) of each axis.
    whole : bool
        Whether the numbers of a range or vector must be whole.
    around : float or None
        Not None: a single number x, or three, means a random value between ``around - x`` and ``around + x``, and pairs mean low and
        high. None: in a range a single number is the upper end, the lower being `minimum`.
    optional : bool
        Whether None is a value: its meaning stands in `help`.
    or_number : bool
        Whether a choice may be a number instead.
    """

    name: str
    kind: ParameterKind
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    help: str = ""
    sizes: tuple[int, ...] = (1, 3)
    whole: bool = False
    around: float | None = None
    optional: bool = False
    or_number: bool = False

    @property
    def allowed(self) -> str:
        """Which values are allowed, in words."""
        numbers = "whole numbers" if self.whole or self.kind in ("integer", "integers", "mapping") else "numbers"
        limits = _limits(self.minimum, self.maximum)
        unit = f" {self.unit}" if self.unit else ""
        words = {
            "number": f"a number{limits}{unit}",
            "integer": f"a whole number{limits}{unit}",
            "flag": "true or false",
            "choice": f"one of {', '.join(self.choices)}" + (f", or a number{limits}" if self.or_number else ""),
            "range": f"a number or [low, high], {numbers}{limits}{unit}",
            "vector": f"{_either(self.sizes)} {numbers}{limits}{unit}",
            "text": "text",
            "integers": f"a list of whole numbers{limits}",
            "numbers": f"a list of numbers{limits}",
            "mapping": "whole numbers and what each becomes, such as {7: 1}",
            "steps": "a list of at least one step",
        }[self.kind]
        return words + (", or nothing" if self.optional else "")

    def check(self, value: Any) -> Any:
        """Return `value` as plain numbers, texts and lists.

        Raises
        ------
        ValueError
            It is none of the allowed values; the message says which are.
        """
        if value is None and self.optional:
            return None
        try:
            return _CHECKS[self.kind](self, value)
        except (TypeError, ValueError) as error:
            reason = f" ({error})" if str(error) else ""
            raise ValueError(f"{self.name} = {_short(value)} is not {self.allowed}{reason}") from error

    def show(self, value: Any) -> str:
        """Return a value as text for a line to edit; `parse` reads it back."""
        if value is None:
            return ""
        if isinstance(value, Mapping):
            return ", ".join(f"{key}: {to}" for key, to in value.items())
        if isinstance(value, (list, tuple)):
            return ", ".join(str(part) for part in value)
        return str(value)

    def parse(self, text: str) -> Any:
        """Return the value that a person typed: ``12``, ``0.5, 2``, ``[1, 2, 3]``, ``7: 1, 8: 2``; nothing is None.

        Raises
        ------
        ValueError
            As `check`.
        """
        text = text.strip().strip("[](){}").strip()
        if not text:
            empty: dict[str, Any] = {"integers": [], "numbers": [], "mapping": {}}
            return self.check(None if self.optional else empty.get(self.kind))
        if self.kind == "mapping":
            pairs = [part.split(":") for part in text.split(",") if part.strip()]
            if any(len(pair) != 2 for pair in pairs):
                raise ValueError(f"{self.name} = {text} is not {self.allowed}")
            return self.check({_typed(key): _typed(to) for key, to in pairs})
        if self.kind in ("text", "choice"):
            typed = _typed(text)
            return self.check(typed if self.or_number else text)
        if self.kind == "flag":
            return self.check({"true": True, "false": False}.get(text.lower(), text))
        values = [_typed(part) for part in text.replace(";", ",").split(",")]
        return self.check(values if len(values) > 1 or self.kind in ("integers", "numbers") else values[0])


@dataclass(frozen=True)
class TransformInfo:
    """One transform of the catalogue.

    Parameters
    ----------
    name : str
        As torchio, or this project, calls it.
    kind : {"spatial", "intensity", "label"}
        spatial: moves image and mask alike. intensity: changes the image alone. label: changes the mask alone.
    is_random : bool
        Whether it draws random numbers, and so belongs to the augmentation.
    summary : str
        One sentence.
    parameters : tuple of Parameter
        What it may be told.
    needs_mask : bool
        Whether it looks at the mask to change the image: impossible in preprocessing, because a scan to predict has none.
    is_own : bool
        Whether this project makes it; the others are torchio's.
    rule : callable, optional
        What several parameters together must obey: given all of them, the reason why they do not go together, or "".
    """

    name: str
    kind: TransformKind
    is_random: bool
    summary: str
    parameters: tuple[Parameter, ...] = ()
    needs_mask: bool = False
    is_own: bool = False
    rule: Callable[[Mapping[str, Any]], str] | None = field(default=None, compare=False, repr=False)

    def parameter(self, name: str) -> Parameter:
        """Return the parameter of this name.

        Raises
        ------
        ConfigError
            There is none; the valid ones are listed, the closest first.
        """
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        known = closest_first(name, [parameter.name for parameter in self.parameters])
        raise ConfigError(
            f"{self.name} has no parameter {name!r}.", f"It has {', '.join(known)}." if known else "It has none at all."
        )

    def defaults(self) -> dict[str, Any]:
        """Return every parameter's default."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def check(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return `parameters` as plain values.

        Raises
        ------
        ConfigError
            A name is unknown, a value out of range, or two do not go together.
        """
        checked: dict[str, Any] = {}
        for name, value in parameters.items():
            parameter = self.parameter(str(name))
            try:
                checked[parameter.name] = parameter.check(value)
            except ValueError as error:
                raise ConfigError(f"{self.name}: {error}.", f"Give {parameter.allowed}.") from error
        reason = self.rule({**self.defaults(), **checked}) if self.rule is not None else ""
        if reason:
            raise ConfigError(f"{self.name}: {reason}.", "Change one of them.")
        return checked


def closest_first(name: str, known: list[str]) -> list[str]:
    """Return `known`, what looks like `name` first."""
    close = get_close_matches(name.lower(), [word.lower() for word in known], n=3, cutoff=0.5)
    return sorted(known, key=lambda word: (close.index(word.lower()) if word.lower() in close else len(close), word))


def _either(sizes: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, sizes[:-1]))} or {sizes[-1]}"


def _limits(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum:g} to {maximum:g}"
    if minimum is not None:
        return f" of at least {minimum:g}"
    return f" of at most {maximum:g}" if maximum is not None else ""


def _number(parameter: Parameter, value: Any, whole: bool | None = None) -> float | int:
    whole = parameter.whole if whole is None else whole
    # A flag is a number to Python, and "not a number" is one to IEEE; neither is one here.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{_short(value)} is no number")
    if not math.isfinite(value) or (whole and value != int(value)):
        raise ValueError(f"{value} is not whole" if math.isfinite(value) else "")
    if (parameter.minimum is not None and value < parameter.minimum) or (
        parameter.maximum is not None and value > parameter.maximum
    ):
        raise ValueError
    return int(value) if whole else value


def _flag(parameter: Parameter, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _choice(parameter: Parameter, value: Any) -> str | float:
    if parameter.or_number and not isinstance(value, str):
        return _number(parameter, value)
    if not isinstance(value, str) or value not in parameter.choices:
        raise ValueError
    return value


def _text(parameter: Parameter, value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise TypeError
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise TypeError
    if len(value) > _LONGEST:
        raise ValueError(f"more than {_LONGEST} values")
    return list(value)


def _vector(parameter: Parameter, value: Any) -> Any:
    values = _list(value) if isinstance(value, (list, tuple)) else [value]
    sizes = (1, 2) if parameter.kind == "range" else parameter.sizes
    if len(values) not in sizes:
        raise ValueError(f"{len(values)} numbers")
    is_ranged = 2 in sizes
    pairs = is_ranged and len(values) in (2, 6)
    if is_ranged and not pairs and parameter.around is not None:
        # Half of the width of a range: the ends are what must lie within the limits.
        for width in values:
            if _number(_UNLIMITED, width, parameter.whole) < 0:
                raise ValueError("the width of a range is not negative")
            low, high = parameter.around - width, parameter.around + width
            try:
                _number(parameter, low)
                _number(parameter, high)
            except ValueError:
                raise ValueError(f"it would draw from {low:g} to {high:g}") from None
        numbers = list(values)
    else:
        numbers = [_number(parameter, number) for number in values]
    if pairs and any(low > high for low, high in zip(numbers[::2], numbers[1::2], strict=True)):
        raise ValueError("low is above high")
    return numbers if isinstance(value, (list, tuple)) else numbers[0]


def _mapping(parameter: Parameter, value: Any) -> dict[int, int]:
    if not isinstance(value, Mapping) or len(value) > _LONGEST:
        raise TypeError
    # JSON knows only texts as names.
    pairs = {int(key) if isinstance(key, str) and key.isdigit() else key: to for key, to in value.items()}
    return {int(_number(parameter, key, True)): int(_number(parameter, to, True)) for key, to in pairs.items()}


def _steps(parameter: Parameter, value: Any) -> list[Any]:
    # What is inside each is the step's own affair, which alone knows the catalogue (see `Step`).
    if not _list(value):
        raise ValueError
    return list(value)


_UNLIMITED = Parameter("", "number", 0)
_CHECKS: dict[str, Callable[[Parameter, Any], Any]] = {
    "number": _number,
    "integer": lambda parameter, value: _number(parameter, value, True),
    "flag": _flag,
    "choice": _choice,
    "range": _vector,
    "vector": _vector,
    "text": _text,
    "integers": lambda parameter, value: [_number(parameter, part, True) for part in _list(value)],
    "numbers": lambda parameter, value: [_number(parameter, part) for part in _list(value)],
    "mapping": _mapping,
    "steps": _steps,
}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _typed(text: str) -> Any:
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
