"""Parts that several networks share, for slices and for volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, cat, nn

_ByDims = Mapping[int, Callable[..., nn.Module]]  # 2 or 3 -> the layer for slices or volumes

CONVOLUTION: _ByDims = {2: nn.Conv2d, 3: nn.Conv3d}
UP_CONVOLUTION: _ByDims = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL: _ByDims = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
BATCH_NORM: _ByDims = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORM: _ByDims = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
CHANNEL_DROPOUT: _ByDims = {2: nn.Dropout2d, 3: nn.Dropout3d}


def convolution(dims: int, before: int, after: int, size: int = 3, bias: bool = True) -> nn.Module:
    """Return a convolution of `size` voxels along each axis that keeps the sides."""
    return CONVOLUTION[dims](before, after, size, padding=size // 2, bias=bias)


def up_convolution(dims: int, before: int, after: int, stride: Sequence[int], bias: bool = True) -> nn.Module:
    """Return a transposed convolution that undoes a step down by `stride`."""
    step = tuple(stride[:dims])
    return UP_CONVOLUTION[dims](before, after, step, stride=step, bias=bias)


def dropout(dims: int, share: float) -> list[nn.Module]:
    """Return a layer that leaves whole channels out while training, or nothing for a share of 0."""
    return [CHANNEL_DROPOUT[dims](share)] if share else []


class UNet(nn.Module):
    """The U of every U-Net here: down by pooling, up by transposed convolutions, features of equal size concatenated.

    Parameters
    ----------
    down : sequence of modules
        One block per level, finest first.
    pools : sequence of modules
        What shrinks between the levels.
    ups : sequence of modules
        What enlarges, finest first, to the size of the level above.
    joins : sequence of modules
        One block per level but the coarsest, finest first, for the features from above and from the side.
    head : module
        Features of the finest level -> logits.
    side_first : bool
        Whether the features from the side stand before those from below.
    """

    def __init__(
        self,
        down: Sequence[nn.Module],
        pools: Sequence[nn.Module],
        ups: Sequence[nn.Module],
        joins: Sequence[nn.Module],
        head: nn.Module,
        side_first: bool = True,
    ) -> None:
        super().__init__()
        self.down, self.pools = nn.ModuleList(down), nn.ModuleList(pools)
        self.ups, self.joins = nn.ModuleList(ups), nn.ModuleList(joins)
        self.head = head
        self.side_first = side_first

    def forward(self, image: Tensor) -> Tensor:
        """Return logits on the voxels of the image."""
        sides: list[Tensor] = []
        features = image
        for block, pool in zip(self.down[:-1], self.pools, strict=True):
            sides.append(block(features))
            features = pool(sides[-1])
        features = self.down[-1](features)
        for up, join, side in zip(reversed(self.ups), reversed(self.joins), reversed(sides), strict=True):
            features = up(features)
            features = join(cat((side, features) if self.side_first else (features, side), 1))
        logits: Tensor = self.head(features)
        return logits
