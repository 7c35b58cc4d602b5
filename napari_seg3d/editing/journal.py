"""`Journal`: an edit is on the disk moments after it was made, and comes back after a crash.

One file for each mask: what it was when it was edited first, then each edit, undo and redo as a small record (see `records`). A thread
writes, so that no brush waits for a disk. What was written survives the end of the program at once; that it survives the end of the power,
too, is asked of the disk every few seconds. A file that has grown is replaced by a new one that begins with the mask of now. While the
disk is full the edits wait in memory, and somebody is told.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.delta import Delta
from napari_seg3d.editing.owners import is_taken, let_go, take
from napari_seg3d.editing.records import MAGIC, About, Kind, Record, read_records, replay
from napari_seg3d.errors import ReadError, Seg3dError, WriteError
from napari_seg3d.files import append_bytes, write_error

#: Seconds between two times that the disk is asked to make sure.
SECONDS = 3.0
SUFFIX = ".journal"

# A file is replaced when its edits take more than this, and more than the mask does.
_LARGE = 64 << 20
_SECONDS_UNTIL_AGAIN = 2.0
_SAVE = "Save the mask now."


@dataclass(frozen=True)
class _Noted:
    """An edit that waits to be written."""

    kind: Kind
    time: float
    delta: Delta


class Journal:
    """Writes down the edits of one mask; made by `Journal.begin`.

    Attributes
    ----------
    path : Path
        The file.
    problem : Seg3dError or None
        Why edits are waiting in memory, as long as they do.
    """

    def __init__(
        self, path: Path, about: About, seconds: float, on_problem: Callable[[Seg3dError | None], None] | None, large: int
    ) -> None:
        self.path = path
        self.problem: Seg3dError | None = None
        self._about = about
        self._began = time.time()
        self._seconds = seconds
        self._on_problem = on_problem
        self._large = large
        self._wake = threading.Condition()
        self._waiting: list[_Noted | NDArray[np.integer]] = []
        self._is_sure = True  # the disk has all that was written
        self._want_sure = False
        self._is_ending = False
        self._base_bytes = self._edit_bytes = 0
        self._thread = threading.Thread(target=self._run, name="napari-seg3d journal", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @classmethod
    def begin(
        cls,
        folder: Path,
        mask: NDArray[np.integer],
        about: About,
        *,
        seconds: float = SECONDS,
        on_problem: Callable[[Seg3dError | None], None] | None = None,
        large: int = _LARGE,
    ) -> Journal:
        """Begin the journal of a mask.

        Parameters
        ----------
        folder : Path
            Where journals lie; made if it is not there.
        mask : array of integers
            The mask before the edits that follow. It is read in another thread: nobody may write into it, so give a copy.
        about : About
            Whose it is.
        seconds : float
            How often the disk is asked to make sure.
        on_problem : callable, optional
            Told what is the matter when nothing can be written, and None when it can again; called in the thread that writes.
        large : int
            Bytes of edits from which on the file is replaced by a shorter one.

        Raises
        ------
        WriteError
            The folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise write_error(folder, error) from error
        path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        take(_lock(path))
        journal = cls(path, about, seconds, on_problem, large)
        journal._put(mask)
        return journal

    def note(self, delta: Delta, is_undone: bool = False) -> None:
        """Write down that a delta was done, or undone; returns at once."""
        self._put(_Noted("undone" if is_undone else "done", time.time(), delta))

    def flush(self, wait: float = 0.0) -> bool:
        """Ask the disk to make sure of everything now.

        Parameters
        ----------
        wait : float
            Seconds to wait for it at most.

        Returns
        -------
        bool
            Whether it has everything.
        """
        with self._wake:
            self._want_sure = True
            self._wake.notify_all()
            if wait:
                self._wake.wait_for(lambda: self._is_done() or self.problem is not None, wait)
            return self._is_done()

    def end(self) -> None:
        """Remove the journal: its mask was saved, or knowingly given up."""
        self._stop(with_rest=False)
        _remove(self.path)

    def close(self) -> None:
        """Write the rest and stop, leaving the journal to be recovered."""
        self._stop(with_rest=True)
        let_go(_lock(self.path))

    def _put(self, what: _Noted | NDArray[np.integer]) -> None:
        with self._wake:
            self._waiting.append(what)
            self._is_sure = False
            self._wake.notify_all()

    def _is_done(self) -> bool:
        return self._is_sure and not self._waiting

    def _stop(self, *, with_rest: bool) -> None:
        with self._wake:
            if not with_rest:
                self._waiting.clear()
            self._is_ending = True
            self._wake.notify_all()
        if threading.current_thread() is not self._thread:  # a layer may be collected in any thread
            self._thread.join()
        atexit.unregister(self.close)

    # -- in the thread that writes -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        sure = time.monotonic()
        while True:
            with self._wake:
                due = sure + self._seconds - time.monotonic()
                self._wake.wait_for(
                    lambda: self._waiting or self._is_ending or (self._want_sure and not self._is_sure),
                    None if self._is_sure else max(due, 0),
                )
                batch = list(self._waiting)
                is_ending = self._is_ending
                want_sure = self._want_sure or is_ending or time.monotonic() >= sure + self._seconds
                self._want_sure = False
            try:
                self._write(batch)
                if want_sure and not self._is_sure:
                    _make_sure(self.path)
                    sure = time.monotonic()
            except (WriteError, MemoryError) as error:
                self._tell(
                    error if isinstance(error, WriteError) else WriteError("There is no memory to write down edits.", _SAVE)
                )
                if is_ending:
                    return
                with self._wake:  # the edits stay in memory meanwhile
                    self._wake.wait_for(lambda: self._is_ending, _SECONDS_UNTIL_AGAIN)
                continue
            self._tell(None)
            with self._wake:
                if want_sure and not self._waiting:
                    self._is_sure = True
                self._wake.notify_all()
                if is_ending and not self._waiting:
                    return

    def _write(self, batch: list[_Noted | NDArray[np.integer]]) -> None:
        """Write what was waiting; what is written is waiting no more."""
        for what in batch:
            if not isinstance(what, _Noted):
                self._begin_file(what)
            elif self.path.exists():
                append_bytes(self.path, Record(what.kind, what.time, what.delta.to_bytes()).to_bytes())
            else:
                raise WriteError(f"{self.path}, in which edits are written down, has vanished.", _SAVE)
            with self._wake:
                # `end` may have cleared the list meanwhile.
                if self._waiting and self._waiting[0] is what:
                    del self._waiting[0]
                self._edit_bytes += what.delta.nbytes if isinstance(what, _Noted) else 0
        if self._edit_bytes > max(self._large, self._base_bytes):
            try:
                self._begin_file(replay(self.path)[1])
            except (Seg3dError, MemoryError):
                self._large *= 2  # the long file is as good; later there may be room

    def _begin_file(self, mask: NDArray[np.integer]) -> None:
        """Write a file that begins with this mask, in place of what is there."""
        base = Delta.from_empty(mask)
        content = Record("base", self._began, b"" if base is None else base.to_bytes()).to_bytes()
        new = _new(self.path)  # by name a part of this journal, so that one that a kill has left is found and removed
        try:
            with open(new, "wb") as file:
                file.write(MAGIC + Record("about", self._began, self._about.to_bytes()).to_bytes())
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise write_error(self.path, error) from error
        self._base_bytes, self._edit_bytes = len(content), 0

    def _tell(self, problem: WriteError | None) -> None:
        was, self.problem = self.problem, problem
        if problem is not None:
            with self._wake:
                self._wake.notify_all()
        # Said once, and once that it is over.
        if self._on_problem is not None and (problem is None) != (was is None):
            self._on_problem(problem)


