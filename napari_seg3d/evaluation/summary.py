"""How a measure is spread over the cases; what is infinite or not defined is counted, never dropped in silence."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Literal, NamedTuple

#: What a row says of one label of one case.
Measure = Literal["dice", "iou", "precision", "recall", "hd95", "hausdorff", "assd", "nsd", "volume_error"]

_DISTANCES = ("hd95", "hausdorff", "assd")


class Summary(NamedTuple):
    """A measure of one label over the cases.

    Parameters
    ----------
    mean, sd : float
        Mean and standard deviation (n - 1) of the finite values; NaN where there are none, the latter also of a single one.
    median : float
        Infinite values count, as the largest; NaN where nothing is defined.
    worst : float
        The lowest; of distances the largest, of the volume error the farthest from 0. NaN where nothing is defined.
    worst_case : str
        Where that was measured, the first case of several.
    finite, infinite, undefined : int
        In how many cases the measure is a number, infinite (distances of a label that only one mask holds), and not defined (the label
        is in neither mask).
    """

    mean: float
    sd: float
    median: float
    worst: float
    worst_case: str
    finite: int
    infinite: int
    undefined: int


def summarise(measure: Measure, values: Mapping[str, float]) -> Summary:
    """Return how the values of a measure, by case, are spread."""
    defined = {case: value for case, value in values.items() if not math.isnan(value)}
    finite = [value for value in defined.values() if math.isfinite(value)]
    worst_case = max(defined, key=lambda case: badness(measure, defined[case]), default="")
    return Summary(
        statistics.fmean(finite) if finite else math.nan,
        statistics.stdev(finite) if len(finite) > 1 else math.nan,
        _median(sorted(defined.values())),
        defined.get(worst_case, math.nan),
        worst_case,
        len(finite),
        len(defined) - len(finite),
        len(values) - len(defined),
    )


def badness(measure: Measure, value: float) -> float:
    """Return a number that is the larger, the worse a value of a measure is."""
    if measure in _DISTANCES:
        return value
    return abs(value) if measure == "volume_error" else -value


def _median(values: list[float]) -> float:
    if not values:
        return math.nan
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    return low if low == high else (low + high) / 2
