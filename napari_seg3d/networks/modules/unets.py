"""Three published U-Nets, which differ in norm, activation, bias and widths."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

from napari_seg3d.networks.modules.blocks import (
    BATCH_NORM,
    MAX_POOL,
    UNet,
    convolution,
    dropout,
    up_convolution,
)

if TYPE_CHECKING:
    from napari_seg3d.networks.spec import NetworkSpec


def torchio_unet(spec: NetworkSpec) -> UNet:
    """Return the 3D U-Net of Çiçek et al. (MICCAI 2016) as TorchIO's tutorial takes it from the package ``unet``.

    In 3D the second convolution of each encoding block doubles the channels before the pooling, and the transposed convolutions keep
    theirs; in 2D both convolutions have the same width, as in the U-Net of 2015. Padded convolutions, batch norm, PReLU; the very first
    convolution has no norm.
    """
    dims, share = spec.dims, float(spec.options["dropout"])  # type: ignore[arg-type]
    widths = [2 * width if dims == 3 else width for width in spec.features]

    def layer(before: int, after: int, norm: bool = True) -> list[nn.Module]:
        norms = [BATCH_NORM[dims](after)] if norm else []
        return [convolution(dims, before, after, bias=not norm), *norms, nn.PReLU(), *dropout(dims, share)]

    down = [
        nn.Sequential(*layer(before, first, norm=level > 0), *layer(first, second))
        for level, (before, first, second) in enumerate(zip([spec.in_channels, *widths], spec.features, widths, strict=False))
    ]
    joins = [nn.Sequential(*layer(below + width, width), *layer(width, width)) for width, below in pairwise(widths)]
    return UNet(
        down=down,
        pools=[MAX_POOL[dims](stride[:dims]) for stride in spec.strides],
        ups=[up_convolution(dims, below, below, stride) for below, stride in zip(widths[1:], spec.strides, strict=True)],
        joins=joins,
        head=convolution(dims, widths[0], spec.out_channels, 1),
    )


def spine_unet(spec: NetworkSpec) -> UNet:
    """Return the U-Net of Ronneberger et al. (MICCAI 2015) with padded convolutions, batch norm and ReLU."""
    dims, share = spec.dims, float(spec.options["dropout"])  # type: ignore[arg-type]

    def block(before: int, after: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in (before, after):
            layers += [convolution(dims, width, after, bias=False), BATCH_NORM[dims](after), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, *dropout(dims, share))

    return _symmetric(spec, block)


def nodule_unet(spec: NetworkSpec) -> nn.Sequential:
    """Return a U-Net whose batch norms follow the ReLUs, behind a batch norm that scales the image itself."""
    dims = spec.dims

    def block(before: int, after: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in (before, after):
            layers += [convolution(dims, width, after), nn.ReLU(inplace=True), BATCH_NORM[dims](after)]
        return nn.Sequential(*layers)

    return nn.Sequential(BATCH_NORM[dims](spec.in_channels), _symmetric(spec, block, side_first=False))


def _symmetric(spec: NetworkSpec, block: Callable[[int, int], nn.Module], side_first: bool = True) -> UNet:
    """Return the U-Net of 2015: each step down doubles the width, and each step up halves it by its transposed convolution."""
    dims, features = spec.dims, spec.features
    return UNet(
        down=[block(before, after) for before, after in zip([spec.in_channels, *features], features, strict=False)],
        pools=[MAX_POOL[dims](stride[:dims]) for stride in spec.strides],
        ups=[
            up_convolution(dims, below, width, stride)
            for width, below, stride in zip(features, features[1:], spec.strides, strict=False)
        ],
        joins=[block(2 * width, width) for width in features[:-1]],
        head=convolution(dims, features[0], spec.out_channels, 1),
        side_first=side_first,
    )
