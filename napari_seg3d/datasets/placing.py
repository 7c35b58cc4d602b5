"""A mask on the grid of its scan, voxel by voxel."""

from __future__ import annotations

from dataclasses import replace

from napari_seg3d.errors import GeometryError
from napari_seg3d.volumes import Volume, place_on

#: How pictures and plain arrays lie that say nothing about it: columns to the left, rows to posterior.
_AS_STORED = "LPS"


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


def _is_unplaced(volume: Volume) -> bool:
    return not volume.is_oriented and volume.orientation == _AS_STORED


def _is_radiograph(image: Volume) -> bool:
    return image.data.shape[3] == 1 and image.source is not None and image.source.format == "dicom"


def _name(volume: Volume, otherwise: str) -> str:
    return volume.source.path.name if volume.source is not None else otherwise
