"""`MeasureModel`: how well a mask agrees with another one, label by label, and the slice where it does worst."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_seg3d.errors import Seg3dError
from napari_seg3d.evaluation import Evaluation, draw_slice, measure_masks, save_page, worst_slice
from napari_seg3d.evaluation.measure import on_one_grid
from napari_seg3d.evaluation.pictures import Picture
from napari_seg3d.viewer.jobs import Job
from napari_seg3d.viewer.layers import native_of
from napari_seg3d.viewer.one_job import OneJob
from napari_seg3d.viewer.saving import layer_to_volume
from napari_seg3d.volumes import Volume

if TYPE_CHECKING:
    from napari import Viewer

_MOST_PICTURES = 20


class MeasureModel(OneJob):
    """Measures a mask against a reference, both of them layers.

    Attributes
    ----------
    evaluation : Evaluation or None
        What was measured last.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.evaluation: Evaluation | None = None
        self._measured: tuple[Volume, Volume] | None = None  # on one grid
        self._reference: weakref.ref[Labels] | None = None
        self._mask: weakref.ref[Labels] | None = None

    def measure(self, mask: Labels, reference: Labels, tolerance_mm: float = 1.0) -> None:
        """Measure `mask` against `reference`, as both are now; the NSD forgives `tolerance_mm`."""
        others = list(self._viewer.layers)
        flat = next((layer for layer in (mask, reference) if layer.ndim != 3), None)
        if flat is not None:
            self._fail(Seg3dError(f"The mask {flat.name} has {flat.ndim} axes.", "Choose masks of one volume."))
            return
        try:
            # Copies, taken in the window's thread: what is painted meanwhile counts the next time.
            predicted, wanted = (_copied(layer_to_volume(layer, others)) for layer in (mask, reference))
        except Seg3dError as error:
            self._fail(error)
            return
        names = {
            value: label.name for volume in (predicted, wanted) for value, label in volume.labels.items() if label.name and value
        }
        name = mask.name

        def work(job: Job) -> tuple[Evaluation, tuple[Volume, Volume]]:
            one, other = on_one_grid(predicted, wanted)
            there = {int(value) for volume in (one, other) for value in np.unique(volume.data)} - {0}
            labels = {value: names.get(value, "") for value in sorted(there)}
            if not labels:
                raise Seg3dError("Neither mask holds a label.", "Choose two masks with something in them.")
            rows = measure_masks(one, other, labels, tolerance_mm, True, job.progress, job.is_cancelled, case=name)
            return Evaluation(tuple(rows), (), tolerance_mm, "voxels"), (one, other)

        def returned(found: tuple[Evaluation, tuple[Volume, Volume]]) -> None:
            self.evaluation, self._measured = found
            self._mask, self._reference = weakref.ref(mask), weakref.ref(reference)

        self.evaluation, self._measured = None, None
        self._work("Measuring", work, returned)

    def go_to_worst(self, label: int) -> None:
        """Show the slice of the plane in view that has the most wrong voxels of a label, and select the label in the mask."""
        reference = self._reference() if self._reference is not None else None
        mask = self._mask() if self._mask is not None else None
        if self._measured is None or reference is None or mask is None or reference not in self._viewer.layers:
            return
        dims, shown_axes = self._viewer.dims, reference.ndim
        across = dims.order[dims.ndim - 3] - (dims.ndim - shown_axes) if dims.ndim >= 3 else 0
        pair = [_as_shown(volume, reference) for volume in self._measured]

        def work(_job: Job) -> int:
            return worst_slice(pair[0], pair[1], label, across)

        def returned(index: int) -> None:
            place = float(reference.translate[across] + index * reference.scale[across])
            self._viewer.dims.set_point(across + self._viewer.dims.ndim - shown_axes, place)
            if mask in self._viewer.layers:
                mask.selected_label = label

        self._work("Looking for the slice", work, returned)

    def save_csv(self, path: Path) -> None:
        """Write what was measured as a table."""
        evaluation = self.evaluation
        if evaluation is not None:
            self._work("Writing", lambda _job: evaluation.save_csv(path), lambda _done: self._tell_written(path))

    def save_html(self, path: Path) -> None:
        """Write what was measured as a page, with a picture of the worst slice of each label."""
        evaluation, measured = self.evaluation, self._measured
        if evaluation is None or measured is None:
            return

        def work(job: Job) -> None:
            rows = sorted(evaluation.rows, key=lambda row: row.dice)[:_MOST_PICTURES]
            pictures: dict[tuple[str, int], Picture] = {}
            for done, row in enumerate(rows, start=1):
                if job.is_cancelled():
                    return
                pictures[row.case, row.label] = draw_slice(*measured, row.label)
                job.progress(done, len(rows))
            save_page(evaluation, path, pictures)

        self._work("Writing", work, lambda _done: self._tell_written(path))

    def _tell_written(self, path: Path) -> None:
        self.done = f"Written: {path.name}"


def _copied(volume: Volume) -> Volume:
    return replace(volume, data=np.array(volume.data))


def _as_shown(volume: Volume, layer: Labels) -> NDArray[np.generic]:
    """Return the labels of a volume in the axes of a layer, overlapping ones as the highest."""
    native = native_of(layer)
    if native is None:
        return np.asarray(volume.canonical().data.max(axis=0).transpose())
    return np.asarray(native.placement.to_display(volume.data.max(axis=0), is_labels=True).transpose())
