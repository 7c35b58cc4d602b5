"""The losses as formulas over sums per channel.

Each takes :class:`Sums` of the channels that it looks at and a weight for each of these, and returns one number, 0 at best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

# Keeps a label that is nowhere from dividing by zero; as small as MONAI's, so that it changes nothing else.
_SMOOTH = 1e-5
# Salehi et al.: what is missed counts more than what is too much.
_FALSE_POSITIVES, _FALSE_NEGATIVES = 0.3, 0.7
_MISSED = 8.0


class Sums(NamedTuple):
    """Sums over the known voxels of a batch, each a tensor of a value per channel.

    Parameters
    ----------
    intersection : tensor
        Probability of the channel on its voxels.
    prediction : tensor
        Probability of the channel everywhere.
    reference : tensor
        Voxels of the channel.
    entropy : tensor
        Cross-entropy, plain or focal.
    known : tensor
        Of how many voxels that is the sum.
    """

    intersection: torch.Tensor
    prediction: torch.Tensor
    reference: torch.Tensor
    entropy: torch.Tensor
    known: torch.Tensor


def dice(sums: Sums, weights: torch.Tensor) -> torch.Tensor:
    """Soft Dice over all labels as one (Milletari et al., V-Net, 3DV 2016, without squares)."""
    common, total = (weights * sums.intersection).sum(), (weights * (sums.prediction + sums.reference)).sum()
    return 1 - (2 * common + _SMOOTH) / (total + _SMOOTH)


def dice_per_label(sums: Sums, weights: torch.Tensor) -> torch.Tensor:
    """Mean over the labels of the soft Dice of each."""
    return _mean(_dice(sums.intersection, sums.prediction + sums.reference), weights)


def dice_of_missed(sums: Sums, weights: torch.Tensor) -> torch.Tensor:
    """Mean over the labels of the soft Dice of each, and 8 times that of prediction x label, which knows only what is missed.

    Stevens, Antiga and Viehmann, Deep Learning with PyTorch (2020), chapter 13.
    """
    missed = _dice(sums.intersection, sums.intersection + sums.reference)
    return dice_per_label(sums, weights) + _MISSED * _mean(missed, weights)


def tversky(sums: Sums, weights: torch.Tensor) -> torch.Tensor:
    """Mean over the labels of the Tversky index with 0.3 for what is too much and 0.7 for what is missed (Salehi et al., 2017)."""
    too_much, missed = sums.prediction - sums.intersection, sums.reference - sums.intersection
    total = sums.intersection + _FALSE_POSITIVES * too_much + _FALSE_NEGATIVES * missed
    return _mean(1 - (sums.intersection + _SMOOTH) / (total + _SMOOTH), weights)


def generalized_dice(sums: Sums, weights: torch.Tensor) -> torch.Tensor:
    """Dice over all channels as one, each divided by its squared volume (Sudre et al., DLMIA 2017).

    A channel without a voxel counts as the smallest that has one.
    """
    present = sums.reference > 0
    inverse = (sums.reference.clamp(min=1) ** -2).where(present, 0)
    inverse = inverse.where(present, inverse.max())
    # Squared volumes are huge: in shares of the largest weight, the smoothing means the same at any size.
    share = weights * inverse / inverse.max().clamp(min=1e-30)
    common, total = (share * sums.intersection).sum(), (share * (sums.prediction + sums.reference)).sum()
    return 1 - (2 * common + _SMOOTH) / (total + _SMOOTH)


def cross_entropy(sums: Sums, weights: torch.Tensor) -> torch.Tensor:
    """Mean of the cross-entropy over the known voxels, each as heavy as its class."""
    return (weights * sums.entropy).sum() / (weights * sums.known).sum().clamp(min=1e-12)


def _dice(common: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    return 1 - (2 * common + _SMOOTH) / (total + _SMOOTH)


def _mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (weights * values).sum() / weights.sum()
