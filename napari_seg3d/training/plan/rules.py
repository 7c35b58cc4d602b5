"""The rules that need no size: labels, loss, learning rate, average of the weights, loader processes, where samples are augmented."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from napari_seg3d.errors import ConfigError
from napari_seg3d.inference import Accelerator
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.losses import LossName
from napari_seg3d.training.plan.fingerprint import Fingerprint
from napari_seg3d.training.plan.plan import Reason
from napari_seg3d.training.samples.targets import settled
from napari_seg3d.transforms import Pipeline
from napari_seg3d.transforms.device import is_known

_RATES = {"adamw": 2e-3, "adam": 2e-3, "sgd": 1e-2}
_MOST_WORKERS = 8
# How fast steps may be expected to be before any was made: only to choose how far back the average of the weights reaches.
_STEPS_PER_SECOND = {"cpu": 1.0, "mps": 3.0, "cuda": 8.0}
_AVERAGED_SHARE, _SHORTEST_AVERAGE, _LONGEST_AVERAGE = 0.03, 5, 1000
_TINY = 1e-3


def plan_targets(config: TrainConfig, fingerprint: Fingerprint) -> tuple[Literal["exclusive", "overlapping"], list[Reason]]:
    """Return whether a voxel has one label at most."""
    kind = settled(config.targets, fingerprint.overlapping).kind
    chosen: Literal["exclusive", "overlapping"] = "overlapping" if kind == "overlapping" else "exclusive"
    if config.targets.kind != "auto":
        return chosen, []
    if chosen == "overlapping":
        why = "Labels of the masks overlap: each gets a channel of its own and a sigmoid."
    else:
        why = "No voxel of the masks has two labels: the network chooses one for each (softmax)."
    return chosen, [Reason("targets.kind", chosen, why)]


def plan_loss(config: TrainConfig, targets: str, fingerprint: Fingerprint) -> tuple[LossName, list[Reason]]:
    """Return the name of the loss."""
    if config.optimization.loss != "auto":
        return config.optimization.loss, []
    entropy = "cross-entropy" if targets == "exclusive" else "binary cross-entropy of each label"
    why = f"Dice finds also what is small, and {entropy} keeps the learning steady: the safe choice."
    rare = min(fingerprint.share, key=fingerprint.share.__getitem__, default=None)
    if (
        rare is not None
        and fingerprint.share[rare] < _TINY
        and config.sampling.draw == "mixed"
        and config.sampling.foreground > 0
    ):
        name, share = fingerprint.labels.get(rare) or str(rare), 100 * fingerprint.share[rare]
        drawn = f"{100 * config.sampling.foreground:.0f} %"
        why += f" {name} is {share:.2g} % of a scan; {drawn} of the patches are drawn around labels, each equally often."
    return "dice_ce", [Reason("optimization.loss", "dice_ce", why)]


def class_weights(config: TrainConfig, targets: str, labels: Mapping[int, str]) -> tuple[float, ...] | None:
    """Return a weight for each output channel; a ConfigError names a label that there is not."""
    wished = config.optimization.class_weights
    if not wished:
        return None
    unknown = sorted(set(wished) - {0, *labels})
    if unknown:
        raise ConfigError(
            f"Class weights name the label {unknown[0]}, which is not learnt.",
            f"The labels are {', '.join(map(str, sorted(labels)))}, and 0 is the background.",
        )
    values = sorted(labels) if targets == "overlapping" else [0, *sorted(labels)]
    return tuple(float(wished.get(value, 1.0)) for value in values)


def plan_rate(config: TrainConfig) -> tuple[float, list[Reason]]:
    """Return the highest learning rate."""
    wish = config.optimization
    if wish.learning_rate != "auto":
        return wish.learning_rate, []
    rate = _RATES[wish.optimizer]
    name = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}[wish.optimizer]
    return rate, [Reason("optimization.learning_rate", rate, f"What {name} usually learns fast and steadily with.")]


def plan_average(config: TrainConfig, accelerator: Accelerator, cases: int, batch: int) -> tuple[float, list[Reason]]:
    """Return the decay of the average of the weights."""
    wish = config.optimization
    if wish.ema != "auto":
        return wish.ema, []
    ends = [
        wish.max_iterations,
        wish.epochs * cases / batch if wish.epochs is not None else None,
        wish.minutes * 60 * _STEPS_PER_SECOND[accelerator] if wish.minutes is not None else None,
    ]
    steps = min(end for end in ends if end is not None)
    reach = min(max(_AVERAGED_SHARE * steps, _SHORTEST_AVERAGE), _LONGEST_AVERAGE)
    decay = round(1 - 1 / reach, 4)
    why = f"An average over about the last {reach:.0f} steps predicts better than the weights of a single one; longer runs look back further."
    return decay, [Reason("optimization.ema", decay, why)]


def plan_workers(config: TrainConfig, accelerator: Accelerator) -> tuple[int, list[Reason]]:
    """Return the number of loader processes."""
    if config.device.workers != "auto":
        return config.device.workers, []
    cores = (os.cpu_count() or 1) // config.device.devices
    if accelerator == "cpu":
        workers, why = 1, "One keeps up with a CPU, which needs its other cores to learn."
    else:
        workers = min(max(cores - 1, 1), _MOST_WORKERS)
        why = f"So that the GPU need not wait; {cores} cores for each."
    return workers, [Reason("device.workers", workers, why)]


def plan_place(
    config: TrainConfig, augmentation: Pipeline | None, accelerator: Accelerator
) -> tuple[Literal["loader", "device"], list[Reason]]:
    """Return where samples are changed at random.

    Raises
    ------
    ConfigError
        The device was asked for, and knows a step not.
    """
    wish = config.sampling.augment_on
    strange = [step.name for step in augmentation.enabled if not is_known(Pipeline((step,)))] if augmentation is not None else []
    if wish == "device" and strange:
        raise ConfigError(
            f"{', '.join(strange)} cannot be computed on the device, at least not with these parameters.",
            "Set Augment on to loader or auto, or leave the step out.",
        )
    if wish != "auto":
        return wish, []
    if accelerator != "cuda" or augmentation is None:
        return "loader", []
    if strange:
        return "loader", [Reason("sampling.augment_on", "loader", f"The GPU does not know {', '.join(strange)}.")]
    return "device", [Reason("sampling.augment_on", "device", "The GPU knows all steps, and the loader has less to do.")]
