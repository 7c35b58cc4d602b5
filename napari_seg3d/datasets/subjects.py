"""Who was scanned: from a table, from names, from DICOM headers, or from what two crops of one scan have in common."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.errors import DatasetError

FILE_NAME = "subjects.csv"

_BIDS = re.compile(r"(?:^|[/_-])(sub-[0-9a-z]+)", re.IGNORECASE)
# A side, a visit or a time at the end of a name. The name in front must hold a number: scan_v1 and scan_v2 may be two people.
_MARKER = re.compile(
    r"[-_. ](left|right|lt|rt|lh|rh|l|r|(ses|session|visit|timepoint|time|tp|scan|day|week|month|year|fu|v|t)[-_]?\d{1,3}"
    r"|baseline|followup|follow-up|pre|post)$",
    re.IGNORECASE,
)

# How exactly two steps must agree (float32 keeps 6e-8), and how well the values must lie on the multiples of one.
_SAME_STEP, _ON_STEP = 1e-6, 0.05
_MOST_SCANS = 8  # per person; a step that more share is a property of the data set, such as 1/255
_SAMPLE = 1_000_000  # voxels that show the step
_ENOUGH = 5  # confirmed neighbours before a rule about numbers is believed


def subject_from_name(case_id: str, group: str = "") -> str:
    """Return the subject that names speak of, or the case itself.

    ``sub-01_ses-2`` is ``sub-01``, ``patient012_left`` and ``patient012_visit2`` are ``patient012``; a folder ``sub-01`` counts
    too. Nothing else is guessed.
    """
    bids = _BIDS.search(f"{group}/{case_id}")
    if bids:
        return bids[1]
    subject = case_id
    while True:
        shorter = _MARKER.sub("", subject)
        if shorter == subject or not any(char.isdigit() for char in shorter):
            return subject
        subject = shorter


def read_subjects(table: Path, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the cases with the subjects of a CSV with the columns ``case`` and ``subject``.

    Cases that the table leaves out keep the subject of their name.

    Raises
    ------
    DatasetError
        The table cannot be read, lacks a column, names an unknown case, or gives one case two subjects.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{table} cannot be read ({error}).", "Choose a CSV in UTF-8 with the columns case and subject."
        ) from error
    lines = text.splitlines()
    header = lines[0] if lines else ""
    reader = csv.DictReader(lines, delimiter=";" if ";" in header else ",", skipinitialspace=True)
    columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
    if not {"case", "subject"} <= set(columns):
        raise DatasetError(f"{table}, line 1: the columns are {header!r}.", "Name two of them case and subject.")
    known = {name: case.id for case in cases for name in (case.id, *(path.name for path in case.images))}
    subjects: dict[str, str] = {}
    for row in reader:
        name, subject = (row[columns["case"]] or "").strip(), (row[columns["subject"]] or "").strip()
        place = f"{table}, line {reader.line_num}"
        if name not in known:
            raise DatasetError(
                f"{place}: there is no case {name!r}.", "Write the file names of the images, with or without ending."
            )
        if not subject:
            raise DatasetError(f"{place}: the case {name!r} has no subject.", "Write a name or a number into the column subject.")
        if subjects.setdefault(known[name], subject) != subject:
            raise DatasetError(f"{place}: the case {name!r} has two subjects.", "Leave one line per case.")
    return tuple(replace(case, subject=subjects.get(case.id, case.subject)) for case in cases)


def intensity_step(data: NDArray[np.generic]) -> float | None:
    """Return the step between the grey values of a scaled image, or None where there is none.

    Scanners count in whole numbers; on export each scan is multiplied by a factor of its own, such as 8.791449. All values of
    the scan are multiples of that step, in any crop of it, which makes it a fingerprint of the scan. Integers (step 1), round
    steps (0.25, 1/255) and values that were interpolated afterwards tell nothing.
    """
    if data.dtype.kind != "f":
        return None
    values = np.unique(data.ravel(order="K")[:: max(1, data.size // _SAMPLE)]).astype(np.float64)
    if len(values) < 32 or not np.isfinite(values).all():
        return None
    rough = np.diff(values).min()
    multiples = (values - values[0]) / rough
    if multiples[-1] > 2**16:
        return None
    step = float((values[-1] - values[0]) / np.rint(multiples[-1]))
    multiples = (values - values[0]) / step
    if np.abs(multiples - np.rint(multiples)).max() > _ON_STEP or _is_round(step):
        return None
    return step


@dataclass(frozen=True)
class SubjectGroup:
    """Cases of one subject, and how that was seen."""

    cases: tuple[str, ...]
    reason: str


def same_patient_groups(patients: Mapping[str, str]) -> list[SubjectGroup]:
    """Return which cases are of one patient by their DICOM headers.

    Parameters
    ----------
    patients : mapping of str to str
        Case id -> :func:`napari_seg3d.volumes.patient_key`; empty where nobody is named.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for case, key in patients.items():
        if key:
            members[key].append(case)
    return [SubjectGroup(tuple(sorted(cases)), "their headers name one patient") for cases in members.values() if len(cases) > 1]


