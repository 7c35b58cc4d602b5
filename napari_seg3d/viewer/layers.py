"""`Volume` <-> napari layers: the only place where the axis order changes.

A volume is shown on its canonical grid as ``(z, y, x)``, with ``scale`` the spacing and ``translate`` the origin in mm. napari
cannot slice permuted or oblique affines, so an oblique volume is shown upright, along its own axes; where its voxels truly lie
travels in ``layer.metadata[KEY]`` and comes back unchanged when the layer is saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import CyclicLabelColormap
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError, Seg3dError
from napari_seg3d.volumes import Grid, Source, Volume

#: Where a layer's metadata keeps its :class:`Native`.
KEY = "napari_seg3d"
AXES = ("z", "y", "x")

LayerTuple = tuple[NDArray[np.generic], dict[str, Any], str]

# Strong and unlike each other on a grey scan, for the colour-blind too; a value has the same colour in every mask.
_COLOURS = (
    "#e6194b", "#3cb44b", "#4363d8", "#ffe119", "#f58231", "#42d4f4", "#911eb4", "#bfef45", "#f032e6", "#469990",
    "#fabed4", "#9a6324", "#aaffc3", "#800000", "#dcbeff", "#808000", "#ffd8b1", "#6a79f7", "#a9a9a9", "#fffac8",
)  # fmt: skip
_SAMPLED_VOXELS = 200_000
# Radiologists' screens interpolate; masks stay voxel by voxel, as they are painted.
_SMOOTH = {"interpolation2d": "linear"}


@dataclass(frozen=True)
class Native:
    """Where the voxels of a layer truly lie.

    Parameters
    ----------
    grid : Grid
        The file's own shape and affine, not the canonical ones.
    source : Source, optional
        The file, and what is needed to write a mask back in the same way.
    """

    grid: Grid
    source: Source | None = None


def layer_data(volume: Volume, name: str, labels: Mapping[int, str] | None = None) -> list[LayerTuple]:
    """Return what napari needs to show `volume`: one ``(data, settings, type)`` for each channel.

    Parameters
    ----------
    volume : Volume
        A mask becomes a Labels layer, an image one Image layer for each channel.
    name : str
        Name of the layer. A file's name without its ending, never anything about the patient.
    labels : mapping of int to str, optional
        Names of a mask's values, shown in the status bar.
    """
    shared = _placement(volume.grid) | {"metadata": {KEY: Native(volume.grid, volume.source)}}
    arrays = [_to_napari(volume.grid, channel) for channel in volume.data]
    if volume.kind == "labels":
        # A copy of its own: painting must not reach into whoever else holds the volume.
        return [(arrays[0].copy(), shared | {"name": name} | labels_settings(labels), "labels")]
    names = [name] if len(arrays) == 1 else [f"{name} [{number}]" for number in range(1, len(arrays) + 1)]
    layers: list[LayerTuple] = []
    for number, (array, channel_name) in enumerate(zip(arrays, names, strict=True)):
        settings = {
            "name": channel_name,
            "contrast_limits": contrast_limits(array),
            "colormap": "gray",
            "visible": number == 0,
        } | _SMOOTH
        layers.append((array, shared | settings, "image"))
    return layers


def labels_settings(names: Mapping[int, str] | None = None) -> dict[str, Any]:
    """Return colours and names for a Labels layer; the colour depends on the value alone."""
    colours = np.array([[0, 0, 0, 0], *(_rgba(colour) for colour in _COLOURS)])
    settings: dict[str, Any] = {"colormap": CyclicLabelColormap(colors=colours, background_value=0), "opacity": 0.5}
    if names:
        values = {0: "background"} | {int(value): text for value, text in names.items()}
        settings["features"] = {"index": list(values), "name": list(values.values())}
    return settings


def label_colour(value: int) -> str:
    """Return the colour that a label value has in every mask, as ``#rrggbb``."""
    return _COLOURS[(value - 1) % len(_COLOURS)]


