"""Damage that ITK overlooks: it hands out whatever it could decompress of a NRRD or MetaImage file, and keeps silent."""

from __future__ import annotations

import zlib
from pathlib import Path

from napari_seg3d.errors import ReadError

_CHUNK = 1 << 16


def refuse_damaged(path: Path) -> None:
    """Check that the voxels of a NRRD or MetaImage file are there and, when compressed, pass their check sum.

    Raises
    ------
    ReadError
        The data file that a header names is missing, or the compressed voxels end too soon.
    zlib.error
        The compressed voxels are damaged.
    """
    found = _nrrd_stream(path) if path.suffix.lower() == ".nrrd" else _metaimage_stream(path)
    if found is None:
        return
    file, offset = found
    stream = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    with open(file, "rb") as handle:
        handle.seek(offset)
        while not stream.eof:
            chunk = handle.read(_CHUNK)
            if not chunk:
                raise ReadError(f"{file} is cut off: its compressed voxels have no end.", "Copy or export it again.")
            stream.decompress(chunk)


def _nrrd_stream(path: Path) -> tuple[Path, int] | None:
    """Return where the compressed voxels begin; None if they are not compressed, or not simply behind the header."""
    fields, offset = _header(path, ":", last=None)
    if fields.get("encoding", "").lower() not in ("gzip", "gz"):
        return None
    if not {"data file", "datafile", "line skip", "lineskip"}.isdisjoint(fields):
        return None
    return path, offset


def _metaimage_stream(path: Path) -> tuple[Path, int] | None:
    """Return the file and the place where the compressed voxels begin; None as above."""
    fields, offset = _header(path, "=", last="elementdatafile")
    name = fields.get("elementdatafile", "")
    file = path
    if name.upper() != "LOCAL":
        if not name or name.upper().startswith("LIST") or "%" in name:
            return None  # one file per slice
        file, offset = path.parent / name, 0
        if not file.is_file():
            raise ReadError(f"{path}: its data file {name} is missing.", "Copy both files into one folder.")
    if not fields.get("compresseddata", "").lower().startswith(("t", "1")) or fields.get("headersize", "0") != "0":
        return None
    return file, offset


def _header(path: Path, separator: str, last: str | None) -> tuple[dict[str, str], int]:
    """Return the fields of a text header in lower case, up to the field `last` or an empty line, and where it ends."""
    fields: dict[str, str] = {}
    with open(path, "rb") as handle:
        while line := handle.readline(_CHUNK).decode("latin-1"):
            key, _, value = line.partition(separator)
            fields[key.strip().lower()] = value.strip()
            if key.strip().lower() == last or (last is None and not line.strip()):
                break
        return fields, handle.tell()
