"""Scans that do not fit into memory: prepared and predicted piece by piece, from OME-Zarr to OME-Zarr."""

from napari_seg3d.inference.beyond.prediction import (
    STORED_ENDINGS,
    StoredPrediction,
    is_ome_zarr,
    predict_beyond_memory,
    too_large,
)

__all__ = ["STORED_ENDINGS", "StoredPrediction", "is_ome_zarr", "predict_beyond_memory", "too_large"]
