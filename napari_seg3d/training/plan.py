"""What `auto` in a config becomes for this data on this device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ConfigError
from napari_seg3d.inference import ModelSpec, choose_accelerator, choose_precision, device_name, free_memory
from napari_seg3d.networks import NetworkSpec, plan_strides
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.transforms import (
    Pipeline,
    augmentation_pipeline,
    channels_after,
    grid_after,
    labels_after,
    preprocessing_pipeline,
)
from napari_seg3d.volumes import Grid

# Voxels that one step may hold: more per step learns less per minute on a CPU. Measured with the default U-Net on two cores.
_PATCH_VOXELS = {"cpu": 64**3, "mps": 96**3, "cuda": 128**3}
_STEP_VOXELS = {"cpu": 360_000, "mps": 2 * 96**3, "cuda": 2 * 128**3}
_MOST_PER_STEP = 8
# Feature maps of each level that are alive at the peak of a step: outputs of convolutions, norms and activations on the way down and
# up, and their gradients. On the low side: a run is refused only when it is hopeless.
_MAPS_PER_LEVEL = 12


@dataclass(frozen=True)
class Plan:
    """A config with every `auto` resolved.

    Parameters
    ----------
    spec : ModelSpec
        The model that the run will make; its `info` is still empty, and its preprocessing may still have to be fitted.
    spacing : three floats
        Voxel edges in mm that augmentation reckons with: the median after the preprocessing.
    batch_size : int
        Patches per step.
    accelerator, precision : str
        Where and how to compute.
    augmentation : Pipeline or None
        Random changes of every patch.
    """

    spec: ModelSpec
    spacing: tuple[float, float, float]
    batch_size: int
    accelerator: str
    precision: str
    augmentation: Pipeline | None

    def as_event(self) -> dict[str, object]:
        """Return the plan as plain values for people to read."""
        return {
            "device": device_name(self.accelerator),  # type: ignore[arg-type]
            "precision": self.precision,
            "spacing": [round(edge, 4) for edge in self.spacing],
            "patch_size": list(self.spec.patch_size),
            "batch_size": self.batch_size,
            "labels": {str(value): name for value, name in self.spec.labels.items()},
        }


def planned_preprocessing(config: TrainConfig, grids: Sequence[Grid]) -> Pipeline:
    """Return the preprocessing that a config asks for, for training cases on these grids."""
    if config.transforms.preprocessing != "auto":
        return Pipeline.from_list(config.transforms.preprocessing)
    wish = config.preprocessing.spacing
    if wish == "auto":
        median = np.median([grid.canonical().spacing for grid in grids], axis=0).tolist()
        return preprocessing_pipeline(median, config.preprocessing.normalization)
    return preprocessing_pipeline(None if wish == "native" else wish, config.preprocessing.normalization)


def make_plan(config: TrainConfig, grids: Sequence[Grid], labels: Mapping[int, str], channels: int) -> Plan:
    """Resolve every `auto` of a config.

    Parameters
    ----------
    config : TrainConfig
        What was asked for.
    grids : sequence of Grid
        Native grids of the training cases.
    labels : mapping of int to str
        Value -> name of the labels to learn.
    channels : int
        Channels of every scan.
    """
    accelerator = choose_accelerator(config.device.accelerator)
    pipeline = planned_preprocessing(config, grids)
    processed = [grid_after(pipeline, grid) for grid in grids]
    orders = sorted({grid.orientation for grid in processed})
    if len(orders) > 1:
        raise ConfigError(
            f"After the preprocessing the scans still have different axis orders ({', '.join(orders)}).",
            "Begin the preprocessing with ToCanonical.",
        )
    spacing = np.median([grid.spacing for grid in processed], axis=0)
    sizes = np.array([grid.shape for grid in processed], dtype=float)
    labels = labels_after(pipeline, labels)
    if not labels:
        raise ConfigError("The preprocessing removes every label.", "Keep at least one.")
    channels = channels_after(pipeline, channels)
    typical = sizes.max(axis=0) if config.sampling.mode == "whole" else np.median(sizes, axis=0)

    features = (16, 32, 64, 128) if config.network.features == "auto" else config.network.features
    levels = len(features)
    if config.sampling.patch_size == "auto":
        limit = np.inf if config.sampling.mode == "whole" else _PATCH_VOXELS[accelerator]
        patch = _auto_patch(typical, spacing, levels, limit)
    else:
        patch = np.array(config.sampling.patch_size)
    strides = plan_strides(levels, patch.tolist(), spacing.tolist())
    network = NetworkSpec(
        name=config.network.name,
        in_channels=channels,
        out_channels=len(labels) + 1,
        features=features,
        strides=strides,
    )
    patch = _round_up(patch, network.divisor)
    batch = config.optimization.batch_size
    if batch == "auto":
        batch = int(np.clip(round(_STEP_VOXELS[accelerator] / patch.prod()), 2, _MOST_PER_STEP))
    spec = ModelSpec(
        network=network,
        labels=dict(labels),
        pipeline=pipeline.to_list(),
        patch_size=tuple(patch.tolist()),
        mode="whole" if config.sampling.mode == "whole" else "patches",
    )
    precision = choose_precision(accelerator, config.device.precision)
    _refuse_beyond_memory(network, patch, batch, accelerator, precision)
    i, j, k = spacing.tolist()
    augmentation = _augmentation(config, spec, (i, j, k))
    return Plan(spec, (i, j, k), batch, accelerator, precision, augmentation)


def _augmentation(config: TrainConfig, spec: ModelSpec, spacing: tuple[float, float, float]) -> Pipeline | None:
    """Return the augmentation; a ConfigError says where it would not leave a patch as large as the network wants it."""
    if not config.sampling.augmentation:
        return None
    if config.transforms.augmentation == "auto":
        return augmentation_pipeline()
    pipeline = Pipeline.from_list(config.transforms.augmentation)
    made = grid_after(pipeline, Grid(spec.patch_size, np.diag([*spacing, 1.0]))).shape
    channels = channels_after(pipeline, spec.network.in_channels)
    if made != spec.patch_size or channels != spec.network.in_channels:
        raise ConfigError(
            f"The augmentation makes {' x '.join(map(str, made))} voxels and {channels} channels of a patch of "
            f"{' x '.join(map(str, spec.patch_size))} and {spec.network.in_channels}.",
            "Move steps that change the size to the preprocessing, or let them end at the size of the patch.",
        )
    return pipeline if pipeline.enabled else None


def _refuse_beyond_memory(network: NetworkSpec, patch: NDArray[np.int_], batch: int, accelerator: str, precision: str) -> None:
    """Raise a ConfigError when one step cannot fit the memory that is free; the rest of the machine would pay for the try."""
    voxels = float(patch.prod()) * batch
    needed = 0.0
    for features, stride in zip(network.features, ((1, 1, 1), *network.strides), strict=True):
        voxels /= np.prod(stride)
        needed += voxels * features * _MAPS_PER_LEVEL * (2 if precision == "bf16" else 4)
    free = free_memory(accelerator)
    if needed > free:
        raise ConfigError(
            f"{batch} patches of {' x '.join(map(str, patch))} voxels need about {needed / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free.",
            "Choose a smaller patch or batch, or a larger spacing.",
        )


def _auto_patch(typical: NDArray[np.floating], spacing: NDArray[np.floating], levels: int, limit: float) -> NDArray[np.int_]:
    """Return the typical size, its longest sides (in mm) shortened until the patch has at most `limit` voxels."""
    patch = np.maximum(typical, 8)
    while True:
        divisor = np.prod(np.array(plan_strides(levels, patch.tolist(), spacing.tolist())), axis=0)
        rounded = _round_up(patch, divisor.tolist())
        if rounded.prod() <= limit:
            return rounded
        shrinkable = np.where(patch > 8, patch * spacing, 0)
        longest = int(shrinkable.argmax())
        patch[longest] = max(8, min(patch[longest] * 0.9, patch[longest] - 1))


def _round_up(size: NDArray[np.generic], divisor: Sequence[int]) -> NDArray[np.int_]:
    step = np.array(divisor)
    return np.asarray(np.ceil(np.asarray(size) / step) * step, dtype=np.int_)
