"""Brushes: spheres in millimetres along a stroke, or discs in one slice, that paint what they are told to and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_seg3d.editing.boxes import HAIR, check_image, check_spacing, is_any, is_label, reach_of, without_axis
from napari_seg3d.editing.change import Box, Change, joined, no_change, paint
from napari_seg3d.errors import ConfigError, GeometryError

# A median absolute deviation times this is the standard deviation of a normal distribution.
_TO_DEVIATION = 1.4826


def stroke(
    shape: Sequence[int], centres: ArrayLike, radius_mm: float, spacing: Sequence[float], across: int | None = None
) -> tuple[Box, NDArray[np.bool_]] | None:
    """Return the voxels under a brush that is drawn along a line.

    Parameters
    ----------
    shape : sequence of int
        Of the mask.
    centres : array of shape (n, d) or (d,)
        Where the brush was, one after the other, in voxels of the mask; between voxels, and outside, too. From one to the next it is drawn
        in a straight line.
    radius_mm : float
        Voxels whose centres lie at most so far from that line are under it; those that hold a centre always are.
    spacing : sequence of float
        The mm of each axis.
    across : int, optional
        Draw a disc, in the slice across this axis in which the stroke begins, and not a ball.

    Returns
    -------
    box, where
        The voxels under the brush, in their box; None where there are none in the mask.

    Raises
    ------
    GeometryError
        The centres have not as many coordinates as the mask has axes.
    """
    places = np.atleast_2d(np.asarray(centres, np.float64))
    if places.ndim != 2 or places.shape[1] != len(shape) or not len(places) or not np.isfinite(places).all():
        raise GeometryError(
            f"A stroke of the shape {places.shape} does not fit a mask with {len(shape)} axes.", "Give one place after the other."
        )
    if across is not None:
        places = places.copy()
        places[:, across] = np.rint(places[0, across])
    scale = np.array(without_axis(spacing, across))
    reach = reach_of(radius_mm, scale.tolist())
    parts = []
    for first, last in _parts(places, np.where(np.isinf(scale), 0, scale), radius_mm):
        box = _box_between(first, last, reach, shape)
        if all(side.start < side.stop for side in box):
            parts.append((box, _near(box, first, last, radius_mm, scale)))
    if not parts:
        return None
    around = joined([box for box, _ in parts])
    where = np.zeros([side.stop - side.start for side in around], np.bool_)
    for box, near in parts:
        where[tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, around, strict=True))] |= near
    for place in np.rint(places).astype(np.int64):
        if all(side.start <= at < side.stop for at, side in zip(place, around, strict=True)):
            where[tuple(at - side.start for at, side in zip(place, around, strict=True))] = True
    return around, where


def brush(
    mask: NDArray[np.integer],
    centres: ArrayLike,
    radius_mm: float,
    spacing: Sequence[float],
    label: int,
    *,
    across: int | None = None,
    over_others: bool = True,
) -> Change:
    """Paint a label with a ball, or with a disc in one slice; label 0 erases.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    centres, radius_mm, spacing, across
        See `stroke`.
    label : int
        What is painted.
    over_others : bool
        Whether other labels are painted over. Without, only background is.
    """
    drawn = _drawn(mask, centres, radius_mm, spacing, across)
    if drawn is None:
        return no_change(mask)
    box, where = drawn
    return paint(mask, box, where if over_others else where & (mask[box] == 0), label)


def replace_brush(
    mask: NDArray[np.integer],
    centres: ArrayLike,
    radius_mm: float,
    spacing: Sequence[float],
    label: int,
    below: Collection[int],
    *,
    across: int | None = None,
) -> Change:
    """Paint a label only where one of the labels `below` lies; whatever else is under the brush stays.

    Parameters
    ----------
    mask, centres, radius_mm, spacing, label, across
        As for `brush`.
    below : collection of int
        The labels that are replaced.
    """
    drawn = _drawn(mask, centres, radius_mm, spacing, across)
    if drawn is None:
        return no_change(mask)
    box, where = drawn
    return paint(mask, box, where & is_any(mask[box], below), label)


def erase_brush(
    mask: NDArray[np.integer],
    centres: ArrayLike,
    radius_mm: float,
    spacing: Sequence[float],
    label: int,
    *,
    below: Collection[int] = (),
    across: int | None = None,
) -> Change:
    """Erase one label, or those of `below`, under a brush; whatever else is there stays.

    Parameters
    ----------
    mask, centres, radius_mm, spacing, across
        As for `brush`.
    label : int
        The label that is erased where `below` is empty.
    below : collection of int
        The labels that are erased.
    """
    return replace_brush(mask, centres, radius_mm, spacing, 0, below or (label,), across=across)


def threshold_brush(
    mask: NDArray[np.integer],
    image: NDArray[np.integer | np.floating],
    centres: ArrayLike,
    radius_mm: float,
    spacing: Sequence[float],
    label: int,
    intensities: tuple[float, float],
    *,
    across: int | None = None,
    over_others: bool = False,
    connected: bool = False,
) -> Change:
    """Paint a label only where the image has an intensity in a range, both ends included.

    Parameters
    ----------
    mask, centres, radius_mm, spacing, label, across
        As for `brush`.
    image : array
        The image under the mask, of its shape.
    intensities : (float, float)
        The range.
    over_others : bool
        Whether other labels are painted over.
    connected : bool
        Whether only voxels are painted that hang together, by faces, with one under the line of centres.

    Raises
    ------
    ConfigError
        The range ends before it begins.
    GeometryError
        The image has another shape.
    """
    check_image(mask, image)
    low, high = intensities
    if not low <= high:
        raise ConfigError(f"The range of intensities from {low} to {high} is empty.", "Give the smaller number first.")
    drawn = _drawn(mask, centres, radius_mm, spacing, across)
    if drawn is None:
        return no_change(mask)
    box, where = drawn
    where &= (image[box] >= low) & (image[box] <= high)
    if not over_others:
        where &= (mask[box] == 0) | is_label(mask[box], label)
    if connected:
        where = _reached(where, box, np.atleast_2d(np.asarray(centres, np.float64)), across)
    return paint(mask, box, where, label)


def adaptive_brush(
    mask: NDArray[np.integer],
    image: NDArray[np.integer | np.floating],
    centres: ArrayLike,
    radius_mm: float,
    spacing: Sequence[float],
    label: int,
    *,
    spread: float = 3.0,
    across: int | None = None,
    over_others: bool = False,
) -> Change:
    """Paint a label on what looks like the tissue under the first centre and hangs together with the stroke.

    The range of intensities is that of `range_under`, taken once, so that it does not wander off while one draws.

    Parameters
    ----------
    mask, image, centres, radius_mm, spacing, label, across, over_others
        As for `threshold_brush`.
    spread : float
        How far from the median under the centre an intensity may be, in standard deviations there.
    """
    check_image(mask, image)
    first = np.atleast_2d(np.asarray(centres, np.float64))[0]
    intensities = range_under(image, first, radius_mm, spacing, spread, across)
    if intensities is None:
        return no_change(mask)
    return threshold_brush(
        mask, image, centres, radius_mm, spacing, label, intensities, across=across, over_others=over_others, connected=True
    )


def range_under(
    image: NDArray[np.integer | np.floating],
    centre: ArrayLike,
    radius_mm: float,
    spacing: Sequence[float],
    spread: float = 3.0,
    across: int | None = None,
) -> tuple[float, float] | None:
    """Return the range of intensities of the tissue under the middle of a brush: median ± `spread` standard deviations.

    Looked at is the inner quarter of the brush (at least the voxel and its neighbours). The deviation is estimated from the median absolute
    deviation, so that a vessel in the corner does not widen it.

    Returns
    -------
    (float, float) or None
        None where the centre lies outside the image.
    """
    place = np.rint(np.asarray(centre, np.float64))
    if any(not 0 <= at < size for at, size in zip(place, image.shape, strict=True)):
        return None
    scale = without_axis(spacing, across)
    drawn = stroke(image.shape, place, max(radius_mm / 4, min(scale)), spacing, across)
    if drawn is None:
        return None
    box, where = drawn
    values = image[box][where].astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    median = float(np.median(values))
    width = spread * _TO_DEVIATION * float(np.median(np.abs(values - median)))
    return median - width, median + width


def _drawn(
    mask: NDArray[np.integer], centres: ArrayLike, radius_mm: float, spacing: Sequence[float], across: int | None
) -> tuple[Box, NDArray[np.bool_]] | None:
    check_spacing(mask, spacing)
    return stroke(mask.shape, centres, radius_mm, spacing, across)


def _parts(
    places: NDArray[np.float64], scale: NDArray[np.float64], radius: float
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the straight parts of a stroke, none much longer than the brush is wide: an oblique line has a large box."""
    if len(places) == 1:
        return [(places[0], places[0])]
    parts = []
    for first, last in pairwise(places):
        length = float(np.linalg.norm((last - first) * scale))
        pieces = max(1, int(np.ceil(length / max(4 * radius, 8 * scale.max(), 1e-6))))
        ends = [first + (last - first) * (number / pieces) for number in range(pieces)] + [last]
        parts += list(pairwise(ends))
    return parts


