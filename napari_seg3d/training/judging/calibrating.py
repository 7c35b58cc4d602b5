"""`calibration_of_run`: how sure a run's best model may be, by its validation cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets import read_case_image
from napari_seg3d.inference import PredictOptions, Predictor
from napari_seg3d.inference.calibration import Calibration, Voxels, fit_temperature
from napari_seg3d.inference.postprocess.choose import UNKNOWN
from napari_seg3d.training.judging.references import cases_with_masks, reference_of
from napari_seg3d.training.runs.folder import Run

_VOXELS_OF_A_CASE = 20_000
# Around what is marked; the air far from it is easy, and would drown the border in which the doubt lies.
_MARGIN = 5


def calibration_of_run(
    run: Run,
    predictor: Predictor,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Calibration:
    """Predict the validation cases of a run, and return the temperature that fits them.

    Parameters
    ----------
    run : Run
        Whose validation cases, and whose meaning of the masks.
    predictor : Predictor
        Its best model; its temperature becomes 1.
    progress, cancelled : callable, optional
        Told the cases done and of all, and asked between steps.

    Raises
    ------
    ConfigError
        The run has no validation case with a mask.
    ReadError, DatasetError, LabelError, GeometryError, ModelError
        A case cannot be read, or not be predicted.
    Cancelled
        `cancelled` returned True.
    """
    cases = cases_with_masks(run)
    predictor.temperature = 1.0
    options = PredictOptions(probabilities=True, postprocess=False)

    def voxels() -> Iterator[Voxels]:
        for number, case in enumerate(cases):
            image = read_case_image(case)
            prediction = predictor.predict(image, options, cancelled=cancelled)
            assert prediction.probabilities is not None
            reference = reference_of(run, predictor, case, image)
            yield _some(predictor, np.asarray(prediction.probabilities.data, np.float32), reference.data, number)
            if progress is not None:
                progress(number + 1, len(cases))

    return fit_temperature(voxels(), predictor.spec.targets)


def _some(predictor: Predictor, probabilities: NDArray[np.float32], reference: NDArray[np.generic], seed: int) -> Voxels:
    """Return some of the voxels around what is marked, each as likely as the others."""
    from scipy import ndimage

    known = (reference != UNKNOWN).all(axis=0)
    labels = probabilities[1:] if predictor.spec.targets == "exclusive" else probabilities
    marked = ((reference != 0) & (reference != UNKNOWN)).any(axis=0) | (labels > 0.5).any(axis=0)
    # Outside of what the network saw nothing has a probability.
    seen = (probabilities > 0).any(axis=0)
    if marked.any():
        box = ndimage.find_objects(marked.astype(np.uint8))[0]
        near = np.zeros_like(marked)
        near[tuple(slice(max(0, side.start - _MARGIN), side.stop + _MARGIN) for side in box)] = True
        seen &= near
    places = np.flatnonzero(known & seen)
    if len(places) > _VOXELS_OF_A_CASE:
        places = np.random.default_rng(seed).choice(places, _VOXELS_OF_A_CASE, replace=False)
    chosen = probabilities.reshape(len(probabilities), -1)[:, places].T
    truth = reference.reshape(len(reference), -1)[:, places]
    values = np.array(list(predictor.stored_labels))
    if predictor.spec.targets == "exclusive":
        classes = np.concatenate([[0], values])
        order = np.argsort(classes)
        return Voxels(chosen, order[np.searchsorted(classes[order], truth[0])])
    return Voxels(chosen, np.stack([(truth == value).any(axis=0) for value in values], axis=1).astype(np.uint8))
