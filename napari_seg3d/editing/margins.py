"""Labels grown, shrunk and hollowed out by millimetres, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.balls import dilated, eroded
from napari_seg3d.editing.boxes import Steps, box_of_labels, check_spacing, grown_box, is_label, reach_of, without_axis
from napari_seg3d.editing.change import Change, check_label, no_change, paint
from napari_seg3d.errors import ConfigError

#: Where the wall of a hollow label lies: inside its surface, outside, or half on each side.
Wall = Literal["inside", "outside", "centred"]


def margin(
    mask: NDArray[np.integer],
    label: int,
    spacing: Sequence[float],
    mm: float,
    *,
    across: int | None = None,
    over_others: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Change:
    """Grow a label by some millimetres, or shrink it.

    A voxel is taken where its centre lies at most so far from the centre of one of the label, and given up where it lies at most so far from
    one of anything else (exact Euclidean distances). The end of the scan is nothing: there, nothing is given up.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    label : int
        Which label.
    spacing : sequence of float
        The mm of each axis.
    mm : float
        Above 0 grows, below 0 shrinks.
    across : int, optional
        Only in the slices across this axis.
    over_others : bool
        Whether other labels are grown over; without, only background is.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each step.

    Raises
    ------
    Cancelled
        `cancelled` said so.
    """
    check_spacing(mask, spacing)
    check_label(mask, label)
    steps = Steps(2, progress, cancelled)
    box = box_of_labels(mask, [label])
    steps.done()
    scale = without_axis(spacing, across)
    reach = reach_of(abs(mm), scale)
    if box is None or not any(reach):
        return no_change(mask)
    if mm > 0:
        box = grown_box(box, reach, mask.shape)
        grown = dilated(is_label(mask[box], label), mm, scale)
        change = paint(mask, box, grown if over_others else grown & (mask[box] == 0), label)
    else:
        # One voxel more: from inside a box, nothing beyond that is nearer than what lies there.
        box = grown_box(box, [1] * mask.ndim, mask.shape)
        own = is_label(mask[box], label)
        change = paint(mask, box, own & ~eroded(own, -mm, scale), 0)
    steps.done()
    return change


def hollow(
    mask: NDArray[np.integer],
    label: int,
    spacing: Sequence[float],
    mm: float,
    wall: Wall = "inside",
    *,
    over_others: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Change:
    """Make a shell of a label: its wall stays or is added, its inside becomes background.

    Parameters
    ----------
    mask, label, spacing, over_others, progress, cancelled
        As for `margin`.
    mm : float
        Thickness of the wall.
    wall : {"inside", "outside", "centred"}
        Where it lies: within the label, around it, or half within and half around.

    Raises
    ------
    ConfigError
        The wall is thinner than nothing, or there is no such place for it.
    Cancelled
        `cancelled` said so.
    """
    check_spacing(mask, spacing)
    check_label(mask, label)
    if mm <= 0 or wall not in ("inside", "outside", "centred"):
        raise ConfigError(f"A wall of {mm:g} mm ({wall}) cannot be made.", "Give mm above 0, and inside, outside or centred.")
    steps = Steps(3, progress, cancelled)
    box = box_of_labels(mask, [label])
    steps.done()
    if box is None:
        return no_change(mask)
    within, around = {"inside": (mm, 0.0), "outside": (0.0, mm), "centred": (mm / 2, mm / 2)}[wall]
    box = grown_box(box, [max(1, voxels) for voxels in reach_of(around, spacing)], mask.shape)
    part = mask[box]
    own = is_label(part, label)
    core = eroded(own, within, spacing) if within else own
    steps.done()
    values = part.copy()
    values[core] = 0
    if around:
        added = dilated(own, around, spacing) & ~own
        values[added if over_others else added & (part == 0)] = label
    steps.done()
    return Change(box, values)
