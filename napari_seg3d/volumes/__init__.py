"""Files on disk <-> `Volume`: the only room that knows file formats, affines and voxel orders."""

from napari_seg3d.volumes.crop import Box, box_of, crop, crop_grid
from napari_seg3d.volumes.deidentification import FACES, deidentify
from napari_seg3d.volumes.dicom import DICOM_SUFFIXES, Glance, Series, find_series, glance_at, patient_key
from napari_seg3d.volumes.free import free_memory
from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.io import (
    GRID_SUFFIXES,
    MASK_SUFFIXES,
    SUFFIXES,
    is_volume_path,
    open_pyramid,
    read_grid,
    read_volume,
    recognise,
    volume_name,
    write_volume,
)
from napari_seg3d.volumes.label_files import label_paths, write_label_files
from napari_seg3d.volumes.labels import as_labels, looks_like_labels, smallest_integer
from napari_seg3d.volumes.pyramid import Level, Pyramid
from napari_seg3d.volumes.resample import lattice_offset, place_on, resample
from napari_seg3d.volumes.soundness import fault_of
from napari_seg3d.volumes.volume import Fourth, Kind, Label, Source, Volume

__all__ = [
    "DICOM_SUFFIXES",
    "FACES",
    "GRID_SUFFIXES",
    "MASK_SUFFIXES",
    "SUFFIXES",
    "Box",
    "Fourth",
    "Glance",
    "Grid",
    "Kind",
    "Label",
    "Level",
    "Pyramid",
    "Series",
    "Source",
    "Volume",
    "as_labels",
    "box_of",
    "crop",
    "crop_grid",
    "deidentify",
    "fault_of",
    "find_series",
    "free_memory",
    "glance_at",
    "is_volume_path",
    "label_paths",
    "lattice_offset",
    "looks_like_labels",
    "open_pyramid",
    "patient_key",
    "place_on",
    "read_grid",
    "read_volume",
    "recognise",
    "resample",
    "smallest_integer",
    "volume_name",
    "write_label_files",
    "write_volume",
]
