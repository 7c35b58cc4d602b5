"""Bytes of a file, decompressed where they are compressed, and whole or refused.

The libraries that read scans stop at the last voxel and never look at the check sum behind it; some keep silent when the stream
ends too soon. Damage must not pass for a scan, so compressed voxels are read here, with their check sums. isal decompresses twice as
fast as zlib, so that this costs no time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
import psutil
from isal import igzip, isal_zlib
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.bounded import BoundedFile
from napari_seg3d.volumes.formats.format import HEAD_BYTES

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_ANY_HEADER = 47  # for zlib: a stream of gzip or zlib, whichever it is
#: Deflate cannot make less than one byte of so many.
MOST_DEFLATED = 1032


def read_head(path: Path) -> bytes:
    """Return the first :data:`HEAD_BYTES` bytes of a file, decompressed if it is a gzip; fewer where it has no more."""
    with open(path, "rb") as handle:
        head = handle.read(HEAD_BYTES)
        if not head.startswith(_GZIP):
            return head
        stream = isal_zlib.decompressobj(wbits=_ANY_HEADER)
        try:
            return bytes(stream.decompress(head + handle.read(1 << 16), HEAD_BYTES))
        except IsalError:  # type: ignore[misc]
            return b""


@contextmanager
def open_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed if it is a gzip, whatever its name.

    When the block ends well, what it left unread is read too: the check sum stands at the very end.

    Raises
    ------
    OSError, EOFError
        The compressed bytes are damaged or end too soon.
    """
    with BoundedFile(path) as handle:
        is_gzip = handle.read(2) == _GZIP
        handle.seek(0)
        if not is_gzip:
            yield handle
            return
        with igzip.open(handle, "rb") as stream:
            yield cast("IO[bytes]", stream)
            while stream.read(_CHUNK):
                pass


def is_gzip(path: Path) -> bool:
    """Return whether a file is compressed as a whole."""
    with open(path, "rb") as handle:
        return handle.read(2) == _GZIP


def read_array(path: Path, offset: int, count: int, dtype: np.dtype[np.generic], compressed: bool) -> NDArray[np.generic]:
    """Return `count` numbers that begin `offset` bytes into a file, as a stream of zlib or gzip where `compressed`.

    Raises
    ------
    ReadError
        There are fewer of them, they are damaged, or they do not fit into memory.
    """
    needed, stored = count * dtype.itemsize, path.stat().st_size - offset
    refuse_impossible(path, needed, stored * (MOST_DEFLATED if compressed else 1))
    if not compressed:
        return np.fromfile(path, dtype, count, offset=offset)
    data = np.empty(count, dtype)
    target = memoryview(data.view(np.uint8).data)
    stream = isal_zlib.decompressobj(wbits=_ANY_HEADER)
    filled = 0
    with open(path, "rb") as handle:
        handle.seek(offset)
        while not stream.eof:
            chunk = handle.read(_CHUNK)
            if not chunk:
                raise ReadError(f"{path} is cut off: its compressed voxels have no end.", "Copy or export it again.")
            try:
                part = stream.decompress(chunk)
            except IsalError as error:  # type: ignore[misc]
                raise ReadError(
                    f"{path} is damaged: its voxels cannot be decompressed ({error}).", "Copy or export it again."
                ) from error
            if filled + len(part) > needed:
                raise ReadError(f"{path} holds more voxels than its header says.", "Export it again.")
            target[filled : filled + len(part)] = part
            filled += len(part)
    if filled < needed:
        raise ReadError(f"{path} is cut off: {filled} bytes of {needed}.", "Copy or export it again.")
    return data


def read_from(path: Path, stream: IO[bytes], count: int, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Return the next `count` numbers of an open stream, in this machine's byte order.

    Whether they can be there must be clear (`refuse_impossible`), because memory is taken for all of them.

    Raises
    ------
    ReadError
        There are fewer of them.
    """
    data = np.empty(count, dtype)
    target = memoryview(data.view(np.uint8).data) if count else memoryview(b"")
    filled = 0
    while filled < len(target) and (part := stream.read(min(_CHUNK, len(target) - filled))):
        target[filled : filled + len(part)] = part
        filled += len(part)
    if filled < len(target):
        raise ReadError(f"{path} is cut off: {filled} bytes of {len(target)}.", "Copy or export it again.")
    # In place: a large array should not be held twice.
    return data if dtype.isnative else data.byteswap(inplace=True).view(dtype.newbyteorder("="))


def refuse_impossible(path: Path, needed: int, at_most: int) -> None:
    """Refuse voxels that a header promises but that cannot be there, before memory is taken for them.

    Parameters
    ----------
    path : Path
        The file, for the message.
    needed, at_most : int
        Bytes that the voxels take in memory, and that the file can hold.
    """
    if needed > at_most:
        raise ReadError(
            f"{path} is cut off: its header promises {needed} bytes, it holds at most {at_most}.", "Copy or export it again."
        )
    free = psutil.virtual_memory().available
    if needed > free:
        raise ReadError(
            f"{path} does not fit into memory: it takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free.",
            "Close other programs, or crop the scan.",
        )
