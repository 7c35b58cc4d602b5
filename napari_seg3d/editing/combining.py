"""Labels combined: united, subtracted, cut by one another, also with those of another mask of the same scan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.balls import dilated
from napari_seg3d.editing.boxes import (
    Steps,
    box_of_labels,
    check_image,
    check_spacing,
    grown_box,
    inner,
    is_any,
    is_label,
    reach_of,
)
from napari_seg3d.editing.change import Change, check_label, joined, no_change
from napari_seg3d.editing.pieces import enclosed
from napari_seg3d.errors import ConfigError

#: union: what either has. subtract: the label without the other. intersect: what both have. xor: what one of them has.
#: copy: what the other has.
Operation = Literal["union", "subtract", "intersect", "xor", "copy"]
_OPERATIONS = ("union", "subtract", "intersect", "xor", "copy")
_Progress = Callable[[int, int], None] | None
_Cancelled = Callable[[], bool] | None


def combine(
    mask: NDArray[np.integer],
    label: int,
    other: int,
    operation: Operation,
    source: NDArray[np.integer] | None = None,
    *,
    over_others: bool = False,
    progress: _Progress = None,
    cancelled: _Cancelled = None,
) -> Change:
    """Change a label by another one.

    Two labels of one mask never share a voxel: there, union and xor give the label all that the other has, and intersect empties it. With a
    `source`, such as the mask of a second reader or a prediction, all five are what they are for sets.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    label : int
        The label that changes.
    other : int
        The label that it is combined with.
    operation : {"union", "subtract", "intersect", "xor", "copy"}
        How.
    source : array of integers, optional
        The mask that holds `other`, of the same shape; `mask` itself, if not given.
    over_others : bool
        Whether the label may take voxels of third labels; without, only background and, in the same mask, voxels of `other`.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each step.

    Raises
    ------
    ConfigError
        There is no such operation.
    GeometryError
        The source has another shape.
    Cancelled
        `cancelled` said so.
    """
    check_label(mask, label)
    if operation not in _OPERATIONS:
        raise ConfigError(f"There is no operation {operation!r}.", f"Choose one of {', '.join(_OPERATIONS)}.")
    steps = Steps(3, progress, cancelled)
    if source is not None:
        check_image(mask, source)
    holder = mask if source is None else source
    boxes = [box_of_labels(mask, [label])]
    steps.done()
    boxes.append(box_of_labels(holder, [other]))
    steps.done()
    found = [box for box in boxes if box is not None]
    if not found or (source is None and other == label):
        return no_change(mask)
    box = joined(found)
    part = mask[box]
    own, region = is_label(part, label), is_label(holder[box], other)
    gained = region & ~own
    if not over_others:
        gained &= (part == 0) if source is not None else region
    lost = {
        "union": np.zeros_like(own),
        "subtract": own & region,
        "intersect": own & ~region,
        "xor": own & region,
        "copy": own & ~region,
    }[operation]
    values = part.copy()
    values[lost] = 0
    if operation in ("union", "xor", "copy"):
        values[gained] = label
    steps.done()
    return Change(box, values)


def merge(
    mask: NDArray[np.integer],
    label: int,
    labels: Collection[int],
    *,
    progress: _Progress = None,
    cancelled: _Cancelled = None,
) -> Change:
    """Make one label of several: every voxel of `labels` becomes `label`; with 0 they are erased.

    Raises
    ------
    LabelError
        The mask's numbers cannot hold `label`.
    Cancelled
        `cancelled` said so.
    """
    check_label(mask, label)
    steps = Steps(2, progress, cancelled)
    others = [other for other in labels if other not in (0, label)]
    box = box_of_labels(mask, others) if others else None
    steps.done()
    if box is None:
        return no_change(mask)
    values = mask[box].copy()
    values[is_any(values, others)] = label
    steps.done()
    return Change(box, values)


def cut(
    mask: NDArray[np.integer],
    label: int,
    by: Collection[int],
    spacing: Sequence[float],
    side: Literal["inside", "outside"] = "inside",
    source: NDArray[np.integer] | None = None,
    *,
    also: Collection[int] = (),
    mm: float = 0.0,
    filled: bool = True,
    progress: _Progress = None,
    cancelled: _Cancelled = None,
) -> Change:
    """Keep of a label only what lies inside, or outside, of others: vessels inside the lung, lesions inside the liver.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    label : int
        The label that loses voxels, which become background.
    by : collection of int
        The labels that say where; together they are the region.
    spacing : sequence of float
        The mm of each axis.
    side : {"inside", "outside"}
        Which part is kept.
    source : array of integers, optional
        The mask that holds `by`, of the same shape; `mask` itself, if not given.
    also : collection of int
        Further labels that lose voxels.
    mm : float
        How far the region reaches beyond its labels.
    filled : bool
        Whether what the region encloses belongs to it, as the lesion does to the liver around it.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each step.

    Raises
    ------
    ConfigError
        There is no such side, or a negative distance.
    GeometryError
        The source has another shape.
    Cancelled
        `cancelled` said so.
    """
    check_spacing(mask, spacing)
    if side not in ("inside", "outside") or mm < 0:
        raise ConfigError(f"Nothing can be cut {side} by {mm:g} mm.", "Choose inside or outside, and 0 mm or more.")
    if source is not None:
        check_image(mask, source)
    holder = mask if source is None else source
    steps = Steps(3, progress, cancelled)
    labels = [other for other in (label, *also) if other]
    box = box_of_labels(mask, labels)
    steps.done()
    if box is None:
        return no_change(mask)
    around = box_of_labels(holder, by) if by else None
    region = np.zeros([side_.stop - side_.start for side_ in box], np.bool_)
    if around is not None:
        around = grown_box(around, reach_of(mm, spacing), mask.shape)
        reached = is_any(holder[around], by)
        reached = dilated(reached, mm, spacing) if mm else reached
        if filled:
            reached |= enclosed(reached)
        both = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, around, strict=True))
        if all(side_.start < side_.stop for side_ in both):
            region[inner(both, box)] = reached[inner(both, around)]
    steps.done()
    values = mask[box].copy()
    values[is_any(values, labels) & (~region if side == "inside" else region)] = 0
    steps.done()
    return Change(box, values)
