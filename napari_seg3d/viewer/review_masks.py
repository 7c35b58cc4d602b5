"""Another mask for a case that is reviewed: one from a file, or a new prediction; to be called in a job."""

from __future__ import annotations

from pathlib import Path

from napari_seg3d.datasets import place_mask, read_case_image, read_mask
from napari_seg3d.inference import Ensemble, PredictOptions, Predictor
from napari_seg3d.review import Entry, Worklist, keep_mask
from napari_seg3d.viewer.jobs import Job
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


def predict_case(worklist: Worklist, entry: Entry, predictor: Predictor | Ensemble, job: Job) -> None:
    """Predict a case anew, keep the mask with the map of how unsure the model is, and use it.

    Raises
    ------
    Seg3dError
        As `Predictor.predict`, and where the files cannot be written.
    """
    scan = read_case_image(entry.case)
    found = predictor.predict(scan, PredictOptions(uncertainty=True), job.progress, job.is_cancelled)
    file = keep_mask(worklist, entry.case.id, found.labels, "prediction")
    if found.uncertainty is not None:
        write_volume(found.uncertainty, file.with_name(f"{volume_name(file)}_uncertainty.nii.gz"))
    # Another prediction is another start: what was said of the last mask does not hold for it.
    worklist.set_state(entry.case.id, "predicted")
