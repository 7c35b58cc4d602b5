"""``review.csv``: the state of a review as a table, for people and spreadsheets; and back, what a person changed in it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from napari_seg3d.errors import DatasetError, Seg3dError
from napari_seg3d.files import write_text
from napari_seg3d.review.entry import Entry
from napari_seg3d.review.states import state_of
from napari_seg3d.review.worklist import Worklist

FILE_NAME = "review.csv"
_COLUMNS = ("case", "state", "reviewer", "changed", "minutes", "comment", "mask", "uncertainty", "dice", "oddness")


def write_summary(worklist: Worklist, file: Path | None = None) -> Path:
    """Write the table of a worklist, whole or not at all.

    Parameters
    ----------
    worklist : Worklist
        What its reviewer may see is written; in the file beside the journals, where everybody may look, only what nobody must not see.
    file : Path, optional
        Left out, ``review.csv`` beside the journals.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    WriteError
        It cannot be written: on Windows also while a spreadsheet has it open. The review itself is not concerned.
    """
    target = file or worklist.store.folder / FILE_NAME
    entries = worklist.entries if file is not None else worklist.seen_by_nobody()
    write_text(target, table_of(entries, worklist.dataset.labels))
    return target


def table_of(entries: Sequence[Entry], names: dict[int, str]) -> str:
    """Return entries as CSV with a row for each."""
    labels = sorted({label for entry in entries if entry.measures is not None for label in entry.measures.volumes})
    called = {label: names.get(label) or f"label {label}" for label in labels}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        [*_COLUMNS, *(_safe(f"{called[label]} (ml)") for label in labels), *(_safe(f"{called[label]} Dice") for label in labels)]
    )
    for entry in entries:
        measures = entry.measures
        volumes = [measures.volumes.get(label, math.nan) if measures else math.nan for label in labels]
        dice = [measures.dice.get(label, math.nan) if measures else math.nan for label in labels]
        table.writerow(
            [
                _safe(entry.case.id),
                entry.state,
                _safe(entry.reviewer),
                entry.changed.isoformat(timespec="seconds") if entry.changed is not None else "",
                f"{entry.seconds / 60:.1f}" if entry.seconds else "",
                _safe(entry.comment),
                _safe(entry.mask.written or entry.mask.origin) if entry.mask is not None else "",
                *(_number(value, 4) for value in (entry.uncertainty, entry.dice, entry.oddness)),
                *(_number(value, 3) for value in volumes),
                *(_number(value, 4) for value in dice),
            ]
        )
    return text.getvalue()


def take_table(worklist: Worklist, file: Path) -> int:
    """Note the states and comments in which a table differs from a worklist, as said by its reviewer now.

    Parameters
    ----------
    worklist : Worklist
        Which; nothing is written before `Worklist.write`.
    file : Path
        A CSV with the column ``case``, and ``state``, ``comment`` or both; other columns are not looked at.

    Returns
    -------
    int
        How many things were noted.

    Raises
    ------
    DatasetError
        It is no such table, or names a state or a case that there is not; then nothing is noted.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))))
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"{file} cannot be read as a table: {error}.", "Save it as CSV in UTF-8.") from error
    if rows and "case" not in rows[0]:
        raise DatasetError(f"{file} has no column case.", "Give it the columns case, state and comment.")
    entries = {entry.case.id: entry for entry in worklist.entries}
    states, comments = {}, {}
    for number, row in enumerate(rows, start=2):
        case = (row["case"] or "").removeprefix("'")
        if case not in entries:
            raise DatasetError(
                f"{file}, row {number}: there is no case {case!r} in the data set.", "Correct the id, or remove the row."
            )
        try:
            if row.get("state") and state_of(row["state"]) != entries[case].state:
                states[case] = state_of(row["state"])
        except Seg3dError as error:
            raise DatasetError(f"{file}, row {number}: {error.what}", error.fix) from error
        comment = row.get("comment")
        if comment is not None and comment.removeprefix("'") != entries[case].comment:
            comments[case] = comment.removeprefix("'")
    for case, state in states.items():
        worklist.set_state(case, state)
    for case, text in comments.items():
        worklist.set_comment(case, text)
    return len(states) + len(comments)


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _safe(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
