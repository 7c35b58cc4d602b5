"""The command line itself, and what its commands share: consoles, a progress bar, problems in colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from napari_seg3d import __version__

if TYPE_CHECKING:
    from napari_seg3d.datasets import Problem

app = typer.Typer(
    help="Train, predict and evaluate 3D medical segmentations. Nothing leaves this machine.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
CONSOLE = Console()
ERRORS = Console(stderr=True)
_SHOWN_PROBLEMS = 30

Folder = Annotated[
    Path,
    typer.Argument(
        help="Folder of the data set (with imagesTr/labelsTr, images/labels, Img/Mask, …) or of its images; a dataset.yaml; a CSV."
    ),
]
Masks = Annotated[Path | None, typer.Option(help="Folder of the masks, if they do not lie in the data set.")]
Subjects = Annotated[Path | None, typer.Option(help="CSV with the columns case and subject.")]


def _version(show: bool) -> None:
    if show:
        CONSOLE.print(f"napari-seg3d {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def print_problems(problems: tuple[Problem, ...]) -> None:
    """Say what is wrong, with the fixes; the first ones where there are many."""
    for problem in problems[:_SHOWN_PROBLEMS]:
        colour = "red" if problem.severity == "error" else "yellow"
        CONSOLE.print(f"[{colour}]{problem.severity}[/] {escape(problem.what)} [dim]{escape(problem.fix)}[/]", highlight=False)
    if len(problems) > _SHOWN_PROBLEMS:
        CONSOLE.print(f"… and {len(problems) - _SHOWN_PROBLEMS} more.")


def progress_bar() -> Progress:
    """Return a bar with counts and times."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=CONSOLE,
    )


def names_table(*columns: str) -> Table:
    """Return a table whose names of cases and files are broken, never cut off: where they differ is often their end."""
    return Table(*(Column(name, overflow="fold") for name in columns))


def teller(bar: Progress, what: str, at_once: bool = True) -> Callable[[int, int], None]:
    """Return what a long work calls with the numbers done and of all, to show them in `bar`: from now on, or from the first call on."""
    task = bar.add_task(what, total=None, visible=at_once)

    def told(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total, visible=True)

    return told
