"""Where the labels of a target are, so that samples can be drawn around them without looking at the whole scan each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

#: So many voxels of a label are noted at most.
LOCATIONS = 20_000
#: Neighbours over edges and corners, too: a lesion that touches itself by a corner is one.
_TOUCHING = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Survey:
    """Where the labels of a target ``(T, I, J, K)`` are; 0 is the background as far as it is known.

    Parameters
    ----------
    counts : mapping of int to int
        Voxels of each label that occurs.
    locations : mapping of int to array of shape (n, 3)
        Voxel indices of each label that occurs: all, or enough of them.
    slices : array of shape (3, labels + 1, longest side)
        Whether the n-th slice across an axis holds the label.
    pieces : array of shape (n, 7)
        Connected pieces of labels: the label, the first voxel along each axis, and the end.
    """

    counts: Mapping[int, int]
    locations: Mapping[int, NDArray[np.integer]]
    slices: NDArray[np.bool_]
    pieces: NDArray[np.integer]


def survey(target: NDArray[np.uint8], labels: int) -> Survey:
    """Look for every label of a target.

    Parameters
    ----------
    target : array of shape (T, I, J, K)
        Exclusive classes (T = 1) or a channel of 0 and 1 for each label; 255 is unknown.
    labels : int
        How many there are.
    """
    from scipy.ndimage import find_objects, label

    # The same voxels every time, so that a run can be repeated.
    random = np.random.default_rng(0)
    shape = target.shape[1:]
    counts: dict[int, int] = {}
    locations: dict[int, NDArray[np.integer]] = {}
    slices = np.zeros((3, labels + 1, max(shape)), dtype=bool)
    boxes = [np.zeros((0, 7), np.int32)]
    background: NDArray[np.bool_] = (target == 0).all(axis=0)
    counts[0] = int(np.count_nonzero(background))
    if counts[0]:
        locations[0] = _some(background, counts[0], random)
        _mark(slices[:, 0], background, (0, 0, 0))
    for channel, data in enumerate(target):
        windows = find_objects(data, max_label=labels if len(target) == 1 else 1)
        for value, window in enumerate(windows, start=1):
            if window is None:
                continue
            found = data[window] == value
            name = value if len(target) == 1 else channel + 1
            start = np.array([each.start for each in window])
            counts[name] = int(np.count_nonzero(found))
            locations[name] = _some(found, counts[name], random) + start.astype(np.uint16)
            _mark(slices[:, name], found, start.tolist())
            pieces = find_objects(label(found, structure=_TOUCHING)[0])
            boxes.append(
                np.array([[name, *(s.start for s in piece), *(s.stop for s in piece)] for piece in pieces], np.int32)
                + np.array([0, *start, *start], np.int32)
            )
    return Survey({name: count for name, count in counts.items() if count}, locations, slices, np.concatenate(boxes))


def _some(found: NDArray[np.bool_], count: int, random: np.random.Generator) -> NDArray[np.uint16]:
    """Return indices ``(n, 3)`` of voxels that are true: all, or enough to aim at."""
    if count > found.size // 8 and count > 8 * LOCATIONS:
        # Nearly the whole scan: a list of it would take its memory many times over.
        tried = random.integers(found.size, size=16 * LOCATIONS)
        chosen = tried[found.ravel()[tried]][:LOCATIONS]
    else:
        chosen = np.flatnonzero(found)
        if len(chosen) > LOCATIONS:
            chosen = random.choice(chosen, LOCATIONS, replace=False)
    return np.stack(np.unravel_index(chosen, found.shape), axis=1).astype(np.uint16)


def _mark(slices: NDArray[np.bool_], found: NDArray[np.bool_], start: tuple[int, ...] | list[int]) -> None:
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        slices[axis, start[axis] : start[axis] + found.shape[axis]] = found.any(axis=others)


@dataclass(frozen=True, eq=False)
class Surveyed:
    """A preprocessed case in memory, as `Sampler` wants it: one that is only looked at.

    Parameters
    ----------
    image : array of shape (C, I, J, K)
        The preprocessed scan.
    target : array of shape (T, I, J, K)
        What a network should answer.
    labels : int
        How many labels there are.
    outside : int
        What the target is around the scan: 0 or 255.
    """

    image: NDArray[np.float32]
    target: NDArray[np.uint8]
    labels: int
    outside: int = 0

    @cached_property
    def _survey(self) -> Survey:
        return survey(self.target, self.labels)

    @property
    def counts(self) -> Mapping[int, int]:
        """As in a `Survey`."""
        return self._survey.counts

    @property
    def locations(self) -> Mapping[int, NDArray[np.integer]]:
        """As in a `Survey`."""
        return self._survey.locations

    @property
    def slices(self) -> NDArray[np.bool_]:
        """As in a `Survey`."""
        return self._survey.slices

    @property
    def pieces(self) -> NDArray[np.integer]:
        """As in a `Survey`."""
        return self._survey.pieces

    @cached_property
    def lowest(self) -> float:
        """What a scan that is smaller than a patch is padded with."""
        return float(self.image.min())
