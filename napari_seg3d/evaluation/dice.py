"""The Dice coefficient, on whole volumes, label by label."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.evaluation.counts import count_labels


def dice(prediction: NDArray[np.generic], reference: NDArray[np.generic]) -> float:
    """Return the Dice coefficient ``2 |A and B| / (|A| + |B|)`` of two masks of one shape; not zero counts as inside.

    Returns
    -------
    float
        1 for equal masks, 0 for masks without a common voxel (one of them empty, too), and NaN when both are empty: there was
        nothing to find and nothing was found, which is no measure of an overlap.

    Raises
    ------
    GeometryError
        The shapes differ.
    """
    return dice_per_label(prediction != 0, reference != 0, [1])[1]


def dice_per_label(prediction: NDArray[np.generic], reference: NDArray[np.generic], labels: Iterable[int]) -> dict[int, float]:
    """Return the Dice coefficient of each label, as :func:`dice` defines it.

    Parameters
    ----------
    prediction, reference : arrays of one shape
        Label values.
    labels : iterable of int
        Which to compare; a label in neither array gives NaN and is left out of means.

    Raises
    ------
    GeometryError
        The shapes differ.
    """
    return {label: found.dice for label, found in count_labels(prediction, reference, labels).items()}
