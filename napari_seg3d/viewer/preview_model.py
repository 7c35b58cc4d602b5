"""`PreviewModel`: the validation case of a run, with its prediction redrawn after each validation."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_seg3d.datasets import place_mask, read_mask
from napari_seg3d.training import Run
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.run_watch import RunWatch
from napari_seg3d.viewer.stage import Picture, Stage
from napari_seg3d.volumes import read_volume


class PreviewModel(QObject):
    """Brings the newest preview of the followed run onto the stage.

    Attributes
    ----------
    is_on : bool
        Whether the validation case is shown at all.
    """

    #: A preview could not be read; with the error.
    failed = Signal(object)

    def __init__(self, stage: Stage, watch: RunWatch) -> None:
        super().__init__()
        self.is_on = True
        self._iteration = -1
        self._stage, self._watch = stage, watch
        watch.runChanged.connect(self._begin_anew)
        watch.eventsArrived.connect(self._take)

    def set_on(self, is_on: bool) -> None:
        """Choose whether the validation case is shown; turned on, it comes to the front."""
        self.is_on = is_on
        if is_on:
            self._stage.remove_preview()
            self._take(self._watch.events)
        else:
            self._stage.remove_preview()

    def _take(self, events: list[dict[str, Any]]) -> None:
        newest = next((event for event in reversed(events) if event["kind"] == "preview"), None)
        run = self._watch.run
        if newest is None or run is None or not self.is_on:
            return

        names: dict[str, str] = next((found["labels"] for found in self._watch.events if found["kind"] == "plan"), {})
        labels = {int(value): name for value, name in names.items()}
        case, epoch = newest["case"], newest["epoch"]

        def read(_job: Job) -> tuple[Picture, Picture | None, Picture]:
            image = read_volume(newest["image"], "image")
            mask = place_mask(read_mask(run.folder / newest["mask"]), image) if newest["mask"] else None
            prediction = read_volume(run.folder / newest["prediction"], "labels")
            return (
                Picture.of(image, case),
                Picture.of(mask, f"{case} mask", labels) if mask is not None else None,
                Picture.of(prediction, f"{case} epoch {epoch:g}", labels),
            )

        start_job(read, returned=lambda pictures: self._show(run, newest["iteration"], *pictures), failed=self.failed.emit)

    def _show(self, run: Run, iteration: int, image: Picture, mask: Picture | None, prediction: Picture) -> None:
        # Two previews may be read at a time, and the older one may take longer.
        if run == self._watch.run and self.is_on and iteration >= self._iteration:
            self._iteration = iteration
            self._stage.show_preview(image, mask, prediction)

    def _begin_anew(self) -> None:
        self._iteration = -1
        self._stage.remove_preview()
