"""What a pipeline makes of grid, channels and labels, known from its steps alone, without a scan to run it on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from napari_seg3d.transforms.pipeline import Pipeline, Step
from napari_seg3d.volumes import Grid

#: Spacings closer than this are the same: resampling would only blur, and the way back uses the true grid anyway.
SAME_SPACING = 0.01


def grid_after(pipeline: Pipeline, grid: Grid) -> Grid:
    """Return the grid that a pipeline makes of `grid`; a crop at a random place is reckoned in the middle."""
    for step in pipeline.enabled:
        grid = _grid_after(step, grid)
    return grid


def channels_after(pipeline: Pipeline, channels: int) -> int:
    """Return how many channels a pipeline makes of so many."""
    for step in pipeline.enabled:
        if step.name == "ContextSlices":
            channels *= 2 * int(step.values["neighbours"]) + 1
        elif any(each.name == "RandomLabelsToImage" for each in (step, *step.inside)):
            channels = 1
    return channels


def labels_after(pipeline: Pipeline, labels: Mapping[int, str]) -> dict[int, str]:
    """Return the labels (value -> name, without background) that a pipeline makes of `labels`.

    Labels that become one take the name of the one that keeps its value, or else of the lowest of them.
    """
    for step in pipeline.enabled:
        values = step.values
        if step.name == "RemapLabels":
            becomes = {value: values["remapping"].get(value, value) for value in sorted(labels)}
        elif step.name == "RemoveLabels":
            becomes = {value: values["background_label"] if value in values["labels"] else value for value in sorted(labels)}
        elif step.name == "SequentialLabels":
            becomes = {value: place for place, value in enumerate(sorted(labels), start=1)}
        else:
            continue
        known = dict(labels)
        labels = {}
        for value, new in becomes.items():
            if new > 0:
                labels.setdefault(new, known[new] if becomes.get(new) == new else known[value])
    return dict(sorted(labels.items()))


def label_steps(pipeline: Pipeline) -> Pipeline:
    """Return those steps that change which labels there are, so that a reference on the native grid can be changed alike."""
    return Pipeline(tuple(step for step in pipeline.enabled if step.info.kind == "label"))


def _grid_after(step: Step, grid: Grid) -> Grid:
    values, size = step.values, np.array(grid.shape)
    if step.name == "ToCanonical":
        return grid.canonical()
    if step.name in ("ToOrientation", "Transpose"):
        return _reoriented(grid, grid.orientation[::-1] if step.name == "Transpose" else values["orientation"])
    if step.name == "Resample":
        target = np.broadcast_to(np.array(values["target"], dtype=float), 3)
        if np.allclose(grid.spacing, target, rtol=SAME_SPACING):
            return grid
        new = np.where(size == 1, 1, np.floor(size * np.array(grid.spacing) / target)).astype(int)
        return _centred(grid, new, target / np.array(grid.spacing))
    if step.name in ("Resize", "LimitSize"):
        new = (
            np.broadcast_to(np.array(values["target_shape"]), 3)
            if step.name == "Resize"
            else np.clip(size, values["smallest"], values["largest"])
        )
        return _centred(grid, new, size / new)
    if step.name == "CropOrPad":
        factor = {"voxels": np.ones(3), "mm": 1 / np.array(grid.spacing), "cm": 10 / np.array(grid.spacing)}[values["units"]]
        new = np.rint(np.array(values["target_shape"]) * factor).astype(int)
        new = np.minimum(new, size) if values["only_crop"] else np.maximum(new, size) if values["only_pad"] else new
        return _cropped(grid, new)
    if step.name == "EnsureShapeMultiple":
        multiple = np.array(values["target_multiple"])
        shares = (np.floor if values["method"] == "crop" else np.ceil)(size / multiple)
        return _cropped(grid, (np.maximum(shares, 1) * multiple).astype(int))
    if step.name in ("Crop", "Pad"):
        sign = 1 if step.name == "Crop" else -1
        bounds = np.array(values["cropping" if sign > 0 else "padding"])
        first, last = bounds.reshape(3, 2).T if bounds.size == 6 else (np.broadcast_to(bounds, 3),) * 2
        return _moved(grid, size - sign * (first + last), sign * first)
    return grid


def _cropped(grid: Grid, new: NDArray[np.int_]) -> Grid:
    # As torchio: of an odd difference the larger half comes first.
    difference = np.array(grid.shape) - new
    return _moved(grid, new, np.sign(difference) * np.ceil(np.abs(difference) / 2))


def _centred(grid: Grid, new: NDArray[np.int_], factor: NDArray[np.floating]) -> Grid:
    first = (np.array(grid.shape) - 1) / 2 - (new - 1) / 2 * factor
    return _moved(grid, new, first, factor)


def _moved(grid: Grid, new: NDArray[np.generic], first: NDArray[np.generic], factor: NDArray[np.floating] | float = 1.0) -> Grid:
    voxels = np.diag([*np.broadcast_to(factor, 3), 1.0])
    voxels[:3, 3] = first
    i, j, k = (max(1, int(side)) for side in new)
    return Grid((i, j, k), grid.affine @ voxels)


def _reoriented(grid: Grid, code: str) -> Grid:
    change = ornt_transform(io_orientation(grid.affine), axcodes2ornt(tuple(code)))
    i, j, k = np.array(grid.shape)[np.argsort(change[:, 0])]
    return Grid((i, j, k), grid.affine @ inv_ornt_aff(change, grid.shape))
