"""``check`` and ``evaluate``: what is wrong with a data set, and how good masks are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_seg3d.cli.app import CONSOLE, Folder, Masks, Subjects, names_table, print_problems, progress_bar, teller
from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    from napari_seg3d.datasets import Finding, Report
    from napari_seg3d.evaluation import Evaluation, Measure, Summary

_COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}
# Named here as well, so that the help of the command line waits for no reader of scans (a test keeps both equal).
_REMEDIES = ("resample_mask", "round_labels", "drop_case", "merge_labels", "same_subject")


def check(
    folder: Folder,
    masks: Masks = None,
    subjects: Subjects = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="List every pair, with the reason why image and mask belong together.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="List every finding; else those of one kind are told together.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page with thumbnails, to hand to a colleague.")] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option(
            help="Apply the remedies of this kind (or `all`): " + ", ".join(_REMEDIES) + ". Your files stay as they are."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where --fix writes the corrected data set; left out, dataset.yaml in its folder.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=0, help="Processes that read at a time; 0 for threads. Left out, as the data asks for.")
    ] = None,
) -> None:
    """Pair images with masks and look for whatever would spoil a training.

    The exit status is 1 when a problem keeps a case from being used, and was not fixed.
    """
    from napari_seg3d.datasets import check_dataset, open_dataset, save_page

    wanted = _kinds(fix or [])
    dataset = open_dataset(folder, masks, subjects)
    with progress_bar() as bar:
        report = check_dataset(dataset, progress=teller(bar, "Checking the cases"), processes=processes)
    if pairs:
        listing = names_table("case", "subject", "image", "mask", "why")
        for case in report.dataset.cases:
            mask = case.mask.name if case.mask else "none"
            names = ", ".join(path.name for path in case.images)
            listing.add_row(*map(escape, (case.id, case.subject, names, mask, case.reason)))
        CONSOLE.print(listing)
    table = Table(title=f"{dataset.name}: {len(report.dataset.cases)} cases, {len(report.sound)} ready to train on")
    for column in ("label", "name", "cases", "voxels (median)"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for value, name in sorted(report.dataset.labels.items()):
        counts = sorted(facts.label_counts[value] for facts in report.facts.values() if facts.label_counts.get(value))
        table.add_row(str(value), name, str(len(counts)), str(counts[len(counts) // 2]) if counts else "0")
    CONSOLE.print(table)
    _print_statistics(report)
    subjects_found = len({case.subject for case in report.dataset.cases})
    CONSOLE.print(f"{subjects_found} subjects. Cases of one subject stay on one side of the split.")
    _print_findings(report, everything)
    if html is not None:
        save_page(report, html)
        CONSOLE.print(f"The page is [bold]{escape(str(html))}[/].", highlight=False)
    fixed = _fix(report, wanted, out) if wanted else frozenset()
    if any(finding.severity == "error" and finding not in fixed for finding in report.findings):
        raise typer.Exit(1)


def _kinds(asked: list[str]) -> frozenset[str]:
    kinds = {kind for text in asked for kind in text.replace(",", " ").split()}
    strange = sorted(kinds - {*_REMEDIES, "all"})
    if strange:
        raise ConfigError(f"There is no remedy {strange[0]!r}.", f"Choose among {', '.join(_REMEDIES)}, or all.")
    return frozenset(_REMEDIES if "all" in kinds else kinds)


def _print_statistics(report: Report) -> None:
    from napari_seg3d.datasets.doctor import statistics

    if not report.facts:
        return
    found = statistics(report.facts)
    for name, spreads, unit in (("Spacing", found.spacing, " mm"), ("Shape", found.shape, " voxels")):
        median, low, high = (" x ".join(f"{getattr(one, which):.3g}" for one in spreads) for which in ("median", "low", "high"))
        text = f"{median}{unit} in all." if low == high else f"{median}{unit} (median), from {low} to {high}."
        CONSOLE.print(f"{name}, to right, anterior and superior: {text}", highlight=False)


def _print_findings(report: Report, everything: bool) -> None:
    from napari_seg3d.datasets.doctor import Group, grouped
    from napari_seg3d.datasets.doctor.findings import by_severity

    groups = [Group((one,), one.what) for one in by_severity(report.findings)] if everything else grouped(report.findings)
    for group in groups:
        first = group.first
        remedies = sorted({one.remedy.kind for one in group.findings if one.remedy is not None})
        can = f" [dim](--fix {', '.join(remedies)})[/]" if remedies else ""
        CONSOLE.print(
            f"[{_COLOURS[first.severity]}]{first.severity}[/] {escape(group.what)} [dim]{escape(first.fix)}[/]{can}",
            highlight=False,
        )


def _fix(report: Report, kinds: frozenset[str], out: Path | None) -> frozenset[Finding]:
    """Apply remedies, say what was done, and return what is mended."""
    from napari_seg3d.datasets import apply_remedies, save_dataset

    chosen = [finding for finding in report.findings if finding.remedy is not None and finding.remedy.kind in kinds]
    if not chosen:
        CONSOLE.print("There is nothing that these remedies would change.")
        return frozenset()
    file = out or report.dataset.file or report.dataset.root / "dataset.yaml"
    file = file if file.suffix in (".yaml", ".yml") else file / "dataset.yaml"
    with progress_bar() as bar:
        corrected = apply_remedies(report.dataset, chosen, file.parent, teller(bar, "Correcting"))
    save_dataset(corrected, file)
    for remedy in dict.fromkeys(finding.remedy for finding in chosen if finding.remedy is not None):
        CONSOLE.print(f"{remedy.title}: {escape(', '.join(remedy.cases))}", highlight=False)
    CONSOLE.print(f"The corrected data set is [bold]{escape(str(file))}[/]; your files are as they were.", highlight=False)
    dropped = {
        case for finding in chosen if finding.remedy and finding.remedy.kind == "drop_case" for case in finding.remedy.cases
    }
    return frozenset(finding for finding in report.findings if finding in chosen or finding.case in dropped)


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="A mask, or a folder of masks.")],
    references: Annotated[Path, typer.Argument(help="The true mask, or the folder of the true masks, paired by name.")],
    csv: Annotated[Path | None, typer.Option(help="Also write every number to this file.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with plots, and pictures of the worst cases, to hand to a colleague.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the scans, for the pictures of the page.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Millimetres that the normalised surface Dice (NSD) forgives.")] = 1.0,
    surface: Annotated[
        str,
        typer.Option(
            help="What distances are measured between: voxels (of the border, as MONAI does), areas (a mesh, as DeepMind's "
            "surface-distance does), or none."
        ),
    ] = "voxels",
) -> None:
    """Compare masks with the truth: overlaps, distances in mm and volumes in ml for each case and label."""
    from napari_seg3d.evaluation import draw_worst, evaluate_files, save_page
    from napari_seg3d.evaluation.surfaces import check_surface

    if images is not None and html is None:
        raise ConfigError("--images are scans for the pictures of the page, and no page is asked for.", "Add --html PAGE.html.")
    if surface != "none":
        check_surface(surface)
    with progress_bar() as bar:
        evaluation = evaluate_files(
            predictions,
            references,
            progress=teller(bar, "Comparing"),
            tolerance_mm=tolerance,
            surface=None if surface == "none" else surface,  # type: ignore[arg-type]  # checked above
        )
    CONSOLE.print(_evaluation_table(evaluation))
    CONSOLE.print(f"Mean Dice of the cases: [bold]{evaluation.mean_dice:.4f}[/].", highlight=False)
    if csv is not None:
        evaluation.save_csv(csv)
        CONSOLE.print(f"Every number is in [bold]{escape(str(csv))}[/].", highlight=False)
    problems = evaluation.problems
    if html is not None:
        with progress_bar() as bar:
            pictures, undrawn = draw_worst(evaluation, images, progress=teller(bar, "Drawing", at_once=False))
        save_page(evaluation, html, pictures)
        CONSOLE.print(f"The page is [bold]{escape(str(html))}[/].", highlight=False)
        problems += undrawn
    print_problems(problems)
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(1)


def _evaluation_table(evaluation: Evaluation) -> Table:
    distances: dict[str, Measure] = {"HD95": "hd95", "ASSD": "assd", "NSD": "nsd"} if evaluation.surface is not None else {}
    how = f"; distances in mm, NSD at {evaluation.tolerance_mm:g} mm" if distances else ""
    table = Table(title=f"{len(evaluation.per_case())} cases{how}")
    table.add_column("label")
    for column in ("Dice", "precision", "recall", *distances, "volume"):
        table.add_column(column, justify="right")
    names = evaluation.names()
    spreads = {column: evaluation.summary(measure) for column, measure in distances.items()}
    volumes = evaluation.summary("volume_error")
    for label, metrics in sorted(evaluation.metrics().items()):
        shown = [f"{metrics[name]:.4f}" for name in ("dice", "precision", "recall")]
        shown += [_mean(found[label], ".4f" if column == "NSD" else ".2f") for column, found in spreads.items()]
        name = "" if names[label] == f"label {label}" else f" {names[label]}"
        table.add_row(escape(f"{label}{name}"), *shown, _mean(volumes[label], "+.1%"))
    one_sided = sum(found.infinite for found in spreads["HD95"].values()) if distances else 0
    if one_sided:
        times = "Once" if one_sided == 1 else f"{one_sided} times"
        table.caption = f"{times} a label is in one of the masks only: no distance, and in no mean of them"
    return table


def _mean(found: Summary, digits: str) -> str:
    return "–" if math.isnan(found.mean) else format(found.mean, digits)
