"""What a network says of an image and of its mirror images, as one answer (test-time augmentation)."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.inference.windows import Forward, activated

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

Targets = Literal["exclusive", "overlapping"]
# What keeps a logarithm finite; far below any probability that matters.
_SMALLEST = 1e-12


def mirrored(network: Forward, axes: Sequence[int], targets: Targets, *, measured: bool = False) -> Forward:
    """Return a network that also sees each image mirrored along every combination of axes, and answers with the mean probability.

    Parameters
    ----------
    network : callable
        ``(N, C, *sides)`` to logits ``(N, channels, *sides)``.
    axes : sequence of int
        Among the sides, from 0. None: the network as it is.
    targets : {"exclusive", "overlapping"}
        Softmax or sigmoid.
    measured : bool
        Whether to add a channel: the mean of the entropies of the single answers, in nats. The entropy of their mean less that is how much
        they disagree (mutual information; Depeweg et al., ICML 2018).

    Returns
    -------
    callable
        To logits whose softmax (sigmoid) is the mean of the probabilities.
    """
    if not axes:
        return network
    turns = [tuple(2 + axis for axis in chosen) for count in range(len(axes) + 1) for chosen in combinations(axes, count)]

    def forward(images: NDArray[np.float32]) -> torch.Tensor:
        import torch

        mean = own = None
        for turn in turns:
            logits = network(np.ascontiguousarray(np.flip(images, turn))).flip(turn)
            probability = activated(logits.clone(), targets)
            entropy = entropy_of(probability, targets) if measured else None
            mean = probability if mean is None else mean.add_(probability)
            if entropy is not None:
                own = entropy if own is None else own.add_(entropy)
        assert mean is not None
        mean /= len(turns)
        logits = mean.clamp(min=_SMALLEST).log() if targets == "exclusive" else mean.logit(eps=1e-7)
        return logits if own is None else torch.cat([logits, own / len(turns)], dim=1)

    return forward


def entropy_of(probabilities: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Return the entropy of probabilities ``(N, channels, ...)`` in nats as ``(N, 1, ...)``; that of overlapping labels is their sum."""
    entropy = -(probabilities * probabilities.clamp(min=_SMALLEST).log()).sum(1, keepdim=True)
    if targets == "overlapping":
        other = 1 - probabilities
        entropy -= (other * other.clamp(min=_SMALLEST).log()).sum(1, keepdim=True)
    return entropy
