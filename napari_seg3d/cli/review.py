"""``review``: the worklist of a data set as a table, and what can be said of its cases without a window."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_seg3d.cli.app import CONSOLE, Folder, Masks, names_table, print_problems, progress_bar, teller
from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_seg3d.review import Agreement, Entry, Worklist

_COLOURS = {"approved": "green", "flagged": "red", "in work": "yellow", "predicted": "cyan", "to do": ""}
_SHOWN_LABELS = 4


def review(
    dataset: Folder,
    masks: Masks = None,
    predictions: Annotated[Path | None, typer.Option(help="Folder of predicted masks to review; it is kept in mind.")] = None,
    order: Annotated[
        str,
        typer.Option(
            help="case, state, volume, oddness (of the volumes), uncertainty, dice, time, comment, changed or reviewer; with a - in front "
            "the other way round."
        ),
    ] = "case",
    state: Annotated[
        list[str] | None,
        typer.Option(help="List only cases in this state: to do, predicted, in work, approved, flagged. Repeatable."),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Say where a case is, as CASE=STATE. Repeatable.")] = None,
    comment: Annotated[list[str] | None, typer.Option(help="Say something about a case, as CASE=TEXT. Repeatable.")] = None,
    measure: Annotated[
        bool, typer.Option(help="Measure volumes, Dice and uncertainty of the cases that are not measured.")
    ] = False,
    who: Annotated[str, typer.Option(help="The reviewer; left out, what the operating system calls you.")] = "",
    readers: Annotated[
        str,
        typer.Option(
            help="Names, with commas between them, of who reads apart: none sees what the others say before all are done."
        ),
    ] = "",
    agreement: Annotated[bool, typer.Option(help="Show how the readers agree, in the cases that both are done with.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the list as a table.")] = None,
    take: Annotated[
        Path | None, typer.Option(help="Take states and comments from such a table that somebody has edited.")
    ] = None,
) -> None:
    """List the cases of a data set with the state of their review, or say something about them.

    The review is kept in the folder seg3d-review beside the data set, a file for each account on each computer, which only grow; several
    people may work at once. Masks and scans are never changed.
    """
    from napari_seg3d.review import Worklist, measure_missing, take_table, write_summary

    worklist = Worklist.open(dataset, masks, predictions, who)
    if readers:
        worklist.set_readers(readers.split(","))
    for text in set_ or ():
        case, value = _assignment("--set", text, "CASE=STATE")
        worklist.set_state(case, value)
    for text in comment or ():
        case, value = _assignment("--comment", text, "CASE=TEXT")
        worklist.set_comment(case, value)
    if take is not None:
        CONSOLE.print(f"{take_table(worklist, take)} changes were taken from {escape(take.name)}.", highlight=False)
    problems = []
    if measure:
        with progress_bar() as bar:
            problems = measure_missing(worklist, progress=teller(bar, "Measuring"))
    if not worklist.store.is_written:
        worklist.write()
        write_summary(worklist)
    if agreement:
        _show_agreement(worklist)
    else:
        _show(worklist, order, state or [])
    for damage in worklist.store.damage:
        CONSOLE.print(f"[yellow]Note:[/] {escape(str(damage))}", highlight=False, soft_wrap=True)
    print_problems(tuple(problems))
    if csv is not None:
        CONSOLE.print(f"The table is [bold]{escape(str(write_summary(worklist, csv)))}[/].", highlight=False, soft_wrap=True)


def _assignment(option: str, text: str, form: str) -> tuple[str, str]:
    case, separator, value = text.rpartition("=") if option == "--set" else text.partition("=")
    if not separator or not case:
        raise ConfigError(f"{option} {text} says nothing of a case.", f"Write {form}.")
    return case, value


def _show(worklist: Worklist, order: str, states: Sequence[str]) -> None:
    from napari_seg3d.review import LARGEST_FIRST, STATES, ordered, state_of

    name = order.removeprefix("-")
    falling = (name not in LARGEST_FIRST) if order.startswith("-") else None
    rows = ordered(worklist.entries, name, falling)  # type: ignore[arg-type]
    wanted = {state_of(text) for text in states} or set(STATES)
    shown = [entry for entry in rows if entry.state in wanted]
    names = worklist.dataset.labels
    labels = sorted({label for entry in rows if entry.measures is not None for label in entry.measures.volumes})[:_SHOWN_LABELS]
    table = names_table("case", "state", "reviewer")
    for column in (*(f"{names.get(label) or f'label {label}'} (ml)" for label in labels), "uncertainty", "Dice", "minutes"):
        table.add_column(column, justify="right")
    table.add_column("comment", overflow="fold")
    for entry in shown:
        table.add_row(*_cells(entry, labels))
    CONSOLE.print(table)
    counts = ", ".join(f"{sum(entry.state == one for entry in rows)} {one}" for one in STATES)
    CONSOLE.print(
        f"{len(rows)} cases: {counts}. Kept in [bold]{escape(str(worklist.store.folder))}[/].", highlight=False, soft_wrap=True
    )


def _cells(entry: Entry, labels: Sequence[int]) -> list[str]:
    volumes = entry.measures.volumes if entry.measures is not None else {}
    colour = _COLOURS[entry.state]
    return [
        escape(entry.case.id),
        f"[{colour}]{entry.state}[/]" if colour else entry.state,
        escape(entry.reviewer),
        *(f"{volumes[label]:.2f}" if label in volumes else "" for label in labels),
        *("" if math.isnan(value) else f"{value:.3f}" for value in (entry.uncertainty, entry.dice)),
        f"{entry.seconds / 60:.1f}" if entry.seconds else "",
        escape(entry.comment),
    ]


def _show_agreement(worklist: Worklist) -> None:
    from napari_seg3d.review import agreement

    with progress_bar() as bar:
        found = agreement(worklist, progress=teller(bar, "Comparing"))
    CONSOLE.print(_agreement_table(found, worklist.dataset.labels))
    if found.cases:
        kappa = "" if math.isnan(found.kappa) else f", kappa {found.kappa:.2f}"
        CONSOLE.print(f"{len(found.cases)} cases read by both; they say the same of {found.same:.0%}{kappa}.", highlight=False)
    else:
        CONSOLE.print("No case was read by both yet.")


def _agreement_table(found: Agreement, names: dict[int, str]) -> Table:
    table = names_table("case", *map(escape, found.readers))
    labels = list(found.dice)
    for label in labels:
        table.add_column(f"{names.get(label) or f'label {label}'} Dice", justify="right")
    for one in found.cases:
        dice = (one.dice.get(label, math.nan) for label in labels)
        table.add_row(escape(one.case), *one.states, *("" if math.isnan(value) else f"{value:.3f}" for value in dice))
    return table
