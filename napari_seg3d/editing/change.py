"""`Change`: what a tool wants to be another way, as the new values of one box of a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError, LabelError

#: A box of a mask: the first voxel and the one after the last along each of its axes, of which there are two or three.
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Change:
    """New values of one box of a mask. Tools return it and never write into the mask themselves.

    Parameters
    ----------
    box : tuple of slice
        Where; each slice has a start and a stop, and no step.
    values : array of integers
        Of the shape of the box and the mask's dtype; voxels that stay have the value that they have.

    Raises
    ------
    GeometryError
        The values are not of the shape of the box.
    """

    box: Box
    values: NDArray[np.integer]

    def __post_init__(self) -> None:
        shape = shape_of(self.box)
        if self.values.shape != shape:
            raise GeometryError(
                f"The values of a change have the shape {self.values.shape}, its box has {shape}.",
                "Give the new values of the whole box.",
            )

    @property
    def is_empty(self) -> bool:
        """Whether there is no voxel in the box."""
        return self.values.size == 0


def no_change(mask: NDArray[np.integer]) -> Change:
    """Return the change of a tool that has found nothing to do: an empty box."""
    return Change((slice(0, 0),) * mask.ndim, np.empty((0,) * mask.ndim, mask.dtype))


def paint(mask: NDArray[np.integer], box: Box, where: NDArray[np.bool_], label: int) -> Change:
    """Return the change that gives voxels of a box a label.

    Parameters
    ----------
    mask : array of integers
        The mask; it is not written.
    box : tuple of slice
        A box of it.
    where : array of bool
        Of the shape of the box: which of its voxels shall have the label. The others stay as they are.
    label : int
        The label; 0 is the background.

    Raises
    ------
    LabelError
        The mask's numbers cannot hold the label.
    """
    check_label(mask, label)
    values = mask[box].copy()
    values[where] = label
    return Change(box, values)


def check_label(mask: NDArray[np.integer], label: int) -> None:
    """Raise a LabelError where the mask's numbers cannot hold a label."""
    limits = np.iinfo(mask.dtype)
    if not limits.min <= label <= limits.max:
        raise LabelError(
            f"Label {label} does not fit into this mask, whose numbers ({mask.dtype}) go from {limits.min} to {limits.max}.",
            "Choose a label in this range, or convert the layer's data type in napari.",
        )


def shape_of(box: Box) -> tuple[int, ...]:
    """Return how many voxels a box has along each axis."""
    return tuple(max(side.stop - side.start, 0) for side in box)


def whole(mask: NDArray[np.generic]) -> Box:
    """Return the box that is the whole mask."""
    return tuple(slice(0, side) for side in mask.shape)


def box_around(where: NDArray[np.bool_]) -> Box | None:
    """Return the smallest box that holds every voxel that is set; None where none is."""
    sides = []
    for axis in range(where.ndim):
        found = np.flatnonzero(where.any(axis=tuple(other for other in range(where.ndim) if other != axis)))
        if not found.size:
            return None
        sides.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(sides)


def joined(boxes: list[Box]) -> Box:
    """Return the smallest box that holds all of these, of which there is at least one."""
    return tuple(slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*boxes, strict=True))


def check_change(mask: NDArray[np.integer], change: Change) -> None:
    """Raise a GeometryError or LabelError where a change cannot be one of this mask."""
    if len(change.box) != mask.ndim or any(
        not 0 <= side.start <= side.stop <= size or side.step not in (None, 1)
        for side, size in zip(change.box, mask.shape, strict=False)
    ):
        sides = ", ".join(f"{side.start} to {side.stop}" for side in change.box)
        raise GeometryError(f"The box of voxels {sides} does not lie in a mask of {mask.shape}.", "Choose a box inside the mask.")
    if change.values.dtype != mask.dtype:
        raise LabelError(
            f"A change has numbers of the type {change.values.dtype}, the mask has {mask.dtype}.",
            "Give the new values in the mask's own type.",
        )
