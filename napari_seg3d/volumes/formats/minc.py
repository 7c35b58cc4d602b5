"""MINC 1 (netCDF) and MINC 2 (HDF5), through nibabel."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from nibabel.externals.netcdf import netcdf_file
from nibabel.minc1 import Minc1File
from nibabel.minc2 import Minc2File
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.formats import hdf5
from napari_seg3d.volumes.formats.format import Format
from napari_seg3d.volumes.formats.streams import open_whole, read_head, refuse_impossible
from napari_seg3d.volumes.volume import Fourth, Source, Volume, storable

_NETCDF = (b"CDF\1", b"CDF\2")
_IMAGE_OF_MINC2 = "minc-2.0/image/0/image"


def read(path: Path) -> Volume:
    """Return the volume in a MINC file; an axis that is not one of space becomes time or channels, in front."""
    if not read_head(path).startswith(hdf5.SIGNATURE):
        with open_whole(path) as stream:
            # Everything at once: the voxels of MINC 1 are not compressed, and must outlive the file.
            stored = Minc1File(netcdf_file(io.BytesIO(stream.read())))
        return _volume(path, stored, stored._image.data)
    with hdf5.open_file(path) as file:
        if "minc-2.0" not in file:
            raise ReadError(f"{path} is an HDF5 file, but holds no MINC scan.", "Export it in a format of medical images.")
        image = hdf5.dataset(path, file, _IMAGE_OF_MINC2)
        needed = int(image.size) * image.dtype.itemsize
        refuse_impossible(path, needed, needed)  # nothing in the file bounds it: blocks that are not stored are all zero
        return _volume(path, Minc2File(file), image[()])


def _volume(path: Path, stored: Minc1File, raw: NDArray[np.generic]) -> Volume:
    names = tuple(stored._dim_names)
    if raw.ndim != len(names) or raw.size == 0:
        raise ReadError(f"{path} holds no voxels, or axes that it does not name.", "Export it again.")
    spatial = [axis for axis, name in enumerate(names) if name.endswith("space")]
    others = [axis for axis in range(len(names)) if axis not in spatial]
    if len(spatial) != 3 or len(others) > 1:
        raise ReadError(f"{path} has the axes {', '.join(names)}.", "Split it into volumes of three axes in space.")
    data = np.transpose(_values(stored, raw), (*others, *spatial))
    notes: tuple[str, ...] = ()
    fourth: Fourth = "channel"
    if others:
        fourth = "time" if names[others[0]] == "time" else "channel"
        meaning = "time" if fourth == "time" else "channels"
        notes = (f"The axis {names[others[0]]} of the file ({data.shape[0]} long) was read as {meaning}.",)
    else:
        data = data[np.newaxis]
    # MINC counts as we do: x to the patient's right, y to anterior, z to superior.
    return Volume(storable(data), stored.get_affine(), "image", Source(path, "minc"), notes, fourth=fourth)


def _values(stored: Minc1File, raw: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the real values: as they are stored where nothing scales them, as float32 otherwise."""
    raw = raw.view(stored.get_data_dtype())
    if raw.dtype.kind == "f" or _is_identity(stored):
        return raw
    # Slice by slice: nibabel scales at full precision, which would take up to eight times the memory.
    scaled = np.empty(raw.shape, np.float32)
    for first in range(raw.shape[0]):
        scaled[first] = stored._normalize(raw[first], (first,))
    return scaled


def _is_identity(stored: Minc1File) -> bool:
    """Return whether the real values are the stored ones; labels are, and rounding must not make them fractional."""
    low, high = stored._get_valid_range()
    minimum, maximum = (_numbers(stored, one) for one in (stored._image_min, stored._image_max))
    return bool((minimum == low).all() and (maximum == high).all())


def _numbers(stored: Minc1File, variable: object) -> NDArray[np.generic]:
    is_scalar = getattr(variable, "shape", ()) == ()
    return np.asarray(stored._get_scalar(variable) if is_scalar else stored._get_array(variable))


MINC = Format("MINC", (".mnc", ".mnc.gz"), lambda head: head.startswith((*_NETCDF, hdf5.SIGNATURE)), read)
