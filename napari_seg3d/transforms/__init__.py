"""One description of a pipeline <-> the torchio transforms that run it, in the preview, in training and in prediction."""

from napari_seg3d.transforms.augment import augment, augmentation_pipeline
from napari_seg3d.transforms.pipeline import TRANSFORMS, Pipeline, Step
from napari_seg3d.transforms.preprocess import preprocess, preprocessing_pipeline

__all__ = ["TRANSFORMS", "Pipeline", "Step", "augment", "augmentation_pipeline", "preprocess", "preprocessing_pipeline"]
