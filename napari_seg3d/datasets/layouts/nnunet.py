"""A data set as the raw folder of nnU-Net 2, whatever format its files have."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets.dataset import Case, Dataset
from napari_seg3d.datasets.layouts.decathlon import FILE_NAME as DESCRIPTION
from napari_seg3d.datasets.reading import read_case_image, read_case_mask
from napari_seg3d.datasets.subjects import FILE_NAME as SUBJECTS
from napari_seg3d.errors import Cancelled, DatasetError, WriteError
from napari_seg3d.files import atomic_folder
from napari_seg3d.volumes import Volume, smallest_integer, write_volume

#: Which value of the export was which in the data set. It also tells that the folder is an export of ours.
LABEL_VALUES = "label_values.csv"

_ENDING = ".nii.gz"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass
class _Written:
    """What the cases written so far have in common."""

    channels: int = 0
    modalities: frozenset[str] = frozenset()


def export_nnunet(
    dataset: Dataset,
    folder: str | Path,
    number: int,
    name: str,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Write a data set as ``DatasetNNN_Name`` with ``imagesTr``, ``labelsTr``, ``imagesTs`` and ``dataset.json``.

    nnU-Net wants label values without gaps: they are renumbered in their order, and ``label_values.csv`` says which was which.
    Merged labels are merged, excluded cases left out. Cases of the test set and those without masks go to ``imagesTs`` (the masks
    of the test set to ``labelsTs``, which nnU-Net does not look at). Voxels and grids stay as they are; free text of the files,
    which may name the patient, is not copied. ``subjects.csv`` keeps who belongs to whom.

    Parameters
    ----------
    dataset : Dataset
        Its files are only read.
    folder : path-like
        nnU-Net's raw folder, in which the data set gets a folder of its own.
    number : int
        Of the data set, from 1 to 999.
    name : str
        Of the data set: letters, digits, ``_`` and ``-``.
    overwrite : bool
        Whether an earlier export of the same number and name may be replaced.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each file that is read.

    Returns
    -------
    Path
        The folder of the data set, written whole or not at all.

    Raises
    ------
    DatasetError
        Number or name cannot be used, no case has a mask, or the cases have different numbers of channels.
    WriteError
        The folder is there already or cannot be written.
    Seg3dError
        A case cannot be read, or its mask does not lie on its scan.
    Cancelled
        `cancelled` said so.
    """
    if not 1 <= number <= 999:
        raise DatasetError(f"nnU-Net knows no data set {number}.", "Choose a number from 1 to 999.")
    if not _NAME.fullmatch(name):
        raise DatasetError(f"{name!r} cannot name a data set of nnU-Net.", "Use letters, digits, _ and - only.")
    target = Path(folder).expanduser().absolute() / f"Dataset{number:03d}_{name}"
    if target.exists() and not (overwrite and (target / LABEL_VALUES).is_file()):
        fix = (
            "Choose another number or name, or allow overwriting." if not overwrite else "It is no export of ours: move it away."
        )
        raise WriteError(f"{target} exists already.", fix)
    test = {case.id for case in dataset.cases if dataset.split is not None and dataset.split.place_of(case.id) == "test"}
    cases = [case for case in dataset.cases if case.id not in dataset.excluded]
    if not any(case.mask is not None and case.id not in test for case in cases):
        raise DatasetError(f"No case of {dataset.name} that may train has a mask.", "Pair images and masks first.")
    masked = [case for case in cases if case.mask is not None]
    told = _Teller(len(masked) + len(cases), progress, cancelled)
    labels = _labels(dataset, masked, told)
    with atomic_folder(target) as whole:
        written = _Written()
        for case in cases:
            _write_case(
                case, whole, "Ts" if case.id in test or case.mask is None else "Tr", list(labels), dataset.merged, written
            )
            told.one_more()
        _describe(dataset, cases, sum(case.id not in test for case in masked), labels, name, written, whole)
    return target


