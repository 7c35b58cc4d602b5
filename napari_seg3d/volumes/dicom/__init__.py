"""DICOM: which files make up a volume, where its slices lie, and what its numbers mean."""

from napari_seg3d.volumes.dicom.glance import DICOM_SUFFIXES, Glance, glance_at
from napari_seg3d.volumes.dicom.patient import patient_key
from napari_seg3d.volumes.dicom.scan import find_series
from napari_seg3d.volumes.dicom.series import Series

__all__ = ["DICOM_SUFFIXES", "Glance", "Series", "find_series", "glance_at", "patient_key"]
