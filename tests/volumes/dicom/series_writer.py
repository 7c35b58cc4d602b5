"""Write real DICOM series with pydicom, in any geometry, as scanners do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
#: Directions of rows and columns (LPS) of the three usual planes.
AXIAL, SAGITTAL, CORONAL = (1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)
PATIENT = {"PatientName": "Muster^Erika", "PatientID": "ID-4711-X", "PatientBirthDate": "19610203", "AccessionNumber": "ACC9931"}


def dataset(stored: NDArray[np.integer], modality: str = "CT", series: str = "", **elements: Any) -> Dataset:
    """Return a single-frame image of stored numbers ``(rows, columns)``; `elements` are DICOM keywords."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = elements.pop("transfer_syntax", ExplicitVRLittleEndian)
    found.SOPClassUID = elements.pop("SOPClassUID", CLASSES.get(modality, MRImageStorage))
    found.SOPInstanceUID = generate_uid()
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.StudyInstanceUID = found.FrameOfReferenceUID = "1.2.3.4"
    found.SeriesInstanceUID = series or "1.2.3.4.5"
    found.Modality = modality
    found.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    found.Rows, found.Columns = stored.shape
    found.SamplesPerPixel = 1
    found.PhotometricInterpretation = "MONOCHROME2"
    found.BitsAllocated = 8 * stored.dtype.itemsize
    found.BitsStored = found.BitsAllocated
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(stored.dtype.kind == "i")
    order = ">" if found.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    found.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    found["PixelData"].VR = "OW" if stored.dtype.itemsize > 1 else "OB"
    for keyword, value in {**PATIENT, **elements}.items():
        if value is None:
            if keyword in found:
                del found[keyword]
        else:
            setattr(found, keyword, value)
    return found


def normal_of(orientation: Sequence[float]) -> NDArray[np.float64]:
    return np.cross(orientation[:3], orientation[3:])


def write_series(
    folder: Path,
    stored: NDArray[np.integer],
    orientation: Sequence[float] = AXIAL,
    positions: NDArray[np.floating] | None = None,
    spacing: tuple[float, float] = (0.7, 0.9),
    gap: float = 2.5,
    first: Sequence[float] = (-10.0, 20.0, 30.0),
    modality: str = "CT",
    change: Callable[[Dataset, int], None] = lambda _dataset, _number: None,
    order: Sequence[int] | None = None,
    **elements: Any,
) -> list[Path]:
    """Write slices ``(K, rows, columns)`` and return their files, in the order of `stored`.

    File names and instance numbers are shuffled (or follow `order`), so that a reader which trusts them is found out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if positions is None:
        positions = np.array(first) + np.arange(len(stored))[:, np.newaxis] * gap * normal_of(orientation)
    numbers = list(order) if order is not None else list(np.random.default_rng(7).permutation(len(stored)))
    files = []
    for number, (plane, position, name) in enumerate(zip(stored, positions, numbers, strict=True)):
        own = {
            "ImageOrientationPatient": [f"{value:.10g}" for value in orientation],
            "ImagePositionPatient": [f"{value:.10g}" for value in position],
            "PixelSpacing": list(spacing),
            "SliceThickness": 99,  # a lie: spacing comes from positions
            "InstanceNumber": int(name) + 1,
            "SeriesDescription": "Thorax",
            **elements,
        }
        made = dataset(plane, modality, **own)
        change(made, number)
        file = folder / f"IM{int(name):05d}"
        made.save_as(file, enforce_file_format=True)
        files.append(file)
    return files
