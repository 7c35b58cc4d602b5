"""What a quick model sees of each voxel: its brightness at several scales, edges, texture, and what a network thinks of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]

#: Standard deviations of the smoothings, in sides of the shortest voxel.
SCALES = (1.0, 2.0, 4.0)
#: How many filters that takes, one for each scale and for the texture, and the gradients at two scales.
FILTERS = len(SCALES) + 3
#: So many standard deviations around a voxel have a part in it.
_REACH = 3.0


def reach(spacing: Sequence[float]) -> tuple[int, ...]:
    """Return how many voxels around a box its features depend on."""
    return tuple(int(np.ceil(_REACH * sigma)) + 1 for sigma in _sigmas(SCALES[-1], spacing))


def local_features(image: NDArray[np.generic], spacing: Sequence[float], done: Callable[[], None] = lambda: None) -> Picture:
    """Return the features of each voxel of an image.

    Parameters
    ----------
    image : array
        In two or three dimensions.
    spacing : sequence of float
        The mm of each axis.
    done : callable, optional
        Called after each of :data:`FILTERS` filters; what it raises ends the others.

    Returns
    -------
    array (features, ...)
        The image; smoothed at :data:`SCALES`; the differences of neighbouring scales (a Laplacian); the length of the gradient at the
        first two, and the standard deviation at the second one.
    """
    picture = np.nan_to_num(np.asarray(image, np.float32))
    jobs: list[Callable[[], Picture]] = [lambda sigma=sigma: _smooth(picture, sigma, spacing) for sigma in SCALES]  # type: ignore[misc]
    jobs.append(lambda: _smooth(picture * picture, SCALES[1], spacing))
    threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1))  # scipy's filters let other threads run
    try:
        one, two, four, square = _each(threads.map(lambda job: job(), jobs), done)
        first, second = _each(threads.map(lambda smooth: _steepness(smooth, spacing), (one, two)), done)
    finally:
        threads.shutdown(cancel_futures=True)
    texture = np.sqrt(np.maximum(square - two * two, 0))
    return np.stack([picture, one, two, four, picture - one, one - two, two - four, first, second, texture])


def _each(pictures: Iterator[Picture], done: Callable[[], None]) -> Iterator[Picture]:
    for picture in pictures:
        yield picture
        done()


def _smooth(picture: Picture, scale: float, spacing: Sequence[float]) -> Picture:
    from scipy import ndimage

    smooth: Picture = ndimage.gaussian_filter(picture, _sigmas(scale, spacing), truncate=_REACH, mode="nearest")
    return smooth


def _sigmas(scale: float, spacing: Sequence[float]) -> list[float]:
    """Return standard deviations in voxels; none along axes whose voxels are longer than what is looked at."""
    shortest = min(spacing)
    sigmas = [scale * shortest / float(side) for side in spacing]
    return [sigma if sigma > 0.3 else 0.0 for sigma in sigmas]


def _steepness(smooth: Picture, spacing: Sequence[float]) -> Picture:
    total = np.zeros_like(smooth)
    for axis, side in enumerate(spacing):
        if smooth.shape[axis] > 1:
            total += np.gradient(smooth, np.float32(side), axis=axis) ** 2
    return np.sqrt(total)
