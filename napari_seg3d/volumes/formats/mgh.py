"""MGH and MGZ of FreeSurfer: nibabel knows the header; the voxels are read here, with their check sum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.formats.format import Format
from napari_seg3d.volumes.formats.streams import MOST_DEFLATED, is_gzip, open_whole, read_from, read_head, refuse_impossible
from napari_seg3d.volumes.grid import Grid, Shape3
from napari_seg3d.volumes.volume import Fourth, Source, Volume

_VERSION = b"\0\0\0\1"
_VOXELS_START = 284
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}  # by FreeSurfer's number
_UNKNOWN_ORIENTATION = (
    "The file does not say how it lies in the patient (its RAS flag is 0): left and right are FreeSurfer's default, not a fact."
)


def read_grid(path: Path) -> Grid:
    """Return the grid of an MGH file from its header alone."""
    header = _header(path, read_head(path))
    return Grid(_shape(header)[0], header.get_affine())


def read(path: Path) -> Volume:
    """Return the volume in an MGH file; several frames become time or channels, in front."""
    with open_whole(path) as stream:
        head = stream.read(_VOXELS_START)
        header = _header(path, head)
        (i, j, k), frames = _shape(header)
        dtype = np.dtype(_TYPES[int(header["type"])])
        needed = i * j * k * frames * dtype.itemsize
        stored = path.stat().st_size * (MOST_DEFLATED if is_gzip(path) else 1) - _VOXELS_START
        refuse_impossible(path, needed, stored)
        voxels = read_from(path, stream, needed // dtype.itemsize, dtype)
        footer = stream.read(4)
    data = voxels.reshape(frames, k, j, i).transpose(0, 3, 2, 1)
    notes: tuple[str, ...] = ()
    fourth: Fourth = "channel"
    names: tuple[str, ...] = ()
    if frames > 1:
        seconds = _seconds_per_frame(footer)
        if seconds > 0:
            fourth = "time"
            names = tuple(f"{number * seconds:.4g} s" for number in range(frames))
            notes += (f"The {frames} frames of the file were read as time, {seconds:.4g} s apart.",)
        else:
            notes += (f"The {frames} frames of the file were read as channels.",)
    is_oriented = _is_oriented(head)
    if not is_oriented:
        notes += (_UNKNOWN_ORIENTATION,)
    source = Source(path, "mgh")
    return Volume(data, header.get_affine(), "image", source, notes, fourth=fourth, channels=names, is_oriented=is_oriented)


def _header(path: Path, head: bytes) -> MGHHeader:
    if len(head) < _VOXELS_START:
        raise ReadError(f"{path} is cut off: {len(head)} bytes of a header of {_VOXELS_START}.", "Copy or export it again.")
    header = MGHHeader(head[:_VOXELS_START])
    if int(header["type"]) not in _TYPES:
        raise ReadError(
            f"{path} holds values of FreeSurfer's type {int(header['type'])}, not a scan.", "Export it with plain numbers."
        )
    if min(header["dims"]) < 1:
        raise ReadError(f"{path} holds no voxels ({'x'.join(map(str, header['dims']))}).", "Export it again.")
    return header


def _shape(header: MGHHeader) -> tuple[Shape3, int]:
    i, j, k, frames = (int(n) for n in header["dims"])
    return (i, j, k), frames


def _seconds_per_frame(footer: bytes) -> float:
    """Return the repetition time, which stands behind the voxels in ms; 0 where the file does not say."""
    seconds = float(np.frombuffer(footer, ">f4")[0]) / 1000 if len(footer) == 4 else 0.0
    return seconds if np.isfinite(seconds) else 0.0


def _is_oriented(head: bytes) -> bool:
    return int.from_bytes(head[28:30], "big", signed=True) > 0


def _recognises(head: bytes) -> bool:
    if not head.startswith(_VERSION) or len(head) < _VOXELS_START:
        return False
    dims = np.frombuffer(head[4:20], ">i4")
    return bool((dims > 0).all()) and int.from_bytes(head[20:24], "big") in _TYPES


MGH = Format("MGH", (".mgz", ".mgh", ".mgh.gz"), _recognises, read, read_grid)
