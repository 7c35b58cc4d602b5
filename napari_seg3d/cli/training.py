"""``train`` and ``demo``: start a run, and show it until it ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.markup import escape

from napari_seg3d.cli.app import CONSOLE, Masks, Subjects
from napari_seg3d.cli.runs import find_run
from napari_seg3d.cli.watching import watch_run
from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    from napari_seg3d.training import TrainConfig


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
    preset: Annotated[str | None, typer.Option(help="Settings of a known system (see `napari-seg3d presets`).")] = None,
    fine_tune: Annotated[Path | None, typer.Option(help="A model (.pt) whose weights are taken to begin with.")] = None,
    devices: Annotated[int | None, typer.Option(help="How many GPUs (or CPU processes) train together.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder to make; left out, a dated one below ~/napari-seg3d/runs.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with an interrupted run: its folder, or its name.")
    ] = None,
    queue: Annotated[bool, typer.Option(help="Wait until the runs of this machine that were started before have ended.")] = False,
    prepare: Annotated[bool, typer.Option(help="Only make the run folder, for processes that join it.")] = False,
    join: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Be one of the processes of a prepared run; for srun and torchrun.")
    ] = None,
    explain: Annotated[bool, typer.Option(help="Say why each automatic setting became what it is.")] = False,
    detach: Annotated[bool, typer.Option(help="Start it and return; the Train dock finds it.")] = False,
) -> None:
    """Train a model. The defaults need no choice; Ctrl-C stops and keeps what was learnt.

    The run goes on if this terminal closes, and shows in the Train dock as well.
    """
    from napari_seg3d.training import make_run, resume_run, start_run

    if join is not None:
        from napari_seg3d.training.child import main as be_one_of_them

        raise typer.Exit(be_one_of_them(str(join), join=True))
    if resume is not None:
        run = resume_run(find_run(resume), queue)
    else:
        changes: dict[str, Any] = {}
        if fine_tune is not None:
            changes["network.pretrained"] = str(fine_tune)
        if devices is not None:
            changes["device.devices"] = devices
        asked = _config(folder, masks, subjects, config, minutes, set_ or [], transforms, preset).with_values(changes)
        run = make_run(asked, out) if prepare else start_run(asked, out, queue)
    CONSOLE.print(f"Run folder: [bold]{escape(str(run.folder))}[/]", highlight=False, soft_wrap=True)
    if prepare:
        CONSOLE.print(f"Start it with: srun napari-seg3d train --join {escape(str(run.folder))}", highlight=False, soft_wrap=True)
    if detach or prepare:
        return
    status = watch_run(run, explain)
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
    preset: str | None = None,
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
    return (base.with_preset(preset) if preset is not None else base).with_values(changes)
