"""``train`` and ``demo``: start a run, and show it until it ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from napari_seg3d.cli.app import CONSOLE, Masks, Subjects
from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    from napari_seg3d.training import Run, Status, TrainConfig

_SHOWN_LABELS = 6


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
    transforms: Annotated[
        str | None,
        typer.Option(help="Steps that prepare and change the scans: a preset (see `napari-seg3d transforms`) or a YAML file."),
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

    run = start_run(_config(folder, masks, subjects, config, minutes, set_ or [], transforms), out)
    CONSOLE.print(f"Run folder: [bold]{escape(str(run.folder))}[/]", highlight=False, soft_wrap=True)
    if detach:
        return
    status = watch_run(run)
    CONSOLE.print(escape(status.message), highlight=False, soft_wrap=True)
    if status.state not in ("finished", "stopped"):
        raise typer.Exit(1)


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
        watch=watch_run,
        say=lambda text: CONSOLE.print(escape(text), highlight=False, soft_wrap=True),
    )


def _config(
    folder: Path | None,
    masks: Path | None,
    subjects: Path | None,
    config: Path | None,
    minutes: float | None,
    settings: list[str],
    transforms: str | None,
) -> TrainConfig:
    from napari_seg3d.training import TrainConfig
    from napari_seg3d.transforms import find_recipe

    changes: dict[str, Any] = find_recipe(transforms).settings() if transforms is not None else {}
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


def watch_run(run: Run) -> Status:
    """Show a run until it ends; the first Ctrl-C stops and keeps, the second kills."""
    from napari_seg3d.training import EventReader

    reader, state_event, stops = EventReader(run), {}, 0
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")
    with Progress(*columns, console=CONSOLE, transient=False) as bar:
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
