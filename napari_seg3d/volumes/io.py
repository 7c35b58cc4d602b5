"""Read and write volumes: the content says which format a file has, and every failure names the file and the fix."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from napari_seg3d.errors import ReadError, Seg3dError, WriteError
from napari_seg3d.files import atomic_path
from napari_seg3d.volumes.formats import FORMATS, Format, ome_zarr, streams
from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.labels import as_labels, looks_like_labels
from napari_seg3d.volumes.pyramid import Pyramid
from napari_seg3d.volumes.volume import Kind, Volume

T = TypeVar("T")

#: File name endings of volumes, longest first; what a file really is, its content says.
SUFFIXES: tuple[str, ...] = tuple(sorted((suffix for one in FORMATS for suffix in one.suffixes), key=len, reverse=True))

#: File name endings that can be written so that the file holds shape, spacing and place in the patient.
GRID_SUFFIXES: tuple[str, ...] = tuple(suffix for one in FORMATS if one.writes_grid for suffix in one.suffixes)

#: File name endings that masks can be written with.
MASK_SUFFIXES: tuple[str, ...] = tuple(suffix for one in FORMATS if one.write is not None for suffix in one.suffixes)


def is_volume_path(path: str | Path) -> bool:
    """Return whether the name of `path` ends like a volume and is not a hidden file (as macOS leaves on shared disks)."""
    name = Path(path).name.lower()
    return name.endswith(SUFFIXES) and not name.startswith(".")


def volume_name(path: str | Path) -> str:
    """Return the file name without its volume ending: ``scan.01.nii.gz`` becomes ``scan.01``."""
    name = Path(path).name
    ending = _suffix(name)
    return name[: -len(ending)] if ending else Path(name).stem


def recognise(path: str | Path) -> Format | None:
    """Return the format that the content of a file or folder has, or None.

    Where the content could be of several formats (or has no mark of its own), the name decides.

    Raises
    ------
    ReadError
        There is no such file, it is empty, or it may not be read.
    """
    return _guarded(Path(path), _recognise)


def _recognise(path: Path) -> Format | None:
    if path.is_file():
        # Voxels alone have no mark.
        path = next((header for one in FORMATS if (header := one.header_of(path)) is not None), path)
    head = b"" if path.is_dir() else streams.read_head(path)
    named = [one for one in FORMATS if path.name.lower().endswith(one.suffixes)]
    fitting = [one for one in FORMATS if (one.recognises_folder(path) if path.is_dir() else one.recognises(head))]
    return next((one for one in named if one in fitting), next(iter(fitting), None))


def read_volume(
    path: str | Path, kind: Kind | None = None, *, variable: str | None = None, resample_irregular: bool = False
) -> Volume:
    """Read one volume.

    Parameters
    ----------
    path : path-like
        A file of one of the formats of `volumes.formats`, whatever its name; a folder with one DICOM series or an OME-Zarr.
    kind : {"image", "labels"}, optional
        What to read it as; left out, the numbers and the name decide.
    variable : str, optional
        Which array of a file that holds several (MATLAB, ``.npz``); left out, its shape decides, and a note says which it was.
    resample_irregular : bool
        Whether slices that do not lie on a regular grid (gantry tilt, uneven gaps) are resampled onto one, instead of refused.

    Returns
    -------
    Volume
        In the file's own voxel order. Labels come as the smallest integer type; images keep the file's type, or float32
        where the file scales its values.

    Raises
    ------
    ReadError
        The file is missing, cut off, of no known format, or not a scan.
    GeometryError
        Its affine is impossible, or its slices do not lie on a regular grid.
    LabelError
        `kind` is "labels" and the values are no labels.
    """
    path = Path(path)
    found = _guarded(path, _format_of)
    read = found.read
    if variable is not None:
        if found.read_variable is None:
            raise ReadError(f"{path} holds a single array, none called {variable}.", "Leave the name of the variable out.")
        read_one = found.read_variable
        read = lambda file: read_one(file, variable)  # noqa: E731
    elif resample_irregular and found.read_resampled is not None:
        read = found.read_resampled
    volume = _guarded(path, read, found.name)
    ending = _suffix(path.name)
    if ending and ending not in found.suffixes and path.is_file():
        note = f"Its name ends in {ending}, but what it holds is {found.name}; it was read as that."
        volume = replace(volume, notes=(*volume.notes, note))
    if kind is None:
        is_mask = volume.kind == "labels" or looks_like_labels(volume.data, f"{path.parent.name}/{path.name}")
        kind = "labels" if is_mask else "image"
    if kind == "labels":
        return replace(volume, data=as_labels(volume.data, str(path)), kind="labels")
    return replace(volume, kind="image")


def read_grid(path: str | Path) -> Grid:
    """Return the grid of a file, from its header alone where the format allows it; raises as `read_volume` does."""
    path = Path(path)
    found = _guarded(path, _format_of)
    if found.read_grid is not None:
        return _guarded(path, found.read_grid, found.name)
    return _guarded(path, lambda file: found.read(file).grid, found.name)


def open_pyramid(path: str | Path) -> Pyramid:
    """Open an OME-Zarr image, or one of the masks that it brings along, without reading its voxels.

    Raises
    ------
    ReadError
        The folder is no OME-Zarr image, is damaged, or has more axes than a volume and one more.
    GeometryError
        Its scales are impossible.
    """
    return _guarded(Path(path), ome_zarr.open_pyramid, ome_zarr.OME_ZARR.name)


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
    write = check_target(volume, path, overwrite=overwrite)
    there = os.path.lexists(path)
    if volume.kind == "labels":
        volume = replace(volume, data=as_labels(volume.data, path.name))
    with atomic_path(path) as temporary:
        try:
            write(temporary, volume)
        except RuntimeError as error:  # SimpleITK says a full disk this way
            raise OSError(_first_line(error)) from error
        except WriteError as error:
            raise WriteError(error.what.replace(str(temporary), str(path)), error.fix) from error
        for part in temporary.parent.iterdir():
            # The data file of an .mhd replaces one of its own name only when both belong to the volume that is replaced.
            if not there and os.path.lexists(path.parent / part.name):
                raise WriteError(
                    f"{path.parent / part.name} exists already.", "Choose another name: it may belong to another volume."
                )
    return path


def check_target(volume: Volume, path: Path, *, overwrite: bool) -> Callable[[Path, Volume], None]:
    """Return what writes `volume` to `path`, if it may be written there; raises as `write_volume` does."""
    ending = _suffix(path.name)
    write = next((one.write for one in FORMATS if ending in one.suffixes), None)
    if write is None:
        raise WriteError(f"{path}: no format that can be written ends like this.", f"Choose one of {', '.join(MASK_SUFFIXES)}.")
    there = os.path.lexists(path)
    if there and path.is_dir():
        raise WriteError(f"{path} is a folder.", "Choose another name.")
    if there and volume.source is not None and any(_same_file(path, one) for one in (volume.source.path, *volume.source.files)):
        raise WriteError(f"{path} is the file that this was read from.", "Choose another name: a source is never overwritten.")
    if there and not overwrite:
        raise WriteError(f"{path} exists already.", "Choose another name, or allow overwriting.")
    return write


def _guarded(path: Path, read: Callable[[Path], T], format_name: str = "") -> T:
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise ReadError(f"{path} is empty.", "Copy or export it again.")
        return read(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReadError(f"{path} does not exist.", "Check the path.") from error
    except Seg3dError as error:
        if str(path) in error.what:
            raise
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
            f"{path} cannot be read as {format_name or 'a volume'} ({_first_line(error)}).",
            "It is damaged, or another format under this name: export it again.",
        ) from error


def _format_of(path: Path) -> Format:
    found = _recognise(path)
    if found is not None:
        return found
    if path.is_dir():
        raise ReadError(
            f"{path} is a folder without a DICOM series or an OME-Zarr in it.", "Choose a file in it, or open it as a data set."
        )
    path.stat()  # a file that does not exist says so itself
    raise ReadError(f"{path} is no scan in any known format.", f"Files that usually work end in {', '.join(sorted(SUFFIXES))}.")


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
    nameless = re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>", "…", cleaned)
    return (nameless or type(error).__name__)[:200]
