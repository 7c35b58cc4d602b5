"""Random changes of a training sample, so that few cases teach more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.transforms.device import TorchSteps, is_known
from napari_seg3d.transforms.pipeline import Pipeline, Step
from napari_seg3d.transforms.run import run
from napari_seg3d.volumes import Volume

# Overlapping labels travel as the bits of one label map. torchio moves labels as float32, which holds so many.
_BITS = 22


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


class Augmentation:
    """Random steps, ready to change many samples.

    Parameters
    ----------
    pipeline : Pipeline
        Spatial steps move image and target, intensity steps change only the image.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        #: The same for tensors on any device, where every step is known there.
        self.steps = TorchSteps(pipeline) if is_known(pipeline) else None

    def __call__(
        self,
        image: NDArray[np.float32],
        target: NDArray[np.uint8],
        spacing: tuple[float, float, float],
        seed: int,
        outside: int = 0,
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return a changed sample; see `augment`."""
        if self.steps is not None:
            import torch

            changed, moved = self.steps(torch.from_numpy(image), torch.from_numpy(target), spacing, seed, outside)
            return changed.numpy(), moved.numpy()
        affine = np.diag([*spacing, 1.0])
        found = run(self._pipeline, Volume(image, affine), Volume(_packed(target, outside), affine, "labels"), seed)
        assert found[1] is not None
        return found[0].data, _unpacked(found[1].data, len(target), outside)  # type: ignore[return-value]  # `run` gives float32


def augment(
    pipeline: Pipeline,
    image: NDArray[np.float32],
    target: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    seed: int,
    outside: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Run a random pipeline on one sample.

    Parameters
    ----------
    pipeline : Pipeline
        Random steps.
    image : array of shape (C, I, J, K)
        A patch in canonical order, or a slice (K = 1) with a pipeline from `in_plane`.
    target : array of shape (T, I, J, K)
        Class indices (T = 1), or 0 and 1 for each of several overlapping labels. 255, in all channels of a voxel, is unknown.
    spacing : three floats
        Voxel edges in mm, so that a rotation of a thick-sliced patch is one in the patient.
    seed : int
        The same seed gives the same result to the bit; the caller's random state is left as it was.
    outside : int
        What the target is where the patch has moved away: 0, background, or 255, unknown.
    """
    return Augmentation(pipeline)(image, target, spacing, seed, outside)


def _packed(target: NDArray[np.uint8], outside: int) -> NDArray[np.integer]:
    """Return a target as label maps in which 0 is what comes from outside."""
    if len(target) == 1:
        # Shifted by one, 255 becomes 0.
        return target + np.uint8(1) if outside else target
    packed = []
    for first, last in _groups(len(target)):
        group = target[first:last]
        code = (group[0] == 255).astype(np.int32) << (last - first)
        for bit, channel in enumerate(group):
            code |= (channel == 1).astype(np.int32) << bit
        packed.append(np.where(group[0] == 255, 0, code + 1) if outside else code)
    return np.stack(packed)


def _unpacked(labels: NDArray[np.generic], channels: int, outside: int) -> NDArray[np.uint8]:
    if channels == 1:
        classes = labels.astype(np.uint8, copy=False)
        return classes - np.uint8(1) if outside else classes
    target = []
    for code, (first, last) in zip(labels.astype(np.int32, copy=False), _groups(channels), strict=True):
        bits = code - 1 if outside else code
        unknown = code == 0 if outside else bits >> (last - first) > 0
        target += [np.where(unknown, 255, (bits >> bit) & 1) for bit in range(last - first)]
    return np.stack(target).astype(np.uint8)


def _groups(channels: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + _BITS, channels)) for first in range(0, channels, _BITS))


def in_plane(pipeline: Pipeline, plane: Literal["axial", "coronal", "sagittal"]) -> Pipeline:
    """Return the steps for slices ``(C, a, b, 1)`` that stand for `pipeline` on volumes.

    What a step does along or about an axis of the patient it does there, too, and nothing across the slice: of a rotation about all axes
    the one in the slice is left. Steps that act across the slice alone fall away.

    Parameters
    ----------
    pipeline : Pipeline
        Steps for volumes in canonical order.
    plane : {"axial", "coronal", "sagittal"}
        Of the slice.
    """
    order = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}[plane]
    return Pipeline(tuple(flat for step in pipeline.enabled if (flat := _flat(step, order)) is not None))


# Parameters with a number, or a range, for each axis; and what they are where nothing happens along one. Those of RandomMotion are meant
# for all axes alike, and torchio itself keeps its movements in the slice, as it does with rotation and zoom.
_ALONG_AXES = {"scales": None, "degrees": None, "translation": 0.0, "max_displacement": 0.0, "std": None, "patch_size": 1}
_RANGES = ("translation",)


def _flat(step: Step, order: tuple[int, int, int]) -> Step | None:
    values, changes = step.values, dict[str, Any]()
    if step.name == "OneOf":
        weights = values["weights"] or [1.0] * len(step.inside)
        inside = [(_flat(each, order), weight) for each, weight in zip(step.inside, weights, strict=True)]
        kept = [(each, weight) for each, weight in inside if each is not None]
        changes = {"transforms": [each.to_dict() for each, _ in kept], "weights": [weight for _, weight in kept]}
    if "axes" in values:
        changes["axes"] = sorted(order.index(axis) for axis in values["axes"] if axis != order[2])
    if any(not changes.get(name, True) for name in ("transforms", "axes")):
        return None
    for name in _ALONG_AXES:
        if name in values and step.name != "RandomMotion":
            changes[name] = _along(name, values[name], order)
    return Step(step.name, {**step.parameters, **changes}, step.probability, step.enabled)


def _along(name: str, value: float | list[float], order: tuple[int, int, int]) -> float | list[float]:
    """Return a parameter with its numbers in the order of the axes of a slice, and none across it."""
    still = _ALONG_AXES[name]
    if still is not None and not (isinstance(value, list) and len(value) in (3, 6)):
        if name in _RANGES:
            low, high = value if isinstance(value, list) else (-value, value)
            value = [low, high] * 3
        else:
            value = [value[0] if isinstance(value, list) else value] * 3
    if not isinstance(value, list) or len(value) not in (3, 6):
        return value
    numbers = np.array(value).reshape(3, -1)[list(order)]
    if still is not None:
        numbers[2] = still
    return numbers.ravel().tolist()