def layer_to_volume(layer: Layer, others: Iterable[Layer] = ()) -> Volume:
    """Return a layer as a volume in the voxel order of its file.

    Parameters
    ----------
    layer : Image or Labels
        In 3D. One that was not made here, such as a mask drawn with napari's *New labels*, takes the grid of the first of
        `others` that it lies on; else its scale and translate are taken as mm from left to right, back to front and feet to head.
    others : iterable of Layer
        The layers of the viewer.

    Raises
    ------
    Seg3dError
        The layer is neither image nor labels, or not three-dimensional.
    GeometryError
        Its shape is not that of its grid any more.
    """
    if not isinstance(layer, Image | Labels):
        raise Seg3dError(f"The layer {layer.name} is no image and no mask.", "Choose an image or labels layer.")
    if layer.ndim != 3 or getattr(layer, "rgb", False) or layer.multiscale:
        raise Seg3dError(f"The layer {layer.name} is no plain 3D volume.", "Choose a layer with three axes, in grey values.")
    native = native_of(layer) or next((found for other in others if (found := _same_place(layer, other))), None)
    native = native or Native(_grid_from_placement(layer))
    canonical = np.transpose(np.asarray(layer.data), (2, 1, 0))
    if canonical.shape != native.grid.canonical().shape:
        raise GeometryError(
            f"The layer {layer.name} has {_sizes(layer.data.shape)} voxels, but its file has {_sizes(native.grid.canonical().shape[::-1])}.",
            "It was cropped or resampled: save it through another layer that has its own grid.",
        )
    data = native.grid.from_canonical(canonical)[np.newaxis]
    return Volume(data, native.grid.affine, "labels" if isinstance(layer, Labels) else "image", native.source)


def place_over(image: Layer, mask: LayerTuple) -> Labels:
    """Return a Labels layer for a mask that lies on the grid of `image`, at exactly its place."""
    data, settings, _ = mask
    if data.shape != image.data.shape:
        raise GeometryError(
            f"The mask has {_sizes(data.shape)} voxels, but the layer {image.name} has {_sizes(image.data.shape)}.",
            "Choose the layer that the mask was made for.",
        )
    return Labels(data, **settings | {"scale": image.scale, "translate": image.translate})


def marked_centre(data: NDArray[np.generic], settings: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Return where in the world the middle of what a mask ``(z, y, x)`` marks lies; None when it marks nothing.

    A slice is chosen along one axis after the other, each the fullest one: the mean of two kidneys would lie in neither.
    """
    marked = data != 0
    index: list[int] = []
    for axis in range(3):
        counts = marked.sum(axis=tuple(range(1, marked.ndim)))
        if not counts.any():
            return None
        index.append(int(counts.argmax()))
        marked = marked[index[axis]]
    return tuple(
        float(start + step * at) for start, step, at in zip(settings["translate"], settings["scale"], index, strict=True)
    )


def native_of(layer: Layer) -> Native | None:
    """Return where the voxels of a layer truly lie, if we made the layer."""
    native = layer.metadata.get(KEY)
    return native if isinstance(native, Native) else None


def contrast_limits(array: NDArray[np.generic]) -> tuple[float, float]:
    """Return grey values for black and white: percentiles of the tissue, so that neither one hot voxel nor the air decides."""
    step = max(1, round((array.size / _SAMPLED_VOXELS) ** (1 / 3)))
    values = array[::step, ::step, ::step].astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, (0.5, 99.5))
    tissue = values[values > low]
    if tissue.size:  # mostly air: 99.5 % of all voxels would still be dark
        high = np.percentile(tissue, 99.5)
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _to_napari(grid: Grid, channel: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.ascontiguousarray(np.transpose(grid.to_canonical(channel), (2, 1, 0)))


def _placement(grid: Grid) -> dict[str, Any]:
    canonical = grid.canonical()
    return {"scale": canonical.spacing[::-1], "translate": tuple(canonical.affine[2::-1, 3]), "units": "mm", "axis_labels": AXES}


def _same_place(layer: Layer, other: Layer) -> Native | None:
    native = native_of(other)
    if native is None or other is layer or other.ndim != 3 or tuple(other.data.shape) != tuple(layer.data.shape):
        return None
    tolerance = 1e-3 * float(min(other.scale))
    near = np.allclose(layer.scale, other.scale, atol=tolerance) and np.allclose(layer.translate, other.translate, atol=tolerance)
    return native if near else None


def _grid_from_placement(layer: Layer) -> Grid:
    affine = np.diag([*np.abs(layer.scale[::-1]), 1.0])
    affine[:3, 3] = layer.translate[::-1]
    return Grid(tuple(layer.data.shape[::-1]), affine)


def _rgba(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)] + [1.0]


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)
