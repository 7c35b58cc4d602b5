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
from typing import NamedTuple, TypeVar

from napari_seg3d.datasets import Problem
from napari_seg3d.files import write_text

K = TypeVar("K", int, str)


class EvaluationRow(NamedTuple):
    """One label of one case.

    ``dice`` is NaN when the label is in neither mask; the volumes are in millilitres.
    """

    case: str
    label: int
    name: str
    dice: float
    reference_ml: float
    prediction_ml: float


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

    def save_csv(self, path: str | Path) -> None:
        """Write the rows with a header; a Dice that does not exist is left empty.

        Raises
        ------
        WriteError
            The file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(EvaluationRow._fields)
        for row in self.rows:
            score = "" if math.isnan(row.dice) else f"{row.dice:.6f}"
            writer.writerow([row.case, row.label, row.name, score, f"{row.reference_ml:.6g}", f"{row.prediction_ml:.6g}"])
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
