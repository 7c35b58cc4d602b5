"""TIFF: stacks of pages, hyperstacks of ImageJ, OME-TIFF; through tifffile."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.formats import colours, unplaced
from napari_seg3d.volumes.formats.format import Format
from napari_seg3d.volumes.formats.streams import MOST_DEFLATED, refuse_impossible
from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.volume import Fourth, Kind, Label, Volume

if TYPE_CHECKING:
    import tifffile

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_PAGES = 1_000_000
# What tifffile does without a further library.
_PLAIN_COMPRESSIONS = (1, 8, 32946, 50013)
# So many bytes can come out of one, at most: nothing packed; LZW; deflate; PackBits.
_MOST_COMPRESSED = {1: 1, 5: 4096, 8: MOST_DEFLATED, 32946: MOST_DEFLATED, 32773: 64}
_MOST_COMPRESSED_OTHERWISE = 50_000
_FOURTH: dict[str, Fourth] = {"C": "channel", "T": "time"}
_MEANING = {"channel": "channels", "time": "time"}


@dataclass(frozen=True)
class _Layout:
    """What a file says about its first image."""

    axes: str  # of the stored array, S (samples of a colour) left out
    edges: unplaced.Edges
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_grid(path: Path) -> Grid:
    """Return the grid of the first image in a TIFF file from its headers alone."""
    with _opened(path) as file:
        series = _series(path, file)
        layout = _layout(path, file, series)
        sizes = dict(zip(series.axes, series.shape, strict=True))
        depth = next((sizes[axis] for axis in layout.axes if axis in "ZIQ"), 1)
        if layout.edges[0] is None or layout.edges[1] is None:
            return Grid((sizes["X"], sizes["Y"], depth), unplaced.affine_of((None, None, None)))
        return Grid((sizes["X"], sizes["Y"], depth), unplaced.affine_of(layout.edges))


def read(path: Path) -> Volume:
    """Return the first image in a TIFF file; channels or time points come in front."""
    with _opened(path) as file:
        series = _series(path, file)
        layout = _layout(path, file, series)
        _refuse_missing_pixels(path, file, series)
        array = series.asarray()
        page = series.keyframe
        photometric, palette = int(page.photometric or 0), page.colormap
    notes = layout.notes
    labels: dict[int, Label] = {}
    kind: Kind = "image"
    if "S" in series.axes:
        array = np.moveaxis(array, series.axes.index("S"), -1)
        if array.shape[-1] in (3, 4):
            array, labels, note = colours.from_rgb(array)
            kind = "labels" if labels else "image"
        else:
            array, note = array[..., 0], f"The first of {array.shape[-1]} samples of each pixel was read."
        notes += (note,)
    elif photometric == 0 and array.dtype.kind in "bu":
        array = ~array
        notes += ("In this file 0 is white: the values were turned round.",)
    elif photometric == 3 and palette is not None:
        labels = colours.of_palette(np.asarray(palette).T >> 8, array)
    data, fourth = _pages(array, layout.axes)
    if data.shape[0] > 1:
        notes += (f"An axis of the file ({data.shape[0]} long) was read as {_MEANING[fourth]}.",)
    names = layout.channels if len(layout.channels) == data.shape[0] > 1 else ()
    return unplaced.volume(path, "tiff", data, layout.edges, kind=kind, notes=notes, labels=labels, fourth=fourth, channels=names)


def _pages(array: NDArray[np.generic], axes: str) -> tuple[NDArray[np.generic], Fourth]:
    """Return the array as ``(C, Z, Y, X)``."""
    front = [axis for axis in axes if axis not in "ZIQYX"]
    depth = [axis for axis in axes if axis in "ZIQ"]
    array = np.transpose(array, [axes.index(axis) for axis in (*front, *depth, "Y", "X")])
    if not depth:
        array = np.expand_dims(array, -3)
    if not front:
        array = array[np.newaxis]
    return array, _FOURTH.get(front[0], "channel") if front else "channel"


def _series(path: Path, file: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    if file.is_ome:
        _refuse_foreign_files(path, file)
    if not file.series:
        raise ReadError(f"{path} holds no image.", "Export it again.")
    series = file.series[0]
    axes = series.axes.replace("S", "")
    if "X" not in axes or "Y" not in axes or len(set(axes)) < len(axes):
        raise ReadError(f"{path} has the axes {series.axes}, which are not those of a scan.", "Export it as a stack of slices.")
    front = [f"{axis} ({n})" for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "ZIQYXS"]
    depth = [axis for axis in axes if axis in "ZIQ"]
    if len(front) > 1 or len(depth) > 1:
        raise ReadError(
            f"{path} has more axes than a volume and one more ({series.axes}: {'x'.join(map(str, series.shape))}).",
            "Split it, for instance into one file for each time point or channel.",
        )
    return series


def _layout(path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> _Layout:
    axes = series.axes.replace("S", "")
    notes: tuple[str, ...] = ()
    if len(file.series) > 1:
        sizes = "x".join(map(str, series.shape))
        notes += (f"The file holds {len(file.series)} images; the first ({sizes}) was read.",)
    if file.is_ome and file.ome_metadata:
        return _ome_layout(axes, file.ome_metadata, notes)
    if file.is_imagej and file.imagej_metadata is not None:
        return _imagej_layout(axes, file, dict(file.imagej_metadata), notes)
    edges: unplaced.Edges = (None, None, None)
    page = series.keyframe
    unit = page.tags.valueof("ResolutionUnit")
    if unit == 3:
        edges = (_pixel_size(page, "XResolution", "cm"), _pixel_size(page, "YResolution", "cm"), None)
    elif unit == 2 and page.tags.valueof("XResolution"):
        notes += ("The file gives a resolution in dots per inch, as for printing: it was not taken for the size of the voxels.",)
    return _Layout(axes, edges, notes=notes)


def _imagej_layout(axes: str, file: tifffile.TiffFile, metadata: dict[str, object], notes: tuple[str, ...]) -> _Layout:
    unit = str(metadata.get("unit", ""))
    page = file.pages.first
    edges = (
        _pixel_size(page, "XResolution", unit),
        _pixel_size(page, "YResolution", str(metadata.get("yunit", unit))),
        unplaced.millimetres(metadata.get("spacing", ""), str(metadata.get("zunit", unit))),
    )
    channels: tuple[str, ...] = ()
    interval = metadata.get("finterval")
    frames = metadata.get("frames")
    if "T" in axes and isinstance(interval, int | float) and interval > 0 and isinstance(frames, int):
        channels = tuple(f"{number * interval:.4g} s" for number in range(frames))
    return _Layout(axes, edges, channels, notes)


def _ome_layout(axes: str, description: str, notes: tuple[str, ...]) -> _Layout:
    pixels = next((one for one in ElementTree.fromstring(description).iter() if _tag(one) == "Pixels"), None)
    if pixels is None:
        return _Layout(axes, (None, None, None), notes=notes)

    def edge(axis: str) -> float | None:
        return unplaced.millimetres(pixels.get(f"PhysicalSize{axis}", ""), pixels.get(f"PhysicalSize{axis}Unit", "µm"))

    names: tuple[str, ...] = ()
    if "C" in axes:
        names = tuple(one.get("Name", "") for one in pixels if _tag(one) == "Channel")
    elif "T" in axes and pixels.get("TimeIncrementUnit", "s") == "s":
        step, count = float(pixels.get("TimeIncrement", "0")), int(pixels.get("SizeT", "1"))
        names = tuple(f"{number * step:.4g} s" for number in range(count)) if step > 0 else ()
    return _Layout(axes, (edge("X"), edge("Y"), edge("Z")), names if all(names) else (), notes)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _pixel_size(page: tifffile.TiffPage, tag: str, unit: str) -> float | None:
    """Return the size of a pixel in mm from a resolution, which is a fraction: pixels per unit."""
    resolution = page.tags.valueof(tag)
    if not isinstance(resolution, tuple) or len(resolution) != 2 or not resolution[0]:
        return None
    return unplaced.millimetres(resolution[1] / resolution[0], unit)


@contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a file; what tifffile only logs about damage is an error here."""
    import tifffile

    _refuse_broken_chain(path)
    heard = _Listener()
    logger = logging.getLogger("tifffile")
    logger.addHandler(heard)
    propagated, logger.propagate = logger.propagate, False
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    finally:
        logger.removeHandler(heard)
        logger.propagate = propagated
    if heard.damage:
        raise ReadError(
            f"{path} is damaged or incomplete: its pages do not fit what its header says.", "Copy or export it again."
        )


