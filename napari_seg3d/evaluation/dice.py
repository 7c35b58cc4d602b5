"""The Dice coefficient, on whole volumes, label by label."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError


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
    if prediction.shape != reference.shape:
        raise GeometryError(
            f"The prediction has {_sizes(prediction.shape)} voxels, the reference {_sizes(reference.shape)}.",
            "Bring the prediction onto the grid of the reference (nearest neighbour) before comparing them.",
        )
    result: dict[int, float] = {}
    for label in labels:
        predicted, wanted = prediction == label, reference == label
        total = int(np.count_nonzero(predicted)) + int(np.count_nonzero(wanted))
        common = int(np.count_nonzero(predicted & wanted))
        result[int(label)] = 2 * common / total if total else float("nan")
    return result


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(str(length) for length in shape)
