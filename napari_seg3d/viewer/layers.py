"""`Volume` -> napari layers; the axis order changes here, and back in `saving`, and nowhere else.

A volume is shown as ``(z, y, x)`` in the frame of its viewer (see `frames`), with ``scale`` the spacing and ``translate`` the place of
the first voxel in mm; a time series has the time in front. Where its voxels truly lie travels in ``layer.metadata[KEY]`` and comes back
unchanged when the layer is saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from napari.layers import Labels, Layer
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError
from napari_seg3d.viewer.frames import Frame, Placement
from napari_seg3d.viewer.intensities import contrast_limits, is_hu
from napari_seg3d.viewer.label_colours import labels_settings
from napari_seg3d.volumes import Grid, Label, Pyramid, Source, Volume

#: Where a layer's metadata keeps its :class:`Native`.
KEY = "napari_seg3d"
AXES = ("z", "y", "x")

LayerTuple = tuple[Any, dict[str, Any], str]

_SOFT_TISSUE = (-160.0, 240.0)  # HU; a CT opens in the window that shows most organs
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
    volume: Volume,
    name: str,
    labels: Mapping[int, str | Label] | None = None,
    frame: Frame | None = None,
    limits: tuple[float, float] | None = None,
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
    labels : mapping of int to str or Label, optional
        Names of a mask's values, shown in the status bar; left out, those that the volume brings.
    frame : Frame, optional
        The axes of the viewer; left out, those of the volume.
    limits : tuple of float, optional
        Grey values for black and white; left out, the image decides.
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
        own = limits or (_SOFT_TISSUE if unit == "HU" else contrast_limits(array))
        settings |= {"contrast_limits": own, "colormap": "gray", "visible": number == 0} | _SMOOTH
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


def place_over(image: Layer, mask: LayerTuple) -> Labels:
    """Return a Labels layer for a mask that lies on the grid of `image`, at exactly its place."""
    data, settings, _ = mask
    if data.shape[-3:] != image.data.shape[-3:]:
        raise GeometryError(
            f"The mask has {sizes(data.shape)} voxels, but the layer {image.name} has {sizes(image.data.shape)}.",
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


def sizes(shape: tuple[int, ...]) -> str:
    """Return a shape as ``64x79x67``."""
    return "x".join(str(n) for n in shape)
