"""`Plan`: a config with every `auto` resolved, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from napari_seg3d.inference import Accelerator, ModelSpec, Precision, device_name
from napari_seg3d.training.losses import LossName
from napari_seg3d.transforms import Pipeline


@dataclass(frozen=True)
class Reason:
    """What `auto` became, and why.

    Parameters
    ----------
    setting : str
        Dotted name of the setting that would decide otherwise.
    value : plain value
        What it became.
    why : str
        For a person, in a sentence.
    """

    setting: str
    value: Any
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Return this reason as plain values."""
        return {"setting": self.setting, "value": self.value, "why": self.why}


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
        Samples per step.
    accelerator, precision : str
        Where and how to compute.
    augmentation : Pipeline or None
        Random changes of every sample.
    loss : str
        Name for `build_loss`.
    class_weights : tuple of float or None
        How much each output channel counts in the loss; None: all the same.
    learning_rate : float
        The highest one.
    ema : float
        Decay of the average of the weights; 0: none.
    workers : int
        Loader processes.
    augment_on : {"loader", "device"}
        Where random changes are computed.
    parameters : int
        Weights of the network.
    memory : int
        Bytes that a step needs, estimated or, after a trial on the device, measured.
    reasons : tuple of Reason
        Why each `auto` became what it is.
    """

    spec: ModelSpec
    spacing: tuple[float, float, float]
    batch_size: int
    accelerator: Accelerator
    precision: Precision
    augmentation: Pipeline | None
    loss: LossName
    class_weights: tuple[float, ...] | None
    learning_rate: float
    ema: float
    workers: int
    augment_on: Literal["loader", "device"]
    parameters: int
    memory: int
    reasons: tuple[Reason, ...] = ()

    @property
    def sides(self) -> tuple[int, ...]:
        """Size of a sample: two sides of a slice, or three of a volume."""
        return self.spec.patch_size[: self.spec.network.dims]

    def as_event(self) -> dict[str, Any]:
        """Return the plan as plain values for people to read."""
        return {
            "device": device_name(self.accelerator),
            "precision": self.precision,
            "spacing": [round(edge, 4) for edge in self.spacing],
            "patch_size": list(self.spec.patch_size),
            "batch_size": self.batch_size,
            "labels": {str(value): name for value, name in self.spec.labels.items()},
            "targets": self.spec.targets,
            "dims": self.spec.network.dims,
            "network": self.spec.network.name,
            "features": list(self.spec.network.features),
            "parameters": self.parameters,
            "loss": self.loss,
            "learning_rate": self.learning_rate,
            "memory": self.memory,
            "reasons": [reason.as_dict() for reason in self.reasons],
        }
