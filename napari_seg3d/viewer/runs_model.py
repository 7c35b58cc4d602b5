"""`RunsModel`: the runs on this machine, and those of them that are compared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_seg3d.errors import Seg3dError
from napari_seg3d.training import Run, find_runs, resume_run
from napari_seg3d.training.runs.history import RunHistory
from napari_seg3d.training.runs.reader import HistoryReader, HistoryShelf
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.run_watch import RunWatch

if TYPE_CHECKING:
    from napari_seg3d.inference.export import Format

_MILLISECONDS_BETWEEN_LOOKS = 1000
# Hundreds of long runs take some seconds at first: the newest are shown meanwhile.
_FIRST = 25


class RunsModel(QObject):
    """All runs that were found, kept up to date while somebody looks.

    Parameters
    ----------
    watch : RunWatch
        Follows a run that is resumed.

    Attributes
    ----------
    folder : Path or None
        Where else to look for runs, besides those known on this machine.
    histories : list of RunHistory
        A summary of each run, newest first.
    compared : list of RunHistory
        All that is known of the chosen runs, in the order in which they were chosen.
    """

    #: The list of runs, or what one of them tells, is another.
    changed = Signal()
    #: Other runs are compared, or one of them tells more.
    comparedChanged = Signal()
    #: Something could not be done; with the error.
    failed = Signal(object)
    #: Something was done that cannot be seen otherwise; in words.
    done = Signal(str)
    _partlyRead = Signal(list)

    def __init__(self, watch: RunWatch) -> None:
        super().__init__()
        self.folder: Path | None = None
        self.histories: list[RunHistory] = []
        self.compared: list[RunHistory] = []
        self.job: Job | None = None
        self._watch = watch
        self._chosen: list[Run] = []
        # Touched by the job alone, of which there is one at a time.
        self._shelf = HistoryShelf()
        self._readers: dict[Run, HistoryReader] = {}
        self._look_again = False
        self._partlyRead.connect(self._take_first)
        self._timer = QTimer()
        self._timer.setInterval(_MILLISECONDS_BETWEEN_LOOKS)
        self._timer.timeout.connect(self._look_if_idle)

    # -- looking -------------------------------------------------------------------------------------------------------------------

    def set_watched(self, is_watched: bool) -> None:
        """Look now and again and again, while somebody sees it."""
        if is_watched:
            self.look()
            self._timer.start()
            return
        with contextlib.suppress(RuntimeError):  # the window, and what counts its time, may be gone by now
            self._timer.stop()

    def look_in(self, folder: Path | None) -> None:
        """Look for runs in another folder, too."""
        self.folder = folder
        self.look()

    def choose(self, runs: Sequence[Run]) -> None:
        """Compare these runs."""
        self._chosen = list(runs)
        self.compared = [history for run in runs for history in self.compared if history.run == run]
        self.comparedChanged.emit()
        self.look()

    def look(self) -> None:
        """Read what is new, in the background."""
        if self.job is not None:
            self._look_again = True
            return
        folder, chosen, is_first = self.folder, tuple(self._chosen), not self.histories

        def read(job: Job) -> tuple[list[RunHistory], list[RunHistory]]:
            runs = find_runs()
            if folder is not None:
                known = set(runs)
                runs += [run for run in find_runs(folder) if run not in known]
            self._readers = {run: self._readers.get(run) or HistoryReader(run) for run in chosen}
            # What somebody waits for comes first.
            compared = [reader.read() for reader in self._readers.values()]
            if is_first:
                for end in range(_FIRST, len(runs), _FIRST):
                    self._partlyRead.emit(self._shelf.read(runs[:end], job.is_cancelled))
            return self._shelf.read(runs, job.is_cancelled), compared

        self.job = start_job(
            read, returned=lambda found: self._take(chosen, *found), failed=self.failed.emit, ended=self._note_end
        )

    def _take_first(self, histories: list[RunHistory]) -> None:
        self.histories = histories
        self.changed.emit()

    def _look_if_idle(self) -> None:
        if self.job is None:
            self.look()

    def _take(self, chosen: tuple[Run, ...], histories: list[RunHistory], compared: list[RunHistory]) -> None:
        # A history that is the same object tells nothing new.
        if not _are_same(histories, self.histories):
            self.histories = histories
            self.changed.emit()
        if chosen == tuple(self._chosen) and not _are_same(compared, self.compared):
            self.compared = compared
            self.comparedChanged.emit()

    def _note_end(self) -> None:
        self.job = None
        if self._look_again:
            self._look_again = False
            self.look()

    # -- what can be done with runs ------------------------------------------------------------------------------------------------

    def resume(self, run: Run) -> None:
        """Go on with a run that ended before its time, and follow it."""
        self._do(lambda: resume_run(run), lambda _run: self._watch.follow(run))

    def delete(self, runs: Sequence[Run]) -> None:
        """Delete run folders; those that still run, and what is no run's, stay."""

        def delete() -> int:
            for run in runs:
                run.delete()
            return len(runs)

        self._do(delete, lambda count: self.done.emit("The run was deleted." if count == 1 else f"{count} runs were deleted."))

    def export(self, run: Run, path: Path, kind: Format) -> None:
        """Write the best model of a run for another place or program; whoever calls it has asked before a file is replaced."""

        def write() -> list[Path]:
            from napari_seg3d.inference.export import export_model

            return export_model(run.best, path, kind, overwrite=True)

        self.done.emit(f"Exporting {run.name}…")
        self._do(write, lambda files: self.done.emit(f"Written: {', '.join(map(str, files))}"))

    def _do(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        def fail(error: Seg3dError) -> None:
            self.failed.emit(error)

        start_job(lambda _job: work(), returned=then, failed=fail, ended=self.look)


def _are_same(first: Sequence[RunHistory], second: Sequence[RunHistory]) -> bool:
    return len(first) == len(second) and all(one is other for one, other in zip(first, second, strict=True))
