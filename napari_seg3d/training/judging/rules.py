"""`rules_of_run`: which rules after the network help, by the validation cases of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets import Case, read_case_image
from napari_seg3d.files import write_error
from napari_seg3d.inference import PredictOptions, Predictor
from napari_seg3d.inference.postprocess import Choice, choose_rules
from napari_seg3d.inference.postprocess.choose import Pair
from napari_seg3d.training.judging.references import cases_with_masks, reference_of
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.volumes import Volume


def rules_of_run(
    run: Run,
    predictor: Predictor,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Choice:
    """Predict the validation cases of a run and return the rules that raise their Dice.

    Parameters
    ----------
    run : Run
        Whose validation cases, and whose meaning of the masks.
    predictor : Predictor
        Its best model; rules that it has already are left aside.
    progress, cancelled : callable, optional
        Told the cases done and of all, and asked between steps.

    Raises
    ------
    ConfigError
        The run has no validation case with a mask.
    ReadError, DatasetError, LabelError, GeometryError, ModelError
        A case cannot be read, or not be predicted.
    WriteError
        The disk for temporary files is full.
    Cancelled
        `cancelled` returned True.
    """
    cases = cases_with_masks(run)
    # The rules are chosen in two turns over the cases; predicting is what takes long, so that it is done once.
    with tempfile.TemporaryDirectory(prefix="napari-seg3d-") as scratch:
        kept = []
        for number, case in enumerate(cases):
            kept.append(_Kept.of(_predicted(run, predictor, case, cancelled), Path(scratch) / f"{number}.npz"))
            if progress is not None:
                progress(number + 1, len(cases))
        return choose_rules(_Pairs(kept), predictor.stored_labels, cancelled)


def _predicted(run: Run, predictor: Predictor, case: Case, cancelled: Callable[[], bool] | None) -> Pair:
    image = read_case_image(case)
    prediction = predictor.predict(image, PredictOptions(postprocess=False), cancelled=cancelled).labels
    return prediction, reference_of(run, predictor, case, image)


@dataclass(frozen=True)
class _Kept:
    """A prediction and its mask on the disk."""

    path: Path
    empty: Volume  # everything of the prediction but its voxels

    @classmethod
    def of(cls, pair: Pair, path: Path) -> _Kept:
        prediction, mask = pair
        try:
            np.savez_compressed(path, prediction=prediction.data, mask=mask.data)
        except OSError as error:
            raise write_error(path, error) from error
        none: NDArray[np.uint8] = np.zeros((0, *prediction.grid.shape), np.uint8)
        return cls(path, replace(prediction, data=none))

    def pair(self) -> Pair:
        with np.load(self.path) as arrays:
            return self.empty.with_data(arrays["prediction"]), self.empty.with_data(arrays["mask"])


class _Pairs:
    def __init__(self, kept: Sequence[_Kept]) -> None:
        self._kept = kept

    def __iter__(self) -> Iterator[Pair]:
        return (one.pair() for one in self._kept)
