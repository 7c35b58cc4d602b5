"""Files that are either written whole or not at all, and the few folders that belong to us."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from napari_seg3d.errors import DiskFull, WriteError

APP = "napari-seg3d"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when the block ends well.

    The temporary file carries the final name inside a temporary folder beside it, because writers choose the format by the
    name and some (``.mhd`` with ``.raw``) write a second file and store its name. Companions are moved first and the named
    file last, so that a header never points to data that is not there yet.

    Parameters
    ----------
    path : path-like
        Where the finished file shall be. Missing parent folders are made.

    Raises
    ------
    WriteError
        The folder cannot be written or the disk is full. Whatever stood at `path` is untouched.
    """
    path = Path(path)
    with _scratch_beside(path) as scratch:
        yield scratch / path.name
        written = sorted(scratch.iterdir(), key=lambda file: file.name == path.name)
        for file in written:
            _flush_to_disk(file)
            file.replace(path.parent / file.name)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a folder to fill, which need not exist yet; it becomes `path` when the block ends well, in place of what stood there.

    Parameters
    ----------
    path : path-like
        Where the finished folder shall be. Missing parent folders are made.

    Raises
    ------
    WriteError
        The folder cannot be written or the disk is full. Whatever stood at `path` is untouched.
    """
    path = Path(path)
    with _scratch_beside(path) as scratch:
        whole, aside = scratch / path.name, scratch / ".replaced"
        yield whole
        if path.exists():
            path.rename(aside)
        try:
            whole.rename(path)
        except OSError:
            if aside.exists():
                aside.rename(path)
            raise


@contextmanager
def _scratch_beside(path: Path) -> Iterator[Path]:
    """Give a folder on the disk of `path`, which is gone afterwards; errors of the system are told as those of `path`."""
    scratch: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
        yield scratch
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def append_bytes(path: Path, content: bytes) -> None:
    """Add to the end of a file, all or nothing; a WriteError says why it could not be.

    Meant for small pieces: half a line that did not fit on the disk would spoil the next one, too, and is taken back.
    """
    try:
        with open(path, "ab", buffering=0) as handle:
            end = handle.tell()
            try:
                written = handle.write(content)
                while written < len(content):
                    written += handle.write(content[written:])
            except OSError:
                handle.truncate(end)
                raise
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> WriteError:
    """Return what an operating system's refusal to write `path` means to the user."""
    # Some libraries swallow the system's reason; a disk without room is one.
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and _is_full(path.parent)):
        return DiskFull(
            f"The disk is full: {path} was not written.", "Free some space or choose another folder, then try again.", path.parent
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return WriteError(f"{path} may not be written: {error.strerror}.", "Choose a folder that you may write to.")
    reason = error.strerror or str(error)
    return WriteError(f"{path} was not written: {reason}.", "Check that the folder exists, is a folder, and may be written.")


def user_folder(kind: str) -> Path:
    """Return one of our own folders, made private to the user if it is new.

    Parameters
    ----------
    kind : {"runs", "cache", "state"}
        Training runs (``~/napari-seg3d/runs``), preprocessed cases, or small notes about both. The environment variable
        ``NAPARI_SEG3D_HOME`` puts all three below one folder.
    """
    home = os.environ.get("NAPARI_SEG3D_HOME")
    if home:
        folder = Path(home) / kind
    elif kind == "runs":
        folder = Path.home() / APP / "runs"
    elif kind == "cache":
        folder = Path(platformdirs.user_cache_dir(APP, appauthor=False))
    else:
        folder = Path(platformdirs.user_state_dir(APP, appauthor=False))
    try:
        # Scans may show a face: nobody but the user may look into these folders.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def _is_full(folder: Path) -> bool:
    return folder.is_dir() and shutil.disk_usage(folder).free < 1 << 16


def _flush_to_disk(file: Path) -> None:
    with open(file, "rb+") as handle:
        os.fsync(handle.fileno())