class _Teller:
    def __init__(self, total: int, progress: Callable[[int, int], None] | None, cancelled: Callable[[], bool] | None) -> None:
        self._done, self._total = 0, total
        self._progress, self._cancelled = progress, cancelled

    def one_more(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)
        if self._cancelled is not None and self._done < self._total and self._cancelled():
            raise Cancelled("The export was stopped; nothing was written.")


def _labels(dataset: Dataset, masked: Sequence[Case], told: _Teller) -> dict[int, str]:
    """Return every value that the masks hold or that has a name, with its name, in ascending order."""
    found: set[int] = set()
    own: dict[int, set[str]] = defaultdict(set)
    for case in masked:
        mask = read_case_mask(case, merged=dataset.merged)
        found.update(int(value) for value in np.unique(mask.data))
        for value, label in mask.labels.items():
            own[value].add(label.name)
        told.one_more()
    negative = min(found, default=0)
    if negative < 0:
        raise DatasetError(f"{dataset.name} has the negative label {negative}.", "Give every label a number above 0.")
    gone = {value for value, other in dataset.merged.items() if value != other}
    names: dict[int, str] = {}
    for value in sorted((found | set(dataset.labels)) - gone - {0}):
        said = own[value] - {""}
        wanted = dataset.labels.get(value) or (said.pop() if len(said) == 1 else f"label {value}")
        taken = {"background", "ignore", *(other.lower() for other in names.values())}  # nnU-Net gives these words a meaning
        names[value] = wanted if wanted.lower() not in taken else f"{wanted} ({value})"
    return names


def _write_case(case: Case, whole: Path, part: str, values: list[int], merged: Mapping[int, int], written: _Written) -> None:
    image = read_case_image(case)
    count = len(image.data)
    if written.channels not in (0, count):
        raise DatasetError(
            f"{case.id} has {count} channels, and the cases before it have {written.channels}.",
            "Export cases of one kind: exclude the others.",
        )
    written.channels = count
    written.modalities |= {image.modality}
    for channel in range(count):
        single = replace(image, data=image.data[channel : channel + 1], channels=())
        write_volume(single, whole / f"images{part}" / f"{case.id}_{channel:04d}{_ENDING}")
    if case.mask is not None:
        mask = read_case_mask(case, image, merged)
        numbered = Volume(_consecutive(mask.data, values), mask.affine, "labels", image.source, is_oriented=image.is_oriented)
        write_volume(numbered, whole / f"labels{part}" / f"{case.id}{_ENDING}")


def _consecutive(data: NDArray[np.generic], values: list[int]) -> NDArray[np.integer]:
    numbered = np.zeros(data.shape, smallest_integer(0, len(values)))
    for number, value in enumerate(values, start=1):
        numbered[data == value] = number
    return numbered


def _describe(
    dataset: Dataset, cases: Sequence[Case], training: int, labels: Mapping[int, str], name: str, written: _Written, whole: Path
) -> None:
    description = {
        "name": dataset.name or name,
        "channel_names": dict(zip(map(str, range(written.channels)), _channel_names(dataset, written), strict=True)),
        "labels": {"background": 0} | {label: number for number, label in enumerate(labels.values(), start=1)},
        "numTraining": training,
        "file_ending": _ENDING,
    }
    (whole / DESCRIPTION).write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    rows = [(number, label, value) for number, (value, label) in enumerate(labels.items(), start=1)]
    _write_table(whole / LABEL_VALUES, ("exported", "name", "value"), rows)
    _write_table(whole / SUBJECTS, ("case", "subject"), [(case.id, case.subject) for case in cases])


def _channel_names(dataset: Dataset, written: _Written) -> list[str]:
    """Return what the channels show: nnU-Net normalises a channel called CT by its Hounsfield units, others by their spread."""
    if len(dataset.channels) == written.channels:
        return list(dataset.channels)
    said = {dataset.modality} if dataset.modality else set(written.modalities)
    modality = said.pop() if len(said) == 1 else ""
    if written.channels == 1:
        return [modality or "image"]
    return [f"{modality or 'image'} {channel + 1}" for channel in range(written.channels)]


def _write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    path.write_text(text.getvalue(), encoding="utf-8", newline="\n")
