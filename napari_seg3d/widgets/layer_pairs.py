"""Which image layer belongs to which labels layer, to save what is open in the viewer as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari.layers import Image, Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QGridLayout, QPushButton, QWidget

from napari_seg3d.viewer.layer_dataset import LayerPair
from napari_seg3d.widgets.parts import Folded

if TYPE_CHECKING:
    from napari import Viewer

_NONE = "no mask"


class LayerPairs(Folded):
    """Lists the image layers, each with the labels layer that is its mask.

    Attributes
    ----------
    chosen : Signal
        (pairs) Save these as a data set.
    """

    chosen = Signal(list)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(
            "From open layers",
            "Save the images that are open in the viewer, with masks drawn on them, as a data set to train on.",
        )
        self._viewer = viewer
        self._rows: list[tuple[QCheckBox, QComboBox, Image]] = []
        self._decided: set[int] = set()  # images whose mask a person has chosen
        self._list = QWidget()
        self._grid = QGridLayout(self._list)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(0, 1)
        self._grid.setColumnStretch(1, 1)
        self.rows.addWidget(self._list)
        self.button = QPushButton("Data set from open layers…")
        self.button.setToolTip(
            "<p>Choose a new folder; images, masks and dataset.yaml go into it. The files they came from stay.</p>"
        )
        self.button.clicked.connect(lambda: self.chosen.emit(self.pairs))
        self.rows.addWidget(self.button)
        heard = (viewer.layers.events.inserted, viewer.layers.events.removed)
        for event in heard:
            event.connect(self._fill)
        # Qt forgets the slots of a widget that is gone; napari does not.
        self.destroyed.connect(lambda: [event.disconnect(self._fill) for event in heard])
        self._fill()

    @property
    def pairs(self) -> list[LayerPair]:
        """What is ticked."""
        return [LayerPair(image, masks.currentData()) for box, masks, image in self._rows if box.isChecked()]

    def _fill(self, _event: object = None) -> None:
        """Show the layers that there are now; what was chosen for those that stay is kept."""
        before = {id(image): (box.isChecked(), masks.currentData()) for box, masks, image in self._rows}
        self._decided &= set(before)
        for box, masks, _image in self._rows:
            for widget in (box, masks):
                self._grid.removeWidget(widget)
                widget.deleteLater()
        self._rows = []
        masks_there = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        for row, image in enumerate(layer for layer in self._viewer.layers if isinstance(layer, Image)):
            ticked, mask = before.get(id(image), (True, None))
            mask = mask if id(image) in self._decided else _likely(image, masks_there)
            box = QCheckBox(image.name if len(image.name) <= 16 else f"…{image.name[-15:]}")
            box.setChecked(ticked)
            box.setToolTip(image.name)
            combo = QComboBox()
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(8)
            combo.setToolTip("<p>The mask that was drawn on this image.</p>")
            combo.addItem(_NONE, None)
            for layer in masks_there:
                combo.addItem(layer.name, layer)
            combo.activated.connect(lambda _index, image=image: self._decided.add(id(image)))
            combo.setCurrentIndex(masks_there.index(mask) + 1 if mask in masks_there else 0)
            self._grid.addWidget(box, row, 0)
            self._grid.addWidget(combo, row, 1)
            self._rows.append((box, combo, image))
        self.button.setEnabled(bool(self._rows))


def _likely(image: Image, masks: Sequence[Labels]) -> Labels | None:
    """Return the mask that is called like the image, or the only one that there is."""
    named = [mask for mask in masks if mask.name.startswith(image.name)]
    return named[0] if named else masks[0] if len(masks) == 1 else None
