"""Judge a model the way it will be used: whole scans, on their own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled
from napari_seg3d.evaluation import Evaluation, EvaluationRow, dice_per_label
from napari_seg3d.inference import Predictor
from napari_seg3d.training.cache import CachedCase


@dataclass(frozen=True)
class Validation:
    """How a model did on the validation cases.

    Parameters
    ----------
    evaluation : Evaluation
        Dice and volumes of each case and label, as comparing the predicted files would give them.
    shown : array or None
        Class indices of the case to show, on its native grid.
    seconds : float
        How long it took.
    """

    evaluation: Evaluation
    shown: NDArray[np.integer] | None
    seconds: float


def validate(
    predictor: Predictor,
    cases: Sequence[CachedCase],
    shown: str,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
    seconds: float,
) -> Validation:
    """Predict every case on its native grid and compare, the first one and as many more as time allows.

    Parameters
    ----------
    predictor : Predictor
        The model as it is now, in evaluation mode.
    cases : sequence of CachedCase
        Whom to judge it by.
    shown : str
        Id of the case whose prediction is given back.
    progress, cancelled : callable
        Told (done, total) after, and asked before, each case.
    seconds : float
        After how long no further case is begun.

    Raises
    ------
    Cancelled
        `cancelled` returned True.
    """
    start = time.perf_counter()
    labels = sorted(predictor.labels.items())
    rows: list[EvaluationRow] = []
    classes_shown = None
    for done, case in enumerate(cases, start=1):
        if cancelled():
            raise Cancelled("The validation was stopped.")
        classes = predictor.classes(np.array(case.image), case.grid, case.native)[0]
        reference = case.reference
        millilitres = case.native.voxel_volume / 1000
        dice = dice_per_label(classes, reference, range(1, len(labels) + 1))
        for index, (value, name) in enumerate(labels, start=1):
            wanted, predicted = np.count_nonzero(reference == index), np.count_nonzero(classes == index)
            rows.append(EvaluationRow(case.id, value, name, dice[index], wanted * millilitres, predicted * millilitres))
        if case.id == shown:
            classes_shown = classes
        progress(done, len(cases))
        if time.perf_counter() - start > seconds:
            break
    return Validation(Evaluation(tuple(rows)), classes_shown, time.perf_counter() - start)
