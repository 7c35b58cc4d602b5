"""Decode the pixels of frames into one array, and turn stored numbers into what they stand for."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedReader, RawIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ReadError
from napari_seg3d.volumes.dicom.frames import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, Frame, Header

#: Modalities whose numbers mean something (HU, Bq/ml): inverting them for the sake of the display would falsify them.
_MEASURED = ("CT", "PT", "NM", "RTDOSE")
_RLE = "1.2.840.10008.1.2.5"
_JPEG_12_BIT = "1.2.840.10008.1.2.4.51"
_TYPES: dict[int, np.dtype[np.unsignedinteger]] = {8: np.dtype("u1"), 16: np.dtype("<u2"), 32: np.dtype("<u4")}
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def is_inverted(header: Header) -> bool:
    """Return whether the stored numbers run from white to black and shall be turned round."""
    return header.photometric == "MONOCHROME1" and header.modality not in _MEASURED and header.units not in ("HU", "BQML")


def is_whole(frames: Iterable[Frame]) -> bool:
    """Return whether rescaling leaves the numbers of these frames whole, so that they can be kept as integers."""
    return all(
        not frame.header.is_float and abs(frame.slope - 1) < 1e-9 and frame.intercept == round(frame.intercept)
        for frame in frames
    )


def value_range(frame: Frame) -> tuple[int, int]:
    """Return the smallest and the largest value that a frame with a whole rescale can hold."""
    header = frame.header
    if header.modality_lut is not None:
        low, high = int(header.modality_lut[1].min()), int(header.modality_lut[1].max())
    elif header.is_signed:
        low, high = -(1 << (header.bits_stored - 1)), (1 << (header.bits_stored - 1)) - 1
    else:
        low, high = 0, (1 << header.bits_stored) - 1
    return low + round(frame.intercept), high + round(frame.intercept)


def read_stack(
    frames: Sequence[Sequence[Frame]],
    progress: Callable[[int, int], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> NDArray[np.generic]:
    """Decode frames ``[channel][slice]`` into one array.

    Returns
    -------
    array of shape (C, I, J, K)
        The smaller of int16 and int32 that holds the values, or float32 where rescaling makes fractions.
    """
    flat = [frame for channel in frames for frame in channel]
    header = flat[0].header
    shape = (len(frames), len(frames[0]), header.rows, header.columns)
    dtype = _buffer_type(flat)
    # Slices are written one after the other into memory, so I runs fastest; the transposed view is what a Volume needs.
    buffer = np.empty(shape, dtype)
    places = {frame: divmod(number, shape[1]) for number, frame in enumerate(flat)}
    raw_16_bit = dtype == np.uint16
    for done, (frame, stored) in enumerate(stored_frames(flat), start=1):
        if is_cancelled is not None and is_cancelled():
            raise Cancelled("Reading was cancelled.")
        target = buffer[places[frame]]
        if raw_16_bit:
            target[...] = stored
        else:
            rescale(frame, stored, target)
        if progress is not None:
            progress(done, len(flat))
    data: NDArray[np.generic] = _narrow(buffer, flat[0]) if raw_16_bit else buffer
    return np.transpose(data, (0, 3, 2, 1))


def rescale(frame: Frame, stored: NDArray[np.generic], target: NDArray[np.generic]) -> None:
    """Write what the stored numbers ``(rows, columns)`` of a frame stand for into `target`."""
    header = frame.header
    if header.modality_lut is not None:
        first, table = header.modality_lut
        stored = table[np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)]
    elif is_inverted(header):
        white = -1 if header.is_signed else (1 << header.bits_stored) - 1
        stored = white - stored.astype(np.int64)
    if target.dtype.kind == "f":
        np.multiply(stored, frame.slope, out=target, casting="unsafe")
        np.add(target, frame.intercept, out=target, casting="unsafe")
    else:
        target[...] = stored
        if frame.intercept:
            np.add(target, round(frame.intercept), out=target)


def stored_frames(frames: Iterable[Frame]) -> Iterator[tuple[Frame, NDArray[np.generic]]]:
    """Yield each frame with its stored numbers ``(rows, columns)``, file by file.

    Raises
    ------
    ReadError
        A file has fewer pixels than its header says, or they cannot be decoded.
    """
    by_file: dict[Path, list[Frame]] = {}
    for frame in frames:
        by_file.setdefault(frame.path, []).append(frame)
    for path, wanted in by_file.items():
        header = wanted[0].header
        _refuse_impossible(header)
        plain = header.transfer_syntax in (IMPLICIT, EXPLICIT) and header.pixels_at is not None
        if plain and header.samples == 1 and header.bits_allocated in _TYPES and not header.is_float and _is_grey(header):
            yield from _read_plain(header, wanted)
        else:
            yield from _decode(path, header, wanted)


def _read_plain(header: Header, frames: list[Frame]) -> Iterator[tuple[Frame, NDArray[np.generic]]]:
    """Read uncompressed pixels from where they lie in the file."""
    stored_type = _TYPES[header.bits_allocated]
    size = header.rows * header.columns * stored_type.itemsize
    with open(header.path, "rb", buffering=0) as stream:
        start, length = _value_at(stream, header)
        there = min(length, header.path.stat().st_size - start)
        if there < size * header.n_frames:
            raise _cut_off(header.path, there, size * header.n_frames)
        for frame in frames:
            stored = np.empty((header.rows, header.columns), stored_type)
            stream.seek(start + frame.index * size)
            if stream.readinto(stored.data.cast("B")) != size:
                raise _cut_off(header.path, there, size * header.n_frames)
            yield frame, _used_bits(header, stored)


def _decode(path: Path, header: Header, frames: list[Frame]) -> Iterator[tuple[Frame, NDArray[np.generic]]]:
    from pydicom import dcmread
    from pydicom.pixels.utils import iter_pixels

    has_spare_bits = header.transfer_syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, _RLE)
    if header.transfer_syntax == _JPEG_12_BIT and header.bits_stored > 8:
        arrays = _decode_12_bit(header, frames)
    elif header.transfer_syntax == DEFLATED:
        arrays = iter_pixels(dcmread(path), indices=[frame.index for frame in frames])
    else:
        arrays = iter_pixels(path, indices=[frame.index for frame in frames])
    try:
        for frame, array in zip(frames, arrays, strict=True):
            if array.shape[:2] != (header.rows, header.columns):
                raise ReadError(
                    f"{path} decodes to {array.shape[1]}x{array.shape[0]} pixels instead of {header.columns}x{header.rows}.",
                    "It is damaged: export it again.",
                )
            yield frame, _used_bits(header, array) if has_spare_bits and array.dtype.kind in "iu" else array
    except ReadError:
        raise
    except Exception as error:  # decoders fail in any way they like; what they say may quote the header
        raise ReadError(
            f"The pixels of {path} cannot be decoded ({type(error).__name__}).", "Copy or export it again."
        ) from error


def _decode_12_bit(header: Header, frames: list[Frame]) -> Iterator[NDArray[np.generic]]:
    """Decode JPEG with 12 bits a sample, which pydicom does not hand on to GDCM."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(header.path))
    if not reader.Read():
        raise ReadError(f"The pixels of {header.path} cannot be decoded.", "Copy or export it again.")
    content = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    whole = np.frombuffer(content, np.int16 if header.is_signed else np.uint16)
    planes = whole.reshape(header.n_frames, header.rows, header.columns)
    for frame in frames:
        yield planes[frame.index]


