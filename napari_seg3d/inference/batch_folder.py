"""`BatchFolder`: the folder that the masks of many scans go to, what is in it already, and its table.

Beside the masks lie ``predictions.csv``, a row for each scan, and ``predictions.json``, which says what model and which settings the masks
come from and which scan each belongs to, so that the same command can go on where it stopped and never mixes two models.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets import Case, mask_name, read_mask
from napari_seg3d.errors import ConfigError, ReadError, Seg3dError, WriteError
from napari_seg3d.files import append_bytes, write_text
from napari_seg3d.inference.beyond import STORED_ENDINGS
from napari_seg3d.inference.options import PredictOptions
from napari_seg3d.volumes import Label, Volume, label_paths

TABLE = "predictions.csv"
RECORD = "predictions.json"
_FORMAT = "napari-seg3d predictions 1"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class BatchModel:
    """What a batch must know of a model without having it in memory.

    Parameters
    ----------
    name : str
        What to call it.
    labels : dict of int to str
        Value -> name, as in the masks.
    has_channels : bool
        Whether the masks have a channel for each label.
    identity : str
        That of its files, as `model_identity` gives it.
    """

    name: str
    labels: dict[int, str]
    has_channels: bool
    identity: str


@dataclass(frozen=True)
class BatchOutput:
    """Where the masks go, and how they are written.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    ending : str
        Such as ``".nrrd"``; left out, that of each scan where it holds masks, else ``".nii.gz"``.
    per_label : bool
        Whether each label gets a file of its own.
    overwrite : bool
        Whether masks that are there are made anew, instead of kept.
    resample_irregular : bool
        Whether tilted or unevenly spaced series are resampled, instead of refused.
    too_large : frozenset of str
        Cases whose scans do not fit into memory: whatever the ending, they are predicted piece by piece, and their masks are OME-Zarr.
    """

    folder: Path
    ending: str = ""
    per_label: bool = False
    overwrite: bool = False
    resample_irregular: bool = False
    too_large: frozenset[str] = frozenset()


@dataclass(frozen=True)
class CaseResult:
    """What became of a scan.

    Parameters
    ----------
    case : str
        Its id.
    files : tuple of Path
        Its masks; none where it failed.
    seconds : float
        How long the model took.
    volumes : dict of int to float
        Label value -> ml.
    warnings : tuple of str
        What the user should know about it.
    error : Seg3dError, optional
        Why there is no mask.
    was_there : bool
        Whether the masks were there already: nothing was computed.
    """

    case: str
    files: tuple[Path, ...] = ()
    seconds: float = 0.0
    volumes: dict[int, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: Seg3dError | None = None
    was_there: bool = False


def model_identity(files: Iterable[Path]) -> str:
    """Return what tells a model from every other: the SHA-256 of its files, or of what lies in its folders.

    Raises
    ------
    ReadError
        A file cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_dir():
                continue
            try:
                with open(file, "rb") as handle:
                    while block := handle.read(_BLOCK):
                        digest.update(block)
            except OSError as error:
                raise ReadError(f"{file} cannot be read: {error.strerror}.", "Check the path of the model.") from error
    return digest.hexdigest()


