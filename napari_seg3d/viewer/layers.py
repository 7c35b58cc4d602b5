"""`Volume` <-> napari layers: the only place where the axis order changes.

A volume is shown as ``(z, y, x)`` in the frame of its viewer (see `frames`), with ``scale`` the spacing and ``translate`` the place of
the first voxel in mm; a time series has the time in front. Where its voxels truly lie travels in ``layer.metadata[KEY]`` and comes back
unchanged when the layer is saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError, Seg3dError
from napari_seg3d.viewer.frames import Frame, Placement
from napari_seg3d.volumes import Grid, Label, Pyramid, Source, Volume, resample

#: Where a layer's metadata keeps its :class:`Native`.
KEY = "napari_seg3d"
AXES = ("z", "y", "x")

LayerTuple = tuple[Any, dict[str, Any], str]

# Strong and unlike each other on a grey scan, for the colour-blind too; a value has the same colour in every mask.
_COLOURS = (
    "#e6194b", "#3cb44b", "#4363d8", "#ffe119", "#f58231", "#42d4f4", "#911eb4", "#bfef45", "#f032e6", "#469990",
    "#fabed4", "#9a6324", "#aaffc3", "#800000", "#dcbeff", "#808000", "#ffd8b1", "#6a79f7", "#a9a9a9", "#fffac8",
)  # fmt: skip
_SOFT_TISSUE = (-160.0, 240.0)  # HU; a CT opens in the window that shows most organs
_SAMPLED_VOXELS = 200_000
_GLANCED_EDGE = 128
# Radiologists' screens interpolate; masks stay voxel by voxel, as they are painted.
_SMOOTH = {"interpolation2d": "linear"}


@dataclass(frozen=True, eq=False)
class Original:
    """What a layer was resampled from, for saving.

    Parameters
    ----------
    data : array of shape (I, J, K)
        The voxels of the file.
    shown : array of shape (z, y, x), optional
        A mask as it came into the viewer: only voxels that differ from it later were edited.
    """

    data: NDArray[np.generic]
    shown: NDArray[np.generic] | None


@dataclass(frozen=True, eq=False)
class Native:
    """Where the voxels of a layer truly lie.

    Parameters
    ----------
    grid : Grid
        The file's own shape and affine, not those of the display.
    source : Source, optional
        The file, and what is needed to write a mask back in the same way.
    frame : Frame, optional
        The axes of the display; left out, those of `grid`.
    modality : str
        As in `Volume`.
    unit : str
        Of the intensities: ``"HU"``, or empty where they have none.
    is_oriented : bool
        As in `Volume`.
    notes : tuple of str
        As in `Volume`.
    original : Original, optional
        What the layer was resampled from; None where its voxels are those of the file.
    """

    grid: Grid
    source: Source | None = None
    frame: Frame | None = None
    modality: str = ""
    unit: str = ""
    is_oriented: bool = True
    notes: tuple[str, ...] = ()
    original: Original | None = None

    @property
    def placement(self) -> Placement:
        """How the grid appears in the frame."""
        return Placement(self.grid, self.frame or Frame.of(self.grid))


def layer_data(
    volume: Volume, name: str, labels: Mapping[int, str] | None = None, frame: Frame | None = None
) -> list[LayerTuple]:
    """Return what napari needs to show `volume`, as ``(data, settings, type)``.

    A mask becomes a Labels layer, and overlapping labels one each; an image becomes an Image layer for each channel, and a time
    series one layer with the time in front.

    Parameters
    ----------
    volume : Volume
        What to show.
    name : str
        Name of the layer. A file's name without its ending, never anything about the patient.
    labels : mapping of int to str, optional
        Names of a mask's values, shown in the status bar; left out, those that the volume brings.
    frame : Frame, optional
        The axes of the viewer; left out, those of the volume.
    """
    place = Placement(volume.grid, frame or Frame.of(volume.grid))
    is_labels = volume.kind == "labels"
    if volume.fourth == "time" and volume.data.shape[0] > 1:
        groups, names = [volume.data], [name]
    else:
        groups = list(volume.data)
        names = [name] if len(groups) == 1 else [f"{name} [{_channel_name(volume, at)}]" for at in range(len(groups))]
    layers: list[LayerTuple] = []
    for number, (data, group_name) in enumerate(zip(groups, names, strict=True)):
        array = _to_napari(place, data, is_labels)
        if is_labels:
            # A copy of its own: painting must not reach into whoever else holds the volume.
            array = np.array(array, order="C")
        original = Original(data, array.copy() if is_labels else None) if place.is_resampled else None
        unit = "HU" if not is_labels and is_hu(array, volume.modality) else ""
        native = Native(
            volume.grid, volume.source, place.frame, volume.modality, unit, volume.is_oriented, volume.notes, original
        )
        settings = {"name": group_name, "metadata": {KEY: native}} | _placement(place, array.ndim)
        if is_labels:
            layers.append((array, settings | labels_settings(labels or volume.labels), "labels"))
            continue
        limits = _SOFT_TISSUE if unit == "HU" else contrast_limits(array)
        settings |= {"contrast_limits": limits, "colormap": "gray", "visible": number == 0} | _SMOOTH
        layers.append((array, settings, "image"))
    return layers


def pyramid_layer_data(pyramid: Pyramid, name: str) -> list[LayerTuple]:
    """Return what napari needs to show an image that stays on the disk, in the frame of its own."""
    grids = [Grid(level.data.shape[1:], level.affine) for level in pyramid.levels]
    frame = Frame.of(grids[0])
    place = Placement(grids[0], frame)
    coarsest = pyramid.levels[-1].data
    native = Native(grids[0], pyramid.source, frame, is_oriented=pyramid.is_oriented, notes=pyramid.notes)
    layers: list[LayerTuple] = []
    is_series = pyramid.fourth == "time" and len(coarsest) > 1
    channels: list[Any] = [slice(None)] if is_series else list(range(len(coarsest)))
    for number, channel in enumerate(channels):
        levels = [
            _to_napari(Placement(grid, frame), level.data[channel], pyramid.is_labels)
            for grid, level in zip(grids, pyramid.levels, strict=True)
        ]
        shown = levels if len(levels) > 1 else levels[0]
        channel_name = name if len(channels) == 1 else f"{name} [{(pyramid.channels or range(1, len(channels) + 1))[number]}]"
        settings = {"name": channel_name, "metadata": {KEY: native}, "multiscale": len(levels) > 1}
        settings |= _placement(place, levels[0].ndim)
        if pyramid.is_labels:
            layers.append((shown, settings | labels_settings(pyramid.labels), "labels"))
            continue
        settings |= {"contrast_limits": contrast_limits(coarsest[channel]), "colormap": "gray", "visible": number == 0}
        layers.append((shown, settings, "image"))
    return layers


def labels_settings(labels: Mapping[int, str | Label] | None = None) -> dict[str, Any]:
    """Return colours and names for a Labels layer; without a colour of its own, a label has the one that its value has everywhere."""
    given: Mapping[int, str | Label] = labels or {}
    known: dict[int, Label] = {int(value): Label(found) if isinstance(found, str) else found for value, found in given.items()}
    settings: dict[str, Any] = {"opacity": 0.5}
    if any(label.colour for label in known.values()):
        colours: dict[int | None, str] = {value: label.colour or label_colour(value) for value, label in known.items()}
        settings["colormap"] = DirectLabelColormap(color_dict={**colours, 0: "transparent", None: label_colour(1)})
    else:
        cycle = np.array([[0, 0, 0, 0], *(_rgba(colour) for colour in _COLOURS)])
        settings["colormap"] = CyclicLabelColormap(colors=cycle, background_value=0)
    if known:
        names = [(0, "background"), *((value, label.name or f"label {value}") for value, label in known.items())]
        settings["features"] = {"index": [value for value, _ in names], "name": [name for _, name in names]}
    return settings


def label_colour(value: int) -> str:
    """Return the colour that a label value has in every mask, as ``#rrggbb``."""
    return _COLOURS[(value - 1) % len(_COLOURS)]


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
            f"The layer {layer.name} has {_sizes(layer.data.shape)} voxels, but its file has {_sizes(native.placement.shown.shape[::-1])}.",
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


