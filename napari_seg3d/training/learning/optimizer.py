"""The optimiser that a config asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_seg3d.training.config import OptimizationConfig

if TYPE_CHECKING:
    import torch

_AUTO_RATE = {"adamw": 2e-3, "adam": 2e-3, "sgd": 1e-2}


def learning_rate(settings: OptimizationConfig) -> float:
    """Return the highest learning rate of a run."""
    return _AUTO_RATE[settings.optimizer] if settings.learning_rate == "auto" else settings.learning_rate


def make_optimizer(network: torch.nn.Module, settings: OptimizationConfig) -> torch.optim.Optimizer:
    """Return the optimiser of the weights that learn.

    Parameters
    ----------
    network : torch module
        Weights that need no gradient are left alone.
    settings : OptimizationConfig
        ``adamw`` (Loshchilov and Hutter, ICLR 2019), ``adam`` (Kingma and Ba, ICLR 2015) or ``sgd`` with Nesterov's momentum; learning
        rate, weight decay and momentum.
    """
    import torch

    weights = [weight for weight in network.parameters() if weight.requires_grad]
    rate, decay = learning_rate(settings), settings.weight_decay
    if settings.optimizer == "sgd":
        momentum = settings.momentum
        return torch.optim.SGD(weights, lr=rate, weight_decay=decay, momentum=momentum, nesterov=momentum > 0)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, lr=rate, weight_decay=decay)
