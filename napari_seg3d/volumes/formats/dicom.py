"""DICOM, through pydicom: what a series is, and how it is read, is in `volumes.dicom`."""

from __future__ import annotations

from pathlib import Path

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.dicom import write_segmentation
from napari_seg3d.volumes.dicom.headers import HEAD_BYTES, is_dicom, looks_like_dicom
from napari_seg3d.volumes.dicom.scan import files_below, find_series
from napari_seg3d.volumes.dicom.series import Series
from napari_seg3d.volumes.formats.format import Format
from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.volume import Volume

#: So many files of a folder are looked at to see whether it holds DICOM.
_FIRST_FILES = 64
_MOST_LISTED = 10


def recognises(head: bytes) -> bool:
    """Return whether a file that begins with `head` is DICOM."""
    return looks_like_dicom(head[:HEAD_BYTES])


def recognises_folder(folder: Path) -> bool:
    """Return whether one of the first files in a folder, or below it, is DICOM."""
    return any(is_dicom(file) for file, _ in zip(files_below(folder), range(_FIRST_FILES), strict=False))


def read(path: Path) -> Volume:
    """Return the volume in a file, or the only one in a folder.

    Raises
    ------
    ReadError
        There are several series, none, or one that is damaged.
    GeometryError
        The slices do not form a volume.
    """
    return _only_series(path).read()


def read_grid(path: Path) -> Grid:
    """Return the grid of the same, from headers alone."""
    return _only_series(path).grid()


def read_resampled(path: Path) -> Volume:
    """Return the same as `read`, but resampled onto a regular grid where the slices do not form one."""
    return _only_series(path).read(resample_irregular=True)


def _only_series(path: Path) -> Series:
    found = find_series(path)
    images = [series for series in found if series.kind == "image"]
    candidates = images or [series for series in found if series.kind == "segmentation"] or found
    if len(candidates) == 1:
        return candidates[0]
    # Never the one that happens to be sound: beside a tilted scan, that would be its overview.
    listed = "; ".join(series.description for series in candidates[:_MOST_LISTED])
    more = f"; and {len(candidates) - _MOST_LISTED} more" if len(candidates) > _MOST_LISTED else ""
    raise ReadError(
        f"{path} holds {len(candidates)} series: {listed}{more}.", "Choose one of them, or open a folder with a single series."
    )


DICOM = Format(
    "DICOM",
    (".dcm", ".dicom", ".ima"),
    recognises,
    read,
    read_grid=read_grid,
    read_resampled=read_resampled,
    write=write_segmentation.write,
    recognises_folder=recognises_folder,
)
