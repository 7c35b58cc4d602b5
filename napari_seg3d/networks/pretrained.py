"""`load_pretrained`: weights of an earlier model as the beginning of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_seg3d.errors import ModelError
from napari_seg3d.networks.spec import NetworkSpec
from napari_seg3d.networks.summary import meta_network
from napari_seg3d.networks.zoo import NETWORKS

if TYPE_CHECKING:
    from torch import Tensor, nn

_ANOTHER = "Choose a model that was made by the same network, with the same features and options."


@dataclass(frozen=True)
class Transferred:
    """What became of the weights of an earlier model.

    Parameters
    ----------
    loaded : tuple of str
        Names of the weights that were taken.
    remade : tuple of str
        Names of those that begin anew, because there are other labels or other image channels.
    message : str
        That in a sentence or two, for people.
    """

    loaded: tuple[str, ...]
    remade: tuple[str, ...]
    message: str


def load_pretrained(network: nn.Module, weights: Mapping[str, Tensor]) -> Transferred:
    """Give a network the weights of an earlier one that differs in nothing but its labels and its image channels.

    The layers that answer for other labels, or look at an image of other channels, keep their random weights. So do those of coarse
    levels that answer while training only, where one of both networks has none.

    Parameters
    ----------
    network : Module
        The new network, as `build_network` made it; its weights are changed.
    weights : mapping of str to Tensor
        The earlier ones, by name.

    Raises
    ------
    ModelError
        They are weights of another network. Nothing was changed.
    """
    spec: NetworkSpec = network.spec  # type: ignore[assignment]
    own = network.state_dict()
    heads, stems = _dependent(spec, "out_channels"), _dependent(spec, "in_channels")
    coarse = _only_in_training(spec)
    strange = sorted((own.keys() ^ weights.keys()) - coarse)
    if strange:
        where = "has no" if strange[0] in own else "has a"
        raise ModelError(f"These are not the weights of this {spec.name}: the model {where} {strange[0]}.", _ANOTHER)
    shared = own.keys() & weights.keys()
    other = {name for name in shared if own[name].shape != weights[name].shape}
    for name in sorted(other - heads - stems):
        theirs, ours = (" x ".join(map(str, found[name].shape)) for found in (weights, own))
        raise ModelError(f"These are not the weights of this {spec.name}: {name} is {theirs} there, and {ours} here.", _ANOTHER)
    taken = {name: weights[name] for name in own if name in shared and name not in other}
    network.load_state_dict(taken, strict=False)
    remade = tuple(name for name in own if name not in taken)
    return Transferred(tuple(taken), remade, _told(spec, weights, own, other & heads, other & stems))


def _told(spec: NetworkSpec, weights: Mapping[str, Tensor], own: Mapping[str, Tensor], heads: set[str], stems: set[str]) -> str:
    sentences = []
    for what, names, meant in (("last", heads, "output"), ("first", stems, "image")):
        if names:
            name = min(names, key=lambda name: (own[name].dim(), name))
            before, after = next((b, a) for b, a in zip(weights[name].shape, own[name].shape, strict=True) if b != a)
            sentences.append(f"The {what} layer is made anew: it was made for {before} {meant} channels, and here are {after}.")
    if not sentences:
        return f"All weights of the {spec.name} were taken."
    return " ".join([*sentences, "All other weights were taken."])


def _dependent(spec: NetworkSpec, channels: str) -> set[str]:
    """Return the names of the weights whose shape depends on a number of channels."""
    shapes = [
        {name: weight.shape for name, weight in meta_network(spec.model_copy(update=change)).state_dict().items()}
        for change in ({}, {channels: getattr(spec, channels) + 1})
    ]
    return {name for name, shape in shapes[0].items() if shapes[1][name] != shape}


def _only_in_training(spec: NetworkSpec) -> set[str]:
    """Return the names of the weights that are there with deep supervision only."""
    if NETWORKS[spec.name].deep_supervision is None:
        return set()
    without, having = (meta_network(spec.model_copy(update={"deep_supervision": on})).state_dict() for on in (False, True))
    return having.keys() - without.keys()