class _Listener(logging.Handler):
    """Hears of damage: tifffile logs it, and puts zeros where pixels are missing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.damage = False

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        words = ("missing", "corrupt", "invalid", "incomplete", "out of range", "expected", "cannot", "failed", "truncated")
        self.damage |= record.levelno >= logging.ERROR or any(word in said.lower() for word in words)


def _refuse_broken_chain(path: Path) -> None:
    """Follow the pages to the last one: where a file is cut off, tifffile would just find fewer of them."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        head = handle.read(16)
        order = "<" if head.startswith(b"II") else ">"
        is_big = head[2:4] in (b"+\0", b"\0+")
        count_format, entry, offset_format = ("Q", 20, "Q") if is_big else ("H", 12, "I")
        start = 8 if is_big else 4
        (place,) = struct.unpack_from(order + offset_format, head, start)
        seen: set[int] = set()
        while place:
            handle.seek(place)
            count = handle.read(struct.calcsize(count_format))
            if place in seen or len(seen) > _MOST_PAGES:
                raise ReadError(f"{path} is damaged: its pages have no end.", "Copy or export it again.")
            seen.add(place)
            if len(count) == struct.calcsize(count_format):
                handle.seek(struct.unpack(order + count_format, count)[0] * entry, 1)
            following = handle.read(struct.calcsize(offset_format))
            if len(following) < struct.calcsize(offset_format):
                raise ReadError(f"{path} is cut off: page {len(seen)} lies behind its {size} bytes.", "Copy or export it again.")
            (place,) = struct.unpack(order + offset_format, following)


