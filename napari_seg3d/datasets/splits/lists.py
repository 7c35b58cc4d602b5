"""Splits that others have made: a CSV with the columns case and set, ``splits_final.json`` of nnU-Net, or a list of ids."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.datasets.splits.stored import Place, StoredSplit, Test, place_named
from napari_seg3d.errors import DatasetError

_MOST_BYTES = 64 << 20
_KINDS = (
    "Give a CSV with the columns case and set (train, validation, test or the number of a fold), such as the split.csv of a run, or "
    "nnU-Net's splits_final.json."
)


def read_split(file: Path, cases: Sequence[Case]) -> StoredSplit:
    """Return the split in a file.

    Parameters
    ----------
    file : Path
        A CSV with the columns ``case`` and ``set``, or nnU-Net's ``splits_final.json`` (a list of folds with ``train`` and ``val``).
    cases : sequence of Case
        Those of the data set; the file names them by their ids or by the names of their images. Cases that it leaves out train.

    Raises
    ------
    DatasetError
        The file cannot be read, names a case that there is not, or puts one into two sets.
    """
    text = _text(file)
    return _of_folds(file, text, cases) if file.suffix.lower() == ".json" else _of_table(file, text, cases)


def read_ids(file: Path, cases: Sequence[Case]) -> list[str]:
    """Return the ids of the cases that a file names: one on each line, or the column ``case`` of a CSV.

    Raises
    ------
    DatasetError
        The file cannot be read, or names a case that there is not.
    """
    text, known = _text(file), _known(cases)
    columns, rows = _table(text)
    if "case" in columns:
        named = [(number, row["case"]) for number, row in rows]
    else:
        named = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    found = [_id(known, name, f"{file}, line {number}") for number, name in named if name]
    if not found:
        raise DatasetError(f"{file} names no case.", "Write the id of one case on each line.")
    return found


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise DatasetError(f"{file} is too large for a list of cases.", _KINDS)
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is no text in UTF-8.", _KINDS) from error


def _of_table(file: Path, text: str, cases: Sequence[Case]) -> StoredSplit:
    columns, rows = _table(text)
    if not {"case", "set"} <= set(columns):
        raise DatasetError(f"{file}, line 1: the columns are {', '.join(columns)[:80]!r}.", _KINDS)
    known = _known(cases)
    places: dict[str, Place | Test] = {}
    for number, row in rows:
        where, written = f"{file}, line {number}", row["set"]
        case = _id(known, row["case"], where)
        place = place_named(written)
        if place is None:
            raise DatasetError(
                f"{where}: there is no set {written!r}.", "Write train, validation, test, or the number of a fold."
            )
        if places.setdefault(case, place) != place:
            raise DatasetError(f"{where}: the case {case} is in two sets.", "Leave one line per case.")
    return StoredSplit.of_places(places)


def _table(text: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the columns of a table in lower case, and each line of it with its number."""
    header = text.partition("\n")[0]
    reader = csv.DictReader(text.splitlines(), delimiter=";" if ";" in header else ",", skipinitialspace=True)
    columns = [name.strip().lower() for name in reader.fieldnames or ()]
    rows = [(reader.line_num, [str(cell or "").strip() for cell in row.values()]) for row in reader]
    return columns, [(number, dict(zip(columns, cells, strict=False))) for number, cells in rows]


def _of_folds(file: Path, text: str, cases: Sequence[Case]) -> StoredSplit:
    try:
        folds: object = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f"{file} is no JSON.", _KINDS) from error
    known = _known(cases)
    places: dict[str, Place | Test] = {}
    if not isinstance(folds, list) or not folds:
        raise DatasetError(f"{file} holds no list of folds.", _KINDS)
    for number, fold in enumerate(folds, start=1):
        names = fold.get("val") if isinstance(fold, Mapping) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DatasetError(f"{file}: fold {number} has no list val.", _KINDS)
        for name in names:
            case = _id(known, name, f"{file}, fold {number}")
            if places.setdefault(case, number) != number:
                raise DatasetError(f"{file}: {case} validates in two folds.", "Name each case in one fold's val.")
    return StoredSplit.of_places(places)


def _known(cases: Sequence[Case]) -> dict[str, str]:
    return {name: case.id for case in cases for name in (*(path.name for path in case.images), case.id)}


def _id(known: Mapping[str, str], name: str, where: str) -> str:
    if name not in known:
        raise DatasetError(f"{where}: there is no case {name[:60]!r}.", "Write the ids of the data set's cases.")
    return known[name]
