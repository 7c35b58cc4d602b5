"""V-Net: residual sums at every level, strided convolutions down, transposed ones up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, cat, nn

from napari_seg3d.networks.modules.blocks import BATCH_NORM, CONVOLUTION, convolution, dropout, up_convolution

if TYPE_CHECKING:
    from napari_seg3d.networks.spec import NetworkSpec


class Stage(nn.Module):
    """Convolutions with batch norm and PReLU; something is added before the last PReLU."""

    def __init__(self, dims: int, before: int, width: int, count: int, kernel: int, share: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(count):
            if number:
                layers.append(nn.PReLU())
            layers += [convolution(dims, width if number else before, width, kernel), BATCH_NORM[dims](width)]
        self.convolutions = nn.Sequential(*layers, *dropout(dims, share))
        self.activation = nn.PReLU()

    def forward(self, features: Tensor, added: Tensor) -> Tensor:
        """Return the convolved features plus `added`, activated."""
        result: Tensor = self.activation(self.convolutions(features) + added)
        return result


class VNet(nn.Module):
    """V-Net (Milletari et al., 3DV 2016) with batch norm, and convolutions of 3 voxels instead of 5 unless asked otherwise.

    Each stage of the decoder is as wide as the level below it and takes what the stage below it made, as in the paper: 256, 128, 64, 32
    filters for an encoder of 16, 32, 64, 128, 256. Features from the side are concatenated, or (``join="sum"``) added, repeated to as many
    channels. The image, too, is repeated to the width of the first stage and added to what that makes of it.
    """

    def __init__(
        self, spec: NetworkSpec, convolutions: Sequence[int], convolutions_up: Sequence[int], concatenates: bool
    ) -> None:
        super().__init__()
        dims, features, kernel = spec.dims, spec.features, int(str(spec.options["kernel"]))
        share = float(spec.options["dropout"])  # type: ignore[arg-type]
        self.widths = features
        self.concatenates = concatenates
        self.stages = nn.ModuleList(
            Stage(dims, width if level else spec.in_channels, width, count, kernel, share)
            for level, (width, count) in enumerate(zip(features, convolutions, strict=True))
        )
        self.downs = nn.ModuleList(
            nn.Sequential(
                CONVOLUTION[dims](width, below, stride[:dims], stride=stride[:dims], bias=False), BATCH_NORM[dims](below)
            )
            for width, below, stride in zip(features, features[1:], spec.strides, strict=False)
        )
        # A stage of the decoder gets as many channels from below as the stage below it is wide; the deepest has the encoder below it.
        wide = features[1:]
        self.ups = nn.ModuleList(
            up_convolution(dims, below, width, stride, bias=concatenates)
            for below, width, stride in zip([*wide[1:], wide[-1]], wide, spec.strides, strict=True)
        )
        self.joins = nn.ModuleList(
            Stage(dims, width + side if concatenates else width, width, count, kernel, share)
            for width, side, count in zip(wide, features, convolutions_up, strict=False)
        )
        self.head = convolution(dims, wide[0], spec.out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits on the voxels of the image."""
        sides = [self.stages[0](image, _repeated(image, self.widths[0]))]
        for down, stage in zip(self.downs, self.stages[1:], strict=True):
            below = down(sides[-1])
            sides.append(stage(below, below))
        features = sides.pop()
        for up, join, side in zip(reversed(self.ups), reversed(self.joins), reversed(sides), strict=True):
            above: Tensor = up(features)
            if self.concatenates:
                features = join(cat((above, side), 1), above)
            else:
                merged = above + _repeated(side, above.shape[1])
                features = join(merged, merged)
        logits: Tensor = self.head(features)
        return logits


def _repeated(features: Tensor, channels: int) -> Tensor:
    """Return the channels again and again until there are so many."""
    times = -(-channels // features.shape[1])
    return features.repeat(1, times, *[1] * (features.dim() - 2))[:, :channels]
