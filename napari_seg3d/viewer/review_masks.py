"""Another mask for a case that is reviewed: one from a file, or a new prediction; to be called in a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_seg3d.datasets import place_mask, read_case_image, read_mask
from napari_seg3d.inference import Ensemble, Prediction, PredictOptions, Predictor
from napari_seg3d.review import Entry, Worklist, keep_mask
from napari_seg3d.volumes import volume_name, write_volume


def take_mask(worklist: Worklist, entry: Entry, file: Path) -> None:
    """Use the mask in a file, which is read where it lies and never changed.

    Raises
    ------
    ReadError, LabelError
        It cannot be read, or is no mask.
    GeometryError
        It does not lie on the scan.
    """
    place_mask(read_mask(file, overlapping=True), read_case_image(entry.case))
    worklist.use_prediction(entry.case.id, file)


def predict_case(
    entry: Entry,
    predictor: Predictor | Ensemble,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Prediction:
    """Predict a case, with the map of how unsure the model is; raises as `Predictor.predict`, and where the scan cannot be read."""
    return predictor.predict(read_case_image(entry.case), PredictOptions(uncertainty=True), progress, cancelled)


def keep_prediction(worklist: Worklist, case: str, found: Prediction) -> None:
    """Keep a predicted mask with its map, and use it; raises a WriteError where the files cannot be written."""
    file = keep_mask(worklist, case, found.labels, "prediction")
    if found.uncertainty is not None:
        write_volume(found.uncertainty, file.with_name(f"{volume_name(file)}_uncertainty.nii.gz"))
    # Another prediction is another start: what was said of the last mask does not hold for it.
    worklist.set_state(case, "predicted")
