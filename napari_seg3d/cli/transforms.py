"""``transforms``: what there is, what each may be told, and the lists that come with the program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_seg3d.cli.app import CONSOLE
from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    from napari_seg3d.transforms import TransformInfo

_KINDS = {"spatial": "move image and mask", "intensity": "change the image alone", "label": "change the mask alone"}


def transforms(
    name: Annotated[str | None, typer.Argument(help="A transform, to see its parameters; left out, all are listed.")] = None,
    preset: Annotated[str | None, typer.Option(help="A preset, or a file with steps: checked, and printed as YAML.")] = None,
) -> None:
    """List the transforms, show one, or print a list of steps that `train --transforms` takes."""
    from napari_seg3d.transforms import find_recipe, info

    if name is not None and preset is not None:
        raise ConfigError("A transform and a preset cannot be shown at once.", "Give one of them.")
    if preset is not None:
        # For `> steps.yaml`: no colours, no breaks of lines.
        typer.echo(find_recipe(preset).to_yaml(), nl=False)
    elif name is not None:
        _show(info(name))
    else:
        _list()


def _list() -> None:
    from napari_seg3d.transforms import catalogue, presets

    for kind, what in _KINDS.items():
        table = Table(
            title=f"[bold]{kind.capitalize()}[/] ({what})", title_justify="left", box=None, show_header=False, pad_edge=False
        )
        for transform in catalogue().values():
            if transform.kind == kind:
                table.add_row(transform.name, "[yellow]random[/]" if transform.is_random else "", escape(transform.summary))
        CONSOLE.print(table)
        CONSOLE.print()
    CONSOLE.print(f"Presets: {', '.join(presets())}", highlight=False)


def _show(transform: TransformInfo) -> None:
    kind = f"random, {transform.kind}" if transform.is_random else transform.kind
    CONSOLE.print(f"[bold]{transform.name}[/] ({kind})", highlight=False)
    CONSOLE.print(escape(transform.summary), highlight=False)
    if not transform.parameters:
        CONSOLE.print("It has no parameters.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("Parameter", "Default", "Allowed", ""):
        table.add_column(column)
    for parameter in transform.parameters:
        default = "nothing" if parameter.default is None else str(parameter.default)
        table.add_row(parameter.name, escape(default), escape(parameter.allowed), escape(parameter.help))
    CONSOLE.print(table)
