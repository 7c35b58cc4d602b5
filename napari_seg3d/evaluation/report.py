"""The rows of an evaluation, their means, and the CSV."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from napari_seg3d.datasets import Problem
from napari_seg3d.evaluation.counts import Counts
from napari_seg3d.files import write_text

K = TypeVar("K", int, str)
Metric = Literal["dice", "precision", "recall", "f1"]


class EvaluationRow(NamedTuple):
    """One label of one case.

    ``dice`` is NaN when the label is in neither mask; the volumes are in millilitres. ``tp``, ``fn`` and ``fp`` are voxels that were
    found, missed and too much, and ``precision`` and ``recall`` follow from them (F1 of one case is its Dice).
    """

    case: str
    label: int
    name: str
    dice: float
    reference_ml: float
    prediction_ml: float
    precision: float = math.nan
    recall: float = math.nan
    tp: int = 0
    fn: int = 0
    fp: int = 0

    @classmethod
    def of(cls, case: str, label: int, name: str, counts: Counts, voxel_volume: float) -> EvaluationRow:
        """Return the row that counts of voxels give, for voxels of so many mm³."""
        millilitres = voxel_volume / 1000
        return cls(
            case,
            label,
            name,
            counts.dice,
            counts.reference * millilitres,
            counts.prediction * millilitres,
            counts.precision,
            counts.recall,
            counts.tp,
            counts.fn,
            counts.fp,
        )


@dataclass(frozen=True)
class Evaluation:
    """What a comparison of masks gave.

    Parameters
    ----------
    rows : tuple of EvaluationRow
        By case and label.
    problems : tuple of Problem
        Files that could not be compared.
    """

    rows: tuple[EvaluationRow, ...]
    problems: tuple[Problem, ...] = ()

    @cached_property
    def mean_dice(self) -> float:
        """Mean over the cases of the mean over the labels, see :func:`mean_dice`."""
        return mean_dice(self.rows)

    def per_case(self) -> dict[str, float]:
        """Return the mean over the labels of each case; NaN where a case shows none."""
        return _means((row.case, row.dice) for row in self.rows)

    def per_label(self) -> dict[int, float]:
        """Return the mean over the cases of each label; NaN where no case shows it."""
        return _means((row.label, row.dice) for row in self.rows)

    def per_label_counts(self) -> dict[int, Counts]:
        """Return the voxels of each label in all cases together."""
        counts: dict[int, Counts] = defaultdict(Counts)
        for row in self.rows:
            counts[row.label] += Counts(row.tp, row.fp, row.fn)
        return dict(counts)

    def metrics(self) -> dict[int, dict[str, float]]:
        """Return for each label ``dice``, ``precision``, ``recall``, ``f1``, ``tp``, ``fn`` and ``fp``.

        Dice is the mean over the cases. The others are of the voxels of all cases together; the last three in percent of the voxels of
        the label in the references.
        """
        dice = self.per_label()
        return {
            label: {"dice": dice[label], "precision": found.precision, "recall": found.recall, "f1": found.f1, **found.shares}
            for label, found in self.per_label_counts().items()
        }

    def score(self, metric: Metric, label: int | None = None) -> float:
        """Return one number to judge by: a metric of a label, or of all.

        NaN where no case shows any such label. Of all labels, Dice is :attr:`mean_dice`, and the others are means over the labels.
        """
        if label is None and metric == "dice":
            return self.mean_dice
        found = [values[metric] for value, values in self.metrics().items() if label in (None, value)]
        sound = [value for value in found if not math.isnan(value)]
        return sum(sound) / len(sound) if sound else math.nan

    def save_csv(self, path: str | Path) -> None:
        """Write the rows with a header; a share that does not exist is left empty.

        Raises
        ------
        WriteError
            The file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(EvaluationRow._fields)
        for row in self.rows:
            volumes = [f"{row.reference_ml:.6g}", f"{row.prediction_ml:.6g}"]
            shares = ["" if math.isnan(share) else f"{share:.6f}" for share in (row.dice, row.precision, row.recall)]
            writer.writerow([row.case, row.label, row.name, shares[0], *volumes, *shares[1:], row.tp, row.fn, row.fp])
        write_text(path, text.getvalue())


def mean_dice(rows: Iterable[EvaluationRow]) -> float:
    """Return the mean over the cases of the mean over their labels.

    A label in neither mask of a case (NaN) does not count for that case; a case without any label does not count at all.
    NaN when nothing counts.
    """
    cases = [score for score in _means((row.case, row.dice) for row in rows).values() if not math.isnan(score)]
    return sum(cases) / len(cases) if cases else math.nan


def _means(scores: Iterable[tuple[K, float]]) -> dict[K, float]:
    by_key: dict[K, list[float]] = defaultdict(list)
    for key, score in scores:
        by_key[key] += [] if math.isnan(score) else [score]
    return {key: sum(values) / len(values) if values else math.nan for key, values in by_key.items()}
