"""`judge_round`: the model before and the model after, on cases that neither has learnt from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from napari_seg3d.datasets import Case, read_case_image
from napari_seg3d.errors import Cancelled, ConfigError
from napari_seg3d.evaluation import EvaluationRow, mean_dice, measure_masks
from napari_seg3d.inference import PredictOptions, Predictor
from napari_seg3d.inference.postprocess.choose import UNKNOWN
from napari_seg3d.training.judging.references import reference_of
from napari_seg3d.training.rounds.gathering import scan_of
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.volumes import Volume

# As the networks answer: rules were chosen for the old one, perhaps, and not for the new one yet.
_AS_IT_IS = PredictOptions(postprocess=False)


class ComparedRow(NamedTuple):
    """One label of one case, by the model before and by the one after.

    Parameters
    ----------
    case, label, name
        Whose, and which.
    before, after : float
        Dice; NaN where the label is in neither mask.
    hd95_before, hd95_after : float
        In mm; NaN where it was not measured, infinite where the label is in one mask only.
    """

    case: str
    label: int
    name: str
    before: float
    after: float
    hd95_before: float = math.nan
    hd95_after: float = math.nan


@dataclass(frozen=True)
class Comparison:
    """How the model before and the one after do on the same cases.

    Parameters
    ----------
    rows : tuple of ComparedRow
        By case and label.
    mean_before, mean_after : float
        Mean over the cases of the mean Dice over the labels.
    """

    rows: tuple[ComparedRow, ...]
    mean_before: float
    mean_after: float

    @property
    def is_better(self) -> bool:
        """Whether the model after is the better one; where nothing says so, the one before stays."""
        return self.mean_after > self.mean_before

    def per_case(self) -> dict[str, tuple[float, float]]:
        """Return case -> mean Dice over the labels, before and after."""
        found: dict[str, list[ComparedRow]] = defaultdict(list)
        for row in self.rows:
            found[row.case].append(row)
        return {case: (_mean(row.before for row in rows), _mean(row.after for row in rows)) for case, rows in found.items()}

    @classmethod
    def of(cls, before: Sequence[EvaluationRow], after: Sequence[EvaluationRow]) -> Self:
        """Return the comparison of two evaluations of the same cases."""
        rows = tuple(
            ComparedRow(one.case, one.label, one.name, one.dice, two.dice, one.hd95, two.hd95)
            for one, two in zip(before, after, strict=True)
        )
        return cls(rows, mean_dice(before), mean_dice(after))


def judge_round(
    before: Run,
    after: Run,
    cases: Sequence[Case],
    *,
    with_surfaces: bool = True,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Comparison:
    """Predict cases by the best models of two runs, and measure both.

    Parameters
    ----------
    before, after : Run
        Both with a model of the same labels.
    cases : sequence of Case
        With masks, from the data set of `after`; see `Gathered.judges`.
    with_surfaces : bool
        Whether HD95 is measured, which takes longer than Dice.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each prediction.

    Raises
    ------
    ConfigError
        There are no cases, or one of them taught a model.
    Seg3dError
        A model or a scan cannot be read.
    Cancelled
        `cancelled` returned True.
    """
    if not cases:
        raise ConfigError("There is no case to judge by.", "Put some into a test set.")
    _refuse_taught((before, after), cases)
    predictors = [Predictor.load(run.best) for run in (before, after)]
    found: list[list[EvaluationRow]] = [[], []]
    done = 0
    for case in cases:
        image = read_case_image(case)
        reference = reference_of(after, predictors[1], case, image)
        for rows, predictor in zip(found, predictors, strict=True):
            if cancelled is not None and cancelled():
                raise Cancelled("The judging was stopped.")
            predicted = predictor.predict(image, _AS_IT_IS, cancelled=cancelled).labels
            rows += measure_masks(
                *_known(predicted, reference), predictor.stored_labels, with_surfaces=with_surfaces, case=case.id
            )
            done += 1
            if progress is not None:
                progress(done, 2 * len(cases))
    return Comparison.of(*found)


def _known(predicted: Volume, reference: Volume) -> tuple[Volume, Volume]:
    """Return both without what nobody painted, which counts neither for nor against a model."""
    unknown = (reference.data == UNKNOWN).any(axis=0)
    if not unknown.any():
        return predicted, reference
    masks = [np.where(unknown, 0, volume.data).astype(volume.data.dtype) for volume in (predicted, reference)]
    return predicted.with_data(masks[0]), reference.with_data(masks[1])


def _refuse_taught(runs: Sequence[Run], cases: Sequence[Case]) -> None:
    for run in runs:
        taught = {scan_of(case) for case in run.cases("train")}
        for case in cases:
            if scan_of(case) in taught:
                raise ConfigError(
                    f"{case.id} taught {run.name}, and cannot judge it.", "Judge by cases that neither model has seen."
                )


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
