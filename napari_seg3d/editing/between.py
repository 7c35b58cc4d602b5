"""Fill between slices: a few slices are painted, and what lies between them follows from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.between_images import REACH, Evidence
from napari_seg3d.editing.between_pieces import Contour
from napari_seg3d.editing.between_shapes import Depth, depths_of
from napari_seg3d.editing.boxes import Steps, boxes_of, check_image, check_spacing, grown_box, inner, is_label
from napari_seg3d.editing.change import Box, Change, check_label, joined
from napari_seg3d.editing.limits import ANYTHING, Limits, touchable
from napari_seg3d.errors import ConfigError, LabelError


def fill_between(
    mask: NDArray[np.integer],
    spacing: Sequence[float],
    axis: int,
    *,
    labels: Collection[int] | None = None,
    slices: Collection[int] | None = None,
    image: NDArray[np.generic] | None = None,
    limits: Limits = ANYTHING,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Change:
    """Fill labels in between the slices in which they are painted.

    Only background is filled, and only in slices in which the label is not painted. Nothing is added beyond the first and the last painted
    slice. Labels compete: a voxel goes to the one that it is deepest inside of. How it is done: `between_shapes.depths_of`, and
    with an image `between_images.Evidence`.

    Parameters
    ----------
    mask : array of integers
        In three dimensions.
    spacing : sequence of float
        The mm of each axis.
    axis : int
        Across which axis the painted slices lie.
    labels : collection of int, optional
        Which labels; all without.
    slices : collection of int, optional
        Which slices are painted completely: a label that is absent there is known to end before, and does so half-way. Without, the
        painted slices of each label are those that hold it.
    image : array, optional
        The image under the mask, of the mask's shape: the outline follows it, as far as the painted slices do.
    limits : Limits
        Locked labels are not filled; other voxels that may not be touched are walls.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each step.

    Returns
    -------
    Change
        Of the box of the labels.

    Raises
    ------
    ConfigError
        The mask is 2D, there is no such axis or slice, or nothing lies between painted slices.
    LabelError, GeometryError
        A label or the image does not fit the mask.
    Cancelled
        `cancelled` said so.
    """
    _check(mask, spacing, axis, slices, image)
    wanted = None if labels is None else {int(label) for label in labels}
    for label in sorted(wanted or ()):
        check_label(mask, label)
    boxes = {label: box for label, box in sorted(boxes_of(mask).items()) if wanted is None or label in wanted}
    if not boxes:
        raise LabelError("Nothing of these labels is painted.", "Paint the label in two slices or more, some slices apart.")
    jobs = [
        job
        for label, box in boxes.items()
        if label not in limits.locked
        and (job := _Job.of(mask, label, box, axis, slices, 1 if image is None else REACH)) is not None
    ]
    if not jobs:
        _raise_nothing(boxes, limits, axis)
    steps = Steps(sum(job.steps(image is not None) for job in jobs), progress, cancelled)
    around = joined([job.box for job in jobs])
    values = mask[around].copy()
    depths = np.zeros(values.shape, np.float32)
    free = (values == 0) & touchable(mask, limits, around)
    for job in jobs:
        here = inner(job.box, around)
        under = None if image is None else np.moveaxis(image[job.box], axis, 0)
        in_slices = [float(side) for other, side in enumerate(spacing) if other != axis]
        job.fill(
            np.moveaxis(values[here], axis, 0),
            np.moveaxis(depths[here], axis, 0),
            np.moveaxis(free[here], axis, 0),
            under,
            in_slices,
            float(spacing[axis]),
            steps,
        )
    return Change(around, values)


def painted_slices(mask: NDArray[np.integer], label: int, axis: int) -> list[int]:
    """Return the slices across an axis that hold a label, in order."""
    others = tuple(other for other in range(mask.ndim) if other != axis)
    return [int(at) for at in np.flatnonzero(is_label(mask, label).any(axis=others))]


class _Job:
    """One label that is to be filled."""

    def __init__(self, label: int, box: Box, contours: list[Contour]) -> None:
        self.label, self.box, self._contours = label, box, contours

    @classmethod
    def of(
        cls, mask: NDArray[np.integer], label: int, box: Box, axis: int, slices: Collection[int] | None, margin: int
    ) -> _Job | None:
        """Look at the painted slices of a label; None where there is nothing between them."""
        painted = [at + box[axis].start for at in painted_slices(mask[box], label, axis)]
        if slices is not None:
            given = sorted({int(at) for at in slices})
            painted = [at for at in given if at in set(painted)]
            # One empty slice on both sides: there the label is known to be no more.
            empty = (
                [at for at in given if painted and at < painted[0]][-1:],
                [at for at in given if painted and at > painted[-1]][:1],
            )
            between = [at for at in given if painted and painted[0] < at < painted[-1]]
            painted = sorted({*empty[0], *painted, *between, *empty[1]})
        if len(painted) < 2 or all(last - first < 2 for first, last in pairwise(painted)):
            return None
        reach = [0 if other == axis else margin for other in range(mask.ndim)]
        box = grown_box(box, reach, mask.shape)
        box = tuple(slice(painted[0], painted[-1] + 1) if other == axis else side for other, side in enumerate(box))
        seen = np.moveaxis(mask[box], axis, 0)
        return cls(label, box, [Contour.of(at - painted[0], is_label(seen[at - painted[0]], label)) for at in painted])

    def steps(self, with_image: bool) -> int:
        """Return how many steps `fill` has: one for each pair of slices, and those in which it learns from an image."""
        return len(self._contours) - 1 + (Evidence.steps_of(self._contours) if with_image else 0)

    def fill(
        self,
        values: NDArray[np.integer],
        depths: Depth,
        free: NDArray[np.bool_],
        image: NDArray[np.generic] | None,
        spacing: Sequence[float],
        thickness: float,
        steps: Steps,
    ) -> None:
        """Write the label where it is deeper than whatever was there; the arrays are views of its box, slices first."""
        evidence = None if image is None else Evidence(image, self._contours, spacing, thickness, steps.done)
        painted = {contour.at for contour in self._contours}
        own = {at for at in range(len(values)) if at not in painted and not is_label(values[at], self.label).any()}
        for at, depth in depths_of(self._contours, spacing, thickness, own, 1 if evidence is None else REACH, steps.done):
            if evidence is not None:
                evidence.move(at, depth)
            taken = free[at] & (depth > depths[at])
            values[at][taken] = self.label
            depths[at][taken] = depth[taken]


def _check(
    mask: NDArray[np.integer],
    spacing: Sequence[float],
    axis: int,
    slices: Collection[int] | None,
    image: NDArray[np.generic] | None,
) -> None:
    """Raise a ConfigError or GeometryError where there is nothing that could be filled like this."""
    if mask.ndim != 3:
        raise ConfigError(f"A mask with {mask.ndim} axes has no slices to fill between.", "Open a scan with several slices.")
    check_spacing(mask, spacing)
    if not 0 <= axis < mask.ndim:
        raise ConfigError(f"There is no axis {axis} in a mask with three.", "Choose axis 0, 1 or 2.")
    if slices is not None and not all(0 <= at < mask.shape[axis] for at in slices):
        raise ConfigError(
            f"Not all of the slices {sorted(slices)} lie in the mask, which has {mask.shape[axis]} across this axis.",
            f"Choose slices from 0 to {mask.shape[axis] - 1}.",
        )
    if image is not None:
        check_image(mask, image)


def _raise_nothing(boxes: Collection[int], limits: Limits, axis: int) -> None:
    """Say why there is nothing to fill."""
    names = ", ".join(map(str, sorted(boxes)))
    if set(boxes) <= limits.locked:
        raise ConfigError(f"Every label to be filled ({names}) is locked.", "Unlock one of them.")
    raise ConfigError(
        f"Between the slices across axis {axis} that hold the label ({names}), none is empty.",
        "Paint slices with some between them, or choose the axis across which you painted.",
    )
