"""`OneJob`: what a model of a dock is that does one long thing at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qtpy.QtCore import QObject, Signal

from napari_seg3d.errors import Seg3dError
from napari_seg3d.viewer.jobs import Job, start_job

T = TypeVar("T")


class OneJob(QObject):
    """Does one long thing at a time in the background; what is begun next takes its place.

    Attributes
    ----------
    job : Job or None
        What goes on.
    doing : str
        What that is, as a person says it.
    done : str
        What was last done that cannot be seen otherwise, such as where a file was written.
    error : Seg3dError or None
        Why the last thing was not done.
    """

    #: Something that a dock shows is another.
    changed = Signal()
    progressed = Signal(int, int)

    def __init__(self) -> None:
        super().__init__()
        self.job: Job | None = None
        self.doing = self.done = ""
        self.error: Seg3dError | None = None

    def cancel(self) -> None:
        """Stop what goes on; returns at once."""
        if self.job is not None:
            self.job.cancel()

    def _work(
        self,
        doing: str,
        work: Callable[[Job], T],
        then: Callable[[T], None],
        otherwise: Callable[[], None] | None = None,
    ) -> None:
        """Do something in the background, and then something with what it returns, or another thing where it failed or was cancelled."""
        self.cancel()
        self.error, self.done, self.doing = None, "", doing

        def ended(error: Seg3dError | None) -> None:
            if self.job is job:
                self.job, self.error = None, error
                if otherwise is not None:
                    otherwise()
                self.changed.emit()

        def returned(result: T) -> None:
            if self.job is job:
                self.job = None
                then(result)
                self.changed.emit()

        job = start_job(work, progressed=self.progressed.emit, returned=returned, failed=ended, cancelled=lambda: ended(None))
        self.job = job
        self.changed.emit()

    def _fail(self, error: Seg3dError) -> None:
        """Say why something was not done."""
        self.error, self.done = error, ""
        self.changed.emit()
