"""`Format`: what a module of this folder offers to `volumes.io`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.volume import Volume

#: So many bytes from the beginning of a file (decompressed, if it is a gzip) are enough to tell its format.
HEAD_BYTES = 1024


@dataclass(frozen=True)
class Format:
    """One file format.

    Parameters
    ----------
    name : str
        What a person calls it, such as ``"NIfTI"``.
    suffixes : tuple of str
        How its files usually end, in lower case, with the dot; the first is the usual one.
    recognises : callable
        Whether the first :data:`HEAD_BYTES` bytes of a file (decompressed, if it is a gzip) are of this format.
    recognises_folder : callable
        Whether a folder is of this format.
    header_of : callable, optional
        For formats that keep voxels and header in two files: returns the header of a path that is named like the voxels, and None
        for any other path.
    read : callable
        Returns the volume in a file. Whatever it raises becomes a `ReadError` with the path in `volumes.io`.
    read_grid : callable, optional
        Returns the grid from the header alone; None reads the voxels too.
    read_variable : callable, optional
        For files that hold several arrays by name: returns the volume of one of them.
    read_resampled : callable, optional
        For files whose slices do not lie on a regular grid: returns them resampled onto one.
    write : callable, optional
        Writes a volume; None where the format is only read.
    writes_grid : bool
        Whether a written file holds shape, spacing and place in the patient, so that a mask lies on its scan everywhere.
    """

    name: str
    suffixes: tuple[str, ...]
    recognises: Callable[[bytes], bool]
    read: Callable[[Path], Volume]
    read_grid: Callable[[Path], Grid] | None = None
    read_variable: Callable[[Path, str], Volume] | None = None
    read_resampled: Callable[[Path], Volume] | None = None
    write: Callable[[Path, Volume], None] | None = None
    writes_grid: bool = False
    recognises_folder: Callable[[Path], bool] = lambda _: False
    header_of: Callable[[Path], Path | None] = lambda _: None
