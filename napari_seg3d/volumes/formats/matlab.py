"""MATLAB files: version 4 to 7, and 7.3, which is HDF5."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.formats import arrays, hdf5, mat5
from napari_seg3d.volumes.formats.arrays import Stored
from napari_seg3d.volumes.formats.format import Format
from napari_seg3d.volumes.formats.streams import read_head, refuse_impossible
from napari_seg3d.volumes.volume import Volume, storable

_TEXT = re.compile(rb"MATLAB (5\.0|7\.3) MAT-file")
_HDF5_STARTS = 512  # behind MATLAB's own header
_AFFINE = "affine"
_CLASSES = {"double": "f8", "single": "f4", "logical": "u1"} | {
    f"{sign}int{bits}": f"{sign or 'i'}{bits // 8}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_OTHER = np.dtype(object)


def read(path: Path, name: str | None = None) -> Volume:
    """Return one array of a MATLAB file as a volume; by its name, or the one that is most likely the scan."""
    if hdf5.SIGNATURE in _signatures(path):
        array, chosen, notes, affine = _read_hdf5(path, name)
    else:
        array, chosen, notes, affine = _read_old(path, name)
    return arrays.to_volume(path, "matlab", array, "matlab", name=chosen, notes=notes, affine=affine)


def write(path: Path, volume: Volume) -> None:
    """Write `volume` as MATLAB 5: rows x columns x slices x channels, and an ``affine`` of (column, row, slice) from 0 to RAS+ mm.

    Labels of one slice are called ``label_separated``: rows x columns x labels of 0 and 1, where channel c is label c + 1. Other
    labels are called ``labels``, images ``image``.
    """
    import scipy.io

    content: dict[str, NDArray[np.generic]] = {_AFFINE: np.asarray(volume.affine)}
    if volume.kind == "labels" and volume.data.shape[3] == 1:
        content[arrays.SEPARATED] = arrays.separated(path, volume)
    else:
        rows_first = np.transpose(storable(volume.data), (2, 1, 3, 0))
        content["labels" if volume.kind == "labels" else "image"] = rows_first if volume.data.shape[0] > 1 else rows_first[..., 0]
    with open(path, "wb") as handle:
        scipy.io.savemat(handle, content, do_compression=True)


def _read_old(path: Path, name: str | None) -> tuple[NDArray[np.generic], str, tuple[str, ...], NDArray[np.float64] | None]:
    found = {place.stored.name: place for place in mat5.places(path)}
    chosen, notes = arrays.choose(path, [place.stored for one, place in found.items() if one != _AFFINE], name)
    _refuse_other(path, chosen)
    affine = None
    if _AFFINE in found and _is_affine(found[_AFFINE].stored):
        affine = np.asarray(mat5.read(path, found[_AFFINE]), np.float64)
    return mat5.read(path, found[chosen.name]), chosen.name, notes, affine


def _read_hdf5(path: Path, name: str | None) -> tuple[NDArray[np.generic], str, tuple[str, ...], NDArray[np.float64] | None]:
    with hdf5.open_file(path) as file:
        found = []
        for one in file:
            # Everything else (structures, cells, text) is a group, a list of references, or says so in its class.
            if not one.startswith("#") and hdf5.is_dataset(file, one):
                kind = file[one].attrs.get("MATLAB_class", b"").decode("ascii", "replace")
                dtype = file[one].dtype if kind in _CLASSES or not kind else _OTHER
                found.append(Stored(one, file[one].shape[::-1], dtype))
        chosen, notes = arrays.choose(path, [one for one in found if one.name != _AFFINE], name)
        _refuse_other(path, chosen)
        refuse_impossible(path, chosen.nbytes, chosen.nbytes)  # blocks that are not stored are all zero: nothing bounds it
        array = hdf5.dataset(path, file, chosen.name)[()].T  # MATLAB counts the first axis fastest
        affine = None
        if any(_is_affine(one) for one in found):
            affine = np.asarray(hdf5.dataset(path, file, _AFFINE)[()].T, np.float64)
    return array, chosen.name, notes, affine


def _is_affine(stored: Stored) -> bool:
    return stored.name == _AFFINE and stored.shape == (4, 4) and stored.dtype.kind in "iuf"


def _refuse_other(path: Path, chosen: Stored) -> None:
    if chosen.dtype.kind not in "biuf" or len(chosen.shape) < 2 or 0 in chosen.shape:
        raise ReadError(f"{path}: {chosen} is no array of numbers.", "Choose another one, or export it as a plain array.")


def _signatures(path: Path) -> bytes:
    head = read_head(path)
    return head[:8] + head[_HDF5_STARTS : _HDF5_STARTS + 8]


def _recognises(head: bytes) -> bool:
    return bool(_TEXT.match(head)) or head.startswith(hdf5.SIGNATURE) or _is_version_4(head)


def _is_version_4(head: bytes) -> bool:
    """Return whether a file begins like MATLAB 4, which has no mark: five numbers that must be small, and a name."""
    for order in ("<i4", ">i4"):
        numbers = np.frombuffer(head[:20], order) if len(head) >= 20 else np.full(5, -1)
        kind, rows, columns, is_complex, length = (int(number) for number in numbers)
        thousands, hundreds, tens, ones = kind // 1000, kind // 100 % 10, kind // 10 % 10, kind % 10
        if 0 <= kind < 5000 and thousands in (0, 1) and hundreds == 0 and tens <= 5 and ones <= 2 and is_complex in (0, 1):
            name = head[20 : 20 + length]
            if (
                rows > 0
                and columns > 0
                and 1 < length <= 64
                and name.endswith(b"\0")
                and name[:-1].decode("latin-1").isidentifier()
            ):
                return True
    return False


MATLAB = Format("MATLAB", (".mat",), _recognises, read, read_variable=read, write=write)
