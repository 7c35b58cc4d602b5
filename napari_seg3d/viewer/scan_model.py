"""`ScanModel`: opening scans in the background, and the DICOM series that there are to choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_seg3d.errors import Seg3dError
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.layers import frame_of
from napari_seg3d.viewer.look import go_to_centre, show_radiological
from napari_seg3d.viewer.opening import Found, find, find_one
from napari_seg3d.volumes import Series

if TYPE_CHECKING:
    from napari import Viewer


class ScanModel(QObject):
    """What is being opened, and what was found.

    Attributes
    ----------
    series : list of Series
        The series of the folder that was opened last, if it held several.
    thumbnails : dict of int to array
        Their middle slices, as far as they were read, by place in `series`.
    notes : list of str
        What the user should know about the scan that was opened last.
    error : Seg3dError or None
        Why nothing was opened.
    """

    #: The job, the series, the notes or the error is another.
    changed = Signal()
    progressed = Signal(int, int)
    #: The thumbnail of a series was read; with its place in `series`.
    thumbnailRead = Signal(int)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.series: list[Series] = []
        self.thumbnails: dict[int, NDArray[np.uint8]] = {}
        self.notes: list[str] = []
        self.error: Seg3dError | None = None
        self.job: Job | None = None
        self._thumbnail_job: Job | None = None

    def open(self, paths: Sequence[Path]) -> None:
        """Open files and folders; what is not sound leaves the viewer as it is."""
        frame = frame_of(self._viewer.layers)
        self._start(lambda job: find(paths, frame, job.progress, job.is_cancelled))

    def open_series(self, series: Series, resample_irregular: bool = False) -> None:
        """Open one of the series that were found."""
        frame = frame_of(self._viewer.layers)
        self._start(lambda job: find_one(series, frame, resample_irregular, job.progress, job.is_cancelled))

    def offer(self, series: list[Series]) -> None:
        """Show series to choose from, and read their thumbnails meanwhile."""
        if self._thumbnail_job is not None:
            self._thumbnail_job.cancel()
        self.series, self.thumbnails = series, {}
        self.changed.emit()
        thumbnails = self.thumbnails

        def read(job: Job) -> None:
            for at, one in enumerate(series):
                if job.is_cancelled():
                    return
                if one.kind == "other":
                    continue
                try:
                    thumbnails[at] = one.thumbnail()
                except Seg3dError:
                    continue  # opening it will say why
                self.thumbnailRead.emit(at)

        self._thumbnail_job = start_job(read)

    def cancel(self) -> None:
        """Stop opening."""
        if self.job is not None:
            self.job.cancel()

    def show(self, found: Found) -> list[Layer]:
        """Add what was read to the viewer."""
        was_empty = not len(self._viewer.layers)
        show_radiological(self._viewer)
        added = [self._viewer.add_layer(Layer.create(*one)) for one in found.layers]
        if was_empty and added:
            go_to_centre(self._viewer, added[0])
        return added

    def _start(self, work: Callable[[Job], Found]) -> None:
        self.cancel()
        self.error, self.notes = None, []
        self.job = job = start_job(
            work,
            progressed=self.progressed.emit,
            returned=lambda found: self._take(job, found),
            failed=lambda error: self._fail(job, error),
            ended=lambda: self._end(job),
        )
        self.changed.emit()

    def _take(self, job: Job, found: Found) -> None:
        if job is not self.job:
            return
        self.show(found)
        self.notes = found.notes
        if found.series:
            self.offer(found.series)

    def _fail(self, job: Job, error: Seg3dError) -> None:
        if job is self.job:
            self.error = error

    def _end(self, job: Job) -> None:
        if job is self.job:
            self.job = None
            self.changed.emit()
