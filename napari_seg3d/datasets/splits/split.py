"""Who trains, who validates and who tests: by subject, drawn from a seed, with each label in the same share of the cases."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.datasets.splits.stored import Place, StoredSplit, Test
from napari_seg3d.datasets.splits.stratify import deal
from napari_seg3d.errors import DatasetError
from napari_seg3d.files import write_text

if TYPE_CHECKING:
    from napari_seg3d.datasets.doctor import CaseFacts

#: Case id -> the values of the labels in its mask.
Presence = Mapping[str, frozenset[int]]


class SplitRow(NamedTuple):
    """One line of ``split.csv``."""

    case: str
    subject: str
    set: Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Split:
    """Ids of the cases that train, of those that validate, and of those that are held back, each sorted.

    Parameters
    ----------
    train, validation, test : tuple of str
        No subject has cases in two of them, but that a single subject both trains and validates.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()

    def rows(self, cases: Iterable[Case]) -> list[SplitRow]:
        """Return case, subject and set of those `cases` that belong to the split, in their order; a row for each set of a case."""
        sets: dict[Literal["train", "validation", "test"], set[str]] = {
            "train": set(self.train),
            "validation": set(self.validation),
            "test": set(self.test),
        }
        return [SplitRow(case.id, case.subject, name) for case in cases for name, ids in sets.items() if case.id in ids]

    def save(self, path: str | Path, cases: Iterable[Case]) -> None:
        """Write a CSV with the columns case, subject, set."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(SplitRow._fields)
        writer.writerows(self.rows(cases))
        write_text(path, text.getvalue())


def presence_of(facts: Mapping[str, CaseFacts]) -> Presence:
    """Return which labels a check has found in the mask of each case."""
    return {case: frozenset(value for value in fact.label_counts if value) for case, fact in facts.items()}


def split_by_subject(cases: Sequence[Case], validation: float = 0.2, seed: int = 0, presence: Presence | None = None) -> Split:
    """Draw the subjects that validate.

    The order of the draw follows from the seed and the names of the subjects alone, so the order of a listing changes nothing
    and, where labels do not matter, a new subject moves few of the others.

    Parameters
    ----------
    cases : sequence of Case
        Those that may train.
    validation : float
        Share of the subjects to hold back, between 0 and 1. At least one subject lies on either side.
    seed : int
        Another number draws other subjects.
    presence : mapping of str to frozenset of int, optional
        Case id -> labels in its mask. With them, each label is in the same share of the cases on both sides, as nearly as whole
        subjects allow (iterative stratification, Sechidis et al. 2011). Where all cases hold the same labels they change nothing.

    Raises
    ------
    DatasetError
        There are fewer than two subjects, or `validation` is no share.
    """
    if not 0 < validation < 1:
        raise DatasetError(
            f"A validation share of {validation:g} leaves one side empty.", "Choose one between 0 and 1, such as 0.2."
        )
    subjects = _drawn(cases, seed)
    count = min(max(round(validation * len(subjects)), 1), len(subjects) - 1)
    held_back, _ = deal(subjects, _labels(cases, presence), (count, len(subjects) - count))
    return _sides(cases, set(held_back))


def make_split(
    cases: Sequence[Case],
    method: Literal["fraction", "folds", "stride"] = "fraction",
    *,
    validation: float = 0.2,
    folds: int = 5,
    stride: int = 10,
    seed: int = 0,
    presence: Presence | None = None,
    kept: StoredSplit | None = None,
) -> StoredSplit:
    """Decide for every case whether it trains or validates.

    Parameters
    ----------
    cases : sequence of Case
        Those that may train, the test set among them.
    method : {"fraction", "folds", "stride"}
        A share of the subjects validates; each of so many folds in turn; or every so manyth subject, the first one to begin with,
        in the order of the ids.
    validation, folds, stride, seed
        See :class:`StoredSplit`.
    presence : mapping of str to frozenset of int, optional
        As for :func:`split_by_subject`; `stride` takes no notice of it.
    kept : StoredSplit, optional
        Whose test set stays as it is.

    Raises
    ------
    DatasetError
        There are too few subjects, or a number is out of range.
    """
    made = StoredSplit(
        method,
        validation=validation,
        folds=folds,
        stride=stride,
        seed=seed,
        test=kept.test if kept is not None else (),
        test_content=kept.test_content if kept is not None else {},
    )
    rest = _not_held_back(made, cases)
    sets: dict[str, Place]
    if method == "folds":
        subjects = _drawn(rest, seed)
        if len(subjects) < folds:
            raise DatasetError(
                f"{len(subjects)} subjects cannot be dealt into {folds} folds.", f"Choose at most {len(subjects)} folds."
            )
        sizes = [len(subjects) // folds + (fold < len(subjects) % folds) for fold in range(folds)]
        parts = deal(subjects, _labels(rest, presence), sizes)
        fold_of = {subject: fold for fold, part in enumerate(parts, start=1) for subject in part}
        sets = {case.id: fold_of[case.subject] for case in rest}
    else:
        if method == "fraction":
            sides = split_by_subject(rest, validation, seed, presence)
        else:
            _drawn(rest, seed)  # refuses what cannot be split
            in_order = dict.fromkeys(case.subject for case in sorted(rest, key=lambda case: case.id))
            sides = _sides(rest, set(list(in_order)[::stride]))
        sets = {**dict.fromkeys(sides.train, "train"), **dict.fromkeys(sides.validation, "validation")}
    return replace(made, sets=dict(sorted(sets.items())))


def draw_test(
    split: StoredSplit | None, cases: Sequence[Case], share: float, seed: int = 0, presence: Presence | None = None
) -> StoredSplit:
    """Draw the subjects of a test set; what else is left has no set until it is split.

    Raises
    ------
    DatasetError
        The test set is frozen, or the share leaves nobody to train and to validate.
    """
    _refuse_frozen(split)
    test = set(split_by_subject(cases, share, seed, presence).validation)
    if len({case.subject for case in cases if case.id not in test}) < 2:
        raise DatasetError(
            f"A test set of {share:g} leaves fewer than two subjects to train and to validate.", "Choose a smaller share."
        )
    return StoredSplit(split.method if split else "fraction", test=tuple(test))


def set_test(split: StoredSplit | None, cases: Sequence[Case], ids: Iterable[str]) -> StoredSplit:
    """Return a split with exactly these cases in its test set; what else is left trains until it is split.

    Raises
    ------
    DatasetError
        The test set is frozen, or a subject would be broken apart.
    """
    _refuse_frozen(split)
    return assign(StoredSplit("lists"), cases, ids, "test")


def assign(split: StoredSplit | None, cases: Sequence[Case], ids: Iterable[str], place: Place | Test) -> StoredSplit:
    """Put cases into a set by hand.

    Parameters
    ----------
    split : StoredSplit, optional
        What there is; left out, all others train.
    cases : sequence of Case
        All cases of the data set.
    ids : iterable of str
        Whom to move.
    place : {"train", "validation", "test"} or int
        Where to; with folds, the number of one.

    Raises
    ------
    DatasetError
        A subject would be broken apart, or the test set is frozen and would change.
    """
    moved = set(ids)
    split = split or StoredSplit("lists")
    if place == "test" or moved & split.held_back:
        _refuse_frozen(split)
    sets = {**complete(split, cases), **dict.fromkeys(moved, place)}
    _refuse_broken(cases, sets, {case.subject for case in cases if case.id in moved})
    return replace(
        split,
        method="folds" if split.method == "folds" else "lists",  # a share that somebody has changed is none any more
        sets={case: one for case, one in sorted(sets.items()) if one != "test"},
        test=tuple(case for case, one in sets.items() if one == "test"),
    )


def complete(split: StoredSplit, cases: Sequence[Case]) -> dict[str, Place | Test]:
    """Return the set of every case: those that the split does not name go where their subject is, or train."""
    of_subject: dict[str, Place | Test] = {}
    for case in sorted(cases, key=lambda case: case.id):
        place = split.place_of(case.id)
        if place == "test" or (place is not None and case.subject not in of_subject):
            of_subject[case.subject] = place
    return {case.id: split.place_of(case.id) or of_subject.get(case.subject, "train") for case in cases}


def sides(split: StoredSplit, cases: Sequence[Case], sound: Sequence[Case], fold: int = 1) -> Split:
    """Return who trains, who validates and who is held back.

    Parameters
    ----------
    split : StoredSplit
        Of the data set.
    cases : sequence of Case
        All cases of the data set.
    sound : sequence of Case
        Those of them that may train.
    fold : int
        Which fold validates.

    Raises
    ------
    DatasetError
        A subject has cases in two sets, there is no such fold, or nobody is left to train or to validate.
    """
    sets = complete(split, cases)
    _refuse_broken(cases, sets, {case.subject for case in cases})
    if fold != 1 and fold not in split.places:
        folds = f"has {split.folds} folds" if split.method == "folds" else "has no folds"
        raise DatasetError(f"Fold {fold} cannot validate: the split {folds}.", "Choose another fold, or make the split anew.")
    validates: Place = fold if split.method == "folds" else "validation"
    usable = [case.id for case in sound if sets[case.id] != "test"]
    found = Split(
        train=tuple(sorted(case for case in usable if sets[case] != validates)),
        validation=tuple(sorted(case for case in usable if sets[case] == validates)),
        test=tuple(sorted(case for case, place in sets.items() if place == "test")),
    )
    for side, what in ((found.train, "train"), (found.validation, "validate")):
        if not side:
            raise DatasetError(
                f"The split of the data set leaves no sound case to {what}.",
                "Make it anew, or mend the cases that the check found unsound.",
            )
    return found


def _refuse_frozen(split: StoredSplit | None) -> None:
    if split is not None and split.is_frozen:
        raise DatasetError(
            f"The test set of {len(split.test)} cases is frozen, so that every model is judged by the same cases.",
            "Unfreeze it first, if that is what you want: results before and after can then no longer be compared.",
        )


def _refuse_broken(cases: Sequence[Case], sets: Mapping[str, Place | Test], subjects: set[str]) -> None:
    first: dict[str, Case] = {}
    for case in sorted(cases, key=lambda case: case.id):
        if case.subject not in subjects:
            continue
        other = first.setdefault(case.subject, case)
        if sets[other.id] != sets[case.id]:
            members = [one.id for one in cases if one.subject == case.subject]
            named = ", ".join(members[:6]) + (f" and {len(members) - 6} more" if len(members) > 6 else "")
            raise DatasetError(
                f"{other.id} ({_called(sets[other.id])}) and {case.id} ({_called(sets[case.id])}) are of one subject, "
                f"{case.subject}, which would be broken apart.",
                f"Put all its cases into one set ({named}); if they are different people, say so in a subjects.csv.",
            )


def _called(place: Place | Test) -> str:
    return f"fold {place}" if isinstance(place, int) else place


def _not_held_back(split: StoredSplit, cases: Sequence[Case]) -> list[Case]:
    held_back = {case.subject for case in cases if case.id in split.held_back}
    return [case for case in cases if case.subject not in held_back and case.id not in split.held_back]


def _drawn(cases: Sequence[Case], seed: int) -> list[str]:
    """Return the subjects in the order of the draw; refuses fewer than two."""
    subjects = sorted({case.subject for case in cases}, key=lambda subject: _draw(seed, subject))
    if not subjects:
        raise DatasetError(
            "There are no cases to split.", "Open a data set in which at least two subjects have sound images and masks."
        )
    if len(subjects) == 1:
        raise DatasetError(
            f"All {len(cases)} cases belong to one subject ({subjects[0]}), so none can be held back to judge the model.",
            "Add scans of another subject; if they are several, tell them apart in a subjects.csv (columns case, subject).",
        )
    return subjects


def _draw(seed: int, subject: str) -> tuple[bytes, str]:
    return hashlib.sha256(f"{seed}:{subject}".encode()).digest(), subject


def _labels(cases: Sequence[Case], presence: Presence | None) -> dict[str, list[frozenset[int]]]:
    of_subject: dict[str, list[frozenset[int]]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.id):
        of_subject[case.subject].append((presence or {}).get(case.id, frozenset()))
    return of_subject


def _sides(cases: Sequence[Case], held_back: set[str]) -> Split:
    return Split(
        train=tuple(sorted(case.id for case in cases if case.subject not in held_back)),
        validation=tuple(sorted(case.id for case in cases if case.subject in held_back)),
    )
