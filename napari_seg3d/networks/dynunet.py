"""`dynunet`: the U-Net that fits its steps to the voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_seg3d.networks.info import NetworkInfo
from napari_seg3d.networks.options import Option

if TYPE_CHECKING:
    from torch import nn

    from napari_seg3d.networks.spec import NetworkSpec


def _build(spec: NetworkSpec) -> nn.Module:
    from napari_seg3d.networks.modules.dynunet import DynUNet

    return DynUNet(spec)


DYNUNET = NetworkInfo(
    name="dynunet",
    title="DynUNet",
    description="U-Net with strided convolutions, instance norm and leaky ReLU whose steps fit the voxels: right for nearly everything.",
    features=(16, 32, 64, 128),
    build=_build,
    paper="Isensee et al., nnU-Net, Nature Methods 2021",
    source="MONAI DynUNet",
    levels=(3, 8),
    deep_supervision=False,
    options=(
        Option("residual", "flag", False, "Residual blocks", "Each block adds its input to its output, as in newer nnU-Nets."),
        Option("dropout", "number", 0.0, "Dropout", "Share of the features left out at random while training.", 0, 0.9),
    ),
)
