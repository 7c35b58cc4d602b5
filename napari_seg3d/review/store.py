"""`ReviewStore`: what was said about the cases of a data set, in files beside it that only grow.

The folder ``seg3d-review`` beside a data set holds a journal for each account on each computer (``anna@ward3.jsonl``): a line of JSON for
each thing that was said. **The journals are the truth.** All of them together, in the order of time, make the state; the ``review.csv``
beside them is written anew from it for people and spreadsheets, and nothing depends on it.

Why so: nobody ever writes into the file of somebody else, so that two people on a network drive, or in a folder that a cloud keeps in
step, cannot overwrite each other, whatever the drive thinks of locks. Only programs of one account on one computer share a journal; they
take turns by a lock of the operating system in the user's own folder, which ends with its process and can therefore never be stale. A
journal is only appended to. What cannot be read (a line cut off by a power failure, an edit that went wrong) is passed over, named with
its line, and stays in the file.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from napari_seg3d.datasets import Dataset
from napari_seg3d.datasets.layouts.manifest import FILE_NAME
from napari_seg3d.datasets.pairing.listing import REVIEW_FOLDER
from napari_seg3d.errors import DatasetError, WriteError
from napari_seg3d.files import append_bytes, user_folder, write_error
from napari_seg3d.review.events import LONGEST_LINE, Event, Json, from_line, to_line

SUFFIX = ".jsonl"
_LONGEST_WAIT = 20.0  # seconds; a turn takes milliseconds
_MARK = 64
_MOST_AHEAD = timedelta(days=1)
_TICK = timedelta(microseconds=1)
_FIRST = datetime.min.replace(tzinfo=UTC)


def review_folder(dataset: Dataset) -> Path:
    """Return where the review of a data set is kept: beside its ``dataset.yaml``, or in its folder."""
    if dataset.file is None:
        return dataset.root / REVIEW_FOLDER
    own = "" if dataset.file.name == FILE_NAME else f"{dataset.file.stem}-"
    return dataset.file.parent / f"{own}{REVIEW_FOLDER}"


def account() -> str:
    """Return what the operating system calls the user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name, as in containers
        return "reviewer"


@dataclass(frozen=True)
class Damage:
    """A line of a journal that cannot be read; it stays in the file, and everything else counts."""

    file: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file.name}, line {self.line} is passed over: {self.what}."


