"""NRRD and MetaImage (MHA, MHD), through SimpleITK."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.formats.format import Format
from napari_seg3d.volumes.formats.streams import read_array, read_head
from napari_seg3d.volumes.grid import FloatArray, Grid
from napari_seg3d.volumes.volume import Source, Volume, storable

if TYPE_CHECKING:
    import SimpleITK as sitk

_NRRD_MAGIC = b"NRRD000"
_LONGEST_LINE = 1 << 16
_MOST_AXES = 10
# ITK keeps places in LPS+ millimetres, we in RAS+: x and y change their sign.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_grid(path: Path) -> Grid:
    """Return the grid of a file from its header alone."""
    header = _open(path)
    return Grid(_three(header.GetSize(), 1), _affine(header.GetSpacing(), header.GetOrigin(), header.GetDirection()))


def read(path: Path) -> Volume:
    """Return the volume in a file; components or a fourth axis become channels, in front."""
    header = _open(path)
    notes: tuple[str, ...] = ()
    data = _voxels(path, header)  # (t), z, y, x, (component)
    dimension, components = header.GetDimension(), header.GetNumberOfComponents()
    if dimension > 3 and components > 1:
        raise ReadError(f"{path} has four axes and {components} components.", "Split it into one file per volume.")
    if components > 1:
        data = np.moveaxis(data, -1, 0)
        notes = (f"The {components} components of each voxel were read as channels.",)
    elif dimension == 4:
        notes = (f"The fourth axis of the file ({data.shape[0]} long) was read as channels.",) if data.shape[0] > 1 else ()
    elif dimension < 4:
        data = data[np.newaxis]
    if dimension == 2:
        data = data[:, np.newaxis]
    if _may_lack_digits(path):
        notes += ("The file does not end with a line break: its last value may lack digits.",)
    affine = _affine(header.GetSpacing(), header.GetOrigin(), header.GetDirection())
    name = "nrrd" if _is_nrrd(path) else "metaimage"
    return Volume(np.transpose(data, (0, 3, 2, 1)), affine, "image", Source(path, name), notes)


def write(path: Path, volume: Volume) -> None:
    """Write `volume`, compressed."""
    import SimpleITK as sitk

    sitk.WriteImage(to_itk(volume), str(path), useCompression=True)
    # ITK does not notice a disk that fills up while the file is closed: only reading shows whether everything arrived.
    try:
        arrived = read(path).data
    except (RuntimeError, ReadError) as error:
        raise OSError("not all of it arrived on the disk") from error
    if not np.array_equal(arrived, volume.data, equal_nan=arrived.dtype.kind == "f"):
        raise OSError("other voxels arrived on the disk")


def to_itk(volume: Volume) -> sitk.Image:
    """Return a copy of `volume` as a SimpleITK image in LPS+; several channels become components."""
    import SimpleITK as sitk

    array = np.transpose(storable(volume.data), (0, 3, 2, 1))  # c, z, y, x
    many = array.shape[0] > 1
    image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1) if many else array[0], isVector=many)
    place(image, volume.grid)
    return image


def place(image: sitk.Image, grid: Grid) -> None:
    """Give a SimpleITK image the spacing, origin and direction of `grid`."""
    lps = _LPS_TO_RAS @ grid.affine
    image.SetSpacing(grid.spacing)
    image.SetOrigin(tuple(lps[:3, 3]))
    image.SetDirection(tuple((lps[:3, :3] / np.array(grid.spacing)).ravel()))


def from_itk_array(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a view with axes (I, J, K) of the ``(z, y, x)`` array of a SimpleITK image."""
    return np.transpose(array, (2, 1, 0))


def _is_nrrd(path: Path) -> bool:
    return read_head(path).startswith(_NRRD_MAGIC)


def _open(path: Path) -> sitk.ImageFileReader:
    import SimpleITK as sitk

    _refuse_odd_dimension(path)
    header = sitk.ImageFileReader()
    header.SetFileName(str(path))
    # Left alone, ITK goes by the name first.
    header.SetImageIO("NrrdImageIO" if _is_nrrd(path) else "MetaImageIO")
    header.ReadImageInformation()
    if header.GetPixelID() not in _types():
        name = sitk.GetPixelIDValueAsString(header.GetPixelID())
        raise ReadError(f"{path} holds values of the type {name}, not a scan.", "Export it with plain numbers.")
    return header


def _refuse_odd_dimension(path: Path) -> None:
    # ITK makes room for ten axes and writes past it when a damaged header names more, which ends the process.
    if _is_nrrd(path):
        dimension = _fields(path, ":", last=None)[0].get("dimension", "1")
    else:
        dimension = _fields(path, "=", last="elementdatafile")[0].get("ndims", "1")
    if not (dimension.isdigit() and 1 <= int(dimension) <= _MOST_AXES):
        raise ReadError(f"{path} names {dimension} axes, which no image has.", "The file is damaged: copy or export it again.")


def _types() -> dict[int, str]:
    import SimpleITK as sitk

    names = {
        "UInt8": "u1",
        "Int8": "i1",
        "UInt16": "u2",
        "Int16": "i2",
        "UInt32": "u4",
        "Int32": "i4",
        "UInt64": "u8",
        "Int64": "i8",
    }
    names |= {"Float32": "f4", "Float64": "f8"}
    return {getattr(sitk, f"sitk{vector}{name}"): code for name, code in names.items() for vector in ("", "Vector")}


