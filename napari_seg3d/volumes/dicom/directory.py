"""DICOMDIR: the table of contents of a disc."""

from __future__ import annotations

import re
from pathlib import Path

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.dicom.headers import read_header

SOP_CLASS = "1.2.840.10008.1.3.10"
_RECORDS, _FILE_ID, _MEDIA_CLASS = 0x00041220, 0x00041500, 0x00041510


def files_of(directory: Path) -> list[Path]:
    """Return the files that a DICOMDIR names; some of them may be missing.

    Raises
    ------
    ReadError
        It is cut off, names no file, none of them is there, or one that lies outside of its folder.
    """
    elements, _, _ = read_header(directory, (_RECORDS,))
    if _RECORDS in elements and not elements.is_whole(_RECORDS):
        raise ReadError(f"{directory} is cut off.", "Copy it again, or open the folder with its images.")
    root = directory.parent.resolve()
    named = [name for record in elements.items(_RECORDS) if (name := record.text(_FILE_ID))]
    found = []
    for name in named:
        parts = name.split("\\")
        # A file id is made of capital letters, digits and underscores; anything else could lead out of the folder.
        if not all(re.fullmatch(r"[A-Za-z0-9_.-]+", part) and set(part) != {"."} for part in parts):
            raise ReadError(
                f"{directory} names a file outside of its folder.", "Do not trust this disc; copy its images instead."
            )
        spellings = (directory.parent.joinpath(*parts), directory.parent.joinpath(*(part.lower() for part in parts)))
        path = next((one for one in spellings if one.is_file()), spellings[0])
        if not path.resolve().is_relative_to(root):
            raise ReadError(f"{directory} names a file outside of its folder.", "Copy its images instead.")
        found.append(path)
    if not any(path.is_file() for path in found):
        raise ReadError(
            f"{directory} names {len(named)} files, of which none is there.",
            "Copy the whole disc, or open the folder with its images.",
        )
    return list(dict.fromkeys(found))
