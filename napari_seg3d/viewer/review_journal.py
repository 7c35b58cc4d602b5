"""`ReviewJournal`: what is said in a viewer goes to the disk in a thread, and what others say comes from there."""

from __future__ import annotations

from qtpy.QtCore import QObject, QTimer, Signal

from napari_seg3d.errors import Seg3dError, WriteError
from napari_seg3d.review import Worklist, explain_folder, write_summary
from napari_seg3d.viewer.jobs import Job, start_job

_MILLISECONDS_BETWEEN_LOOKS = 5000


class ReviewJournal(QObject):
    """Writes for one worklist at a time, and looks every few seconds what is new."""

    #: Somebody else has said something.
    changed = Signal()
    #: It could not be written or read; what was said here is kept and written with the next thing.
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._worklist: Worklist | None = None
        self._writing: Job | None = None
        self._looking: Job | None = None
        self._has_failed = False
        self._timer = QTimer(self)
        self._timer.setInterval(_MILLISECONDS_BETWEEN_LOOKS)
        self._timer.timeout.connect(self.look)

    @property
    def is_idle(self) -> bool:
        """Whether all that was said is on the disk."""
        return self._writing is None and (self._worklist is None or self._worklist.store.is_written)

    def follow(self, worklist: Worklist) -> None:
        """Write for this worklist from now on."""
        self._worklist = worklist
        self._timer.start()

    def stop(self) -> None:
        """Write what is left, and look no more."""
        self._timer.stop()
        if self._worklist is not None and not self._worklist.store.is_written:
            try:
                self._worklist.write()
            except Seg3dError as error:
                self.failed.emit(error)

    def write(self) -> None:
        """Write what was said; whoever says something meanwhile is written next."""
        worklist = self._worklist
        if worklist is None or worklist.store.is_written or self._writing is not None:
            return

        def work(_job: Job) -> None:
            worklist.write()
            try:
                explain_folder(worklist)
                write_summary(worklist)
            except WriteError:
                return  # a spreadsheet has the table open: it is only a copy, and made anew the next time

        self._has_failed = False
        self._writing = start_job(work, failed=self._failed, ended=self._written)

    def look(self) -> None:
        """See what others said since, and write what is not written."""
        worklist = self._worklist
        if worklist is None or self._looking is not None:
            return
        self.write()

        def seen(is_new: bool) -> None:
            if is_new and worklist is self._worklist:
                self.changed.emit()

        self._looking = start_job(lambda _job: worklist.refresh(), returned=seen, failed=self.failed.emit, ended=self._looked)

    def _failed(self, error: Seg3dError) -> None:
        self._has_failed = True
        self.failed.emit(error)

    def _written(self) -> None:
        self._writing = None
        if not self._has_failed:
            self.write()

    def _looked(self) -> None:
        self._looking = None
