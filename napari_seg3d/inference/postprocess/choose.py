"""`choose_rules`: which rules help, by the cases that a model was validated on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.boxes import boxes_of
from napari_seg3d.editing.pieces import pieces_of
from napari_seg3d.errors import Cancelled
from napari_seg3d.evaluation import Counts, count_labels
from napari_seg3d.evaluation.counts import check_shapes
from napari_seg3d.inference.postprocess.apply import kept, least_voxels, postprocessed
from napari_seg3d.inference.postprocess.rules import Rule, Rules
from napari_seg3d.volumes import Volume

#: A prediction and the mask that it is compared with, on one grid. Voxels that are :data:`UNKNOWN` in the mask count for nothing.
Pair = tuple[Volume, Volume]
#: In a mask that predictions are compared with: nobody knows what this voxel is.
UNKNOWN = -1
#: A rule must raise the mean Dice by more than this.
LEAST_GAIN = 1e-4
# Of the smallest true piece. Sizes stay well below it: in the next patient it may be smaller, or be found in part.
_SHARES = (0.1, 0.25, 0.5)
# Percent of the true pieces that are smaller, of which half is tried: masks have specks of their own, which say nothing about sizes.
_PERCENTILES = (5, 10)


@dataclass(frozen=True)
class Effect:
    """What a rule does to a label, over the validation cases.

    Parameters
    ----------
    label : int
        Value in the mask.
    name : str
        Of the label.
    rule : Rule
        What was chosen; nothing, where nothing helps.
    before, after : float
        Mean Dice without and with it, over the cases in which the label is in the prediction or in the mask; NaN where there are none.
    cases : int
        In how many cases the label is in the prediction or in the mask.
    """

    label: int
    name: str
    rule: Rule
    before: float
    after: float
    cases: int


@dataclass(frozen=True)
class Choice:
    """What `choose_rules` found.

    Parameters
    ----------
    rules : Rules
        Those that help.
    effects : tuple of Effect
        One for each label, by rising value.
    """

    rules: Rules
    effects: tuple[Effect, ...]


def choose_rules(cases: Iterable[Pair], labels: Mapping[int, str], cancelled: Callable[[], bool] | None = None) -> Choice:
    """Return the rules that raise the mean Dice of their label over validation cases.

    Of each label, the pieces of all cases are measured first: from those, the Dice of keeping the largest one, and of dropping those below
    any size, follow without the volumes. Sizes that are tried come from the pieces in the masks. Filling holes is tried on top of the best
    of them. A rule is kept where the mean Dice rises by more than :data:`LEAST_GAIN`; of two that are as good, the first of: the largest
    piece, if no mask has a second one; smaller sizes; larger ones; the largest piece.

    Parameters
    ----------
    cases : iterable of (Volume, Volume)
        Prediction and mask of each case, label values in both (overlapping labels in a channel each, in one of them or both). They are gone
        through twice, one pair at a time; only those of an iterator, which can be gone through once, are all held.
    labels : mapping of int to str
        Value -> name of the labels to be judged.
    cancelled : callable, optional
        Asked before each case.

    Raises
    ------
    GeometryError
        A prediction and its mask have different shapes.
    Cancelled
        `cancelled` returned True.

    Notes
    -----
    What a label scores that is nowhere: see `evaluation.Counts.dice`. A case in which neither mask nor prediction holds the label counts for
    nothing, so that dropping what was found where nothing is raises the mean by the zero that it was.

    References
    ----------
    Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation", Nature Methods 18 (2021),
    which keeps the largest piece where that helps in cross-validation.
    """
    pairs = cases if iter(cases) is not cases else list(cases)
    measured: dict[int, list[_Case]] = {label: [] for label in sorted(labels)}
    for prediction, mask in _watched(pairs, cancelled):
        for label, case in _measured(prediction, mask, labels).items():
            measured[label].append(case)
    best = {label: _best(found) for label, found in measured.items()}
    tried = [Rules(labels=best), Rules(labels={label: _and_holes(rule) for label, rule in best.items()})]
    dice: list[dict[int, list[float]]] = [{label: [] for label in best} for _ in tried]
    for prediction, mask in _watched(pairs, cancelled):
        for rules, scores in zip(tried, dice, strict=True):
            for label, counts in _counted(postprocessed(prediction, rules, cancelled)[0], mask, labels).items():
                scores[label].append(counts.dice)
    effects = []
    for label, found in measured.items():
        without = [case.dice(Rule()) for case in found]
        plain, filled = (_mean(scores[label]) for scores in dice)
        fills = filled > plain + LEAST_GAIN
        rule = (tried[1] if fills else tried[0]).of(label)
        count = sum(not math.isnan(score) for score in without)
        effects.append(Effect(label, labels[label], rule, _mean(without), filled if fills else plain, count))
    kept_rules = {effect.label: effect.rule for effect in effects if not effect.rule.is_empty}
    return Choice(Rules(labels=kept_rules), tuple(effects))


@dataclass(frozen=True)
class _Case:
    """The pieces of a label in a case: all that its Dice depends on, whichever of them are dropped."""

    voxel_volume: float  # mm³
    true: NDArray[np.integer]  # voxels of each piece of the mask
    found: NDArray[np.integer]  # voxels of each piece of the prediction
    known: NDArray[np.integer]  # of these, the voxels that count
    right: NDArray[np.integer]  # of these, the voxels that are in the mask, too

    def dice(self, rule: Rule) -> float:
        stays = kept(self.found, least_voxels(rule, self.voxel_volume), rule.largest)
        tp = int(self.right[stays].sum())
        return Counts(tp, int(self.known[stays].sum()) - tp, int(self.true.sum()) - tp).dice


def _measured(prediction: Volume, mask: Volume, labels: Iterable[int]) -> dict[int, _Case]:
    check_shapes(prediction.data[0], mask.data[0])
    # Along R, A and S, as `postprocessed` does, so that of equal pieces the same one is the first.
    predicted, wanted = prediction.canonical().data, mask.canonical().data
    found, there = _places(predicted), _places(wanted)
    cases = {}
    for label in labels:
        none: NDArray[np.integer] = np.zeros(0, dtype=np.int64)
        sizes = known = right = none
        true = pieces_of(wanted[there[label]] == label)[1] if label in there else none
        if label in found:
            pieces, sizes = pieces_of(predicted[found[label]] == label)
            mask_there = wanted[(slice(None), *found[label][1:])]
            is_known = (mask_there != UNKNOWN).all(axis=0)
            known, right = (
                np.bincount(pieces[where], minlength=len(sizes) + 1)[1:]
                for where in (is_known, (mask_there == label).any(axis=0))
            )
        cases[label] = _Case(prediction.grid.voxel_volume, true, sizes, known, right)
    return cases


def _places(data: NDArray[np.generic]) -> dict[int, tuple[int, slice, slice, slice]]:
    """Return channel and box of each label."""
    places = {}
    for channel, array in enumerate(data):
        for value, (i, j, k) in boxes_of(array).items():
            if value > 0:
                places[value] = channel, i, j, k
    return places


def _best(cases: list[_Case]) -> Rule:
    """Return the rule about pieces with the highest mean Dice."""
    sizes = [Rule(smallest_ml=size) for size in _sizes(cases)]
    largest = Rule(largest=True)
    is_single = all(len(case.true) <= 1 for case in cases)
    best, score = Rule(), _mean(case.dice(Rule()) for case in cases)
    for rule in [largest, *sizes] if is_single else [*sizes, largest]:
        if (risen := _mean(case.dice(rule) for case in cases)) > score + LEAST_GAIN:
            best, score = rule, risen
    return best


def _sizes(cases: list[_Case]) -> list[float]:
    """Return the sizes in ml to be tried, rising, from the pieces of the masks."""
    true = [size * case.voxel_volume / 1000 for case in cases for size in case.true]
    if not true:
        return []
    candidates = [*(min(true) * share for share in _SHARES), *np.percentile(true, _PERCENTILES) / 2]
    return sorted({_short(size) for size in candidates})


def _short(size: float) -> float:
    """Return a number of three digits that is not larger: a piece of just that size must stay."""
    digit = 10.0 ** (math.floor(math.log10(size)) - 2)
    return float(f"{math.floor(size / digit + 1e-9) * digit:.3g}")


def _and_holes(rule: Rule) -> Rule:
    return rule.model_copy(update={"holes": "3D"})


def _counted(prediction: Volume, mask: Volume, labels: Iterable[int]) -> dict[int, Counts]:
    if len(prediction.data) == len(mask.data) == 1:
        return count_labels(prediction.data, mask.data, labels, UNKNOWN)
    unknown = (mask.data == UNKNOWN).any(axis=0)
    counts = {}
    for label in labels:
        wanted = np.where(unknown, UNKNOWN, (mask.data == label).any(axis=0))
        counts[label] = count_labels((prediction.data == label).any(axis=0), wanted, [1], UNKNOWN)[1]
    return counts


def _mean(scores: Iterable[float]) -> float:
    there = [score for score in scores if not math.isnan(score)]
    return sum(there) / len(there) if there else math.nan


def _watched(pairs: Iterable[Pair], cancelled: Callable[[], bool] | None) -> Iterator[Pair]:
    for pair in pairs:
        if cancelled is not None and cancelled():
            raise Cancelled("The choice of rules was cancelled.")
        yield pair