def native_labels(layer: Labels) -> dict[int, Label]:
    """Return names and colours of a Labels layer, by value; of a hidden label too."""
    from napari_seg3d.viewer.label_look import styles_of  # which is built on this module

    return {value: Label(style.name, style.colour) for value, style in styles_of(layer).items() if value and style.name}


def place_over(image: Layer, mask: LayerTuple) -> Labels:
    """Return a Labels layer for a mask that lies on the grid of `image`, at exactly its place."""
    data, settings, _ = mask
    if data.shape[-3:] != image.data.shape[-3:]:
        raise GeometryError(
            f"The mask has {_sizes(data.shape)} voxels, but the layer {image.name} has {_sizes(image.data.shape)}.",
            "Choose the layer that the mask was made for.",
        )
    there = {"scale": image.scale[-data.ndim :], "translate": image.translate[-data.ndim :]}
    return Labels(data, **settings | there)


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


def frame_of(layers: Iterable[Layer]) -> Frame | None:
    """Return the frame of the layers of ours that are visible, None when there are none."""
    return next((native.placement.frame for layer in layers if layer.visible and (native := native_of(layer)) is not None), None)


def at_time(volume: Volume, index: int) -> Volume:
    """Return one time point of a time series; other volumes as they are."""
    if volume.fourth != "time" or volume.data.shape[0] == 1:
        return volume
    return replace(volume, data=volume.data[index : index + 1], fourth="channel", channels=())


