"""`Stage`: the layers of the case that is looked at, and what becomes of them when the next one comes."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_seg3d.viewer.autosave import forget_edits, journal_of
from napari_seg3d.viewer.frames import Frame
from napari_seg3d.viewer.layers import LayerTuple, layer_data, marked_centre, native_of, place_over
from napari_seg3d.viewer.look import go_to_centre, show_radiological
from napari_seg3d.volumes import Label, Volume

if TYPE_CHECKING:
    from napari import Viewer


@dataclass(frozen=True)
class Picture:
    """All that it takes to show a volume, computed before the window's thread is bothered with it.

    Parameters
    ----------
    layers : list of LayerTuple
        One for a mask, one for each channel of an image.
    centre : tuple of float or None
        Where in the world the middle of what a mask marks lies.
    """

    layers: list[LayerTuple]
    centre: tuple[float, ...] | None

    @classmethod
    def of(
        cls, volume: Volume, name: str, labels: Mapping[int, str | Label] | None = None, frame: Frame | None = None
    ) -> Picture:
        """Return the picture of a volume in a frame, left out in its own; to be called in a job."""
        layers = layer_data(volume, name, labels, frame)
        return cls(layers, marked_centre(*layers[0][:2]) if volume.kind == "labels" else None)


@dataclass(frozen=True)
class Preview:
    """A validation case of a run, as it was predicted at one time.

    Parameters
    ----------
    case : hashable
        Which case of which run it is.
    image : Picture
        The scan.
    mask : Picture or None
        The truth.
    prediction : Picture
        What the network made of the scan.
    errors : Picture or None
        Where the two differ.
    """

    case: Hashable
    image: Picture
    mask: Picture | None
    prediction: Picture
    errors: Picture | None


class Stage:
    """Shows cases and predictions in one viewer; an edited mask is never thrown away.

    Parameters
    ----------
    viewer : napari.Viewer
        Where.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._case: list[Layer] = []
        self._preview_case: Hashable = None
        self._preview: dict[str, list[Layer]] = {}  # of the validation case, by what they are
        # Checksum of a mask as it was put here, or saved. Weak: a layer that the user removes must not stay in memory.
        self._untouched: weakref.WeakKeyDictionary[Labels, int] = weakref.WeakKeyDictionary()

    def show_case(self, image: Picture, mask: Picture | None) -> list[str]:
        """Show a case instead of the last one.

        Returns
        -------
        list of str
            Names of masks of the last case that were edited and not saved: they stay in the viewer, hidden.
        """
        kept = self._leave()
        for layer in self._preview_layers:
            layer.visible = False
        show_radiological(self._viewer)
        self._case = self._add_images(image)
        go_to_centre(self._viewer, self._case[0])
        if mask is not None:
            # Overlapping labels have a layer each.
            self._case += [self.add_mask(self._case[0], Picture([layer], mask.centre)) for layer in mask.layers]
            self._go_to(mask)
        return kept

    @property
    def case_images(self) -> list[Image]:
        """The layers of the scan of the case that is shown, as far as they are still there."""
        return [layer for layer in self._case if isinstance(layer, Image) and layer in self._viewer.layers]

    @property
    def case_masks(self) -> list[Labels]:
        """The layers of its mask: one, or one for each label that may overlap others."""
        return [layer for layer in self._case if isinstance(layer, Labels) and layer in self._viewer.layers]

    def add_mask(self, image: Layer, mask: Picture) -> Labels:
        """Add a mask over `image` and select it, ready to be corrected."""
        layer = self._viewer.add_layer(place_over(image, mask.layers[0]))
        self.mark_saved(layer)
        return layer

    def add_unfinished(self, image: Layer, mask: LayerTuple) -> Labels:
        """Add a mask that is still being made over `image`: nobody can paint in it, and what is selected stays so."""
        selected = set(self._viewer.layers.selection)
        layer = place_over(image, mask)
        layer.editable, layer.visible = False, image.visible
        self._viewer.add_layer(layer)
        self._viewer.layers.selection = selected
        return layer

    def finish_mask(self, layer: Labels, mask: Picture) -> Labels:
        """Put what became of an unfinished mask into its layer, ready to be corrected, with nothing to undo."""
        data, settings, _ = mask.layers[0]
        layer.editable = True
        layer.editable = False  # napari forgets the history here, and before the data: other views take both from the layer
        layer.data, layer.name, layer.metadata = data, settings["name"], settings["metadata"]
        layer.editable = True
        self.mark_saved(layer)
        return layer

    def add_maps(self, image: Layer, maps: Picture) -> list[Image]:
        """Add maps from 0 to 1 (probabilities, uncertainty) over `image`, each channel a layer; the first is visible."""
        there = {"scale": image.scale[-3:], "translate": image.translate[-3:]}
        look = {"contrast_limits": (0.0, 1.0), "colormap": "inferno", "blending": "additive", "opacity": 0.5}
        return [self._viewer.add_image(data, **settings | there | look) for data, settings, _ in maps.layers]

    def show_preview(self, preview: Preview) -> None:
        """Show a validation case, or another prediction of the one that is shown.

        A case comes to the front, unless the user is drawing; of the same case only the prediction and its errors change, and neither
        the view nor the selected layer do.
        """
        if self._preview_case == preview.case and self._refresh(preview):
            return
        self.remove_preview()
        selected, is_drawing = set(self._viewer.layers.selection), self.user_is_drawing()
        if not is_drawing:
            for layer in self._viewer.layers:
                layer.visible = False
        show_radiological(self._viewer)
        images = self._add_images(preview.image)
        self._preview_case, self._preview = preview.case, {"image": images}
        for role, picture in (("mask", preview.mask), ("prediction", preview.prediction), ("errors", preview.errors)):
            self._preview[role] = []
            for data in picture.layers if picture is not None else ():
                layer = self._viewer.add_layer(place_over(images[0], data))
                # The true mask as an outline, the prediction filled: what lies between the two is what is wrong.
                layer.contour = 1 if role == "mask" else 0
                layer.editable = False  # the next validation replaces it
                self._preview[role].append(layer)
        if is_drawing:
            for layer in self._preview_layers:
                layer.visible = False
            self._viewer.layers.selection = selected
        else:
            go_to_centre(self._viewer, images[0])
            self._go_to(preview.mask if preview.mask is not None else preview.prediction)

    def remove_preview(self) -> None:
        """Take the validation case away."""
        self.remove_all(self._preview_layers)
        self._preview_case, self._preview = None, {}

    def bring_forward(self, image: Layer, mask: Layer, picture: Picture) -> None:
        """Show a scan and a mask on it, and hide what belongs to other scans."""
        was_hidden = not image.visible
        place = native_of(image)
        for layer in self._viewer.layers:
            other = native_of(layer)
            if place is not None and other is not None and not other.grid.matches(place.grid):
                layer.visible = False
        image.visible = mask.visible = True
        if was_hidden:
            go_to_centre(self._viewer, image)
            self._go_to(picture)

    def mark_saved(self, layer: Labels, checksum: int | None = None) -> None:
        """Remember a mask as it is now, or as it was when it had that checksum: only later changes count as edits."""
        self._untouched[layer] = self.checksum(layer) if checksum is None else checksum
        if journal_of(layer) is not None and not self.is_edited(layer):
            forget_edits(layer)

    def is_edited(self, layer: Labels) -> bool:
        """Return whether a mask that was put here was changed since, and not saved."""
        return layer in self._untouched and self._untouched[layer] != self.checksum(layer)

    def checksum(self, layer: Labels) -> int:
        """Return a number that is another when a voxel of the mask is."""
        return zlib.crc32(np.ascontiguousarray(layer.data).data)

    def remove(self, layer: Layer) -> None:
        """Take a layer away, if it is still there."""
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def remove_all(self, layers: Sequence[Layer]) -> None:
        """Take layers away together: napari collects garbage after each removal, which takes it half a second a time."""
        if layers:
            with self._viewer.layers.batched_update():
                for layer in layers:
                    self.remove(layer)

    def user_is_drawing(self) -> bool:
        """Return whether a brush or another tool is at work in a mask."""
        active = self._viewer.layers.selection.active
        return isinstance(active, Labels) and active.mode != "pan_zoom" and active.visible

    @property
    def _preview_layers(self) -> list[Layer]:
        return [layer for layers in self._preview.values() for layer in layers]

    def _refresh(self, preview: Preview) -> bool:
        """Show another prediction in the layers that are there; return whether they were."""
        needed = [*self._preview["image"], *self._preview["prediction"]]
        pictures = {
            "prediction": preview.prediction.layers,
            "errors": preview.errors.layers if preview.errors is not None else [],
        }
        if any(layer not in self._viewer.layers for layer in needed) or any(
            len(layers) != len(self._preview[role]) for role, layers in pictures.items()
        ):
            return False
        for role, layers in pictures.items():
            for layer, (data, settings, _) in zip(self._preview[role], layers, strict=True):
                layer.data, layer.name = data, settings["name"]
        return True

    def _add_images(self, picture: Picture) -> list[Layer]:
        return [self._viewer.add_image(data, **settings) for data, settings, _ in picture.layers]

    def _go_to(self, mask: Picture) -> None:
        if mask.centre is not None:
            dims = self._viewer.dims
            dims.set_point(range(dims.ndim - 3, dims.ndim), mask.centre)

    def _leave(self) -> list[str]:
        there = [layer for layer in self._case if layer in self._viewer.layers]
        edited = [layer for layer in there if isinstance(layer, Labels) and self.is_edited(layer)]
        for layer in edited:
            layer.visible = False
        for layer in there:
            if isinstance(layer, Labels) and layer not in edited:
                forget_edits(layer)  # painted, and all of it undone
        self.remove_all([layer for layer in there if layer not in edited])
        self._case = []
        return [layer.name for layer in edited]
