"""Which process a file belongs to, by a lock file beside it; what a dead process has left may be taken."""

from __future__ import annotations

import json
import os
import platform
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from napari_seg3d.files import write_error

# Uncertainty of what the system says about times.
_SECONDS = 2.0


@dataclass(frozen=True)
class Owner:
    """A process.

    Parameters
    ----------
    pid : int
        Its number.
    created : float
        When it began, in seconds since 1970: numbers are used again.
    host : str
        Its machine.
    """

    pid: int
    created: float
    host: str

    @classmethod
    def this(cls) -> Owner:
        """Return this process."""
        return cls(os.getpid(), psutil.Process().create_time(), platform.node())

    @property
    def is_alive(self) -> bool:
        """Whether the process goes on; one of another machine cannot be seen, and counts as alive."""
        if self.host != platform.node():
            return True
        try:
            process = psutil.Process(self.pid)
            return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - self.created) < _SECONDS
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


def is_taken(lock: Path) -> bool:
    """Return whether somebody who is alive has a lock."""
    owner = owner_of(lock)
    if owner is not None:
        return owner.is_alive
    try:
        # One without a name in it: somebody is about to write it, or died over that.
        return time.time() - lock.stat().st_mtime < _SECONDS
    except OSError:
        return False


def owner_of(lock: Path) -> Owner | None:
    """Return who has a lock; None where nobody has, or where it was not written to its end."""
    try:
        return Owner(**json.loads(lock.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def take(lock: Path) -> bool:
    """Take a lock for this process; return whether it has it now.

    Raises
    ------
    WriteError
        The folder cannot be written.
    """
    before = owner_of(lock)
    if is_taken(lock):
        return before is not None and before.pid == os.getpid() and before.host == platform.node()
    try:
        if lock.exists():
            # Of several that want the lock of a dead process, only one can move it away.
            aside = lock.with_name(f"{lock.name}.{uuid.uuid4().hex}")
            lock.rename(aside)
            found = owner_of(aside)
            if found != before and found is not None:  # somebody was quicker, and this is the new one
                aside.rename(lock)
                return False
            aside.unlink()
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except (FileExistsError, FileNotFoundError):
        return False
    except OSError as error:
        raise write_error(lock, error) from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(Owner.this()), file)
    return True


def let_go(lock: Path) -> None:
    """Give a lock of this process back."""
    lock.unlink(missing_ok=True)
