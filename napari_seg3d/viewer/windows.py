"""Windows: which grey values of an image are black and white, said as level and width or by the name of a preset."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_seg3d.viewer.intensities import contrast_limits, glance_at
from napari_seg3d.viewer.layers import native_of

#: Level and width in HU, as they are usual in radiology.
CT_WINDOWS = {
    "Soft tissue": (40.0, 400.0),
    "Lung": (-600.0, 1500.0),
    "Bone": (400.0, 1800.0),
    "Brain": (40.0, 80.0),
    "Liver": (60.0, 160.0),
    "Mediastinum": (50.0, 350.0),
}
# Shares of the tissue that are black and white, in percent, where intensities have no unit.
_PERCENTILES = {"Tissue": (0.5, 99.5), "More contrast": (5.0, 95.0), "Bright structures": (50.0, 99.9)}
FULL = "Full range"
#: What stands for a window that is none of the presets.
OWN_WINDOW = "—"


def image_looked_at(viewer: ViewerModel) -> Image | None:
    """Return the image that the user looks at: the selected one, else the topmost visible one."""
    active = viewer.layers.selection.active
    if isinstance(active, Image) and active.visible:
        return active
    return next((layer for layer in reversed(viewer.layers) if isinstance(layer, Image) and layer.visible), None)


def is_in_hu(image: Image) -> bool:
    """Return whether the intensities of a layer are HU."""
    native = native_of(image)
    return native is not None and native.unit == "HU"


def presets(image: Image) -> tuple[str, ...]:
    """Return the names of the windows that make sense for an image."""
    return (*(CT_WINDOWS if is_in_hu(image) else _PERCENTILES), FULL)


def preset_limits(image: Image) -> dict[str, tuple[float, float]]:
    """Return level and width of each of the `presets` of an image."""
    values = glance_at(image.data[-1] if image.multiscale else image.data)
    found = {}
    for name in presets(image):
        if name in CT_WINDOWS:
            found[name] = CT_WINDOWS[name]
            continue
        finite = values[np.isfinite(values)]
        whole = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        low, high = whole if name == FULL else contrast_limits(values, _PERCENTILES[name])
        found[name] = ((low + high) / 2, high - low)
    return found


def limits_of(image: Image) -> tuple[float, float]:
    """Return level and width of the window of an image."""
    low, high = image.contrast_limits
    return (low + high) / 2, high - low


def set_window(image: Image, level: float, width: float) -> None:
    """Set level and width, in the units of the image."""
    low, high = level - max(width, 1e-6) / 2, level + max(width, 1e-6) / 2
    whole = image.contrast_limits_range
    if low < whole[0] or high > whole[1]:
        # napari clips the limits to this range, which is that of the values; a window may be wider.
        image.contrast_limits_range = (min(low, whole[0]), max(high, whole[1]))
    image.contrast_limits = (low, high)
