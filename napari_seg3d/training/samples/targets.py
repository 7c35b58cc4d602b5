"""What a mask means to a network: labels that exclude one another or overlap, and voxels of which nobody knows what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ConfigError
from napari_seg3d.evaluation.counts import UNKNOWN
from napari_seg3d.networks.planes import AXIS
from napari_seg3d.training.config import TargetsConfig
from napari_seg3d.transforms import Pipeline, Step, grid_after, label_steps, preprocess, run
from napari_seg3d.volumes import Grid, Volume

#: A target has so many classes beside the background at most: 0 is the background, and 255 is unknown.
MOST_LABELS = UNKNOWN - 1

_RESAMPLING = ("Resample", "Resize", "LimitSize")
_ROUNDING = 1e-6


def settled(targets: TargetsConfig, overlapping: bool) -> TargetsConfig:
    """Return the settings with `kind` decided.

    Parameters
    ----------
    targets : TargetsConfig
        What was asked for.
    overlapping : bool
        Whether labels overlap in any mask: `Report.overlapping`.

    Raises
    ------
    ConfigError
        Labels overlap, and exclusive ones were asked for.
    """
    if targets.kind == "exclusive" and overlapping:
        raise ConfigError(
            "Labels of the masks overlap, and exclusive ones were asked for.", "Set Labels to overlapping, or to auto."
        )
    if targets.kind != "auto":
        return targets
    return targets.model_copy(update={"kind": "overlapping" if overlapping else "exclusive"})


def learnt_labels(labels: Mapping[int, str], targets: TargetsConfig) -> dict[int, str]:
    """Return those labels (value -> name) that a network learns: not the ignored value, nor the painted background.

    Raises
    ------
    ConfigError
        There are none, or more than fit a target.
    """
    learnt = {value: name for value, name in sorted(labels.items()) if value not in values_aside(targets)}
    if not learnt:
        raise ConfigError("There is no label to learn.", "Choose masks with labels beside the ignored value and the background.")
    if len(learnt) > MOST_LABELS:
        raise ConfigError(
            f"The masks hold {len(learnt)} labels; {MOST_LABELS} is the most.", "Merge some in dataset.yaml, or remove some."
        )
    return learnt


def values_aside(targets: TargetsConfig) -> frozenset[int]:
    """Return the values in masks that are no labels: the ignored one and, of masks that are painted in part, the background."""
    named = (targets.ignore,) if targets.known == "all" else (targets.ignore, targets.background)
    return frozenset(value for value in named if value is not None)


def make_target(
    pipeline: Pipeline, image: Volume, mask: Volume, values: Sequence[int], targets: TargetsConfig
) -> tuple[Volume, NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a preprocessed scan with what a network should answer to it.

    Parameters
    ----------
    pipeline : Pipeline
        The preprocessing.
    image : Volume
        A scan.
    mask : Volume
        On its grid: a label map, or a channel for each label.
    values : sequence of int
        Mask values to learn, rising. All others are background.
    targets : TargetsConfig
        What the mask means; `kind` is decided.

    Returns
    -------
    image : Volume
        The preprocessed scan.
    target : array of shape (T, I, J, K)
        On its grid. Exclusive labels: T = 1, 0 is the background and 1, 2, … the values. Overlapping ones: T = ``len(values)``, each
        channel 0 or 1. 255 is unknown. Places that the scan did not show are background where the mask is complete, else unknown.
    reference : array of shape (T, I, J, K)
        The same on the grid of the file: what validation compares with.
    """
    overlapping = targets.kind == "overlapping"
    if overlapping and any(step.name == "SequentialLabels" for step in pipeline.enabled):
        raise ConfigError("SequentialLabels cannot number labels that overlap.", "Take it out of the preprocessing.")
    known = known_voxels(mask, targets)
    relabelling = label_steps(pipeline)
    reference = mask.with_data(classes_of(mask.data, values, overlapping))
    before = reference
    if relabelling.steps:
        # Such steps speak of the values in the mask; what validation compares with must have gone through them, too.
        before, relabelled = mask, run(relabelling, image, mask)[1]
        assert relabelled is not None
        reference = mask.with_data(classes_of(relabelled.data, values, overlapping))
    if known is None:
        processed, moved = preprocess(pipeline, image, before)
        assert moved is not None
    else:
        processed, _ = preprocess(pipeline, image)
        moved, still_known = _carried(pipeline, before, known, outside_is_known=targets.known == "all")
    target = classes_of(moved.data, values, overlapping) if relabelling.steps else moved.data.astype(np.uint8, copy=False)
    if known is not None:
        target[:, ~still_known] = UNKNOWN
        reference.data[:, ~known] = UNKNOWN
    return processed, target, reference.data  # type: ignore[return-value]  # `classes_of` gives uint8


