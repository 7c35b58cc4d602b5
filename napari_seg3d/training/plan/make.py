"""`make_plan`: every `auto` of a config resolved, for this data on this device."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from napari_seg3d.datasets import Report
from napari_seg3d.errors import ConfigError
from napari_seg3d.inference import Accelerator, ModelSpec, Precision, choose_accelerator, choose_precision, free_memory
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.plan.fingerprint import Fingerprint, fingerprint_of
from napari_seg3d.training.plan.memory import Needs, needs_of
from napari_seg3d.training.plan.plan import Plan, Reason
from napari_seg3d.training.plan.preparation import explained_preprocessing
from napari_seg3d.training.plan.rules import (
    class_weights,
    plan_average,
    plan_loss,
    plan_place,
    plan_rate,
    plan_targets,
    plan_workers,
)
from napari_seg3d.training.plan.samples import Samples, plan_samples
from napari_seg3d.training.plan.sizes import PATCH_VOXELS, Sizes, plan_sizes
from napari_seg3d.training.samples.sides import choose_sides
from napari_seg3d.training.samples.targets import learnt_labels
from napari_seg3d.transforms import Pipeline, augmentation_pipeline, channels_after, grid_after, labels_after
from napari_seg3d.transforms.augment import in_plane
from napari_seg3d.volumes import Grid

_STEP_VOXELS = {"cpu": 360_000, "mps": 2 * 96**3, "cuda": 2 * 128**3}
_FEWEST_PER_STEP = 2
MOST_PER_STEP = {3: 8, 2: 32}
_SHRINK, _FEWEST_VOXELS = 0.8, {3: 16**3, 2: 32**2}


def plan_for(config: TrainConfig, report: Report, cases: Collection[str] | None = None) -> Plan:
    """Resolve every `auto` of a config for a checked data set.

    Parameters
    ----------
    config : TrainConfig
        What was asked for.
    report : Report
        Of the check.
    cases : collection of str, optional
        Ids of the cases that train; left out, those that a run of this config would draw.

    Raises
    ------
    ConfigError
        The settings do not fit one another, the data or the device.
    DatasetError
        Nothing can train, or there is nobody to judge.
    """
    chosen = choose_sides(config.data, report).train if cases is None else cases
    return make_plan(config, fingerprint_of(report, chosen))


def make_plan(config: TrainConfig, fingerprint: Fingerprint) -> Plan:
    """Resolve every `auto` of a config.

    Parameters
    ----------
    config : TrainConfig
        What was asked for.
    fingerprint : Fingerprint
        Of the training cases.

    Raises
    ------
    ConfigError
        The settings do not fit one another, the data or the device.
    """
    accelerator = choose_accelerator(config.device.accelerator)
    precision = choose_precision(accelerator, config.device.precision)
    pipeline, reasons = explained_preprocessing(config, fingerprint)
    samples = plan_samples(config, pipeline, fingerprint.grids, fingerprint.painted_plane)
    labels = labels_after(samples.pipeline, learnt_labels(fingerprint.labels, config.targets))
    if not labels:
        raise ConfigError("The preprocessing removes every label.", "Keep at least one.")
    targets, why_targets = plan_targets(config, fingerprint)
    in_channels = channels_after(samples.pipeline, fingerprint.channels) * (2 * samples.context + 1)
    out_channels = len(labels) + (targets == "exclusive")

    sizes, batch, needs, why_batch = _fitting(config, samples, in_channels, out_channels, accelerator, precision)
    spec = ModelSpec(
        network=sizes.network,
        labels=dict(labels),
        targets=targets,
        pipeline=samples.pipeline.to_list(),
        patch_size=sizes.patch,
        mode=sizes.mode,
        planes=samples.planes,
        context=samples.context,
    )
    loss, why_loss = plan_loss(config, targets, fingerprint)
    rate, why_rate = plan_rate(config)
    average, why_average = plan_average(config, accelerator, len(fingerprint.grids), batch)
    workers, why_workers = plan_workers(config, accelerator)
    augmentation = _augmentation(config, spec, samples.spacing)
    augment_on, why_augment_on = plan_place(config, augmentation, accelerator)
    return Plan(
        spec=spec,
        spacing=samples.spacing,
        batch_size=batch,
        accelerator=accelerator,
        precision=precision,
        augmentation=augmentation,
        loss=loss,
        class_weights=class_weights(config, targets, labels),
        learning_rate=rate,
        ema=average,
        workers=workers,
        augment_on=augment_on,
        parameters=needs.parameters,
        memory=needs.bytes(batch),
        reasons=(
            *reasons,
            *why_targets,
            *samples.reasons,
            *sizes.reasons,
            *why_batch,
            *why_loss,
            *why_rate,
            *why_average,
            *why_workers,
            *why_augment_on,
        ),
    )


def _fitting(
    config: TrainConfig, samples: Samples, in_channels: int, out_channels: int, accelerator: Accelerator, precision: Precision
) -> tuple[Sizes, int, Needs, list[Reason]]:
    """Return sizes, batch and needs of a step that the device has the memory for; a ConfigError where nothing fits."""
    free = free_memory(accelerator)
    wish = config.optimization.batch_size
    limit: float = PATCH_VOXELS[samples.dims][accelerator]
    sizes = plan_sizes(config, samples, in_channels, out_channels, accelerator)
    needs = needs_of(sizes.network, sizes.patch, precision)
    fewest = _FEWEST_PER_STEP if wish == "auto" else wish
    may_shrink = config.sampling.patch_size == "auto" and sizes.mode == "patches"
    while may_shrink and needs.most(free) < fewest and limit * _SHRINK >= _FEWEST_VOXELS[samples.dims]:
        limit *= _SHRINK
        sizes = plan_sizes(config, samples, in_channels, out_channels, accelerator, limit)
        needs = needs_of(sizes.network, sizes.patch, precision)
    batch = min(_usual_batch(sizes, accelerator), max(1, needs.most(free))) if wish == "auto" else wish
    if batch > needs.most(free):
        raise ConfigError(
            f"{batch} {'sample' if batch == 1 else 'samples'} of {' x '.join(map(str, sizes.patch))} voxels need about "
            f"{needs.bytes(batch) / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free.",
            "Choose a smaller patch or batch, fewer features, or a larger spacing.",
        )
    if wish != "auto":
        return sizes, batch, needs, []
    why = f"{batch * int(np.prod(sizes.patch)):,} voxels per step: more at once would be fewer steps for the same time."
    if batch < _usual_batch(sizes, accelerator):
        why = f"More does not fit into the {free / 1e9:.1f} GB that are free."
    return sizes, batch, needs, [Reason("optimization.batch_size", batch, why)]


def _usual_batch(sizes: Sizes, accelerator: Accelerator) -> int:
    fitting = round(_STEP_VOXELS[accelerator] / int(np.prod(sizes.patch)))
    return int(np.clip(fitting, _FEWEST_PER_STEP, MOST_PER_STEP[sizes.network.dims]))


def _augmentation(config: TrainConfig, spec: ModelSpec, spacing: tuple[float, float, float]) -> Pipeline | None:
    """Return the augmentation; a ConfigError says where it would not leave a sample as large as the network wants it."""
    if not config.sampling.augmentation:
        return None
    if config.transforms.augmentation == "auto":
        return augmentation_pipeline()
    pipeline = Pipeline.from_list(config.transforms.augmentation)
    steps = in_plane(pipeline, spec.planes[0]) if spec.network.dims == 2 else pipeline
    made = grid_after(steps, Grid(spec.patch_size, np.diag([*spacing, 1.0]))).shape
    channels = channels_after(steps, spec.network.in_channels)
    if made != spec.patch_size or channels != spec.network.in_channels:
        raise ConfigError(
            f"The augmentation makes {' x '.join(map(str, made))} voxels and {channels} channels of a sample of "
            f"{' x '.join(map(str, spec.patch_size))} and {spec.network.in_channels}.",
            "Move steps that change the size to the preprocessing, or let them end at the size of the sample.",
        )
    return pipeline if pipeline.enabled else None