def _value_at(stream: RawIOBase | BufferedReader, header: Header) -> tuple[int, int]:
    """Return where the pixels begin in the file and how many bytes they are said to take."""
    assert header.pixels_at is not None
    stream.seek(header.pixels_at)
    head = stream.read(12) or b""
    if len(head) < 12:
        raise _cut_off(header.path, 0, header.rows * header.columns)
    if header.transfer_syntax == IMPLICIT:
        return header.pixels_at + 8, int(struct.unpack("<I", head[4:8])[0])
    return header.pixels_at + 12, int(struct.unpack("<I", head[8:12])[0])


def _used_bits(header: Header, stored: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the numbers without the bits that do not belong to them, and with their sign."""
    unsigned = stored.view(f"{stored.dtype.byteorder}u{stored.dtype.itemsize}")
    allocated = 8 * stored.dtype.itemsize
    if header.high_bit + 1 > header.bits_stored:
        unsigned = unsigned >> (header.high_bit + 1 - header.bits_stored)
    spare = allocated - header.bits_stored
    if header.is_signed:
        signed = unsigned.view(f"{stored.dtype.byteorder}i{stored.dtype.itemsize}")
        return (signed << spare) >> spare if spare else signed
    return unsigned & ((1 << header.bits_stored) - 1) if spare else unsigned


def _refuse_impossible(header: Header) -> None:
    if not (header.rows > 0 and header.columns > 0 and 1 <= header.bits_stored <= header.bits_allocated <= 64):
        raise ReadError(
            f"The header of {header.path} is impossible ({header.columns}x{header.rows} pixels, {header.bits_stored} of "
            f"{header.bits_allocated} bits used).",
            "It is damaged: export it again.",
        )
    if not header.bits_stored - 1 <= header.high_bit < header.bits_allocated:
        raise ReadError(f"The header of {header.path} names an impossible highest bit.", "It is damaged: export it again.")


def _is_grey(header: Header) -> bool:
    return header.photometric in ("MONOCHROME1", "MONOCHROME2", "")


def _buffer_type(frames: Sequence[Frame]) -> np.dtype[np.generic]:
    if not is_whole(frames):
        return np.dtype(np.float32)
    ranges = [value_range(frame) for frame in frames]
    low, high = min(one for one, _ in ranges), max(one for _, one in ranges)
    for dtype in (np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            break
    if dtype == np.int32 and _is_raw_16_bit(frames):
        return np.dtype(np.uint16)
    return np.dtype(dtype)


def _is_raw_16_bit(frames: Sequence[Frame]) -> bool:
    """Whether the stored numbers could still fit 16 bits, although the header alone allows more: they decide."""
    return all(
        frame.header.bits_allocated == 16
        and not frame.header.is_signed
        and frame.header.modality_lut is None
        and frame.intercept == frames[0].intercept
        and is_inverted(frame.header) == is_inverted(frames[0].header)
        and frame.header.samples == 1
        for frame in frames
    )


def _narrow(buffer: NDArray[np.generic], frame: Frame) -> NDArray[np.generic]:
    """Return unsigned 16-bit numbers, rescaled, as int16 where they fit, else as int32."""
    factor, offset = (-1, (1 << frame.header.bits_stored) - 1) if is_inverted(frame.header) else (1, 0)
    offset += round(frame.intercept)
    ends = factor * int(buffer.min()) + offset, factor * int(buffer.max()) + offset
    if np.iinfo(np.int16).min <= min(ends) and max(ends) <= np.iinfo(np.int16).max:
        # Modulo 2^16 the sum is the same whether the numbers are taken as signed or not: no second array is needed.
        if factor < 0:
            np.negative(buffer, out=buffer)
        np.add(buffer, np.uint16(offset % 65536), out=buffer)
        return buffer.view(np.int16)
    wide = buffer.astype(np.int32)
    if factor < 0:
        np.negative(wide, out=wide)
    np.add(wide, offset, out=wide)
    return wide


def _cut_off(path: Path, there: int, needed: int) -> ReadError:
    return ReadError(f"{path} is cut off: {max(there, 0)} bytes of pixels instead of {needed}.", "Copy or export it again.")
