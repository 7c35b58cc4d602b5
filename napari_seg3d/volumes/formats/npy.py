"""NumPy's own files, ``.npy`` and ``.npz``; pickled objects, which could run anything, are never loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.formats import arrays
from napari_seg3d.volumes.formats.format import Format
from napari_seg3d.volumes.formats.streams import MOST_DEFLATED, refuse_impossible
from napari_seg3d.volumes.volume import Volume

_MAGIC = b"\x93NUMPY"
_ZIP = b"PK\3\4"
_MOST_ARRAYS = 10_000


def read_npy(path: Path) -> Volume:
    """Return the array in an ``.npy`` file as a volume."""
    with open(path, "rb") as handle:
        stored = _header(path, handle, "")
        refuse_impossible(path, stored.nbytes, path.stat().st_size - handle.tell())
        handle.seek(0)
        array = npy_format.read_array(handle, allow_pickle=False)
    return arrays.to_volume(path, "numpy", array, "numpy")


def write_npy(path: Path, volume: Volume) -> None:
    """Write `volume` as a plain array; its place in the patient is lost.

    Labels of one slice become ``(rows, columns, labels)`` of 0 and 1, where channel c is label c + 1; anything else keeps its
    values: ``(rows, columns)``, ``(rows, columns, channels)``, ``(slices, rows, columns)`` or ``(channels, slices, rows,
    columns)``.
    """
    pages = np.transpose(volume.data, (0, 3, 2, 1))
    if pages.shape[1] == 1:
        array = arrays.separated(path, volume).astype(np.uint8) if volume.kind == "labels" else np.moveaxis(pages[:, 0], 0, -1)
        array = array[..., 0] if array.shape[-1] == 1 and volume.kind == "image" else array
    else:
        array = pages[0] if len(pages) == 1 else pages
    with open(path, "wb") as handle:
        npy_format.write_array(handle, np.ascontiguousarray(array), allow_pickle=False)


def read_npz(path: Path, name: str | None = None) -> Volume:
    """Return one array of an ``.npz`` file as a volume; by its name, or the one that is most likely the scan."""
    with zipfile.ZipFile(path) as archive:
        members = [one for one in archive.infolist() if one.filename.endswith(".npy")]
        if len(members) > _MOST_ARRAYS:
            raise ReadError(f"{path} holds {len(members)} arrays.", "Save the scan alone.")
        found = {}
        for member in members:
            with archive.open(member) as stream:
                stored = _header(path, stream, member.filename.removesuffix(".npy"))
            found[stored.name] = (stored, member)
        chosen, notes = arrays.choose(path, [stored for stored, _ in found.values()], name)
        member = found[chosen.name][1]
        refuse_impossible(path, chosen.nbytes, member.compress_size * (MOST_DEFLATED if member.compress_type else 1))
        with archive.open(member) as stream:
            array = npy_format.read_array(stream, allow_pickle=False)
            if stream.read():  # the check sum is looked at when everything was read
                raise ReadError(f"{path}: the array {chosen.name} is longer than its header says.", "Export it again.")
    return arrays.to_volume(path, "numpy", array, "numpy", name=chosen.name, notes=notes)


def _header(path: Path, stream: IO[bytes], name: str) -> arrays.Stored:
    version = npy_format.read_magic(stream)
    # One of three layouts; the last one allows names in any script, and reads the second one too.
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ReadError(
            f"{path} holds Python objects ({name or dtype}), which are never loaded: they could run programs.",
            "Save a plain array of numbers.",
        )
    return arrays.Stored(name, shape, dtype)


NPY = Format("NumPy", (".npy",), lambda head: head.startswith(_MAGIC), read_npy, write=write_npy)
NPZ = Format("NumPy archive", (".npz",), lambda head: head.startswith(_ZIP), read_npz, read_variable=read_npz)
