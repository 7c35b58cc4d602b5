"""Tools that go on from strokes of several labels, in one call: growing from seeds, and the quick model.

A dock that shows every further stroke at once keeps a `QuickModel` instead of calling `refine` again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.boxes import check_image, check_spacing, grown_box, is_label, reach_of
from napari_seg3d.editing.change import Change, box_around
from napari_seg3d.editing.limits import ANYTHING, Limits
from napari_seg3d.editing.quick_model import QuickModel
from napari_seg3d.editing.seeds import grow_from_seeds, seeds_of
from napari_seg3d.errors import ConfigError


def grow_strokes(
    mask: NDArray[np.integer],
    image: NDArray[np.integer | np.floating],
    spacing: Sequence[float],
    source: NDArray[np.integer] | None = None,
    *,
    background: int | None = None,
    margin_mm: float = 5.0,
    limits: Limits = ANYTHING,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Change:
    """Let the labels grow from their strokes until they meet; see `grow_from_seeds`.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    image : array
        The image under the mask, of its shape.
    spacing : sequence of float
        The mm of each axis.
    source : array of integers, optional
        The mask that holds the strokes, of the same shape; `mask` itself, if not given.
    background : int, optional
        The label with which background was painted. What has it in `mask` becomes background.
    margin_mm : float
        How far around the strokes is filled.
    limits, progress, cancelled
        As for `grow_from_seeds`, whose errors are raised, too.
    """
    strokes, mask = _strokes(mask, image, source, background)
    return grow_from_seeds(mask, strokes, image, spacing, margin=margin_mm, limits=limits, progress=progress, cancelled=cancelled)


def refine(
    mask: NDArray[np.integer],
    image: NDArray[np.integer | np.floating],
    spacing: Sequence[float],
    source: NDArray[np.integer] | None = None,
    *,
    background: int | None = None,
    margin_mm: float = 20.0,
    near: bool = True,
    limits: Limits = ANYTHING,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Change:
    """Teach a quick model what the strokes are, and fill what lies around them with it; see `QuickModel`.

    Parameters
    ----------
    mask, image, spacing, source, background, margin_mm, limits, progress, cancelled
        As for `grow_strokes`.
    near : bool
        Whether a label is likelier near its strokes.

    Raises
    ------
    ConfigError
        There are strokes of fewer than two labels.
    Cancelled
        `cancelled` said so.
    """
    check_spacing(mask, spacing)
    strokes, mask = _strokes(mask, image, source, background)
    around = box_around(strokes >= 0)
    if around is None:
        raise ConfigError("There are no strokes.", "Paint a stroke of each label, and one of the background.")
    box = grown_box(around, reach_of(margin_mm, spacing), mask.shape)
    model = QuickModel(image, spacing, near=near)
    # Learning is told as the first of five parts.
    model.learn(strokes, box, progress=_part(progress, 0, 1), cancelled=cancelled)
    return model.fill(mask, box, strokes, limits=limits, progress=_part(progress, 1, 4), cancelled=cancelled)


def _part(progress: Callable[[int, int], None] | None, before: int, parts: int) -> Callable[[int, int], None] | None:
    """Return what is told of some of five parts, of which so many are done before."""
    if progress is None:
        return None
    return lambda done, total: progress(before * total + parts * done, 5 * total)


def _strokes(
    mask: NDArray[np.integer], image: NDArray[np.generic], source: NDArray[np.integer] | None, background: int | None
) -> tuple[NDArray[np.int64], NDArray[np.integer]]:
    """Return what was painted, and the mask without the strokes of the background."""
    check_image(mask, image)
    if source is not None:
        check_image(mask, source)
    strokes = seeds_of(mask if source is None else source, background)
    if background is not None:
        mask = np.where(is_label(mask, background), mask.dtype.type(0), mask)
    return strokes, mask
