"""What a quick model sees of each voxel: its brightness at several scales, edges, texture, and what a network thinks of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.side_by_side import side_by_side

Picture = NDArray[np.float32]

#: Standard deviations of the smoothings, in sides of the shortest voxel.
SCALES = (1.0, 2.0, 4.0)
#: How many features there are, and in how many steps they are made.
FEATURES = 10
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
        Called after each of the :data:`FEATURES` steps; what it raises ends the others.

    Returns
    -------
    array (features, ...)
        The image; smoothed at :data:`SCALES`; the differences of neighbouring scales (a Laplacian); the length of the gradient at the
        first two, and the standard deviation at the second one.
    """
    features = np.empty((FEATURES, *image.shape), np.float32)
    picture, one, two, four, fine, middle, coarse, first, second, texture = features
    picture[...] = image
    np.nan_to_num(picture, copy=False)
    np.multiply(picture, picture, out=texture)
    smoothed = [partial(_smooth, picture, out, sigma, spacing) for out, sigma in zip((one, two, four), SCALES, strict=True)]
    side_by_side([*smoothed, partial(_smooth, texture, texture, SCALES[1], spacing)], done)
    side_by_side(
        [
            partial(_steepness, one, first, spacing),
            partial(_steepness, two, second, spacing),
            partial(_spread, texture, two),
            *(partial(np.subtract, *pair) for pair in ((picture, one, fine), (one, two, middle), (two, four, coarse))),
        ],
        done,
    )
    return features


def _smooth(picture: Picture, out: Picture, scale: float, spacing: Sequence[float]) -> None:
    from scipy import ndimage

    ndimage.gaussian_filter(picture, _sigmas(scale, spacing), output=out, truncate=_REACH, mode="nearest")


def _sigmas(scale: float, spacing: Sequence[float]) -> list[float]:
    """Return standard deviations in voxels; none along axes whose voxels are longer than what is looked at."""
    shortest = min(spacing)
    sigmas = [scale * shortest / float(side) for side in spacing]
    return [sigma if sigma > 0.3 else 0.0 for sigma in sigmas]


def _steepness(smooth: Picture, out: Picture, spacing: Sequence[float]) -> None:
    """Write the length of the gradient: central differences, one-sided at the ends."""
    out[...] = 0
    for axis, side in enumerate(spacing):
        picture, total = np.moveaxis(smooth, axis, 0), np.moveaxis(out, axis, 0)
        if len(picture) < 2:
            continue
        for after, before, where, mm in (
            (slice(2, None), slice(None, -2), slice(1, -1), 2 * side),
            (slice(1, 2), slice(0, 1), slice(0, 1), side),
            (slice(-1, None), slice(-2, -1), slice(-1, None), side),
        ):
            slope = picture[after] - picture[before]
            slope /= np.float32(mm)
            slope *= slope
            total[where] += slope
    np.sqrt(out, out=out)


def _spread(texture: Picture, smooth: Picture) -> None:
    """Make a standard deviation of the smoothed squares, in place."""
    texture -= smooth * smooth
    np.maximum(texture, 0, out=texture)
    np.sqrt(texture, out=texture)
