"""Cases -> scans and masks: the channels of a case as one volume, its mask on the same grid, and the scans in folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.datasets.ids import unique_ids
from napari_seg3d.datasets.layouts import DEPTH
from napari_seg3d.datasets.listing import is_whole, list_folder, scan_name, without_pictures
from napari_seg3d.datasets.pairing import Item
from napari_seg3d.errors import DatasetError, GeometryError, LabelError
from napari_seg3d.volumes import GRID_SUFFIXES, Volume, place_on, read_volume

#: How pictures and plain arrays lie that say nothing about it: columns to the left, rows to posterior.
_AS_STORED = "LPS"


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


def read_case_mask(case: Case, image: Volume) -> Volume:
    """Return the mask of a case on the grid of its scan; raises as `read_mask` and `place_mask` do.

    Parameters
    ----------
    case : Case
        One that has a mask.
    image : Volume
        Its scan.
    """
    if case.mask is None:
        raise DatasetError(f"{case.id} has no mask.", "Choose a case that has one.")
    return place_mask(read_mask(case.mask), image)


def read_mask(path: Path) -> Volume:
    """Return the mask in a file, on its own grid.

    Raises
    ------
    ReadError
        The file cannot be read.
    LabelError
        Its values are no labels, or it holds several masks: labels that overlap, or time points.
    """
    mask = read_volume(path, "labels")
    count = mask.data.shape[0]
    if count == 1:
        return mask
    if mask.fourth == "channel" and all(int(mask.data[channel].max()) in (0, channel + 1) for channel in range(count)):
        raise LabelError(
            f"{path.name} holds {count} labels that may overlap, each in a channel of its own.",
            "Save it as one mask with a value for each label: overlapping labels can be neither trained on nor compared yet.",
        )
    raise LabelError(f"{path.name} holds {count} volumes, not one mask.", "Join them to one mask with a value for each label.")


def place_mask(mask: Volume, image: Volume) -> Volume:
    """Return a mask on the grid of a scan, voxel by voxel; nothing is resampled.

    Its axes may be stored in another order. A DICOM SEG may cover a part of the slices: the mask is 0 on the others. A mask that
    does not say where it lies (a picture, a plain array) belongs to a radiograph of the same size, or to a scan that does not say
    it either.

    Parameters
    ----------
    mask : Volume
        Labels.
    image : Volume
        The scan that they were drawn on.

    Raises
    ------
    GeometryError
        The voxels of the mask are not those of the scan.
    """
    grid = image.grid
    if mask.grid.matches(grid):
        return mask
    if mask.data.shape[1:] == image.data.shape[1:] and _is_unplaced(mask) and (_is_unplaced(image) or _is_radiograph(image)):
        return replace(mask, affine=grid.affine, is_oriented=image.is_oriented)
    is_part = mask.source is not None and mask.source.format == "dicom"
    if not is_part and not mask.grid.canonical().matches(grid.canonical()):
        raise GeometryError(
            f"{_name(mask, 'The mask')} lies on another grid than {_name(image, 'its image')}: {grid.difference(mask.grid)}.",
            "Choose the mask that was drawn on this image, or resample the mask to the image (nearest neighbour).",
        )
    try:
        return place_on(mask, grid)
    except GeometryError as error:
        raise GeometryError(f"{_name(mask, 'The mask')}: {error.what}", error.fix) from error


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


def _is_unplaced(volume: Volume) -> bool:
    return not volume.is_oriented and volume.orientation == _AS_STORED


def _is_radiograph(image: Volume) -> bool:
    return image.data.shape[3] == 1 and image.source is not None and image.source.format == "dicom"


def _name(volume: Volume, otherwise: str) -> str:
    return volume.source.path.name if volume.source is not None else otherwise
