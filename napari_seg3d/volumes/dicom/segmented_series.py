"""The images that a mask was drawn on, slice by slice, ready to be referred to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_seg3d.errors import WriteError
from napari_seg3d.volumes.dicom.planes import LPS_TO_RAS
from napari_seg3d.volumes.grid import FloatArray, Grid, Shape3

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# How far, in voxels, a slice may lie from its place in the grid: whoever read the series judged what is regular.
_TOLERANCE = 0.25
# Type 2 in the standard: they must be there, but may be empty. Files that were made anonymous often lack them.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip


@dataclass(frozen=True)
class SegmentedSeries:
    """What a DICOM SEG needs of the series that it segments.

    Parameters
    ----------
    images : list of Dataset
        Headers without pixels: one per slice, or a single one with many frames.
    positions : list of three floats
        The position of each slice of the grid as it stands in the headers (LPS, mm).
    """

    images: list[Dataset]
    positions: list[list[float]]


def segmented_series(files: tuple[Path, ...], grid: Grid) -> SegmentedSeries:
    """Return the images in `files` that the slices of `grid` are.

    Raises
    ------
    WriteError
        A file is gone, has no place in the patient, or the images do not lie on the slices of the grid.
    """
    import pydicom

    try:
        headers: list[Dataset] = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    except (OSError, pydicom.errors.InvalidDicomError) as error:
        raise WriteError(
            f"The DICOM series that the mask was drawn on cannot be read any more ({files[0].parent}).",
            "Put its files back, or choose NIfTI (.nii.gz).",
        ) from error
    if "FrameOfReferenceUID" not in headers[0] and all("ImagePositionPatient" in header for header in headers):
        raise WriteError(
            "The DICOM series that the mask was drawn on has lost its frame of reference (FrameOfReferenceUID), which a DICOM SEG needs.",
            "Choose NIfTI (.nii.gz), or draw on a copy of the series that has it.",
        )
    planes = [plane for header in headers for plane in _planes(header)]
    found: dict[int, int] = {}
    for index, plane in enumerate(planes):
        k = _slice_of(plane, grid)
        if k is not None:
            found.setdefault(k, index)  # of several time points, the first
    if len(found) < grid.shape[2]:
        raise WriteError(
            f"The mask does not lie on the slices of its DICOM series: {grid.shape[2] - len(found)} of {grid.shape[2]} have no image.",
            "Choose NIfTI (.nii.gz), which keeps the mask where it is.",
        )
    order = [found[k] for k in range(grid.shape[2])]
    positions = [(LPS_TO_RAS @ planes[index][1])[:3, 3].tolist() for index in order]
    images = headers if "PerFrameFunctionalGroupsSequence" in headers[0] else [headers[index] for index in order]
    return SegmentedSeries(_tidied(images, grid), positions)


def _slice_of(plane: tuple[Shape3, FloatArray], grid: Grid) -> int | None:
    """Return the slice of `grid` that a plane is, or None."""
    shape, affine = plane
    k = round(float(np.linalg.solve(grid.affine, affine[:, 3])[2]))
    corners = np.array([(i, j, 0, 1) for i in (0, shape[0] - 1) for j in (0, shape[1] - 1)]).T
    away = np.linalg.solve(grid.affine, affine @ corners)[:3] - (corners + np.array([[0], [0], [k], [0]]))[:3]
    fits = shape[:2] == grid.shape[:2] and 0 <= k < grid.shape[2] and np.abs(away).max() <= _TOLERANCE
    return k if fits else None


def _planes(header: Dataset) -> list[tuple[Shape3, FloatArray]]:
    """Return for each frame of a file its columns and rows, and the RAS+ affine of its pixels (its third column is 0)."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    planes = []
    for frame in header.get("PerFrameFunctionalGroupsSequence") or [None]:
        groups = [groups for groups in (frame, shared) if groups is not None]
        orientation = _find(header, groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
        between_rows, between_columns = _find(header, groups, "PixelMeasuresSequence", "PixelSpacing", 2)
        affine = np.zeros((4, 4))
        affine[:3, 0] = orientation[:3] * between_columns
        affine[:3, 1] = orientation[3:] * between_rows
        affine[:3, 3] = _find(header, groups, "PlanePositionSequence", "ImagePositionPatient", 3)
        affine[3, 3] = 1
        planes.append(((int(header.Columns), int(header.Rows), 1), LPS_TO_RAS @ affine))
    return planes


def _find(header: Dataset, groups: list[Dataset], group: str, keyword: str, size: int) -> FloatArray:
    candidates = [header, *(one[group][0] for one in groups if one.get(group))]
    values = [one.get(keyword) for one in candidates]
    value = next((value for value in values if value is not None and len(value) == size), None)
    if value is None:
        raise WriteError(
            "The images that the mask was drawn on have no place in the patient, as radiographs have none; a DICOM SEG needs one.",
            "Choose PNG for a radiograph, or NIfTI (.nii.gz).",
        )
    return np.array([float(number) for number in value])


def _tidied(images: list[Dataset], grid: Grid) -> list[Dataset]:
    """Return the headers with what highdicom insists on; they live in memory only."""
    first = images[0]
    for image in images:
        for keyword in _MAY_BE_EMPTY:
            if keyword not in image:
                setattr(image, keyword, "")
        if "PerFrameFunctionalGroupsSequence" in image:
            # Most scanners repeat these in each frame instead of sharing them.
            shared, frame = image.SharedFunctionalGroupsSequence[0], image.PerFrameFunctionalGroupsSequence[0]
            for group in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
                if group not in shared:
                    setattr(shared, group, frame[group].value)
            measures = shared.PixelMeasuresSequence[0]
        else:
            image.ImageOrientationPatient = first.ImageOrientationPatient  # equal but for the last digit
            image.PixelSpacing = first.PixelSpacing
            measures = image
        # Thickness is no spacing, and scanners say a spacing that their positions contradict.
        measures.SpacingBetweenSlices = f"{grid.spacing[2]:.10g}"
        if measures.get("SliceThickness") in (None, ""):
            measures.SliceThickness = measures.SpacingBetweenSlices
    return images
