"""`ReviewComparison`: where the mask that is looked at differs from another one, as a layer, and a jump from piece to piece."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_seg3d.datasets import Dataset, read_mask
from napari_seg3d.datasets.placing import place_mask
from napari_seg3d.errors import Seg3dError
from napari_seg3d.review import (
    AGREED,
    MISSED,
    OTHER,
    TOO_MUCH,
    Difference,
    Entry,
    MaskInUse,
    Worklist,
    agreement_map,
    differences,
)
from napari_seg3d.review.measuring import read_mask_in_use
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.layers import native_of
from napari_seg3d.viewer.review_stage import ReviewStage
from napari_seg3d.viewer.saving import layer_to_volume
from napari_seg3d.viewer.stage import Picture, Stage
from napari_seg3d.volumes import Label, Volume

if TYPE_CHECKING:
    from napari import Viewer

#: As the validation case of a run shows its errors; what both have is left clear.
_LOOK = {
    MISSED: Label("missed", "#ff2d2d"),
    TOO_MUCH: Label("too much", "#00d5ff"),
    OTHER: Label("other label", "#ffd166"),
}


# Less is seldom worth a jump: ten voxels of a millimetre.
_SMALLEST_ML = 0.01


class ReviewComparison(QObject):
    """Compares the mask of the case on the stage with another mask of it.

    Attributes
    ----------
    pieces : list of Difference
        From large to small, in voxels ``(z, y, x)`` of the layer.
    index : int
        Which of them is looked at; -1 before the first jump.
    smallest_ml : float
        Smaller ones are passed over.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, stage: Stage, case: ReviewStage) -> None:
        super().__init__()
        self._viewer, self._stage, self._case = viewer, stage, case
        self.pieces: list[Difference] = []
        self.index = -1
        self.smallest_ml = _SMALLEST_ML
        self.error: Seg3dError | None = None
        self.job: Job | None = None
        #: What the mask is compared with, as a person says it.
        self.name = ""
        self._asked: tuple[Entry, Dataset] | None = None
        self._layer: Labels | None = None
        self._compared: tuple[int, ...] = ()  # check sums of the layers as they were

    @property
    def is_on(self) -> bool:
        """Whether a comparison is shown, or is being made."""
        return self._asked is not None

    def begin(self, entry: Entry, dataset: Dataset, other: MaskInUse, name: str) -> None:
        """Compare the mask on the stage, as it is now, with another mask of the case."""
        self.end()
        self.name = name
        self._asked = (replace(entry, mask=other), dataset)
        self._compare()

    def end(self) -> None:
        """Take the comparison away."""
        if self.job is not None:
            self.job.cancel()
        was_on = self.is_on
        self._asked, self.job, self.error, self.pieces, self.index = None, None, None, [], -1
        self._remove_layer()
        for mask in self._case.masks:
            mask.contour = 0
        if was_on:
            self.changed.emit()

    def set_smallest(self, ml: float) -> None:
        """Pass over smaller pieces from now on; what is compared is compared anew."""
        self.smallest_ml = ml
        if self.is_on:
            if self.job is not None:
                self.job.cancel()
            self._compare()

    def jump(self, step: int) -> None:
        """Look at the next smaller piece, or with -1 at the next larger one; after an edit, at the largest that is left."""
        masks = self._case.masks
        if masks and self._asked is not None and self.job is None and self._compared != tuple(map(self._stage.checksum, masks)):
            self._compare()
            return
        if not self.pieces or self._layer is None:
            return
        self.index = (self.index + step) % len(self.pieces) if self.index >= 0 else (0 if step > 0 else len(self.pieces) - 1)
        self._go()

    @property
    def piece(self) -> Difference | None:
        """The one that is looked at."""
        return self.pieces[self.index] if 0 <= self.index < len(self.pieces) else None

    def _compare(self) -> None:
        masks = self._case.masks
        assert self._asked is not None
        if not masks:
            self.error = Seg3dError("There is no mask to compare.", "Open a case that has one.")
            self._asked = None
            self.changed.emit()
            return
        entry, dataset = self._asked
        native = native_of(masks[0])
        frame = native.placement.frame if native is not None else None
        scale, was_at = tuple(float(step) for step in masks[0].scale[-3:]), self.index
        checksums = tuple(map(self._stage.checksum, masks))
        try:
            mask = layer_to_volume(masks[0])
        except Seg3dError as error:
            self.error = error
            self.changed.emit()
            return
        shown = _together(
            [np.asarray(layer.data) for layer in masks]
        ).copy()  # whoever paints on does not paint into the comparison

        def work(job: Job) -> tuple[Picture, list[Difference], int, tuple[int, ...]]:
            found = _read(entry, dataset)
            if found is None:
                raise Seg3dError("There is no mask to compare with.", "Choose another one.")
            reference = Picture.of(place_mask(found, mask), "reference", frame=frame)
            truth = _together([data for data, _, _ in reference.layers])
            pieces = differences(shown, truth, scale, self.smallest_ml, cancelled=job.is_cancelled)
            agreed = agreement_map(shown, truth)
            agreed[agreed == AGREED] = 0
            data, settings, kind = Picture.of(
                replace(mask, data=np.zeros_like(mask.data[:1]), labels={}), "differences", _LOOK, frame
            ).layers[0]
            assert data.shape == agreed.shape
            picture = Picture([(agreed, {**settings, "opacity": 0.7}, kind)], None)
            return picture, pieces, was_at, checksums

        self.error = None

        def ended() -> None:
            if self.job is job:
                self.job = None
                self.changed.emit()

        job = start_job(work, returned=lambda found: self._show(*found), failed=self._failed, ended=ended)
        self.job = job
        self.changed.emit()

    def _show(self, picture: Picture, pieces: list[Difference], was_at: int, checksums: tuple[int, ...]) -> None:
        images, masks = self._case.images, self._case.masks
        if not images or not masks or self._asked is None:
            return
        self._remove_layer()
        selected = set(self._viewer.layers.selection)
        self._layer = self._stage.add_unfinished(images[0], picture.layers[0])
        self._viewer.layers.selection = selected
        for mask in masks:
            mask.contour = 1  # between its outline and the colours lies what is wrong
        self.pieces, self._compared = pieces, checksums
        self.index = min(max(was_at, 0), len(pieces) - 1)
        self._go()

    def _go(self) -> None:
        piece = self.piece
        if piece is not None and self._layer is not None and self._layer in self._viewer.layers:
            place = [
                float(start + step * at)
                for start, step, at in zip(self._layer.translate[-3:], self._layer.scale[-3:], piece.centre, strict=True)
            ]
            dims = self._viewer.dims
            dims.set_point(range(dims.ndim - 3, dims.ndim), place)
            if dims.ndisplay == 2:
                centre = list(self._viewer.scene.camera.center)
                for number, axis in enumerate(dims.displayed, start=1):
                    centre[number] = place[axis - dims.ndim + 3]
                self._viewer.scene.camera.center = tuple(centre)
        self.changed.emit()

    def _remove_layer(self) -> None:
        if self._layer is not None:
            self._stage.remove(self._layer)
            self._layer = None

    def _failed(self, error: Seg3dError) -> None:
        self.error, self._asked = error, None


def masks_to_compare(worklist: Worklist, entry: Entry) -> list[tuple[str, MaskInUse]]:
    """Return the masks that the one in use can be compared with, by name: the reference, what it began as, those of other reviewers."""
    found: list[tuple[str, MaskInUse]] = []
    if entry.mask is None:
        return found
    if entry.case.mask is not None:
        found.append(("the reference" if entry.has_reference else "the mask as it was", MaskInUse(None, "data set")))
    start = worklist.start_of(entry.case.id)
    if start is not None and start.origin == "prediction":
        found.append(("the prediction", start))
    for who, reading in entry.readings.items():
        if reading.mask is not None and who != worklist.who:
            found.append((f"the mask of {who}", reading.mask))
    return found


def _read(entry: Entry, dataset: Dataset) -> Volume | None:
    return read_mask(entry.mask.file, overlapping=True) if entry.mask and entry.mask.file else read_mask_in_use(entry, dataset)


def _together(layers: list[NDArray[np.integer]]) -> NDArray[np.integer]:
    """Return layers of labels that may overlap as one map; where they do, the highest counts."""
    joined = layers[0]
    for layer in layers[1:]:
        joined = np.maximum(joined, layer)
    return joined
