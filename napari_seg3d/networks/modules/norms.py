"""Instance norm: right for a single sample, and as fast as a CPU allows where the channels of a voxel lie side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm


def use_own_norms(network: nn.Module) -> None:
    """Replace the instance norms of a network by `InstanceNorm`, which computes the same; the weights stay, and so do their names."""
    for parent in list(network.modules()):
        for name, norm in parent.named_children():
            if isinstance(norm, nn.InstanceNorm2d | nn.InstanceNorm3d) and not norm.track_running_stats:
                own = InstanceNorm(norm.num_features, norm.eps, affine=norm.affine)
                own.weight, own.bias, own.training = norm.weight, norm.bias, norm.training
                setattr(parent, name, own)


class InstanceNorm(_InstanceNorm):
    """Brings each channel of each sample to mean 0 and variance 1, then scales and shifts it (Ulyanov et al., arXiv 1607.08022).

    Torch's own (2.13) has a wrong gradient for a batch of one sample whose gradient comes in channels-last layout, on a CPU; its batch norm,
    which is the same thing for one sample, has the right one. And in that layout it copies a batch there and back, each time, forward and
    backward; here sums over voxels are products with a row of ones, and nothing is copied.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return features ``(N, C, ...)`` of the same shape, type and layout."""
        if torch.compiler.is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return nn.functional.instance_norm(features, weight=self.weight, bias=self.bias, eps=self.eps)
        if _lies_well(features):
            weight = self.weight if self.affine else features.new_ones(self.num_features)
            bias = self.bias if self.affine else features.new_zeros(self.num_features)
            result: Tensor = _ChannelsLastNorm.apply(features, weight, bias, self.eps)  # type: ignore[no-untyped-call]
            return result
        if len(features) == 1:
            return nn.functional.batch_norm(features, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return nn.functional.instance_norm(features, weight=self.weight, bias=self.bias, eps=self.eps)


def _lies_well(features: Tensor) -> bool:
    if features.device.type != "cpu" or features.dtype not in (torch.float32, torch.float64) or features.ndim not in (4, 5):
        return False
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return False
    layout = torch.channels_last if features.ndim == 4 else torch.channels_last_3d
    # A single voxel has no variance, which torch refuses in its own words.
    return features.is_contiguous(memory_format=layout) and features[0, 0].numel() > 1


class _ChannelsLastNorm(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        voxels, shape = _voxels_and_shape(features)
        # Centred first: a variance from the squares of large numbers would lose its digits.
        centred = features - (_sums(features) / voxels).view(shape)
        scale = torch.rsqrt(_sums(centred * centred) / voxels + eps)
        context.save_for_backward(centred, weight, scale)
        return torch.addcmul(bias.view(1, *shape[1:]), centred, (scale * weight).view(shape))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        centred, weight, scale = context.saved_tensors
        voxels, shape = _voxels_and_shape(centred)
        layout = torch.channels_last if centred.ndim == 4 else torch.channels_last_3d
        gradient = gradients[0].contiguous(memory_format=layout)
        of_bias = _sums(gradient)
        of_weight = _sums(gradient * centred) * scale
        factor = scale * weight
        constant, slope = -factor * of_bias / voxels, -factor * of_weight * scale / voxels
        moved = torch.addcmul(constant.view(shape), centred, slope.view(shape)).addcmul_(gradient, factor.view(shape))
        return moved, of_weight.sum(0), of_bias.sum(0), None


def _voxels_and_shape(features: Tensor) -> tuple[int, tuple[int, ...]]:
    """Return how many voxels a channel has, and the shape in which a number per channel meets them."""
    count, channels, *sides = features.shape
    return features[0, 0].numel(), (count, channels, *[1] * len(sides))


def _sums(features: Tensor) -> Tensor:
    """Return the sum over the voxels of each channel: ``(N, C, ...)`` -> ``(N, C)``."""
    rows = features.movedim(1, -1).flatten(1, -2)
    return torch.bmm(rows.new_ones(len(rows), 1, rows.shape[1]), rows)[:, 0]
