"""A small picture of each case, kept in the user's own cache: the slice with most of the mask, and its outlines."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from napari_seg3d.datasets import Case, files_of
from napari_seg3d.datasets.doctor.pictures import thumbnail
from napari_seg3d.files import atomic_path, user_folder
from napari_seg3d.review.entry import Entry
from napari_seg3d.volumes import Volume

_FOLDER = "thumbnails"
_MOST = 20_000  # about 100 MB


def thumbnail_file(entry: Entry) -> Path:
    """Return where the picture of a case is kept, whether it is there or not.

    The name tells files, sizes and times apart and says nothing about them; another mask in use has another picture.
    """
    mask = entry.mask.file if entry.mask is not None else None
    told = [_state_of(path) for path in _shown_files(entry.case, mask)]
    name = hashlib.sha256("\n".join(told).encode(errors="surrogateescape")).hexdigest()[:32]
    return user_folder("cache") / _FOLDER / name[:2] / f"{name}.png"


def make_thumbnail(entry: Entry, image: Volume, mask: Volume | None) -> Path:
    """Draw the picture of a case and keep it; returns its file.

    Parameters
    ----------
    entry : Entry
        Whose.
    image, mask : Volume
        Its scan and the mask in use, on one grid.

    Raises
    ------
    WriteError
        The cache cannot be written.
    """
    file = thumbnail_file(entry)
    labels = mask.data.max(axis=0) if mask is not None else None
    with atomic_path(file) as temporary:
        temporary.write_bytes(thumbnail(image, labels))
    return file


def prune_thumbnails(most: int = _MOST) -> int:
    """Remove the pictures that are the oldest, beyond `most`; return how many."""
    files = []
    for file in (user_folder("cache") / _FOLDER).glob("*/*.png"):
        with contextlib.suppress(OSError):  # another viewer removed it
            files.append((file.stat().st_mtime, file))
    old = sorted(files, reverse=True)[most:]
    for _, file in old:
        with contextlib.suppress(OSError):
            file.unlink()
    return len(old)


def _shown_files(case: Case, mask: Path | None) -> tuple[Path, ...]:
    return (*case.images, mask) if mask is not None else files_of(case)


def _state_of(path: Path) -> str:
    try:
        state = path.stat()
        return f"{os.path.abspath(path)} {state.st_size} {state.st_mtime_ns}"  # noqa: PTH100  of links, too, the place that was given
    except OSError:
        return str(path)
