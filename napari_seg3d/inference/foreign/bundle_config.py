"""`BundleConfig`: the settings of a MONAI bundle as plain values. Expressions in it are never run."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from napari_seg3d.errors import ModelError

_REFERENCE = re.compile(r"^\$?\s*@([\w#:]+)\s*$")
_SEPARATOR = re.compile(r"::|#")
# A file from others: values that refer to one another must not grow without end.
_MOST_VALUES, _DEEPEST = 20_000, 40


class BundleConfig:
    """The settings of a bundle.

    Parameters
    ----------
    values : mapping
        What its file holds.
    name : str
        What to call the file in an error.
    """

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        self._values, self._name = values, name

    def first(self, *places: str) -> tuple[str, Any]:
        """Return the first of some places that is there and what lies there, references followed; ``("", None)`` for none."""
        for place in places:
            found = self._at(place)
            if found is not None:
                return place, self._followed(found, place)
        return "", None

    def plain(self, value: Any, where: str) -> Any:
        """Return a value with every reference in it resolved.

        Raises
        ------
        ModelError
            There is an expression in it, a reference to nothing, or a component.
        """
        return self._plain(value, where, [0], 0)

    def component(self, value: Any, where: str) -> tuple[str, dict[str, Any]]:
        """Return which of MONAI's classes a value names, and its arguments, references unresolved.

        Raises
        ------
        ModelError
            It names none, or one that is not MONAI's.
        """
        value = self._followed(value, where)
        if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
            raise ModelError(
                f"{where} in {self._name} names no component of MONAI.", "Write it as in MONAI's bundle specification."
            )
        target = value["_target_"]
        if "." in target and not target.startswith("monai."):
            raise ModelError(
                f"{where} in {self._name} asks for {target}, which is not a part of MONAI and was not run.",
                "Only bundles made of MONAI's own networks and transforms can be used.",
            )
        if value.get("_mode_", "default") != "default":
            raise ModelError(f"{where} in {self._name} asks for the mode {value['_mode_']!r}.", "Remove _mode_ from it.")
        return target.rsplit(".", 1)[-1], {str(name): one for name, one in value.items() if not str(name).startswith("_")}

    def components(self, value: Any, where: str) -> list[tuple[str, Any]]:
        """Return the transforms of a Compose, or the single one, each with the place where it stands."""
        if value is None:
            return []
        if isinstance(value, list):
            listed = value
        else:
            name, arguments = self.component(value, where)
            if name != "Compose":
                return [(where, value)]
            where = f"{where}#transforms"
            listed = self._followed(arguments.get("transforms", []), where)
        if not isinstance(listed, list) or len(listed) > 100:
            raise ModelError(f"{where} in {self._name} is no list of transforms.", "Write it as in MONAI's bundle specification.")
        places = [(f"{where}#{index}", self._followed(one, f"{where}#{index}")) for index, one in enumerate(listed)]
        return [
            (place, one)
            for place, one in places
            if not (isinstance(one, Mapping) and self.plain(one.get("_disabled_", False), place))
        ]

    def _at(self, place: str) -> Any:
        found: Any = self._values
        for part in _SEPARATOR.split(place):
            found = self._followed(found, place)
            if isinstance(found, Mapping):
                found = found.get(part)
            elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                return None
        return found

    def _followed(self, value: Any, where: str, depth: int = 0) -> Any:
        match = _REFERENCE.match(value) if isinstance(value, str) else None
        if match is None:
            return value
        if depth > _DEEPEST:
            raise ModelError(f"{where} in {self._name} refers to itself.", "Write a value there.")
        try:
            found = self._at(match[1])
        except RecursionError:
            raise ModelError(f"{where} in {self._name} refers to itself.", "Write a value there.") from None
        if found is None:
            raise ModelError(f"{where} in {self._name} refers to {match[1]}, which is not there.", "Write a value there.")
        return self._followed(found, where, depth + 1)

    def _plain(self, value: Any, where: str, count: list[int], depth: int) -> Any:
        count[0] += 1
        if count[0] > _MOST_VALUES or depth > _DEEPEST:
            raise ModelError(f"{where} in {self._name} holds more than any setting needs.", "Do not use this file.")
        value = self._followed(value, where)
        if isinstance(value, list):
            return [self._plain(one, f"{where}#{index}", count, depth + 1) for index, one in enumerate(value)]
        if isinstance(value, Mapping):
            if "_target_" in value:
                raise ModelError(
                    f"{where} in {self._name} asks for {value['_target_']}, where only numbers and texts are known.",
                    "Write a value there.",
                )
            return {str(name): self._plain(one, f"{where}#{name}", count, depth + 1) for name, one in value.items()}
        if isinstance(value, str) and value[:1] in ("$", "%"):
            return self._literal(value, where)
        return value

    def _literal(self, text: str, where: str) -> Any:
        """Return the number, text or list that an expression is, if it is nothing more."""
        try:
            if text.startswith("$") and len(text) < 200:
                return ast.literal_eval(text[1:].strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            pass
        short = text if len(text) <= 80 else f"{text[:79]}…"
        raise ModelError(
            f"{where} in {self._name} is an expression ({short}), which was not run.",
            "Write the value that it stands for in its place.",
        )
