"""Layer -> `Volume` in the voxel order of its file: what is saved, and what is predicted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError, Seg3dError
from napari_seg3d.viewer.frames import Placement
from napari_seg3d.viewer.label_look import styles_of
from napari_seg3d.viewer.layers import Native, Original, native_of, sizes
from napari_seg3d.volumes import Grid, Label, Volume, resample, smallest_integer


def layer_to_volume(layer: Layer, others: Iterable[Layer] = ()) -> Volume:
    """Return a layer as a volume in the voxel order of its file.

    Parameters
    ----------
    layer : Image or Labels
        One that was not made here, such as a mask drawn with napari's *New labels*, takes the grid of the scan among `others` on
        which it lies; on none, its scale and translate are taken as mm from left to right, back to front and feet to head.
    others : iterable of Layer
        The layers of the viewer.

    Raises
    ------
    Seg3dError
        The layer is neither image nor labels, or not of three or four axes.
    GeometryError
        Its shape is not that of its grid any more, or marked voxels lie outside the scan.
    """
    if not isinstance(layer, Image | Labels):
        raise Seg3dError(f"The layer {layer.name} is no image and no mask.", "Choose an image or labels layer.")
    if layer.ndim not in (3, 4) or getattr(layer, "rgb", False):
        raise Seg3dError(f"The layer {layer.name} is no plain 3D volume.", "Choose a layer with three axes, in grey values.")
    is_labels = isinstance(layer, Labels)
    array = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    shown = np.moveaxis(array, (-1, -2, -3), (-3, -2, -1))  # (t), x, y, z
    native = native_of(layer)
    if native is None:
        below = _scan_below(layer, others)
        native = Native(_grid_from_placement(layer)) if below is None else below
        if shown.shape[-3:] != native.placement.shown.shape or (below is not None and below.original is not None):
            shown = _onto(native, layer, shown)
            return _volume(native, shown.reshape((-1, *shown.shape[-3:])), layer)
    if shown.shape[-3:] != native.placement.shown.shape:
        raise GeometryError(
            f"The layer {layer.name} has {sizes(layer.data.shape)} voxels, but its file has {sizes(native.placement.shown.shape[::-1])}.",
            "It was cropped or resampled: save it through another layer that has its own grid.",
        )
    original = native.original
    if original is None:
        data = native.placement.from_display(shown)
    elif is_labels:
        data = _edited(native, original, array)
    else:
        data = original.data
    return _volume(native, data.reshape((-1, *data.shape[-3:])), layer)


def join_labels(masks: Sequence[Volume]) -> Volume:
    """Return masks of overlapping labels, a layer each, as one with a channel for each value: channel c holds 0 and c + 1.

    What was painted in the layer of another label counts as what it was painted as.
    """
    first = masks[0]
    if len(masks) == 1:
        return first
    highest = max(int(mask.data.max()) for mask in masks)
    highest = max([highest, *(value for mask in masks for value in mask.labels)])
    data = np.zeros((highest, *first.grid.shape), smallest_integer(0, highest))
    labels: dict[int, Label] = {}
    for mask in masks:
        labels |= mask.labels
        for value in np.unique(mask.data[mask.data != 0]):
            data[value - 1][mask.data[0] == value] = value
    return replace(first, data=data, labels=dict(sorted(labels.items())), fourth="channel")


def native_labels(layer: Labels) -> dict[int, Label]:
    """Return names and colours of a Labels layer, by value; of a hidden label too."""
    return {value: Label(style.name, style.colour) for value, style in styles_of(layer).items() if value and style.name}


def _volume(native: Native, data: NDArray[np.generic], layer: Layer) -> Volume:
    is_labels = isinstance(layer, Labels)
    return Volume(
        data,
        native.grid.affine,
        "labels" if is_labels else "image",
        native.source,
        labels=native_labels(layer) if is_labels else {},
        fourth="time" if len(data) > 1 else "channel",
        modality=native.modality,
        is_oriented=native.is_oriented,
    )


def _edited(native: Native, original: Original, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the mask of the file with what was painted since; what nobody touched is not resampled."""
    back = partial(np.transpose, axes=(2, 1, 0))
    changed = native.placement.from_display(back((array != original.shown).astype(np.uint8))) != 0
    painted = native.placement.from_display(back(array))
    return np.where(changed, painted, original.data)


def _scan_below(layer: Layer, others: Iterable[Layer]) -> Native | None:
    """Return the grid of the scan on which a foreign layer lies: the one at its very place, else the one that it overlaps most."""
    best, most = None, 0.0
    for other in others:
        native = native_of(other)
        if native is None or other is layer:
            continue
        if _same_place(layer, other):
            return native
        overlap = _overlap(layer, other)
        if overlap > most:
            best, most = native, overlap
    return best


def _same_place(layer: Layer, other: Layer) -> bool:
    if tuple(other.data.shape[-3:]) != tuple(layer.data.shape[-3:]):
        return False
    tolerance = 1e-3 * float(min(other.scale[-3:]))
    return all(
        np.allclose(mine[-3:], its[-3:], atol=tolerance)
        for mine, its in ((layer.scale, other.scale), (layer.translate, other.translate))
    )


def _overlap(layer: Layer, other: Layer) -> float:
    mine, its = layer.extent.world[:, -3:], other.extent.world[:, -3:]
    shared = np.minimum(mine[1], its[1]) - np.maximum(mine[0], its[0])
    return float(np.prod(np.maximum(shared, 1e-3))) if (shared >= 0).all() else 0.0


def _onto(native: Native, layer: Layer, shown: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the voxels ``(x, y, z)`` of a foreign layer at the nearest voxels of a scan, refusing to lose any that are marked."""
    if shown.ndim != 3:
        raise GeometryError(f"The layer {layer.name} has a time axis that its scan has not.", "Draw the mask in three axes.")
    local = _grid_from_placement(layer)
    place = Placement(Grid(local.shape, native.placement.frame.to_patient @ local.affine), native.placement.frame)
    volume = Volume(shown[np.newaxis], place.grid.affine, "labels")
    if isinstance(layer, Labels):
        marked = np.argwhere(shown != 0)
        voxels = (np.linalg.inv(native.grid.affine) @ np.c_[place.grid.to_world(marked), np.ones(len(marked))].T).T[:, :3]
        outside = int(((voxels < -0.5 - 1e-3) | (voxels > np.array(native.grid.shape) - 0.5 + 1e-3)).any(axis=1).sum())
        if outside:
            raise GeometryError(
                f"{outside} marked voxels of the layer {layer.name} lie outside the scan it is saved with.",
                "Erase them, or draw on a labels layer that was made while only that scan was selected.",
            )
    return resample(volume, native.grid, "nearest" if isinstance(layer, Labels) else "linear")[0]


def _grid_from_placement(layer: Layer) -> Grid:
    affine = np.diag([*np.abs(layer.scale[:-4:-1]), 1.0])
    affine[:3, 3] = layer.translate[:-4:-1]
    return Grid(tuple(layer.data.shape[:-4:-1]), affine)
