"""Look into every file of a data set before anything is trained on it."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets.dataset import Case, Dataset, Problem
from napari_seg3d.datasets.masks import read_mask
from napari_seg3d.datasets.placing import place_mask
from napari_seg3d.datasets.subjects import SubjectGroup, intensity_step, same_patient_groups, same_subject_groups
from napari_seg3d.errors import Cancelled, GeometryError, Seg3dError
from napari_seg3d.volumes import Grid, Volume, fault_of, patient_key, read_volume

_MOST_LABELS = 256  # more different values are an image that was taken for a mask
_RARE_SHARE, _RARE_FROM = 0.1, 10  # a label in fewer than this share of at least so many masks is rare
_AT_A_TIME = 4


@dataclass(frozen=True)
class CaseFacts:
    """What the files of a case hold.

    Parameters
    ----------
    grid : Grid
        Of the image.
    channels : int
        Of the image, over all its files.
    dtype : str
        Number type of the image, such as ``"int16"``.
    minimum, maximum, mean : float
        Over the finite voxels of all channels; NaN when there are none.
    label_counts : dict of int to int
        Label value (0, the background, too) -> voxels in the mask; empty without a mask that can be used.
    step : float or None
        Step between the grey values, see :func:`napari_seg3d.datasets.subjects.intensity_step`.
    """

    grid: Grid
    channels: int
    dtype: str
    minimum: float
    maximum: float
    mean: float
    label_counts: dict[int, int]
    step: float | None = None


@dataclass(frozen=True)
class Report:
    """What a check found.

    Parameters
    ----------
    dataset : Dataset
        The same cases, with all labels named and with subjects as far as the images show them.
    facts : dict of str to CaseFacts
        By case id; cases whose image cannot be read have none.
    problems : tuple of Problem
        Those found while pairing and those found in the files.
    """

    dataset: Dataset
    facts: dict[str, CaseFacts]
    problems: tuple[Problem, ...]

    @cached_property
    def sound(self) -> tuple[Case, ...]:
        """The cases that may train: those with a mask and no error."""
        faulty = {problem.case for problem in self.problems if problem.severity == "error"}
        return tuple(case for case in self.dataset.pairs if case.id not in faulty)


@dataclass
class _Findings:
    """What one case showed, filled while it is looked at."""

    case: Case
    facts: CaseFacts | None = None
    label_names: dict[int, str] = field(default_factory=dict)  # those that the mask itself gives
    patient: str = ""  # equal for scans of one patient, and random otherwise; it stays in here
    problems: list[Problem] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)

    def error(self, what: str, fix: str, path: Path) -> None:
        self.problems.append(Problem("error", what, fix, self.case.id, path))

    def warning(self, what: str, fix: str, path: Path) -> None:
        self.problems.append(Problem("warning", what, fix, self.case.id, path))


def check_dataset(
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    processes: int | None = None,
) -> Report:
    """Read every file of a data set and say what is wrong, each with the file and the fix.

    One bad case never stops the check, and the sound ones can train.

    Parameters
    ----------
    dataset : Dataset
        From :func:`napari_seg3d.datasets.open_dataset`.
    progress : callable, optional
        Called after each case with the number of cases done and of all, in the caller's thread.
    cancelled : callable, optional
        Asked after each case whether to give up.
    processes : int, optional
        How many cases are read, and held in memory, at a time: threads, because decompression leaves the interpreter free.
        Left out, as many as there are cores, at most four.

    Raises
    ------
    Cancelled
        `cancelled` said so.
    """
    workers = processes or min(_AT_A_TIME, os.cpu_count() or 1)
    findings: dict[str, _Findings] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
        waiting = [pool.submit(_examine, case, dataset.labels) for case in dataset.cases]
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                found = future.result()
                findings[found.case.id] = found
                if progress is not None:
                    progress(done, len(waiting))
                if cancelled is not None and cancelled():
                    raise Cancelled("The check was stopped.")
        finally:
            pool.shutdown(cancel_futures=True)
    ordered = [findings[case.id] for case in dataset.cases]
    facts = {found.case.id: found.facts for found in ordered if found.facts is not None}
    problems = [*dataset.problems, *(problem for found in ordered for problem in found.problems)]
    problems += _other_channels(ordered) + _notes(ordered)
    refined, seen = _with_subjects(dataset, facts, {found.case.id: found.patient for found in ordered})
    report = Report(
        replace(refined, labels=_all_labels(dataset, facts, [found.label_names for found in ordered])), facts, (*problems, *seen)
    )
    return replace(report, problems=(*report.problems, *_rare_labels(report)))


def _examine(case: Case, declared: Mapping[int, str]) -> _Findings:
    found = _Findings(case)
    try:
        channels = [read_volume(path, "image") for path in case.images]
    except Seg3dError as error:
        found.error(error.what, error.fix, _path_in(error, case.images))
        return found
    grid = channels[0].grid
    source = channels[0].source
    found.patient = patient_key(source.files[0]) if source is not None and source.files else ""
    for path, volume in zip(case.images, channels, strict=True):
        found.notes.update(_notes_on(volume))
        difference = grid.difference(volume.grid)
        if difference:
            found.error(
                f"{path.name} lies on another grid than {case.images[0].name}: {difference}.",
                "Resample the channels of a case to one grid.",
                path,
            )
        fault = fault_of(volume)
        if fault is not None:
            found.error(f"{path.name} {fault[0]}", fault[1], path)
    counts = _examine_mask(found, channels[0], case.mask, declared) if case.mask is not None else {}
    found.facts = _facts(channels, counts)
    return found


def _path_in(error: Seg3dError, paths: Sequence[Path]) -> Path:
    return next((path for path in paths if str(path) in error.what), paths[0])


def _notes_on(volume: Volume) -> tuple[str, ...]:
    count = volume.data.shape[0]
    if volume.fourth == "time" and count > 1:
        return (*volume.notes, f"It is a time series: its {count} time points are taken for {count} channels.")
    return volume.notes


def _examine_mask(found: _Findings, image: Volume, path: Path, declared: Mapping[int, str]) -> dict[int, int]:
    try:
        mask = read_mask(path)
    except Seg3dError as error:
        found.error(error.what, error.fix, path)
        return {}
    try:
        mask = place_mask(mask, image)
    except GeometryError as error:
        found.error(error.what, error.fix, path)
    found.label_names = {value: label.name for value, label in mask.labels.items() if label.name}
    counts = _count_labels(mask.data)
    values = [value for value in counts if value != 0]
    negative = [value for value in values if value < 0]
    unknown = [value for value in values if value > 0 and value not in declared] if declared else []
    if len(values) > _MOST_LABELS:
        found.error(
            f"{path.name} holds {len(values)} different values: it looks like an image.", "Choose the mask, not the image.", path
        )
    elif negative:
        found.error(f"{path.name} holds the negative label {_listed(negative)}.", "Give every label a number above 0.", path)
    elif unknown:
        found.error(
            f"{path.name} holds the label {_listed(unknown)}; dataset.json names only {_listed(list(declared))}.",
            "Add the label to dataset.json, or correct the mask.",
            path,
        )
    elif not values:
        found.warning(
            f"{path.name} is empty: it labels no voxel.",
            "Draw the mask, or leave it if there is nothing to find in this scan.",
            path,
        )
    return counts


def _count_labels(data: NDArray[np.generic]) -> dict[int, int]:
    counts: Counter[int] = Counter()
    for part in data[0]:  # slice by slice, because sorting a whole CT takes its memory several times
        values, numbers = np.unique(part, return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return dict(sorted(counts.items()))


def _facts(channels: Sequence[Volume], label_counts: dict[int, int]) -> CaseFacts:
    total, voxels, low, high = 0.0, 0, np.inf, -np.inf
    for volume in channels:
        data = volume.data
        finite = data[np.isfinite(data)] if data.dtype.kind == "f" else data
        if finite.size:
            total += float(finite.sum(dtype=np.float64))
            voxels += finite.size
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return CaseFacts(
        grid=channels[0].grid,
        channels=sum(volume.data.shape[0] for volume in channels),
        dtype=str(channels[0].data.dtype),
        minimum=low if voxels else np.nan,
        maximum=high if voxels else np.nan,
        mean=total / voxels if voxels else np.nan,
        label_counts=label_counts,
        step=intensity_step(channels[0].data),
    )


def _other_channels(findings: Sequence[_Findings]) -> list[Problem]:
    counts = Counter(found.facts.channels for found in findings if found.facts is not None)
    if len(counts) < 2:
        return []
    usual = counts.most_common(1)[0][0]
    return [
        Problem(
            "error",
            f"{found.case.images[0].name} has {found.facts.channels} channels (or time points), most others have {usual}.",
            "Give every case the same channels; split a series of time points into one file each.",
            found.case.id,
            found.case.images[0],
        )
        for found in findings
        if found.facts is not None and found.facts.channels != usual
    ]


def _notes(findings: Sequence[_Findings]) -> list[Problem]:
    by_note: dict[str, list[tuple[Case, str]]] = defaultdict(list)
    for found in findings:
        for note in sorted(found.notes):
            # The same is said once for all of them, even where it names the size of each.
            by_note[re.sub(r"\d+([.x]\d+)*", "#", note)].append((found.case, note))
    problems = []
    for noted in by_note.values():
        case, note = noted[0]
        others = len({other.id for other, _ in noted}) - 1
        more = f" and {others} more cases" if others else ""
        what = f"{case.images[0].name}{more}: {note}"
        problems.append(Problem("warning", what, "Look at it in the viewer.", case.id, case.images[0]))
    return problems


def _all_labels(dataset: Dataset, facts: Mapping[str, CaseFacts], own_names: Sequence[Mapping[int, str]]) -> dict[int, str]:
    if dataset.labels:
        return dataset.labels
    found = {value for fact in facts.values() for value in fact.label_counts if value > 0}
    if len(found) > _MOST_LABELS:
        return {}
    # A name that some masks give to one value and others to another is no name.
    names = {value: {own[value] for own in own_names if value in own} for value in found}
    return {value: names[value].pop() if len(names[value]) == 1 else f"label {value}" for value in sorted(found)}


def _with_subjects(
    dataset: Dataset, facts: Mapping[str, CaseFacts], patients: Mapping[str, str]
) -> tuple[Dataset, list[Problem]]:
    if dataset.subjects_known:
        return dataset, []
    subject_of = {case.id: case.subject for case in dataset.cases}
    joined = []
    for group in (*same_patient_groups(patients), *same_subject_groups({case: fact.step for case, fact in facts.items()})):
        subjects = {subject_of[case] for case in group.cases}
        if len(subjects) == 1:
            continue
        joined.append(group)
        first = min(subjects)
        subject_of = {case: first if subject in subjects else subject for case, subject in subject_of.items()}
    cases = tuple(replace(case, subject=subject_of[case.id]) for case in dataset.cases)
    return replace(dataset, cases=cases), [_same_subjects(joined)] if joined else []


def _same_subjects(groups: Sequence[SubjectGroup]) -> Problem:
    # One word for all of them: the table of cases shows who belongs to whom.
    first = groups[0]
    example = f"{' and '.join(first.cases)} look like one subject ({first.reason})"
    what = f"{example}, and so do {len(groups) - 1} more groups of cases" if len(groups) > 1 else example
    return Problem(
        "warning",
        f"{what}. Cases of one subject stay on one side of the split.",
        "If they are different people, say who is who in a subjects.csv with the columns case and subject.",
    )


def _rare_labels(report: Report) -> list[Problem]:
    counts = [report.facts[case.id].label_counts for case in report.sound]
    problems = []
    for value, name in report.dataset.labels.items():
        holders = [case for case, labels in zip(report.sound, counts, strict=True) if value in labels]
        title = f"Label {value} ({name})" if name != f"label {value}" else f"Label {value}"
        if counts and not holders:
            problems.append(Problem("warning", f"{title} is in no mask.", "Remove it from dataset.json, or check the masks."))
        elif len(counts) > 1 and (len(holders) == 1 or (len(counts) >= _RARE_FROM and len(holders) < _RARE_SHARE * len(counts))):
            problems.append(
                Problem(
                    "warning",
                    f"{title} is in {len(holders)} of {len(counts)} masks only (such as that of {holders[0].id}).",
                    "Expect little of it: add cases that show it, or check whether the value is a slip.",
                )
            )
    return problems


def _listed(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:8])
    return f"{shown}, …" if len(values) > 8 else shown
