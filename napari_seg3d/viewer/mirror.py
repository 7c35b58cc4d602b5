"""`Mirror`: a second napari layer with the same voxels, for a second view; what is done to one is seen in the other."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from napari.layers import Image, Labels, Layer

from napari_seg3d.viewer.label_look import history_of
from napari_seg3d.viewer.undo import keep_undo

# What both layers have in common, besides their voxels.
_SHARED = ("visible", "opacity", "blending", "name", "scale", "translate")
_SHARED_IMAGE = ("contrast_limits_range", "contrast_limits", "gamma", "colormap", "interpolation2d")
_SHARED_LABELS = (
    "colormap",
    "contour",
    "selected_label",
    "brush_size",
    "n_edit_dimensions",
    "preserve_labels",
    "contiguous",
    "editable",
    "mode",
)


class Mirror:
    """A layer and its copy in another viewer.

    Parameters
    ----------
    layer : Image or Labels
        The layer in the first viewer.
    apart : set of str
        Properties that the copy has for itself.

    Attributes
    ----------
    copy : Image or Labels
        Shares the array of `layer`.
    """

    def __init__(self, layer: Image | Labels, apart: Set[str] = frozenset()) -> None:
        self.layer = layer
        self.copy: Layer = Layer.create(*layer.as_layer_data_tuple())
        self._heard: list[tuple[Any, Callable[..., None]]] = []
        self._is_busy = False
        specific = _SHARED_LABELS if isinstance(layer, Labels) else _SHARED_IMAGE
        for name in (*_SHARED, *specific):
            if name not in apart:
                self._follow(layer, self.copy, name)
                self._follow(self.copy, layer, name)
        self._hear(layer.events.data, self._take_data)
        if isinstance(layer, Labels):
            self.copy.metadata = layer.metadata
            self.copy.editable = layer.editable
            # One history: a stroke can be undone from either view.
            keep_undo(self.copy, like=layer)
            self._drawn = history_of(self.layer)
            for one, other in ((layer, self.copy), (self.copy, layer)):
                # Undo and redo tell nobody; they draw the slice anew.
                for event in (one.events.paint, one.events.set_data):
                    self._hear(event, lambda _event, other=other: self._redraw(other))

    def disconnect(self) -> None:
        """Let both layers go their own ways."""
        for event, answer in self._heard:
            event.disconnect(answer)
        self._heard.clear()

    def _follow(self, one: Layer, other: Layer, name: str) -> None:
        def take(_event: object) -> None:
            if self._is_busy:
                return
            self._is_busy = True
            try:
                setattr(other, name, getattr(one, name))
            finally:
                self._is_busy = False

        self._hear(getattr(one.events, name), take)

    def _hear(self, event: Any, answer: Callable[..., None]) -> None:
        event.connect(answer)
        self._heard.append((event, answer))

    def _take_data(self, _event: object) -> None:
        if self.copy.data is self.layer.data:
            self.copy.refresh()  # other voxels in the same array
            return
        self.copy.data = self.layer.data

    def _redraw(self, other: Labels) -> None:
        if self._is_busy or history_of(self.layer) == self._drawn:
            return  # only another slice was shown
        self._is_busy = True
        try:
            self._drawn = history_of(self.layer)
            other.refresh()
        finally:
            self._is_busy = False
