"""What is measured of a mask for the worklist: volumes, Dice, one number for the uncertainty, and whether a volume is odd."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_seg3d.evaluation import count_labels
from napari_seg3d.review.events import Json
from napari_seg3d.volumes import Volume

# Entropy is high where a label ends: this far around what was predicted it is looked at, too.
_AROUND_MM = 4.0
# Where nothing was predicted: this share of the scan, where the model was the least sure that there is nothing.
_UNSUREST = 0.001
# Fewer other cases do not say what is usual.
_FEWEST = 4
# The median absolute deviation of a normal distribution is this many of its standard deviations.
_MAD = 0.6745


@dataclass(frozen=True)
class Measures:
    """What was measured of the mask of a case.

    Parameters
    ----------
    volumes : dict of int to float
        Label value -> ml.
    dice : dict of int to float
        Label value -> Dice with the reference; NaN where the label is in neither, empty without a reference.
    uncertainty : float
        0 to 1; NaN where nobody knows it.
    """

    volumes: Mapping[int, float] = field(default_factory=dict)
    dice: Mapping[int, float] = field(default_factory=dict)
    uncertainty: float = math.nan

    @property
    def mean_dice(self) -> float:
        """Over the labels that are in one of the masks; NaN where there are none."""
        known = [value for value in self.dice.values() if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan

    def to_json(self) -> dict[str, Json]:
        """Return it as plain values; NaN, which JSON has not, is None."""
        return {
            "volumes": {str(label): round(value, 4) for label, value in self.volumes.items()},
            "dice": {str(label): _or_none(value) for label, value in self.dice.items()},
            "uncertainty": _or_none(self.uncertainty),
        }

    @classmethod
    def from_json(cls, value: Json) -> Self | None:
        """Return what `to_json` returned, None where it is something else."""
        if not isinstance(value, Mapping):
            return None
        try:
            volumes = {int(label): _number(ml) for label, ml in _mapping(value.get("volumes")).items()}
            dice = {int(label): _number(one) for label, one in _mapping(value.get("dice")).items()}
            return cls(volumes, dice, _number(value.get("uncertainty")))
        except (TypeError, ValueError):
            return None


def measure(
    mask: Volume, reference: Volume | None = None, uncertainty: Volume | None = None, labels: Iterable[int] | None = None
) -> Measures:
    """Measure a mask.

    Parameters
    ----------
    mask : Volume
        Labels; overlapping ones with a channel each.
    reference : Volume, optional
        The truth, on the same grid.
    uncertainty : Volume, optional
        Entropy from 0 to 1 in the first channel, on the same grid.
    labels : iterable of int, optional
        Which labels there are; left out, those that the masks hold.

    Raises
    ------
    GeometryError
        The arrays have different shapes.
    """
    wanted = set(labels or ()) or _values(mask) | (_values(reference) if reference is not None else set())
    ml = mask.grid.voxel_volume / 1000
    if reference is not None and len(mask.data) == len(reference.data) == 1:
        found = count_labels(mask.data, reference.data, sorted(wanted))
        volumes = {label: one.prediction * ml for label, one in found.items()}
        dice = {label: one.dice for label, one in found.items()}
    else:
        volumes = {label: int(_layer(mask, label).sum()) * ml for label in sorted(wanted)}
        dice = {}
        if reference is not None:
            layers = {label: (_layer(mask, label), _layer(reference, label)) for label in sorted(wanted)}
            dice = {label: count_labels(one, other, [1])[1].dice for label, (one, other) in layers.items()}
    unsure = math.nan
    if uncertainty is not None:
        unsure = uncertainty_of(uncertainty.data[0], (mask.data != 0).any(axis=0), mask.grid.spacing)
    return Measures(volumes, dice, unsure)


def uncertainty_of(entropy: NDArray[np.floating], marked: NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    """Return how unsure a model is of a case: the mean entropy in and near what it found.

    Most of a scan is background that no model doubts; a mean over all of it would only tell small organs from large scans. Where
    nothing was found, the least sure thousandth of the scan counts.

    Parameters
    ----------
    entropy : array (I, J, K)
        0 to 1.
    marked : array of bool (I, J, K)
        What was predicted to be any label.
    spacing : tuple of float
        mm along each axis.

    Returns
    -------
    float
        NaN where the map holds no number.
    """
    where = marked
    if not marked.any():
        known = entropy[np.isfinite(entropy)]
        if not known.size:
            return math.nan
        count = max(1, round(_UNSUREST * known.size))
        return float(np.partition(known, known.size - count)[-count:].mean())
    reach = [max(1, round(_AROUND_MM / step)) for step in spacing]
    box = tuple(
        slice(max(0, part.start - more), part.stop + more)
        for part, more in zip(ndimage.find_objects(marked.astype(np.uint8))[0], reach, strict=True)
    )
    # A box-shaped neighbourhood is a maximum along one axis after the other, which is quick however far it reaches.
    near = where[box].view(np.uint8)
    for axis, more in enumerate(reach):
        near = ndimage.maximum_filter1d(near, 2 * more + 1, axis=axis, mode="constant")
    values = entropy[box][near != 0]
    values = values[np.isfinite(values)]
    return float(values.mean(dtype=np.float64)) if values.size else math.nan


def oddness(volumes: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """Return how unusual the volumes of each case are among the others.

    Parameters
    ----------
    volumes : mapping of str to mapping of int to float
        Case -> label value -> ml.

    Returns
    -------
    dict of str to float
        The largest deviation over the labels from the median of the *other* cases, in robust standard deviations (Iglewicz and
        Hoaglin's modified z-score, 1993); above 3.5 they call it an outlier. NaN where fewer than four others have that label
        measured; infinite where the others all agree and this one does not.
    """
    table: dict[int, dict[str, float]] = {}
    for case, by_label in volumes.items():
        for label, ml in by_label.items():
            if not math.isnan(ml):
                table.setdefault(label, {})[case] = ml
    odd = dict.fromkeys(volumes, math.nan)
    for column in table.values():
        if len(column) <= _FEWEST:
            continue
        for case, score in zip(column, _deviations(np.array(list(column.values()))), strict=True):
            odd[case] = float(score) if math.isnan(odd[case]) else max(odd[case], float(score))
    return odd


def _deviations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each value lies from the median of the others, in their robust standard deviations."""
    middles = _medians_of_others(values)
    away = np.abs(values - middles)
    spread = np.empty_like(values)
    for middle in np.unique(middles):  # one of three: leaving a value out moves a median by a place at most
        here, distances = middles == middle, np.abs(values - middle)
        spread[here] = _medians_of_others(distances)[here] / _MAD
        # More than half of the others may be the same, such as 0.
        means = 1.2533 * (distances.sum() - distances) / (len(values) - 1)
        spread[here & (spread == 0)] = means[here & (spread == 0)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(away <= 1e-9 * np.maximum(1.0, np.abs(middles)), 0.0, away / spread)


def _medians_of_others(values: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(values)
    rising = values[order]
    ranks = np.empty(len(values), np.intp)
    ranks[order] = np.arange(len(values))
    low, high = (len(values) - 2) // 2, (len(values) - 1) // 2  # of the others
    medians: NDArray[np.float64] = (rising[low + (ranks <= low)] + rising[high + (ranks <= high)]) / 2
    return medians


def _values(mask: Volume) -> set[int]:
    return {int(value) for value in np.unique(mask.data)} - {0}


def _layer(mask: Volume, label: int) -> NDArray[np.bool_]:
    layer: NDArray[np.bool_] = (mask.data == label).any(axis=0)
    return layer


def _or_none(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _number(value: Json) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return float(value)


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}
