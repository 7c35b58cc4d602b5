"""What happens to every scan before the network sees it: deterministic, the same in training and in prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from napari_seg3d.errors import ConfigError, ReadError
from napari_seg3d.transforms.pipeline import Pipeline, Step
from napari_seg3d.volumes import Volume, fault_of

# Spacings closer than this are the same: resampling would only blur, and the way back uses the true grid anyway.
_SAME_SPACING = 0.01
_LARGEST = 2**31


def preprocessing_pipeline(spacing: Sequence[float] | None, normalization: Literal["zscore", "rescale"]) -> Pipeline:
    """Return the steps that bring every scan to one orientation, spacing and intensity range.

    Parameters
    ----------
    spacing : three floats or None
        Voxel edges along R, A and S in mm; None leaves each scan at its own.
    normalization : {"zscore", "rescale"}
        Mean 0 and standard deviation 1, or 0 to 1. Both first clip at the 0.5 and 99.5 percentile, because a few voxels of metal or
        blood may be a thousand times brighter than tissue.
    """
    steps = [Step("ToCanonical")]
    if spacing is not None:
        steps.append(Step("Resample", {"target": [float(edge) for edge in spacing]}))
    steps.append(Step("RescaleIntensity", {"out_min_max": [0.0, 1.0], "percentiles": [0.5, 99.5]}))
    if normalization == "zscore":
        steps.append(Step("ZNormalization"))
    return Pipeline(tuple(steps))


def preprocess(pipeline: Pipeline, image: Volume, mask: Volume | None = None) -> tuple[Volume, Volume | None]:
    """Run a preprocessing pipeline on a scan and its mask.

    Parameters
    ----------
    pipeline : Pipeline
        Deterministic steps.
    image : Volume
        Any voxel order and number type.
    mask : Volume, optional
        Labels on the same grid; moved like the image with nearest neighbour, its values untouched.

    Returns
    -------
    image : Volume
        float32, with the affine of its new grid.
    mask : Volume or None
        Labels on the same new grid.

    Raises
    ------
    ReadError
        The scan is constant, or holds NaN or infinite values: there is nothing to normalise.
    ConfigError
        A step cannot be applied to this scan.
    """
    import torch
    import torchio

    name = str(image.source.path) if image.source is not None else "The image"
    fault = fault_of(image)
    if fault is not None:
        raise ReadError(f"{name} {fault[0]}", fault[1])
    _refuse_gigantic(pipeline, image, name)
    # Copies: torchio refuses negative strides and foreign byte orders, and must not write into the caller's array.
    data = np.array(image.data, dtype=np.float32, order="C")
    subject = torchio.Subject(image=torchio.ScalarImage(tensor=torch.from_numpy(data), affine=image.affine))
    if mask is not None:
        labels = np.array(mask.data, dtype=np.int32, order="C")
        # The image's affine: both lie on one grid, and a difference in the last digit must not give them two.
        subject.add_image(torchio.LabelMap(tensor=torch.from_numpy(labels), affine=image.affine), "mask")
    for step in pipeline.steps:
        if step.name == "Resample" and np.allclose(subject.image.spacing, step.parameters["target"], rtol=_SAME_SPACING):
            continue
        try:
            subject = step.to_torchio()(subject)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"{step.name} cannot be applied to {name}: {error}.", "Change this step, or leave the scan out."
            ) from error
    processed = Volume(subject.image.data.numpy().astype(np.float32, copy=False), subject.image.affine, "image", image.source)
    if mask is None:
        return processed, None
    moved = subject.mask.data.numpy().astype(mask.data.dtype)
    return processed, Volume(moved, subject.mask.affine, "labels", mask.source)


def _refuse_gigantic(pipeline: Pipeline, image: Volume, name: str) -> None:
    # A wrong unit in a header (metres for millimetres) would ask for terabytes; say so before the memory is gone.
    grid = image.grid.canonical()
    for step in pipeline.steps:
        if step.name == "Resample":
            size = np.array(grid.shape) * np.array(grid.spacing) / np.array(step.parameters["target"])
            if size.prod() > _LARGEST:
                raise ConfigError(
                    f"{name} is {size[0]:.0f} x {size[1]:.0f} x {size[2]:.0f} voxels at {step.parameters['target']} mm.",
                    "Check the spacing in its header, or train with a larger spacing.",
                )
