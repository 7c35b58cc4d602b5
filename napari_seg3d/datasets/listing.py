"""Which entries of a folder are volumes: files of one scan each, and folders that are a DICOM series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_seg3d.datasets.names import name_role
from napari_seg3d.errors import DatasetError
from napari_seg3d.volumes import find_series, is_volume_path, recognise, volume_name

# Formats that often lie beside scans without being one: a screenshot, an exported array.
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy", ".npz", ".mat")


def volumes_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the volumes in a folder, and the folders in it that are to be looked into.

    A folder of DICOM slices is a volume by itself. Of an image in two files (Analyze) only the header counts.

    Raises
    ------
    DatasetError
        The folder cannot be opened, or mixes the slices of several DICOM series.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"{folder} cannot be opened: {error.strerror}.", "Choose a folder that you may read.") from error
    files = [entry for entry in entries if not entry.is_dir()]
    if any(_is_dicom(file) for file in files[:8]):
        volumes = _dicom_volumes(folder)
        return volumes, [] if volumes == [folder] else [entry for entry in entries if entry.is_dir()]
    whole = [entry for entry in entries if entry.is_dir() and _is_zarr(entry)]
    headers = {file.stem for file in files if file.suffix.lower() == ".hdr"}
    second = [file for file in files if file.suffix.lower() in (".img", ".mat") and file.stem in headers]
    volumes = [file for file in files if is_volume_path(file) and file not in second]
    return sorted([*whole, *volumes]), [entry for entry in entries if entry.is_dir() and entry not in whole]


def without_pictures(paths: Sequence[Path]) -> list[Path]:
    """Return `paths` without pictures and arrays where there are medical images too; masks of either kind stay."""
    medical = [path for path in paths if not path.name.lower().endswith(_PICTURES)]
    if not medical:
        return list(paths)
    return [path for path in paths if path in medical or name_role(volume_name(path)) == "mask"]


def _is_dicom(file: Path) -> bool:
    if is_volume_path(file) and not file.name.lower().endswith((".dcm", ".dicom", ".ima")):
        return False  # no need to look inside
    found = recognise(file)
    return found is not None and found.name == "DICOM"


def _is_zarr(folder: Path) -> bool:
    found = recognise(folder) if folder.name.lower().endswith(".zarr") else None
    return found is not None and found.name == "OME-Zarr"


def _dicom_volumes(folder: Path) -> list[Path]:
    series = [one for one in find_series(folder) if one.kind != "other" and one.files[0].parent == folder]
    if len(series) == 1 and len(series[0].files) > 1:
        return [folder]
    several = [one for one in series if len(one.files) > 1]
    if several:
        raise DatasetError(
            f"{folder} mixes the slices of {len(series)} DICOM series ({'; '.join(one.description for one in series[:4])}).",
            "Put each series into a folder of its own.",
        )
    return sorted(one.files[0] for one in series)
