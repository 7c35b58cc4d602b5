"""A `Step` -> the torchio transform that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    import torchio

    from napari_seg3d.transforms.pipeline import Step

#: What image and mask are called in a torchio subject.
IMAGE, MASK = "image", "mask"
_AFFINE = (
    "scales",
    "degrees",
    "translation",
    "isotropic",
    "center",
    "default_pad_value",
    "image_interpolation",
    "label_interpolation",
)
_ELASTIC = ("num_control_points", "max_displacement", "locked_borders", "image_interpolation", "label_interpolation")


def build(step: Step) -> torchio.Transform:
    """Return the transform that runs a step.

    Raises
    ------
    ConfigError
        HistogramStandardization has not been fitted, or torchio refuses the parameters.
    """
    import torchio

    from napari_seg3d.transforms import own

    arguments: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in step.values.items()}
    arguments["p"] = step.probability
    try:
        if step.name in _SPECIAL:
            arguments = _SPECIAL[step.name](step, arguments)
        if arguments.get("masking_method") == "mean":
            arguments["masking_method"] = torchio.ZNormalization.mean
        return (own.TRANSFORMS.get(step.name) or getattr(torchio, step.name))(**arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"{step.name} cannot be used with {dict(step.parameters)}: {error}.", "Correct its parameters."
        ) from error


def _one_of(step: Step, arguments: dict[str, Any]) -> dict[str, Any]:
    weights = arguments["weights"] or (1.0,) * len(step.inside)
    inside = [each for each in zip(step.inside, weights, strict=True) if each[0].enabled]
    if not any(weight for _, weight in inside):
        raise ConfigError(f"All steps of {step.name} are switched off.", "Switch one of them on, or the whole step off.")
    return {"transforms": {build(each): weight for each, weight in inside}, "p": arguments["p"]}


def _histogram(step: Step, arguments: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    if arguments["landmarks"] is None:
        raise ConfigError(
            "HistogramStandardization has no landmarks yet.",
            "Fit it to the training cases first; a training run does that by itself.",
        )
    return {**arguments, "landmarks": {IMAGE: np.array(arguments["landmarks"], dtype=np.float64)}}


def _affine_elastic(step: Step, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "affine_first": arguments["affine_first"],
        "affine_kwargs": {name: arguments[name] for name in _AFFINE},
        "elastic_kwargs": {name: arguments[name] for name in _ELASTIC},
        "p": arguments["p"],
    }


def _from_labels(step: Step, arguments: dict[str, Any]) -> dict[str, Any]:
    return {**arguments, "label_key": MASK, "image_key": IMAGE}


def _mask(step: Step, arguments: dict[str, Any]) -> dict[str, Any]:
    return {**arguments, "masking_method": MASK}


_SPECIAL: dict[str, Callable[[Step, dict[str, Any]], dict[str, Any]]] = {
    "OneOf": _one_of,
    "HistogramStandardization": _histogram,
    "RandomAffineElasticDeformation": _affine_elastic,
    "RandomLabelsToImage": _from_labels,
    "Mask": _mask,
}
