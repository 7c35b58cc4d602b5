"""Centres of nodules in a CSV, as voxels of the mask that is corrected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.nodules import centres_in
from napari_seg3d.errors import ConfigError
from napari_seg3d.viewer.layers import native_of
from napari_seg3d.viewer.mask_part import MaskPart
from napari_seg3d.volumes import volume_name

_AXES = 3
_MOST_LINES = 5


def centres_for(part: MaskPart, file: Path) -> tuple[NDArray[np.intp], str]:
    """Return the centres of a table that lie in a mask, and what is to be said of those that do not.

    Parameters
    ----------
    part : MaskPart
        Of the mask; where the table has the rows of many scans, those of its scan count.
    file : Path
        A CSV with x, y and z in mm towards left, back and head, such as that of LUNA.

    Returns
    -------
    array of shape (number, 3)
        In voxels of the mask.
    str
        Which lines lie outside; empty where none does.

    Raises
    ------
    ConfigError
        The mask is flat, or no centre lies in it.
    DatasetError
        As `centres_in` says.
    """
    if part.mask.ndim != _AXES:
        raise ConfigError("The mask has but one slice, and the centres of a CSV lie in a volume.", "Open the whole CT.")
    native = native_of(part.image) if part.image is not None else None
    scan = volume_name(native.source.path) if native is not None and native.source is not None else None
    voxels, outside = centres_in(file, part.affine, part.mask.shape, scan)
    lines = f"{'line' if len(outside) == 1 else 'lines'} {', '.join(map(str, outside[:_MOST_LINES]))}"
    if not len(voxels):
        raise ConfigError(
            f"No centre in {file.name} lies in the scan ({lines}).",
            "Give x, y and z in mm towards left, back and head, as DICOM and the tables of LUNA do.",
        )
    return voxels, f"{len(outside)} centres lie outside of the scan: {lines} of {file.name}." if outside else ""
