"""`Stage`: the layers of the case that is looked at, and what becomes of them when the next one comes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels, Layer

from napari_seg3d.viewer.layers import labels_layer_for, layer_data, native_of
from napari_seg3d.viewer.look import go_to_centre, go_to_labels, show_radiological
from napari_seg3d.volumes import Volume

if TYPE_CHECKING:
    from napari import Viewer


class Stage:
    """Shows cases and predictions in one viewer; an edited mask is never thrown away.

    Parameters
    ----------
    viewer : napari.Viewer
        Where.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._layers: list[Layer] = []
        self._preview: list[Layer] = []  # of the validation case; the prediction last
        self._untouched: dict[Labels, int] = {}  # checksum of a mask as it was put here, or saved

    def show_case(self, name: str, image: Volume, mask: Volume | None, labels: Mapping[int, str]) -> list[str]:
        """Show a case instead of the last one.

        Returns
        -------
        list of str
            Names of masks of the last case that were edited and not saved: they stay in the viewer, hidden.
        """
        kept = self._leave()
        for layer in self._preview:
            layer.visible = False
        show_radiological(self._viewer)
        for data, settings, _ in layer_data(image, name):
            self._layers.append(self._viewer.add_image(data, **settings))
        first = self._layers[0]
        go_to_centre(self._viewer, first)
        if mask is not None:
            layer = self.add_mask(first, mask, f"{name} mask", labels)
            self._layers.append(layer)
            go_to_labels(self._viewer, layer)
        return kept

    def add_mask(self, image: Layer, mask: Volume, name: str, labels: Mapping[int, str]) -> Labels:
        """Add a mask over `image` and select it, ready to be corrected."""
        layer = labels_layer_for(image, mask, name, labels)
        self._viewer.add_layer(layer)
        self.mark_saved(layer)
        return layer

    def show_preview(
        self, case: str, image: Volume, mask: Volume | None, prediction: Volume, labels: Mapping[int, str], caption: str
    ) -> None:
        """Show the validation case of a run, or refresh its prediction.

        At first it comes to the front, unless the user is drawing; afterwards only the prediction changes, and neither the view nor
        the selected layer do.
        """
        prediction_name = f"{case} {caption}"
        if self._preview and all(layer in self._viewer.layers for layer in self._preview):
            ((data, _, _),) = layer_data(prediction, "")
            layer = self._preview[-1]
            layer.data, layer.name = data, prediction_name
            return
        self.remove_preview()
        selected, is_drawing = set(self._viewer.layers.selection), self._user_is_drawing()
        if not is_drawing:
            for layer in self._viewer.layers:
                layer.visible = False
        show_radiological(self._viewer)
        for data, settings, _ in layer_data(image, case):
            self._preview.append(self._viewer.add_image(data, **settings))
        first = self._preview[0]
        for volume, name in ((mask, f"{case} mask"), (prediction, prediction_name)):
            if volume is not None:
                layer = labels_layer_for(first, volume, name, labels)
                # The true mask as an outline, the prediction filled: what lies between the two is what is wrong.
                layer.contour = 1 if volume is mask else 0
                self._preview.append(self._viewer.add_layer(layer))
                layer.editable = False  # the next validation replaces it
        if is_drawing:
            for layer in self._preview:
                layer.visible = False
            self._viewer.layers.selection = selected
        else:
            go_to_labels(self._viewer, self._preview[1])

    def remove_preview(self) -> None:
        """Take the validation case away."""
        for layer in self._preview:
            self.remove(layer)
        self._preview = []

    def bring_forward(self, image: Layer, mask: Labels) -> None:
        """Show a scan and a mask on it, and hide what belongs to other scans."""
        was_hidden = not image.visible
        place = native_of(image)
        for layer in self._viewer.layers:
            other = native_of(layer)
            if place is not None and other is not None and not other.grid.matches(place.grid):
                layer.visible = False
        image.visible = mask.visible = True
        if was_hidden:
            go_to_labels(self._viewer, mask)

    def mark_saved(self, layer: Labels) -> None:
        """Remember a mask as it is now: only later changes count as edits."""
        self._untouched[layer] = _checksum(layer)

    def is_edited(self, layer: Labels) -> bool:
        """Return whether a mask that was put here was changed since, and not saved."""
        return layer in self._untouched and self._untouched[layer] != _checksum(layer)

    def remove(self, layer: Layer) -> None:
        """Take a layer away, if it is still there."""
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        self._untouched.pop(layer, None)  # type: ignore[call-overload]

    def _user_is_drawing(self) -> bool:
        active = self._viewer.layers.selection.active
        return isinstance(active, Labels) and active.mode != "pan_zoom" and active.visible

    def _leave(self) -> list[str]:
        kept = []
        for layer in self._layers:
            if layer not in self._viewer.layers:
                continue
            if isinstance(layer, Labels) and self.is_edited(layer):
                layer.visible = False
                kept.append(layer.name)
            else:
                self.remove(layer)
        self._layers = []
        return kept


def _checksum(layer: Labels) -> int:
    return zlib.crc32(np.ascontiguousarray(layer.data).data)
