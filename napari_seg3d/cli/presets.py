"""``presets``: the trainings that come with the program under a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_seg3d.cli.app import CONSOLE

if TYPE_CHECKING:
    from napari_seg3d.training.presets import Preset


def presets(
    name: Annotated[str | None, typer.Argument(help="A preset, to see its settings; left out, all are listed.")] = None,
) -> None:
    """List the presets that `train --preset` takes, or show what one of them sets."""
    from napari_seg3d.training.presets import find_preset, presets

    if name is not None:
        _show(find_preset(name))
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 1, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for preset in presets().values():
        table.add_row(f"[bold]{preset.name}[/]", f"{escape(preset.title)}. {escape(preset.description)}")
    CONSOLE.print(table)


def _show(preset: Preset) -> None:
    CONSOLE.print(f"[bold]{escape(preset.title)}[/]", highlight=False)
    CONSOLE.print(escape(preset.description), highlight=False)
    if preset.system:
        CONSOLE.print(f"After: {escape(preset.system)}", highlight=False)
    if preset.transforms:
        CONSOLE.print(
            f"Transforms: {preset.transforms} (see napari-seg3d transforms --preset {preset.transforms})", highlight=False
        )
    table = Table(box=None, pad_edge=False)
    table.add_column("Setting")
    table.add_column("Value")
    for setting, value in preset.settings.items():
        table.add_row(setting, escape(str(value)))
    CONSOLE.print(table)
