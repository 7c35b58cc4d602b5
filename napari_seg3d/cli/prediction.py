"""``predict``: masks for scans, each on its scan's own grid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_seg3d.cli.app import CONSOLE, ERRORS, progress_bar, teller
from napari_seg3d.errors import ConfigError, Seg3dError

if TYPE_CHECKING:
    from napari_seg3d.inference.batch_folder import BatchFolder, CaseResult

_SHOWN_LABELS = 6


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint file, a run folder (its best checkpoint is taken), a MONAI bundle or an nnU-Net results folder."
        ),
    ],
    scans: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Scans, folders of scans, and DICOM series: a folder each, at any depth; or a data set: its folder, dataset.yaml or CSV."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="Folder for the masks; each gets the name and, where that can be written, the format of its scan."),
    ] = Path("predictions"),
    validation: Annotated[bool, typer.Option(help="Predict the validation cases of the run.")] = False,
    mode: Annotated[
        str, typer.Option(help="auto (as trained), patches or whole (whole scans, or whole slices for a 2D network).")
    ] = "auto",
    ensemble: Annotated[
        list[Path] | None,
        typer.Option(
            help="A further model of the same labels, such as another fold; the probabilities are averaged. May be repeated."
        ),
    ] = None,
    overlap: Annotated[float, typer.Option(help="Share of a patch that the next one sees again, 0 to 0.9.")] = 0.5,
    blending: Annotated[
        str, typer.Option(help="How patches that overlap are weighted: gaussian, hann, average or crop.")
    ] = "gaussian",
    flip: Annotated[
        list[str] | None,
        typer.Option(
            help="R, A or S: the network also sees mirror images along this axis of the patient. May be repeated. Not R where labels tell "
            "left from right."
        ),
    ] = None,
    uncertainty: Annotated[
        bool, typer.Option(help="Also write how unsure the model is, 0 to 1: NAME_uncertainty.nii.gz (entropy; disagreement).")
    ] = False,
    probabilities: Annotated[bool, typer.Option(help="Also write NAME_probabilities.nii.gz, a channel for each label.")] = False,
    postprocess: Annotated[
        bool, typer.Option(help="Apply the rules beside the model (postprocessing.yaml), if there are some.")
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, 32, bf16 or 16.")] = "auto",
    engine: Annotated[
        str, typer.Option(help="What computes on a CPU: torch, openvino, or auto (the one that is measured to be faster).")
    ] = "auto",
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="Ending of the masks, such as .nii.gz, .nrrd, .dcm (DICOM SEG, for series), .npy (rows x columns x labels, for "
            "radiographs) or .ome.zarr (OME-Zarr scans piece by piece, as is done by itself for those that do not fit into memory).",
        ),
    ] = "",
    per_label: Annotated[bool, typer.Option(help="Write a file for each label, such as case_liver.nii.gz.")] = False,
    resample_irregular: Annotated[
        bool, typer.Option(help="Resample series that are tilted or unevenly spaced; their masks lie on the resampled grid.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Make masks anew that are there already.")] = False,
    dask: Annotated[
        str,
        typer.Option(
            help="Spread the scans over the workers of a Dask cluster: the address of its scheduler, or local (local:3 for three workers)."
        ),
    ] = "",
) -> None:
    """Predict the masks of scans, each on its scan's own grid.

    Masks of DICOM scans are NIfTI unless asked otherwise. Labels that overlap have a channel each in the file. A scan that cannot be
    predicted is reported and the rest goes on; the exit status is then 1. The same command again goes on where it stopped. The folder
    also gets predictions.csv, with the volumes of the labels, and never holds masks of two models.
    """
    from napari_seg3d.datasets import cases_in
    from napari_seg3d.training import Run
    from napari_seg3d.volumes import MASK_SUFFIXES

    if engine not in ("auto", "torch", "openvino"):
        raise ConfigError(f"There is no engine {engine!r}.", "Choose auto, torch or openvino.")
    ending = f".{format_.lstrip('.')}".lower() if format_ else ""
    from napari_seg3d.inference.beyond import STORED_ENDINGS, too_large

    writable = (*MASK_SUFFIXES, *STORED_ENDINGS)
    if ending and ending not in writable:
        raise ConfigError(f"No format that can be written ends in {ending}.", f"Choose one of {', '.join(writable)}.")
    if ending in STORED_ENDINGS and (per_label or dask):
        raise ConfigError(
            f"{ending} is written piece by piece, in one file and on this computer.", "Leave out --per-label and --dask."
        )
    from napari_seg3d.inference import PredictOptions, load_models, model_files

    options = PredictOptions(
        mode=mode,  # type: ignore[arg-type]
        overlap=overlap,
        blending=blending,  # type: ignore[arg-type]
        flips=tuple(flip or ()),  # type: ignore[arg-type]
        probabilities=probabilities,
        uncertainty=uncertainty,
        postprocess=postprocess,
    )
    run = Run(model) if (model / "run.yaml").exists() else None
    if validation and run is None:
        raise ConfigError(
            f"{model} is no run folder, so it has no validation cases.", "Give the run folder, or the scans to predict."
        )
    cases = run.cases("validation") if validation and run is not None else cases_in(scans or [])

    from napari_seg3d.inference.batch import batch_model, predict_cases
    from napari_seg3d.inference.batch_folder import BatchFolder, BatchOutput

    models = [_checkpoint(path) for path in (model, *(ensemble or ()))]
    made_from = model_files(models, postprocess)
    load = partial(load_models, models, device, precision, engine)  # type: ignore[arg-type]
    output = BatchOutput(out, ending, per_label, overwrite, resample_irregular)
    if dask:
        from napari_seg3d.inference.batch_dask import DaskBatch

        CONSOLE.print(f"A worker of {escape(dask)} loads the model …", highlight=False)
        with DaskBatch(dask, load, made_from) as cluster:
            folder = BatchFolder(output, cluster.model, options, cases)
            failed = _follow(cluster.predict_cases(folder, options), folder, len(cases))
    else:
        predictor = load()
        if not ending and not per_label:
            output = replace(output, too_large=too_large(predictor, cases, options))
        folder = BatchFolder(output, batch_model(predictor, made_from), options, cases)
        failed = _follow(predict_cases(predictor, folder, options), folder, len(cases))
        if folder.todo:
            CONSOLE.print(f"{predictor.engine} computed them.", highlight=False)
    for failure in failed:
        ERRORS.print(f"[bold red]Error:[/] {escape(str(failure))}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _checkpoint(model: Path) -> Path:
    from napari_seg3d.training import Run

    return (Run(model).best if (model / "run.yaml").exists() else model).absolute()


def _follow(results: Iterator[CaseResult], folder: BatchFolder, count: int) -> list[Seg3dError]:
    """Show what becomes of the scans, and return what went wrong."""
    from napari_seg3d.inference.batch_folder import TABLE

    model = folder.model
    table = Table(title=f"{count} scans, model {model.name}")
    shown = sorted(model.labels.items())[:_SHOWN_LABELS]
    for column in ("scan", *(f"{name} (ml)" for _, name in shown), "seconds"):
        table.add_column(column, justify="left" if column == "scan" else "right")
    failed: list[Seg3dError] = []
    notes: list[str] = []
    there = 0
    with progress_bar() as bar, closing(results):  # type: ignore[type-var]
        told = teller(bar, "Predicting")
        for done, result in enumerate(results, start=1):
            if result.error is not None:
                failed.append(result.error)
            else:
                volumes = (f"{result.volumes[value]:.2f}" if value in result.volumes else "" for value, _ in shown)
                table.add_row(result.case, *volumes, "was there" if result.was_there else f"{result.seconds:.2f}")
                notes += [f"{result.case}: {note}" for note in result.warnings]
                there += result.was_there
            told(done, count)
    CONSOLE.print(table)
    kind = "scans have their masks" if folder.output.per_label else "masks are"
    CONSOLE.print(
        f"{count - len(failed)} {kind} in [bold]{escape(str(folder.output.folder))}[/]"
        f"{f', {there} of them from before' if there else ''}; {TABLE} there lists them.",
        highlight=False,
    )
    for note in notes:
        CONSOLE.print(f"[yellow]Note:[/] {escape(note)}", highlight=False)
    return failed