def same_subject_groups(steps: Mapping[str, float | None]) -> list[SubjectGroup]:
    """Return which cases look like one subject, such as the two sides of one head.

    Two crops of one scan share its :func:`intensity_step` to the last digit. Where the cases are numbered and this confirms that
    2k - 1 and 2k are one subject throughout (at least five such pairs, and none against it), the cases without a step follow the
    same rule.

    Measured on 199 cases of the decathlon's hippocampus, which are numbered so (67 pairs, 53 of them with steps): 67 pairs found
    and 2 false ones; by the steps alone 53, with the same 2 false. Steps of different subjects agree by chance in about one of
    400,000 pairs of cases. Scans of one person that were exported as integers and are not numbered so stay unseen. A group found
    wrongly costs nothing but a little freedom in the split.

    Parameters
    ----------
    steps : mapping of str to float or None
        Case id -> step of its image.

    Returns
    -------
    list of SubjectGroup
        Groups of two to eight cases, none of which share a case.
    """
    parent = {case: case for case in steps}

    def root(case: str) -> str:
        while parent[case] != case:
            case = parent[case]
        return case

    reasons: dict[str, set[str]] = defaultdict(set)
    same_step = _equal_steps(steps)
    for group in same_step:
        for case in group[1:]:
            parent[root(case)] = root(group[0])
        for case in group:
            reasons[case].add("their grey values are multiples of the same number, as in crops of one scan")
    numbered = _neighbours(list(steps))
    decided = [(one, other) for one, other in numbered if steps[one] is not None and steps[other] is not None]
    if len(decided) >= _ENOUGH and all(root(one) == root(other) for one, other in decided):
        for one, other in numbered:
            if root(one) != root(other):
                parent[root(other)] = root(one)
                reasons[one].add(f"their numbers follow each other, as in {len(decided)} pairs whose grey values confirm it")
    members: dict[str, list[str]] = defaultdict(list)
    for case in sorted(steps):
        members[root(case)].append(case)
    return [
        SubjectGroup(tuple(group), "; ".join(sorted({reason for case in group for reason in reasons[case]})))
        for group in members.values()
        if len(group) > 1
    ]


def _equal_steps(steps: Mapping[str, float | None]) -> list[list[str]]:
    by_step = sorted((step, case) for case, step in steps.items() if step is not None)
    groups: list[list[str]] = []
    last = 0.0
    for step, case in by_step:
        if groups and step - last <= _SAME_STEP * step:
            groups[-1].append(case)
        else:
            groups.append([case])
        last = step
    return [group for group in groups if 1 < len(group) <= _MOST_SCANS]


def _neighbours(cases: Sequence[str]) -> list[tuple[str, str]]:
    """Return the cases whose names differ only in a number that is 2k - 1 in one and 2k in the other."""
    by_number: dict[tuple[str, int], list[str]] = defaultdict(list)
    for case in cases:
        match = re.fullmatch(r"(\D*)(\d+)(\D*)", case)
        if match:
            by_number[f"{match[1]}#{match[3]}", int(match[2])].append(case)
    pairs = []
    for (name, number), found in by_number.items():
        others = by_number.get((name, number + 1), [])
        if number % 2 == 1 and len(found) == len(others) == 1:
            pairs.append((found[0], others[0]))
    return pairs


def _is_round(step: float) -> bool:
    """Return whether the step is one that many scans have: whole, of three digits, or a whole part of one (1/255)."""
    return any(abs(number - near) <= 1e-5 * number for number, near in _round_numbers(step))


def _round_numbers(step: float) -> list[tuple[float, float]]:
    parts = 1 / step
    whole = [(number, float(round(number))) for number in (step, parts) if number >= 1]
    return [(step, float(f"{step:.3g}")), *whole]
