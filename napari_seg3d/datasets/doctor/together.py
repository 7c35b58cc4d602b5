"""What only all cases together show: who differs from the others, and which labels are rare."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from napari_seg3d.datasets.dataset import Case, Dataset, Severity
from napari_seg3d.datasets.doctor.examine import MOST_LABELS, Look
from napari_seg3d.datasets.doctor.facts import CaseFacts
from napari_seg3d.datasets.doctor.findings import Finding, Remedy
from napari_seg3d.datasets.doctor.report import Report
from napari_seg3d.datasets.doctor.statistics import spread, statistics
from napari_seg3d.errors import Seg3dError
from napari_seg3d.volumes import read_grid

_RARE_SHARE, _RARE_FROM = 0.1, 10  # a label in fewer than this share of at least so many masks is rare
_FEW = 8  # cases, before one can differ from the others
_USUAL = 0.9  # share of the cases that must agree for the rest to be exceptions
_NO_SCALE = 0.15  # spread of the logarithms (base 10) of intensities from which they have no common scale
_FEW_OUTLIERS = 0.02  # share of the cases; more of them are no exceptions
_FAR = 4.0  # times brighter or darker than all others
_MOST_LONE_MASKS = 100  # whose headers are read
_AIR = -700.0  # HU; the lowest percent of the voxels of a CT of a body lies below


def look_at_all(cases: Sequence[Case], looks: Sequence[Look]) -> list[Finding]:
    """Return what the cases show side by side."""
    facts = {look.notebook.case: look.facts for look in looks if look.facts is not None}
    by_id = {case.id: case for case in cases}
    # Those that were too large to be read have a grid alone.
    read = {case: fact for case, fact in facts.items() if fact.dtype}
    return [
        *_other_channels(by_id, read),
        *_notes(by_id, looks),
        *_grids(by_id, facts),
        *_handedness(by_id, facts),
        *_intensities(by_id, read),
        *_float_labels(facts),
    ]


def _about(case: Case, severity: Severity, kind: str, what: str, fix: str, remedy: Remedy | None = None) -> Finding:
    return Finding(severity, what, fix, case.id, case.images[0], kind=kind, remedy=remedy)


def _other_channels(cases: Mapping[str, Case], facts: Mapping[str, CaseFacts]) -> list[Finding]:
    counts = Counter(fact.channels for fact in facts.values())
    if len(counts) < 2:
        return []
    usual = counts.most_common(1)[0][0]
    return [
        _about(
            cases[case],
            "error",
            "channels",
            f"{cases[case].images[0].name} has {fact.channels} channels (or time points), most others have {usual}.",
            "Give every case the same channels; split a series of time points into one file each.",
            Remedy("drop_case", (case,), why="another number of channels"),
        )
        for case, fact in facts.items()
        if fact.channels != usual
    ]


def _notes(cases: Mapping[str, Case], looks: Sequence[Look]) -> list[Finding]:
    by_note: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for look in looks:
        for note in sorted(look.notes):
            # The same is said once for all of them, even where it names the size of each.
            by_note[re.sub(r"\d+([.x]\d+)*", "#", note)].append((look.notebook.case, note))
    findings = []
    for noted in by_note.values():
        case, note = noted[0]
        others = len({other for other, _ in noted}) - 1
        more = f" and {others} more cases" if others else ""
        what = f"{cases[case].images[0].name}{more}: {note}"
        findings.append(_about(cases[case], "warning", "note", what, "Look at it in the viewer."))
    return findings


def _grids(cases: Mapping[str, Case], facts: Mapping[str, CaseFacts]) -> list[Finding]:
    found = statistics(facts)
    findings = []
    for name, spreads, unit in (("spacing", found.spacing, " mm"), ("shape", found.shape, " voxels")):
        usual = " x ".join(f"{one.median:.3g}" for one in spreads)
        for case in dict.fromkeys(case for one in spreads for case in one.outliers):
            grid = facts[case].grid.canonical()
            own = " x ".join(f"{value:.3g}" for value in (grid.spacing if name == "spacing" else grid.shape))
            findings.append(
                _about(
                    cases[case],
                    "warning" if name == "spacing" else "info",
                    f"other {name}",
                    f"{cases[case].images[0].name} has {own}{unit}, the median of all is {usual}.",
                    "Check whether it belongs to this data set; resampling brings it to one spacing with the others."
                    if name == "spacing"
                    else "Nothing to do, if it belongs to this data set.",
                )
            )
    return findings


def _handedness(cases: Mapping[str, Case], facts: Mapping[str, CaseFacts]) -> list[Finding]:
    """Say which few are stored the other way round: right, unless somebody mended their header by hand."""
    sides = {case: float(np.linalg.det(fact.grid.affine[:3, :3])) > 0 for case, fact in facts.items()}
    usual = Counter(sides.values()).most_common(1)
    if len(sides) < _FEW or usual[0][1] == len(sides) or usual[0][1] < _USUAL * len(sides):
        return []
    order = Counter(facts[case].grid.orientation for case, side in sides.items() if side == usual[0][0]).most_common(1)[0][0]
    return [
        _about(
            cases[case],
            "info",
            "left and right",
            f"{cases[case].images[0].name} is stored {facts[case].grid.orientation}, most others {order}: "
            "its voxels run the other way round.",
            "Nothing to do, if L and R in the viewer are where they belong; if not, its header is wrong.",
        )
        for case, side in sides.items()
        if side != usual[0][0]
    ]


def _intensities(cases: Mapping[str, Case], facts: Mapping[str, CaseFacts]) -> list[Finding]:
    groups: dict[str, dict[str, CaseFacts]] = defaultdict(dict)
    for case, fact in facts.items():
        if np.isfinite(fact.high):
            groups[fact.modality][case] = fact
    return [finding for group in groups.values() if len(group) >= _FEW for finding in _intensities_of(cases, group)]


def _intensities_of(cases: Mapping[str, Case], facts: Mapping[str, CaseFacts]) -> list[Finding]:
    in_hu = [fact.low < _AIR for fact in facts.values()]
    if sum(in_hu) >= _USUAL * len(facts):
        return [
            _about(
                cases[case],
                "warning",
                "intensities",
                f"{cases[case].images[0].name} holds {fact.low:.4g} to {fact.high:.4g}, the others have air near -1000 HU.",
                "Check that it is in Hounsfield units: an offset of 1024 may have been lost on export.",
            )
            for case, (fact, usual) in zip(facts, zip(facts.values(), in_hu, strict=True), strict=True)
            if not usual and fact.low >= 0
        ]
    if any(fact.high <= 0 for fact in facts.values()):
        return []
    scale = {case: float(np.log10(fact.high)) for case, fact in facts.items()}
    found = spread(scale)
    away = float(np.median([abs(value - found.median) for value in scale.values()]))
    if away > _NO_SCALE or len(found.outliers) > max(2, _FEW_OUTLIERS * len(scale)):
        lowest, highest = min(facts, key=scale.__getitem__), max(facts, key=scale.__getitem__)
        return [
            Finding(
                "info",
                f"The images have no common scale: their 99th percentiles run from {facts[lowest].high:.4g} ({lowest}) to "
                f"{facts[highest].high:.4g} ({highest}).",
                "Nothing to do: each image is normalised by its own intensities (a fixed window would not fit).",
                kind="intensity scale",
            )
        ]
    return [
        _about(
            cases[case],
            "warning",
            "intensities",
            f"{cases[case].images[0].name} is {10 ** abs(scale[case] - found.median):.3g} times "
            f"{'brighter' if scale[case] > found.median else 'darker'} than the median of the others "
            f"(99th percentile {facts[case].high:.4g}).",
            "Check whether it is of the same kind, and how it was exported.",
        )
        for case in found.outliers
        if abs(scale[case] - found.median) > np.log10(_FAR)
    ]


def _float_labels(facts: Mapping[str, CaseFacts]) -> list[Finding]:
    found = [case for case, fact in facts.items() if fact.mask_dtype.lstrip("<>=").startswith("float") and fact.label_counts]
    if not found:
        return []
    which = f"The mask of {found[0]} is" if len(found) == 1 else f"{len(found)} masks (such as that of {found[0]}) are"
    what = f"{which} stored as floating point; the values are whole numbers, so they are taken as labels."
    return [Finding("info", what, "Nothing to do.", found[0] if len(found) == 1 else None, kind="float labels")]


def lone_masks(dataset: Dataset, facts: Mapping[str, CaseFacts]) -> list[Finding]:
    """Say of masks without an image whether their grid (from the header) is at least that of one: then a name is wrong."""
    shapes: dict[tuple[int, ...], str] = {}
    for case, fact in facts.items():
        shapes.setdefault(fact.grid.canonical().shape, case)
    findings = []
    for path in dataset.unused_masks[:_MOST_LONE_MASKS]:
        try:
            grid = read_grid(path)
        except Seg3dError as error:
            findings.append(Finding("warning", error.what, error.fix, path=path, kind="lone mask"))
            continue
        like = shapes.get(grid.canonical().shape)
        where = f"that of {like}, for example" if like is not None else "that of no image here"
        what = f"{path.name} has no image; its grid ({grid}) is {where}."
        findings.append(Finding("info", what, "Find its image by that, or leave it.", path=path, kind="lone mask"))
    return findings


def all_labels(dataset: Dataset, facts: Mapping[str, CaseFacts], own_names: Iterable[Mapping[int, str]]) -> dict[int, str]:
    """Return every label with its name: those that the data set declares, else those in the masks."""
    if dataset.labels:
        return dataset.labels
    found = {value for fact in facts.values() for value in fact.label_counts if value > 0}
    if len(found) > MOST_LABELS:
        return {}
    # A name that some masks give to one value and others to another is no name.
    known = list(own_names)
    names = {value: {own[value] for own in known if value in own} for value in found}
    return {value: names[value].pop() if len(names[value]) == 1 else f"label {value}" for value in sorted(found)}


def ignored_labels(report: Report, aside: Collection[int]) -> list[Finding]:
    """Return which labels are called what nnU-Net calls voxels that nobody knows, and would be learnt all the same."""
    return [
        Finding(
            "warning",
            f"Label {value} is called {name!r}, which stands for voxels that nobody knows; it would be learnt like any other.",
            f"Set Ignored value to {value} in the training.",
            kind="ignored label",
        )
        for value, name in report.dataset.labels.items()
        if name.lower() == "ignore" and value not in aside
    ]


def rare_labels(report: Report) -> list[Finding]:
    """Return which labels hardly any mask has, and which masks lack one that nearly all have."""
    counts = {case.id: report.facts[case.id].label_counts for case in report.sound if case.id in report.facts}
    findings = []
    for value, name in report.dataset.labels.items():
        holders = [case for case, labels in counts.items() if value in labels]
        title = f"Label {value} ({name})" if name != f"label {value}" else f"Label {value}"
        if counts and not holders:
            if value in report.dataset.merged:
                continue
            fix = "Remove it from dataset.json, or check the masks."
            findings.append(Finding("warning", f"{title} is in no mask.", fix, kind="missing label"))
        elif len(counts) > 1 and (len(holders) == 1 or (len(counts) >= _RARE_FROM and len(holders) < _RARE_SHARE * len(counts))):
            findings.append(
                Finding(
                    "warning",
                    f"{title} is in {len(holders)} of {len(counts)} masks only (such as that of {holders[0]}).",
                    "Expect little of it: add cases that show it, or check whether the value is a slip.",
                    kind="rare label",
                    remedy=Remedy("merge_labels", tuple(holders), value=value),
                )
            )
        elif len(counts) >= _RARE_FROM and _USUAL * len(counts) <= len(holders) < len(counts):
            lacking = [
                case
                for case, labels in counts.items()
                if value not in labels and any(labels.get(other) for other in labels if other)
            ]
            if lacking:
                others = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
                what = f"{title} is in nearly all masks, but not in that of {lacking[0]}{others}."
                fix = "Check whether it was forgotten there."
                case = lacking[0] if len(lacking) == 1 else None
                findings.append(Finding("info", what, fix, case, kind="label missing in few"))
    return findings
