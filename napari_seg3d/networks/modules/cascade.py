"""The networks of the Decathlon's runner-up: one finds the object, one segments it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, cat, nn, randn_like

from napari_seg3d.networks.modules.blocks import INSTANCE_NORM, MAX_POOL, convolution, up_convolution

if TYPE_CHECKING:
    from napari_seg3d.networks.spec import NetworkSpec

_NEGATIVE_SLOPE = 0.3
_SQUEEZE = 16


class GaussianNoise(nn.Module):
    """Adds noise to the image while training."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, image: Tensor) -> Tensor:
        """Return the image, while training with noise."""
        return image + self.deviation * randn_like(image) if self.training else image


class SqueezeExcitation(nn.Module):
    """Weighs each channel by what all channels are on average (Hu et al., CVPR 2018)."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        squeezed = max(1, channels // _SQUEEZE)
        self.weigh = nn.Sequential(
            nn.Linear(channels, squeezed), nn.ReLU(inplace=True), nn.Linear(squeezed, channels), nn.Sigmoid()
        )
        self.dims = dims

    def forward(self, features: Tensor) -> Tensor:
        """Return the features, each channel times its weight."""
        weights = self.weigh(features.flatten(2).mean(2))
        weighed: Tensor = features * weights.reshape(*weights.shape, *[1] * self.dims)
        return weighed


class ResidualBlock(nn.Module):
    """Two convolutions, weighed by channel, plus a convolution of the input."""

    def __init__(self, dims: int, before: int, after: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *_normed(dims, before, after),
            nn.LeakyReLU(_NEGATIVE_SLOPE),
            *_normed(dims, after, after),
            SqueezeExcitation(dims, after),
        )
        self.shortcut = nn.Sequential(*_normed(dims, before, after))
        self.activation = nn.LeakyReLU(_NEGATIVE_SLOPE)

    def forward(self, features: Tensor) -> Tensor:
        """Return the sum of both ways."""
        result: Tensor = self.activation(self.convolutions(features) + self.shortcut(features))
        return result


class Encoder(nn.Module):
    """Features of every level, finest first, of an image of any size: an odd side is rounded up by the pooling."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        dims, features = spec.dims, spec.features
        self.noise = GaussianNoise(float(spec.options["noise"]))  # type: ignore[arg-type]
        self.first = nn.Sequential(*_normed(dims, spec.in_channels, features[0]), nn.LeakyReLU(_NEGATIVE_SLOPE))
        self.steps = nn.ModuleList(
            nn.Sequential(MAX_POOL[dims](stride[:dims], ceil_mode=True), ResidualBlock(dims, before, after))
            for before, after, stride in zip(features, features[1:], spec.strides, strict=False)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of each level."""
        levels = [self.first(self.noise(image))]
        for step in self.steps:
            levels.append(step(levels[-1]))
        return levels


class CascadeUNet(nn.Module):
    """U-Net of residual squeeze-and-excitation blocks that takes images of any size.

    What comes from below is cropped to the size of what comes from the side before both are concatenated.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        dims, features = spec.dims, spec.features
        self.encoder = Encoder(spec)
        self.ups = nn.ModuleList(
            nn.Sequential(
                up_convolution(dims, below, width, stride, bias=False),
                INSTANCE_NORM[dims](width, affine=True),
                nn.LeakyReLU(_NEGATIVE_SLOPE),
            )
            for width, below, stride in zip(features, features[1:], spec.strides, strict=False)
        )
        finest = nn.Sequential(*_normed(dims, 2 * features[0], features[0]), nn.LeakyReLU(_NEGATIVE_SLOPE))
        self.joins = nn.ModuleList([finest, *(ResidualBlock(dims, 2 * width, width) for width in features[1:-1])])
        self.head = convolution(dims, features[0], spec.out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits on the voxels of the image."""
        *sides, features = self.encoder(image)
        for up, join, side in zip(reversed(self.ups), reversed(self.joins), reversed(sides), strict=True):
            above = up(features)
            cropped = above[(..., *(slice(size) for size in side.shape[2:]))]
            features = join(cat((side, cropped), 1))
        logits: Tensor = self.head(features)
        return logits


class CascadeROI(nn.Module):
    """The encoder alone, with a head on its deepest level that says where the object is."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.encoder = Encoder(spec)
        self.head = convolution(spec.dims, spec.features[-1], spec.out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return one logit for each voxel of the deepest level."""
        logits: Tensor = self.head(self.encoder(image)[-1])
        return logits


def _normed(dims: int, before: int, after: int) -> list[nn.Module]:
    return [convolution(dims, before, after, bias=False), INSTANCE_NORM[dims](after, affine=True)]
