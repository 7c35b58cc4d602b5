"""Random changes of a training patch, so that few cases teach more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.transforms.pipeline import Pipeline, Step
from napari_seg3d.transforms.run import run
from napari_seg3d.volumes import Volume


def augmentation_pipeline() -> Pipeline:
    """Return the default augmentation.

    No flips: left and right may carry different labels, and a network that cannot tell them apart puts masks on the wrong side.
    """
    return Pipeline(
        (
            Step("RandomAffine", {"scales": 0.2, "degrees": 20.0, "isotropic": False}, probability=0.6),
            Step("RandomGamma", {"log_gamma": 0.3}, probability=0.2),
            Step("RandomNoise", {"std": [0.0, 0.15]}, probability=0.2),
            Step("RandomBlur", {"std": [0.0, 0.8]}, probability=0.1),
        )
    )


def augment(
    pipeline: Pipeline, image: NDArray[np.float32], mask: NDArray[np.uint8], spacing: tuple[float, float, float], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Run a random pipeline on one patch.

    Parameters
    ----------
    pipeline : Pipeline
        Random steps; spatial ones move both, intensity ones only the image.
    image : array of shape (C, I, J, K)
        A patch in canonical order.
    mask : array of shape (I, J, K)
        Class indices.
    spacing : three floats
        Voxel edges in mm, so that a rotation of a thick-sliced patch is one in the patient.
    seed : int
        The same seed gives the same result to the bit; the caller's random state is left as it was.
    """
    affine = np.diag([*spacing, 1.0])
    changed, moved = run(pipeline, Volume(image, affine), Volume(mask[np.newaxis], affine, "labels"), seed)
    assert moved is not None
    return changed.data, moved.data[0].astype(np.uint8, copy=False)  # type: ignore[return-value]  # `run` gives float32
