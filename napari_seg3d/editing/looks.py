"""What labels look like: how bright their strokes are, and which of them a voxel is most like."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

# No more voxels of a label, or of an image, are looked at to learn how bright it is, or how much it changes.
_MOST = 20_000
# Brightness of few strokes varies less than that of what they stand for; by so many mean steps from voxel to voxel.
_WIDTH = 0.2
# The median of the absolute value of noise, and by how much noise grows in second differences.
_MEDIAN, _SECOND = 0.6745, 6**0.5


class Brightness:
    """The brightness of single voxels of an image, without its noise.

    Each is the mean of the voxels around it where these differ by no more than noise does, and what it was where they differ by much more
    (J.-S. Lee, Digital image enhancement and noise filtering by use of local statistics, 1980).

    Parameters
    ----------
    image : array of float32
        In two or three dimensions; with a rim of one voxel, which is not counted.
    spacing : sequence of float
        The mm of each axis. Voxels along axes in which they are long are not neighbours.
    """

    def __init__(self, image: Values, spacing: Sequence[float]) -> None:
        inside = image[(slice(1, -1),) * image.ndim]
        # Squares of large numbers would drown what they differ by.
        self._middle = np.float32(inside.mean(dtype=np.float64))
        self._values = image.ravel()
        self._around = [
            int(np.dot(step, np.array(image.strides) // image.itemsize))
            for step in itertools.product(*((-1, 0, 1) if side < 1.8 * min(spacing) else (0,) for side in spacing))
        ]
        self._noise = np.float32(_differences(inside, 2, np.median) / _MEDIAN / _SECOND)
        #: How much the image changes from voxel to voxel on average.
        self.change = _differences(inside, 1, np.mean)

    def __call__(self, voxels: NDArray[np.integer]) -> Values:
        """Return the brightness of voxels, given as numbers in the raveled image with its rim."""
        total, squares = np.zeros(len(voxels), np.float32), np.zeros(len(voxels), np.float32)
        for step in self._around:
            value = self._values[voxels + step] - self._middle
            total += value
            squares += value * value
        mean = total / len(self._around)
        variance = np.maximum(squares / len(self._around) - mean * mean, 0)
        noise = self._noise**2
        kept = np.maximum(variance - noise, 0) / np.maximum(variance, noise + np.float32(1e-12))
        values: Values = mean + kept * (self._values[voxels] - self._middle - mean)
        return values


class Looks:
    """How bright each label is.

    Parameters
    ----------
    strokes : array of int16
        In the shape of the image with its rim: labels from 0; below 0 where nothing was painted.
    count : int
        How many labels there are.
    brightness : Brightness
        Of the image.
    """

    def __init__(self, strokes: NDArray[np.int16], count: int, brightness: Brightness) -> None:
        self.count = count
        painted = np.flatnonzero(strokes.ravel() >= 0)
        labels = strokes.ravel()[painted]
        self._means, self._widths = np.zeros(count, np.float32), np.full(count, np.nan, np.float32)
        for label in range(count):
            own = painted[labels == label]
            if own.size:
                values = brightness(own[:: -(-own.size // _MOST)])
                self._means[label] = values.mean()
                self._widths[label] = values.std() + _WIDTH * brightness.change + 1e-6

    def fits(self, values: Values) -> Values:
        """Return ``(labels, n)``: the logarithm of how probable a brightness is for a label, but for a constant; -inf without strokes."""
        widths = self._widths[:, np.newaxis]
        fits: Values = -0.5 * ((values - self._means[:, np.newaxis]) / widths) ** 2 - np.log(widths)
        fits[np.isnan(self._widths)] = -np.inf
        return fits

    def shares(self, values: Values) -> Values:
        """Return ``(labels, n)``: how probable each label is by a brightness alone."""
        fits = self.fits(values)
        shares: Values = np.exp(fits - fits.max(axis=0), out=fits)
        shares /= shares.sum(axis=0)
        return shares


def _differences(image: Values, order: int, middle: object) -> float:
    """Return the mean or median of the absolute differences along all axes, of lines that are taken here and there."""
    found = []
    for axis in range(image.ndim):
        step = max(int((image.size / _MOST / 10) ** (1 / max(image.ndim - 1, 1))), 1)
        lines = image[tuple(slice(None) if other == axis else slice(None, None, step) for other in range(image.ndim))]
        found.append(np.abs(np.diff(lines, order, axis=axis)).ravel())
    differences = np.concatenate(found)
    return float(middle(differences)) if differences.size else 0.0  # type: ignore[operator]
