"""`HalfMade`: the mask of a scan, shown while the network goes on with the rest of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_seg3d.viewer.frames import Frame, Placement
from napari_seg3d.viewer.layers import LayerTuple, layer_data
from napari_seg3d.viewer.stage import Picture, Stage
from napari_seg3d.volumes import Box, Label, Volume

if TYPE_CHECKING:
    from napari import Viewer

_MILLISECONDS_BETWEEN_LOOKS = 250
_BEING_MADE = " (being made)"


class HalfMade(QObject):
    """The mask of one scan from the first part that is known until it is whole.

    Its layers appear with the first part and fill with each further one. What is selected, the slice and the camera stay as they are.
    Overlapping labels have a layer each. Layers that the user deletes meanwhile do not come back before the end.

    Parameters
    ----------
    viewer : napari.Viewer
        Where.
    stage : Stage
        Of that viewer.
    image : Image
        The layer of the scan; when it is closed, the mask goes, too.
    scan : Volume
        The scan.
    name : str
        Of the mask when it is whole.
    frame : Frame, optional
        The axes of the viewer; left out, those of the scan.
    """

    #: The first part is known.
    _begun = Signal(object)

    def __init__(self, viewer: Viewer, stage: Stage, image: Image, scan: Volume, name: str, frame: Frame | None) -> None:
        super().__init__()
        self._viewer, self._stage, self._image, self._scan, self._name = viewer, stage, image, scan, name
        self._placement = Placement(scan.grid, frame or Frame.of(scan.grid))
        self._labels: NDArray[np.generic] | None = None  # (C, I, J, K)
        self._shown: dict[int, NDArray[np.generic]] = {}  # (x, y, z) of the channels that are layers
        self._layers: dict[int, Labels] = {}
        self._is_over = self._has_news = False
        self._begun.connect(self._show)
        # The parts may come faster than the screen can follow, or slower: the window looks when it has time.
        self._timer = QTimer(self)
        self._timer.setInterval(_MILLISECONDS_BETWEEN_LOOKS)
        self._timer.timeout.connect(self._refresh)
        viewer.layers.events.removed.connect(self._forget)

    def take(self, box: Box, values: NDArray[np.generic], labels: Mapping[int, Label]) -> None:
        """Put a part where it belongs; called in the job, which never waits for the window.

        Parameters
        ----------
        box : tuple of slice
            Which voxels of the scan.
        values : array of shape (C, i, j, k)
            What the mask holds there; where labels overlap, channel c holds 0 and c + 1.
        labels : mapping of int to Label
            Of all values.
        """
        if self._labels is None:
            self._labels = np.zeros((len(values), *self._scan.grid.shape), values.dtype)
            pictures = self._pictures(self._labels, labels)
        else:
            pictures = []
        self._labels[(slice(None), *box)] = values
        for channel, shown in self._shown.items():
            self._placement.put(shown, self._labels[channel], box)
        self._has_news = True
        if pictures:
            self._begun.emit(pictures)

    def __contains__(self, layer: Layer) -> bool:
        """Whether a layer shows what is not whole yet."""
        return layer in self._layers.values()

    def finish(self, pictures: list[Picture]) -> list[Labels]:
        """Let the whole masks take the place of what is there; return their layers, in the order of the masks."""
        finished = [
            self._stage.finish_mask(self._layers[number], picture)
            if number in self._layers
            else self._stage.add_mask(self._image, picture)
            for number, picture in enumerate(pictures)
        ]
        self._layers = {}
        self.remove()
        return finished

    def remove(self) -> None:
        """Take what is there away; what comes later is not shown."""
        if self._is_over:
            return
        self._is_over = True
        self._timer.stop()
        with contextlib.suppress(ReferenceError):  # the viewer may be gone by now
            self._viewer.layers.events.removed.disconnect(self._forget)
            self._stage.remove_all(list(self._layers.values()))
        self._layers = {}

    def _pictures(self, data: NDArray[np.generic], labels: Mapping[int, Label]) -> list[LayerTuple]:
        """Return what shows labels ``(C, I, J, K)`` of which nothing is known yet."""
        scan = self._scan
        blank = Volume(data, scan.affine, "labels", scan.source, labels=dict(labels), is_oriented=scan.is_oriented)
        pictures = []
        for channel, name, mask in masks_of(blank, self._name + _BEING_MADE):
            pictures += layer_data(mask, name, frame=self._placement.frame)
            self._shown[channel] = pictures[-1][0].transpose()
        return pictures

    def _show(self, pictures: list[LayerTuple]) -> None:
        if self._is_over or self._image not in self._viewer.layers:
            return
        self._has_news = False
        for number, data in enumerate(pictures):
            self._layers[number] = self._stage.add_unfinished(self._image, data)
        self._timer.start()

    def _refresh(self) -> None:
        if not self._has_news:
            return
        self._has_news = False  # before the layers are drawn: what comes meanwhile is news
        for layer in self._layers.values():
            layer.refresh()
            layer.events.data(value=layer.data)  # the other views of the layer, and who counts its voxels, hear it here

    def _forget(self, event: object) -> None:
        removed: Layer = event.value  # type: ignore[attr-defined]
        self._layers = {number: layer for number, layer in self._layers.items() if layer is not removed}
        if removed is self._image:
            QTimer.singleShot(0, self.remove)  # not now: the list of layers is busy


def masks_of(labels: Volume, name: str) -> Iterator[tuple[int, str, Volume]]:
    """Yield what becomes a layer each, with its channel and name: a mask, or each of the labels that overlap."""
    if len(labels.data) == 1:
        yield 0, name, labels
        return
    for value, label in labels.labels.items():
        mask = replace(labels, data=labels.data[value - 1 : value], labels={value: label})
        yield value - 1, f"{name} [{label.name or value}]", mask
