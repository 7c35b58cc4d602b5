"""`Limits`: which voxels may be touched; locked labels and a range of intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.change import Box, Change, check_change
from napari_seg3d.errors import ConfigError, GeometryError


@dataclass(frozen=True)
class Limits:
    """What an edit may touch.

    Parameters
    ----------
    locked : frozenset of int
        These labels neither lose nor gain a voxel.
    image : array, optional
        The image under the mask, of the mask's shape; with `intensities`.
    intensities : (float, float), optional
        Only voxels whose intensity lies in this range, both ends included, may change. Voxels that are no number may not.

    Raises
    ------
    ConfigError
        A range without an image, or one that ends before it begins.
    """

    locked: frozenset[int] = frozenset()
    image: NDArray[np.generic] | None = None
    intensities: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.intensities is None:
            return
        low, high = self.intensities
        if not low <= high:
            raise ConfigError(f"The range of intensities from {low} to {high} is empty.", "Give the smaller number first.")
        if self.image is None:
            raise ConfigError(
                "A range of intensities needs an image to look them up in.", "Choose the image that the mask belongs to."
            )


#: The limits that forbid nothing.
ANYTHING = Limits()


def touchable(mask: NDArray[np.integer], limits: Limits, box: Box) -> NDArray[np.bool_]:
    """Return which voxels of a box may lose the label that they have.

    A tool in which labels compete takes the others as walls.

    Raises
    ------
    GeometryError
        The image of the limits is not of the mask's shape.
    """
    free = ~_locked(mask[box], limits)
    if limits.intensities is not None and limits.image is not None:
        check_image(mask, limits)
        low, high = limits.intensities
        under = limits.image[box]
        free &= np.greater_equal(under, low) & np.less_equal(under, high)
    return free


def allowed(mask: NDArray[np.integer], limits: Limits, box: Box, values: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which voxels of a box may have these values, as far as the limits go."""
    free = touchable(mask, limits, box)
    if limits.locked:
        free &= ~_locked(values, limits)
    return free


def within(mask: NDArray[np.integer], change: Change, limits: Limits) -> Change:
    """Return a change without what may not be touched; the values there are those that the mask has.

    Raises
    ------
    GeometryError, LabelError
        The change is none of this mask, or the image of the limits is not of the mask's shape.
    """
    check_change(mask, change)
    if change.is_empty or not is_limiting(limits):
        return change
    return Change(change.box, np.where(allowed(mask, limits, change.box, change.values), change.values, mask[change.box]))


def is_limiting(limits: Limits) -> bool:
    """Return whether these limits forbid anything at all."""
    return bool(limits.locked) or limits.intensities is not None


def check_image(mask: NDArray[np.integer], limits: Limits) -> None:
    """Raise a GeometryError where the image of the limits is not of the mask's shape."""
    if limits.image is not None and limits.image.shape != mask.shape:
        raise GeometryError(
            f"The image has {limits.image.shape} voxels, the mask has {mask.shape}.", "Choose the image that the mask belongs to."
        )


def _locked(values: NDArray[np.integer], limits: Limits) -> NDArray[np.bool_]:
    # Compared in the mask's own type: uint64 beside a negative number would become float.
    span = np.iinfo(values.dtype)
    found = np.zeros(values.shape, np.bool_)
    for value in limits.locked:
        if span.min <= value <= span.max:
            found |= values == values.dtype.type(value)
    return found
