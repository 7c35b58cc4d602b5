"""Apply what the doctor can do: corrected copies beside the data, and notes in the data set; the sources stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_seg3d.datasets.dataset import Case, Dataset, Problem, files_of
from napari_seg3d.datasets.doctor.findings import Finding, Remedy
from napari_seg3d.datasets.reading import read_case_mask
from napari_seg3d.errors import Cancelled, DatasetError
from napari_seg3d.volumes import Volume, read_grid, read_volume, resample, write_volume

#: The folder of the corrected masks, beside ``dataset.yaml``.
FOLDER = "corrected"


def apply_remedies(
    dataset: Dataset,
    findings: Iterable[Finding],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Dataset:
    """Return the data set with the remedies of some findings applied; save it with `save_dataset` to keep it.

    Parameters
    ----------
    dataset : Dataset
        That of the report that the findings are from.
    findings : iterable of Finding
        What shall be mended; those without a remedy are passed over. A case that is left out is not mended besides.
    folder : Path
        Where ``dataset.yaml`` lies, or will lie: corrected masks are written to ``corrected`` in it. Nothing is ever written over.
    progress : callable, optional
        Called after each remedy with the number of remedies done and of all.
    cancelled : callable, optional
        Asked after each remedy whether to give up; the copies that were written stay.

    Raises
    ------
    DatasetError
        A case is not in the data set.
    ReadError, LabelError, WriteError
        A mask cannot be read or its copy cannot be written.
    Cancelled
        `cancelled` said so.
    """
    remedies = list(dict.fromkeys(finding.remedy for finding in findings if finding.remedy is not None))
    known = {case.id for case in dataset.cases}
    for remedy in remedies:
        strange = [case for case in remedy.cases if case not in known]
        if strange:
            raise DatasetError(f"There is no case {strange[0]!r} in {dataset.name}.", "Check the data set again.")
    remedies.sort(key=lambda remedy: remedy.kind != "drop_case")
    for done, remedy in enumerate(remedies, start=1):
        dataset = _apply(dataset, remedy, folder / FOLDER)
        if progress is not None:
            progress(done, len(remedies))
        if cancelled is not None and cancelled():
            raise Cancelled("The corrections were stopped.")
    return replace(dataset, problems=_still_true(dataset))


def _apply(dataset: Dataset, remedy: Remedy, folder: Path) -> Dataset:
    if remedy.kind == "drop_case":
        why = remedy.why or "left out by hand"
        return replace(dataset, excluded={**dataset.excluded, **dict.fromkeys(remedy.cases, why)})
    if remedy.kind == "merge_labels":
        labels = {value: name for value, name in dataset.labels.items() if value != remedy.value}
        merged = {value: remedy.into if into == remedy.value else into for value, into in dataset.merged.items()}
        return replace(dataset, labels=labels, merged={**merged, remedy.value: remedy.into})
    if remedy.kind == "same_subject":
        return _with_one_subject(dataset, remedy.cases)
    mend = _resampled if remedy.kind == "resample_mask" else _rounded
    wanted = set(remedy.cases) - set(dataset.excluded)
    cases = tuple(_mended(case, mend, folder) if case.id in wanted else case for case in dataset.cases)
    return replace(dataset, cases=cases)


def _mended(case: Case, mend: Callable[[Case], Volume], folder: Path) -> Case:
    if case.mask is None:
        raise DatasetError(f"{case.id} has no mask to correct.", "Check the data set again.")
    volume = mend(case)
    path = _free_name(folder, case.id)
    write_volume(volume, path)
    return replace(case, mask=path, parts=(), reason=f"{case.reason}; corrected copy of {case.mask.name}".lstrip("; "))


def _resampled(case: Case) -> Volume:
    mask = read_case_mask(case)
    grid = read_grid(case.images[0])
    # Its header speaks of the old grid.
    return replace(mask, data=resample(mask, grid, "nearest"), affine=grid.affine, source=None)


def _rounded(case: Case) -> Volume:
    stored = read_volume(files_of(case)[-1], "image")
    whole = np.rint(stored.data)
    # 0.5 is inside, as the boundary of a probability map.
    whole[stored.data == 0.5] = 1
    return replace(stored, data=np.maximum(whole, 0).astype(np.int64), kind="labels")


def _with_one_subject(dataset: Dataset, cases: Sequence[str]) -> Dataset:
    joined = {case.subject for case in dataset.cases if case.id in cases}
    first = min(joined)
    return replace(
        dataset, cases=tuple(replace(case, subject=first) if case.subject in joined else case for case in dataset.cases)
    )


def _free_name(folder: Path, name: str) -> Path:
    number = 1
    path = folder / f"{name}.nii.gz"
    while path.exists():
        number += 1
        path = folder / f"{name}_{number}.nii.gz"
    return path


def _still_true(dataset: Dataset) -> tuple[Problem, ...]:
    return tuple(problem for problem in dataset.problems if problem.case not in dataset.excluded)
