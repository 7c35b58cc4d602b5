"""Networks by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_seg3d.networks.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn


def build_network(spec: NetworkSpec) -> nn.Module:
    """Return a new network with random weights.

    ``unet3d`` is a 3D U-Net (Çiçek et al., MICCAI 2016) with strided convolutions, instance norm and leaky ReLU: MONAI's DynUNet.
    Input ``(N, in_channels, I, J, K)`` with sides divisible by `spec.divisor`, output logits ``(N, out_channels, I, J, K)``.
    """
    import torch
    from monai.networks.nets import DynUNet

    network = DynUNet(
        spatial_dims=3,
        in_channels=spec.in_channels,
        out_channels=spec.out_channels,
        kernel_size=[(3, 3, 3)] * len(spec.features),
        strides=[(1, 1, 1), *spec.strides],
        upsample_kernel_size=list(spec.strides),
        filters=list(spec.features),
        norm_name=("INSTANCE", {"affine": True}),
        act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
    )
    # Channels last is a quarter faster on CPUs and suits tensor cores; the layout stays with the weights on any device.
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[no-any-return]
