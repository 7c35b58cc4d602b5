"""Fronts that start at all seeds at once and advance along the shortest ways, some voxels further in each round."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Lengths = NDArray[np.float32]

# In mean lengths of a step: voxels this much farther than the nearest one advance in the same round.
_ROUND = 0.5


def steps_to(axes: int, most: int) -> list[tuple[int, ...]]:
    """Return the steps to the voxels around one, that change at most so many indices; each pair of opposite ones side by side."""
    every = itertools.product((-1, 0, 1), repeat=axes)
    half = [step for step in every if step > (0,) * axes and sum(map(abs, step)) <= most]
    return [one for step in half for one in (step, tuple(-voxels for voxels in step))]


def advance(labels: NDArray[np.int16], to: NDArray[np.int32], lengths: Lengths, ask: Callable[[], None]) -> None:
    """Give each voxel that has no label that of the one from which the shortest way leads to it.

    What Dijkstra's algorithm finds, in rounds (U. Meyer and P. Sanders, Delta-stepping, 2003), which NumPy works through faster than scipy
    its heap, and between which one can stop.

    Parameters
    ----------
    labels : array (n,) of int16
        A label from 0, or below 0; filled in place.
    to : array (n, steps) of int32
        The voxel to which each step leads; n where it leads nowhere.
    lengths : array (n, steps) of float32
        How long each step is; above 0.
    ask : callable
        Called before each round; what it raises ends the fronts.
    """
    count = len(to)
    # One place more, for the steps that lead nowhere: nothing gets there.
    far = np.full(count + 1, np.inf, np.float32)
    far[:count][labels >= 0] = 0
    far[count] = -np.inf
    waits = np.zeros(count + 1, np.bool_)
    place = np.empty(count + 1, np.int64)
    waiting = np.flatnonzero(labels >= 0)
    width = _ROUND * float(lengths.mean()) if lengths.size else 0.0
    while waiting.size:
        ask()
        distances = far[waiting]
        near = distances <= distances.min() + width
        now, waiting = waiting[near], waiting[~near]
        waits[now] = False
        reached, lasts = to[now], far[now][:, np.newaxis] + lengths[now]
        shorter = lasts < far[reached]
        reached, lasts, sources = reached[shorter], lasts[shorter], np.repeat(now, shorter.sum(axis=1))
        np.minimum.at(far, reached, lasts)
        won = lasts == far[reached]
        reached = reached[won]
        labels[reached] = labels[sources[won]]
        # Each of them waits once, however many ways have just led to it.
        new = reached[~waits[reached]]
        place[new] = np.arange(new.size)
        new = new[place[new] == np.arange(new.size)]
        waits[new] = True
        waiting = np.concatenate([waiting, new])
