"""The doctor: what is wrong with a data set, how bad it is, and what can be done about it."""

from napari_seg3d.datasets.doctor.facts import CaseFacts
from napari_seg3d.datasets.doctor.findings import REMEDIES, Finding, Group, Remedy, RemedyKind, grouped
from napari_seg3d.datasets.doctor.page import save_page
from napari_seg3d.datasets.doctor.remedies import apply_remedies
from napari_seg3d.datasets.doctor.report import Report
from napari_seg3d.datasets.doctor.run import check_dataset
from napari_seg3d.datasets.doctor.statistics import Spread, Statistics, statistics

__all__ = [
    "REMEDIES",
    "CaseFacts",
    "Finding",
    "Group",
    "Remedy",
    "RemedyKind",
    "Report",
    "Spread",
    "Statistics",
    "apply_remedies",
    "check_dataset",
    "grouped",
    "save_page",
    "statistics",
]
