"""``export-model``: a trained model for other programs and other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from napari_seg3d.cli.app import CONSOLE
from napari_seg3d.errors import ConfigError


def export_model(
    model: Annotated[Path, typer.Argument(help="A checkpoint file, or a run folder (its best checkpoint is taken).")],
    out: Annotated[Path, typer.Option(help="The file to write; its ending may be left out.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="model: one file that predicts on its own; onnx or openvino: the network, with a JSON that describes it.",
        ),
    ] = "model",
    overwrite: Annotated[bool, typer.Option(help="Replace files that are there already.")] = False,
) -> None:
    """Write a model as one file, as ONNX or for OpenVINO.

    A model file needs nothing beside it: weights, labels and preprocessing are in it. ONNX and OpenVINO hold the network alone; labels,
    preprocessing, patch size and spacing are in a JSON of the same name.
    """
    from napari_seg3d.inference.export import ENDINGS
    from napari_seg3d.inference.export import export_model as write
    from napari_seg3d.training import Run

    if format_ not in ENDINGS:
        raise ConfigError(f"There is no format {format_!r}.", f"Choose one of {', '.join(ENDINGS)}.")
    source = Run(model).best if (model / "run.yaml").exists() else model
    files = write(source, out, format_, overwrite=overwrite)
    names = ", ".join(file.name for file in files)
    CONSOLE.print(f"Written: [bold]{escape(names)}[/] in {escape(str(files[0].absolute().parent))}.", highlight=False)
