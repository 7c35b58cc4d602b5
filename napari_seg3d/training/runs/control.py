"""What the user and the disk let a run do: waiting in a pause, and waiting for room."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from napari_seg3d.errors import DiskFull
from napari_seg3d.training.runs.folder import Run

# Kept free on the disk, so that a run that fills it can still say so.
_RESERVE = 64 * 1024
_SECONDS_BETWEEN_LOOKS = 0.2
# Room for a few prepared cases: how large the next one is, nobody knows before it is made.
_ROOM_FOR_CASES = 200_000_000
T = TypeVar("T")


class Listener(Run):
    """A run whose events somebody else writes: in all processes but the first one of those that train together."""

    def add_event(self, kind: str, **values: Any) -> None:
        """Say nothing."""


def take_reserve(folder: Path) -> None:
    """Occupy a little of the disk, for last words."""
    with _reserve(folder).open("wb") as handle:
        handle.write(os.urandom(_RESERVE))  # not zeros: some file systems store those in no room at all


def give_reserve(folder: Path) -> None:
    """Give that room back."""
    _reserve(folder).unlink(missing_ok=True)


def _reserve(folder: Path) -> Path:
    return folder / ".room-for-last-words"


@contextmanager
def full_disk_as_such() -> Iterator[None]:
    """Let every error inside that means a full disk be a DiskFull, also those of libraries."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("The disk is full.", "Free some space.") from error
        raise


def wait_for_go_on(run: Run) -> None:
    """Return when nobody wants the run to pause any more, without computing meanwhile."""
    run.add_event("state", state="paused", message="Paused. Everything is saved; it can go on now, or after a restart.")
    while run.command() == "pause":
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def wait_for_room(run: Run, error: DiskFull, needed: int) -> None:
    """Return when the disk has room again, or when somebody says go on or stop.

    Parameters
    ----------
    run : Run
        Told as paused, with the reason.
    error : DiskFull
        What could not be written.
    needed : int
        Bytes that must be free.
    """
    give_reserve(run.folder)
    asked_before = _asked_at(run)
    message = f"{error.what} The run waits; nothing is lost."
    fix = f"Free about {max(1, needed // 1_000_000)} MB, and it goes on by itself."
    told = False
    folder = error.folder if error.folder is not None else run.folder
    while not _has_room(folder, needed) and not run.stop_asked():
        if _asked_at(run) != asked_before and run.command() == "go on":
            break
        if not told:
            told = _could_say(run, message, fix)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    try:
        take_reserve(run.folder)
    except OSError:
        give_reserve(run.folder)


def when_there_is_room(run: Run, work: Callable[[], T], needed: int = _ROOM_FOR_CASES) -> T:
    """Do some work, once more each time that the disk was full and has room again.

    Raises
    ------
    DiskFull
        The disk is full, and somebody asked the run to stop.
    """
    while True:
        try:
            with full_disk_as_such():
                return work()
        except DiskFull as error:
            if run.stop_asked():
                raise
            wait_for_room(run, error, needed)


def _could_say(run: Run, message: str, fix: str) -> bool:
    try:
        run.add_event("state", state="paused", message=message, fix=fix)
    except DiskFull:
        return False
    return True


def _has_room(folder: Path, needed: int) -> bool:
    return shutil.disk_usage(folder).free >= needed + _RESERVE


def _asked_at(run: Run) -> int:
    try:
        return (run.folder / "control.json").stat().st_mtime_ns
    except FileNotFoundError:
        return 0
