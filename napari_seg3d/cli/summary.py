"""``summary``: a network layer by layer, and whether a step of training fits this device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from napari_seg3d.cli.app import CONSOLE, progress_bar, teller
from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    from napari_seg3d.inference import Accelerator, Precision
    from napari_seg3d.networks import NetworkSpec, Summary

_SIDES = {2: (256, 256), 3: (64, 64, 64)}


@dataclass(frozen=True)
class _Step:
    """What a step of training is made of."""

    title: str
    spec: NetworkSpec
    sides: tuple[int, ...]
    batch: int
    accelerator: Accelerator
    precision: Precision
    finder: NetworkSpec | None = None


def summary(
    what: Annotated[str, typer.Argument(help="A preset (see `presets`), a network such as vnet, or a YAML file with settings.")],
    dims: Annotated[int | None, typer.Option(min=2, max=3, help="2 for slices, 3 for volumes.")] = None,
    sides: Annotated[str | None, typer.Option(help="Voxels of a sample, such as 96x96x96.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples per step.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels of the image, with those of neighbouring slices.")] = None,
    outputs: Annotated[
        int | None,
        typer.Option(min=1, help="Channels of the output: the labels, and the background where they exclude each other."),
    ] = None,
) -> None:
    """Show a network layer by layer, and whether a step of training fits this device.

    For a preset or a network it is that of the publication, unless the options say otherwise; for a file with settings, what a training
    with it would make for its data set.
    """
    from napari_seg3d.inference import device_name, free_memory
    from napari_seg3d.networks import round_sides, summarise

    given = {"dims": dims, "in_channels": channels, "out_channels": outputs}
    asked = {name: value for name, value in given.items() if value is not None}
    if Path(what).is_file():
        if asked:
            raise ConfigError(
                "The data set and the settings of the file say dimensions and channels.", "Leave those options out."
            )
        step = _planned(Path(what))
    else:
        step = _published(what, asked)
    step = replace(step, sides=round_sides(step.spec, step.sides) if sides is None else _parsed(sides))
    if batch is not None:
        step = replace(step, batch=batch)
    found = summarise(step.spec, step.sides, step.batch, step.precision)
    _print_layers(found)
    CONSOLE.print(f"[bold]{escape(step.title)}[/]: [bold]{found.parameters:,}[/] parameters", highlight=False)
    if step.finder is not None:
        weights = summarise(step.finder, round_sides(step.finder, step.sides)).parameters
        CONSOLE.print(f"Before it, {step.finder.name} finds the object: {weights:,} parameters", highlight=False)
    free = free_memory(step.accelerator)
    fits = found.fits(free)
    CONSOLE.print(
        f"A step of {step.batch} x {' x '.join(map(str, step.sides))} voxels in {_PRECISIONS[step.precision]} needs about "
        f"{_bytes(found.total_bytes)}; {_bytes(free)} are free on {escape(device_name(step.accelerator))}: "
        + ("[green]it fits.[/]" if fits else "[red]it does not fit.[/]"),
        highlight=False,
    )


_PRECISIONS = {"32": "32 bit", "bf16": "bfloat16", "16": "16 bit"}


def _published(name: str, asked: dict[str, int]) -> _Step:
    from napari_seg3d.inference import choose_accelerator, choose_precision
    from napari_seg3d.networks import complete_spec, network_info, network_names
    from napari_seg3d.training.presets import preset_settings, presets

    if name not in network_names() and name not in presets():
        raise ConfigError(
            f"{name} is no preset, no network and no file.",
            f"Presets: {', '.join(presets())}. Networks: {', '.join(network_names())}.",
        )
    settings: dict[str, Any] = preset_settings(name) if name in presets() else {"network.name": name}
    network = settings.get("network.name", "dynunet")
    info = network_info(network)
    wished = settings.get("network.dims", "auto")
    dims = asked.get("dims", info.dims[0] if wished == "auto" else wished)
    sides = tuple(settings.get("sampling.patch_size", _SIDES[dims]))[:dims]
    spec = complete_spec(
        network,
        dims=dims,
        in_channels=asked.get("in_channels", max(info.channels[0], 2 * settings.get("sampling.context", 0) + 1)),
        out_channels=asked.get("out_channels", info.channels[1]),
        features=settings.get("network.features", "auto"),
        deep_supervision=settings.get("network.deep_supervision", "auto"),
        options=settings.get("network.options"),
        sides=sides,
    )
    batch = settings.get("optimization.batch_size", "auto")
    accelerator = choose_accelerator(settings.get("device.accelerator", "auto"))
    precision = choose_precision(accelerator, settings.get("device.precision", "auto"))
    title = name if name == network else f"{name} ({network})"
    finder = None
    if settings.get("cascade.enabled"):
        finder = complete_spec("cascade-roi", dims=dims, in_channels=spec.in_channels)
    return _Step(title, spec, sides, 2 if batch == "auto" else batch, accelerator, precision, finder)


def _planned(file: Path) -> _Step:
    from napari_seg3d.datasets import check_dataset, open_dataset
    from napari_seg3d.training import TrainConfig
    from napari_seg3d.training.plan import plan_for
    from napari_seg3d.training.samples.targets import values_aside

    config = TrainConfig.from_yaml(file)
    dataset = open_dataset(config.data.images, config.data.masks, config.data.subjects)
    with progress_bar() as bar:
        report = check_dataset(dataset, teller(bar, "Checking the cases"), aside=values_aside(config.targets))
    plan = plan_for(config, report)
    return _Step(
        f"{file.name} ({plan.spec.network.name})",
        plan.spec.network,
        plan.sides,
        plan.batch_size,
        plan.accelerator,
        plan.precision,
    )


def _parsed(sides: str) -> tuple[int, ...]:
    try:
        return tuple(int(side) for side in sides.lower().replace(",", "x").split("x"))
    except ValueError as error:
        raise ConfigError(f"--sides {sides} is no size.", "Write it as 96x96x96.") from error


def _print_layers(found: Summary) -> None:
    table = Table(box=None, pad_edge=False)
    for name, justify in (("Layer", "left"), ("Type", "left"), ("Output", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for name in ("Parameters", "Forward", "Backward"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(
            escape(row.name),
            row.kind,
            "x".join(map(str, row.shape)),
            f"{row.parameters:,}" if row.parameters else "",
            _bytes(row.forward_bytes),
            _bytes(row.backward_bytes),
        )
    table.add_section()
    table.add_row(
        "Total", "", "", f"{found.parameters:,}", _bytes(found.forward_bytes), _bytes(found.backward_bytes), style="bold"
    )
    CONSOLE.print(table)


def _bytes(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1000:.1f} kB" if number else ""
