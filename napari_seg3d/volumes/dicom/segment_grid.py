"""The regular grid that the frames of a DICOM segmentation are slices of, with the slices that the file leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError, ReadError
from napari_seg3d.volumes.dicom.planes import LPS_TO_RAS
from napari_seg3d.volumes.grid import TOLERANCE, FloatArray, Grid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Two slices far apart whose header claims a tiny spacing would fill the memory with empty ones.
_MOST_SLICES = 10_000


@dataclass(frozen=True)
class SegmentGrid:
    """Where the frames lie.

    Parameters
    ----------
    grid : Grid
        Columns, rows and slices, from the first slice in the file to the last.
    slices : tuple of int
        For each frame the slice that it shows.
    notes : tuple of str
        What had to be assumed.
    """

    grid: Grid
    slices: tuple[int, ...]
    notes: tuple[str, ...] = ()


def segment_grid(path: Path, dataset: Dataset) -> SegmentGrid:
    """Return the grid on which the frames of a multi-frame `dataset` lie.

    Raises
    ------
    ReadError
        The frames have no place in the patient.
    GeometryError
        They do not lie on a regular grid.
    """
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(frames) != int(dataset.NumberOfFrames) or not frames:
        raise ReadError(f"{path} has {dataset.NumberOfFrames} frames, but describes {len(frames)}.", "Copy or export it again.")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    positions = _each(path, frames, shared, "PlanePositionSequence", "ImagePositionPatient", 3)
    orientations = _each(path, frames, shared, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacings = _each(path, frames, shared, "PixelMeasuresSequence", "PixelSpacing", 2)
    if np.ptp(orientations, axis=0).max() > 1e-3 or np.ptp(spacings, axis=0).max() > 1e-3 * spacings.min():
        raise GeometryError(
            f"The frames of {path} are not parallel, or differ in pixel spacing.", "Export each stack of slices by itself."
        )

    along_row, along_column = orientations[0, :3], orientations[0, 3:]
    normal = np.cross(along_row, along_column)
    between_rows, between_columns = spacings[0]
    heights = positions @ normal
    shift = np.ptp(positions - np.outer(heights, normal), axis=0).max()
    if shift > TOLERANCE * spacings.min():
        raise GeometryError(
            f"The slices of {path} are shifted against each other by up to {shift:.3g} mm, as under a tilted gantry.",
            "Resample the scan onto a regular grid and segment that.",
        )
    step, slices, notes = _regular(
        path,
        heights,
        TOLERANCE * spacings.min(),
        _measure(frames, shared, "SpacingBetweenSlices"),
        _measure(frames, shared, "SliceThickness"),
    )
    affine = np.eye(4)
    affine[:3, 0] = along_row * between_columns
    affine[:3, 1] = along_column * between_rows
    affine[:3, 2] = normal * step
    affine[:3, 3] = positions[np.argmin(heights)]
    shape = int(dataset.Columns), int(dataset.Rows), int(slices.max()) + 1
    return SegmentGrid(Grid(shape, LPS_TO_RAS @ affine), tuple(slices.tolist()), notes)


def _regular(
    path: Path, heights: FloatArray, same: float, spacing: float | None, thickness: float | None
) -> tuple[float, NDArray[np.int64], tuple[str, ...]]:
    """Return the distance of the slices in mm, for each height the slice that it is, and what had to be assumed.

    Heights less than `same` mm apart are one slice.
    """
    gaps = np.diff(np.unique(heights))
    gaps = gaps[gaps > same]
    above = heights - heights.min()
    if gaps.size == 0:
        alone = spacing or thickness
        if alone is None:
            raise GeometryError(
                f"{path} holds a single slice and does not say how thick it is.", "Export it again with its SliceThickness."
            )
        return alone, np.zeros(heights.size, np.int64), ()
    if spacing is not None:
        slices = _slices(above, spacing, TOLERANCE)
        if slices is not None:
            return float(above.max() / slices.max()), slices, ()
    # Without a word in the file: the largest distance of which all gaps are multiples, such as 1 for gaps of 2 and 3. Few parts
    # and a narrow tolerance, because any uneven gaps are multiples of something small.
    smallest = float(gaps[gaps < 1.1 * gaps.min()].mean())  # of all gaps of one slice: a single one is off by its rounding
    for parts, tolerance in ((1, TOLERANCE), (2, TOLERANCE / 5), (3, TOLERANCE / 5)):
        slices = _slices(above, smallest / parts, tolerance)
        if slices is None:
            continue
        step = float(above.max() / slices.max())
        if spacing is not None:
            said = f"says that its slices lie {spacing:.4g} mm apart, which their positions contradict"
        elif thickness is not None and abs(thickness - step) <= TOLERANCE * step:
            return step, slices, ()
        else:
            said = "does not say how far its slices lie apart"
        return step, slices, (f"The file {said}: {step:.4g} mm was taken from the positions.",)
    raise GeometryError(
        f"The slices of {path} do not lie on a regular grid (gaps from {smallest:.4g} to {gaps.max():.4g} mm).",
        "Resample the scan onto a regular grid and segment that.",
    )


def _slices(above: FloatArray, step: float, tolerance: float) -> NDArray[np.int64] | None:
    """Return the number of the slice at each height above the first, or None where they are no multiples of about `step` mm."""
    last = round(float(above.max()) / step)
    if not 0 < last < _MOST_SLICES:
        return None
    fitted = above.max() / last  # a step that was rounded adds up over many slices
    slices = np.rint(above / fitted).astype(np.int64)
    fits = np.abs(above - slices * fitted).max() <= tolerance * fitted and abs(fitted - step) <= tolerance * step
    return slices if fits else None


def _each(path: Path, frames: list[Dataset], shared: Dataset | None, group: str, keyword: str, size: int) -> FloatArray:
    """Return the values ``(frames, size)`` of an attribute that every frame has, by itself or shared by all."""
    values = []
    for frame in frames:
        found = frame.get(group) or (shared.get(group) if shared is not None else None)
        value = found[0].get(keyword) if found else None
        if value is None or len(value) != size:
            raise ReadError(
                f"{path} does not say where its frames lie in the patient ({keyword} is missing), as segmentations of "
                "radiographs and of microscopy do not.",
                "Export the mask as PNG or TIFF.",
            )
        values.append([float(number) for number in value])
    array = np.array(values)
    if not np.isfinite(array).all() or (keyword == "PixelSpacing" and array.min() <= 0):
        raise GeometryError(f"{path} holds a {keyword} that is impossible.", "Export it again.")
    return array


def _measure(frames: list[Dataset], shared: Dataset | None, keyword: str) -> float | None:
    found = frames[0].get("PixelMeasuresSequence") or (shared.get("PixelMeasuresSequence") if shared is not None else None)
    value = found[0].get(keyword) if found else None
    return float(value) if value is not None and np.isfinite(float(value)) and float(value) > 0 else None