def _voxels(path: Path, header: sitk.ImageFileReader) -> NDArray[np.generic]:
    """Return the voxels as ``(t), z, y, x, (component)``."""
    import SimpleITK as sitk

    stored = _nrrd_voxels(path) if _is_nrrd(path) else _metaimage_voxels(path)
    components = header.GetNumberOfComponents()
    shape = (*header.GetSize()[::-1], *((components,) if components > 1 else ()))
    if stored is None or (components > 1 and not stored.components_first):
        # Rare layouts, such as text or a file per slice.
        image: NDArray[np.generic] = sitk.GetArrayFromImage(header.Execute())
        return image
    dtype = np.dtype(stored.byte_order + _types()[header.GetPixelID()])
    data = read_array(stored.file, stored.offset, int(np.prod(shape, dtype=np.int64)), dtype, stored.compressed)
    return storable(data.reshape(shape))


@dataclass(frozen=True)
class _Stored:
    """Where the voxels stand."""

    file: Path
    offset: int
    compressed: bool
    byte_order: str
    components_first: bool  # the components of a voxel follow each other


def _nrrd_voxels(path: Path) -> _Stored | None:
    """Return where the voxels stand, or None if that is not simply behind the header."""
    fields, offset = _fields(path, ":", last=None)
    encoding = fields.get("encoding", "").lower()
    data_file = fields.get("data file", fields.get("datafile"))
    if data_file is not None:
        _companion(path, data_file)
    if data_file is not None or encoding not in ("raw", "gzip", "gz"):
        return None
    if not {"line skip", "lineskip", "byte skip", "byteskip"}.isdisjoint(fields):
        return None
    kinds = fields.get("kinds", "").lower().split()
    first_is_space = bool(kinds) and kinds[0] in ("domain", "space", "time")
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    return _Stored(path, offset, encoding != "raw", order, not first_is_space and bool(kinds))


def _metaimage_voxels(path: Path) -> _Stored | None:
    """Return where the voxels stand, or None if they are text, or spread over several files."""
    fields, offset = _fields(path, "=", last="elementdatafile")
    name = fields.get("elementdatafile", "")
    file = path
    if name.upper() != "LOCAL":
        if not name or name.upper().startswith("LIST") or "%" in name:
            return None
        file, offset = _companion(path, name), 0
    if fields.get("headersize", "0") != "0" or not _is_true(fields.get("binarydata", "true")):
        return None
    big = _is_true(fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "false")))
    return _Stored(file, offset, _is_true(fields.get("compresseddata", "false")), ">" if big else "<", True)


def _may_lack_digits(path: Path) -> bool:
    """Return whether the voxels are text that ends with a digit: a file that was cut there still holds as many numbers."""
    if _is_nrrd(path):
        is_text = _fields(path, ":", last=None)[0].get("encoding", "").lower() in ("ascii", "text", "txt")
    else:
        is_text = not _is_true(_fields(path, "=", last="elementdatafile")[0].get("binarydata", "true"))
    if not is_text:
        return False
    with open(path, "rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read().isdigit()


def _companion(path: Path, name: str) -> Path:
    """Return the data file that a header names; it must lie beside the header or below."""
    if name.upper().startswith("LIST") or "%" in name:
        return path
    file = path.parent / name
    if not file.resolve().is_relative_to(path.parent.resolve()):
        raise ReadError(f"{path} names a data file outside its own folder.", "Put both files into one folder, and name it there.")
    if not file.is_file():
        raise ReadError(f"{path}: its data file {name} is missing.", "Copy both files into one folder.")
    return file


def _is_true(value: str) -> bool:
    return value.lower().startswith(("t", "1"))


def _fields(path: Path, separator: str, last: str | None) -> tuple[dict[str, str], int]:
    """Return the fields of a text header in lower case, up to the field `last` or an empty line, and where it ends."""
    fields: dict[str, str] = {}
    with open(path, "rb") as handle:
        while line := handle.readline(_LONGEST_LINE).decode("latin-1"):
            key, _, value = line.partition(separator)
            fields[key.strip().lower()] = value.strip()
            if key.strip().lower() == last or (last is None and not line.strip()):
                break
        return fields, handle.tell()


def _affine(spacing: tuple[float, ...], origin: tuple[float, ...], direction: tuple[float, ...]) -> FloatArray:
    dimension = len(spacing)
    n = min(dimension, 3)
    affine = np.eye(4)
    affine[:n, :n] = np.array(direction).reshape(dimension, dimension)[:n, :n] * np.array(spacing)[:n]
    affine[:n, 3] = origin[:n]
    return _LPS_TO_RAS @ affine


def _three(size: tuple[int, ...], fill: int) -> tuple[int, int, int]:
    i, j, k = (tuple(size) + (fill,) * 3)[:3]
    return i, j, k


def _recognises_metaimage(head: bytes) -> bool:
    return any(re.match(rb"\s*(ObjectType|NDims|DimSize|ElementType)\s*=", line) for line in head.split(b"\n")[:8])


NRRD = Format("NRRD", (".nrrd",), lambda head: head.startswith(_NRRD_MAGIC), read, read_grid, write=write, writes_grid=True)
METAIMAGE = Format("MetaImage", (".mha", ".mhd"), _recognises_metaimage, read, read_grid, write=write, writes_grid=True)
