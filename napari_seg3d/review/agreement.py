"""How two readers agree who read the same cases without seeing what the other said."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from napari_seg3d.datasets import read_case_mask, read_mask
from napari_seg3d.datasets.placing import place_mask
from napari_seg3d.errors import ConfigError, Seg3dError
from napari_seg3d.review.entry import Entry, Reading
from napari_seg3d.review.measures import measure
from napari_seg3d.review.states import State
from napari_seg3d.review.worklist import Worklist
from napari_seg3d.volumes import Volume


@dataclass(frozen=True)
class CaseAgreement:
    """What two readers say of one case.

    Parameters
    ----------
    case : str
        Its id.
    states : pair of State
        Of the first and the second reader.
    dice : dict of int to float
        Label value -> Dice of their masks; empty where one of them cannot be read.
    problem : str
        Why the masks could not be compared; empty where they were.
    """

    case: str
    states: tuple[State, State]
    dice: Mapping[int, float] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Agreement:
    """What two readers say of all cases that both are done with.

    Parameters
    ----------
    readers : pair of str
        Their names.
    cases : tuple of CaseAgreement
        In the order of the worklist.
    """

    readers: tuple[str, str]
    cases: tuple[CaseAgreement, ...]

    @property
    def same(self) -> float:
        """Share of the cases of which both say the same; NaN without any."""
        return sum(one.states[0] == one.states[1] for one in self.cases) / len(self.cases) if self.cases else math.nan

    @property
    def kappa(self) -> float:
        """Cohen's kappa of what they say (1960): 1 where they always agree, 0 where no more than by chance.

        NaN where both always say one and the same thing, which they might do by chance.
        """
        if not self.cases:
            return math.nan
        count = len(self.cases)
        chance = 0.0
        for state in {state for one in self.cases for state in one.states}:
            shares = [sum(one.states[who] == state for one in self.cases) / count for who in (0, 1)]
            chance += shares[0] * shares[1]
        return (self.same - chance) / (1 - chance) if chance < 1 else math.nan

    @property
    def dice(self) -> dict[int, float]:
        """Mean Dice of each label over the cases that have it."""
        values: dict[int, list[float]] = {}
        for one in self.cases:
            for label, value in one.dice.items():
                if not math.isnan(value):
                    values.setdefault(label, []).append(value)
        return {label: sum(found) / len(found) for label, found in sorted(values.items())}


def agreement(
    worklist: Worklist, readers: Sequence[str] | None = None, progress: Callable[[int, int], None] | None = None
) -> Agreement:
    """Compare what two readers say, case by case; cases that one of them is not done with are left out.

    Parameters
    ----------
    worklist : Worklist
        Whose cases. Only what its reviewer may see is compared.
    readers : two names, optional
        Left out, those who were set to read apart.
    progress : callable, optional
        Told (done, total) after each case.

    Raises
    ------
    ConfigError
        They are not two.
    """
    both = tuple(readers or worklist.readers)
    if len(both) != 2:
        raise ConfigError(f"{len(both)} readers are to be compared ({', '.join(both) or 'none'}).", "Name two.")
    first, second = both
    found = []
    entries = [entry for entry in worklist.entries if all(who in entry.readings and entry.readings[who].is_done for who in both)]
    for done, entry in enumerate(entries, start=1):
        found.append(_compared(worklist, entry, entry.readings[first], entry.readings[second]))
        if progress is not None:
            progress(done, len(entries))
    return Agreement((first, second), tuple(found))


def _compared(worklist: Worklist, entry: Entry, one: Reading, other: Reading) -> CaseAgreement:
    assert one.state is not None
    assert other.state is not None
    states = (one.state, other.state)
    try:
        masks = [_mask_of(worklist, entry, reading) for reading in (one, other)]
        if masks[0] is None or masks[1] is None:
            return CaseAgreement(entry.case.id, states, problem="There is no mask.")
        return CaseAgreement(entry.case.id, states, measure(place_mask(masks[0], masks[1]), masks[1]).dice)
    except Seg3dError as error:
        return CaseAgreement(entry.case.id, states, problem=error.what)


def _mask_of(worklist: Worklist, entry: Entry, reading: Reading) -> Volume | None:
    """Return the mask that a reader left: their own, or the one that they were given."""
    mask = reading.mask or worklist.start_of(entry.case.id)
    if mask is None:
        return None
    if mask.file is not None:
        return read_mask(mask.file, overlapping=True)
    return read_case_mask(entry.case, merged=worklist.dataset.merged, overlapping=True)