def _refuse_missing_pixels(path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    import tifffile

    needed = int(series.nbytes)
    page = series.keyframe
    compression = tifffile.COMPRESSION(page.compression)
    # One piece where all pixels follow each other. Whoever keeps no pixels of a page on purpose writes no bytes for it.
    whole = (series.dataoffset or 0, needed, file.filehandle.size)
    pieces = [whole] if series.dataoffset is not None else _pieces(series)
    if any(offset + count > size or count == 0 for offset, count, size in pieces):
        raise ReadError(f"{path} is cut off, or some of its pixels were never written.", "Copy or export it again.")
    per_byte = _MOST_COMPRESSED.get(int(compression), _MOST_COMPRESSED_OTHERWISE) * max(1, 8 // page.bitspersample)
    refuse_impossible(path, needed, per_byte * sum(count for _, count, _ in pieces))
    if page.is_tiled:  # one tile is decoded whole, however little of it lies in the image
        tile = page.tilewidth * page.tilelength * page.tiledepth * page.bitspersample // 8
        refuse_impossible(path, tile, per_byte * max(count for _, count, _ in pieces))
    if compression not in _PLAIN_COMPRESSIONS:
        try:
            import imagecodecs  # noqa: F401
        except ImportError as error:
            raise ReadError(
                f"{path} is compressed by {compression.name}, which needs the package imagecodecs.",
                "Install it (pip install imagecodecs), or save the file without compression.",
            ) from error


def _pieces(series: tifffile.TiffPageSeries) -> list[tuple[int, int, int]]:
    """Return offset and length of all strips and tiles, and the size of the file that each lies in."""
    pieces = []
    for page in series.pages:
        if page is None:
            return [(0, 0, 0)]  # a page that is promised, but not there
        size = page.parent.filehandle.size
        pieces += [(offset, count, size) for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    return pieces


def _refuse_foreign_files(path: Path, file: tifffile.TiffFile) -> None:
    """Refuse an OME-TIFF that names files outside its own folder, or that are not there."""
    for element in ElementTree.fromstring(file.ome_metadata or "").iter():
        name = element.get("FileName", path.name) if _tag(element) == "UUID" else path.name
        if name.lower() == path.name.lower():
            continue
        if Path(name).name != name or "\\" in name or not (path.parent / name).is_file():
            raise ReadError(
                f"{path} is one of the files of an OME-TIFF, and {Path(name).name} is not beside it.",
                "Copy all of them into one folder, or export them as one file.",
            )


TIFF = Format("TIFF", (".tif", ".tiff"), lambda head: head.startswith(_MAGIC), read, read_grid)
