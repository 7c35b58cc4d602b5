"""DICOM SEG files as labels: binary, fractional and label map segmentations, with the names and colours of their segments."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.bounded import BoundedFile
from napari_seg3d.volumes.dicom.headers import quiet
from napari_seg3d.volumes.dicom.jpeg import plugin_for
from napari_seg3d.volumes.dicom.segment_grid import SegmentGrid, segment_grid
from napari_seg3d.volumes.labels import smallest_integer
from napari_seg3d.volumes.volume import Label, Source, Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: The storage classes of segmentations by voxels: Segmentation, and Label Map Segmentation.
SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
#: How `write_segmentation` keeps a label's value, since segments must be numbered 1, 2, 3, …
LABEL_VALUE = "Label value {} of the mask"
_LABEL_VALUE = re.compile(re.escape(LABEL_VALUE).replace(r"\{\}", r"(-?\d{1,18})"))
# A channel for each value: more would fill the memory with empty ones.
_MOST_CHANNELS = 64
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"  # younger than the library that decodes all others, which cannot say what it is


@dataclass(frozen=True)
class _Frame:
    """One frame: which slice it lies on, and which segment it shows (0 in a label map, which shows all of them)."""

    index: int
    k: int
    segment: int


def read_segmentation(path: Path) -> Volume:
    """Return the segments of a DICOM SEG file as labels.

    The volume spans the slices that the file holds, which are often only those with content; gaps between them are filled with
    empty slices. `place_on` brings it onto the grid of its scan.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Volume
        Labels ``(1, columns, rows, slices)``. A voxel's value is the segment's number, or the value that the label had in the
        mask when this project wrote the file. Where segments overlap, each has a channel: channel c holds 0 and c + 1, its value;
        values beyond 64 are numbered anew, from 1.

    Raises
    ------
    ReadError
        The file is no segmentation, is damaged, or does not say where its frames lie.
    GeometryError
        The frames do not lie on a regular grid.
    """
    import pydicom

    with quiet(), BoundedFile(path) as stream:
        return _read(path, pydicom.dcmread(stream))


def _read(path: Path, dataset: Dataset) -> Volume:
    if dataset.get("SOPClassUID") not in SOP_CLASSES:
        raise ReadError(
            f"{path} is no DICOM segmentation by voxels.", "Surfaces and contours cannot be read: export it as DICOM SEG."
        )
    kind = str(_needed(path, dataset, "SegmentationType"))
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise ReadError(f"{path} holds a segmentation of the unknown type {kind!r}.", "Export it as BINARY.")
    _refuse_short_file(path, dataset)
    where = segment_grid(path, dataset)
    frames = _frames(path, dataset, where, kind)
    segments = _segments(path, dataset)
    notes = where.notes
    threshold = 0.0
    if kind == "FRACTIONAL":
        threshold = _needed(path, dataset, "MaximumFractionalValue") / 2
        what = "occupancy" if dataset.get("SegmentationFractionalType") == "OCCUPANCY" else "probability"
        notes += (f"Its segments are fractional: every voxel with a {what} of at least one half was taken.",)

    values = _values(dataset, [*segments, *(frame.segment for frame in frames if frame.segment)])
    data = _as_map(path, dataset, where, frames, values, threshold)
    source = Source(path, "dicom")
    if data is not None:
        labels = {values[number]: label for number, label in segments.items()}
        return Volume(data[np.newaxis], where.grid.affine, "labels", source, notes, labels, modality="SEG")
    channels = {number: value - 1 for number, value in values.items()}
    if not 0 <= min(channels.values()) <= max(channels.values()) < _MOST_CHANNELS:
        channels = {number: channel for channel, number in enumerate(sorted(values))}
    stacked = _as_channels(path, dataset, where, frames, channels, threshold)
    labels = {channels[number] + 1: label for number, label in segments.items()}
    names = tuple(labels[value].name if value in labels else "" for value in range(1, len(stacked) + 1))
    notes += ("Its segments overlap: each was read as a channel of its own.",)
    return Volume(stacked, where.grid.affine, "labels", source, notes, labels, channels=names, modality="SEG")


def _as_map(
    path: Path, dataset: Dataset, where: SegmentGrid, frames: list[_Frame], values: dict[int, int], threshold: float
) -> NDArray[np.generic] | None:
    """Return one map ``(I, J, K)`` of all segments, or None where two of them share a voxel."""
    # The pixels of a label map may hold numbers that its header does not describe.
    largest = 2 ** int(dataset.BitsAllocated) - 1 if dataset.SegmentationType == "LABELMAP" else 1
    kind = smallest_integer(min([0, *values.values()]), max([largest, *values.values()]))
    slices = np.zeros(where.grid.shape[::-1], kind)  # (K, J, I), as the frames lie in the file
    for frame, pixels in _decoded(path, dataset, frames):
        slice_ = slices[frame.k]
        if frame.segment == 0:
            # A label map: the pixels are segment numbers, and whoever wrote it may have called the background other than 0.
            background = int(dataset.get("PixelPaddingValue", 0))
            for number in np.unique(pixels):
                if number not in (0, background):
                    slice_[pixels == number] = values.setdefault(int(number), int(number))
            continue
        here = pixels >= max(threshold, 1)
        value = values[frame.segment]
        taken = slice_[here]
        if ((taken != 0) & (taken != value)).any():
            return None
        slice_[here] = value
    return slices.T


def _as_channels(
    path: Path, dataset: Dataset, where: SegmentGrid, frames: list[_Frame], channels: dict[int, int], threshold: float
) -> NDArray[np.generic]:
    count = max(channels.values()) + 1
    slices = np.zeros((count, *where.grid.shape[::-1]), smallest_integer(0, count))
    for frame, pixels in _decoded(path, dataset, frames):
        channel = channels[frame.segment]
        slices[channel, frame.k][pixels >= max(threshold, 1)] = channel + 1
    return np.transpose(slices, (0, 3, 2, 1))


def _frames(path: Path, dataset: Dataset, where: SegmentGrid, kind: str) -> list[_Frame]:
    if kind == "LABELMAP":
        return [_Frame(index, k, 0) for index, k in enumerate(where.slices)]
    shared = _needed(path, dataset, "SharedFunctionalGroupsSequence")[0]
    frames = []
    for index, (k, groups) in enumerate(zip(where.slices, dataset.PerFrameFunctionalGroupsSequence, strict=True)):
        found = groups.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
        if not found or not found[0].get("ReferencedSegmentNumber"):
            raise ReadError(f"{path} does not say which segment its frame {index + 1} shows.", "Export it again.")
        frames.append(_Frame(index, k, int(found[0].ReferencedSegmentNumber)))
    return frames


def _segments(path: Path, dataset: Dataset) -> dict[int, Label]:
    """Return names and colours by segment number; 0, the background of a label map, is no segment."""
    palette = _palette(dataset)
    labels = {}
    for segment in _needed(path, dataset, "SegmentSequence"):
        number = int(_needed(path, segment, "SegmentNumber"))
        if number != 0:
            labels[number] = Label(_name(segment), _colour(segment) or palette.get(number, ""))
    return labels


def _name(segment: Dataset) -> str:
    name = str(segment.get("SegmentLabel") or "").strip()
    if name:
        return name
    codes = segment.get("SegmentedPropertyTypeCodeSequence")
    return str(codes[0].get("CodeMeaning") or "").strip() if codes else ""


def _colour(segment: Dataset) -> str:
    from highdicom.color import CIELabColor

    stored = segment.get("RecommendedDisplayCIELabValue")
    if stored is None or len(stored) != 3:
        return ""
    # The standard means Lab under D50. What writes nearly all files (dcmqi, dcmjs, pixelmed, highdicom) and Slicer, which shows
    # them, mean D65: theirs is followed, so that a colour chosen there is the same colour here.
    return "#{:02x}{:02x}{:02x}".format(*CIELabColor.from_dicom_value([int(part) for part in stored]).to_rgb())


def _palette(dataset: Dataset) -> dict[int, str]:
    """Return the colours of a label map that is stored as a palette, by segment number."""
    if "RedPaletteColorLookupTableData" not in dataset:
        return {}
    # By hand, because pydicom 3.0 stumbles over palettes with an odd number of colours, and highdicom 0.28 over those in a file.
    entries, first, bits = (int(number) for number in dataset.RedPaletteColorLookupTableDescriptor)
    parts = [
        np.frombuffer(dataset[f"{name}PaletteColorLookupTableData"].value, "<u2" if bits > 8 else np.uint8)[: entries or 1 << 16]
        for name in ("Red", "Green", "Blue")
    ]
    numbers = [int(segment.SegmentNumber) for segment in dataset.SegmentSequence]
    return {
        number: "#" + "".join(f"{int(part[number - first]) >> max(bits - 8, 0):02x}" for part in parts)
        for number in numbers
        if 0 <= number - first < min(map(len, parts))
    }


def _values(dataset: Dataset, numbers: list[int]) -> dict[int, int]:
    """Return the voxel value for each segment number: the one that the label had before we wrote it, where all have one."""
    kept: dict[int, int] = {}
    for segment in dataset.SegmentSequence:
        match = _LABEL_VALUE.fullmatch(str(segment.get("SegmentDescription") or ""))
        if match is not None:
            kept[int(segment.SegmentNumber)] = int(match[1])
    numbers = sorted(set(numbers))
    if set(numbers) <= kept.keys() and len({kept[number] for number in numbers} - {0}) == len(numbers):
        return {number: kept[number] for number in numbers}
    return {number: number for number in numbers}


def _decoded(path: Path, dataset: Dataset, frames: list[_Frame]) -> Iterator[tuple[_Frame, NDArray[np.integer]]]:
    """Yield frame by frame its pixels ``(J, I)``; all of them at once may not fit into memory."""
    from pydicom.pixels.utils import iter_pixels

    if dataset.file_meta.TransferSyntaxUID == _DEFLATED_FRAMES:
        decoded = _inflated(dataset)
    elif dataset.BitsAllocated == 1 and not _is_encapsulated(dataset):
        decoded = _single_bits(dataset)
    else:
        decoded = iter_pixels(dataset, raw=True, decoding_plugin=plugin_for(dataset.file_meta.TransferSyntaxUID))
    try:
        yield from zip(frames, decoded, strict=True)
    except (ValueError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise ReadError(f"The pixels of {path} cannot be decoded.", "The file is damaged: copy or export it again.") from error


def _single_bits(dataset: Dataset) -> Iterator[NDArray[np.integer]]:
    """Yield frames of single bits, which need not begin with a byte; pydicom 3.0 loses bits of those that do not."""
    shape = int(dataset.Rows), int(dataset.Columns)
    size = shape[0] * shape[1]
    packed = np.frombuffer(dataset.PixelData, np.uint8)
    for index in range(int(dataset.NumberOfFrames)):
        first, offset = divmod(index * size, 8)
        bits = np.unpackbits(packed[first : (index * size + size + 7) // 8], bitorder="little")
        yield bits[offset : offset + size].reshape(shape)


def _inflated(dataset: Dataset) -> Iterator[NDArray[np.integer]]:
    """Yield the frames of the transfer syntax Deflated Image Frame Compression, each a deflate stream of its own."""
    from pydicom.encaps import generate_frames

    bits, shape = int(dataset.BitsAllocated), (int(dataset.Rows), int(dataset.Columns))
    size = (shape[0] * shape[1] * bits + 7) // 8
    for stream in generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames)):
        plain = zlib.decompressobj(wbits=-15).decompress(stream, size)
        if len(plain) != size:
            raise ValueError("a frame is cut off")
        if bits == 1:
            yield np.unpackbits(np.frombuffer(plain, np.uint8), count=shape[0] * shape[1], bitorder="little").reshape(shape)
        else:
            yield np.frombuffer(plain, f"<u{bits // 8}").reshape(shape)


def _is_encapsulated(dataset: Dataset) -> bool:
    syntax = dataset.file_meta.TransferSyntaxUID
    return bool(syntax == _DEFLATED_FRAMES or syntax.is_encapsulated)


def _refuse_short_file(path: Path, dataset: Dataset) -> None:
    for keyword in ("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "PixelData"):
        _needed(path, dataset, keyword)
    if _is_encapsulated(dataset):
        return
    bits = int(dataset.Rows) * int(dataset.Columns) * int(dataset.NumberOfFrames) * int(dataset.BitsAllocated)
    needed, there = (bits + 7) // 8, len(dataset.PixelData)
    if there < needed:
        raise ReadError(
            f"{path} is cut off: {there} bytes of pixels, and its header speaks of {needed}.", "Copy or export it again."
        )


def _needed(path: Path, dataset: Dataset, keyword: str) -> Any:
    value = dataset.get(keyword)
    if value is None or value == "" or (keyword.endswith("Sequence") and not len(value)):
        raise ReadError(f"{path} has no {keyword}, so it is no complete DICOM segmentation.", "Copy or export it again.")
    return value
