"""Dates and times in DICOM's notation, moved by an interval; what is no date becomes empty."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")  # with dots before 1993
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(\.\d{1,6})?")
_DATETIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\.\d{1,6})?([+-]\d{4})?")
_ANY_DAY = (2000, 1, 1)

#: Days, and seconds.
Shift = tuple[int, int]


def shift_date(value: object, shift: Shift) -> list[str]:
    """Return dates (DA) moved by whole days."""
    return [_day(moment + timedelta(days=shift[0])) for moment in map(_date, _each(value)) if moment is not None]


def shift_time(value: object, shift: Shift) -> list[str]:
    """Return times of day (TM) moved by the seconds, around the clock."""
    return [_clock(moment + timedelta(seconds=shift[1])) for moment in map(_time, _each(value)) if moment is not None]


def shift_pair(date: object, time: object, shift: Shift) -> tuple[list[str], list[str]]:
    """Return a date and a time of that day, moved together."""
    day, clock = (list(map(parse, _each(value))) for parse, value in ((_date, date), (_time, time)))
    if len(day) != 1 or len(clock) != 1 or day[0] is None or clock[0] is None:
        return shift_date(date, shift), shift_time(time, shift)
    midnight = clock[0].replace(hour=0, minute=0, second=0, microsecond=0)
    moved = day[0] + (clock[0] - midnight) + timedelta(days=shift[0], seconds=shift[1])
    return [_day(moved)], [_clock(moved)]


def shift_datetime(value: object, shift: Shift) -> list[str]:
    """Return moments (DT) moved; how exact they were, and their time zone, is forgotten."""
    moved = []
    for text in _each(value):
        match = _DATETIME.fullmatch(text)
        if match is None:
            continue
        moment = _moment(*(int(part or start) for part, start in zip(match.groups()[:6], (1, 1, 1, 0, 0, 0), strict=True)))
        if moment is not None:
            moment += timedelta(days=shift[0], seconds=shift[1] + float(match[7] or 0))
            moved.append(_day(moment) + _clock(moment))
    return moved


def _each(value: object) -> list[str]:
    several = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    return [str(one).strip() for one in several if one is not None and str(one).strip()]


def _date(text: str) -> datetime | None:
    match = _DATE.fullmatch(text)
    return None if match is None else _moment(*map(int, match.groups()))


def _time(text: str) -> datetime | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    moment = _moment(*_ANY_DAY, hour, minute, second)
    return None if moment is None else moment + timedelta(seconds=float(match[4] or 0))


def _moment(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime | None:
    try:
        return datetime(year, month, day, hour, minute, min(second, 59))  # 60 is a leap second
    except ValueError:
        return None


def _day(moment: datetime) -> str:
    return f"{moment.year:04}{moment.month:02}{moment.day:02}"


def _clock(moment: datetime) -> str:
    return f"{moment:%H%M%S}.{moment.microsecond:06}"