def known_voxels(mask: Volume, targets: TargetsConfig) -> NDArray[np.bool_] | None:
    """Return which voxels ``(I, J, K)`` of a mask are painted, or None where all of them count.

    Parameters
    ----------
    mask : Volume
        On its own grid, in the file's axis order.
    targets : TargetsConfig
        How much of the mask is painted, and the value to be ignored.
    """
    ignored = (mask.data == targets.ignore).any(axis=0) if targets.ignore is not None else None
    if targets.known == "all":
        return ~ignored if ignored is not None and ignored.any() else None
    known: NDArray[np.bool_] = (mask.data != 0).any(axis=0)
    if ignored is not None:
        known &= ~ignored
    if targets.known == "slices":
        axis = _painted_axis(mask.grid.to_canonical(known), targets)
        painted = mask.grid.to_canonical(known).any(axis=_others(axis), keepdims=True)
        known = np.ascontiguousarray(mask.grid.from_canonical(np.broadcast_to(painted, mask.grid.canonical().shape)))
        if ignored is not None:
            known &= ~ignored
    return known


def _painted_axis(painted: NDArray[np.generic], targets: TargetsConfig) -> int:
    if targets.plane != "auto":
        return AXIS[targets.plane]
    # Axial comes first: of equals, it is what most people paint in.
    return min((2, 1, 0), key=lambda axis: int(painted.any(axis=_others(axis)).sum()))


def _others(axis: int) -> tuple[int, int]:
    first, second = (other for other in range(3) if other != axis)
    return first, second


def classes_of(data: NDArray[np.generic], values: Sequence[int], overlapping: bool) -> NDArray[np.uint8]:
    """Return a mask ``(C, I, J, K)`` with its `values`, rising, as exclusive or overlapping classes ``(T, I, J, K)``."""
    if overlapping:
        return np.stack([(data == value).any(axis=0) for value in values]).astype(np.uint8)
    classes = np.zeros(data.shape, dtype=np.uint8)
    for index, value in enumerate(values, start=1):
        classes[data == value] = index
    return classes


# -- through the preprocessing --------------------------------------------------------------------------------------------------------------


def _carried(
    pipeline: Pipeline, labels: Volume, known: NDArray[np.bool_], outside_is_known: bool
) -> tuple[Volume, NDArray[np.bool_]]:
    """Return a mask and which of its voxels are known, both after the preprocessing."""
    for step in pipeline.enabled:
        if step.info.kind == "label":
            labels = _moved(step, labels)
        elif step.name in _RESAMPLING:
            labels, known = _resampled(labels, known, grid_after(Pipeline((step,)), labels.grid))
        elif step.info.kind == "spatial":
            # Padding is 0: known, or unknown, as it is asked for.
            aside = (known != outside_is_known)[np.newaxis]
            count = len(labels.data)
            both = _moved(step, labels.with_data(np.concatenate([labels.data, aside.astype(labels.data.dtype)])))
            labels = Volume(both.data[:count], both.affine, "labels")
            known = (both.data[count] != 0) != outside_is_known
    return labels, known


def _moved(step: Step, labels: Volume) -> Volume:
    nothing = Volume(np.zeros((1, *labels.grid.shape), np.float32), labels.affine)
    moved = run(Pipeline((step,)), nothing, labels, seed=0)[1]
    assert moved is not None
    return moved


def _resampled(labels: Volume, known: NDArray[np.bool_], grid: Grid) -> tuple[Volume, NDArray[np.bool_]]:
    """Return labels on another grid of the same directions, where what is known speaks for what is not.

    A majority would eat single painted slices wherever voxels become larger: most of each new voxel is unknown. Here a new voxel is known
    that holds at least half of a known old one along each axis, and it gets the label that fills most of its known part.
    """
    import torch

    from napari_seg3d.transforms.own import majority, mean_over

    if grid == labels.grid or grid.matches(labels.grid):
        return labels, known
    voxels = np.linalg.solve(labels.affine, grid.affine)
    first, factor = voxels[:3, 3], np.diag(voxels)[:3]
    found = torch.from_numpy(np.ascontiguousarray(known))
    for axis in range(3):
        width = max(1.0, float(factor[axis]))
        places = float(first[axis]) + torch.arange(grid.shape[axis], dtype=torch.float64) * float(factor[axis])
        share = mean_over(found.float(), axis, places, width, 0, known.shape[axis])
        found = share >= 0.5 / width - _ROUNDING
    channels = []
    for channel in labels.data:
        # The background is a label of its own here, the last one, so that 0 is what nobody painted; of halves the others win.
        background = int(channel.max()) + 1
        painted = np.where(known, np.where(channel == 0, background, channel), 0).astype(np.int32)
        filled = majority(torch.from_numpy(painted)[None], grid.shape, first, factor, background_counts=False)[0].numpy()
        channels.append(np.where(filled == background, 0, filled))
    data = np.stack(channels).astype(labels.data.dtype)
    return Volume(data, grid.affine, "labels"), found.numpy()
