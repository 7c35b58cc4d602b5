"""One click: the region of one value or of like intensities around it, and the outline at the level of the image there.

Of level tracing and geodesic refinement the first is here: it answers within milliseconds with something that a person can predict (what is
brighter than here and hangs together), where growing from seeds does already what geodesic distances do, with several labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.balls import ball, dilated, eroded
from napari_seg3d.editing.boxes import (
    box_around_place,
    check_image,
    check_place,
    check_spacing,
    is_label,
    reach_of,
    voxel_ml,
    without_axis,
)
from napari_seg3d.editing.change import Box, Change, box_around, no_change, paint, whole
from napari_seg3d.editing.pieces import enclosed
from napari_seg3d.errors import ConfigError

#: Which side of an outline is the object.
Side = Literal["auto", "bright", "dark"]
# How many voxels around a click are looked at first; twice as many, wherever the region goes on.
_FIRST_REACH = 24


def flood_fill(
    mask: NDArray[np.integer],
    place: Sequence[float],
    spacing: Sequence[float],
    label: int,
    *,
    across: int | None = None,
    most_ml: float = 500.0,
) -> Change:
    """Give the connected region of one value around a voxel a label.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    place : sequence of float
        The voxel that was clicked. What has its value and hangs together with it by faces is the region.
    spacing : sequence of float
        The mm of each axis.
    label : int
        What the region becomes.
    across : int, optional
        Fill in the slice across this axis alone.
    most_ml : float
        The largest region that is filled, so that a gap in an outline does not fill the whole scan.

    Raises
    ------
    GeometryError
        The click lies outside.
    ConfigError
        The region is larger than `most_ml`.
    """
    check_spacing(mask, spacing)
    voxel = check_place(mask, place)
    value = mask[voxel]
    limit = _slice_of(mask, voxel, across)
    most = most_ml / voxel_ml(spacing)
    found = _spread(lambda box: mask[box] == value, voxel, limit, most)
    if found is None:
        raise ConfigError(
            f"The region around the click is larger than {most_ml:g} ml.",
            "Close the gap in its outline, or allow a larger region.",
        )
    return paint(mask, *found, label)


def grow_region(
    mask: NDArray[np.integer],
    image: NDArray[np.integer | np.floating],
    place: Sequence[float],
    spacing: Sequence[float],
    label: int,
    *,
    tolerance: float = 50.0,
    intensities: tuple[float, float] | None = None,
    radius_mm: float = 30.0,
    neck_mm: float = 0.0,
    across: int | None = None,
    over_others: bool = False,
) -> Change:
    """Paint the connected voxels around a click whose intensity is like that of the clicked one.

    Parameters
    ----------
    mask, place, spacing, label, across
        As for `flood_fill`.
    image : array
        The image under the mask, of its shape.
    tolerance : float
        How far an intensity may be from that of the clicked voxel, in the unit of the image.
    intensities : (float, float), optional
        A range instead, both ends included.
    radius_mm : float
        How far from the click the region reaches at most.
    neck_mm : float
        Passages narrower than this are no way out: where the region would leak through one, it stops there. 0 lets it through everywhere.
    over_others : bool
        Whether other labels are painted over; without, they are walls.

    Raises
    ------
    GeometryError
        The click lies outside, or the image has another shape.
    ConfigError
        The range ends before it begins.
    """
    check_spacing(mask, spacing)
    check_image(mask, image)
    voxel = check_place(mask, place)
    value = float(image[voxel])
    low, high = intensities if intensities is not None else (value - tolerance, value + tolerance)
    if not low <= high:
        raise ConfigError(f"The range of intensities from {low:g} to {high:g} is empty.", "Give the smaller number first.")
    scale = without_axis(spacing, across)
    reach = reach_of(radius_mm, scale)
    box = box_around_place(voxel, reach, mask.shape)
    # The ball around the click, as much of it as lies in the mask.
    cut = tuple(
        slice(side.start - at + voxels, side.stop - at + voxels) for side, at, voxels in zip(box, voxel, reach, strict=True)
    )
    part = image[box]
    where = (part >= low) & (part <= high) & ball(radius_mm, scale)[cut]
    if not over_others:
        where &= (mask[box] == 0) | is_label(mask[box], label)
    seed = tuple(at - side.start for at, side in zip(voxel, box, strict=True))
    grown = _piece_at(where, seed) if neck_mm <= 0 else _through_necks(where, seed, neck_mm / 2, scale)
    return no_change(mask) if grown is None else paint(mask, box, grown, label)


def trace_level(
    mask: NDArray[np.integer],
    image: NDArray[np.integer | np.floating],
    place: Sequence[float],
    label: int,
    *,
    across: int | None = None,
    side: Side = "auto",
    over_others: bool = False,
) -> Change:
    """Paint what the outline at the intensity of the clicked place encloses in its slice: a click on an edge takes the object.

    The intensity is interpolated between the pixels, as it is seen: edges lie between them. The object is what hangs together by faces with
    the brightest of these pixels and is at least as bright as the place, or with the darkest and at most as bright, with the holes in it.
    The same idea as 3D Slicer's level tracing.

    Parameters
    ----------
    mask, image, place, label, over_others
        As for `grow_region`.
    across : int, optional
        The slice is the one across this axis; needed in three dimensions.
    side : {"auto", "bright", "dark"}
        Whether the object is the bright or the dark side of the outline; auto takes the one that does not reach the edge of the slice and,
        of two such, the smaller.

    Raises
    ------
    GeometryError
        The click lies outside, or the image has another shape.
    ConfigError
        No axis is given in three dimensions.
    """
    check_image(mask, image)
    voxel = check_place(mask, place)
    if mask.ndim == 3 and across is None:
        raise ConfigError("An outline lies in a slice, and no axis across it is given.", "Give the axis.")
    box = _slice_of(mask, voxel, across)
    axis = () if across is None else (across,)
    pixels = image[box].squeeze(axis)
    level, brightest, darkest = _level_at(pixels, [float(at) for one, at in enumerate(place) if one != across])
    found = []
    for name, seed, candidates in (("bright", brightest, pixels >= level), ("dark", darkest, pixels <= level)):
        if side not in ("auto", name):
            continue
        piece = _piece_at(candidates, seed)
        if piece is not None:
            filled = piece | enclosed(piece)
            at_edge = any(np.moveaxis(filled, one, 0)[[0, -1]].any() for one in range(2))
            found.append((at_edge, int(filled.sum()), filled))
    if not found:
        return no_change(mask)  # the pixel is no number
    where = np.expand_dims(min(found, key=lambda one: one[:2])[2], axis)
    if not over_others:
        where &= (mask[box] == 0) | is_label(mask[box], label)
    return paint(mask, box, where, label)


def _level_at(
    pixels: NDArray[np.integer | np.floating], place: Sequence[float]
) -> tuple[float, tuple[int, ...], tuple[int, ...]]:
    """Return the intensity at a place between pixels, and the brightest and the darkest of those; NaN where one of them is no number."""
    inside = np.clip(place, 0, np.array(pixels.shape) - 1)
    first = np.floor(inside).astype(int)
    share = inside - first
    shares = {tuple(first + step): float(np.where(step, share, 1 - share).prod()) for step in np.ndindex(2, 2)}
    around = {pixel: float(pixels[pixel]) for pixel, weight in shares.items() if weight > 0}
    low, high = min(around, key=around.__getitem__), max(around, key=around.__getitem__)
    level = sum(shares[pixel] * value for pixel, value in around.items())
    return float(np.clip(level, around[low], around[high])), high, low  # a sum may be rounded beyond what all of them are


def _slice_of(mask: NDArray[np.integer], voxel: tuple[int, ...], across: int | None) -> Box:
    return tuple(
        slice(at, at + 1) if axis == across else side for axis, (side, at) in enumerate(zip(whole(mask), voxel, strict=True))
    )


def _spread(
    looks: Callable[[Box], NDArray[np.bool_]], voxel: tuple[int, ...], limit: Box, most: float
) -> tuple[Box, NDArray[np.bool_]] | None:
    """Return the connected region of a voxel within `limit`, in a box that grows where the region does; None where it has too many voxels."""
    box = tuple(
        slice(max(at - _FIRST_REACH, side.start), min(at + _FIRST_REACH + 1, side.stop))
        for at, side in zip(voxel, limit, strict=True)
    )
    while True:
        piece = _piece_at(looks(box), tuple(at - side.start for at, side in zip(voxel, box, strict=True)))
        if piece is None or np.count_nonzero(piece) > most:
            return None
        larger = []
        for axis, (side, end) in enumerate(zip(box, limit, strict=True)):
            first, last = (bool(piece[(slice(None),) * axis + (at,)].any()) for at in (0, -1))
            step = side.stop - side.start
            larger.append(
                slice(
                    max(side.start - step, end.start) if first else side.start,
                    min(side.stop + step, end.stop) if last else side.stop,
                )
            )
        if tuple(larger) == box:
            return box, piece
        box = tuple(larger)


def _piece_at(where: NDArray[np.bool_], voxel: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Return the voxels that hang together by faces with one; None where that is not set itself."""
    from scipy import ndimage

    if not where[voxel]:
        return None
    pieces, _ = ndimage.label(where)
    piece: NDArray[np.bool_] = pieces == pieces[voxel]
    return piece


