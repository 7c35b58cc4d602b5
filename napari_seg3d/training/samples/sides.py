"""Who trains and who validates in a run; a test set does neither."""

from __future__ import annotations

import math
from collections.abc import Callable

from napari_seg3d.datasets import (
    Report,
    Split,
    frozen_beside,
    make_split,
    mark_of,
    presence_of,
    refuse_same_scans,
    refuse_test_cases,
    sides,
)
from napari_seg3d.training.config import DataConfig


def choose_sides(
    wishes: DataConfig,
    report: Report,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Split:
    """Return who trains, who validates and who is held back, by the data set or else by the config.

    A single subject does both (see `judges_itself`).

    Parameters
    ----------
    wishes : DataConfig
        What the run asks for.
    report : Report
        Of the check.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, a scan is compared with a frozen test set.

    Raises
    ------
    DatasetError
        There are too few subjects, a subject would be broken apart, or a case of a test set would train or validate: by its id, its
        subject, or what its scan holds.
    Cancelled
        `cancelled` returned True.
    """
    dataset = report.dataset
    split = dataset.split
    if judges_itself(report):
        ids = tuple(sorted(case.id for case in report.sound))
        return Split(train=ids, validation=ids)
    if split is None or not split.sets or wishes.split != "auto":
        split = make_split(
            report.sound,
            "fraction" if wishes.split == "auto" else wishes.split,
            validation=wishes.validation,
            folds=wishes.folds,
            stride=wishes.stride,
            seed=wishes.split_seed,
            presence=presence_of(report.facts),
            kept=split,
        )
    chosen = sides(split, dataset.cases, report.sound, wishes.fold)
    marks = {
        case: mark_of((facts.channels, *facts.grid.canonical().shape), facts.minimum, facts.maximum)
        for case, facts in report.facts.items()
        if math.isfinite(facts.minimum)  # otherwise its voxels were not read
    }
    refuse_test_cases(split, chosen, dataset.cases, marks, progress, cancelled)
    # The same folder opened without its dataset.yaml, such as its images and its masks one by one.
    used = [case for case in report.sound if case.id in {*chosen.train, *chosen.validation}]
    for file, frozen in frozen_beside(used, dataset.file):
        refuse_same_scans(frozen.test_content, used, str(file), marks, progress, cancelled)
    return chosen


def judges_itself(report: Report) -> bool:
    """Return whether there is one subject only, which then trains and is judged by: a few painted slices of one scan are a beginning.

    Its Dice tells that the network learns, and nothing about other scans. Where a data set says who validates or is held back, that holds.
    """
    split = report.dataset.split
    said = split is not None and bool(split.sets or split.test)
    return not said and len({case.subject for case in report.sound}) == 1
