"""DICOM scans and masks of small balls, as a hospital exports them: for data sets that never were NIfTI."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from napari_seg3d.volumes import Grid
from tests.volumes.dicom.phantom_series import headers, write_series
from tests.volumes.dicom.series_writer import dataset

#: Voxel edges of 0.9 x 0.8 x 2.5 mm; rows run to posterior and slices up, as scanners write them.
GRID = Grid((12, 10, 8), np.array([[-0.9, 0, 0, 12.5], [0, -0.8, 0, -40.25], [0, 0, 2.5, 7.75], [0, 0, 0, 1]]))


def ball(seed: int = 0) -> NDArray[np.uint8]:
    """Return a mask (I, J, K): a ball of 1, empty in the first two and the last slices."""
    grid = np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"))
    centre = np.array([5, 5, 4]) + np.random.default_rng(seed).uniform(-1, 1, 3)
    return (np.linalg.norm(grid - centre[:, None, None, None], axis=0) < 2).astype(np.uint8)


def write_ct(folder: Path, patient: str, seed: int = 0) -> tuple[Path, ...]:
    """Write a CT of the ball as a series; return its files in the order of the slices."""
    noise = np.random.default_rng(seed).normal(0, 20, GRID.shape)
    files = write_series(folder, GRID, (np.where(ball(seed), 1300, 1000) + noise).astype(np.int16))
    for file in files:
        header = pydicom.dcmread(file)
        header.PatientID = patient
        header.save_as(file)
    return files


def write_seg(path: Path, files: tuple[Path, ...], masks: NDArray[np.generic]) -> Path:
    """Let highdicom write `masks` ``(I, J, K)`` or ``(I, J, K, segments)`` over a series; it leaves out empty slices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = masks.shape[3] if masks.ndim == 4 else 1
    seg = hd.seg.Segmentation(
        source_images=headers(files),
        pixel_array=np.moveaxis(masks, (0, 1, 2), (2, 1, 0)),
        segmentation_type="BINARY",
        segment_descriptions=[
            hd.seg.SegmentDescription(number + 1, f"Ball {number + 1}", codes.SCT.Tissue, codes.SCT.Liver, "MANUAL")
            for number in range(count)
        ],
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Maker",
        manufacturer_model_name="Model",
        software_versions="1",
        device_serial_number="1",
    )
    seg.save_as(path)
    return path


def write_radiograph(path: Path, pixels: NDArray[np.uint16], patient: str, **elements: object) -> Path:
    """Write a radiograph ``(rows, columns)`` with pixels of 0.2 mm and no place in the patient."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = dataset(
        pixels,
        "CR",
        **{
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
            "FrameOfReferenceUID": None,
            "PixelSpacing": [0.2, 0.2],
            "PatientID": patient,
            **elements,
        },
    )
    made.save_as(path, enforce_file_format=True)
    return path
