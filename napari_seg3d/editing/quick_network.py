"""A network of two small layers that learns from some thousand voxels in less than a second, and tells millions of them apart in some."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_HIDDEN = (32, 16)
_STEPS, _BATCH, _RATE, _DECAY = 120, 1024, 0.03, 0.1
# Strokes are never quite right at their rims.
_SMOOTHING = 0.02
# Rows that are told apart at a time: enough for the processor, little enough for its memory.
_ROWS = 1 << 16


class QuickNetwork:
    """Classifies samples; learns the same from the same, whatever was learnt before.

    Parameters
    ----------
    samples : array (n, features)
        What is known of each.
    classes : array (n,) of int
        Which class each belongs to, from 0.
    count : int
        How many classes there are.
    """

    def __init__(self, samples: Samples, classes: NDArray[np.integer], count: int) -> None:
        import torch

        random = torch.Generator().manual_seed(0)
        self._mean, self._scale = samples.mean(axis=0), samples.std(axis=0) + np.float32(1e-6)
        known = torch.from_numpy(self._normal(samples))
        wanted = torch.from_numpy(classes.astype(np.int64))
        widths = [samples.shape[1], *_HIDDEN, count]
        layers = []
        for before, after in pairwise(widths):
            weights = torch.randn(before, after, generator=random) * (2 / before) ** 0.5
            layers += [weights.requires_grad_(), torch.zeros(after).requires_grad_()]
        # A label with few strokes counts more, but not as much as if it had as many.
        share = torch.from_numpy(1 / np.sqrt(np.maximum(np.bincount(classes, minlength=count), 1))).float()
        loss = torch.nn.CrossEntropyLoss(weight=share / share.mean(), label_smoothing=_SMOOTHING)
        optimizer = torch.optim.AdamW(layers, lr=_RATE, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS)
        for _ in range(_STEPS):
            chosen = torch.randint(len(known), (min(len(known), _BATCH),), generator=random)
            value = known[chosen]
            for number in range(0, len(layers) - 2, 2):
                value = torch.relu(value @ layers[number] + layers[number + 1])
            optimizer.zero_grad()
            loss(value @ layers[-2] + layers[-1], wanted[chosen]).backward()
            optimizer.step()
            schedule.step()
        self._layers = [layer.detach().numpy() for layer in layers]

    def probabilities(self, samples: Samples) -> Samples:
        """Return the probability of each class ``(n, classes)`` of some samples."""
        result = np.empty((len(samples), self._layers[-1].shape[0]), np.float32)
        for start in range(0, len(samples), _ROWS):
            value = self._normal(samples[start : start + _ROWS])
            for number in range(0, len(self._layers) - 2, 2):
                value = np.maximum(value @ self._layers[number] + self._layers[number + 1], 0)
            value = value @ self._layers[-2] + self._layers[-1]
            value = np.exp(value - value.max(axis=1, keepdims=True))
            result[start : start + _ROWS] = value / value.sum(axis=1, keepdims=True)
        return result

    def _normal(self, samples: Samples) -> Samples:
        normal: Samples = ((samples - self._mean) / self._scale).astype(np.float32)
        return normal
