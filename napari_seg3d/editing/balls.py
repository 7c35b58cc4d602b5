"""Masks grown, shrunk, opened and closed by a ball in millimetres, exactly and quickly.

The distance of each voxel (a Euclidean distance transform) would do, but takes 4 s for the box of a liver where this takes a tenth of a
second. Here the ball is a bundle of lines along the last axis: the mask is stretched along it by each length once, packed eight voxels to a
byte, and added up at the places of all lines of that length, which are shifts of whole bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.boxes import HAIR, reach_of
from napari_seg3d.editing.delta import memory_order


def ball(radius: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Return the voxels whose centres lie at most `radius` mm from that of the middle one: odd along each axis."""
    reach = reach_of(radius, spacing)
    squares = [
        (np.arange(-voxels, voxels + 1) * (side if voxels else 0.0)) ** 2 for voxels, side in zip(reach, spacing, strict=True)
    ]
    distance = np.zeros((1,) * len(reach))
    for axis, along in enumerate(squares):
        distance = distance + np.expand_dims(along, tuple(other for other in range(len(reach)) if other != axis))
    near: NDArray[np.bool_] = np.sqrt(distance) <= radius * (1 + HAIR)
    return near


def dilated(mask: NDArray[np.bool_], radius: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Return every voxel that lies at most `radius` mm from one of the mask; around the array there is nothing.

    Parameters
    ----------
    mask : array of bool
        In two or three dimensions.
    radius : float
        In mm, from centre to centre of voxels.
    spacing : sequence of float
        The mm of each axis; an infinite one means that nothing grows along it.
    """
    if mask.ndim == 2:
        plane: NDArray[np.bool_] = dilated(mask[np.newaxis], radius, (np.inf, *spacing))[0]
        return plane
    axes = memory_order(mask)
    if axes != tuple(range(3)):
        # The lines of the ball run along the axis whose voxels lie side by side in memory: four times as fast.
        turned: NDArray[np.bool_] = dilated(mask.transpose(axes), radius, [spacing[axis] for axis in axes])
        return turned.transpose(np.argsort(axes))
    if not mask.size:
        return mask.copy()
    lines = ball(radius, spacing).sum(axis=2)
    middle = np.array(lines.shape) // 2
    bits = np.zeros((*mask.shape[:2], -(-mask.shape[2] // 8)), np.uint8)
    stretched = mask.copy()
    for half in range(lines.max() // 2 + 1):
        if half >= mask.shape[2]:
            break  # longer lines than the array: the last one has covered it
        if half:
            stretched[..., half:] |= mask[..., :-half]
            stretched[..., :-half] |= mask[..., half:]
        # The longest lines that fit stand for those that are longer still.
        longest = half == mask.shape[2] - 1
        places = np.argwhere(lines >= 2 * half + 1 if longest else lines == 2 * half + 1) - middle
        if len(places):
            packed = np.packbits(stretched, axis=2)
            for i, j in places.tolist():
                if abs(i) < mask.shape[0] and abs(j) < mask.shape[1]:
                    to, of = _moved(i, mask.shape[0]), _moved(-i, mask.shape[0])
                    to_, of_ = _moved(j, mask.shape[1]), _moved(-j, mask.shape[1])
                    bits[to, to_] |= packed[of, of_]
    return np.unpackbits(bits, axis=2, count=mask.shape[2]).view(np.bool_)


def eroded(mask: NDArray[np.bool_], radius: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Return the voxels of a mask with no other voxel within `radius` mm; what lies around the array takes nothing away."""
    return ~dilated(~mask, radius, spacing)


def opened(mask: NDArray[np.bool_], radius: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Return the voxels of a mask that a ball within it covers: spurs and bridges thinner than the ball are gone."""
    return dilated(eroded(mask, radius, spacing), radius, spacing) & mask


def closed(mask: NDArray[np.bool_], radius: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Return a mask with the gaps that a ball outside it cannot enter; around the array there is nothing."""
    reach = reach_of(radius, spacing)
    inside = tuple(slice(voxels + 1, -(voxels + 1)) for voxels in reach)
    grown = dilated(np.pad(mask, [(voxels + 1,) * 2 for voxels in reach]), radius, spacing)
    return ~dilated(~grown, radius, spacing)[inside] | mask


def _moved(steps: int, voxels: int) -> slice:
    """Return where the voxels of an axis are that have others `steps` before them."""
    return slice(max(steps, 0), voxels + min(steps, 0))
