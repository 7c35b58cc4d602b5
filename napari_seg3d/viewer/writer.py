"""Saves masks and images from napari's File menu onto the grid of the scan they belong to."""

from __future__ import annotations

from typing import Any

import napari
import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_seg3d.viewer.autosave import forget_edits
from napari_seg3d.viewer.saving import layer_to_volume
from napari_seg3d.volumes import write_volume


def write_labels(path: str, data: NDArray[np.generic], settings: dict[str, Any]) -> list[str]:
    """Write a Labels layer (the hook that napari calls); see `layer_to_volume` for the grid it takes."""
    written = _write(path, Labels(data, **_placement(settings)))
    viewer = napari.current_viewer()
    for layer in viewer.layers if viewer is not None else ():
        if isinstance(layer, Labels) and layer.data is data:
            forget_edits(layer)
    return written


def write_image(path: str, data: NDArray[np.generic], settings: dict[str, Any]) -> list[str]:
    """Write an Image layer (the hook that napari calls)."""
    # Limits of its own would make napari look through all voxels for nothing.
    return _write(path, Image(data, rgb=bool(settings.get("rgb")), contrast_limits=(0, 1), **_placement(settings)))


def _placement(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in ("name", "scale", "translate", "metadata") if name in settings}


def _write(path: str, layer: Image | Labels) -> list[str]:
    viewer = napari.current_viewer()
    others = list(viewer.layers) if viewer is not None else []
    # napari's file dialog has asked already whether to replace a file; the source itself is refused all the same.
    return [str(write_volume(layer_to_volume(layer, others), path, overwrite=True))]
