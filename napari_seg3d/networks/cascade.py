"""The two networks of the cascade: `cascade-roi` finds the object, `cascade-unet` segments it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_seg3d.networks.info import NetworkInfo
from napari_seg3d.networks.options import Option

if TYPE_CHECKING:
    from torch import nn

    from napari_seg3d.networks.spec import NetworkSpec

_NOISE = Option(
    "noise", "number", 0.1, "Input noise", "Standard deviation of the noise added to the normalised image while training.", 0, 1
)
_SOURCE = "Keras code of the runner-up of the Medical Segmentation Decathlon 2018 (team K.A.V.athlon)"
_PAPER = "Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022; Hu et al., Squeeze-and-Excitation, CVPR 2018"


def _unet(spec: NetworkSpec) -> nn.Module:
    from napari_seg3d.networks.modules.cascade import CascadeUNet

    return CascadeUNet(spec)


def _roi(spec: NetworkSpec) -> nn.Module:
    from napari_seg3d.networks.modules.cascade import CascadeROI

    return CascadeROI(spec)


def _one_answer(spec: NetworkSpec) -> None:
    if spec.out_channels != 1:
        raise ValueError(f"cascade-roi says where something is, and has 1 output channel, not {spec.out_channels}")


CASCADE_UNET = NetworkInfo(
    name="cascade-unet",
    title="Cascade: segment",
    description="Residual squeeze-and-excitation U-Net that takes any size: the second network of a cascade, or alone.",
    features=(32, 64, 128, 256),
    build=_unet,
    paper=_PAPER,
    source=_SOURCE,
    sides="any",
    options=(_NOISE,),
)
CASCADE_ROI = NetworkInfo(
    name="cascade-roi",
    title="Cascade: find",
    description="Says in coarse voxels where the object is: the first network of a cascade, never alone.",
    features=(32, 64, 128, 256),
    build=_roi,
    paper=_PAPER,
    source=_SOURCE,
    channels=(1, 1),
    answers="deepest",
    options=(_NOISE,),
    check=_one_answer,
)
