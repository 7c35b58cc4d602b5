"""How many voxels of each label were found, missed and too much; everything else that is said about a mask follows from these."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError

#: In a target or reference: nobody knows what this voxel is. It counts neither in a loss nor in a metric.
UNKNOWN = 255


@dataclass(frozen=True)
class Counts:
    """Voxels of one label; those of several cases may be added up.

    Parameters
    ----------
    tp, fp, fn : int
        True positives (found), false positives (too much) and false negatives (missed).
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def reference(self) -> int:
        """Voxels of the label in the reference."""
        return self.tp + self.fn

    @property
    def prediction(self) -> int:
        """Voxels of the label in the prediction."""
        return self.tp + self.fp

    @property
    def dice(self) -> float:
        """``2 TP / (2 TP + FP + FN)``; NaN when the label is in neither mask, which is no measure of an overlap."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """Intersection over union (Jaccard), ``TP / (TP + FP + FN)``; NaN when the label is in neither mask."""
        return _share(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """Share of what was predicted that is right; 0 when nothing was found of what is there, NaN when the label is in neither mask."""
        return 0.0 if self.reference and not self.prediction else _share(self.tp, self.prediction)

    @property
    def recall(self) -> float:
        """Share of what is there that was found; NaN when nothing is there."""
        return _share(self.tp, self.reference)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: of one case its Dice, of added cases the Dice of all their voxels together."""
        return self.dice

    @property
    def shares(self) -> dict[str, float]:
        """``tp``, ``fn`` and ``fp`` in percent of the voxels of the label in the reference; NaN when it has none."""
        return {name: 100 * _share(getattr(self, name), self.reference) for name in ("tp", "fn", "fp")}


def counts(prediction: NDArray[np.integer], reference: NDArray[np.integer], labels: int) -> list[Counts]:
    """Compare class indices, label by label.

    Parameters
    ----------
    prediction, reference : arrays of one shape (T, ...)
        Exclusive labels: T = 1, 0 is the background and 1 to `labels` are the labels. Overlapping ones: T = `labels`, and 1 is the
        label of its channel. Voxels that are :data:`UNKNOWN` in the reference are left out.
    labels : int
        How many there are.

    Returns
    -------
    list of Counts
        One for each label.

    Raises
    ------
    GeometryError
        The shapes differ.
    """
    check_shapes(prediction, reference)
    if len(reference) == labels:
        pairs = zip(prediction, reference, strict=True)
        return [count_labels(predicted, wanted, [1], UNKNOWN)[1] for predicted, wanted in pairs]
    return list(count_labels(prediction, reference, range(1, labels + 1), UNKNOWN).values())


def count_labels(
    prediction: NDArray[np.generic], reference: NDArray[np.generic], labels: Iterable[int], unknown: int | None = None
) -> dict[int, Counts]:
    """Compare masks, label by label.

    Parameters
    ----------
    prediction, reference : arrays of one shape
        Label values; 0 is the background.
    labels : iterable of int
        Which to compare.
    unknown : int, optional
        The value in the reference of voxels to be left out.

    Raises
    ------
    GeometryError
        The shapes differ.
    """
    check_shapes(prediction, reference)
    # Most of a scan is background in both and counts for nothing: look at the rest only, however many labels there are.
    seen = (prediction != 0) | (reference != 0)
    if unknown is not None:
        seen &= reference != unknown
    predicted, wanted = prediction[seen], reference[seen]
    result = {}
    for label in labels:
        found, there = predicted == label, wanted == label
        tp = int(np.count_nonzero(found & there))
        result[int(label)] = Counts(tp, int(np.count_nonzero(found)) - tp, int(np.count_nonzero(there)) - tp)
    return result


def check_shapes(prediction: NDArray[np.generic], reference: NDArray[np.generic]) -> None:
    """Raise a GeometryError when two masks have different shapes."""
    if prediction.shape != reference.shape:
        raise GeometryError(
            f"The prediction has {_sizes(prediction.shape)} voxels, the reference {_sizes(reference.shape)}.",
            "Bring the prediction onto the grid of the reference (nearest neighbour) before comparing them.",
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(str(length) for length in shape)
