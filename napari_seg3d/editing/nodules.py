"""Lung nodules from their centres: the annotation assist of LUNA's reference code, on a mask that is being edited."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_seg3d.datasets import AIR, nodule_box, read_places, world_to_voxel
from napari_seg3d.editing.boxes import check_image, check_place, check_spacing
from napari_seg3d.editing.change import Box, Change, joined, no_change, paint
from napari_seg3d.errors import ConfigError, DatasetError

#: Lung nodules are up to 30 mm by definition; masses that lie free in the lung seldom are twice that.
MOST_MM = 80.0


def add_nodules(
    mask: NDArray[np.integer],
    image: NDArray[np.integer | np.floating],
    centres: ArrayLike,
    spacing: Sequence[float],
    label: int,
    *,
    above: float = AIR,
    most_mm: float = MOST_MM,
    over_others: bool = False,
) -> Change:
    """Paint the nodules at some centres.

    From each centre one walks outwards along each axis while both sides stay above -700 HU, starting two voxels out; what is above
    -700 HU in the box so found is the nodule.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    image : array
        The CT under the mask, in Hounsfield units.
    centres : array of shape (n, d) or (d,)
        Voxels.
    spacing : sequence of float
        The mm of each axis.
    label : int
        What is painted.
    above : float
        What is above, inside the lung, is no air; in HU.
    most_mm : float
        A walk that goes on for longer from side to side has left the lung.
    over_others : bool
        Whether other labels are painted over.

    Raises
    ------
    GeometryError
        A centre lies outside, or the CT or the spacing does not fit the mask.
    ConfigError
        Around a centre there is no nodule in air.
    """
    check_image(mask, image)
    check_spacing(mask, spacing)
    places = [check_place(mask, centre) for centre in np.asarray(centres, np.float64).reshape(-1, mask.ndim).tolist()]
    if not places:
        return no_change(mask)
    boxes = [nodule_box(image, place, above) for place in places]
    for place, box in zip(places, boxes, strict=True):
        _check_size(place, box, spacing, above, most_mm)
    around = joined(boxes)
    where = np.zeros([side.stop - side.start for side in around], np.bool_)
    for box in boxes:
        inside = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, around, strict=True))
        where[inside] |= image[box] > above
    return paint(mask, around, where if over_others else where & (mask[around] == 0), label)


def _check_size(place: Sequence[int], box: Box, spacing: Sequence[float], above: float, most_mm: float) -> None:
    longest = max((side.stop - side.start) * mm for side, mm in zip(box, spacing, strict=True))
    if longest > most_mm:
        raise ConfigError(
            f"Around voxel {tuple(map(int, place))} the scan stays above {above:g} HU for more than {most_mm:g} mm: "
            "that is no nodule in air.",
            "Click the centre of a nodule that lies free in the lung, in a CT; take another tool for what lies at the wall.",
        )


def centres_in(
    path: str | Path, affine: NDArray[np.floating], shape: Sequence[int], series: str | None = None
) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Return the voxels of the centres that a CSV lists.

    Parameters
    ----------
    path : path
        A table such as LUNA's ``annotations.csv``: series_uid, x, y, z in mm (LPS). One of a single CT need not name it.
    affine : array of shape (4, 4)
        Voxel of the mask -> RAS+ mm, for the axis order that the mask has.
    shape : sequence of int
        Of the mask.
    series : str, optional
        Only nodules of this CT. Needed where the table has those of several.

    Returns
    -------
    array of shape (n, 3), int
        The voxels of those that lie in the scan, and the lines of the table whose places do not.

    Raises
    ------
    DatasetError
        The table is empty or broken, or has several CTs and none is named, or none of the named one.
    """
    listed = read_places(path)
    if not listed:
        raise DatasetError(f"{path} lists no places.", "Choose a table with the columns x, y and z, and a line for each centre.")
    named = {place.series for place in listed}
    if series is None and len(named) > 1:
        raise DatasetError(f"{path} has nodules of {len(named)} CTs.", "Say which of them is open.")
    if series is not None and named != {""} and series not in named:
        raise DatasetError(f"{path} has no nodule of {series}.", "Check that the table and the scan belong together.")
    places = [place for place in listed if series is None or place.series in ("", series)]
    voxels = np.rint(world_to_voxel([place.centre for place in places], affine)).astype(np.int64)
    inside = np.logical_and(voxels >= 0, voxels < np.array(shape)).all(axis=1)
    outside = np.flatnonzero(~inside).tolist()
    return voxels[inside], tuple(places[at].line for at in outside)
