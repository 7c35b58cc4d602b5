"""`ReviewPictures`: the thumbnails of a worklist, drawn in a thread for the rows that somebody sees."""

from __future__ import annotations

import threading
from pathlib import Path

from qtpy.QtCore import QObject, Signal

from napari_seg3d.datasets import Dataset, read_case_image
from napari_seg3d.errors import Seg3dError
from napari_seg3d.review import Entry, make_thumbnail, prune_thumbnails, read_mask_in_use, thumbnail_file
from napari_seg3d.viewer.jobs import Job, start_job

_MOST_WAITING = 40  # what was scrolled past long ago is not drawn


class ReviewPictures(QObject):
    """Knows the pictures of cases, and draws those that are missing."""

    #: One more is there.
    drawn = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[object, Path] = {}
        self._waiting: list[tuple[Entry, Dataset]] = []
        self._failed: set[object] = set()
        self._guard = threading.Lock()
        self._job: Job | None = None
        self._is_pruned = False

    def picture_of(self, entry: Entry, dataset: Dataset) -> Path | None:
        """Return the picture of a case, or see to it that it will be drawn: the row that was seen last comes first."""
        key = (entry.case.id, entry.mask)
        if key in self._files:
            return self._files[key]
        with self._guard:
            if key not in self._failed and all(
                one[0].case.id != entry.case.id or one[0].mask != entry.mask for one in self._waiting
            ):
                self._waiting = [*self._waiting, (entry, dataset)][-_MOST_WAITING:]
        if self._job is None:
            self._job = start_job(self._draw, ended=self._ended)
        return None

    def forget(self) -> None:
        """Draw nothing more."""
        with self._guard:
            self._waiting.clear()
        if self._job is not None:
            self._job.cancel()

    def _draw(self, job: Job) -> None:
        while not job.is_cancelled():
            with self._guard:
                if not self._waiting:
                    return
                entry, dataset = self._waiting[-1]
            key = (entry.case.id, entry.mask)
            try:
                file = thumbnail_file(entry)
                if not file.exists():
                    image = read_case_image(entry.case)
                    file = make_thumbnail(entry, image, read_mask_in_use(entry, dataset, image))
                self._files[key] = file
            except Seg3dError:
                self._failed.add(key)  # opening the case says what is wrong with it
            with self._guard:
                self._waiting = [one for one in self._waiting if (one[0].case.id, one[0].mask) != key]
            self.drawn.emit()

    def _ended(self) -> None:
        self._job = None
        with self._guard:
            is_left = bool(self._waiting)
        if is_left:
            self._job = start_job(self._draw, ended=self._ended)
        elif not self._is_pruned:
            self._is_pruned = True
            start_job(lambda _job: prune_thumbnails())
