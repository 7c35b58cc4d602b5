"""From stored numbers to what they stand for: rescaled, upright, in one array."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ReadError
from napari_seg3d.volumes.dicom.decode import refuse_impossible, stored_frames
from napari_seg3d.volumes.dicom.frames import Frame, Header

Progress = Callable[[int, int], None]

#: Modalities whose numbers mean something (HU, Bq/ml): turning them round for the sake of the display would falsify them.
_MEASURED = ("CT", "PT", "NM")
_MEASURED_UNITS = ("HU", "BQML", "GML", "CNTS", "PROPCPS")
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_INT16 = np.iinfo(np.int16)


def is_inverted(header: Header) -> bool:
    """Return whether the stored numbers run from white to black and are turned round."""
    return header.photometric == "MONOCHROME1" and header.modality not in _MEASURED and header.units not in _MEASURED_UNITS


def is_colour(header: Header) -> bool:
    """Return whether the pixels are colours, of which the luminance is taken."""
    return header.samples > 1 or header.photometric == "PALETTE COLOR"


def value_notes(frames: Sequence[Frame]) -> tuple[str, ...]:
    """Return what a person should know about how the numbers of these frames were understood."""
    header = frames[0].header
    notes = []
    if is_colour(header):
        notes.append("The picture is stored in colour: its luminance was read.")
    elif header.photometric == "MONOCHROME1" and is_inverted(header):
        notes.append("The file stores white as 0 (MONOCHROME1): the values were turned round, so that bright is dense.")
    elif header.photometric == "MONOCHROME1":
        notes.append("The file asks for white at 0 (MONOCHROME1): its values are measurements, and were left as they are.")
    if header.modality_lut is not None:
        notes.append("The values went through the table in the file (Modality LUT).")
    if len({frame.slope for frame in frames}) > 1:
        notes.append("Each slice has a scale of its own (RescaleSlope): it was applied slice by slice.")
    return tuple(notes)


def read_stack(
    frames: Sequence[Sequence[Frame]],
    progress: Progress | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> NDArray[np.generic]:
    """Decode frames ``[channel][slice]`` into one array.

    Returns
    -------
    array of shape (C, I, J, K)
        int16 or int32, the smaller that holds the values, or float32 where rescaling makes fractions.

    Raises
    ------
    ReadError
        A file is cut off or damaged.
    Cancelled
        `is_cancelled` said so after a frame.
    """
    flat = [frame for channel in frames for frame in channel]
    for header in {frame.header for frame in flat}:
        refuse_impossible(header)
    if any(frame.slope == 0 for frame in flat):
        raise ReadError(f"{flat[0].path} multiplies all values by 0 (RescaleSlope).", "Its header is damaged: export it again.")
    depth, header = len(frames[0]), flat[0].header
    dtype = _buffer_type(flat)
    raw = dtype == np.uint16
    # Slices are written one after the other, so that I runs fastest in memory; the transposed view is what a Volume needs.
    buffer = np.empty((len(frames), depth, header.rows, header.columns), dtype)
    places = {frame: divmod(number, depth) for number, frame in enumerate(flat)}
    for done, (frame, stored) in enumerate(stored_frames(flat), start=1):
        if is_cancelled is not None and is_cancelled():
            raise Cancelled("Reading was cancelled.")
        target = buffer[places[frame]]
        if raw:
            target[...] = stored
        else:
            rescale(frame, stored, target)
        if progress is not None:
            progress(done, len(flat))
    data: NDArray[np.generic] = _narrowed(buffer, flat[0]) if raw else buffer
    return np.transpose(data, (0, 3, 2, 1))


def rescale(frame: Frame, stored: NDArray[np.generic], target: NDArray[np.generic]) -> None:
    """Write what the stored numbers ``(rows, columns)`` of a frame stand for into `target`."""
    header = frame.header
    values = stored
    if is_colour(header):
        values = _luminance(header, stored)
    elif header.modality_lut is not None:
        first, table = header.modality_lut
        values = table[np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)]
    elif is_inverted(header):
        values = _white(header) - stored.astype(np.int64)
    if target.dtype.kind == "f":
        np.multiply(values, frame.slope, out=target, casting="unsafe")
        np.add(target, frame.intercept, out=target, casting="unsafe")
    else:
        target[...] = values
        if frame.intercept:
            np.add(target, round(frame.intercept), out=target)


def _luminance(header: Header, stored: NDArray[np.generic]) -> NDArray[np.generic]:
    colours = np.asarray(stored, np.float32)
    if header.photometric == "PALETTE COLOR":
        from pydicom import dcmread
        from pydicom.pixels.processing import apply_color_lut

        colours = apply_color_lut(stored, dcmread(header.path, stop_before_pixels=True)).astype(np.float32)
    grey: NDArray[np.float32] = np.rint(colours[..., :3] @ _LUMINANCE)
    return grey


def _white(header: Header) -> int:
    """Return what 0 becomes when the stored numbers are turned round."""
    return -1 if header.is_signed else (1 << header.bits_stored) - 1


def _value_range(frame: Frame) -> tuple[int, int]:
    """Return the smallest and the largest value that a frame with a whole rescale can hold, by its header."""
    header = frame.header
    bits = 16 if header.photometric == "PALETTE COLOR" else header.bits_stored
    if header.modality_lut is not None:
        low, high = int(header.modality_lut[1].min()), int(header.modality_lut[1].max())
    elif header.is_signed:
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    else:
        low, high = 0, (1 << bits) - 1
    return low + round(frame.intercept), high + round(frame.intercept)


def _buffer_type(frames: Sequence[Frame]) -> np.dtype[np.generic]:
    """Return the type to read into; uint16 stands for "as stored, see later"."""
    if not all(
        not frame.header.is_float and abs(frame.slope - 1) < 1e-9 and frame.intercept == round(frame.intercept)
        for frame in frames
    ):
        return np.dtype(np.float32)
    ranges = [_value_range(frame) for frame in frames]
    low, high = min(one for one, _ in ranges), max(one for _, one in ranges)
    if low >= _INT16.min and high <= _INT16.max:
        return np.dtype(np.int16)
    if _is_stored_in_16_bits(frames):
        return np.dtype(np.uint16)
    wide = np.iinfo(np.int32)
    return np.dtype(np.int32 if low >= wide.min and high <= wide.max else np.int64)


def _is_stored_in_16_bits(frames: Sequence[Frame]) -> bool:
    """Whether the values may fit 16 bits although the header allows more, as HU do: then the stored numbers decide."""
    first = frames[0]
    return all(
        frame.header.bits_allocated <= 16
        and frame.header.is_signed == first.header.is_signed
        and frame.header.modality_lut is None
        and frame.intercept == first.intercept
        and _white(frame.header) == _white(first.header)
        and is_inverted(frame.header) == is_inverted(first.header)
        and not is_colour(frame.header)
        for frame in frames
    )


def _narrowed(buffer: NDArray[np.uint16], frame: Frame) -> NDArray[np.generic]:
    """Return stored numbers as values in int16 where they fit, else in int32."""
    stored = buffer.view(np.int16) if frame.header.is_signed else buffer
    sign, offset = (-1, _white(frame.header)) if is_inverted(frame.header) else (1, 0)
    offset += round(frame.intercept)
    ends = sign * int(stored.min()) + offset, sign * int(stored.max()) + offset
    if min(ends) >= _INT16.min and max(ends) <= _INT16.max:
        # Modulo 2^16 the sum is the same whether the numbers count as signed or not: no second array is needed.
        if sign < 0:
            np.negative(buffer, out=buffer)
        np.add(buffer, np.uint16(offset % 65536), out=buffer)
        return buffer.view(np.int16)
    wide = stored.astype(np.int32)
    if sign < 0:
        np.negative(wide, out=wide)
    np.add(wide, offset, out=wide)
    return wide
