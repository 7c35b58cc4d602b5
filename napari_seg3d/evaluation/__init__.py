"""How well predicted masks agree with reference masks: Dice, precision and recall per case and label, and the volumes in ml."""

from napari_seg3d.evaluation.counts import UNKNOWN, Counts, count_labels, counts
from napari_seg3d.evaluation.dice import dice, dice_per_label
from napari_seg3d.evaluation.files import evaluate_files
from napari_seg3d.evaluation.report import Evaluation, EvaluationRow, Metric, mean_dice

__all__ = [
    "UNKNOWN",
    "Counts",
    "Evaluation",
    "EvaluationRow",
    "Metric",
    "count_labels",
    "counts",
    "dice",
    "dice_per_label",
    "evaluate_files",
    "mean_dice",
]
