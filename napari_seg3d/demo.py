"""The whole way on sample data, as ``napari-seg3d demo`` and ``make demo`` show it: train, predict, look at the result."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from napari_seg3d.datasets import Case, find_scans, mask_name, read_case_image
from napari_seg3d.errors import Seg3dError, TrainingError
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.training import Run, Status, TrainConfig, start_run
from napari_seg3d.volumes import write_volume

#: Set by whoever starts the demo on a display that nobody looks at: screenshots are taken, and the viewer closes.
VIRTUAL_DISPLAY = "NAPARI_SEG3D_VIRTUAL_DISPLAY"


def run_demo(output: Path, minutes: float, show_viewer: bool, watch: Callable[[Run], Status], say: Callable[[str], None]) -> None:
    """Train on the sample data, predict its test scans, and open the result in napari.

    Parameters
    ----------
    output : Path
        Where the run, the masks and the screenshots go.
    minutes : float
        How long to train.
    show_viewer : bool
        Whether to open napari at the end.
    watch : callable
        Shows a run until it ends, and returns how it ended.
    say : callable
        Told what happens.

    Raises
    ------
    TrainingError
        The training did not finish.
    """
    output = output.absolute()
    run_folder = output / f"run-{datetime.now():%Y%m%d-%H%M%S}"
    say(f"Training on the sample data for {minutes:g} min: {run_folder}")
    config = TrainConfig.parse({"data": {"images": str(dataset_folder())}, "optimization": {"minutes": minutes}})
    run = start_run(config, run_folder)
    status = watch(run)
    if status.state not in ("finished", "stopped"):
        raise TrainingError(status.message)

    cases = find_scans([dataset_folder() / "imagesTs"])
    _predict(run, cases, output / "predictions", say)
    if not show_viewer:
        return
    try:
        from napari_seg3d.widgets.tour import open_tour
    except ImportError as error:
        raise Seg3dError(
            f"napari is not installed ({error.name} is missing).", 'Install it with: pip install "napari-seg3d[all]"'
        ) from error
    screenshots = output / "screenshots" if os.environ.get(VIRTUAL_DISPLAY) else None
    open_tour(run, cases[0], screenshots)
    if screenshots is not None:
        say(f"Screenshots are in {screenshots}")


def _predict(run: Run, cases: list[Case], folder: Path, say: Callable[[str], None]) -> None:
    from napari_seg3d.inference import Predictor

    predictor = Predictor.load(run.best)
    for case in cases:
        prediction = predictor.predict(read_case_image(case))
        mask = write_volume(prediction.labels, folder / mask_name(case), overwrite=True)
        say(f"Predicted {case.id} in {prediction.seconds:.1f} s: {mask}")
