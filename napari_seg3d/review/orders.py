"""In which order the cases of a worklist come, and which one is next."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Literal, get_args

from napari_seg3d.errors import ConfigError
from napari_seg3d.review.entry import Entry
from napari_seg3d.review.states import STATES, State

Order = Literal["case", "state", "volume", "oddness", "uncertainty", "dice", "time", "comment", "changed", "reviewer"]
ORDERS: tuple[Order, ...] = get_args(Order)
#: These begin with their largest values unless asked otherwise: what wants to be looked at first.
LARGEST_FIRST: frozenset[Order] = frozenset(("uncertainty", "oddness", "changed"))


def ordered(entries: Iterable[Entry], order: Order, descending: bool | None = None) -> list[Entry]:
    """Return entries in an order; what is not known comes last whichever way round, and equals by their id.

    Parameters
    ----------
    entries : iterable of Entry
        Which.
    order : Order
        By what.
    descending : bool, optional
        Whether the largest comes first; left out, what most wants to be looked at does.
    """
    if order not in ORDERS:
        raise ConfigError(f"There is no order {order!r}.", f"Choose one of {', '.join(ORDERS)}.")
    is_falling = order in LARGEST_FIRST if descending is None else descending
    rows = sorted(entries, key=lambda entry: entry.case.id)
    # An order has texts or numbers, never both.
    texts: list[tuple[str, Entry]] = []
    numbers: list[tuple[float, Entry]] = []
    unknown: list[Entry] = []
    for entry in rows:
        value = value_of(entry, order)
        if value is None:
            unknown.append(entry)
        elif isinstance(value, str):
            texts.append((value, entry))
        else:
            numbers.append((value, entry))
    texts.sort(key=lambda pair: pair[0], reverse=is_falling)
    numbers.sort(key=lambda pair: pair[0], reverse=is_falling)
    return [*(entry for _, entry in texts), *(entry for _, entry in numbers), *unknown]


def value_of(entry: Entry, order: Order) -> float | str | None:
    """Return what an entry is ordered by; None where it is not known."""
    if order == "case":
        return entry.case.id
    if order == "state":
        return float(STATES.index(entry.state))
    if order == "changed":
        return entry.changed.timestamp() if entry.changed is not None else None
    if order in ("comment", "reviewer"):
        return (entry.comment if order == "comment" else entry.reviewer).casefold() or None
    number = {
        "volume": entry.volume,
        "oddness": entry.oddness,
        "uncertainty": entry.uncertainty,
        "dice": entry.dice,
        "time": entry.seconds or math.nan,
    }[order]
    return None if math.isnan(number) else number


def beside(rows: Sequence[Entry], after: str | None, skip: Collection[State] = (), step: int = 1) -> Entry | None:
    """Return the entry that comes after (before, for a `step` of -1) a case in these rows, passing over those in some states."""
    ids = [entry.case.id for entry in rows]
    edge = -1 if step > 0 else len(rows)
    place = ids.index(after) if after in ids else edge
    way = rows[place + 1 :] if step > 0 else rows[:place][::-1]
    return next((entry for entry in way if entry.state not in skip), None)
