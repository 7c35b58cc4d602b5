"""DICOM: which files make up a volume, where its slices lie, and what its numbers mean."""

from napari_seg3d.volumes.dicom.scan import find_series
from napari_seg3d.volumes.dicom.series import Series

__all__ = ["Series", "find_series"]
