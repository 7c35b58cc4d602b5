"""``process.json`` of a run folder: which process trains, on which machine, since when."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from napari_seg3d.files import write_text

# Of a process on another machine only its words can be seen, and it speaks at least this often.
_SILENCE = 300.0
#: Processes that this one started: an ended one stays in the process table until its parent has asked for it.
children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class ProcessFile:
    """What ``process.json`` holds.

    Parameters
    ----------
    pid : int
        Of the process that trains, or of the one that started all that train together.
    created : float
        When it began, in seconds since 1970: process ids are used again.
    host : str
        Its machine.
    """

    pid: int
    created: float
    host: str

    @classmethod
    def of(cls, pid: int) -> ProcessFile:
        """Return what to write about a process of this machine."""
        return cls(pid, psutil.Process(pid).create_time(), platform.node())

    @classmethod
    def read(cls, folder: Path) -> ProcessFile | None:
        """Return what is known about the process of a run folder, or None."""
        try:
            return cls(**json.loads((folder / "process.json").read_text(encoding="utf-8")))
        except (OSError, json.JSONDecodeError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Store it in a run folder."""
        write_text(folder / "process.json", json.dumps(asdict(self)))

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.host == platform.node()

    def process(self) -> psutil.Process | None:
        """Return the process itself, or None when it has ended or belongs to another machine."""
        if not self.is_here:
            return None
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                for child in children:
                    child.poll()
                return None
            return process if abs(process.create_time() - self.created) < 2 else None
        except psutil.NoSuchProcess:
            return None


def is_alive(folder: Path) -> bool:
    """Return whether the process of a run folder is there."""
    record = ProcessFile.read(folder)
    if record is None:
        return False
    if not record.is_here:
        events = folder / "events.jsonl"
        return events.exists() and time.time() - events.stat().st_mtime < _SILENCE
    return record.process() is not None


def kill(folder: Path) -> None:
    """End the process of a run folder, and all that it started, now."""
    record = ProcessFile.read(folder)
    process = record.process() if record is not None else None
    if process is None:
        return
    try:
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    # The first one last: nobody may start another one meanwhile.
    for member in reversed(family):
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
