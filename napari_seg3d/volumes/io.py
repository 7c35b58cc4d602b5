"""Read and write volumes; the format follows from the name, and every failure names the file and the fix."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from napari_seg3d.errors import ReadError, Seg3dError, WriteError
from napari_seg3d.files import atomic_path
from napari_seg3d.volumes import itk, nifti
from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.labels import as_labels, looks_like_labels
from napari_seg3d.volumes.volume import Kind, Volume

T = TypeVar("T")


@dataclass(frozen=True)
class _Format:
    read: Callable[[Path], Volume]
    read_grid: Callable[[Path], Grid]
    write: Callable[[Path, Volume], None]


_NIFTI = _Format(nifti.read, nifti.read_grid, nifti.write)
_ITK = _Format(itk.read, itk.read_grid, itk.write)
_FORMATS = {".nii.gz": _NIFTI, ".nii": _NIFTI, ".nrrd": _ITK, ".mha": _ITK, ".mhd": _ITK}

#: File name endings that can be read and written, longest first.
SUFFIXES: tuple[str, ...] = tuple(_FORMATS)


def is_volume_path(path: str | Path) -> bool:
    """Return whether the name of `path` ends like a volume and is not a hidden file (as macOS leaves on shared disks)."""
    name = Path(path).name.lower()
    return name.endswith(SUFFIXES) and not name.startswith(".")


def volume_name(path: str | Path) -> str:
    """Return the file name without its volume ending: ``scan.01.nii.gz`` becomes ``scan.01``."""
    name = Path(path).name
    ending = _suffix(name)
    return name[: -len(ending)] if ending else Path(name).stem


def read_volume(path: str | Path, kind: Kind | None = None) -> Volume:
    """Read one volume.

    Parameters
    ----------
    path : path-like
        NIfTI-1 or -2, NRRD, MHA or MHD.
    kind : {"image", "labels"}, optional
        What to read it as; left out, the numbers and the name decide.

    Returns
    -------
    Volume
        In the file's own voxel order. Labels come as the smallest integer type; images keep the file's type, or float32
        where the file scales its values.

    Raises
    ------
    ReadError
        The file is missing, cut off, not what its name says, or not a scan.
    GeometryError
        Its affine is impossible.
    LabelError
        `kind` is "labels" and the values are no labels.
    """
    path = Path(path)
    volume = _guarded(path, _format_of(path).read)
    if kind is None:
        kind = "labels" if looks_like_labels(volume.data, f"{path.parent.name}/{path.name}") else "image"
    if kind == "labels":
        return replace(volume, data=as_labels(volume.data, str(path)), kind="labels")
    return volume


def read_grid(path: str | Path) -> Grid:
    """Return the grid of a file from its header, without reading the voxels; raises as `read_volume` does."""
    path = Path(path)
    return _guarded(path, _format_of(path).read_grid)


def write_volume(volume: Volume, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a volume whole or not at all, on its own grid, in its own voxel order.

    Labels take the smallest integer type that holds them. A NIfTI that came from a NIfTI keeps version, sform, qform, their
    codes and units. Free text of the source (which may name the patient) is not copied.

    Parameters
    ----------
    volume : Volume
        What to write.
    path : path-like
        Where; its ending chooses the format.
    overwrite : bool
        Whether a file that is already there may be replaced. The file that the volume was read from is never replaced.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    WriteError
        The place cannot be written, the disk is full, something is there already, or no format has this ending.
    """
    path = Path(path)
    try:
        write = _format_of(path).write
    except ReadError as error:
        raise WriteError(error.what, error.fix) from error
    there = os.path.lexists(path)
    if there and path.is_dir():
        raise WriteError(f"{path} is a folder.", "Choose another name.")
    if there and volume.source is not None and _same_file(path, volume.source.path):
        raise WriteError(f"{path} is the file that this was read from.", "Choose another name: a source is never overwritten.")
    if there and not overwrite:
        raise WriteError(f"{path} exists already.", "Choose another name, or allow overwriting.")
    if volume.kind == "labels":
        volume = replace(volume, data=as_labels(volume.data, path.name))
    with atomic_path(path) as temporary:
        try:
            write(temporary, volume)
        except RuntimeError as error:  # SimpleITK says a full disk this way
            raise OSError(_first_line(error)) from error
        for part in temporary.parent.iterdir():
            # The data file of an .mhd replaces one of its own name only when both belong to the volume that is replaced.
            if not there and os.path.lexists(path.parent / part.name):
                raise WriteError(
                    f"{path.parent / part.name} exists already.", "Choose another name: it may belong to another volume."
                )
    return path


def _guarded(path: Path, read: Callable[[Path], T]) -> T:
    try:
        if path.is_dir():
            raise ReadError(f"{path} is a folder, not a volume.", "Choose a file in it, or open it as a data set.")
        if path.stat().st_size == 0:
            raise ReadError(f"{path} is empty.", "Copy or export it again.")
        return read(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReadError(f"{path} does not exist.", "Check the path.") from error
    except ReadError:
        raise
    except Seg3dError as error:
        raise type(error)(f"{path}: {error.what}", error.fix) from error
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ReadError(
                f"{path} cannot be read: {error.strerror}.", "Check the disk, and that you may read the file."
            ) from error
        raise ReadError(f"{path} is cut off or damaged ({_first_line(error)}).", "Copy or export it again.") from error
    except MemoryError as error:
        raise ReadError(f"{path} does not fit into memory.", "Close other programs, or crop the scan.") from error
    except Exception as error:  # a damaged header makes the libraries fail in any way they like
        raise ReadError(
            f"{path} cannot be read as {_suffix(path.name)} ({_first_line(error)}).",
            "It is damaged, or another format under this name: export it again.",
        ) from error


def _format_of(path: Path) -> _Format:
    ending = _suffix(path.name)
    if not ending:
        raise ReadError(f"{path}: no known volume ends like this.", f"Known endings are {', '.join(SUFFIXES)}.")
    return _FORMATS[ending]


def _suffix(name: str) -> str:
    return next((ending for ending in SUFFIXES if name.lower().endswith(ending)), "")


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _first_line(error: BaseException) -> str:
    # ITK puts the cause behind its own file names and addresses, "…/itkX.cxx:52: ITK ERROR: X(0x55…): the cause", and the
    # library for NRRD ends with it: "[nrrd] _nrrdRead: the cause".
    text = str(error).strip() or type(error).__name__
    causes = [line for line in text.splitlines() if "ERROR" in line or line.startswith("[nrrd]")] or text.splitlines()
    cleaned = re.sub(r"^(\[nrrd\] \w+: |.*?(ITK )?ERROR: (\w+\(0x[0-9a-f]+\): )?)", "", causes[-1]).strip()
    return (cleaned or type(error).__name__)[:200]
