"""`Option`: what only one network may be told, in which range, so that a form can ask and a file be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

#: flag, integer, number, choice: one value. integers: a list of whole numbers. sides: three whole numbers, one for each axis of the
#: sample (for slices the third is 1).
OptionKind = Literal["flag", "integer", "number", "choice", "integers", "sides"]
OptionValue = bool | int | float | str | list[int]


@dataclass(frozen=True)
class Option:
    """One option of a network.

    Parameters
    ----------
    name : str
        Its key in `NetworkSpec.options`.
    kind : OptionKind
        What values look like.
    default : plain value
        Taken where nothing is said.
    title, help : str
        For a form: its label and its tooltip.
    minimum, maximum : float or None
        Limits of every number in the value, both allowed.
    choices : tuple of str
        For kind choice.
    """

    name: str
    kind: OptionKind
    default: OptionValue
    title: str
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def checked(self, value: OptionValue, dims: int = 3) -> OptionValue:
        """Return the value as this kind keeps it for samples of so many dimensions; a ValueError says in words what is wrong with it."""
        if self.kind == "flag":
            if isinstance(value, bool):
                return value
            raise ValueError(f"{self.name} is on or off, not {value!r}")
        if self.kind == "choice":
            if value in self.choices:
                return value
            raise ValueError(f"{self.name} is one of {', '.join(self.choices)}, not {value!r}")
        if self.kind in ("integers", "sides"):
            if not isinstance(value, list) or not value:
                raise ValueError(f"{self.name} is a list of whole numbers, not {value!r}")
            if self.kind == "sides" and len(value) != 3:
                raise ValueError(f"{self.name} holds 3 numbers, not {len(value)}")
            numbers = [int(self._in_range(number, whole=True)) for number in value]
            return [*numbers[:2], 1] if self.kind == "sides" and dims == 2 else numbers
        number = self._in_range(value, whole=self.kind == "integer")
        return int(number) if self.kind == "integer" else float(number)

    def _in_range(self, value: object, whole: bool) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or (whole and value != int(value)):
            raise ValueError(f"{self.name} is a {'whole ' if whole else ''}number, not {value!r}")
        if not (self.minimum is None or value >= self.minimum) or not (self.maximum is None or value <= self.maximum):
            raise ValueError(f"{self.name} lies between {self.minimum:g} and {self.maximum:g}, and is {value:g}")
        return value


def checked_options(options: tuple[Option, ...], values: Mapping[str, Any], dims: int) -> dict[str, OptionValue]:
    """Return a value for every option, those of `values` checked and the rest by default.

    Raises
    ------
    ValueError
        A name is unknown, or a value is not what its option takes.
    """
    known = {option.name: option for option in options}
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'no options'}"
            raise ValueError(f"this network has no option {name}; {hint}")
    return {name: option.checked(values.get(name, option.default), dims) for name, option in known.items()}


DROPOUT = Option("dropout", "number", 0.0, "Dropout", "Share of the features left out at random while training.", 0, 0.9)


def per_level(numbers: OptionValue, levels: int) -> list[int]:
    """Return one number for each level; where a list is too short, its last counts for the rest."""
    if not isinstance(numbers, list):
        raise TypeError(f"{numbers!r} is no list")
    return [*numbers, *[numbers[-1]] * levels][:levels]
