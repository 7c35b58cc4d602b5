"""What the intensities of an image are, and which of them are black and white at first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLED_VOXELS = 200_000
_GLANCED_EDGE = 128


def glance_at(array: Any) -> NDArray[np.generic]:
    """Return some of the voxels of an array ``(..., z, y, x)``: enough to know its intensities, and quick also from the disk."""
    if not isinstance(array, np.ndarray):  # lazy: every voxel that is skipped would be read all the same
        middle = [slice(max(0, (n - _GLANCED_EDGE) // 2), (n + _GLANCED_EDGE) // 2 + 1) for n in array.shape[-3:]]
        array = np.asarray(array[(*(0,) * (array.ndim - 3), *middle)])
    step = max(1, round((array.size / _SAMPLED_VOXELS) ** (1 / 3)))
    sample: NDArray[np.generic] = array[(..., *(slice(None, None, step),) * min(array.ndim, 3))]
    return sample


def contrast_limits(array: NDArray[np.generic], shares: tuple[float, float] = (0.5, 99.5)) -> tuple[float, float]:
    """Return grey values for black and white: percentiles of the tissue, so that neither one hot voxel nor the air decides.

    Parameters
    ----------
    array : array of shape (..., z, y, x)
        An image.
    shares : tuple of float
        Which percentiles.
    """
    values = glance_at(array).astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, shares)
    tissue = values[values > low]
    if tissue.size:  # mostly air: 99.5 % of all voxels would still be dark
        high = np.percentile(tissue, shares[1])
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def is_hu(array: NDArray[np.generic], modality: str) -> bool:
    """Return whether intensities are HU.

    Of a CT they are, unless nothing lies below water: then the scanner's raw numbers were exported. Where the file does not say
    what it is, air around -1000 tells: nothing else is measured in such numbers.
    """
    values = glance_at(array).astype(np.float64)
    if modality:
        return modality == "CT" and bool(values.min() < 0)
    low, high = values.min(), values.max()
    return bool(-10000 < low <= -500 and high >= 100 and ((values > -1100) & (values < -150)).mean() > 0.01)