def _through_necks(
    where: NDArray[np.bool_], voxel: tuple[int, ...], radius: float, spacing: Sequence[float]
) -> NDArray[np.bool_] | None:
    """Return the part of a region that a ball can reach which starts at a voxel and stays within the region."""
    if not where[voxel]:
        return None
    core = eroded(where, radius, spacing)
    if not core[voxel]:
        # Near the wall: the ball starts at the nearest place that has room for it.
        near = box_around_place(voxel, reach_of(radius, spacing), where.shape)
        places = np.argwhere(core[near])
        if not len(places):
            return _piece_at(where, voxel)
        off = (places + [side.start for side in near] - np.array(voxel)) * np.where(np.isinf(spacing), 0, spacing)
        voxel = tuple(int(at) for at in places[int(np.argmin((off**2).sum(axis=1)))] + [side.start for side in near])
    piece = _piece_at(core, voxel)
    if piece is None:
        return None
    tight = box_around(piece)
    if tight is None:
        return None
    grown = np.zeros_like(where)
    around = tuple(
        slice(max(side.start - voxels, 0), min(side.stop + voxels, size))
        for side, voxels, size in zip(tight, reach_of(radius, spacing), where.shape, strict=True)
    )
    grown[around] = dilated(piece[around], radius, spacing) & where[around]
    return grown
