"""Who was scanned, as far as the images and their headers show it; and whether somebody is in two sets of the split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from napari_seg3d.datasets.dataset import Case, Dataset
from napari_seg3d.datasets.doctor.examine import Look
from napari_seg3d.datasets.doctor.findings import Finding, Remedy
from napari_seg3d.datasets.doctor.similarity import Match, Similarity, compare
from napari_seg3d.datasets.subjects import SubjectGroup, same_patient_groups, same_subject_groups
from napari_seg3d.volumes import patient_key

_REASONS = {
    "same voxels": "their voxels are the same",
    "overlap": "they share voxels, as crops of one scan do",
    "copy": "one is a changed copy of the other",
    "alike": "their anatomy, their scale of intensities and their grain agree as in no other pair",
}


def join_subjects(dataset: Dataset, looks: Sequence[Look]) -> tuple[Dataset, list[Finding]]:
    """Return the data set with the subjects that its images show, and what is to be said about it.

    A table of subjects is not overruled; what images show against it is said.
    """
    similarity = compare(
        {look.notebook.case: look.signature for look in looks if look.signature is not None},
        {look.notebook.case: look.facts.step if look.facts is not None else None for look in looks},
    )
    cases = {case.id: case for case in dataset.cases}
    groups = _groups(dataset, looks, similarity)
    subject_of = {case.id: case.subject for case in dataset.cases}
    findings = _copies(cases, looks, similarity)
    for group in groups:
        subjects = {subject_of[case] for case in group.cases}
        if len(subjects) == 1:
            continue
        if not dataset.subjects_known:
            first = min(subjects)
            subject_of = {case: first if subject in subjects else subject for case, subject in subject_of.items()}
        findings.append(_same_subject(dataset, group))
    refined = replace(dataset, cases=tuple(replace(case, subject=subject_of[case.id]) for case in dataset.cases))
    return refined, [*findings, *_in_several_sets(dataset, subject_of, groups), *_mirrored(cases, similarity)]


def _groups(dataset: Dataset, looks: Sequence[Look], similarity: Similarity) -> list[SubjectGroup]:
    patients = {look.notebook.case: patient_key(look.dicom_file) if look.dicom_file else "" for look in looks}
    steps = {look.notebook.case: look.facts.step for look in looks if look.facts is not None}
    by_content = [SubjectGroup((match.one, match.other), _REASONS[match.kind]) for match in similarity.matches]
    return [*same_patient_groups(patients), *by_content, *same_subject_groups(steps)]


def _same_subject(dataset: Dataset, group: SubjectGroup) -> Finding:
    known = " The table of subjects says that they are different people." if dataset.subjects_known else ""
    return Finding(
        "warning" if dataset.subjects_known else "info",
        f"{' and '.join(group.cases)} look like one subject ({group.reason}).{known} "
        + ("Look at both." if known else "Cases of one subject stay on one side of the split."),
        "If they are different people, say who is who in a subjects.csv with the columns case and subject.",
        kind="same subject",
        remedy=Remedy("same_subject", group.cases),
    )


def _copies(cases: Mapping[str, Case], looks: Sequence[Look], similarity: Similarity) -> list[Finding]:
    findings = [_copy(cases, match) for match in similarity.matches if match.kind in ("same voxels", "copy")]
    same_image = {frozenset((match.one, match.other)) for match in similarity.matches if match.kind == "same voxels"}
    masks: dict[int, list[tuple[str, bool]]] = defaultdict(list)
    for look in looks:
        if look.mask_hashes != (0, 0):
            # The smaller hash is that of both the mask and its mirror image.
            masks[min(look.mask_hashes)].append((look.notebook.case, look.mask_hashes[0] <= look.mask_hashes[1]))
    for (first, side), *others in masks.values():
        for other, other_side in others:
            if frozenset((first, other)) not in same_image:
                how = "" if side == other_side else ", with left and right exchanged"
                findings.append(_same_mask(cases, first, other, how))
    return findings


def _copy(cases: Mapping[str, Case], match: Match) -> Finding:
    how = {
        "same voxels": "holds the same voxels as",
        "copy": "is a copy of (changed by noise, scale or resampling)",
    }[match.kind]
    mirrored = ", with left and right exchanged" if match.mirrored else ""
    return Finding(
        "warning",
        f"{cases[match.other].images[0].name} {how} {cases[match.one].images[0].name}{mirrored}.",
        "Leave one of them out: what a model has seen in training says nothing about it in validation.",
        match.other,
        cases[match.other].images[0],
        kind="duplicate image",
        remedy=Remedy("drop_case", (match.other,), why=f"the same image as {match.one}"),
    )


def _same_mask(cases: Mapping[str, Case], first: str, other: str, how: str) -> Finding:
    names = [case.mask.name for case in (cases[first], cases[other]) if case.mask is not None]
    return Finding(
        "warning",
        f"{names[1]} of {other} is the same mask as {names[0]} of {first}{how}, on another image.",
        "Look at both: one of them belongs to another image.",
        other,
        cases[other].mask,
        kind="duplicate mask",
        remedy=Remedy("drop_case", (other,), why=f"the same mask as {first}"),
    )


def _in_several_sets(dataset: Dataset, subject_of: Mapping[str, str], groups: Sequence[SubjectGroup]) -> list[Finding]:
    split = dataset.split
    if split is None:
        return []
    members: dict[str, list[str]] = defaultdict(list)
    for case in dataset.cases:
        if split.place_of(case.id) is not None and case.id not in dataset.excluded:
            members[subject_of[case.id]].append(case.id)
    findings = []
    for subject, cases in sorted(members.items()):
        sets = {case: split.place_of(case) for case in cases}
        if len(set(sets.values())) > 1:
            where = ", ".join(f"{case} in {_called(place)}" for case, place in sets.items())
            reasons = sorted({group.reason for group in groups if set(group.cases) <= set(cases)})
            why = f" ({reasons[0]})" if reasons else ""
            findings.append(
                Finding(
                    "error",
                    f"The subject {subject} is in several sets of the split: {where}{why}.",
                    "Put all its cases into one set, or make the split anew.",
                    kind="subject in several sets",
                )
            )
    return findings


def _called(place: object) -> str:
    return f"fold {place}" if isinstance(place, int) else str(place)


def _mirrored(cases: Mapping[str, Case], similarity: Similarity) -> list[Finding]:
    return [
        Finding(
            "warning",
            f"{cases[case].images[0].name} looks like the others only with left and right exchanged.",
            "Look at it in the viewer, and correct the header, or export it again.",
            case,
            cases[case].images[0],
            kind="left and right",
        )
        for case in similarity.mirrored
    ]
