"""Sums over the voxels of a batch, one row per channel; unknown voxels are in none of them.

Loaded only where something is trained (it imports torch).
"""

from __future__ import annotations

from typing import Any

import torch  # noqa: TID253  see above
from torch.autograd.function import once_differentiable  # noqa: TID253

from napari_seg3d.evaluation.counts import UNKNOWN

_BLOCK = 2**16


def softmax_sums(logits: torch.Tensor, target: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return the sums for exclusive labels.

    Parameters
    ----------
    logits : tensor of shape (N, C, ...)
        The background is channel 0.
    target : tensor of shape (N, 1, ...)
        Class indices; UNKNOWN is left out.
    gamma : float
        0: cross-entropy; above: that of the focal loss.

    Returns
    -------
    tensor of shape (5, C)
        Per channel: probability on its voxels, probability everywhere, its voxels, their (focal) cross-entropy, and how many voxels that
        is the sum of.
    """
    return _SoftmaxSums.apply(logits.float().flatten(2), target.flatten(1), gamma)  # type: ignore[no-any-return, no-untyped-call]


def sigmoid_sums(logits: torch.Tensor, target: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return the sums for overlapping labels, as :func:`softmax_sums` does.

    Parameters
    ----------
    logits : tensor of shape (N, C, ...)
        A channel for each label.
    target : tensor of shape (N, C, ...)
        1 where the label is, 0 where it is not; UNKNOWN is left out.
    gamma : float
        0: binary cross-entropy; above: that of the focal loss.
    """
    logits, target = logits.float().flatten(2), target.flatten(2)
    wanted, known = (target == 1).float(), (target != UNKNOWN).float()
    probability = logits.sigmoid() * known
    log_likelihood = torch.nn.functional.logsigmoid(logits * (2 * wanted - 1)) * known
    if gamma:
        log_likelihood = log_likelihood * (1 - log_likelihood.exp()) ** gamma
    sums = (probability * wanted, probability, wanted, -log_likelihood, known)
    return torch.stack([part.sum((0, 2)) for part in sums])


class _SoftmaxSums(torch.autograd.Function):
    """Written out with its gradient: autograd would need a tensor as large as the logits for each of the sums.

    With p the softmax of the logits x, t the class of a voxel and l = log p_t::

        dp_t / dx_c = p_t ([c = t] - p_c)        dl / dx_c = [c = t] - p_c
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor, gamma: float) -> torch.Tensor:
        known = target != UNKNOWN
        index = target.long().where(known, 0)
        log_probability = logits.log_softmax(1)
        log_likelihood = log_probability.gather(1, index[:, None])[:, 0]
        probability = log_probability.exp_().mul_(known[:, None])
        likelihood = log_likelihood.exp() * known
        entropy, slope = _focal(log_likelihood * known, likelihood, gamma)
        ctx.save_for_backward(probability, likelihood, index, slope * known)
        on_voxel = torch.stack([likelihood, known.float(), entropy]).flatten(1)
        on_class, voxels, of_class = sum_by_class(on_voxel, index.flatten(), logits.shape[1])
        return torch.stack([on_class, probability.sum((0, 2)), voxels, of_class, voxels])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        probability, likelihood, index, slope = ctx.saved_tensors
        of_likelihood, of_probability, _, of_entropy, _ = gradient
        # What one more unit of l is worth at each voxel, through its likelihood and through its entropy.
        of_log = of_likelihood[index] * likelihood + of_entropy[index] * slope
        result = of_probability[:, None] * probability
        result.addcmul_(probability, (of_log + result.sum(1))[:, None], value=-1)
        result.scatter_add_(1, index[:, None], of_log[:, None])
        return result, None, None


def _focal(log_likelihood: torch.Tensor, likelihood: torch.Tensor, gamma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``-(1 - p)^gamma log p`` and its derivative by ``log p``."""
    if not gamma:
        return -log_likelihood, torch.full_like(log_likelihood, -1.0)
    missing = 1 - likelihood
    hardness = missing**gamma
    return -hardness * log_likelihood, gamma * missing ** (gamma - 1) * likelihood * log_likelihood - hardness


def sum_by_class(values: torch.Tensor, index: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the sums of the values `(n, V)` of each class `(V,)` as `(n, channels)`.

    Block by block first: a sum of float32 in one go stops to grow beyond 2^24 voxels.
    """
    blocks = -(-len(index) // _BLOCK)
    rest = (0, -len(index) % blocks)
    bins = torch.nn.functional.pad(index, rest).view(blocks, -1) + channels * torch.arange(blocks, device=index.device)[:, None]
    values = torch.nn.functional.pad(values, rest)
    sums = [row.new_zeros(blocks * channels).scatter_add_(0, bins.flatten(), row) for row in values]
    return torch.stack(sums).view(len(values), blocks, channels).sum(1)
