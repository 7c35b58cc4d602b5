"""Small DICOM series made for a test: one file per slice, or all of them in one enhanced file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_seg3d.volumes import Grid

#: What a test looks for where no patient may show.
PATIENT = "Secretname"
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def head_of(sop_class: str, modality: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop_class
    dataset.Modality = modality
    dataset.PatientName = f"{PATIENT}^Erika"
    dataset.PatientID = "ID-4711"
    dataset.PatientBirthDate = "19420815"
    dataset.PatientSex = "F"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20030417"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "104607"
    dataset.AccessionNumber = "03086212"
    dataset.StudyID = "1"
    dataset.SeriesNumber = 2
    dataset.ReferringPhysicianName = "Doc^Tor"
    dataset.Manufacturer = "Maker"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    return dataset


def pixels_of(dataset: Dataset, pixels: NDArray[np.int16]) -> None:
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()


def write_series(folder: Path, grid: Grid, data: NDArray[np.int16] | None = None) -> tuple[Path, ...]:
    """Write a CT of ``data (I, J, K)``, a file for each slice; return the files in the order of the slices."""
    folder.mkdir(parents=True, exist_ok=True)
    data = np.zeros(grid.shape, np.int16) if data is None else data
    lps = _RAS_TO_LPS @ grid.affine
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    files = []
    for k in range(grid.shape[2]):
        dataset = head_of(CTImageStorage, "CT")
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        dataset.InstanceNumber = grid.shape[2] - k
        dataset.PositionReferenceIndicator = ""
        dataset.KVP = 120
        dataset.AcquisitionNumber = 1
        dataset.ImagePositionPatient = [float(np.float32(x)) for x in lps[:3] @ (0, 0, k, 1)]
        dataset.ImageOrientationPatient = [float(x) for x in (lps[:3, :2] / np.array(grid.spacing[:2])).T.ravel().round(9)]
        dataset.PixelSpacing = [grid.spacing[1], grid.spacing[0]]
        dataset.SliceThickness = grid.spacing[2]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1000
        dataset.RescaleType = "HU"
        pixels_of(dataset, data[:, :, k].T)
        files.append(folder / f"{(k * 7) % 1009:04}_{PATIENT}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    return tuple(files)


def write_enhanced(path: Path, grid: Grid, data: NDArray[np.int16] | None = None) -> Path:
    """Write an enhanced MR of ``data (I, J, K)`` in one file, its frames in the order of the slices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.zeros(grid.shape, np.int16) if data is None else data
    lps = _RAS_TO_LPS @ grid.affine
    dataset = head_of(EnhancedMRImageStorage, "MR")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    dataset.InstanceNumber = 1
    dataset.NumberOfFrames = grid.shape[2]
    dataset.PositionReferenceIndicator = ""
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing = [grid.spacing[1], grid.spacing[0]]
    measures.SliceThickness = measures.SpacingBetweenSlices = grid.spacing[2]
    orientation.ImageOrientationPatient = [float(x) for x in (lps[:3, :2] / np.array(grid.spacing[:2])).T.ravel().round(9)]
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in range(grid.shape[2]):
        position, content, frame = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [float(np.float32(x)) for x in lps[:3] @ (0, 0, k, 1)]
        content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = "1", k + 1, [1, k + 1]
        frame.PlanePositionSequence, frame.FrameContentSequence = [position], [content]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    pixels_of(dataset, np.transpose(data, (2, 1, 0)))
    dataset.save_as(path, enforce_file_format=True)
    return path


def headers(files: tuple[Path, ...]) -> list[Dataset]:
    return [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
