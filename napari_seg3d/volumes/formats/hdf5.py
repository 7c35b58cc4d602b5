"""HDF5 files from untrusted hands: what MINC 2 and MATLAB 7.3 need, and no way out of the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_seg3d.errors import ReadError

if TYPE_CHECKING:
    import h5py

SIGNATURE = b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises
    ------
    ReadError
        It is damaged or cut off.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        path.stat()  # a file that does not exist says so itself
        raise ReadError(
            f"{path} is cut off or damaged (its HDF5 structure cannot be read).", "Copy or export it again."
        ) from error
    with file:
        yield file


def is_dataset(file: h5py.File, name: str) -> bool:
    """Return whether `name` is an array that lies in this very file."""
    import h5py

    return isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Dataset)


def dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """Return the array called `name`, if it lies in this very file.

    HDF5 can name voxels in other files; a scan from somewhere else must not make us read those.

    Raises
    ------
    ReadError
        There is no such array, or it lies elsewhere.
    """
    import h5py

    found: object = file
    for part in name.split("/"):
        if not isinstance(found, h5py.Group) or not isinstance(found.get(part, getlink=True), h5py.HardLink):
            raise ReadError(f"{path} holds no array {name} of its own.", "Export it again, into one file.")
        found = found[part]
    if not isinstance(found, h5py.Dataset):
        raise ReadError(f"{path}: {name} is no array.", "Export it again.")
    if found.external or found.is_virtual:
        raise ReadError(f"{path} keeps the values of {name} in other files.", "Export it again, into one file.")
    return found
