"""``calibrate``: how sure a model may be of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from napari_seg3d.cli.app import CONSOLE, progress_bar, teller
from napari_seg3d.errors import ConfigError, WriteError


def calibrate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace a calibration that is there already.")] = False,
) -> None:
    """Fit a temperature on the validation cases of a run, so that its probabilities mean what they say.

    It is written beside the best model, which uses it from then on; the likeliest label of a voxel stays as it is.
    """
    if not (run / "run.yaml").exists():
        raise ConfigError(f"{run} is no run folder, so it has no validation cases.", "Give the folder of a run.")
    from napari_seg3d.inference import Predictor
    from napari_seg3d.inference.calibration import calibration_file, save_calibration
    from napari_seg3d.training import Run
    from napari_seg3d.training.judging.calibrating import calibration_of_run

    best = Run(run).best
    file = calibration_file(best)
    if file.exists() and not overwrite:  # before the predictions, which take long
        raise WriteError(f"{file} exists already.", "Add --overwrite to replace it.")
    predictor = Predictor.load(best, device)
    with progress_bar() as bar:
        found = calibration_of_run(Run(run), predictor, teller(bar, "Predicting the validation cases"))
    save_calibration(file, found, made_for=predictor.fingerprint, overwrite=overwrite)
    CONSOLE.print(
        f"Temperature {found.temperature:.3f} from {found.cases} cases: calibration error {found.error_before:.4f} before, "
        f"{found.error_after:.4f} after; negative log-likelihood {found.likelihood_before:.4f} before, {found.likelihood_after:.4f} after. "
        f"Written to [bold]{escape(str(file))}[/].",
        highlight=False,
        soft_wrap=True,
    )
