"""The rows of an evaluation, their means, and the CSV."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from napari_seg3d.datasets import Problem
from napari_seg3d.evaluation.counts import Counts
from napari_seg3d.evaluation.summary import Measure, Summary, summarise
from napari_seg3d.evaluation.surfaces import Surface
from napari_seg3d.files import write_text

K = TypeVar("K", int, str)
Metric = Literal["dice", "precision", "recall", "f1"]


class EvaluationRow(NamedTuple):
    """One label of one case.

    Parameters
    ----------
    case, label, name
        Whose, and which.
    dice : float
        NaN when the label is in neither mask.
    reference_ml, prediction_ml : float
        The volumes.
    precision, recall : float
        Shares of what was predicted that is right, and of what is there that was found (F1 of one case is its Dice).
    tp, fn, fp : int
        Voxels that were found, missed and too much.
    hd95, hausdorff, assd : float
        Distances between the surfaces in mm. NaN when the label is in neither mask, or where nobody measured them; infinite when it is
        in one mask only.
    nsd : float
        Share of the surfaces within the tolerance of the :class:`Evaluation`. NaN as the distances; 0 when the label is in one mask only.
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
    hd95: float = math.nan
    hausdorff: float = math.nan
    assd: float = math.nan
    nsd: float = math.nan

    @property
    def iou(self) -> float:
        """Intersection over union, which follows from Dice; NaN when the label is in neither mask."""
        return self.dice / (2 - self.dice)

    @property
    def volume_error(self) -> float:
        """``(prediction - reference) / reference``: above 0 where too much was predicted.

        Infinite when the reference has none of what was predicted; NaN when the label is in neither mask.
        """
        if self.reference_ml:
            return (self.prediction_ml - self.reference_ml) / self.reference_ml
        return math.inf if self.prediction_ml else math.nan

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
    tolerance_mm : float
        What the NSD of the rows forgives; NaN where no distances were measured.
    surface : {"voxels", "areas"} or None
        What a surface is in the distances of the rows; None where none were measured.
    files : mapping of str to (Path, Path)
        Prediction and reference of each case, where they are files.
    """

    rows: tuple[EvaluationRow, ...]
    problems: tuple[Problem, ...] = ()
    tolerance_mm: float = math.nan
    surface: Surface | None = None
    files: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)

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

    def summary(self, measure: Measure) -> dict[int, Summary]:
        """Return for each label how a measure is spread over the cases."""
        values: dict[int, dict[str, float]] = defaultdict(dict)
        for row in self.rows:
            values[row.label][row.case] = getattr(row, measure)
        return {label: summarise(measure, of_cases) for label, of_cases in values.items()}

    def names(self) -> dict[int, str]:
        """Return the name of each label."""
        return {row.label: row.name for row in reversed(self.rows)}

    def save_csv(self, path: str | Path) -> None:
        """Write the rows with a header; what is not defined is left empty, and what is infinite is ``inf``.

        Raises
        ------
        WriteError
            The file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_COLUMNS, "nsd_tolerance_mm", "surface"])
        how = ("", "") if self.surface is None else (f"{self.tolerance_mm:g}", self.surface)
        for row in self.rows:
            writer.writerow([*(_written(getattr(row, name), digits) for name, digits in _COLUMNS.values()), *how])
        write_text(path, text.getvalue())


#: Of the CSV: what a column is called, which value of a row is in it, and how that is written.
_COLUMNS = {
    "case": ("case", ""),
    "label": ("label", ""),
    "name": ("name", ""),
    "dice": ("dice", ".6f"),
    "iou": ("iou", ".6f"),
    "precision": ("precision", ".6f"),
    "recall": ("recall", ".6f"),
    "hd95_mm": ("hd95", ".6g"),
    "hausdorff_mm": ("hausdorff", ".6g"),
    "assd_mm": ("assd", ".6g"),
    "nsd": ("nsd", ".6f"),
    "reference_ml": ("reference_ml", ".6g"),
    "prediction_ml": ("prediction_ml", ".6g"),
    "volume_error": ("volume_error", ".6f"),
    "tp": ("tp", ""),
    "fn": ("fn", ""),
    "fp": ("fp", ""),
}


def _written(value: object, digits: str) -> str:
    return "" if isinstance(value, float) and math.isnan(value) else format(value, digits)


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
