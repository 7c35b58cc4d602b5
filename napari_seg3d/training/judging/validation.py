"""Judge a model the way it will be used: whole scans, on their own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled
from napari_seg3d.evaluation import Evaluation, EvaluationRow, counts
from napari_seg3d.inference import Predictor
from napari_seg3d.training.samples.cache import CachedCase


@dataclass(frozen=True)
class Validation:
    """How a model did on the validation cases.

    Parameters
    ----------
    evaluation : Evaluation
        Each case and label, as comparing the predicted files would give them.
    shown : mapping of str to array
        Of each case to be shown, by its id, what the model says ``(T, I, J, K)`` on its native grid.
    seconds : float
        How long it took.
    """

    evaluation: Evaluation
    shown: Mapping[str, NDArray[np.integer]]
    seconds: float


def validate(
    predictor: Predictor,
    cases: Sequence[CachedCase],
    shown: Collection[str],
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
        Whom to judge it by. Voxels that are unknown in a reference are left out.
    shown : collection of str
        Ids of the cases whose predictions are given back.
    progress, cancelled : callable
        Told (done, total) after each case, and asked before each and between its windows.
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
    kept = {}
    for done, case in enumerate(cases, start=1):
        if cancelled():
            raise Cancelled("The validation was stopped.")
        predicted = predictor.classes(np.array(case.image), case.grid, case.native, cancelled=cancelled)
        found = counts(predicted, case.reference, len(labels))
        volume = case.native.voxel_volume
        rows += [EvaluationRow.of(case.id, *label, voxels, volume) for label, voxels in zip(labels, found, strict=True)]
        if case.id in shown:
            kept[case.id] = predicted
        progress(done, len(cases))
        if time.perf_counter() - start > seconds:
            break
    return Validation(Evaluation(tuple(rows)), kept, time.perf_counter() - start)


def together(parts: Sequence[Validation]) -> Validation:
    """Return the validation that several processes carried out, each a share of the cases."""
    rows = tuple(row for part in parts for row in part.evaluation.rows)
    shown = {case: predicted for part in parts for case, predicted in part.shown.items()}
    return Validation(Evaluation(rows), shown, max(part.seconds for part in parts))
