"""A model file -> labels on the scan's own grid: whole volumes and patches, warm between calls."""

from napari_seg3d.inference.device import choose_accelerator, choose_precision, device_name, free_memory
from napari_seg3d.inference.model import ModelSpec, load_model, save_model
from napari_seg3d.inference.predictor import Mode, Prediction, Predictor

__all__ = [
    "Mode",
    "ModelSpec",
    "Prediction",
    "Predictor",
    "choose_accelerator",
    "choose_precision",
    "device_name",
    "free_memory",
    "load_model",
    "save_model",
]
