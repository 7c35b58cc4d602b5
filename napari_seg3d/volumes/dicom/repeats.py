"""Several frames at one place: time points, echoes, b-values, or the same picture twice. They are never slices."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.dicom.frames import Frame

Places = Sequence[Sequence[Frame]]


@dataclass(frozen=True)
class Repeats:
    """The repeats of a stack.

    Parameters
    ----------
    frames : tuple of tuples of Frame
        ``[repeat][slice]``.
    by : str
        What told them apart, in words; empty where there is only one.
    is_certain : bool
        Whether the header tells the repeats apart as such, rather than only by a running number.
    """

    frames: tuple[tuple[Frame, ...], ...]
    by: str = ""
    is_certain: bool = True


def repeats_of(places: Places) -> Repeats | None:
    """Return which frame belongs to which repeat; None if nothing tells the frames at a place apart.

    Parameters
    ----------
    places : sequence of sequences of Frame
        ``[slice]``, each with all the frames at this place.

    Raises
    ------
    ReadError
        Some places have more frames than others.
    """
    counts = {len(place) for place in places}
    if len(counts) > 1:
        raise ReadError(
            f"Slices are missing: {min(counts)} pictures lie at some of the {len(places)} places of the series, "
            f"{max(counts)} at others.",
            "Export the series again, whole; or put the files of one volume into a folder of their own.",
        )
    if counts == {1}:
        return Repeats((tuple(place[0] for place in places),))
    for name, value_of in (("temporal position", _temporal), ("acquisition number", _acquisition)):
        if found := _grouped(places, value_of):
            return Repeats(found, name)
    for name, value_of in (("trigger time", _trigger), ("acquisition time", _moment), ("temporal position", _temporal)):
        if found := _ranked(places, value_of):
            return Repeats(found, name)
    if found := _ranked(places, lambda frame: frame.header.instance_number):
        return Repeats(found, "instance number", is_certain=False)
    return None


def _temporal(frame: Frame) -> float | None:
    return frame.temporal


def _acquisition(frame: Frame) -> float | None:
    return frame.acquisition


def _trigger(frame: Frame) -> float | None:
    return frame.trigger


def _moment(frame: Frame) -> float | None:
    return seconds(frame.time)


def seconds(time: str) -> float | None:
    """Return a DICOM time or date and time as seconds since some fixed moment; None where it is none."""
    found = re.match(r"^(\d{8})?(\d{2})(\d{2})(\d{2}(?:\.\d+)?)", time.replace(":", ""))
    if found is None:
        return None
    day, hours, minutes, rest = found.groups()
    try:
        start = datetime.strptime(day or "19000101", "%Y%m%d")
    except ValueError:
        return None
    whole = (start - datetime(1900, 1, 1)) / timedelta(seconds=1)
    return whole + 3600 * int(hours) + 60 * int(minutes) + float(rest)


def time_names(frames: Places) -> tuple[str, ...]:
    """Return a name for each time point ``[time][slice]``: the seconds since the first one, or its number."""
    moments = [seconds(channel[0].time) for channel in frames]
    triggers = [channel[0].trigger for channel in frames]
    first = moments[0]
    if first is not None and None not in moments:
        since = [moment - first for moment in moments if moment is not None]
        names = tuple(f"{one:.4g} s" for one in since)
        if len(set(names)) == len(names) and since == sorted(since):
            return names
    if None not in triggers and len(set(triggers)) == len(triggers):
        return tuple(f"{trigger:.4g} ms" for trigger in triggers)
    return tuple(str(number + 1) for number in range(len(frames)))


def _grouped(places: Places, value_of: Callable[[Frame], float | None]) -> tuple[tuple[Frame, ...], ...]:
    """Return the frames by the values of an attribute, ascending; empty unless each value is there once at every place."""
    values = {value_of(frame) for frame in places[0]}
    if None in values or len(values) != len(places[0]):
        return ()
    tables: list[dict[Hashable, Frame]] = [{value_of(frame): frame for frame in place} for place in places]
    if any(set(table) != values for table in tables):
        return ()
    return tuple(tuple(table[value] for table in tables) for value in sorted(value for value in values if value is not None))


def _ranked(places: Places, value_of: Callable[[Frame], float | None]) -> tuple[tuple[Frame, ...], ...]:
    """Return the frames by their rank at their place; empty unless all values there differ."""
    ordered = []
    for place in places:
        values = {frame: value_of(frame) for frame in place}
        known = {frame: value for frame, value in values.items() if value is not None}
        if len(known) != len(place) or len(set(known.values())) != len(place):
            return ()
        ordered.append(sorted(place, key=lambda frame: known[frame]))
    return tuple(tuple(place[repeat] for place in ordered) for repeat in range(len(ordered[0])))