class BatchFolder:
    """The masks of many scans, their table and their record.

    Parameters
    ----------
    output : BatchOutput
        Where, and how.
    model : BatchModel
        What makes the masks.
    options : PredictOptions
        How they are predicted.
    cases : sequence of Case
        The scans to predict.

    Raises
    ------
    ConfigError
        The masks that are there come from another model or other settings, or a file of that name is not ours.
    WriteError
        The folder cannot be written.
    """

    def __init__(self, output: BatchOutput, model: BatchModel, options: PredictOptions, cases: Sequence[Case]) -> None:
        self.output, self.model = output, model
        self._folder = output.folder
        made_by = {
            "model": model.identity,
            "labels": {str(value): name for value, name in model.labels.items()},
            "settings": json.loads(json.dumps(asdict(options), default=str)),
        }
        mine = {file.name for case in cases for file in self.files_of(case)}
        is_going_on, self._masks = self._recorded(made_by, mine)
        labels = [_safe(f"{name} (ml)") for name in model.labels.values()]
        self._columns = ["case", "file", "seconds", *labels, "warnings", "error"]
        self._rows = self._read_table() if is_going_on else {}
        #: What was known before anything is computed: masks that are there, and scans that cannot have one.
        self.known = [result for case in cases if (result := self._known(case)) is not None]
        #: The scans that are to be predicted.
        told = {result.case for result in self.known}
        self.todo = [case for case in cases if case.id not in told]
        self._masks |= {file.name: _fingerprint(case) for case in self.todo for file in self.files_of(case)}
        record = {"format": _FORMAT, "name": model.name, **made_by, "masks": self._masks}
        # Before the first mask, so that each mask here is known to be ours, whenever the computer fails.
        write_text(self._folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        failed = {_safe(result.case) for result in self.known if result.error is not None}
        told_anew = {(_safe(case.id), self._cell(self.files_of(case))) for case in self.todo}
        told_anew |= {(name, "") for name in failed | {name for name, _ in told_anew}}
        kept = [row for key, row in self._rows.items() if key not in told_anew]
        write_text(self._folder / TABLE, "".join(map(_line, [self._columns, *kept])))
        for result in self.known:
            if result.error is not None or self._row_of(result) is None:
                self.note(result)

    def target_of(self, case: Case) -> Path:
        """Return where the mask of a case goes; of masks for each label, what their names are made from."""
        ending = STORED_ENDINGS[0] if case.id in self.output.too_large else self.output.ending
        file = self._folder / mask_name(case, ending)
        # A pixel of a picture has one label.
        return file.with_suffix(".npy") if file.suffix == ".png" and not self.output.ending and self.model.has_channels else file

    def stays_on_disk(self, case: Case) -> bool:
        """Return whether a scan is predicted piece by piece, because its mask can be written so, or does not fit into memory."""
        return self.target_of(case).name.endswith(STORED_ENDINGS)

    def files_of(self, case: Case) -> tuple[Path, ...]:
        """Return the masks that a case gets."""
        target = self.target_of(case)
        if not self.output.per_label:
            return (target,)
        return tuple(label_paths({value: Label(name) for value, name in self.model.labels.items()}, target).values())

    def note(self, result: CaseResult) -> None:
        """Add the row of a case to the table, where it stays whatever happens next."""
        volumes = [f"{result.volumes[value]:.4f}" if value in result.volumes else "" for value in self.model.labels]
        error = " ".join(str(result.error).split()) if result.error is not None else ""
        row = [
            result.case,
            self._cell(result.files),
            f"{result.seconds:.2f}" if result.files and not result.was_there else "",
            *volumes,
            " ".join(result.warnings),
            error,
        ]
        append_bytes(self._folder / TABLE, _line([_safe(cell) for cell in row]).encode())

    def _recorded(self, made_by: Mapping[str, Any], mine: set[str]) -> tuple[bool, dict[str, str]]:
        """Return whether the masks in the folder were made as these shall be, and of those what scan each belongs to."""
        path = self._folder / RECORD
        if not path.exists():
            if (self._folder / TABLE).exists() and not self.output.overwrite:
                raise ConfigError(
                    f"{self._folder / TABLE} exists already, and nothing beside it says where it comes from.",
                    "Choose another folder, or ask for --overwrite.",
                )
            return False, {}
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            is_same = all(record[key] == made_by[key] for key in ("model", "settings"))
            model, settings, masks = str(record["name"]), record["settings"], dict(record["masks"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} cannot be read, so nothing says where the masks beside it come from.", "Choose another folder."
            ) from error
        if is_same:
            return True, masks
        there = [name for name in masks if os.path.lexists(self._folder / name)]
        left = [name for name in there if name not in mine]
        if not there or (self.output.overwrite and not left):
            return False, {}
        what = f"another model ({model})" if record["model"] != made_by["model"] else f"other settings ({json.dumps(settings)})"
        fix = "Choose another folder, or ask for --overwrite to make them anew."
        if left:
            fix = f"Choose another folder: {left[0]} would not be made anew now."
        raise ConfigError(f"The masks in {self._folder} come from {what}.", fix)

    def _read_table(self) -> dict[tuple[str, str], list[str]]:
        """Return the rows of the table by case and file; of several the last one."""
        try:
            lines = list(csv.reader(io.StringIO((self._folder / TABLE).read_text(encoding="utf-8"))))
        except (OSError, ValueError):
            return {}
        if not lines or lines[0] != self._columns:
            return {}
        return {(line[0], line[1]): line for line in lines[1:] if len(line) == len(self._columns)}

    def _row_of(self, result: CaseResult) -> list[str] | None:
        return self._rows.get((_safe(result.case), self._cell(result.files)))

    @staticmethod
    def _cell(files: Iterable[Path]) -> str:
        return _safe("; ".join(file.name for file in files))

    def _known(self, case: Case) -> CaseResult | None:
        """Return what can be said of a case before it is computed; None: it is to be predicted."""
        files = self.files_of(case)
        there = [file for file in files if os.path.lexists(file)]
        if self.output.overwrite or not there:
            return None
        scans = {self._masks.get(file.name) for file in there}
        if None in scans:
            return CaseResult(
                case.id, error=WriteError(f"{there[0]} exists already.", "Choose another folder, or ask for --overwrite.")
            )
        if scans != {_fingerprint(case)}:
            return CaseResult(
                case.id,
                error=WriteError(
                    f"{there[0]} is the mask of another scan of this name, or the scan was moved or changed since.",
                    "Choose another folder, or ask for --overwrite.",
                ),
            )
        if len(there) < len(files):
            return None
        row = self._row_of(CaseResult(case.id, files))
        if row is None:  # the computer failed between the mask and its row
            return measured(case.id, files, self.model.labels, self.output.per_label)
        cells = zip(self.model.labels, row[3:-2], strict=True)
        return CaseResult(
            case.id, files, _number(row[2]), {value: _number(cell) for value, cell in cells if cell}, was_there=True
        )


def measured(case: str, files: tuple[Path, ...], labels: Iterable[int], per_label: bool) -> CaseResult:
    """Return what masks that are there already hold, whose row was lost."""
    try:
        if per_label:
            volumes = {value: volumes_in(read_mask(file), [1])[1] for value, file in zip(sorted(labels), files, strict=True)}
        else:
            volumes = volumes_in(read_mask(files[0], overlapping=True), labels)
    except Seg3dError as error:
        note = f"The mask was there already, and cannot be measured: {error.what}"
        return CaseResult(case, files, warnings=(note,), was_there=True)
    return CaseResult(case, files, volumes=volumes, was_there=True)


def volumes_in(mask: Volume, values: Iterable[int]) -> dict[int, float]:
    """Return how much of each label a mask holds, in ml."""
    wanted = list(values)
    counts = np.zeros(max(wanted) + 1, dtype=np.int64)
    for channel in mask.data:
        for plane in channel:  # counting takes eight bytes for each voxel
            found: NDArray[np.int64] = np.bincount(plane.ravel(), minlength=len(counts))
            counts += found[: len(counts)]
    return {value: float(counts[value]) * mask.grid.voxel_volume / 1000 for value in wanted}


def _fingerprint(case: Case) -> str:
    """Return what tells the scan of a case from another one of its name, and tells nothing else about it."""
    told = []
    for path in case.images:
        try:
            state = path.stat()
            told.append(f"{path.resolve()} {state.st_size} {int(state.st_mtime)}")
        except OSError:
            told.append(str(path))
    return hashlib.sha256("\n".join(told).encode(errors="surrogateescape")).hexdigest()[:16]


def _safe(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return 0.0
