"""The file of a journal: records with check sums, one after the other; what was not written to its end is passed over.

A file begins with `MAGIC`, then each record has its kind, when it was made, how long it is, and a check sum. The first one says what the mask
is, the second one holds the mask as it was; edits follow. Nothing is ever changed in such a file: it grows, or is replaced as a whole.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.delta import Delta
from napari_seg3d.errors import ReadError

MAGIC = b"napari-seg3d journal 1\n"
_HEAD = struct.Struct("<cdQI")  # kind, seconds since 1970, bytes, check sum

Kind = Literal["about", "base", "done", "undone"]
_LETTERS: dict[Kind, bytes] = {"about": b"A", "base": b"B", "done": b"D", "undone": b"U"}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}


@dataclass(frozen=True)
class About:
    """Which mask a journal belongs to.

    Parameters
    ----------
    name : str
        What the user calls it: the name of its layer.
    shape : tuple of int
        Of the mask.
    dtype : str
        Its type of numbers, as numpy writes it.
    scan : str
        The file name of the scan, never anything about the patient; empty where it came from no file.
    source : str
        Path of the scan, so that it can be opened again; journals lie in a folder of the user alone.
    more : dict
        What the viewer needs to show it again; plain values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scan: str = ""
    source: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return this as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> About:
        """Return what was stored; raises a ReadError where that is nothing of ours."""
        try:
            values = json.loads(content)
            return cls(**(values | {"shape": tuple(values["shape"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise ReadError("What a journal says about its mask cannot be read.", "Its edits are lost.") from error


@dataclass(frozen=True)
class Record:
    """One record.

    Parameters
    ----------
    kind : {"about", "base", "done", "undone"}
        What it holds: an `About`, or a delta. That of a base makes the mask of an empty one, and has no bytes where it is empty.
    time : float
        When it was made, in seconds since 1970.
    content : bytes
        That in bytes.
    """

    kind: Kind
    time: float
    content: bytes

    def to_bytes(self) -> bytes:
        """Return the record as it stands in a file."""
        letter = _LETTERS[self.kind]
        return _HEAD.pack(letter, self.time, len(self.content), _check_sum(letter, self.time, self.content)) + self.content


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a file up to the first that is not whole.

    Raises
    ------
    ReadError
        The file cannot be opened, or is no journal.
    """
    try:
        with open(path, "rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ReadError(f"{path.name} is no journal of edits.", "Delete it, or look for one of another name.")
            left = path.stat().st_size - len(MAGIC)
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                letter, time, size, check_sum = _HEAD.unpack(head)
                left -= _HEAD.size + size
                if letter not in _KINDS or left < 0:
                    return
                content = file.read(size)
                if len(content) < size or _check_sum(letter, time, content) != check_sum:
                    return
                yield Record(_KINDS[letter], time, content)
    except OSError as error:
        raise ReadError(f"{path.name} cannot be read: {error.strerror or error}.", "Check the disk.") from error


def replay(path: Path) -> tuple[About, NDArray[np.integer], Counter[str]]:
    """Return whose mask a file holds, the mask with all its edits, and which tools made them, how often.

    Raises
    ------
    ReadError
        There is no whole mask in it.
    """
    about, mask = None, None
    tools: Counter[str] = Counter()
    for record in read_records(path):
        if record.kind == "about":
            about = About.from_bytes(record.content)
        elif about is None:
            break
        elif record.kind == "base":
            mask = np.zeros(about.shape, np.dtype(about.dtype))
            if record.content:
                Delta.from_bytes(record.content).redo(mask)
        elif mask is None:
            break
        else:
            delta = Delta.from_bytes(record.content)
            if record.kind == "done":
                delta.redo(mask)
                tools[delta.tool] += 1
            else:
                delta.undo(mask)
                tools[delta.tool] -= 1
    if about is None or mask is None:
        raise ReadError(
            f"There is no mask in {path.name}.", "It was not written to its end: nothing was edited yet, or the disk was full."
        )
    del tools[""]
    return about, mask, +tools


def _check_sum(letter: bytes, time: float, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(struct.pack("<cdQ", letter, time, len(content))))
