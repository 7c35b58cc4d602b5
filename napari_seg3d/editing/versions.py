"""Versions of a mask: a new file each time it is kept, with who, when and how beside it; the source is never written over.

The versions of a case lie in a folder of their own, in the folder that keeps reviews, which no data set takes for scans::

    seg3d-review/corrections/CASE/20261130-021033-anna.nii.gz     the mask, on the grid of its scan
    seg3d-review/corrections/CASE/20261130-021033-anna.json       author, time, tools, comment, voxels of each label

Times in names are UTC, so that names sort by time. A mask without such notes, as somebody may copy one there, is a version, too.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d import __version__
from napari_seg3d.datasets.pairing.listing import REVIEW_FOLDER
from napari_seg3d.errors import ReadError
from napari_seg3d.files import write_text
from napari_seg3d.volumes import Volume, read_volume, volume_name, write_volume

_ENDING = ".nii.gz"
_TIME = "%Y%m%d-%H%M%S"
_MOST_LETTERS = 60
_FEW = 1 << 16  # labels up to here are counted in a table


@dataclass(frozen=True)
class Version:
    """One version of a mask.

    Parameters
    ----------
    path : Path
        Its file.
    time : datetime
        When it was kept, in UTC.
    author : str
        Who made it.
    tools : tuple of str
        What it was made with, such as ``("brush", "smooth")``.
    comment : str
        What the author says about it.
    voxels : dict of int to int
        How many voxels each label has; empty where nobody has noted that.
    """

    path: Path
    time: datetime
    author: str
    tools: tuple[str, ...] = ()
    comment: str = ""
    voxels: dict[int, int] | None = None


def versions_beside(path: str | Path) -> Path:
    """Return the folder for the versions of a mask or scan that belongs to no data set."""
    path = Path(path)
    return path.parent / REVIEW_FOLDER / "corrections" / volume_name(path)


def save_version(folder: str | Path, mask: Volume, author: str, tools: Sequence[str] = (), comment: str = "") -> Version:
    """Keep a mask as a new version.

    Parameters
    ----------
    folder : path-like
        The folder of the case, such as `versions_beside` returns; made if it is not there.
    mask : Volume
        On its own grid.
    author : str
        Who made it.
    tools : sequence of str
        What it was made with.
    comment : str
        What the author says about it.

    Returns
    -------
    Version
        With its new file; nothing that was there is touched.

    Raises
    ------
    WriteError
        It cannot be written.
    """
    folder, now = Path(folder), datetime.now(UTC)
    who = re.sub(r"[^\w.-]+", "-", author, flags=re.ASCII).strip(".-")[:_MOST_LETTERS] or "somebody"
    stem, number = f"{now.strftime(_TIME)}-{who}", 1
    while (folder / f"{stem}{_ENDING}").exists():
        number += 1
        stem = f"{now.strftime(_TIME)}-{who}-{number}"
    voxels = _voxels(mask.data)
    # Without its source: a version is a NIfTI, whatever the mask was read from.
    path = write_volume(replace(mask, source=None), folder / f"{stem}{_ENDING}")
    version = Version(path, now, author, tuple(tools), comment, voxels)
    write_text(_notes(path), _to_json(version))
    return version


def list_versions(folder: str | Path) -> list[Version]:
    """Return the versions in the folder of a case, the oldest first; none where there is no such folder."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    files = [path for path in folder.glob(f"*{_ENDING}") if not path.name.startswith(".")]
    return sorted((_version(path) for path in files), key=lambda one: (one.time, one.path.name))


def read_version(version: Version) -> Volume:
    """Read the mask of a version. Raises a ReadError where it is gone or damaged."""
    if not version.path.exists():
        raise ReadError(f"The version {version.path} is not there any more.", "Look at the list of versions again.")
    return read_volume(version.path, "labels")


def _version(path: Path) -> Version:
    """Return what is known about the version in a file, from its notes, else from its name."""
    stem = path.name.removesuffix(_ENDING)
    try:
        notes = json.loads(_notes(path).read_text(encoding="utf-8"))
        return Version(
            path,
            datetime.fromisoformat(notes["time"]),
            str(notes["author"]),
            tuple(str(tool) for tool in notes["tools"]),
            str(notes["comment"]),
            {int(value): int(count) for value, count in notes["voxels"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # copied here by hand, or the notes were edited: the mask is what counts
    found = re.fullmatch(r"(\d{8}-\d{6})-(.+?)(-\d+)?", stem)
    if found is not None:
        try:
            return Version(path, datetime.strptime(found[1], _TIME).replace(tzinfo=UTC), found[2])
        except ValueError:
            pass  # digits that are no time
    return Version(path, datetime.fromtimestamp(path.stat().st_mtime, UTC), "")


def _voxels(data: NDArray[np.generic]) -> dict[int, int]:
    """Return how many voxels each label has, slice by slice: sorting a whole volume takes seconds."""
    found: Counter[int] = Counter()
    for plane in data.reshape((-1, *data.shape[-2:])):
        if plane.min() >= 0 and plane.max() < _FEW:
            counts = np.bincount(plane.ravel())
            found.update({int(value): int(counts[value]) for value in np.flatnonzero(counts)})
        else:
            found.update({int(value): int(count) for value, count in zip(*np.unique(plane, return_counts=True), strict=True)})
    return {value: found[value] for value in sorted(found) if value}


def _notes(path: Path) -> Path:
    return path.with_name(f"{path.name.removesuffix(_ENDING)}.json")


def _to_json(version: Version) -> str:
    notes = {
        "author": version.author,
        "time": version.time.isoformat(),
        "tools": version.tools,
        "comment": version.comment,
        "voxels": version.voxels,
        "program": f"napari-seg3d {__version__}",
    }
    return json.dumps(notes, indent=2, ensure_ascii=False) + "\n"
