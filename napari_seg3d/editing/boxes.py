"""Boxes of a mask: where a label lies, and how far a tool that works in millimetres reaches around it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.change import Box
from napari_seg3d.editing.delta import memory_order
from napari_seg3d.errors import Cancelled, GeometryError

#: Whoever says 3 mm means the voxel 3 mm away, too, whatever the last digit of a spacing is.
HAIR = 1e-9
# Beyond these values a table of boxes by value would be larger than the mask.
_MOST_IN_TABLE = 1 << 16


class Steps:
    """Tells how far a tool is, and ends it where it is asked to stop.

    Parameters
    ----------
    total : int
        How many steps the tool has.
    progress : callable, optional
        Told (done, total) after each step.
    cancelled : callable, optional
        Asked before the first step and after each.

    Raises
    ------
    Cancelled
        `cancelled` returned True; nothing was changed, because a tool writes nothing.
    """

    def __init__(
        self, total: int, progress: Callable[[int, int], None] | None = None, cancelled: Callable[[], bool] | None = None
    ) -> None:
        self._done, self._total, self._progress, self._cancelled = 0, total, progress, cancelled
        self.ask()

    def done(self) -> None:
        """One step more is done."""
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)
        self.ask()

    def ask(self) -> None:
        """Ask within a long step whether to stop."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("The edit was cancelled; the mask is as it was.")


def is_label(mask: NDArray[np.integer], label: int) -> NDArray[np.bool_]:
    """Return where a mask, or a part of one, has a label; nowhere, if its numbers cannot hold it."""
    limits = np.iinfo(mask.dtype)
    if not limits.min <= label <= limits.max:
        return np.zeros(mask.shape, np.bool_)
    # In the mask's own type: uint64 beside a negative number would become float.
    found: NDArray[np.bool_] = mask == mask.dtype.type(label)
    return found


def is_any(mask: NDArray[np.integer], labels: Collection[int]) -> NDArray[np.bool_]:
    """Return where a mask, or a part of one, has one of these labels."""
    limits = np.iinfo(mask.dtype)
    fitting = np.array([label for label in labels if limits.min <= label <= limits.max], mask.dtype)
    if len(fitting) == 0:
        return np.zeros(mask.shape, bool)
    if len(fitting) == 1:
        return is_label(mask, int(fitting[0]))
    axes = memory_order(mask)
    found: NDArray[np.bool_] = np.isin(mask.transpose(axes), fitting).transpose(np.argsort(axes))
    return found


def box_of_labels(mask: NDArray[np.integer], labels: Collection[int]) -> Box | None:
    """Return the box of some labels together; None where there is no voxel of them."""
    where = is_any(mask, labels)
    sides: list[slice] = []
    # Axis by axis, each time in what is left: a mask of 80 million voxels is looked at once, not once for each axis.
    for axis in range(mask.ndim):
        part = where[tuple(sides)]
        found = np.flatnonzero(part.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not found.size:
            return None
        sides.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(sides)


def boxes_of(labels: NDArray[np.generic]) -> dict[int, Box]:
    """Return the box of each value other than 0."""
    from scipy import ndimage

    # scipy takes all but the smallest types apart value by value, and knows no negative ones.
    if (labels.dtype.kind != "u" and int(labels.min(initial=0)) < 0) or int(labels.max(initial=0)) >= _MOST_IN_TABLE:
        values, numbers = np.unique(labels, return_inverse=True)
        boxes = ndimage.find_objects(numbers.reshape(labels.shape) + 1)
        return {int(value): box for value, box in zip(values, boxes, strict=True) if value != 0}
    return {value: box for value, box in enumerate(ndimage.find_objects(labels), start=1) if box is not None}


def reach_of(mm: float, spacing: Sequence[float]) -> tuple[int, ...]:
    """Return how many whole voxels lie within a distance along each axis; an infinite spacing means none."""
    return tuple(int(mm * (1 + HAIR) / side) for side in spacing)


def grown_box(box: Box, reach: Sequence[int], shape: Sequence[int]) -> Box:
    """Return a box with so many voxels more on both sides of each axis, as far as there are any."""
    return tuple(
        slice(max(side.start - voxels, 0), min(side.stop + voxels, size))
        for side, voxels, size in zip(box, reach, shape, strict=True)
    )


def box_around_place(place: Sequence[float], reach: Sequence[int], shape: Sequence[int]) -> Box:
    """Return the box of the voxels that lie so many from a place, which may lie between voxels or outside; perhaps an empty one."""
    sides = []
    for where, voxels, size in zip(place, reach, shape, strict=True):
        start = min(max(int(np.floor(where)) - voxels, 0), size)
        sides.append(slice(start, max(min(int(np.ceil(where)) + voxels + 1, size), start)))
    return tuple(sides)


def inner(box: Box, around: Box) -> Box:
    """Return a box in the coordinates of another one that holds it."""
    return tuple(slice(side.start - outer.start, side.stop - outer.start) for side, outer in zip(box, around, strict=True))


def without_axis(spacing: Sequence[float], across: int | None) -> tuple[float, ...]:
    """Return a spacing in which nothing lies near along one axis: what a tool does in millimetres, it does slice by slice."""
    return tuple(np.inf if axis == across else float(side) for axis, side in enumerate(spacing))


def voxel_ml(spacing: Sequence[float]) -> float:
    """Return the volume of a voxel in ml; of a pixel, as if the slice were 1 mm thick."""
    return float(np.prod(spacing)) / 1000


def check_place(mask: NDArray[np.integer], place: Sequence[float]) -> tuple[int, ...]:
    """Return the voxel that was clicked.

    Raises
    ------
    GeometryError
        It does not lie in the mask.
    """
    voxel = tuple(round(float(where)) for where in place)
    if len(voxel) != mask.ndim or any(not 0 <= where < size for where, size in zip(voxel, mask.shape, strict=True)):
        raise GeometryError(f"The place {voxel} does not lie in a mask of {mask.shape} voxels.", "Click inside the scan.")
    return voxel


def check_image(mask: NDArray[np.integer], image: NDArray[np.generic]) -> None:
    """Raise a GeometryError where an image does not lie under the mask voxel by voxel."""
    if image.shape != mask.shape:
        raise GeometryError(
            f"The image has {image.shape} voxels, the mask has {mask.shape}.", "Choose the image that the mask belongs to."
        )


def check_spacing(mask: NDArray[np.integer], spacing: Sequence[float]) -> None:
    """Raise a GeometryError where a spacing is none for this mask."""
    if len(spacing) != mask.ndim or not all(side > 0 for side in spacing):
        raise GeometryError(
            f"The spacing {tuple(spacing)} does not fit a mask with {mask.ndim} axes.", "Give the mm of each axis, above 0."
        )
