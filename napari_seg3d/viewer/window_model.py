"""`WindowModel`: the window of the image that is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_seg3d.viewer.windows import OWN_WINDOW, image_looked_at, is_in_hu, limits_of, preset_limits, set_window

if TYPE_CHECKING:
    from napari import Viewer


class WindowModel(QObject):
    """Follows the image that is looked at, and its window."""

    #: The image or its window is another.
    changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.image: Image | None = None
        self.unit = ""
        self.presets: dict[str, tuple[float, float]] = {}
        layers = viewer.layers
        for event in (layers.events.inserted, layers.events.removed, layers.events.reordered, layers.selection.events.active):
            event.connect(self._look)
        self._look()

    @property
    def limits(self) -> tuple[float, float]:
        """Level and width; of no image, 0 and 1."""
        return limits_of(self.image) if self.image is not None else (0.0, 1.0)

    def set(self, level: float, width: float) -> None:
        """Give the image this window."""
        if self.image is not None:
            set_window(self.image, level, width)

    def apply(self, preset: str) -> None:
        """Give the image the window of that name."""
        if self.image is not None:
            set_window(self.image, *self.presets[preset])

    def preset_now(self) -> str:
        """Return the name of the window that the image has, "—" if it has none."""
        now = self.limits
        found = (name for name, limits in self.presets.items() if np.allclose(limits, now, rtol=1e-3, atol=1e-3 * now[1]))
        return next(found, OWN_WINDOW)

    def _look(self, event: object = None) -> None:
        image = image_looked_at(self._viewer)
        if image is not self.image:
            if self.image is not None:
                self.image.events.contrast_limits.disconnect(self._tell)
                self.image.events.visible.disconnect(self._look)
            self.image = image
            self.unit, self.presets = "", {}
            if image is not None:
                image.events.contrast_limits.connect(self._tell)
                image.events.visible.connect(self._look)
                self.unit, self.presets = "HU" if is_in_hu(image) else "", preset_limits(image)
        self.changed.emit()

    def _tell(self, event: object = None) -> None:
        self.changed.emit()
