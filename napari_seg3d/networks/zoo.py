"""The zoo: every network by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_seg3d.errors import ConfigError
from napari_seg3d.networks.cascade import CASCADE_ROI, CASCADE_UNET
from napari_seg3d.networks.dynunet import DYNUNET
from napari_seg3d.networks.info import NetworkInfo
from napari_seg3d.networks.monai_networks import ATTENTIONUNET, MEDNEXT, SEGRESNET, SWINUNETR, UNETR
from napari_seg3d.networks.unets import NODULE_UNET, SPINE_UNET, TORCHIO_UNET
from napari_seg3d.networks.vnet import MINI_VNET, VNET

if TYPE_CHECKING:
    from torch import nn

    from napari_seg3d.networks.spec import NetworkSpec

#: Name -> network, in the order in which a form offers them.
NETWORKS: dict[str, NetworkInfo] = {
    info.name: info
    for info in (
        DYNUNET,
        TORCHIO_UNET,
        SPINE_UNET,
        NODULE_UNET,
        CASCADE_UNET,
        CASCADE_ROI,
        VNET,
        MINI_VNET,
        SEGRESNET,
        UNETR,
        SWINUNETR,
        ATTENTIONUNET,
        MEDNEXT,
    )
}


def network_names(dims: int | None = None) -> tuple[str, ...]:
    """Return the names of all networks, or of those that take samples of so many dimensions."""
    return tuple(name for name, info in NETWORKS.items() if dims is None or dims in info.dims)


def network_info(name: str) -> NetworkInfo:
    """Return what is known of a network; a ConfigError names the others if there is none of this name."""
    if name not in NETWORKS:
        raise ConfigError(f"There is no network {name!r}.", f"Choose one of {', '.join(NETWORKS)}.")
    return NETWORKS[name]


def build_network(spec: NetworkSpec) -> nn.Module:
    """Return a new network with random weights, in the memory layout that suits convolutions.

    Input ``(N, in_channels, *sides)`` with as many sides as `spec.dims`, each divisible by `spec.divisor` (see `check_sides`); output
    logits ``(N, out_channels, *sides)``, or ``(N, out_channels, *(sides / divisor))`` where the network answers at its deepest level.
    In training mode with deep supervision: a list of logits, those on the voxels of the input first, then coarser and coarser ones.
    """
    import torch

    from napari_seg3d.networks.modules.norms import use_own_norms

    network = NETWORKS[spec.name].build(spec)
    use_own_norms(network)
    network.spec = spec  # type: ignore[assignment]  # no module, but `load_pretrained` asks the network what it is
    # Channels last is a quarter faster on CPUs and suits tensor cores; the layout stays with the weights on any device.
    return network.to(memory_format=torch.channels_last if spec.dims == 2 else torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]
