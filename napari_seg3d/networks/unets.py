"""U-Nets as three known systems have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_seg3d.networks.info import NetworkInfo
from napari_seg3d.networks.options import DROPOUT

if TYPE_CHECKING:
    from torch import nn

    from napari_seg3d.networks.spec import NetworkSpec


def _torchio(spec: NetworkSpec) -> nn.Module:
    from napari_seg3d.networks.modules.unets import torchio_unet

    return torchio_unet(spec)


def _spine(spec: NetworkSpec) -> nn.Module:
    from napari_seg3d.networks.modules.unets import spine_unet

    return spine_unet(spec)


def _nodule(spec: NetworkSpec) -> nn.Module:
    from napari_seg3d.networks.modules.unets import nodule_unet

    return nodule_unet(spec)


TORCHIO_UNET = NetworkInfo(
    name="torchio-unet",
    title="3D U-Net (TorchIO)",
    description="3D U-Net with pooling, batch norm and PReLU, of 19 million weights: whole volumes at a coarse spacing.",
    features=(32, 64, 128, 256),
    build=_torchio,
    paper="Çiçek et al., 3D U-Net, MICCAI 2016",
    source="github.com/fepegar/unet, as used in TorchIO's tutorial",
    options=(DROPOUT,),
)
SPINE_UNET = NetworkInfo(
    name="spine-unet",
    title="2D U-Net (spine X-ray)",
    description="The classical U-Net with batch norm, 64 to 512 filters and 1024 at the bottom: radiographs and slices.",
    features=(64, 128, 256, 512, 1024),
    build=_spine,
    paper="Ronneberger et al., U-Net, MICCAI 2015",
    dims=(2, 3),
    channels=(1, 7),
    options=(DROPOUT,),
)
NODULE_UNET = NetworkInfo(
    name="nodule-unet",
    title="2.5D U-Net (lung nodules)",
    description="A small U-Net that scales the image by itself (batch norm on the input): small objects in slices with their neighbours.",
    features=(16, 32, 64),
    build=_nodule,
    paper="Ronneberger et al., U-Net, MICCAI 2015",
    source="github.com/jvanvugt/pytorch-unet, as used in Stevens et al., Deep Learning with PyTorch",
    dims=(2, 3),
    channels=(7, 1),
)
