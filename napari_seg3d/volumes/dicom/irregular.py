"""Tilted or unevenly spaced slices on a regular, rectangular grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, GeometryError
from napari_seg3d.volumes.dicom.planes import Plane, Spread
from napari_seg3d.volumes.grid import FloatArray

Floats = NDArray[np.float32]
#: A grid that needs more than this many times the voxels of the slices is no sensible volume.
_MOST_GROWTH = 8


def resample_slices(
    data: NDArray[np.generic],
    plane: Plane,
    spread: Spread,
    positions: FloatArray,
    is_cancelled: Callable[[], bool] | None = None,
) -> tuple[NDArray[np.generic], FloatArray]:
    """Bring slices that lie anywhere along their normal onto a rectangular grid.

    The grid has the directions of the slices and their pixel size. Its slices are the median gap apart, stretched or shrunk so
    that the first and the last fall on true slices: the smallest gap may be an accident of two scans that nearly meet (1 mm
    among gaps of 7), and would only multiply voxels that nobody measured. Within a slice, values are moved by its true position
    (linear, below a pixel). Between slices they are interpolated linearly in two directions, along the normal and along the line
    on which the slices lie; where these disagree, the one counts along which the two slices are more alike, so that neither an
    edge upright in the patient nor one upright on the slices turns into steps.

    Parameters
    ----------
    data : array of shape (C, I, J, K)
        The slices, ascending along the normal.
    plane, spread, positions
        Where they lie.

    Returns
    -------
    data : array of shape (C, I', J', K')
        Of the same type; the smallest value where there was no slice.
    affine : array of shape (4, 4)
        Its grid, in RAS+ mm.
    """
    coordinates = plane.coordinates(positions)
    pixel = np.array(plane.spacing)
    places, corners = spread.places, coordinates[:, :2]
    depth = max(1, round(float(places[-1] - places[0]) / spread.gap)) + 1
    gap = float(places[-1] - places[0]) / (depth - 1)
    lowest = corners.min(axis=0)
    size = np.array(data.shape[1:3]) + np.ceil((corners.max(axis=0) - lowest) / pixel - 1e-3).astype(int)
    shape = (int(size[0]), int(size[1]), depth)
    if np.prod(shape, dtype=float) > _MOST_GROWTH * np.prod(data.shape[1:], dtype=float):
        raise GeometryError(
            f"The {len(places)} slices lie too far apart to be resampled ({shape[0]}x{shape[1]}x{depth} voxels would be needed).",
            "Export the series again with all of its slices.",
        )
    # One slice after the other in memory, as everywhere in this room.
    found = np.empty((data.shape[0], depth, shape[1], shape[0]), data.dtype)
    starts = (lowest - corners) / pixel  # pixel of each slice that lies on the first pixel of the grid
    for channel in range(data.shape[0]):
        air = data[channel].min()
        for k in range(depth):
            if is_cancelled is not None and is_cancelled():
                raise Cancelled("Reading was cancelled.")
            values = _between(data[channel], starts, places, min(places[0] + k * gap, places[-1]), shape[:2])
            values[np.isnan(values)] = air
            found[channel, k] = np.rint(values).T if data.dtype.kind in "iu" else values.T
    origin = plane.axes @ np.array([*lowest, places[0]])
    return np.transpose(found, (0, 3, 2, 1)), plane.affine(origin, gap)


def _between(data: NDArray[np.generic], starts: FloatArray, places: FloatArray, place: float, shape: tuple[int, int]) -> Floats:
    """Return the values ``(I', J')`` at a place along the normal, from the true slices on both sides; NaN outside of them."""
    above = int(np.clip(np.searchsorted(places, place), 1, len(places) - 1))
    below = above - 1
    share = float((place - places[below]) / (places[above] - places[below]))
    if share < 1e-4 or share > 1 - 1e-4:
        k = below if share < 0.5 else above
        return _shifted(data[:, :, k], starts[k], shape)
    slide = starts[above] - starts[below]

    def along(direction: FloatArray) -> tuple[Floats, Floats]:
        first = _shifted(data[:, :, below], starts[below] + share * direction, shape)
        second = _shifted(data[:, :, above], starts[above] - (1 - share) * direction, shape)
        return (1 - share) * first + share * second, np.abs(second - first)

    upright, upright_difference = along(np.zeros(2))
    if np.abs(slide).max() < 1e-3:
        return upright
    slanted, slanted_difference = along(slide)
    total = upright_difference + slanted_difference
    with np.errstate(invalid="ignore", divide="ignore"):
        mixed = np.where(total > 0, (slanted_difference * upright + upright_difference * slanted) / total, upright)
    mixed = np.where(np.isnan(slanted), upright, mixed)
    return np.where(np.isnan(upright), slanted, mixed).astype(np.float32)


def _shifted(plane: NDArray[np.generic], start: FloatArray, shape: tuple[int, int]) -> Floats:
    """Return ``shape`` pixels of a slice ``(I, J)`` from a fractional pixel on, linearly interpolated; NaN outside."""
    found = plane.astype(np.float32)
    for axis in range(2):
        length = found.shape[axis]
        where = np.round(start[axis] + np.arange(shape[axis]), 4)
        lower = np.clip(np.floor(where).astype(int), 0, max(length - 2, 0))
        share = np.expand_dims((where - lower).astype(np.float32), 1 - axis)
        first = found.take(lower, axis)
        found = first + share * (found.take(np.minimum(lower + 1, length - 1), axis) - first)
        outside = (where < 0) | (where > length - 1)
        if axis == 0:
            found[outside] = np.nan
        else:
            found[:, outside] = np.nan
    return found
