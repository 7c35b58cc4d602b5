"""Grow from seeds: a few strokes of each label, which compete for everything that lies between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.boxes import check_image, check_spacing, grown_box, is_any, is_label, reach_of
from napari_seg3d.editing.change import Box, Change, box_around, check_label
from napari_seg3d.editing.geodesics import OPEN, WALL, nearest_seeds
from napari_seg3d.editing.limits import ANYTHING, Limits, touchable
from napari_seg3d.errors import ConfigError


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

    Labels grow along shortest ways, which are long where the image changes, and where it begins to look like another label's seeds
    (`geodesics.nearest_seeds`). Seeds stay as they were painted. When strokes were added, call it again: it takes a second or two, and
    depends on nothing but the seeds.

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
        Told (done, total) after each step; asked some times a second.

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
    around = box_around(seeds >= 0)
    if around is None:
        raise ConfigError("There are no seeds.", "Paint a stroke of each label, and one of the background.")
    box = grown_box(around, reach_of(margin, spacing), mask.shape) if box is None else box
    values = mask[box].copy()
    drawn = seeds[box]
    labels = np.unique(drawn[drawn >= 0])
    if len(labels) < 2:
        raise ConfigError(
            f"There are seeds of {len(labels)} label{'' if len(labels) == 1 else 's'} only.",
            "Paint a stroke of another label, or of the background, so that there is something to compete with.",
        )
    for label in labels.tolist():
        check_label(mask, label)
    # By their places in the list from here on.
    painted = np.full(drawn.shape, OPEN, np.int16)
    painted[drawn >= 0] = np.searchsorted(labels, drawn[drawn >= 0])
    # A label of which nothing was painted is none of those that compete.
    walls = ~touchable(mask, limits, box)
    labelled = values != 0
    walls[labelled] |= ~is_any(values[labelled], labels.tolist())
    for place in np.flatnonzero(np.isin(labels, sorted(limits.locked))):
        walls |= painted == place
    painted[walls] = WALL
    picture = np.nan_to_num(np.asarray(image[box], np.float32))
    grown = nearest_seeds(painted, picture, spacing, progress, cancelled)
    taken = grown >= 0
    values[taken] = labels.astype(mask.dtype)[grown[taken]]
    return Change(box, values)
