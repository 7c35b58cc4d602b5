"""One description of a pipeline <-> the torchio transforms that run it, in the preview, in training and in prediction."""

from napari_seg3d.transforms.augment import augment, augmentation_pipeline
from napari_seg3d.transforms.catalogue import catalogue, info
from napari_seg3d.transforms.fit import fit, is_fitted
from napari_seg3d.transforms.outcome import channels_after, grid_after, label_steps, labels_after
from napari_seg3d.transforms.parameter import Parameter, TransformInfo
from napari_seg3d.transforms.pipeline import Pipeline, Step
from napari_seg3d.transforms.preprocess import HU, preprocess, preprocessing_pipeline
from napari_seg3d.transforms.recipe import (
    Recipe,
    check_augmentation,
    check_preprocessing,
    find_recipe,
    load_preset,
    load_recipe,
    parse_recipe,
    presets,
    save_recipe,
)
from napari_seg3d.transforms.run import Trace, run

__all__ = [
    "HU",
    "Parameter",
    "Pipeline",
    "Recipe",
    "Step",
    "Trace",
    "TransformInfo",
    "augment",
    "augmentation_pipeline",
    "catalogue",
    "channels_after",
    "check_augmentation",
    "check_preprocessing",
    "find_recipe",
    "fit",
    "grid_after",
    "info",
    "is_fitted",
    "label_steps",
    "labels_after",
    "load_preset",
    "load_recipe",
    "parse_recipe",
    "preprocess",
    "preprocessing_pipeline",
    "presets",
    "run",
    "save_recipe",
]
