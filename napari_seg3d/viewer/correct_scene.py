"""`CorrectScene`: the mask that is corrected, and what lies around it that tools look at: the image, other masks, a range of intensities."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import QObject, Signal

from napari_seg3d.errors import ConfigError, Seg3dError
from napari_seg3d.viewer.label_colours import labels_settings
from napari_seg3d.viewer.label_locks import limits_of, set_limits
from napari_seg3d.viewer.label_table_model import LabelTableModel
from napari_seg3d.viewer.layers import KEY, native_of
from napari_seg3d.viewer.mask_part import MaskPart, images_under, masks_beside
from napari_seg3d.viewer.stage import Picture, Stage
from napari_seg3d.viewer.windows import is_in_hu

if TYPE_CHECKING:
    from napari import Viewer

_SOFT_TISSUE = (-50.0, 150.0)


class CorrectScene(QObject):
    """The mask is the one that `LabelTableModel` follows: the selected one, else the one that was, else the topmost visible one.

    Parameters
    ----------
    viewer : napari.Viewer
        Where.
    stage : Stage
        Where a new mask is put.
    labels : LabelTableModel
        Which mask is looked at, and what labels it has.
    """

    #: The image, the other mask, or the range is another.
    changed = Signal()

    def __init__(self, viewer: Viewer, stage: Stage, labels: LabelTableModel) -> None:
        super().__init__()
        self._viewer, self._stage = viewer, stage
        #: Which mask is looked at, and what labels it has.
        self.labels = labels
        self._image: weakref.ref[Image] | None = None
        self._source: weakref.ref[Labels] | None = None

    @property
    def layer(self) -> Labels | None:
        """The mask that is edited."""
        return self.labels.layer

    @property
    def label(self) -> int:
        """The selected label."""
        return 0 if self.layer is None else int(self.layer.selected_label)

    @property
    def masks(self) -> list[Labels]:
        """All masks, the topmost first."""
        return [layer for layer in reversed(self._viewer.layers) if isinstance(layer, Labels)]

    @property
    def is_flat(self) -> bool:
        """Whether the mask has but one slice."""
        return self.layer is not None and (self.layer.ndim == 2 or 1 in self.layer.data.shape[-3:])

    @property
    def images(self) -> list[Image]:
        """The images that lie under the mask."""
        return [] if self.layer is None else images_under(self.layer, list(self._viewer.layers))

    @property
    def image(self) -> Image | None:
        """The image that tools look at: the one that was chosen, else the nearest."""
        images = self.images
        chosen = self._image() if self._image is not None else None
        return chosen if chosen in images else next(iter(images), None)

    def set_image(self, image: Image | None) -> None:
        """Let tools look at another image; the range of intensities follows it. Raises as `set_range`."""
        self._image = None if image is None else weakref.ref(image)
        if self.range is not None:
            self.set_range(self.range)
        self.changed.emit()

    @property
    def sources(self) -> list[Labels]:
        """Other masks of the same shape."""
        return [] if self.layer is None else masks_beside(self.layer, list(self._viewer.layers))

    @property
    def source(self) -> Labels | None:
        """The mask whose labels tools such as Combine look at; None is the one that is edited."""
        chosen = self._source() if self._source is not None else None
        return chosen if chosen in self.sources else None

    def set_source(self, source: Labels | None) -> None:
        """Let tools look at the labels of another mask."""
        self._source = None if source is None else weakref.ref(source)
        self.changed.emit()

    @property
    def range(self) -> tuple[float, float] | None:
        """Which intensities may be painted; None is all."""
        return None if self.layer is None else limits_of(self.layer).intensities

    def usual_range(self) -> tuple[float, float]:
        """Return a range to begin with: soft tissue in CT, else the window."""
        image = self.image
        if image is None or is_in_hu(image):
            return _SOFT_TISSUE
        low, high = (float(f"{limit:.4g}") for limit in image.contrast_limits)
        return low, high

    def set_range(self, intensities: tuple[float, float] | None) -> None:
        """Let only voxels be painted whose intensity lies in a range, by our tools as by napari's.

        Raises
        ------
        Seg3dError
            There is no image under the mask, or it is none of it.
        """
        layer, image = self.layer, self.image
        if layer is None:
            return
        try:
            data = None if image is None else image.data[0] if image.multiscale else image.data
            if intensities is not None and data is None:
                raise ConfigError("There is no image under the mask.", "Open the scan that the mask belongs to.")
            set_limits(layer, None if data is None else np.asarray(data), intensities)
        finally:
            self.changed.emit()  # who wanted another range is shown the one that holds

    def new_mask(self) -> None:
        """Put an empty mask over the image that is looked at, to paint in. Raises a ConfigError where there is none."""
        image = next(
            (one for one in reversed(self._viewer.layers) if isinstance(one, Image) and one.visible and not one.rgb), None
        )
        if image is None:
            raise ConfigError("There is no image to paint on.", "Open a scan.")
        data = image.data[0] if image.multiscale else image.data
        place = {name: getattr(image, name) for name in ("scale", "translate", "units", "axis_labels")}
        look = place | labels_settings()
        layer = Labels(np.zeros(data.shape, np.uint8), name=f"{image.name} mask", metadata=_place_of(image), **look)
        self._viewer.add_layer(layer)
        self._stage.mark_saved(layer)
        self._viewer.layers.selection.active = layer

    def add_maps(self, image: Image, maps: Picture) -> None:
        """Show maps from 0 to 1 over the image, such as where a prediction is uncertain."""
        self._stage.add_maps(image, maps)

    def shown(self, model: ViewerModel | None = None) -> MaskPart:
        """Return what tools see of the mask. Raises a Seg3dError where there is none, or none that can be edited."""
        if self.layer is None:
            raise Seg3dError("There is no mask to correct.", "Open one, press New mask, or predict one.")
        return MaskPart.shown(self.layer, self.image, self._viewer if model is None else model)


def _place_of(image: Image) -> dict[str, object]:
    """Return what says where the voxels of an image lie, for a mask on them; of a resampled one, saving finds that out."""
    native = native_of(image)
    return {} if native is None or native.original is not None else {KEY: replace(native, unit="", notes=())}
