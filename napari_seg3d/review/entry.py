"""`Entry`: a case of the worklist, as it follows from what was said of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from napari_seg3d.datasets import Case
from napari_seg3d.review.events import Event, Json
from napari_seg3d.review.measures import Measures
from napari_seg3d.review.states import DONE, State, is_state

#: What the mask in use is: that of the data set, one that a model made, or one that a person corrected.
Origin = Literal["data set", "prediction", "correction"]
#: What only one reader says, and what the other must not see before both are done.
_OPINIONS = ("state", "comment", "seconds", "prediction", "correction", "measured")


@dataclass(frozen=True)
class MaskInUse:
    """The mask of a case that is looked at and corrected.

    Parameters
    ----------
    file : Path or None
        Its file; None where the mask of the data set is in use, which may be in several (`datasets.read_case_mask` reads it).
    origin : {"data set", "prediction", "correction"}
        Where it comes from.
    written : str
        Its path as the journal has it; empty for that of the data set.
    """

    file: Path | None
    origin: Origin
    written: str = ""


@dataclass(frozen=True)
class Reading:
    """What one reader says of a case.

    Parameters
    ----------
    who : str
        The reader.
    state : State or None
        None while they have said nothing.
    comment : str
        Theirs.
    mask : MaskInUse or None
        Theirs; None where they left it as it was.
    seconds : float
        How long they had the case open.
    """

    who: str
    state: State | None = None
    comment: str = ""
    mask: MaskInUse | None = None
    seconds: float = 0.0

    @property
    def is_done(self) -> bool:
        """Whether the reader has made up their mind."""
        return self.state in DONE


@dataclass(frozen=True)
class Entry:
    """A case with all that is known about its review.

    Parameters
    ----------
    case : Case
        Of the data set.
    state : State
        Where it is.
    mask : MaskInUse or None
        The mask that is looked at; None where there is none yet.
    measures : Measures or None
        Of that mask; None while it is not measured.
    comment : str
        The last one.
    reviewer : str
        Who said the state; empty while nobody did.
    changed : datetime or None
        When something was last said.
    seconds : float
        How long the case was open, over all reviewers that may be seen.
    history : tuple of Event
        Who said what when, as far as it may be seen.
    readings : mapping of str to Reading
        What each reviewer says, as far as it may be seen.
    is_blinded : bool
        Whether something is hidden, because two readers are at work and not both are done.
    oddness : float
        See :func:`napari_seg3d.review.oddness`; NaN while it is not known.
    """

    case: Case
    state: State = "to do"
    mask: MaskInUse | None = None
    measures: Measures | None = None
    comment: str = ""
    reviewer: str = ""
    changed: datetime | None = None
    seconds: float = 0.0
    history: tuple[Event, ...] = ()
    readings: Mapping[str, Reading] = field(default_factory=dict)
    is_blinded: bool = False
    oddness: float = math.nan

    @property
    def has_reference(self) -> bool:
        """Whether the data set has a mask to compare the one in use with."""
        return self.case.mask is not None and self.mask is not None and self.mask.origin != "data set"

    @property
    def is_done(self) -> bool:
        """Whether it is approved or flagged."""
        return self.state in DONE

    @property
    def volume(self) -> float:
        """Of all labels in ml; NaN while it is not measured."""
        return sum(self.measures.volumes.values()) if self.measures is not None else math.nan

    @property
    def uncertainty(self) -> float:
        """0 to 1, NaN where nobody knows it."""
        return self.measures.uncertainty if self.measures is not None else math.nan

    @property
    def dice(self) -> float:
        """Mean over the labels, NaN without a reference."""
        return self.measures.mean_dice if self.measures is not None else math.nan


def fold(
    case: Case,
    events: Sequence[Event],
    locate: Callable[[str], Path],
    start: MaskInUse | None = None,
    reader: str = "",
    readers: Sequence[str] = (),
) -> Entry:
    """Return the entry of a case that follows from what was said of it.

    Parameters
    ----------
    case : Case
        Which.
    events : sequence of Event
        What was said of it, in the order of time.
    locate : callable
        Returns where the file lies that a journal names.
    start : MaskInUse, optional
        The mask of the case before anybody said anything.
    reader : str
        Who looks.
    readers : sequence of str
        Who reads the cases apart from the others. Until all of them are done, each sees none of the others' opinions, and whoever is
        no reader sees none at all.
    """
    said = {who: reading_of(who, [event for event in events if event.who == who], locate) for who in _authors(events)}
    waiting = [who for who in readers if who not in said or not said[who].is_done]
    hidden = [who for who in readers if who != reader] if waiting else []
    seen = tuple(event for event in events if event.who not in hidden or event.field not in _OPINIONS)
    comment, reviewer, seconds = "", "", 0.0
    state: State | None = None
    mask = start
    measured: dict[str, Measures] = {}
    for event in seen:
        value = event.value
        if event.field == "state" and is_state(value):
            state, reviewer = value, event.who
        elif event.field == "comment":
            comment = value if isinstance(value, str) else ""
        elif event.field == "seconds":
            seconds += _seconds(value)
        elif event.field in ("prediction", "correction"):
            mask = _mask(event, locate) or start
        elif event.field == "measured" and isinstance(value, Mapping):
            found = Measures.from_json(value)
            if found is not None:
                measured[str(value.get("file", ""))] = found
    if readers and not waiting and len({said[who].state for who in readers}) > 1 and reviewer in readers:
        state, reviewer = "flagged", ""  # they disagree, and nobody has decided since
    if state is None:
        state = "predicted" if mask is not None and mask.origin == "prediction" else "to do"
    return Entry(
        case,
        state,
        mask,
        measured.get(mask.written) if mask is not None else None,
        comment,
        reviewer,
        seen[-1].at if seen else None,
        seconds,
        seen,
        {who: reading for who, reading in said.items() if who not in hidden},
        bool(waiting),
    )


def reading_of(who: str, events: Iterable[Event], locate: Callable[[str], Path]) -> Reading:
    """Return what one reviewer says of a case, in events that are all theirs."""
    state: State | None = None
    comment, seconds = "", 0.0
    mask: MaskInUse | None = None
    for event in events:
        if event.field == "state":
            state = event.value if is_state(event.value) else state
        elif event.field == "comment":
            comment = event.value if isinstance(event.value, str) else ""
        elif event.field == "seconds":
            seconds += _seconds(event.value)
        elif event.field in ("prediction", "correction"):
            mask = _mask(event, locate)
    return Reading(who, state, comment, mask, seconds)


def _authors(events: Iterable[Event]) -> list[str]:
    return list(dict.fromkeys(event.who for event in events))


def _mask(event: Event, locate: Callable[[str], Path]) -> MaskInUse | None:
    if not isinstance(event.value, str) or not event.value:
        return None
    return MaskInUse(locate(event.value), "prediction" if event.field == "prediction" else "correction", event.value)


def _seconds(value: Json) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return max(0.0, float(value)) if is_number and math.isfinite(float(value)) else 0.0  # type: ignore[arg-type]