def glance_at(array: Any) -> NDArray[np.generic]:
    """Return some of the voxels of an array ``(..., z, y, x)``: enough to know its intensities, and quick also from the disk."""
    if not isinstance(array, np.ndarray):  # lazy: every voxel that is skipped would be read all the same
        middle = [slice(max(0, (n - _GLANCED_EDGE) // 2), (n + _GLANCED_EDGE) // 2 + 1) for n in array.shape[-3:]]
        array = np.asarray(array[(*(0,) * (array.ndim - 3), *middle)])
    step = max(1, round((array.size / _SAMPLED_VOXELS) ** (1 / 3)))
    sample: NDArray[np.generic] = array[..., ::step, ::step, ::step]
    return sample


def contrast_limits(array: NDArray[np.generic], shares: tuple[float, float] = (0.5, 99.5)) -> tuple[float, float]:
    """Return grey values for black and white: percentiles of the tissue, so that neither one hot voxel nor the air decides.

    Parameters
    ----------
    array : array of shape (..., z, y, x)
        An image.
    shares : tuple of float
        Which percentiles.
    """
    values = glance_at(array).astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, shares)
    tissue = values[values > low]
    if tissue.size:  # mostly air: 99.5 % of all voxels would still be dark
        high = np.percentile(tissue, shares[1])
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def is_hu(array: NDArray[np.generic], modality: str) -> bool:
    """Return whether intensities are HU.

    Of a CT they are, unless nothing lies below water: then the scanner's raw numbers were exported. Where the file does not say
    what it is, air around -1000 tells: nothing else is measured in such numbers.
    """
    values = glance_at(array).astype(np.float64)
    if modality:
        return modality == "CT" and bool(values.min() < 0)
    low, high = values.min(), values.max()
    return bool(-10000 < low <= -500 and high >= 100 and ((values > -1100) & (values < -150)).mean() > 0.01)


def _channel_name(volume: Volume, at: int) -> str:
    if volume.channels:
        return volume.channels[at]
    label = volume.labels.get(at + 1)
    return label.name if label is not None and label.name else str(at + 1)


def _to_napari(place: Placement, data: Any, is_labels: bool) -> Any:
    """Return ``(..., I, J, K)`` as ``(..., z, y, x)``; a view where nothing is resampled, also of a dask array."""
    shown = place.to_display(data, is_labels)
    leading = range(shown.ndim - 3)
    return shown.transpose((*leading, shown.ndim - 1, shown.ndim - 2, shown.ndim - 3))


def _placement(place: Placement, axes: int) -> dict[str, Any]:
    extra = axes - 3
    return {
        "scale": (1.0,) * extra + place.shown.spacing[::-1],
        "translate": (0.0,) * extra + tuple(place.shown.affine[2::-1, 3]),
        "units": ("s",) * extra + ("mm",) * 3,
        "axis_labels": ("t",) * extra + AXES,
    }


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


def _rgba(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)] + [1.0]


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)
