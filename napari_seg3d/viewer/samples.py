"""Sample data for File > Open Sample."""

from __future__ import annotations

from napari_seg3d import sample_data
from napari_seg3d.datasets import open_dataset
from napari_seg3d.viewer.reader import Layers, read


def open_first_case() -> Layers:
    """Return the first case of the sample data set: the image, and its mask over it."""
    case = open_dataset(sample_data.dataset_folder()).pairs[0]
    return read([str(path) for path in (*case.images, case.mask)])
