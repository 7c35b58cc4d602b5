"""Arrays of numbers in MATLAB files of version 4 to 7, read here: scipy's reader crashes the whole program on damaged ones.

The layout is in MathWorks' "MAT-File Format"; structures, cells, text and sparse arrays are only listed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from isal import isal_zlib
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.formats.arrays import Stored
from napari_seg3d.volumes.formats.streams import MOST_DEFLATED, read_from, refuse_impossible

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_HEADER = 128
_COMPRESSED, _MATRIX = 15, 14
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMBERS_OF_4 = ("f8", "f4", "i4", "i2", "u2", "u1")
_FIRST_CLASS, _LAST_CLASS = 6, 15  # of plain arrays of numbers
_COMPLEX = 0x800
_LONGEST_NAME = 4096
_MOST_AXES = 32
_CHUNK = 1 << 18
_OTHER = np.dtype(object)


@dataclass(frozen=True)
class Place:
    """An array, and where its numbers are stored."""

    stored: Stored
    start: int  # of the element that holds it (version 5), or of its numbers (version 4)
    length: int
    compressed: bool = False


def places(path: Path) -> list[Place]:
    """Return what a file holds, without reading it."""
    with open(path, "rb") as handle:
        head = handle.read(_HEADER)
        return _places_of_5(path, handle, _order(head)) if head.startswith(b"MATLAB") else _places_of_4(path, handle)


def read(path: Path, place: Place) -> NDArray[np.generic]:
    """Return one array, in the type in which its numbers are stored.

    Raises
    ------
    ReadError
        It is cut off or damaged, or does not fit into memory.
    """
    refuse_impossible(path, place.stored.nbytes, place.length * (MOST_DEFLATED if place.compressed else 1))
    with open(path, "rb") as handle:
        head = handle.read(_HEADER)
        if head.startswith(b"MATLAB"):
            with _content(path, handle, place.start, place.length, place.compressed) as stream:
                _, dtype = _array(stream, _order(head))
                numbers = read_from(path, stream, math.prod(place.stored.shape), dtype)
        else:
            handle.seek(place.start)
            numbers = read_from(path, handle, math.prod(place.stored.shape), place.stored.dtype)
    return numbers.reshape(place.stored.shape, order="F")


def _places_of_5(path: Path, handle: IO[bytes], order: str) -> list[Place]:
    found = []
    size = path.stat().st_size
    position = _HEADER
    while position + 8 <= size:
        handle.seek(position)
        kind, length = (int(number) for number in np.frombuffer(handle.read(8), f"{order}u4"))
        start = position + 8
        if start + length > size or kind not in (_COMPRESSED, _MATRIX):
            raise ReadError(
                f"{path} is cut off or damaged: what follows byte {position} is no array.", "Copy or export it again."
            )
        with _content(path, handle, start, length, kind == _COMPRESSED, whole=False) as stream:
            stored, _ = _array(stream, order)
        found.append(Place(stored, start, length, kind == _COMPRESSED))
        position = start + length
    return found


def _places_of_4(path: Path, handle: IO[bytes]) -> list[Place]:
    found = []
    size = path.stat().st_size
    position = 0
    while position < size:
        handle.seek(position)
        head = handle.read(20)
        order = ">" if int.from_bytes(head[:4], "little") >= 1 << 16 else "<"
        kind, rows, columns, is_complex, length = (int(n) for n in np.frombuffer(head.ljust(20, b"\0"), f"{order}i4"))
        name = handle.read(max(0, min(length, _LONGEST_NAME)))
        number = kind // 10 % 10
        if len(head) < 20 or rows < 0 or columns < 0 or len(name) < length or length < 1 or number >= len(_NUMBERS_OF_4):
            raise ReadError(
                f"{path} is cut off or damaged: what follows byte {position} is no array.", "Copy or export it again."
            )
        dtype = np.dtype(order + _NUMBERS_OF_4[number])
        start = position + 20 + length
        stored = rows * columns * dtype.itemsize * (2 if is_complex else 1)
        if start + stored > size:
            raise ReadError(f"{path} is cut off: {size} bytes of {start + stored}.", "Copy or export it again.")
        plain = kind % 10 == 0 and not is_complex
        what = Stored(name.rstrip(b"\0").decode("latin-1"), (rows, columns), dtype if plain else _OTHER)
        found.append(Place(what, start, stored))
        position = start + stored
    return found


def _order(head: bytes) -> str:
    return ">" if head[126:128] == b"MI" else "<"


@contextmanager
def _content(path: Path, handle: IO[bytes], start: int, length: int, compressed: bool, whole: bool = True) -> Iterator[IO[bytes]]:
    """Give what an element holds, behind the tag of the matrix; read to the end with its check sum, if `whole`."""
    handle.seek(start)
    if not compressed:
        yield handle
        return
    raw = _Inflated(handle, length)
    stream = io.BufferedReader(raw, _CHUNK)
    try:
        if len(stream.read(8)) < 8:
            raise ReadError(f"{path} is cut off.", "Copy or export it again.")
        yield stream
        while whole and stream.read(_CHUNK):
            pass
    except IsalError as error:  # type: ignore[misc]
        raise ReadError(f"{path} is damaged: it cannot be decompressed ({error}).", "Copy or export it again.") from error
    if whole and not raw.is_complete:
        raise ReadError(f"{path} is cut off: its compressed numbers have no end.", "Copy or export it again.")


class _Inflated(io.RawIOBase):
    """The decompressed bytes of a part of a file."""

    def __init__(self, handle: IO[bytes], length: int) -> None:
        self._handle, self._left = handle, length
        self._inflate = isal_zlib.decompressobj()

    @property
    def is_complete(self) -> bool:
        """Whether the end was reached, and its check sum was right."""
        return bool(self._inflate.eof)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        while not self._inflate.eof:
            data = self._inflate.unconsumed_tail
            if not data:
                data = self._handle.read(min(self._left, _CHUNK))
                self._left -= len(data)
            part = self._inflate.decompress(data, len(target))
            if part:
                target[: len(part)] = part
                return len(part)
            if not data:
                return 0
        return 0


def _array(stream: IO[bytes], order: str) -> tuple[Stored, np.dtype[np.generic]]:
    """Return what a matrix is, and the type of the numbers that follow in the stream."""
    flags = np.frombuffer(_element(stream, order, 8)[1], f"{order}u4")
    kind, is_complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & _COMPLEX)
    shape = tuple(int(n) for n in np.frombuffer(_element(stream, order, 4 * _MOST_AXES)[1], f"{order}i4"))
    name = _element(stream, order, _LONGEST_NAME)[1].decode("latin-1")
    if not _FIRST_CLASS <= kind <= _LAST_CLASS or is_complex or min(shape, default=0) < 0:
        return Stored(name, shape, _OTHER), _OTHER
    code, length, _ = _tag(stream, order)
    dtype = np.dtype(order + _NUMBERS[code]) if code in _NUMBERS else _OTHER
    if dtype is _OTHER or length != math.prod(shape) * dtype.itemsize:
        raise ReadError("its array is damaged: there are not as many numbers as it says.", "Copy or export it again.")
    return Stored(name, shape, dtype), dtype


def _element(stream: IO[bytes], order: str, longest: int) -> tuple[int, bytes]:
    """Return the code and the bytes of a small part of a matrix; they fill multiples of eight bytes."""
    code, length, is_small = _tag(stream, order)
    if length > longest:
        raise ReadError("its description of an array is damaged.", "Copy or export it again.")
    content = stream.read(4 if is_small else -(-length // 8) * 8)
    if len(content) < length:
        raise ReadError("it is cut off.", "Copy or export it again.")
    return code, content[:length]


def _tag(stream: IO[bytes], order: str) -> tuple[int, int, bool]:
    """Return code, length and whether the content follows within eight bytes, tag included."""
    first = int.from_bytes(stream.read(4), "big" if order == ">" else "little")
    if first >> 16:
        return first & 0xFFFF, first >> 16, True
    return first, int.from_bytes(stream.read(4), "big" if order == ">" else "little"), False
