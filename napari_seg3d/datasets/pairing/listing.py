"""Which entries of a folder are volumes: files of one scan each, and folders that are a scan, such as a DICOM series."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_seg3d.datasets.pairing.names import name_role
from napari_seg3d.errors import DatasetError
from napari_seg3d.volumes import DICOM_SUFFIXES, SUFFIXES, glance_at, is_volume_path, volume_name

# Formats that often lie beside scans without being one: a screenshot, an exported array.
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy", ".npz", ".mat")
#: Chunks of an OME-Zarr lie in folders below it, which are nobody's business.
_WHOLE = (".zarr",)
#: End of the name of the folders that keep reviews, with corrected masks in them: they belong to no data set.
REVIEW_FOLDER = "seg3d-review"


@dataclass(frozen=True)
class Listing:
    """What lies in a folder.

    Parameters
    ----------
    files : tuple of Path
        Volumes that are no DICOM: files, and folders that are an OME-Zarr. Of an image in several files (Analyze) only the header.
    dicom : tuple of Path
        DICOM scans: the folder itself if it holds slices, else files such as radiographs.
    segmentations : tuple of Path
        DICOM SEG files: masks, whatever their names.
    folders : tuple of Path
        What else there is to look into.
    """

    files: tuple[Path, ...] = ()
    dicom: tuple[Path, ...] = ()
    segmentations: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def volumes(self) -> tuple[Path, ...]:
        """All images and masks."""
        return tuple(sorted((*self.files, *self.dicom, *self.segmentations)))


def list_folder(folder: Path) -> Listing:
    """Return which entries of a folder are volumes, from names, and from a few headers where it holds DICOM.

    Hidden entries and reviews are passed over. Nothing is said about whether the volumes can be read: that a folder mixes the slices of
    several series, reading it says.

    Raises
    ------
    DatasetError
        The folder cannot be opened.
    """
    try:
        entries = sorted(
            entry for entry in folder.iterdir() if not entry.name.startswith(".") and not entry.name.endswith(REVIEW_FOLDER)
        )
    except OSError as error:
        raise DatasetError(f"{folder} cannot be opened: {error.strerror}.", "Choose a folder that you may read.") from error
    folders = [entry for entry in entries if entry.is_dir()]
    whole = [entry for entry in folders if is_whole(entry)]
    files = [entry for entry in entries if not entry.is_dir()]
    named = {file for file in files if is_volume_path(file) and not file.name.lower().endswith(DICOM_SUFFIXES)}
    # DICOM files often have no ending at all, so whatever is not named like another format is looked into.
    found = glance_at([file for file in files if file not in named and file.is_file()])
    return Listing(
        files=tuple(sorted((*whole, *_without_matrices(named)))),
        dicom=() if found is None else (folder,) if found.has_slices else found.pictures,
        segmentations=() if found is None else found.segmentations,
        folders=tuple(entry for entry in folders if entry not in whole),
    )


def is_whole(path: Path) -> bool:
    """Return whether a folder is named like a volume that is a folder, which must not be looked into."""
    return path.name.lower().endswith(_WHOLE)


def scan_name(path: Path) -> str:
    """Return what to call the volume at `path`: its name without ending; a folder or a DICOM file may have dots of its own."""
    return volume_name(path) if path.name.lower().endswith(SUFFIXES) else path.name


def without_pictures(paths: Sequence[Path], beside: Sequence[Path] = ()) -> list[Path]:
    """Return `paths` without the pictures and arrays, where medical images are there too.

    Masks are judged among themselves, because a radiograph may have its mask as a picture.

    Parameters
    ----------
    paths : sequence of Path
        Volumes that lie together.
    beside : sequence of Path
        Images of the same data set that lie elsewhere.
    """
    medical = {_is_mask(path) for path in paths if not _is_picture(path)}
    if not all(_is_picture(path) for path in beside):
        medical.add(False)
    return [path for path in paths if not _is_picture(path) or _is_mask(path) not in medical]


def _without_matrices(files: Iterable[Path]) -> list[Path]:
    """Return `files` without the MATLAB files that hold the place of an Analyze image."""
    headers = {volume_name(file) for file in files if file.name.lower().endswith((".hdr", ".hdr.gz"))}
    return [file for file in files if file.suffix.lower() != ".mat" or file.stem not in headers]


def _is_picture(path: Path) -> bool:
    return path.name.lower().endswith(_PICTURES)


def _is_mask(path: Path) -> bool:
    return name_role(scan_name(path)) == "mask"