class ReviewStore:
    """The journals of a review. Any thread may call it.

    Parameters
    ----------
    folder : Path
        Where they are; made with the first thing that is said.
    who : str, optional
        The reviewer; left out, what the operating system calls the user.
    writer : str, optional
        What to call the journal; left out, account and computer.

    Raises
    ------
    DatasetError
        The folder or a journal may not be read.
    """

    def __init__(self, folder: Path, who: str = "", writer: str = "") -> None:
        self.folder = folder
        self.who = who.strip() or account()
        self.journal = folder / (_file_name(writer or f"{account()}@{platform.node() or 'computer'}") + SUFFIX)
        self._turns = threading.RLock()  # whoever reads or writes files, which may take long on a network
        self._guard = threading.Lock()  # whoever looks at what is in memory
        self._journals: dict[Path, _Journal] = {}
        self._said: tuple[Event, ...] = ()  # what the files hold, in the order of time
        self._damage: tuple[Damage, ...] = ()
        self._waiting: list[Event] = []  # said, and in no file yet
        self._index: dict[str, list[Event]] | None = None
        self._last = _FIRST
        self.refresh()

    @property
    def events(self) -> tuple[Event, ...]:
        """All that was said, by whoever, in the order of time."""
        with self._guard:
            # What was said here comes after all that was known then.
            return (*self._said, *self._waiting)

    def by_case(self) -> Mapping[str, Sequence[Event]]:
        """Return what was said of each case, and under an empty id what was said of all, in the order of time."""
        with self._guard:
            if self._index is None:
                index: dict[str, list[Event]] = {}
                for event in (*self._said, *self._waiting):
                    index.setdefault(event.case, []).append(event)
                self._index = index
            return self._index

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What cannot be read."""
        with self._guard:
            return self._damage

    @property
    def is_written(self) -> bool:
        """Whether all that was said is in a file."""
        with self._guard:
            return not self._waiting

    def say(self, *changes: tuple[str, str, Json]) -> None:
        """Note (case, field, value) in memory, at once; `write` puts them into the journal.

        Raises
        ------
        DatasetError
            A value cannot be written.
        """
        with self._guard:
            now = datetime.now(UTC)
            events = []
            for case, name, value in changes:
                # Clocks of computers differ: who has seen something answers it, whatever their clock says.
                now = max(now, self._last + _TICK)
                event = Event(now, self.who, case, name, value)
                to_line(event)
                self._last = now
                events.append(event)
            self._waiting += events
            self._index = None

    def write(self) -> None:
        """Put what was said into the journal, all or nothing.

        Raises
        ------
        WriteError
            It cannot be written; what was said is kept for the next call.
        """
        with self._turns:
            with self._guard:
                events = tuple(self._waiting)
            if not events:
                return
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise write_error(self.folder, error) from error
            with self._own_turn():
                # The end of a line may be missing, where a program was ended or a person edited.
                start = b"" if _ends_with_line(self.journal) else b"\n"
                append_bytes(self.journal, start + "".join(map(to_line, events)).encode())
            with self._guard:
                self._said += events
                del self._waiting[: len(events)]
            self._read()

    def add(self, *changes: tuple[str, str, Json]) -> None:
        """Note (case, field, value) and write them; raises as `say` and `write` do."""
        self.say(*changes)
        self.write()

    def refresh(self) -> bool:
        """Read what was written since, by whoever; return whether there was something.

        Raises
        ------
        DatasetError
            The folder or a journal may not be read.
        """
        with self._turns:
            return self._read()

    def _read(self) -> bool:
        try:
            there = sorted(self.folder.glob(f"*{SUFFIX}"))
            is_new = False
            for path in there:
                is_new |= self._journals.setdefault(path, _Journal(path)).read()
        except OSError as error:
            raise DatasetError(f"{self.folder} cannot be read: {error.strerror}.", "Is the drive connected?") from error
        for path in set(self._journals) - set(there):
            is_new |= bool(self._journals.pop(path).events)
        if not is_new:
            return False
        journals = [self._journals[path] for path in there]
        # A stable sort: of one journal and one moment, the later line is the later event.
        said = sorted((event for journal in journals for event in journal.events), key=lambda event: event.at)
        with self._guard:
            self._index = None
            self._said, self._damage = tuple(said), tuple(damage for journal in journals for damage in journal.damage)
            if said:
                # A clock that is years ahead must not drag every other one along.
                self._last = max(self._last, min(said[-1].at, datetime.now(UTC) + _MOST_AHEAD))
        return True

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        locks = user_folder("state") / "review-locks"
        name = hashlib.sha256(os.fsencode(self.journal.resolve())).hexdigest()[:24]
        try:
            locks.mkdir(exist_ok=True)
            lock = FileLock(locks / f"{name}.lock", timeout=_LONGEST_WAIT)
            lock.acquire()
        except Timeout as error:
            raise WriteError(
                f"{self.journal} was not written: another program of yours has been writing to it for {_LONGEST_WAIT:.0f} s.",
                "Close other viewers that review this data set, then try again.",
            ) from error
        except OSError as error:
            raise write_error(locks, error) from error
        try:
            yield
        finally:
            lock.release()


@dataclass
class _Journal:
    """One file: what was read of it, and how far."""

    path: Path
    events: list[Event] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    _done: int = 0  # bytes
    _lines: int = 0
    _mark: bytes = b"\n"  # the last bytes that were read: another file of this name would differ there

    def read(self) -> bool:
        """Read what is new; return whether there was something."""
        with open(self.path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            is_another = size < self._done or self._was_replaced(handle)
            if is_another:
                self.events.clear()
                self.damage.clear()
                self._done, self._lines, self._mark = 0, 0, b"\n"
            elif size == self._done:
                return False
            handle.seek(self._done)
            content = handle.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content) and _is_event(content[whole:]):
            whole = len(content)  # a person left the end of the last line away
        content = content[:whole]
        lines = content.split(b"\n")
        if content.endswith(b"\n"):
            lines.pop()
        if not self._mark.endswith(b"\n") and lines:
            lines.pop(0)  # the end of a line that was taken without it
        before = len(self.events), len(self.damage)
        for line in lines:
            self._lines += 1
            self._take(line)
        self._done += whole
        self._mark = (self._mark + content)[-_MARK:]
        return is_another or before != (len(self.events), len(self.damage))

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            if len(line) > LONGEST_LINE:
                raise ValueError("it is longer than any line that a review has")
            self.events.append(from_line(line))
        except ValueError as error:
            self.damage.append(Damage(self.path, self._lines, str(error)))

    def _was_replaced(self, handle: BinaryIO) -> bool:
        mark = self._mark[-min(len(self._mark), self._done) :] if self._done else b""
        handle.seek(self._done - len(mark))
        return handle.read(len(mark)) != mark


def _is_event(line: bytes) -> bool:
    try:
        from_line(line)
    except ValueError:
        return False
    return True


def _ends_with_line(path: Path) -> bool:
    """Return whether a file is missing, empty, or ends where a line ends."""
    try:
        with open(path, "rb") as handle:
            if handle.seek(0, os.SEEK_END) == 0:
                return True
            handle.seek(-1, os.SEEK_END)
            return handle.read(1) == b"\n"
    except FileNotFoundError:
        return True
    except OSError as error:
        raise write_error(path, error) from error


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.@-]+", "-", text, flags=re.ASCII).strip(".-") or "reviewer"
