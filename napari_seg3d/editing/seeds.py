"""Grow from seeds: a few strokes of each label, which compete for everything that lies between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.boxes import Steps, box_of_labels, check_image, check_spacing, grown_box, is_label, reach_of
from napari_seg3d.editing.change import Box, Change, box_around, check_label
from napari_seg3d.editing.geodesics import OPEN, WALL, Seeds, nearest_seeds
from napari_seg3d.editing.limits import ANYTHING, Limits, touchable
from napari_seg3d.errors import ConfigError

# In sides of the shortest voxel: how far around a voxel the labels are counted, and how far the image is smoothed for its brightness.
_VOTES, _NOISE = 1.0, 0.5
# A label whose brightness does not fit at all still has this part of its votes: scans are brighter at one end than at the other.
_DOUBT = 0.5
# Brightness of few strokes varies less than that of what they stand for; by so many mean steps from voxel to voxel.
_WIDTH = 0.3


def seeds_of(mask: NDArray[np.integer], background: int | None = None) -> NDArray[np.int64]:
    """Return the seeds that are painted in a mask.

    Parameters
    ----------
    mask : array of integers
        Labels that were painted; 0 is not painted.
    background : int, optional
        The label that was painted for the background.

    Returns
    -------
    array of int64
        A label where one was painted, 0 for the background, -1 elsewhere.
    """
    seeds = mask.astype(np.int64)
    seeds[mask == 0] = OPEN
    if background is not None:
        seeds[is_label(mask, background)] = 0
    return seeds


def grow_from_seeds(
    mask: NDArray[np.integer],
    seeds: NDArray[np.integer],
    image: NDArray[np.generic],
    spacing: Sequence[float],
    *,
    margin: float = 5.0,
    box: Box | None = None,
    limits: Limits = ANYTHING,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Change:
    """Give each voxel in the box of some seeds the label of the seed that reaches it first.

    Labels grow along shortest ways, which are long where the image changes (`geodesics.nearest_seeds`). Then each voxel takes the label
    that most voxels around it have, weighed by how well its brightness fits the seeds of that label. Seeds stay as they were painted. When
    strokes were added, call it again: it takes a second or two, and depends on nothing but the seeds.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions. Labels of which there are no seeds stay, and nothing grows through them.
    seeds : array of integers
        Of the shape of the mask: a label where one was painted, 0 where background was, below 0 elsewhere (`seeds_of`).
    image : array
        Of the shape of the mask.
    spacing : sequence of float
        The mm of each axis.
    margin : float
        mm around the seeds that are filled, too.
    box : tuple of slice, optional
        What is filled instead.
    limits : Limits
        Voxels that may not be touched stay, and nothing grows through them; locked labels do not grow.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each step.

    Raises
    ------
    ConfigError
        There are seeds of fewer than two labels.
    GeometryError, LabelError
        Seeds, image or spacing do not fit the mask.
    Cancelled
        `cancelled` said so.
    """
    check_spacing(mask, spacing)
    check_image(mask, image)
    check_image(mask, seeds)
    steps = Steps(3, progress, cancelled)
    around = box_around(seeds >= 0)
    if around is None:
        raise ConfigError("There are no seeds.", "Paint a stroke of each label, and one of the background.")
    box = grown_box(around, reach_of(margin, spacing), mask.shape) if box is None else box
    values = mask[box].copy()
    painted = np.where(seeds[box] >= 0, seeds[box], OPEN).astype(np.int64)
    labels = [int(label) for label in np.unique(painted) if label != OPEN]
    if len(labels) < 2:
        raise ConfigError(
            f"There are seeds of {len(labels)} label{'' if len(labels) == 1 else 's'} only.",
            "Paint a stroke of another label, or of the background, so that there is something to compete with.",
        )
    for label in labels:
        check_label(mask, label)
    # A label of which nothing was painted is none of those that compete.
    own = np.isin(values, np.array([0, *labels]).astype(mask.dtype))
    walls = ~(touchable(mask, limits, box) & own) | np.isin(painted, sorted(limits.locked - {0}))
    if 0 in limits.locked:
        walls |= painted == 0
    painted[walls] = WALL
    picture = np.nan_to_num(np.asarray(image[box], np.float32))
    steps.done()
    grown = nearest_seeds(painted, picture, spacing)
    steps.done()
    voted = _voted(grown, painted, picture, spacing)
    steps.done()
    taken = voted >= 0
    values[taken] = voted[taken].astype(mask.dtype)
    return Change(box, values)


def _voted(grown: Seeds, seeds: Seeds, image: NDArray[np.float32], spacing: Sequence[float]) -> Seeds:
    """Return for each voxel that was grown the label that fits best to what lies around it and to how bright it is."""
    from scipy import ndimage

    shortest = min(spacing)
    smooth = ndimage.gaussian_filter(image, [_NOISE * shortest / side for side in spacing])
    width = _WIDTH * float(
        np.mean([np.abs(np.diff(image, axis=axis)).mean() for axis in range(image.ndim) if image.shape[axis] > 1])
    )
    labels = [int(label) for label in np.unique(grown) if label >= 0]
    looks = {}
    for label in labels:
        bright = smooth[seeds == label]
        if bright.size:
            looks[label] = float(bright.mean()), float(bright.std()) + width + 1e-6
    sigmas = [_VOTES * shortest / side for side in spacing]
    reach = [int(np.ceil(4 * sigma)) + 1 for sigma in sigmas]
    boxes = {label: grown_box(box, reach, grown.shape) for label in labels if (box := box_of_labels(grown, [label])) is not None}
    # The best fit of all labels that have a vote in a voxel; how well another fits is measured by it.
    best = np.full(grown.shape, -np.inf, np.float32)
    for label, box in boxes.items():
        votes = _votes(grown, label, box, sigmas)
        np.maximum(best[box], np.where(votes > 0, _fit(smooth[box], looks.get(label)), -np.inf), out=best[box])
    most = np.zeros(grown.shape, np.float32)
    result = grown.copy()
    for label, box in boxes.items():
        votes = _votes(grown, label, box, sigmas)
        votes *= np.exp(np.minimum(_fit(smooth[box], looks.get(label)) - best[box], 0)) + np.float32(_DOUBT)
        wins = (votes > most[box]) & (grown[box] >= 0)
        most[box][wins] = votes[wins]
        result[box][wins] = label
    return np.where(seeds >= 0, seeds, result)


def _votes(grown: Seeds, label: int, box: Box, sigmas: Sequence[float]) -> NDArray[np.float32]:
    from scipy import ndimage

    votes: NDArray[np.float32] = ndimage.gaussian_filter((grown[box] == label).astype(np.float32), sigmas, truncate=4.0)
    votes[votes < 1e-6] = 0
    return votes


def _fit(smooth: NDArray[np.float32], look: tuple[float, float] | None) -> NDArray[np.float32]:
    """Return the logarithm of how probable a brightness is for a label, but for a constant."""
    if look is None:
        return np.zeros_like(smooth)
    mean, width = look
    fit: NDArray[np.float32] = -0.5 * ((smooth - np.float32(mean)) / np.float32(width)) ** 2 - np.float32(np.log(width))
    return fit
