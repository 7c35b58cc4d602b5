"""``napari-seg3d …``: the same work as the docks, from the same files, without a window."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from napari_seg3d import __version__
from napari_seg3d.errors import ConfigError, Seg3dError

if TYPE_CHECKING:
    from napari_seg3d.datasets import Problem
    from napari_seg3d.training import Run, Status, TrainConfig

app = typer.Typer(
    help="Train, predict and evaluate 3D medical segmentations. Nothing leaves this machine.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_out = Console()
_err = Console(stderr=True)
_SHOWN_PROBLEMS = 30
_SHOWN_LABELS = 6

Folder = Annotated[
    Path, typer.Argument(help="Folder of the data set (with imagesTr/labelsTr, images/labels, Img/Mask, …) or of its images.")
]
Masks = Annotated[Path | None, typer.Option(help="Folder of the masks, if they do not lie in the data set.")]
Subjects = Annotated[Path | None, typer.Option(help="CSV with the columns case and subject.")]


def main() -> None:
    """Run the command line; an error for the user ends with its words and exit status 1, never with a traceback."""
    try:
        app()
    except Seg3dError as error:
        _err.print(f"[bold red]Error:[/] {escape(error.what)}", highlight=False)
        if error.fix:
            _err.print(escape(error.fix), highlight=False)
        sys.exit(1)


def _version(show: bool) -> None:
    if show:
        _out.print(f"napari-seg3d {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@app.command(epilog="Example: [bold]napari-seg3d check Task04_Hippocampus[/]")
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
    with _bar() as bar:
        report = check_dataset(dataset, progress=_task(bar, "Checking the cases"))
    if pairs:
        listing = Table("case", "subject", "image", "mask", "why")
        for case in report.dataset.cases:
            mask = case.mask.name if case.mask else "none"
            listing.add_row(case.id, case.subject, ", ".join(path.name for path in case.images), mask, case.reason)
        _out.print(listing)
    table = Table(title=f"{dataset.name}: {len(report.dataset.cases)} cases, {len(report.sound)} ready to train on")
    for column in ("label", "name", "cases", "voxels (median)"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for value, name in sorted(report.dataset.labels.items()):
        counts = sorted(facts.label_counts[value] for facts in report.facts.values() if facts.label_counts.get(value))
        table.add_row(str(value), name, str(len(counts)), str(counts[len(counts) // 2]) if counts else "0")
    _out.print(table)
    subjects_found = len({case.subject for case in report.dataset.cases})
    _out.print(f"{subjects_found} subjects. Cases of one subject stay on one side of the split.")
    _print_problems(report.problems)
    if any(problem.severity == "error" for problem in report.problems):
        raise typer.Exit(1)


@app.command(
    epilog="Examples: [bold]napari-seg3d train Task04_Hippocampus[/] · "
    "[bold]napari-seg3d train scans --masks masks --minutes 30 --set sampling.patch_size='[[64, 64, 64]'[/] · "
    "[bold]napari-seg3d train --config run.yaml[/]"
)
def train(
    folder: Annotated[Path | None, typer.Argument(help="Folder of the data set, or of its images.")] = None,
    masks: Masks = None,
    subjects: Subjects = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file with settings, such as the run.yaml of an earlier run.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="How long to train, all in all.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting as section.name=value; may be given again.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder to make; left out, a dated one below ~/napari-seg3d/runs.")
    ] = None,
    detach: Annotated[bool, typer.Option(help="Start it and return; the Train dock finds it.")] = False,
) -> None:
    """Train a model. The defaults need no choice; Ctrl-C stops and keeps what was learnt.

    The run goes on if this terminal closes, and shows in the Train dock as well.
    """
    from napari_seg3d.training import start_run

    run = start_run(_config(folder, masks, subjects, config, minutes, set_ or []), out)
    _out.print(f"Run folder: [bold]{escape(str(run.folder))}[/]", highlight=False, soft_wrap=True)
    if detach:
        return
    status = _watch(run)
    _out.print(escape(status.message), highlight=False, soft_wrap=True)
    if status.state not in ("finished", "stopped"):
        raise typer.Exit(1)


@app.command(
    epilog="Examples: [bold]napari-seg3d predict RUN scans --out predictions[/] · "
    "[bold]napari-seg3d predict best.pt scan.nii.gz --out predictions[/] · "
    "[bold]napari-seg3d predict RUN --validation --out predictions[/]"
)
def predict(
    model: Annotated[Path, typer.Argument(help="A checkpoint file, or a run folder (its best checkpoint is taken).")],
    scans: Annotated[list[Path] | None, typer.Argument(help="Scans, or folders of scans.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the masks; each gets the name and format of its scan.")] = Path(
        "predictions"
    ),
    validation: Annotated[bool, typer.Option(help="Predict the validation cases of the run.")] = False,
    mode: Annotated[str, typer.Option(help="auto (as trained), patches or whole.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, 32 or bf16.")] = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace masks that are there already.")] = False,
) -> None:
    """Predict the masks of scans, each on its scan's own grid.

    A scan that cannot be predicted is reported and the rest goes on; the exit status is then 1.
    """
    from napari_seg3d.datasets import find_scans, read_case_image
    from napari_seg3d.training import Run

    if mode not in ("auto", "patches", "whole"):
        raise ConfigError(f"There is no mode {mode!r}.", "Choose auto, patches or whole.")
    run = Run(model) if (model / "run.yaml").exists() else None
    if validation and run is None:
        raise ConfigError(
            f"{model} is no run folder, so it has no validation cases.", "Give the run folder, or the scans to predict."
        )
    cases = run.cases("validation") if validation and run is not None else find_scans(scans or [])

    from napari_seg3d.inference import Predictor
    from napari_seg3d.volumes import write_volume

    predictor = Predictor.load(run.best if run is not None else model, device, precision)
    table = Table(title=f"{len(cases)} scans, model {predictor.name}")
    shown = sorted(predictor.labels.items())[:_SHOWN_LABELS]
    for column in ("scan", *(f"{name} (ml)" for _, name in shown), "seconds"):
        table.add_column(column, justify="left" if column == "scan" else "right")
    failed: list[Seg3dError] = []
    with _bar() as bar:
        told = _task(bar, "Predicting")
        for done, case in enumerate(cases, start=1):
            try:
                image = read_case_image(case)
                prediction = predictor.predict(image, mode)  # type: ignore[arg-type]
                write_volume(prediction.labels, out / case.images[0].name, overwrite=overwrite)
                volumes = [
                    f"{(prediction.labels.data == value).sum() * image.grid.voxel_volume / 1000:.2f}" for value, _ in shown
                ]
                table.add_row(case.id, *volumes, f"{prediction.seconds:.2f}")
            except Seg3dError as error:
                failed.append(error)
            told(done, len(cases))
    _out.print(table)
    _out.print(f"{len(cases) - len(failed)} masks are in [bold]{escape(str(out))}[/].", highlight=False)
    for failure in failed:
        _err.print(f"[bold red]Error:[/] {escape(str(failure))}", highlight=False)
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: [bold]napari-seg3d evaluate predictions labelsTr --csv dice.csv[/]")
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="A mask, or a folder of masks.")],
    references: Annotated[Path, typer.Argument(help="The true mask, or the folder of the true masks, paired by name.")],
    csv: Annotated[Path | None, typer.Option(help="Also write every number to this file.")] = None,
) -> None:
    """Compare masks with the truth: Dice and volume for each case and label."""
    from napari_seg3d.evaluation import evaluate_files

    with _bar() as bar:
        evaluation = evaluate_files(predictions, references, progress=_task(bar, "Comparing"))
    table = Table(title=f"{len(evaluation.per_case())} cases")
    table.add_column("label")
    table.add_column("mean Dice", justify="right")
    for label, dice in evaluation.per_label().items():
        table.add_row(str(label), f"{dice:.4f}")
    table.add_row("[bold]mean of the cases", f"[bold]{evaluation.mean_dice:.4f}")
    _out.print(table)
    if csv is not None:
        evaluation.save_csv(csv)
        _out.print(f"Every number is in [bold]{escape(str(csv))}[/].", highlight=False)
    _print_problems(evaluation.problems)
    if any(problem.severity == "error" for problem in evaluation.problems):
        raise typer.Exit(1)


@app.command(epilog="Example: [bold]napari-seg3d deidentify hospital-export --out shared[/]")
def deidentify(
    scans: Annotated[list[Path], typer.Argument(help="Scans, or folders of scans.")],
    out: Annotated[Path, typer.Option(help="A new folder for the copies.")],
    key: Annotated[
        Path | None, typer.Option(help="Also write a CSV that says which copy came from which file; keep it secret.")
    ] = None,
) -> None:
    """Strip names, ids and dates from copies of scans; the scans themselves are only read.

    DICOM follows the basic profile of the standard (PS3.15, Annex E); dates are shifted, so that intervals stay. NIfTI, NRRD and
    MetaImage keep voxels and geometry, nothing else. What cannot be cleaned is refused, and the exit status is then 1. Voxels are
    not changed: text that is burned into a picture stays, and so do faces in scans of heads.
    """
    import csv
    import io

    from napari_seg3d.files import write_text
    from napari_seg3d.volumes import FACES
    from napari_seg3d.volumes import deidentify as copy_without_patients

    if key is not None and key.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"{key} would lie among the copies, and says whose they are.", "Choose another place for the key.")
    with _bar() as bar:
        report = copy_without_patients(scans, out, progress=_task(bar, "Copying"))
    if key is not None:
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows(
            [("copy", "source"), *((copy, source) for source, copy in report.copies)]
        )
        write_text(key, table.getvalue())
    _out.print(f"{len(report.copies)} copies are in [bold]{escape(str(out))}[/].", highlight=False, soft_wrap=True)
    for warning, copies in report.by_warning().items():
        more = f" and {len(copies) - 1} more" if len(copies) > 1 else ""
        _err.print(f"[yellow]Look at {escape(str(copies[0]))}{more}: {escape(warning)}.[/]", highlight=False, soft_wrap=True)
    _out.print(FACES, highlight=False)
    for file, reason in report.refused:
        _err.print(f"[bold red]Not copied:[/] {escape(str(file))}: {escape(reason)}", highlight=False, soft_wrap=True)
    if report.refused:
        raise typer.Exit(1)


@app.command(epilog="Example: [bold]napari-seg3d demo --minutes 1[/]")
def demo(
    output: Annotated[Path, typer.Option(help="Where run, prediction and screenshots go.")] = Path("demo-output"),
    minutes: Annotated[float, typer.Option(help="How long to train.")] = 1.0,
    viewer: Annotated[bool, typer.Option(help="Open napari on the result.")] = True,
) -> None:
    """The whole way on sample data: train, predict, and open the result in napari."""
    from napari_seg3d.demo import run_demo

    run_demo(
        output,
        minutes,
        show_viewer=viewer,
        watch=_watch,
        say=lambda text: _out.print(escape(text), highlight=False, soft_wrap=True),
    )


def _config(
    folder: Path | None,
    masks: Path | None,
    subjects: Path | None,
    config: Path | None,
    minutes: float | None,
    settings: list[str],
) -> TrainConfig:
    from napari_seg3d.training import TrainConfig

    changes: dict[str, Any] = {}
    if masks is not None:
        changes["data.masks"] = str(masks)
    if subjects is not None:
        changes["data.subjects"] = str(subjects)
    if minutes is not None:
        changes["optimization.minutes"] = minutes
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting} has no value.", "Write it as --set section.name=value.")
        try:
            changes[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"The value of --set {setting} cannot be read.", "Write lists as [64, 64, 64].") from error
    if config is not None:
        base = TrainConfig.from_yaml(config)
        if folder is not None:
            changes["data.images"] = str(folder)
    elif folder is not None:
        base = TrainConfig.parse({"data": {"images": str(folder)}})
    else:
        raise ConfigError("Nothing to train on.", "Give the folder of a data set, or --config with a YAML file.")
    return base.with_values(changes)


def _watch(run: Run) -> Status:
    """Show a run until it ends; the first Ctrl-C stops and keeps, the second kills."""
    from napari_seg3d.training import EventReader

    reader, state_event, stops = EventReader(run), {}, 0
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")
    with Progress(*columns, console=_out, transient=False) as bar:
        task = bar.add_task("Starting", total=None, text="")
        while True:
            try:
                alive = run.is_alive()
                for event in reader.read():
                    if event["kind"] == "state":
                        state_event = event
                        if event["state"] == "training":
                            bar.update(task, description="Training")
                    _show(event, bar, task)
                # Asked before the events were read: an ended process has nothing more to say.
                if not alive or run.status_after(state_event).ended:
                    return run.status_after(state_event)
                time.sleep(0.3)
            except KeyboardInterrupt:
                stops += 1
                if stops == 1:
                    run.stop()
                    bar.console.print("Stopping; what was learnt is kept. Press Ctrl-C again to kill it.")
                else:
                    run.kill()


def _show(event: dict[str, Any], bar: Progress, task: Any) -> None:
    kind = event["kind"]
    if kind == "progress":
        bar.update(
            task,
            description=event["what"],
            completed=event["done"],
            total=event["total"],
            text=f"{event['done']}/{event['total']}",
        )
    elif kind == "step":
        total = event["elapsed"] + event["seconds_left"]
        left = time.strftime("%H:%M:%S", time.gmtime(event["seconds_left"]))
        text = f"loss {event['loss']:.3f} · {event['iterations_per_second']:.1f} steps/s · {left} left"
        bar.update(task, description="Training", completed=event["elapsed"], total=total, text=text)
    elif kind == "plan":
        bar.console.print(
            f"{event['train_cases']} cases train, {event['validation_cases']} validate; {event['device']} in {event['precision']}; "
            f"patches {'x'.join(map(str, event['patch_size']))} at {' x '.join(f'{edge:g}' for edge in event['spacing'])} mm, "
            f"{event['batch_size']} per step",
            highlight=False,
        )
    elif kind == "validation" and event["mean_dice"] is not None:
        known = [f"{escape(name)} {dice:.3f}" for name, dice in event["dice"].items() if dice is not None]
        labels = ", ".join(known[:_SHOWN_LABELS]) + (
            f" and {len(known) - _SHOWN_LABELS} more" if len(known) > _SHOWN_LABELS else ""
        )
        best = " [green]best so far[/]" if event["best"] else ""
        bar.console.print(f"epoch {event['epoch']:.1f}: Dice [bold]{event['mean_dice']:.4f}[/] ({labels}){best}", highlight=False)
    elif kind == "warning":
        bar.console.print(f"[yellow]Warning:[/] {escape(event['message'])} {escape(event['fix'])}", highlight=False)


def _print_problems(problems: tuple[Problem, ...]) -> None:
    for problem in problems[:_SHOWN_PROBLEMS]:
        colour = "red" if problem.severity == "error" else "yellow"
        _out.print(f"[{colour}]{problem.severity}[/] {escape(problem.what)} [dim]{escape(problem.fix)}[/]", highlight=False)
    if len(problems) > _SHOWN_PROBLEMS:
        _out.print(f"… and {len(problems) - _SHOWN_PROBLEMS} more.")


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=_out,
    )


def _task(bar: Progress, what: str) -> Any:
    task = bar.add_task(what, total=None)

    def told(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)

    return told


if __name__ == "__main__":
    main()
