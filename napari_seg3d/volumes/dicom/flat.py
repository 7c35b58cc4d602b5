"""Pictures that do not say where they lie in the patient: radiographs, films, single frames, and stacks stripped of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_seg3d.errors import GeometryError
from napari_seg3d.volumes.dicom.frames import Frame
from napari_seg3d.volumes.dicom.planes import LPS_TO_RAS
from napari_seg3d.volumes.dicom.stack import Stack
from napari_seg3d.volumes.grid import FloatArray

#: Letters of PatientOrientation as directions in LPS.
_LETTERS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
_FRAME_TIME, _FRAME_TIME_VECTOR = 0x00181063, 0x00181065
#: Modalities whose multi-frame files are films.
_FILMS = ("US", "XA", "RF", "ES", "XC", "GM", "SM", "OP", "IVUS")
#: SOP classes of single slices, which are nothing without their position: CT, MR, PET.
SLICES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128")


def flat_stacks(frames: Sequence[Frame]) -> list[Stack]:
    """Return a stack for each file whose frames have no place in the patient.

    Slices of CT, MR and PET without their positions are one stack that cannot be opened: in which order, and how far apart,
    nobody could know.
    """
    by_file: dict[object, list[Frame]] = {}
    for frame in frames:
        by_file.setdefault(frame.header, []).append(frame)
    slices = [own[0] for own in by_file.values() if len(own) == 1 and own[0].header.sop_class in SLICES]
    found = []
    if len(slices) > 1:
        problem = GeometryError(
            f"The {len(slices)} slices of the series do not say where they lie in the patient (ImagePositionPatient or "
            "ImageOrientationPatient is missing).",
            "Export the series again with its positions; a single file can be opened as a picture.",
        )
        found.append(Stack([slices], problem=problem, is_oriented=False))
    lone = [own for own in by_file.values() if len(slices) < 2 or own[0] not in slices]
    return found + [flat_stack(own) for own in lone]


def flat_stack(frames: Sequence[Frame]) -> Stack:
    """Return the frames of one file as a picture, a film, or slices in the order of the file."""
    first = frames[0]
    (between_rows, between_columns), notes = _pixel_size(first)
    is_film = len(frames) > 1 and (
        first.header.modality in _FILMS or bool({_FRAME_TIME, _FRAME_TIME_VECTOR} & set(first.header.frame_increment))
    )
    depth = min(between_rows, between_columns)
    if len(frames) > 1 and not is_film:
        depth = first.thickness or depth
        notes = (
            *notes,
            f"The file does not say where its {len(frames)} frames lie in the patient: they were read as slices in the order "
            "of the file. Right and left, top and bottom are not known.",
        )
    axes = _axes(first.header.patient_orientation)
    if axes is None:
        if len(frames) == 1 or is_film:
            notes = (*notes, "The file does not say how the picture lies in the patient: right and left are not known.")
        # As it would hang on a light box: columns to the patient's left, rows to posterior.
        affine = np.diag([-between_columns, -between_rows, depth, 1.0])
    else:
        affine = np.eye(4)
        affine[:3, :3] = axes * (between_columns, between_rows, depth)
        affine = np.asarray(LPS_TO_RAS @ affine)
    channels = [[frame] for frame in frames] if is_film else [list(frames)]
    return Stack(
        channels,
        affine=affine,
        fourth="time" if is_film else "channel",
        channels=tuple(str(number + 1) for number in range(len(frames))) if is_film else (),
        notes=notes,
        is_oriented=axes is not None,
    )


def _axes(letters: tuple[str, ...]) -> FloatArray | None:
    """Return the directions of rows, columns and their normal in LPS, from such as ``("L", "F")``."""
    if len(letters) != 2 or not all(word and word[0] in _LETTERS for word in letters):
        return None
    row, column = (np.array(_LETTERS[word[0]], float) for word in letters)  # further letters say how oblique: not by how much
    normal = np.cross(row, column)
    return np.stack([row, column, normal], axis=1) if normal.any() else None


def _pixel_size(frame: Frame) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Return the distances between rows and between columns in mm, and what is to be said about them."""
    if _is_size(frame.spacing):
        return (frame.spacing[0], frame.spacing[1]), ()
    detector = frame.header.detector_spacing
    if _is_size(detector):
        magnification = frame.header.magnification
        if magnification is not None and magnification > 0:
            note = f"Sizes in mm are those at the detector divided by the magnification that the file gives ({magnification:g})."
            return (detector[0] / magnification, detector[1] / magnification), (note,)
        note = "Sizes in mm are those at the detector: in the patient they are smaller, by an unknown magnification."
        return (detector[0], detector[1]), (note,)
    return (1.0, 1.0), ("The file gives no pixel size: lengths and areas in mm are unknown, a pixel counts as 1 mm.",)


def _is_size(spacing: tuple[float, ...]) -> bool:
    return len(spacing) == 2 and min(spacing) > 0
