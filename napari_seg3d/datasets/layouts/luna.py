"""Lung nodules as LUNA lists them: CT by series, nodules and candidates in CSVs, in millimetres of the patient.

The masks that such a set lacks are made by :mod:`napari_seg3d.datasets.layouts.nodules`.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import DatasetError

_ANNOTATIONS = ("annotations_with_malignancy.csv", "annotations.csv")  # the first of them that is there; it corrects the second
_CANDIDATES = ("candidates_v2.csv", "candidates_V2.csv", "candidates.csv")
_COLUMNS = {
    "series": ("series_uid", "seriesuid", "series", "seriesinstanceuid"),
    "x": ("coordx", "x"),
    "y": ("coordy", "y"),
    "z": ("coordz", "z"),
    "diameter": ("diameter_mm", "diameter"),
    "malignant": ("malignant", "mal_bool", "malignancy", "ismalignant"),
    "class": ("class", "label"),
}
_PLACE = ("series", "x", "y", "z")
_TRUTH = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Nodule:
    """One nodule.

    Parameters
    ----------
    series : str
        Uid of the CT, which is the name of its file.
    centre : tuple of float
        x, y, z in mm towards left, posterior and superior (LPS), as ITK and DICOM count.
    diameter : float
        In mm; NaN where the table has none.
    malignant : bool or None
        None where the table does not say.
    """

    series: str
    centre: tuple[float, float, float]
    diameter: float
    malignant: bool | None


class Place(NamedTuple):
    """One line of a table of places.

    Parameters
    ----------
    line : int
        Where it stands; the heading is line 1.
    series : str
        Uid of the CT; empty where the table is of one CT, and does not name it.
    centre : tuple of float
        x, y, z in mm (LPS).
    """

    line: int
    series: str
    centre: tuple[float, float, float]


@dataclass(frozen=True)
class Candidates:
    """Places that look like nodules, half a million of them in the whole of LUNA; so they are kept as columns.

    Parameters
    ----------
    series : tuple of str
        Uid of the CT of each.
    centres : array of shape (n, 3)
        In mm, LPS.
    is_nodule : array of shape (n,)
        Whether it is one.
    """

    series: tuple[str, ...]
    centres: NDArray[np.float64]
    is_nodule: NDArray[np.bool_]

    @cached_property
    def _rows(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = defaultdict(list)
        for row, series in enumerate(self.series):
            rows[series].append(row)
        return dict(rows)

    def of(self, series: str) -> Candidates:
        """Return those of one CT."""
        rows = self._rows.get(series, [])
        return Candidates((series,) * len(rows), self.centres[rows], self.is_nodule[rows])


@dataclass(frozen=True)
class Tables:
    """The CSVs of a LUNA folder."""

    annotations: Path
    candidates: Path | None


def find_tables(folder: Path) -> Tables | None:
    """Return the tables that lie in a folder or right below it, or None where it is no such data set."""
    found: dict[str, Path] = {}
    for pattern in ("*.csv", "*/*.csv"):
        for path in sorted(folder.glob(pattern)):
            found.setdefault(path.name, path)
    annotations = next((found[name] for name in _ANNOTATIONS if name in found and _has_places(found[name])), None)
    if annotations is None:
        return None
    return Tables(annotations, next((found[name] for name in _CANDIDATES if name in found and _has_places(found[name])), None))


def read_nodules(path: str | Path) -> tuple[Nodule, ...]:
    """Return the nodules of ``annotations.csv`` or ``annotations_with_malignancy.csv``; of a folder, of the one in it.

    Raises
    ------
    DatasetError
        There is no such table, it lacks a column, or a line holds no place.
    """
    table = _table(Path(path), "annotations.csv")
    nodules = []
    for line, cells in _lines(table, _PLACE):
        word = cells.get("malignant", "").lower()
        if word and word not in _TRUTH:
            raise DatasetError(f"{table}, line {line}: malignant is {word!r}.", "Write True or False.")
        diameter = _number(table, line, "diameter_mm", cells["diameter"]) if cells.get("diameter") else float("nan")
        nodules.append(Nodule(cells["series"], _centre(table, line, cells), diameter, _TRUTH.get(word)))
    return tuple(nodules)


def read_places(path: str | Path) -> tuple[Place, ...]:
    """Return the places of a table that has the columns x, y and z, and perhaps one that names the CT. Raises as `read_nodules` does."""
    table = _table(Path(path), "annotations.csv")
    return tuple(Place(line, cells.get("series", ""), _centre(table, line, cells)) for line, cells in _lines(table, "xyz"))


def read_candidates(path: str | Path) -> Candidates:
    """Return the candidates of ``candidates.csv``; of a folder, of the one in it. Raises as `read_nodules` does."""
    table = _table(Path(path), "candidates.csv")
    series, centres, classes = [], [], []
    for line, cells in _lines(table, (*_PLACE, "class")):
        if cells["class"].lower() not in _TRUTH:
            raise DatasetError(f"{table}, line {line}: the class is {cells['class']!r}.", "Write 0 or 1.")
        series.append(cells["series"])
        centres.append(_centre(table, line, cells))
        classes.append(_TRUTH[cells["class"].lower()])
    return Candidates(tuple(series), np.array(centres, np.float64).reshape(-1, 3), np.array(classes, bool))


def world_to_voxel(places: Sequence[Sequence[float]] | NDArray[np.floating], affine: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return voxel indices ``(n, 3)`` along I, J and K, not rounded, of places in mm.

    Parameters
    ----------
    places : array of shape (n, 3)
        x, y, z in LPS, as the tables of LUNA count.
    affine : array of shape (4, 4)
        Voxel -> RAS+ mm: origin, spacing and direction, oblique or flipped as they may be.
    """
    ras = np.asarray(places, np.float64).reshape(-1, 3) * _TO_RAS
    inverse = np.linalg.inv(np.asarray(affine, np.float64))
    return np.asarray(ras @ inverse[:3, :3].T + inverse[:3, 3])


