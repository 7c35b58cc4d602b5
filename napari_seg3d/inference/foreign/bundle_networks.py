"""The networks of MONAI that a bundle may ask for, with plain arguments."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_seg3d.errors import ModelError

if TYPE_CHECKING:
    import torch

Sides = tuple[int, int, int]
_LARGEST_NUMBER = 8192
_AGAIN = "Get the model from its makers again."
# Its constructor reads values, which a network without memory has not.
_READS_VALUES = "SwinUNETR"
# Of these arguments, one is a download and the others are code.
_REFUSED = ("pretrained", "preprocess", "norm_layer")
# Arguments of earlier releases that changed nothing but checks.
_GONE = {"SwinUNETR": ("img_size",), "UNETR": ("pos_embed",)}


def _halved(levels: int) -> Callable[[Mapping[str, Any]], Sides]:
    return lambda _: (2**levels,) * 3


def _by_strides(arguments: Mapping[str, Any]) -> Sides:
    strides = [stride if isinstance(stride, list) else [stride] * 3 for stride in arguments["strides"]]
    i, j, k = (int(side) for side in np.prod(np.array(strides), axis=0))
    return i, j, k


def _by_blocks(arguments: Mapping[str, Any]) -> Sides:
    return (2 ** (len(arguments.get("blocks_down", (1, 2, 2, 4))) - 1),) * 3


#: Name -> what the sides of its input must be divisible by.
NETWORKS: dict[str, Callable[[Mapping[str, Any]], Sides]] = {
    "UNet": _by_strides,
    "BasicUNet": _halved(4),
    "DynUNet": _by_strides,
    "SegResNet": _by_blocks,
    "SegResNetDS": _by_blocks,
    "AttentionUnet": _by_strides,
    "VNet": _halved(4),
    "UNETR": _halved(4),
    "SwinUNETR": _halved(5),
    "FlexibleUNet": _halved(5),
}


def network_of(
    name: str, arguments: dict[str, Any], where: str, weights: Mapping[str, torch.Tensor]
) -> tuple[torch.nn.Module, Sides]:
    """Return a network of MONAI, and what the sides of its input must be divisible by.

    Parameters
    ----------
    name : str
        Its class.
    arguments : dict
        Plain values.
    where : str
        What to call the place that asks for it in an error.
    weights : mapping of str to tensor
        Its state.

    Raises
    ------
    ModelError
        It is not on the list, cannot be made with these arguments, or the weights are not its own.
    """
    if name not in NETWORKS:
        raise ModelError(f"{where} asks for the network {name}, which is not known.", f"Known are {', '.join(NETWORKS)}.")
    from monai.networks import nets

    maker = getattr(nets, name)
    given = {key: value for key, value in arguments.items() if key not in _GONE.get(name, ())}
    refused = [key for key in given if key not in inspect.signature(maker).parameters or (key in _REFUSED and given[key])]
    if refused:
        raise ModelError(f"{where}: {name} does not take {', '.join(refused)} here.", "Remove that from the file.")
    given = {key: value for key, value in given.items() if key not in _REFUSED}
    _check_size(given, where)
    if given.get("spatial_dims", 2 if name == "FlexibleUNet" else 3) != 3:
        raise ModelError(f"{where}: the network sees slices.", "Only bundles of 3D networks can be used.")
    try:
        if name != _READS_VALUES:
            check_weights(name, shapes_of(maker, given), weights, where)
        elif given.get("feature_size", 24) > max((max(weight.shape, default=0) for weight in weights.values()), default=0):
            raise ModelError(f"The weights are not of a {name} with {given['feature_size']} features ({where}).", _AGAIN)
        network = maker(**given)
        check_weights(name, {key: value.shape for key, value in network.state_dict().items()}, weights, where)
        network.load_state_dict(weights)
        return network, NETWORKS[name](given)
    except ModelError:
        raise
    except Exception as error:  # MONAI checks arguments with whatever comes to hand
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{where}: {name} cannot be made with these arguments ({reason}).", "Check them.") from error


def shapes_of(maker: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shape of each weight without any memory for it: a few words in a file could ask for more than there is."""
    import torch

    with torch.device("meta"):
        return {key: value.shape for key, value in maker(**given).state_dict().items()}


def check_weights(name: str, shapes: Mapping[str, Any], weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Refuse weights that are not of the shapes that a network has; a ModelError names the first that is not."""
    wrong = next((key for key in (*shapes, *weights) if key not in shapes or key not in weights), None)
    if wrong is None:
        wrong = next((key for key, shape in shapes.items() if weights[key].shape != shape), None)
    if wrong is not None:
        raise ModelError(
            f"The weights do not fit the {name} of {where} ({wrong} is missing or of another shape).",
            _AGAIN,
        )


def _check_size(value: Any, where: str) -> None:
    """Refuse numbers that would fill the memory before anybody has looked at the weights."""
    if isinstance(value, Mapping):
        for one in value.values():
            _check_size(one, where)
    elif isinstance(value, list):
        if len(value) > 32:
            raise ModelError(f"{where} holds a list of {len(value)} values.", "Do not use this file.")
        for one in value:
            _check_size(one, where)
    elif isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= _LARGEST_NUMBER):
        raise ModelError(f"{where} holds the number {value}, which no network needs.", "Do not use this file.")
