"""A scan whose landmarks are known, and steps that do something visible to it."""

from typing import Any

import numpy as np

from napari_seg3d.transforms import Pipeline, Step, fit
from napari_seg3d.volumes import Volume

SHAPE = (48, 44, 40)
CENTRES = ((16, 15, 14), (31, 28, 25))
_AFFINE = np.array([[0, -1.25, 0, 30], [1.0, 0, 0, -20], [0, 0, 1.5, 7], [0, 0, 0, 1]])  # axes swapped, as in many files

#: Parameters with which a step does what its name says to the phantom, where its defaults would do little or nothing.
TELLING: dict[str, dict[str, Any]] = {
    "ToOrientation": {"orientation": "SPL"},
    "Resample": {"target": [1.0, 1.7, 1.3]},
    "Resize": {"target_shape": [40, 51, 37]},
    "LimitSize": {"smallest": 42, "largest": 46},
    "CropOrPad": {"target_shape": [52, 39, 41], "padding_mode": -70.0},
    "Crop": {"cropping": [3, 0, 1, 2, 0, 4]},
    "Pad": {"padding": [3, 0, 1, 2, 0, 4], "padding_mode": "mean"},
    "EnsureShapeMultiple": {"target_multiple": 16},
    "Flip": {"axes": [1, 2]},
    "Affine": {"scales": [0.9, 1.1, 1.0], "degrees": [10, -5, 20], "translation": [3, 2, -1]},
    "RandomFlip": {"axes": [0, 1, 2]},
    "RandomAffine": {"translation": 3},
    "RandomAffineElasticDeformation": {"max_displacement": 4.0},
    "RandomElasticDeformation": {"max_displacement": 4.0},
    "OneOf": {"transforms": [{"name": "RandomAffine"}, {"name": "RandomFlip", "parameters": {"axes": [2]}}], "weights": [2, 1]},
    "RescaleIntensity": {"percentiles": [1, 99], "masking_method": "mean"},
    "Clamp": {"out_min": -20, "out_max": 60},
    "Gamma": {"gamma": 1.4},
    "RandomSwap": {"patch_size": 5, "num_iterations": 20},
    "RemapLabels": {"remapping": {2: 7}},
    "RemoveLabels": {"labels": [2]},
}


def phantom(noise: float = 1.0) -> tuple[Volume, Volume]:
    """Return a scan with two bright balls, not on round values, and its mask with labels 2 and 5."""
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    mask = np.zeros(SHAPE, np.uint8)
    for value, centre in zip((2, 5), CENTRES, strict=True):
        mask[np.linalg.norm(grid - np.array(centre)[:, None, None, None], axis=0) < 6.3] = value
    image = np.where(mask > 0, 100.0, -50.0) + np.random.default_rng(0).normal(0, noise, SHAPE)
    return Volume(image[np.newaxis].astype(np.float32), _AFFINE), Volume(mask[np.newaxis], _AFFINE, "labels")


def telling_step(name: str) -> Step:
    """Return a step of this name that changes the phantom."""
    step = Step(name, TELLING.get(name, {}))
    if name == "HistogramStandardization":
        step = fit(Pipeline((step,)), [phantom()[0]]).steps[0]
    return step


def ball_centres(image: Volume, mask: Volume) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the centre in voxels of each ball, as the bright voxels say and as the mask says."""
    pairs = []
    voxels = np.argwhere(image.data[0] > 25)
    own = [np.argwhere(mask.data[0] == value).mean(axis=0) for value in (2, 5)]
    nearest = np.argmin([np.linalg.norm(voxels - centre, axis=1) for centre in own], axis=0)
    for index, centre in enumerate(own):
        pairs.append((voxels[nearest == index].mean(axis=0), centre))
    return pairs
