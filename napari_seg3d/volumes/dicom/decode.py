"""The stored numbers of frames, from files of every transfer syntax; what is cut off or damaged is refused."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from io import BufferedReader, RawIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.dicom import jpeg
from napari_seg3d.volumes.dicom.frames import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, Frame, Header

_RLE = "1.2.840.10008.1.2.5"
_UNCOMPRESSED = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
#: JPEG, JPEG-LS and JPEG 2000 in all their variants, which end with the same two bytes.
_JPEG_FAMILY = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 92, 93, 201, 202, 203))
_END_OF_IMAGE = b"\xff\xd9"
_ITEM, _END_OF_ITEMS = 0xFFFEE000, 0xFFFEE0DD
_TYPES: dict[int, np.dtype[np.unsignedinteger]] = {8: np.dtype("u1"), 16: np.dtype("<u2"), 32: np.dtype("<u4")}
#: Nothing real is smaller than this share of its pixels: a header that says so lies.
_MOST_COMPRESSED, _LARGE = 1000, 1 << 30


def refuse_impossible(header: Header) -> None:
    """Check what a header says about its pixels before memory is asked for them.

    Raises
    ------
    ReadError
        It contradicts itself, or the file is too short for it.
    """
    path = header.path
    if header.pixels_at is None and header.transfer_syntax != DEFLATED:
        raise ReadError(f"{path} holds no pixels.", "Copy or export it again.")
    if not (
        header.rows > 0
        and header.columns > 0
        and header.samples in (1, 3)
        and 1 <= header.bits_stored <= header.bits_allocated <= 64
        and header.bits_stored - 1 <= header.high_bit < header.bits_allocated
    ):
        raise ReadError(
            f"The header of {path} is impossible ({header.columns}x{header.rows} pixels, {header.bits_stored} of "
            f"{header.bits_allocated} bits used).",
            "It is damaged: export it again.",
        )
    needed, there = _bytes_needed(header), path.stat().st_size
    uncompressed = header.transfer_syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN)
    if uncompressed and there < needed:
        raise _cut_off(path, there, needed)
    if needed > max(_LARGE, _MOST_COMPRESSED * there):
        raise ReadError(f"The header of {path} asks for {needed / 1e9:.0f} GB of pixels.", "It is damaged: export it again.")


def stored_frames(frames: Iterable[Frame]) -> Iterator[tuple[Frame, NDArray[np.generic]]]:
    """Yield each frame with its stored numbers ``(rows, columns)``, file by file; colour has a third axis.

    Raises
    ------
    ReadError
        A file has fewer pixels than its header says, or they cannot be decoded.
    """
    by_file: dict[Header, list[Frame]] = {}
    for frame in frames:
        by_file.setdefault(frame.header, []).append(frame)
    for header, wanted in by_file.items():
        refuse_impossible(header)
        if _is_plain(header):
            yield from _read_plain(header, wanted)
        else:
            yield from _decoded(header, wanted)


def _is_plain(header: Header) -> bool:
    return (
        header.transfer_syntax in (IMPLICIT, EXPLICIT)
        and header.samples == 1
        and header.bits_allocated in _TYPES
        and not header.is_float
    )


def _read_plain(header: Header, frames: list[Frame]) -> Iterator[tuple[Frame, NDArray[np.generic]]]:
    """Read uncompressed pixels from where they lie in the file: the header was parsed once, that is enough."""
    stored_type = _TYPES[header.bits_allocated]
    size = header.rows * header.columns * stored_type.itemsize
    with open(header.path, "rb", buffering=0) as stream:
        start, length = _value_at(stream, header)
        there = min(length, os.fstat(stream.fileno()).st_size - start)
        if there < size * header.n_frames:
            raise _cut_off(header.path, there, size * header.n_frames)
        for frame in frames:
            stored = np.empty((header.rows, header.columns), stored_type)
            stream.seek(start + frame.index * size)
            if stream.readinto(stored.data.cast("B")) != size:
                raise _cut_off(header.path, there, size * header.n_frames)
            yield frame, _used_bits(header, stored)


def _decoded(header: Header, frames: list[Frame]) -> Iterator[tuple[Frame, NDArray[np.generic]]]:
    path = header.path
    has_spare_bits = header.transfer_syntax in (*_UNCOMPRESSED, _RLE)
    try:
        if header.transfer_syntax not in _UNCOMPRESSED:
            _refuse_broken_items(header)
        for frame, array in zip(frames, _arrays(header, frames), strict=True):
            if array.shape[:2] != (header.rows, header.columns) or array.ndim != (3 if header.samples > 1 else 2):
                raise ReadError(
                    f"{path} decodes to {array.shape[1]}x{array.shape[0]} pixels instead of {header.columns}x{header.rows}.",
                    "It is damaged: export it again.",
                )
            if array.dtype.kind in "iu" and header.samples == 1:
                if has_spare_bits:
                    array = _used_bits(header, array)
                elif int(array.max()) >> header.bits_stored:
                    raise ReadError(f"{path} decodes to values beyond its {header.bits_stored} bits.", "Export it again.")
            yield frame, array
    except ReadError:
        raise
    except Exception as error:  # decoders fail in any way they like, and quote the header when they do
        raise ReadError(
            f"The pixels of {path} cannot be decoded ({type(error).__name__}): they are damaged, or compressed in an unusual way.",
            "Copy the file again, or export it uncompressed.",
        ) from error


def _arrays(header: Header, frames: list[Frame]) -> Iterator[NDArray[np.generic]]:
    from pydicom import dcmread
    from pydicom.pixels.utils import iter_pixels
    from pydicom.uid import UID

    indices = [frame.index for frame in frames]
    if jpeg.is_ours(header.transfer_syntax, header.bits_stored):
        return _jpegs(header, indices)
    # pydicom reads frames from the file itself, but not when all of the file is deflated, or says nothing about itself.
    if header.transfer_syntax == DEFLATED or not header.has_meta:
        dataset = dcmread(header.path, force=True)
        dataset.file_meta.TransferSyntaxUID = UID(header.transfer_syntax)
        return iter_pixels(dataset, indices=indices)
    return iter_pixels(header.path, indices=indices, decoding_plugin=jpeg.plugin_for(header.transfer_syntax))


def _jpegs(header: Header, indices: list[int]) -> Iterator[NDArray[np.generic]]:
    shape = (header.rows, header.columns, *((header.samples,) if header.samples > 1 else ()))
    with open(header.path, "rb") as stream:
        stream.seek(_value_at(stream, header)[0])
        is_ybr = header.photometric.startswith("YBR")
        for array in jpeg.decode(stream, indices, shape, header.n_frames, header.bits_stored, is_ybr):
            yield _signed(header, array) if header.is_signed else array


def _signed(header: Header, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return decoded numbers with their sign, which some writers repeat in all the bits above."""
    spare = 8 * array.dtype.itemsize - header.bits_stored
    signed = array.view(f"i{array.dtype.itemsize}")
    return (signed << spare) >> spare if not int(array.max()) >> header.bits_stored else signed


