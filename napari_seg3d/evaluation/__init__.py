"""How well predicted masks agree with reference masks, per case and label: overlaps, distances in mm, volumes in ml; CSV and page."""

from napari_seg3d.evaluation.counts import UNKNOWN, Counts, count_labels, counts
from napari_seg3d.evaluation.dice import dice, dice_per_label
from napari_seg3d.evaluation.files import evaluate_files
from napari_seg3d.evaluation.measure import measure_masks, worst_slice
from napari_seg3d.evaluation.page import save_page
from napari_seg3d.evaluation.pictures import Picture, draw_slice, draw_worst
from napari_seg3d.evaluation.report import Evaluation, EvaluationRow, Metric, mean_dice
from napari_seg3d.evaluation.summary import Measure, Summary
from napari_seg3d.evaluation.surfaces import Surface, SurfaceDistances, surface_distances

__all__ = [
    "UNKNOWN",
    "Counts",
    "Evaluation",
    "EvaluationRow",
    "Measure",
    "Metric",
    "Picture",
    "Summary",
    "Surface",
    "SurfaceDistances",
    "count_labels",
    "counts",
    "dice",
    "dice_per_label",
    "draw_slice",
    "draw_worst",
    "evaluate_files",
    "mean_dice",
    "measure_masks",
    "save_page",
    "surface_distances",
    "worst_slice",
]