@dataclass(frozen=True)
class Recovered:
    """A journal that a dead process has left.

    Parameters
    ----------
    path : Path
        The file.
    about : About
        Whose mask it is.
    started, last : datetime
        When the mask was edited first and last, in local time.
    edits : int
        How many edits are in it; those from before the file was replaced by a shorter one are not counted.
    """

    path: Path
    about: About
    started: datetime
    last: datetime
    edits: int

    def read(self) -> NDArray[np.integer]:
        """Return the mask with all its edits. Raises a ReadError where the file is gone or damaged."""
        return self.read_with_tools()[0]

    def read_with_tools(self) -> tuple[NDArray[np.integer], Counter[str]]:
        """Return the mask with all its edits, and what it was edited with, how often; raises as `read`."""
        _, mask, tools = replay(self.path)
        return mask, tools

    def take(self) -> bool:
        """Keep other processes from recovering it, too; return whether it is ours now."""
        return self.path.exists() and take(_lock(self.path))

    def leave(self) -> None:
        """Leave it to be recovered another time."""
        let_go(_lock(self.path))

    def discard(self) -> None:
        """Remove it: its mask is safe elsewhere, or nobody wants it."""
        _remove(self.path)


def recover(folder: Path) -> list[Recovered]:
    """Return the journals in a folder whose processes are dead, the latest first.

    Files in which not even the mask was written to its end are passed over.
    """
    for lock in folder.glob("*.lock") if folder.is_dir() else ():
        if not lock.with_suffix(SUFFIX).exists() and not is_taken(lock):
            _remove(lock)  # killed before its first edit
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
        if is_taken(_lock(path)):
            continue
        try:
            one = _look_into(path)
        except ReadError:
            continue
        if one is not None:
            found.append(one)
    return sorted(found, key=lambda one: one.last, reverse=True)


def _look_into(path: Path) -> Recovered | None:
    about: About | None = None
    times: list[datetime] = []
    kinds: list[Kind] = []
    for record in read_records(path):
        if record.kind == "about":
            about = About.from_bytes(record.content)
        times.append(datetime.fromtimestamp(record.time))
        kinds.append(record.kind)
    if about is None or "base" not in kinds:
        return None
    return Recovered(path, about, times[0], times[-1], len(kinds) - 2)


def _remove(path: Path) -> None:
    """Remove a journal and what belongs to it, the lock last."""
    for one in (path.with_suffix(SUFFIX), _new(path)):
        one.unlink(missing_ok=True)
    let_go(_lock(path))


def _new(path: Path) -> Path:
    return path.with_suffix(".new")


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")


def _make_sure(path: Path) -> None:
    """Return when the disk has all that was written to a file."""
    try:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise write_error(path, error) from error