def _refuse_broken_items(header: Header) -> None:
    """Walk through compressed pixels: decoders hand out whatever they could decode of a picture that is cut off."""
    path = header.path
    size = path.stat().st_size
    with open(path, "rb") as stream:
        place, length = _value_at(stream, header)
        if length != 0xFFFFFFFF:
            raise ReadError(f"{path} does not hold the compressed pixels that its header announces.", "Export it again.")
        fragments: list[tuple[int, int]] = []
        while True:
            stream.seek(place)
            head = stream.read(8)
            if len(head) < 8:
                raise ReadError(f"{path} is cut off: its compressed pixels have no end mark.", "Copy or export it again.")
            group, element, length = struct.unpack("<HHI", head)
            if group << 16 | element == _END_OF_ITEMS:
                break
            if group << 16 | element != _ITEM or place + 8 + length > size:
                raise ReadError(f"{path} is cut off or damaged inside its compressed pixels.", "Copy or export it again.")
            fragments.append((place + 8, length))
            place += 8 + length
        pictures = fragments[1:]  # the first item is the table of offsets
        if len(pictures) < header.n_frames:
            raise ReadError(
                f"{path} is cut off: {len(pictures)} of {header.n_frames} compressed pictures.", "Copy or export it again."
            )
        if header.transfer_syntax in _JPEG_FAMILY:
            for start, length in pictures if len(pictures) == header.n_frames else pictures[-1:]:
                stream.seek(max(start, start + length - 64))
                if _END_OF_IMAGE not in stream.read(min(length, 64)).rstrip(b"\0")[-3:]:
                    raise ReadError(f"{path} is cut off: a compressed picture has no end.", "Copy or export it again.")


def _value_at(stream: RawIOBase | BufferedReader, header: Header) -> tuple[int, int]:
    """Return where the pixels begin in the file and how many bytes they are said to take."""
    place = header.pixels_at or 0
    stream.seek(place)
    head = stream.read(12) or b""
    if len(head) < 12:
        raise _cut_off(header.path, 0, _bytes_needed(header))
    if header.transfer_syntax == IMPLICIT:
        return place + 8, int(struct.unpack("<I", head[4:8])[0])
    return place + 12, int(struct.unpack("<I", head[8:12])[0])


def _used_bits(header: Header, stored: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the numbers without the bits that do not belong to them (an old kind of overlay), and with their sign."""
    order, size = stored.dtype.byteorder, stored.dtype.itemsize
    spare = 8 * size - header.bits_stored
    unsigned = stored.view(f"{order}u{size}")
    if header.high_bit + 1 > header.bits_stored:
        unsigned = unsigned >> (header.high_bit + 1 - header.bits_stored)
    if header.is_signed:
        signed = unsigned.view(f"{order}i{size}")
        return (signed << spare) >> spare if spare else signed
    return unsigned & ((1 << header.bits_stored) - 1) if spare else unsigned


def _bytes_needed(header: Header) -> int:
    return header.rows * header.columns * header.samples * header.n_frames * header.bits_allocated // 8


def _cut_off(path: Path, there: int, needed: int) -> ReadError:
    return ReadError(f"{path} is cut off: {max(there, 0)} bytes of pixels instead of {needed}.", "Copy or export it again.")
