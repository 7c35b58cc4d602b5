"""Polygons to labels, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_seg3d.editing.change import Box, Change, no_change, paint
from napari_seg3d.errors import ConfigError, GeometryError


def fill_polygon(
    mask: NDArray[np.integer],
    vertices: ArrayLike,
    label: int,
    *,
    across: int | None = None,
    index: int | None = None,
    over_others: bool = True,
) -> Change:
    """Give the pixels inside a polygon a label; label 0 erases them.

    A pixel is inside when a ray from its centre crosses the outline an odd number of times (even-odd), so an outline that crosses itself
    leaves what it encloses twice alone. A centre on the outline belongs to the polygon on its lower left (smaller row, smaller column)
    sides and not on the others, so that of two polygons with a common edge each pixel is in exactly one.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    vertices : array of shape (n, 2)
        Corners in pixels along the two axes of the slice, in the order of the mask's axes; the last is joined to the first.
    label : int
        What is painted.
    across, index : int, optional
        Three dimensions: the slice is number `index` across this axis.
    over_others : bool
        Whether other labels are painted over.

    Raises
    ------
    GeometryError
        The vertices are no corners in a plane, or the slice does not exist.
    ConfigError
        No slice is given in three dimensions.
    """
    corners = np.asarray(vertices, np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        raise GeometryError(f"A polygon of the shape {corners.shape} has no corners in a plane.", "Give two numbers for each.")
    if mask.ndim == 3 and (across is None or index is None):
        raise ConfigError("A polygon lies in a slice, and none is given.", "Give the axis across the slice, and its number.")
    sides = [size for axis, size in enumerate(mask.shape) if axis != across or mask.ndim == 2]
    inside = _inside(corners, sides)
    if inside is None:
        return no_change(mask)
    box, where = inside
    if mask.ndim == 3 and across is not None and index is not None:
        if not 0 <= index < mask.shape[across]:
            raise GeometryError(f"There is no slice {index} of {mask.shape[across]}.", "Choose a slice of the scan.")
        box = (*box[:across], slice(index, index + 1), *box[across:])
        where = np.expand_dims(where, across)
    return paint(mask, box, where if over_others else where & (mask[box] == 0), label)


def _inside(corners: NDArray[np.float64], sides: Sequence[int]) -> tuple[Box, NDArray[np.bool_]] | None:
    """Return the pixels inside a polygon, in a box; None where it has none in the slice."""
    if len(corners) < 3:
        return None
    start = np.clip(np.floor(corners.min(axis=0)), 0, sides).astype(int)
    stop = np.clip(np.floor(corners.max(axis=0)) + 1, 0, sides).astype(int)
    rows, columns = (stop - start).tolist()
    if rows <= 0 or columns <= 0:
        return None
    # Each edge turns over the pixels on its right in every row that it crosses; what is turned an odd number of times is inside.
    turned = np.zeros((rows, columns + 1), np.int64)
    for first, last in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        low, high = (first, last) if first[0] <= last[0] else (last, first)
        crossed = np.arange(max(int(np.ceil(low[0])), start[0]), min(int(np.ceil(high[0])), stop[0]))
        if crossed.size:
            columns_ = np.clip(_first_right_of(low, high, crossed) - start[1], 0, columns)
            turned[crossed - start[0], columns_] += 1
    where = (np.cumsum(turned, axis=1)[:, :-1] % 2).astype(np.bool_)
    return tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True)), where


def _first_right_of(low: NDArray[np.float64], high: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, in each row, the first pixel whose centre does not lie left of a line; `low` has the smaller row."""
    height, width = high[0] - low[0], high[1] - low[1]
    off = (rows - low[0]) * width

    def is_right(columns: NDArray[np.int64]) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = (columns - low[1]) * height >= off
        return right

    # The division is not exact, where a line passes through the centre of a pixel; the product of its sides is.
    found = np.ceil(low[1] + off / height).astype(np.int64)
    found = np.where(is_right(found - 1), found - 1, found)
    first: NDArray[np.int64] = np.where(is_right(found), found, found + 1)
    return first