def _box_between(first: NDArray[np.float64], last: NDArray[np.float64], reach: Sequence[int], shape: Sequence[int]) -> Box:
    low, high = np.floor(np.minimum(first, last)), np.ceil(np.maximum(first, last))
    box = tuple(slice(int(start), int(stop) + 1) for start, stop in zip(low, high, strict=True))
    sides = [
        slice(min(max(side.start - voxels, 0), size), min(max(side.stop + voxels, 0), size))
        for side, voxels, size in zip(box, reach, shape, strict=True)
    ]
    return tuple(sides)


def _near(
    box: Box, first: NDArray[np.float64], last: NDArray[np.float64], radius: float, scale: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which voxels of a box lie at most `radius` mm from the line between two places."""
    # Along an axis of infinite spacing both places lie in the one slice that the box has.
    mm = np.where(np.isinf(scale), 0, scale)
    axes = np.ogrid[box]
    off = [(axis - start) * side for axis, start, side in zip(axes, first, mm, strict=True)]
    line = (last - first) * mm
    length = float((line**2).sum())
    along = sum(part * step for part, step in zip(off, line, strict=True)) / (length or 1.0)
    share = np.clip(along, 0, 1)
    squared = sum((part - share * step) ** 2 for part, step in zip(off, line, strict=True))
    near: NDArray[np.bool_] = np.sqrt(squared) <= radius * (1 + HAIR)
    return near


def _reached(where: NDArray[np.bool_], box: Box, centres: NDArray[np.float64], across: int | None) -> NDArray[np.bool_]:
    """Return the voxels that hang together by faces with one that the line of centres goes through."""
    from scipy import ndimage

    shape = [side.stop for side in box]
    line = stroke(shape, centres, 0.5, (1.0,) * len(shape), across)
    pieces, _ = ndimage.label(where)
    if line is None:
        return np.zeros_like(where)
    on, through = line
    inside = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(on, box, strict=True))
    touched = np.unique(pieces[inside][through])
    reached: NDArray[np.bool_] = np.isin(pieces, touched[touched > 0])
    return reached
