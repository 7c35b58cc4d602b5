"""`Event`: one thing that somebody said about a case, as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from napari_seg3d.datasets.pairing.ids import is_id
from napari_seg3d.errors import DatasetError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

#: A line that is longer was written by nobody who reviews.
LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Event:
    """Who said what about a case, and when.

    Parameters
    ----------
    at : datetime
        When, with its time zone.
    who : str
        The reviewer, by the name that they gave.
    case : str
        Id of the case; empty for what concerns the whole data set.
    field : str
        What is said: ``"state"``, ``"comment"``, … Fields that this version does not know are kept and shown in the history.
    value : Json
        What it is from now on; of ``"seconds"``, what is added.
    """

    at: datetime
    who: str
    case: str
    field: str
    value: Json


def to_line(event: Event) -> str:
    """Return an event as a line with its end.

    Raises
    ------
    DatasetError
        The case is no id, or the value cannot be written or is far too long.
    """
    if event.case and not is_id(event.case):
        raise DatasetError(f"{event.case[:60]!r} is no id of a case.", "Choose a case of the data set.")
    entry = {
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "who": event.who,
        "case": event.case,
        "field": event.field,
        "value": event.value,
    }
    try:
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{event.field} of {event.case} cannot be written: {error}.", "Leave it out.") from error
    if len(line.encode("utf-8", errors="replace")) > LONGEST_LINE:
        raise DatasetError(f"{event.field} of {event.case} is too long.", "Shorten it.")
    # Half of a pair of surrogates, from a file name that is no text, would make the whole file unreadable.
    return line.encode("utf-8", errors="replace").decode("utf-8")


def from_line(line: bytes) -> Event:
    """Return the event of a line; a ValueError says why it is none."""
    try:
        entry = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError("it is no text in UTF-8") from error
    except RecursionError as error:
        raise ValueError("brackets in brackets without end") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error.msg}, column {error.colno})") from error
    if not isinstance(entry, Mapping):
        raise ValueError("it is no entry in braces")
    texts = {}
    for name in ("at", "who", "case", "field"):
        text = entry.get(name)
        if not isinstance(text, str) or (name in ("at", "field") and not text):
            raise ValueError(f"{name} is missing or no text")
        texts[name] = text
    if "value" not in entry:
        raise ValueError("value is missing")
    if texts["case"] and not is_id(texts["case"]):
        raise ValueError(f"{texts['case'][:60]!r} is no id of a case")
    try:
        at = datetime.fromisoformat(texts["at"])
    except ValueError as error:
        raise ValueError(f"{texts['at'][:40]!r} is no time") from error
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return Event(at, texts["who"], texts["case"], texts["field"], entry["value"])
