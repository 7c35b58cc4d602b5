"""`NetworkInfo`: what a network of the zoo is, can do and may be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_seg3d.networks.options import Option

if TYPE_CHECKING:
    from torch import nn

    from napari_seg3d.networks.spec import NetworkName, NetworkSpec


def _anything(spec: NetworkSpec) -> None:
    pass


@dataclass(frozen=True)
class NetworkInfo:
    """One network of the zoo.

    Parameters
    ----------
    name : NetworkName
        What `NetworkSpec.name` and the settings call it.
    title, description : str
        For people: its name, and what it is good for.
    features : tuple of int
        Filters per level by default, finest first.
    build : callable
        Spec -> the network with random weights. Only here is torch imported.
    paper : str
        Where it was published.
    source : str
        The implementation that the layout follows.
    dims : tuple of int
        2 for slices, 3 for volumes; first what it was published for.
    channels : (int, int)
        Of the image and of the output, in the system that it comes from; only for showing it.
    levels : (int, int)
        How many levels it may have, at least and at most.
    features_rule : {"any", "doubling"}
        Whether features are free, or double from level to level so that only the first counts.
    strides : {"any", "two"}
        Whether an axis may be left whole on the way down (thick slices), or every step halves every axis.
    sides : {"divisible", "any", "fixed"}
        Whether the sides of the input must be divisible by `NetworkSpec.divisor`, may be any, or are an option of the network.
    deep_supervision : bool or None
        Whether its coarse levels answer while training, by default; None: they cannot.
    answers : {"voxels", "deepest"}
        Where its output lies: on the voxels of the input, or on those of its deepest level.
    options : tuple of Option
        What only this network knows.
    check : callable
        Raises ValueError for a spec that its other fields do not refuse.
    """

    name: NetworkName
    title: str
    description: str
    features: tuple[int, ...]
    build: Callable[[NetworkSpec], nn.Module]
    paper: str
    source: str = ""
    dims: tuple[int, ...] = (3, 2)
    channels: tuple[int, int] = (1, 2)
    levels: tuple[int, int] = (2, 8)
    features_rule: Literal["any", "doubling"] = "any"
    strides: Literal["any", "two"] = "any"
    sides: Literal["divisible", "any", "fixed"] = "divisible"
    deep_supervision: bool | None = None
    answers: Literal["voxels", "deepest"] = "voxels"
    options: tuple[Option, ...] = ()
    check: Callable[[NetworkSpec], None] = _anything
