"""``check`` and ``evaluate``: what is wrong with a data set, and how good masks are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_seg3d.cli.app import CONSOLE, Folder, Masks, Subjects, print_problems, progress_bar, teller


def check(
    folder: Folder,
    masks: Masks = None,
    subjects: Subjects = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="List every pair, with the reason why image and mask belong together.")
    ] = False,
) -> None:
    """Pair images with masks and look for whatever would spoil a training.

    The exit status is 1 when a problem keeps a case from being used.
    """
    from napari_seg3d.datasets import check_dataset, open_dataset

    dataset = open_dataset(folder, masks, subjects)
    with progress_bar() as bar:
        report = check_dataset(dataset, progress=teller(bar, "Checking the cases"))
    if pairs:
        listing = Table("case", "subject", "image", "mask", "why")
        for case in report.dataset.cases:
            mask = case.mask.name if case.mask else "none"
            listing.add_row(case.id, case.subject, ", ".join(path.name for path in case.images), mask, case.reason)
        CONSOLE.print(listing)
    table = Table(title=f"{dataset.name}: {len(report.dataset.cases)} cases, {len(report.sound)} ready to train on")
    for column in ("label", "name", "cases", "voxels (median)"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for value, name in sorted(report.dataset.labels.items()):
        counts = sorted(facts.label_counts[value] for facts in report.facts.values() if facts.label_counts.get(value))
        table.add_row(str(value), name, str(len(counts)), str(counts[len(counts) // 2]) if counts else "0")
    CONSOLE.print(table)
    subjects_found = len({case.subject for case in report.dataset.cases})
    CONSOLE.print(f"{subjects_found} subjects. Cases of one subject stay on one side of the split.")
    print_problems(report.problems)
    if any(problem.severity == "error" for problem in report.problems):
        raise typer.Exit(1)


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="A mask, or a folder of masks.")],
    references: Annotated[Path, typer.Argument(help="The true mask, or the folder of the true masks, paired by name.")],
    csv: Annotated[Path | None, typer.Option(help="Also write every number to this file.")] = None,
) -> None:
    """Compare masks with the truth: Dice and volume for each case and label."""
    from napari_seg3d.evaluation import evaluate_files

    with progress_bar() as bar:
        evaluation = evaluate_files(predictions, references, progress=teller(bar, "Comparing"))
    table = Table(title=f"{len(evaluation.per_case())} cases")
    table.add_column("label")
    table.add_column("mean Dice", justify="right")
    for label, dice in evaluation.per_label().items():
        table.add_row(str(label), f"{dice:.4f}")
    table.add_row("[bold]mean of the cases", f"[bold]{evaluation.mean_dice:.4f}")
    CONSOLE.print(table)
    if csv is not None:
        evaluation.save_csv(csv)
        CONSOLE.print(f"Every number is in [bold]{escape(str(csv))}[/].", highlight=False)
    print_problems(evaluation.problems)
    if any(problem.severity == "error" for problem in evaluation.problems):
        raise typer.Exit(1)
