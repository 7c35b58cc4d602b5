"""Slices copied to their neighbours."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.boxes import is_label
from napari_seg3d.editing.change import Change, no_change, whole
from napari_seg3d.errors import GeometryError

#: What happens to what lies in the slice already: it stays; copied labels go over it; or they are there as in the source, no more.
Onto = Literal["empty", "over", "replace"]


def copy_slice(
    mask: NDArray[np.integer],
    label: int,
    across: int,
    index: int,
    step: int = 1,
    *,
    every_label: bool = False,
    onto: Onto = "empty",
) -> Change:
    """Copy one label, or all, from a slice to one beside it.

    Parameters
    ----------
    mask : array of integers
        In three dimensions.
    label : int
        Which label is copied.
    across : int
        The axis across the slices.
    index : int
        The slice that is copied.
    step : int
        How far from it lies the one that is changed: 1 is the next slice, -1 the one before. Beyond the scan nothing changes.
    every_label : bool
        Whether all labels are copied, and not only `label`.
    onto : {"empty", "over", "replace"}
        empty: only background is painted. over: other labels are painted over. replace: as over, and what the target has of the copied
        labels elsewhere becomes background.

    Raises
    ------
    GeometryError
        The mask has no slices, or not this one.
    """
    if mask.ndim != 3 or not 0 <= index < mask.shape[across]:
        raise GeometryError(
            f"There is no slice {index} across axis {across} of a mask of {mask.shape}.", "Choose a slice of the scan."
        )
    to = index + step
    if not 0 <= to < mask.shape[across]:
        return no_change(mask)
    boxes = [tuple(slice(at, at + 1) if axis == across else side for axis, side in enumerate(whole(mask))) for at in (index, to)]
    source, values = mask[boxes[0]], mask[boxes[1]].copy()
    copied = source != 0 if every_label else is_label(source, label)
    if onto == "replace":
        values[values != 0 if every_label else is_label(values, label)] = 0
    where = copied & (values == 0) if onto == "empty" else copied
    values[where] = source[where]
    return Change(boxes[1], values)
