"""A model file -> labels on the scan's own grid: whole volumes, slices and patches, and cascades of two networks; warm between calls."""

from napari_seg3d.inference.cascade import grown_box, object_box
from napari_seg3d.inference.computer import Computer
from napari_seg3d.inference.device import Accelerator, Precision, choose_accelerator, choose_precision, device_name, free_memory
from napari_seg3d.inference.engines import EngineName
from napari_seg3d.inference.ensemble import Ensemble
from napari_seg3d.inference.loading import load_models, model_files
from napari_seg3d.inference.model import Crop, Model, ModelSpec, load_model, read_spec, save_model
from napari_seg3d.inference.options import PATIENT_AXES, Mode, PatientAxis, PredictOptions
from napari_seg3d.inference.prediction import Prediction
from napari_seg3d.inference.predictor import Predictor

__all__ = [
    "PATIENT_AXES",
    "Accelerator",
    "Computer",
    "Crop",
    "EngineName",
    "Ensemble",
    "Mode",
    "Model",
    "ModelSpec",
    "PatientAxis",
    "Precision",
    "PredictOptions",
    "Prediction",
    "Predictor",
    "choose_accelerator",
    "choose_precision",
    "device_name",
    "free_memory",
    "grown_box",
    "load_model",
    "load_models",
    "model_files",
    "object_box",
    "read_spec",
    "save_model",
]
