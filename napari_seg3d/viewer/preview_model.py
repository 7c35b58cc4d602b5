"""`PreviewModel`: the validation case of a run, with its prediction redrawn after each validation."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_seg3d.training import Run
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.run_watch import RunWatch
from napari_seg3d.viewer.stage import Stage
from napari_seg3d.volumes import Volume, read_volume


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
        self._stage, self._watch = stage, watch
        watch.runChanged.connect(stage.remove_preview)
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

        def read(_job: Job) -> tuple[Volume, Volume | None, Volume]:
            mask = read_volume(newest["mask"], "labels") if newest["mask"] else None
            return read_volume(newest["image"], "image"), mask, read_volume(run.folder / newest["prediction"], "labels")

        start_job(read, returned=lambda volumes: self._show(run, newest, *volumes), failed=self.failed.emit)

    def _show(self, run: Run, event: dict[str, Any], image: Volume, mask: Volume | None, prediction: Volume) -> None:
        if run != self._watch.run or not self.is_on:
            return
        names: dict[str, str] = next((found["labels"] for found in self._watch.events if found["kind"] == "plan"), {})
        labels = {int(value): name for value, name in names.items()}
        self._stage.show_preview(event["case"], image, mask, prediction, labels, f"epoch {event['epoch']:g}")
