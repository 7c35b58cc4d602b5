"""A CSV that lists images and masks."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_seg3d.datasets.dataset import Case, Dataset, Problem
from napari_seg3d.datasets.pairing.by_name import Item
from napari_seg3d.datasets.pairing.ids import is_id, unique_ids
from napari_seg3d.datasets.pairing.listing import scan_name
from napari_seg3d.datasets.splits.stored import Place, StoredSplit, Test, place_named
from napari_seg3d.datasets.subjects import subject_from_name
from napari_seg3d.errors import DatasetError

SUFFIX = ".csv"
_COLUMNS = "image (or image_0, image_1, … for channels), mask, and if you like case, subject and set"
_CHANNEL = re.compile(r"image_?(\d+)")
_CHANNEL_NUMBER = re.compile(r"_\d{4}$")


@dataclass(frozen=True)
class _Row:
    line: int
    cells: Mapping[str, str]  # by column in lower case; none of them empty


def read_list(table: Path) -> Dataset:
    """Return the data set that a CSV lists.

    Its columns are ``image`` (several files of one case stand in one cell, with ``;`` between them, or in ``image_0``,
    ``image_1``, …), ``mask``, and if wanted ``case`` or ``id``, ``subject``, and ``set`` with train, validation or test. Columns
    are divided by ``,`` or ``;``; paths are relative to the CSV or, where it lists files of this machine, whole.

    Raises
    ------
    DatasetError
        The table cannot be read, lacks the column of the images, or a line in it cannot be used.
    """
    names, rows = _rows(table)
    columns = [name for name in names if name == "image"] or sorted(
        (name for name in names if _CHANNEL.fullmatch(name)), key=lambda name: int(re.sub(r"\D", "", name))
    )
    if not columns:
        raise DatasetError(
            f"{table}, line 1: there is no column image; there are {', '.join(names)}.", f"Name columns {_COLUMNS}."
        )
    problems: list[Problem] = []
    found: list[tuple[_Row, tuple[Path, ...]]] = []
    for row in rows:
        written = [text.strip() for name in columns for text in row.cells.get(name, "").split(";") if text.strip()]
        if not written:
            raise DatasetError(f"{table}, line {row.line}: there is no image.", "Write its path, or remove the line.")
        images = tuple(_path(table, text) for text in written)
        missing = next((image for image in images if not image.exists()), None)
        if missing is None:
            found.append((row, images))
        else:
            problems.append(_missing(table, row.line, missing, "the case was left out"))
    if not found:
        raise DatasetError(
            f"{table} lists no image that exists.", problems[0].what if problems else "Write a line for each case."
        )
    ids = _ids(table, found)
    cases: dict[str, Case] = {}
    sets: dict[str, Place | Test] = {}
    for (row, images), case_id in zip(found, ids, strict=True):
        mask = _path(table, row.cells["mask"]) if "mask" in row.cells else None
        if mask is not None and not mask.exists():
            problems.append(_missing(table, row.line, mask, "the case has no mask"))
            mask = None
        if case_id.lower() in (known.lower() for known in cases):
            raise DatasetError(f"{table}, line {row.line}: the case {case_id} is there twice.", "Leave one line per case.")
        reason = f"listed in {table.name}, line {row.line}" if mask is not None else ""
        cases[case_id] = Case(case_id, images, mask, row.cells.get("subject", "") or subject_from_name(case_id), reason)
        if "set" in row.cells:
            sets[case_id] = _set(table, row)
    return Dataset(
        root=table.parent,
        cases=tuple(sorted(cases.values(), key=lambda case: case.id)),
        labels={},
        problems=tuple(problems),
        subjects_known="subject" in names,
        title=table.stem,
        split=StoredSplit.of_places(sets) if sets else None,
    )


def _rows(table: Path) -> tuple[list[str], list[_Row]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{table} cannot be read ({error}).", "Choose a CSV in UTF-8.") from error
    header = next(iter(text.splitlines()), "")
    reader = csv.reader(text.splitlines(), delimiter=";" if header.count(";") > header.count(",") else ",", skipinitialspace=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    except csv.Error as error:
        raise DatasetError(f"{table}, line {reader.line_num}: {error}.", "Save it as CSV in UTF-8.") from error
    names = [name.lower() for name in lines[0][1]] if lines else []
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(f"{table}, line 1: there are two columns {twice}.", "Leave one of them.")
    rows = []
    for number, cells in lines[1:]:
        if len(cells) > len(names):
            raise DatasetError(
                f"{table}, line {number}: it has {len(cells)} cells, and there are {len(names)} columns.",
                "Put quotation marks around cells with commas in them.",
            )
        if any(cells):
            rows.append(_Row(number, {name: cell for name, cell in zip(names, cells, strict=False) if cell}))
    return names, rows


def _path(table: Path, text: str) -> Path:
    if "\0" in text:
        raise DatasetError(f"{table}: {text[:40]!r} is no path.", "Write the path of a file.")
    return table.parent.absolute() / Path(text).expanduser()


def _ids(table: Path, found: list[tuple[_Row, tuple[Path, ...]]]) -> Iterator[str]:
    """Return an id for each line: the one that it gives, or else the name of its (first) image."""
    items = {}
    for row, images in found:
        name = scan_name(images[0])
        name = _CHANNEL_NUMBER.sub("", name) if len(images) > 1 else name
        items[row.line] = Item(images, name, images[0].parent.name)
    own = unique_ids(list(dict.fromkeys(items.values())))
    for row, _ in found:
        given = row.cells.get("case", row.cells.get("id", ""))
        if given and not is_id(given):
            raise DatasetError(
                f"{table}, line {row.line}: {given[:60]!r} cannot name a case.",
                "Choose a name without / and \\: it becomes the name of files.",
            )
        yield given or own[items[row.line]]


def _set(table: Path, row: _Row) -> Place | Test:
    place = place_named(row.cells["set"])
    if place is None:
        raise DatasetError(
            f"{table}, line {row.line}: there is no set {row.cells['set']!r}.",
            "Write train, validation, test, or the number of a fold.",
        )
    return place


def _missing(table: Path, line: int, path: Path, so: str) -> Problem:
    return Problem(
        "error",
        f"{table.name}, line {line}: {path} does not exist; {so}.",
        f"Correct the path: it counts from {table.parent}.",
        path=path,
    )
