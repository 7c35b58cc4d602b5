"""Find the series in a file, a folder or a DICOMDIR, from their headers alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_seg3d.errors import Cancelled, ReadError, Seg3dError
from napari_seg3d.volumes.dicom import directory
from napari_seg3d.volumes.dicom.describe import describe
from napari_seg3d.volumes.dicom.flat import SLICES
from napari_seg3d.volumes.dicom.frames import Frame, read_frames
from napari_seg3d.volumes.dicom.headers import is_dicom, quiet
from napari_seg3d.volumes.dicom.series import Series
from napari_seg3d.volumes.dicom.stack import Stack
from napari_seg3d.volumes.dicom.stacks import stacks_of

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
#: The same of CT, MR and PET as `SLICES`, with many frames.
_ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.130")
_SUFFIXES = (".dcm", ".dicom", ".ima")
NO_PICTURES = ("RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SR", "PR", "KO", "REG", "FID", "ECG", "AU", "DOC", "PLAN")


def find_series(
    path: str | Path | Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> list[Series]:
    """Return the series in a file, in a folder with all that is below it, or in a DICOMDIR.

    Names of files mean nothing; files that are not DICOM are passed over. Only headers are read.

    Parameters
    ----------
    path : path-like, or sequence of Path
        Where to look; several files and folders are looked at as one.
    progress : callable, optional
        Called with the number of files done and of all.
    is_cancelled : callable, optional
        Asked after each file.

    Returns
    -------
    list of Series
        Images first, then segmentations, then what cannot be opened.

    Raises
    ------
    ReadError
        There is nothing at `path`, or no DICOM file.
    Cancelled
        `is_cancelled` said so.
    """
    places = [Path(path)] if isinstance(path, str | Path) else list(path)
    for place in places:
        if not place.exists():
            raise ReadError(f"{place} does not exist.", "Check the path.")
    files = [file for place in places for file in _files_at(place)]
    frames: dict[str, list[Frame]] = {}
    broken: list[tuple[Path, Seg3dError]] = []
    spoilt = 0
    with quiet():
        for done, file in enumerate(files, start=1):
            if is_cancelled is not None and is_cancelled():
                raise Cancelled("The search was cancelled.")
            try:
                if is_dicom(file):
                    for frame in _frames_of(file):
                        frames.setdefault(frame.header.series or str(file.parent), []).append(frame)
                elif _should_be_dicom(file, places[0]):
                    spoilt += 1
            except ReadError as error:
                broken.append((file, error))
            except OSError as error:
                broken.append((file, ReadError(f"{file} cannot be read: {error.strerror}.", "Check that you may read it.")))
            if progress is not None:
                progress(done, len(files))
        folder = places[0] if places[0].is_dir() else places[0].parent
        left_out = len(broken) + spoilt
        notes = (_left_out(left_out),) if left_out else ()
        found = [one for group in frames.values() for one in _series_of(folder, group, notes)]
    found += [Series((file,), "", "Damaged file", "", "other", error, folder) for file, error in broken]
    if not found:
        raise ReadError(f"{places[0]} holds no DICOM series.", "Choose a folder with the files of a scan.")
    order = {"image": 0, "segmentation": 1, "other": 2}
    return sorted(found, key=lambda one: order[one.kind])


def _files_at(path: Path) -> list[Path]:
    if path.is_dir():
        # The images of a disc lie below its DICOMDIR, too: looking for them finds even those that it forgot.
        return list(files_below(path))
    if path.name.upper() == "DICOMDIR" and is_dicom(path):
        return directory.files_of(path)
    return [path]


def _should_be_dicom(file: Path, opened: Path) -> bool:
    """Return whether a DICOMDIR or its name says that `file` is DICOM (a hidden file is one that macOS left)."""
    is_listed = opened.name.upper() == "DICOMDIR" and file != opened
    return is_listed or (file.suffix.lower() in _SUFFIXES and not file.name.startswith("."))


def _frames_of(file: Path) -> tuple[Frame, ...]:
    try:
        found = read_frames(file)
    except (ReadError, OSError):
        raise
    except Exception as error:  # a damaged header makes pydicom fail in any way it likes
        raise ReadError(
            f"The header of {file} cannot be read ({type(error).__name__}).", "It is damaged: copy or export it again."
        ) from error
    header = found[0].header
    if header.sop_class == directory.SOP_CLASS:
        return ()
    if header.rows == 0 and (not header.series or header.sop_class in (*SLICES, *_ENHANCED)):
        raise ReadError(
            f"{file} is cut off: its header ends before it says how large its picture is.", "Copy or export it again."
        )
    return found


def _series_of(folder: Path, frames: list[Frame], notes: tuple[str, ...]) -> list[Series]:
    """Return what the frames of one SeriesInstanceUID make up."""
    masks = _files([frame for frame in frames if frame.header.sop_class in SEGMENTATIONS])
    found = [Series((file,), "SEG", describe(file, "", ""), "", "segmentation", None, folder) for file in masks]
    rest = [frame for frame in frames if frame.header.sop_class not in SEGMENTATIONS]
    pictures = [frame for frame in rest if frame.header.rows > 0 and frame.header.modality not in NO_PICTURES]
    found += [_series(folder, replace(stack, notes=(*stack.notes, *notes))) for stack in stacks_of(pictures)]
    others = [frame for frame in rest if frame.header.rows == 0 or frame.header.modality in NO_PICTURES]
    if files := _files(others):
        modality = others[0].header.modality
        problem = ReadError(f"{files[0]} holds no pictures ({modality or 'no modality'}).", "Choose another series.")
        found.append(Series(files, modality, describe(files[0], "", ""), "", "other", problem, folder))
    return found


def _files(frames: Iterable[Frame]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(frame.path for frame in frames))


def _left_out(count: int) -> str:
    files = "1 damaged DICOM file" if count == 1 else f"{count} damaged DICOM files"
    return f"{files} in the same place could not be read: slices may be missing."


def _series(folder: Path, stack: Stack) -> Series:
    header = stack.first.header
    files = _files(frame for channel in stack.frames for frame in channel)
    channels, *voxels = stack.shape
    size = " x ".join(str(n) for n in voxels) + (f", {channels} {stack.fourth}s" if channels > 1 else "")
    description = describe(files[0], _plane_name(stack), size)
    problem = stack.problem
    if problem is not None:
        where = files[0] if len(files) == 1 else folder
        problem = type(problem)(f"{where}: {problem.what}", problem.fix)
    return Series(files, header.modality, description, size, "image", problem, folder, stack)


def _plane_name(stack: Stack) -> str:
    if stack.plane is None:
        return ""
    return ("sagittal", "coronal", "axial")[int(np.abs(stack.plane.normal).argmax())]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and below it; links are not followed, so that a search stays where it was sent."""
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            file = Path(root) / name
            if not file.is_symlink() and file.is_file():
                yield file
