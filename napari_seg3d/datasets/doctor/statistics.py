"""Medians, ranges and outliers over the cases of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_seg3d.datasets.doctor.facts import CaseFacts

_MAD = 1.4826  # makes the median deviation of a normal distribution its standard deviation
_FAR = 8.0  # standard deviations
_FEWEST = 8  # values, before one can lie outside


@dataclass(frozen=True)
class Spread:
    """How a number is distributed over the cases.

    Parameters
    ----------
    median, low, high : float
        Median, smallest and largest value.
    outliers : tuple of str
        Cases that lie far outside the others.
    """

    median: float
    low: float
    high: float
    outliers: tuple[str, ...] = ()


def spread(values: Mapping[str, float], factor: float = 1.0) -> Spread:
    """Return the spread of a number by case.

    Parameters
    ----------
    values : mapping of str to float
        By case.
    factor : float
        What an outlier must be larger or smaller by than the median, so that a tiny difference among equal ones is none.
    """
    finite = {case: value for case, value in values.items() if np.isfinite(value)}
    if not finite:
        return Spread(np.nan, np.nan, np.nan)
    numbers = np.array(list(finite.values()))
    median = float(np.median(numbers))
    width = _MAD * float(np.median(np.abs(numbers - median)))
    outliers = [
        case
        for case, value in finite.items()
        if len(numbers) >= _FEWEST and abs(value - median) > _FAR * width and not median / factor <= value <= median * factor
    ]
    return Spread(median, float(numbers.min()), float(numbers.max()), tuple(outliers))


@dataclass(frozen=True)
class Statistics:
    """The grids and intensities of a data set.

    Parameters
    ----------
    spacing, shape : tuple of three Spread
        To the right, anterior and superior: voxel edges in mm, and numbers of voxels.
    low, high : Spread
        1st and 99th percentile of the intensities.
    """

    spacing: tuple[Spread, Spread, Spread]
    shape: tuple[Spread, Spread, Spread]
    low: Spread
    high: Spread


def statistics(facts: Mapping[str, CaseFacts]) -> Statistics:
    """Return the statistics of cases, whatever order their voxels are stored in."""
    grids = {case: fact.grid.canonical() for case, fact in facts.items()}
    return Statistics(
        spacing=_three([spread({case: grid.spacing[axis] for case, grid in grids.items()}, 1.5) for axis in range(3)]),
        shape=_three([spread({case: grid.shape[axis] for case, grid in grids.items()}, 3.0) for axis in range(3)]),
        low=spread({case: fact.low for case, fact in facts.items()}),
        high=spread({case: fact.high for case, fact in facts.items()}),
    )


def _three(spreads: Sequence[Spread]) -> tuple[Spread, Spread, Spread]:
    right, anterior, superior = spreads
    return right, anterior, superior
