"""A network of two small layers that learns from some thousand voxels in less than a second, and tells millions of them apart in some."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.side_by_side import side_by_side

Samples = NDArray[np.float32]

_HIDDEN = (32, 16)
_STEPS, _BATCH, _RATE, _DECAY = 120, 1024, 0.03, 0.1
# Strokes are never quite right at their rims.
_SMOOTHING = 0.1
# Nor are they all that a label looks like: each time a sample is shown, every feature is another by so many standard deviations.
_NOISE = np.float32(0.3)
# Samples that are told apart at a time: enough for a thread, some MB.
_COLUMNS = 1 << 16


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
        random = np.random.default_rng(0)
        self._mean, self._scale = samples.mean(axis=0), samples.std(axis=0) + np.float32(1e-6)
        known: Samples = ((samples - self._mean) / self._scale).astype(np.float32)
        self._layers: list[NDArray[np.float32]] = []
        for before, after in pairwise([samples.shape[1], *_HIDDEN, count]):
            self._layers.append((random.normal(size=(before, after)) * (2 / before) ** 0.5).astype(np.float32))
            self._layers.append(np.zeros(after, np.float32))
        # A label with few strokes counts more, but not as much as if it had as many.
        share = 1 / np.sqrt(np.maximum(np.bincount(classes, minlength=count), 1))
        weights = (share / share.mean()).astype(np.float32)[classes]
        wanted = np.full((len(classes), count), _SMOOTHING / count, np.float32)
        wanted[np.arange(len(classes)), classes] += 1 - _SMOOTHING
        # Adam (D. P. Kingma and J. Ba, 2015) with decoupled decay of the weights: for so little, PyTorch takes longer.
        first, second = ([np.zeros_like(layer) for layer in self._layers] for _ in range(2))
        for step in range(1, _STEPS + 1):
            chosen = random.integers(len(known), size=min(len(known), _BATCH))
            rate = _RATE * np.sin(np.pi * (step - 0.5) / _STEPS)
            shown = known[chosen] + _NOISE * random.standard_normal((len(chosen), known.shape[1]), np.float32)
            for number, slope in enumerate(self._slopes(shown, wanted[chosen], weights[chosen])):
                first[number] = 0.9 * first[number] + 0.1 * slope
                second[number] = 0.99 * second[number] + 0.01 * slope * slope
                change = first[number] / (1 - 0.9**step) / (np.sqrt(second[number] / (1 - 0.99**step)) + 1e-8)
                self._layers[number] = (self._layers[number] * (1 - rate * _DECAY) - rate * change).astype(np.float32)

    def _slopes(self, known: Samples, wanted: Samples, weights: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the slope of the weighted cross-entropy in each layer."""
        values = [known]
        for number in range(0, len(self._layers) - 2, 2):
            values.append(np.maximum(values[-1] @ self._layers[number] + self._layers[number + 1], 0))
        error = (_softmax(values[-1] @ self._layers[-2] + self._layers[-1]) - wanted) * (weights / weights.sum())[:, np.newaxis]
        slopes: list[NDArray[np.float32]] = []
        for number in range(len(self._layers) - 2, -1, -2):
            value = values[number // 2]
            slopes[:0] = [value.T @ error, error.sum(axis=0)]
            error = (error @ self._layers[number].T) * (value > 0)
        return slopes

    def probabilities(self, features: Samples, ask: Callable[[], None] = lambda: None) -> Samples:
        """Return the probability of each class ``(classes, n)`` of features ``(features, n)``; `ask` may end it by raising."""
        result = np.empty((self._layers[-1].shape[0], features.shape[1]), np.float32)
        # By columns, as features lie in memory, and with the scale in the weights.
        first = np.ascontiguousarray((self._layers[0] / self._scale[:, np.newaxis]).T)
        weights = [first, *(np.ascontiguousarray(layer.T) for layer in self._layers[2::2])]
        offsets = [layer[:, np.newaxis] for layer in self._layers[1::2]]

        def classify(start: int) -> None:
            value = features[:, start : start + _COLUMNS] - self._mean[:, np.newaxis]
            for weight, offset in zip(weights[:-1], offsets[:-1], strict=True):
                value = weight @ value
                value += offset
                np.maximum(value, 0, out=value)
            value = weights[-1] @ value
            value += offsets[-1]
            value -= value.max(axis=0)
            np.exp(value, out=value)
            result[:, start : start + _COLUMNS] = value / value.sum(axis=0)

        ask()
        side_by_side([partial(classify, start) for start in range(0, features.shape[1], _COLUMNS)], ask)
        return result


def _softmax(value: Samples) -> Samples:
    value = np.exp(value - value.max(axis=1, keepdims=True))
    chances: Samples = value / value.sum(axis=1, keepdims=True)
    return chances
