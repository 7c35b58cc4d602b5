"""`gather`: which approved cases teach in a round, which old ones with them, and which are left out, and why."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from napari_seg3d.datasets import Case, Dataset, StoredSplit, open_dataset, split_by_subject
from napari_seg3d.errors import DatasetError, TrainingError
from napari_seg3d.review import Worklist
from napari_seg3d.training.runs.folder import Run

#: The files of a scan, which tell it apart whatever it is called.
Scan = tuple[str, ...]
JudgedOn = Literal["frozen test set", "test set", "validation cases"]
_APPROVE = "Approve cases in the Review dock, or with `napari-seg3d review DATASET --set CASE=approved`."


@dataclass(frozen=True)
class Gathered:
    """Who teaches, validates and judges in a round.

    Parameters
    ----------
    dataset : Dataset
        All of them, with their sets; not stored yet.
    new : tuple of str
        Ids of the cases that teach for the first time.
    changed : tuple of str
        Ids of those that taught before with another mask.
    old : tuple of str
        Ids of those that teach as they did.
    judges : tuple of Case
        By which the models before and after are compared; neither of them has learnt from one.
    judged_on : {"frozen test set", "test set", "validation cases"}
        What these are.
    left_out : mapping of str to str
        Approved case -> why it does not teach.
    """

    dataset: Dataset
    new: tuple[str, ...]
    changed: tuple[str, ...]
    old: tuple[str, ...]
    judges: tuple[Case, ...]
    judged_on: JudgedOn
    left_out: Mapping[str, str] = field(default_factory=dict)


def gather(worklist: Worklist, run: Run) -> Gathered:
    """Return what a round would learn from: the cases of a run, and those that were approved since. Only names are read.

    A case is known by its files, so that the worklist may be that of another data set. Cases of a test set, of that of the run or that of
    the worklist, and all cases of their subjects, never teach. A case that validates goes on to do so, with the mask that was approved.

    Parameters
    ----------
    worklist : Worklist
        Whose approved cases.
    run : Run
        Whose model is to learn more.

    Raises
    ------
    DatasetError
        No approved case would teach anything; with the reasons.
    TrainingError
        The run has not looked at its data yet.
    """
    before = _Taught.of(run)
    held = _held_back(before, worklist)
    joined = _Joined()
    sets: dict[str, Literal["train", "validation"]] = {}
    old, validation = [], []
    for case in before.train:
        if scan_of(case) not in held.scans and case.subject not in held.subjects:
            sets[joined.add(case)] = "train"
            old.append(case.id)
    both = {case.id for case in before.train} & {case.id for case in before.validation}  # a single subject judged itself
    for case in before.validation:
        if case.id not in both and scan_of(case) not in held.scans and case.subject not in held.subjects:
            sets[joined.add(case)] = "validation"
            validation.append(case)
    test = {joined.add(case): case for case in held.cases}

    new, changed, left_out = [], [], dict[str, str]()
    judging_subjects = {case.subject for case in validation}
    for case in worklist.approved():
        why = held.why_not(case) or worklist.dataset.excluded.get(case.id, "")
        if why:
            left_out[case.id] = why
            continue
        known = joined.id_of(case)
        if known is None and case.subject in judging_subjects:
            sets[joined.add(case, worklist.dataset.name)] = "validation"
            left_out[case.id] = f"{case.id} judges, because another scan of {case.subject} does."
        elif known is None:
            name = joined.add(case, worklist.dataset.name)
            sets[name] = "train"
            new.append(name)
        elif joined.put_mask(known, case):
            if sets.get(known) == "train":
                changed.append(known)
            else:
                left_out[case.id] = f"{case.id} judges, with the mask that was approved."
    if not new and not changed:
        raise _nothing(left_out)
    cases = joined.cases
    if not any(place == "validation" for place in sets.values()):
        for name in _drawn(joined, new, run):
            sets[name] = "validation"
            new.remove(name)
    taught = {scan_of(case) for one in _line_of(run) for case in _Taught.of(one).train}
    judges, judged_on = _judges(held, cases, test, sets, taught)
    content = {joined.names[scan]: text for scan, text in held.content.items() if scan in joined.names}
    split = StoredSplit("lists", sets=sets, test=tuple(test), test_content=content)
    dataset = replace(
        before.dataset,
        cases=tuple(cases[name] for name in sorted(cases)),
        split=split,
        problems=(),
        unused_masks=(),
        excluded={},
        file=None,
        subjects_known=before.dataset.subjects_known and worklist.dataset.subjects_known,
        title=worklist.dataset.name,
    )
    return Gathered(
        dataset,
        tuple(sorted(new)),
        tuple(sorted(changed)),
        tuple(sorted(set(old) - set(changed))),
        judges,
        judged_on,
        left_out,
    )


def scan_of(case: Case) -> Scan:
    """Return what tells a scan apart whatever it is called."""
    return tuple(os.path.realpath(path) for path in case.images)


@dataclass(frozen=True)
class _Taught:
    """The cases of a run by what they did in it, with the subjects that it took them for."""

    dataset: Dataset
    train: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]

    @classmethod
    def of(cls, run: Run) -> _Taught:
        data = run.config().data
        try:
            with open(run.folder / "split.csv", newline="", encoding="utf-8") as handle:
                rows = list(csv.DictReader(handle))
        except OSError as error:
            raise TrainingError(
                f"{run.folder} has no split.csv that could be read: nobody knows what it learnt from.", "Choose another run."
            ) from error
        dataset = open_dataset(data.images, data.masks, data.subjects)
        by_id = {case.id: case for case in dataset.cases}
        sides: dict[str, list[Case]] = {"train": [], "validation": [], "test": []}
        for row in rows:
            if row["case"] in by_id and row["set"] in sides:
                sides[row["set"]].append(replace(by_id[row["case"]], subject=row["subject"]))
        return cls(dataset, *(tuple(sides[name]) for name in ("train", "validation", "test")))


@dataclass(frozen=True)
class _HeldBack:
    """The test sets that a round must not touch."""

    cases: tuple[Case, ...]
    is_frozen: bool
    content: Mapping[Scan, str]

    @property
    def scans(self) -> dict[Scan, str]:
        return {scan_of(case): case.id for case in self.cases}

    @property
    def subjects(self) -> dict[str, str]:
        return {case.subject: case.id for case in self.cases}

    def why_not(self, case: Case) -> str:
        """Return why a case must not teach; nothing where it may."""
        kind = "frozen test set" if self.is_frozen else "test set"
        if scan_of(case) in self.scans:
            return f"{case.id} is in the {kind}: what judges the models never teaches them."
        if case.subject in self.subjects:
            return f"{case.id} shows the same subject as {self.subjects[case.subject]} of the {kind}."
        return ""


def _held_back(before: _Taught, worklist: Worklist) -> _HeldBack:
    cases: dict[Scan, Case] = {scan_of(case): case for case in before.test}
    content: dict[Scan, str] = {}
    for dataset in (before.dataset, worklist.dataset):
        split = dataset.split
        for case in dataset.cases if split is not None else ():
            if split is not None and case.id in split.held_back:
                cases.setdefault(scan_of(case), case)
                if case.id in split.test_content:
                    content[scan_of(case)] = split.test_content[case.id]
    # A test case without a mask can judge with one that somebody approved.
    approved = {scan_of(case): case for case in worklist.approved()}
    filled = (
        replace(case, mask=approved[scan].mask, parts=approved[scan].parts) if case.mask is None and scan in approved else case
        for scan, case in cases.items()
    )
    return _HeldBack(tuple(filled), bool(content), content)


class _Joined:
    """Cases of two data sets, each scan once, under ids that differ."""

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self.names: dict[Scan, str] = {}

    def id_of(self, case: Case) -> str | None:
        return self.names.get(scan_of(case))

    def add(self, case: Case, whose: str = "") -> str:
        """Take a case in; return its id, which is another where two scans have the same."""
        if (known := self.id_of(case)) is not None:
            return known
        name, taken = case.id, {one.lower() for one in self.cases}
        number = 1
        while name.lower() in taken:
            name = f"{whose or 'more'}-{case.id}" if number == 1 else f"{whose or 'more'}-{case.id}-{number}"
            number += 1
        self.cases[name] = replace(case, id=name)
        self.names[scan_of(case)] = name
        return name

    def put_mask(self, name: str, case: Case) -> bool:
        """Give a case the mask of another one of the same scan; return whether that is another mask."""
        mine = self.cases[name]
        if _masks_of(mine) == _masks_of(case):
            return False
        self.cases[name] = replace(mine, mask=case.mask, parts=case.parts, reason=case.reason, sureness=case.sureness)
        return True


def _masks_of(case: Case) -> Scan:
    files: Iterable[Path] = [part.path for part in case.parts] or ([case.mask] if case.mask is not None else [])
    return tuple(os.path.realpath(path) for path in files)


def _drawn(joined: _Joined, new: list[str], run: Run) -> tuple[str, ...]:
    """Return the new cases that validate, where the run had a single subject that judged itself."""
    cases = [joined.cases[name] for name in new]
    if len({case.subject for case in cases}) < 2:
        raise DatasetError(
            f"{run.name} learnt from a single subject, and there is nobody else to judge by.",
            "Approve cases of two more subjects: one of them will judge.",
        )
    data = run.config().data
    return split_by_subject(cases, data.validation, data.split_seed).validation


def _line_of(run: Run) -> list[Run]:
    """Return a run and those whose weights it began with, as far as they are there."""
    line = [run]
    while (model := line[-1].config().network.pretrained) is not None:
        parent = Run(model.parent.parent)
        if parent in line or not (parent.folder / "split.csv").is_file():
            break
        line.append(parent)
    return line


def _judges(
    held: _HeldBack,
    cases: Mapping[str, Case],
    test: Iterable[str],
    sets: Mapping[str, str],
    taught: set[Scan],
) -> tuple[tuple[Case, ...], JudgedOn]:
    """Return by whom both models are judged: never by a case that one of them has learnt from."""
    judges = [cases[name] for name in sorted(test) if cases[name].mask is not None and scan_of(cases[name]) not in taught]
    if judges:
        return tuple(judges), "frozen test set" if held.is_frozen else "test set"
    judges = [cases[name] for name in sorted(sets) if sets[name] == "validation" and scan_of(cases[name]) not in taught]
    if not judges:
        raise DatasetError(
            "No case is left to judge the models by: the model has learnt from all of them.",
            "Put cases that it has not seen into a test set (Split in the Data dock, or `napari-seg3d split --test`).",
        )
    return tuple(judges), "validation cases"


def _nothing(left_out: Mapping[str, str]) -> DatasetError:
    if not left_out:
        return DatasetError("No case was approved since this model learnt: there is nothing new to learn from.", _APPROVE)
    reasons = " ".join(list(left_out.values())[:3]) + (f" … and {len(left_out) - 3} more." if len(left_out) > 3 else "")
    return DatasetError(f"None of the approved cases can teach anything new. {reasons}", _APPROVE)
