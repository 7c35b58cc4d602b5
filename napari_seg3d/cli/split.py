"""``split``: decide who trains, who validates and who tests, and keep it with the data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from napari_seg3d.cli.app import CONSOLE, Masks, Subjects, progress_bar, teller
from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    from napari_seg3d.datasets import Presence, Report, StoredSplit

_MOST_LABELS = 12


def split(
    dataset: Annotated[Path, typer.Argument(help="A data set: its folder, its dataset.yaml, or a CSV that lists it.")],
    masks: Masks = None,
    subjects: Subjects = None,
    method: Annotated[
        Literal["fraction", "folds", "stride"] | None,
        typer.Option(
            help="fraction: a share of the subjects validates; folds: each of several parts in turn; stride: every n-th."
        ),
    ] = None,
    validation: Annotated[float | None, typer.Option(help="Share of the subjects that validates. [default: 0.2]")] = None,
    folds: Annotated[int | None, typer.Option(help="How many folds. [default: 5]")] = None,
    stride: Annotated[int | None, typer.Option(help="One of so many subjects validates. [default: 10]")] = None,
    seed: Annotated[int | None, typer.Option(help="Another number draws other subjects. [default: 0]")] = None,
    lists: Annotated[
        Path | None,
        typer.Option(
            help="Take the sets from a CSV (columns case and set, such as split.csv of a run) or nnU-Net's splits_final.json."
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(help="The test set: a share of the subjects, or a file that names its cases.", metavar="SHARE|FILE"),
    ] = None,
    freeze: Annotated[bool, typer.Option("--freeze", help="Freeze the test set: no training takes its scans any more.")] = False,
    unfreeze: Annotated[bool, typer.Option("--unfreeze", help="Let the test set be changed again.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Only show the split that there is.")] = False,
) -> None:
    """Decide who trains, who validates and who tests; the data set's dataset.yaml keeps it.

    Cases of one subject stay together, and each label is in the same share of the cases everywhere, as far as that is possible.
    """
    from napari_seg3d.datasets import (
        check_dataset,
        freeze_test,
        make_split,
        open_dataset,
        presence_of,
        read_split,
        save_dataset,
        unfreeze_test,
    )
    from napari_seg3d.datasets.layouts.manifest import FILE_NAME

    if lists is not None and method is not None:
        raise ConfigError("--lists and --method contradict each other.", "Give one of them.")
    opened = open_dataset(dataset, masks, subjects)
    with progress_bar() as bar:
        report = check_dataset(opened, progress=teller(bar, "Checking the cases"))
    presence = presence_of(report.facts)
    kept = opened.split
    if show:
        _show(kept, report, presence)
        return
    if kept is not None and unfreeze:
        kept = unfreeze_test(kept)
    if test is not None:
        kept = _test_set(kept, report, test, seed or 0, presence)
    if lists is not None:
        made = _with_test_of(kept, read_split(lists, opened.cases))
    elif (unfreeze or freeze) and kept is not None and kept.sets and test is None and method is None:
        made = kept
    else:
        wanted = method or (kept.method if kept is not None and kept.method != "lists" else "fraction")
        made = make_split(
            report.sound,
            wanted,
            validation=validation if validation is not None else kept.validation if kept is not None else 0.2,
            folds=folds if folds is not None else kept.folds if kept is not None else 5,
            stride=stride if stride is not None else kept.stride if kept is not None else 10,
            seed=seed if seed is not None else kept.seed if kept is not None else 0,
            presence=presence,
            kept=kept,
        )
    if freeze:
        with progress_bar() as bar:
            made = freeze_test(made, report.dataset.cases, teller(bar, "Reading the test set"))
    _show(made, report, presence)
    target = opened.file or (opened.root / FILE_NAME)
    # Who is who was seen in the images; names of labels that nobody gave stay ungiven.
    save_dataset(replace(opened, cases=report.dataset.cases, split=made), target)
    CONSOLE.print(f"Written to [bold]{escape(str(target))}[/]; training takes it from there.", highlight=False, soft_wrap=True)


def _test_set(kept: StoredSplit | None, report: Report, wish: str, seed: int, presence: Presence) -> StoredSplit:
    from napari_seg3d.datasets import draw_test, read_ids, set_test

    try:
        share = float(wish)
    except ValueError:
        return set_test(kept, report.dataset.cases, read_ids(Path(wish), report.dataset.cases))
    return draw_test(kept, report.sound, share, seed, presence)


def _with_test_of(kept: StoredSplit | None, made: StoredSplit) -> StoredSplit:
    """Return what lists say, with a frozen test set as it is; the lists may leave it out, but not use it."""
    if kept is None or not kept.held_back:
        return made
    return replace(made, test=(*kept.test, *(() if kept.is_frozen else made.test)), test_content=kept.test_content)


def _show(split: StoredSplit | None, report: Report, presence: Presence) -> None:
    from napari_seg3d.datasets import tally

    if split is None:
        CONSOLE.print("No split is stored: training draws one of its own, a fifth of the subjects for validation.")
        return
    labels = dict(sorted(report.dataset.labels.items())[:_MOST_LABELS])
    numbers = {
        "fraction": f", {split.validation:g} validates",
        "folds": f", {split.folds}",
        "stride": f", every {split.stride}th",
    }
    frozen = ", test set frozen" if split.is_frozen else ""
    table = Table(title=f"{report.dataset.name}: {split.method}{numbers.get(split.method, '')}{frozen}")
    table.add_column("set")
    for column in ("cases", "subjects", *map(escape, labels.values())):
        table.add_column(column, justify="right")
    for row in tally(split, report.dataset, presence):
        shares = [f"{row.labels.get(value, 0)} ({row.labels.get(value, 0) / row.cases:.0%})" for value in labels]
        table.add_row(row.name, str(row.cases), str(row.subjects), *shares)
    CONSOLE.print(table)
    if len(labels) < len(report.dataset.labels):
        CONSOLE.print(f"… and {len(report.dataset.labels) - len(labels)} labels more.")
