"""Labels smoothed, one of them or all together without gaps between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.balls import closed, opened
from napari_seg3d.editing.boxes import (
    Steps,
    box_of_labels,
    boxes_of,
    check_spacing,
    grown_box,
    inner,
    is_label,
    reach_of,
    without_axis,
)
from napari_seg3d.editing.change import Change, check_label, joined, no_change
from napari_seg3d.editing.delta import memory_order
from napari_seg3d.editing.limits import Limits, touchable
from napari_seg3d.errors import ConfigError

#: median: the majority around each voxel. gaussian: a blur, cut at a half. opening: without what is thinner than a ball. closing: with
#: gaps that a ball cannot enter.
Method = Literal["median", "gaussian", "opening", "closing"]
# Beyond so many standard deviations a Gaussian is nothing.
_TRUNCATE = 3.0
# Where two labels are as near as this, a voxel keeps the one that it has: the last digit of a sum must not decide.
_TIE = 1e-4


def smooth(
    mask: NDArray[np.integer],
    label: int,
    spacing: Sequence[float],
    method: Method = "median",
    mm: float = 3.0,
    *,
    across: int | None = None,
    over_others: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Change:
    """Smooth the surface of one label.

    Beyond the end of the scan the label is taken to go on as it ends there, so that an organ that the scan cuts keeps its cut.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    label : int
        Which label.
    spacing : sequence of float
        The mm of each axis.
    method : {"median", "gaussian", "opening", "closing"}
        median: a voxel has the label when most voxels of the cuboid around it do. gaussian: the label is blurred and cut at a half. opening:
        what is too thin for a ball goes. closing: where a ball does not fit between its parts, the label is filled.
    mm : float
        median: from the middle of the cuboid to the centres of its outermost voxels. gaussian: standard deviation. opening, closing: radius
        of the ball. What is smaller than a voxel along an axis does nothing along it.
    across : int, optional
        Only in the slices across this axis.
    over_others : bool
        Whether the label may take voxels of other labels; without, only background.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each step.

    Raises
    ------
    ConfigError
        There is no such method, or `mm` is not above 0.
    Cancelled
        `cancelled` said so.
    """
    check_spacing(mask, spacing)
    check_label(mask, label)
    if method not in _METHODS or mm <= 0:
        raise ConfigError(
            f"Nothing can be smoothed by {method} of {mm:g} mm.", f"Choose one of {', '.join(_METHODS)}, above 0 mm."
        )
    steps = Steps(2, progress, cancelled)
    box = box_of_labels(mask, [label])
    steps.done()
    if box is None:
        return no_change(mask)
    scale = without_axis(spacing, across)
    box = grown_box(box, [voxels + 1 for voxels in reach_of(mm * (_TRUNCATE if method == "gaussian" else 1), scale)], mask.shape)
    part = mask[box]
    own = is_label(part, label)
    smoothed = _METHODS[method](own, mm, scale)
    values = part.copy()
    values[own & ~smoothed] = 0
    values[smoothed & ~own if over_others else smoothed & (part == 0)] = label
    steps.done()
    return Change(box, values)


def smooth_jointly(
    mask: NDArray[np.integer],
    spacing: Sequence[float],
    mm: float = 2.0,
    limits: Limits | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Change:
    """Smooth all labels together: where they touch, no gap opens and none grows over another.

    Each label, and the background, is blurred, and each voxel goes to the one that has most of it there (joint smoothing, as in 3D Slicer).

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    spacing : sequence of float
        The mm of each axis.
    mm : float
        Standard deviation of the blur.
    limits : Limits, optional
        Locked labels are walls: they keep their voxels, and the others are smoothed as if there was nothing.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each label.

    Raises
    ------
    ConfigError
        `mm` is not above 0.
    Cancelled
        `cancelled` said so.
    """
    check_spacing(mask, spacing)
    if mm <= 0:
        raise ConfigError(f"Nothing can be smoothed by {mm:g} mm.", "Give more than 0 mm.")
    locked = frozenset() if limits is None else limits.locked
    boxes = {label: box for label, box in boxes_of(mask).items() if label not in locked}
    steps = Steps(1 + len(boxes), progress, cancelled)
    if not boxes:
        return no_change(mask)
    reach = [voxels + 1 for voxels in reach_of(_TRUNCATE * mm, spacing)]
    around = grown_box(joined(list(boxes.values())), reach, mask.shape)
    part = mask[around]
    free = touchable(mask, Limits(locked), around)
    # Background begins as the winner everywhere. What is locked counts for nobody; that the weights around a voxel then add up to less
    # than 1 is the same for all who compete there.
    most = _blurred((part == 0) & free, mm, spacing)
    most += _TIE * (part == 0)
    values = np.zeros_like(part)
    steps.done()
    for label, box in boxes.items():
        near = grown_box(box, reach, mask.shape)
        inside = inner(near, around)
        own = is_label(mask[near], label)
        share = _blurred(own, mm, spacing)
        share += _TIE * own
        wins = share > most[inside]
        values[inside][wins] = label
        most[inside][wins] = share[wins]
        steps.done()
    return Change(around, np.where(free, values, part))


def _blurred(mask: NDArray[np.bool_], mm: float, spacing: Sequence[float]) -> NDArray[np.float32]:
    from scipy import ndimage

    axes = memory_order(mask)
    sigma = [mm / spacing[axis] for axis in axes]
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(
        mask.transpose(axes).astype(np.float32), sigma, mode="nearest", truncate=_TRUNCATE
    )
    return blurred.transpose(np.argsort(axes))


def _gaussian(mask: NDArray[np.bool_], mm: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    smoothed: NDArray[np.bool_] = _blurred(mask, mm, spacing) + _TIE * mask > 0.5 + _TIE / 2
    return smoothed


def _median(mask: NDArray[np.bool_], mm: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Return where most of the cuboid around a voxel is set: its voxels are counted along one axis after the other, in whole numbers."""
    counts = mask.astype(np.int32)
    cuboid = 1
    for axis, voxels in enumerate(reach_of(mm, spacing)):
        if not voxels:
            continue
        pad = [(voxels + 1, voxels) if one == axis else (0, 0) for one in range(mask.ndim)]
        sums = np.cumsum(np.pad(counts, pad, mode="edge"), axis=axis, dtype=np.int32)
        length = 2 * voxels + 1
        after, before = (
            tuple(one_side if one == axis else slice(None) for one in range(mask.ndim))
            for one_side in (slice(length, None), slice(None, -length))
        )
        counts = sums[after] - sums[before]
        cuboid *= length
    return counts * 2 > cuboid


_METHODS: dict[str, Callable[[NDArray[np.bool_], float, Sequence[float]], NDArray[np.bool_]]] = {
    "median": _median,
    "gaussian": _gaussian,
    "opening": opened,
    "closing": closed,
}
