"""`vnet`, and `mini-vnet`, its two finest levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_seg3d.networks.info import NetworkInfo
from napari_seg3d.networks.options import DROPOUT, Option, per_level

if TYPE_CHECKING:
    from torch import nn

    from napari_seg3d.networks.spec import NetworkSpec

_KERNEL = Option(
    "kernel",
    "choice",
    "3",
    "Kernel",
    "Voxels along each side of the convolutions; the paper has 5, for 4.6 times the weights.",
    choices=("3", "5"),
)
_PAPER = "Milletari et al., V-Net, 3DV 2016 (arXiv:1606.04797)"
_MEANING = "Convolutions of each stage on the way {}, finest first; the last number counts for the rest."


def _build(spec: NetworkSpec) -> nn.Module:
    from napari_seg3d.networks.modules.vnet import VNet

    levels = len(spec.features)
    return VNet(
        spec,
        per_level(spec.options["convolutions"], levels),
        per_level(spec.options["convolutions_up"], levels - 1),
        concatenates=spec.name == "vnet",
    )


VNET = NetworkInfo(
    name="vnet",
    title="V-Net",
    description="Residual sums at every level, 16 million weights: organs in volumes, on a GPU.",
    features=(16, 32, 64, 128, 256),
    build=_build,
    paper=_PAPER,
    channels=(1, 3),
    options=(
        Option("convolutions", "integers", [1, 2, 3, 3, 3], "Convolutions down", _MEANING.format("down"), 1, 8),
        Option("convolutions_up", "integers", [1, 2, 3, 3], "Convolutions up", _MEANING.format("up"), 1, 8),
        _KERNEL,
        DROPOUT,
    ),
)
MINI_VNET = NetworkInfo(
    name="mini-vnet",
    title="Mini V-Net",
    description="The two finest levels of a V-Net: a first look within minutes, also without a GPU. It sees few voxels around each.",
    features=(16, 32),
    build=_build,
    paper=_PAPER,
    channels=(1, 3),
    options=(
        Option("convolutions", "integers", [1, 2], "Convolutions down", _MEANING.format("down"), 1, 8),
        Option("convolutions_up", "integers", [1], "Convolutions up", _MEANING.format("up"), 1, 8),
        _KERNEL,
        DROPOUT,
    ),
)