def _table(path: Path, name: str) -> Path:
    if not path.is_dir():
        return path
    tables = find_tables(path)
    found = None if tables is None else tables.candidates if name.startswith("candidates") else tables.annotations
    if found is None:
        raise DatasetError(f"{path} holds no {name}.", "Choose the file, or the folder that holds it.")
    return found


def _has_places(table: Path) -> bool:
    try:
        with open(table, encoding="utf-8-sig", newline="") as handle:
            header = handle.readline(10_000)
    except (OSError, UnicodeDecodeError):
        return False
    return set(_PLACE) <= set(_columns(re.split(r"[;,]", header)))


def _columns(header: Sequence[str]) -> dict[str, int]:
    """Return what stands in which column."""
    names = [name.strip().lower() for name in header]
    return {meaning: names.index(word) for meaning, words in _COLUMNS.items() for word in words if word in names}


def _lines(table: Path, needed: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        with open(table, encoding="utf-8-sig", newline="") as handle:
            start = handle.readline()
            delimiter = ";" if start.count(";") > start.count(",") else ","
            columns = _columns(start.split(delimiter))
            missing = next((_COLUMNS[name][0] for name in needed if name not in columns), None)
            if missing is not None:
                raise DatasetError(f"{table}, line 1: there is no column {missing}.", f"Name one {missing}.")
            for number, cells in enumerate(csv.reader(handle, delimiter=delimiter), start=2):
                if not any(cells):
                    continue
                if len(cells) <= max(columns.values()):
                    raise DatasetError(f"{table}, line {number}: it is cut off.", "Copy the table again.")
                yield number, {name: cells[column].strip() for name, column in columns.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read ({error}).", "Copy the table again.") from error


def _centre(table: Path, line: int, cells: Mapping[str, str]) -> tuple[float, float, float]:
    x, y, z = (_number(table, line, axis, cells[axis]) for axis in "xyz")
    return x, y, z


def _number(table: Path, line: int, name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise DatasetError(f"{table}, line {line}: {name} is {text!r}, which is no number.", "Correct or remove the line.")
    return number
