"""``runs``: what trains, waits or has ended on this machine, and how well; and what to do about one of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from napari_seg3d.cli.app import CONSOLE, names_table
from napari_seg3d.errors import TrainingError

if TYPE_CHECKING:
    from napari_seg3d.training import Run


def runs(
    folder: Annotated[
        Path | None, typer.Argument(help="Where to look; left out, all runs that are known on this machine.")
    ] = None,
    pause: Annotated[str | None, typer.Option(metavar="RUN", help="Let a run wait, its state saved.")] = None,
    go_on: Annotated[str | None, typer.Option(metavar="RUN", help="End its pause.")] = None,
    stop: Annotated[str | None, typer.Option(metavar="RUN", help="End a run and keep what it has learnt.")] = None,
    kill: Annotated[str | None, typer.Option(metavar="RUN", help="End a run at once; saved checkpoints stay.")] = None,
    delete: Annotated[str | None, typer.Option(metavar="RUN", help="Remove a run folder with its models.")] = None,
) -> None:
    """List the trainings with their state and best score, or steer one of them (by its folder or name)."""
    asked = False
    for name, what, said in (
        (pause, "pause", "is asked to pause."),
        (go_on, "go_on", "is asked to go on."),
        (stop, "stop", "is asked to stop; what it learnt is kept."),
        (kill, "kill", "was ended."),
        (delete, "delete", "was deleted."),
    ):
        if name is not None:
            run = find_run(name, folder)
            getattr(run, what)()
            CONSOLE.print(f"{escape(run.name)} {said}", highlight=False, soft_wrap=True)
            asked = True
    if not asked:
        _list(folder)


def find_run(name: str, folder: Path | None = None) -> Run:
    """Return the run in a folder, or the one of this name among those that are known.

    Raises
    ------
    TrainingError
        There is none, or several have this name.
    """
    from napari_seg3d.training import Run, find_runs

    if (Path(name) / "run.yaml").is_file():
        return Run(Path(name).absolute())
    found = [run for run in find_runs(folder) if run.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise TrainingError(
            f"Several runs are called {name}.", "Give the folder: " + " or ".join(str(run.folder) for run in found)
        )
    raise TrainingError(f"There is no run {name}.", "`napari-seg3d runs` lists those that are known; a folder will do as well.")


def _list(folder: Path | None) -> None:
    from napari_seg3d.training import find_runs

    found = find_runs(folder)
    if not found:
        CONSOLE.print("No runs yet. `napari-seg3d train DATA` starts one.")
        return
    table = names_table("run", "state", "best Dice", "folder")
    for run in found:
        best, state = run.best_dice(), run.status().state
        again = " (can go on)" if run.can_resume else ""
        table.add_row(escape(run.name), state + again, f"{best:.4f}" if best is not None else "", escape(str(run.folder.parent)))
    CONSOLE.print(table)
