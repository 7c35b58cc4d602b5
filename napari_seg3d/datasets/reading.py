"""Cases -> scans and masks: the channels of a case as one volume, its mask on the same grid, and the scans in folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.datasets.layouts.folders import DEPTH
from napari_seg3d.datasets.masks import read_mask, read_parts
from napari_seg3d.datasets.pairing.by_name import Item
from napari_seg3d.datasets.pairing.ids import unique_ids
from napari_seg3d.datasets.pairing.listing import is_whole, list_folder, scan_name, without_pictures
from napari_seg3d.datasets.placing import place_mask
from napari_seg3d.errors import DatasetError
from napari_seg3d.volumes import GRID_SUFFIXES, Volume, read_volume


def read_case_image(case: Case, resample_irregular: bool = False) -> Volume:
    """Return the scan of a case, its files joined as channels in their order.

    Parameters
    ----------
    case : Case
        Whose scan.
    resample_irregular : bool
        Whether DICOM slices that do not lie on a regular grid are resampled onto one, instead of refused.

    Raises
    ------
    DatasetError
        The channels do not lie on one grid.
    ReadError
        A file cannot be read.
    GeometryError
        The slices of a series do not lie on a regular grid.
    """
    volumes = [read_volume(path, "image", resample_irregular=resample_irregular) for path in case.images]
    first = volumes[0]
    for path, volume in zip(case.images[1:], volumes[1:], strict=True):
        if not volume.grid.matches(first.grid):
            raise DatasetError(
                f"{path} lies on another grid than {case.images[0]} ({first.grid.difference(volume.grid)}).",
                "Register and resample the channels of a case onto one grid.",
            )
    if len(volumes) == 1:
        return first
    return replace(first, data=np.concatenate([volume.data for volume in volumes]))


def read_case_mask(
    case: Case, image: Volume | None = None, merged: Mapping[int, int] | None = None, overlapping: bool = False
) -> Volume:
    """Return the mask of a case, out of however many files; raises as `read_mask`, `read_parts` and `place_mask` do.

    Parameters
    ----------
    case : Case
        One that has a mask.
    image : Volume, optional
        Its scan, on whose grid the mask comes. Left out, the mask stays on its own grid.
    merged : mapping of int to int, optional
        What the values in the mask count as: that of the data set.
    overlapping : bool
        Whether labels that overlap come as channels ``(C, I, J, K)``, of which channel c holds 0 and c + 1, instead of being
        refused. Labels that do not overlap always come as one label map ``(1, I, J, K)``.
    """
    if case.mask is None:
        raise DatasetError(f"{case.id} has no mask.", "Choose a case that has one.")
    mask = read_parts(case.parts, merged, overlapping) if case.parts else read_mask(case.mask, merged, overlapping)
    return place_mask(mask, image) if image is not None else mask


def mask_name(case: Case, ending: str = "") -> str:
    """Return the file name for a mask of a case.

    Parameters
    ----------
    case : Case
        Its id becomes the name.
    ending : str
        Such as ``".nrrd"``; left out, that of its scan where this holds masks with their place, else ``".nii.gz"``.
    """
    own = (suffix for suffix in (*GRID_SUFFIXES, ".png") if case.images[0].name.lower().endswith(suffix))
    return case.id + (ending or next(own, ".nii.gz"))


def find_scans(paths: Sequence[Path]) -> list[Case]:
    """Return a case for every scan among files and folders.

    Of a folder, the scans in it count, and the DICOM series below it; masks (DICOM SEG) and pictures beside scans do not.

    Raises
    ------
    DatasetError
        A path does not exist, or no scan is found.
    """
    scans: list[Item] = []
    for path in paths:
        if not path.exists():
            raise DatasetError(f"{path} does not exist.", "Check the path.")
        if path.is_dir() and not is_whole(path):
            scans += _scans_in(path, (path.absolute().name,))
        else:
            scans.append(Item((path,), scan_name(path), path.absolute().parent.name))
    if not scans:
        raise DatasetError(
            f"There is no scan in {', '.join(map(str, paths)) or 'nothing'}.", "Give scans, or folders with scans in them."
        )
    return [Case(name, item.paths, None, name) for item, name in unique_ids(list(dict.fromkeys(scans))).items()]


def _scans_in(folder: Path, parts: tuple[str, ...]) -> list[Item]:
    listing = list_folder(folder)
    # Folders below may hold anything, masks and results too; only a DICOM series says itself that it is a scan.
    is_below = len(parts) > 1
    found = listing.dicom if is_below else without_pictures((*listing.files, *listing.dicom))
    scans = [Item((path,), scan_name(path), "/".join(parts[:-1] if path == folder else parts)) for path in found]
    for entry in listing.folders if len(parts) <= DEPTH else ():
        scans += _scans_in(entry, (*parts, entry.name))
    return scans
