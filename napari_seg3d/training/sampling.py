"""What the network is shown: patches or whole scans, cut from the cache and augmented.

Sample number n of a run is a pure function of the seed and n. It does not matter which process makes it, nor how many there are, nor
whether the run was interrupted in between.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.transforms import Pipeline, augment

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

T = TypeVar("T", bound=np.generic)
Patch = tuple[NDArray[np.float32], NDArray[np.uint8]]


class Prepared(Protocol):
    """A preprocessed case to cut from: a `CachedCase`, or one that is only looked at."""

    @property
    def image(self) -> NDArray[np.float32]:
        """``(C, I, J, K)``."""

    @property
    def target(self) -> NDArray[np.integer]:
        """The class of every voxel ``(I, J, K)``."""

    @property
    def locations(self) -> Mapping[int, NDArray[np.integer]]:
        """Some voxel indices ``(n, 3)`` of each class that occurs."""

    @property
    def lowest(self) -> float:
        """What a scan that is smaller than a patch is padded with."""


@dataclass(frozen=True)
class Sampler:
    """The endless series of samples of a run, as a map-style torch data set.

    Parameters
    ----------
    cases : sequence of Prepared
        What to cut from. Each is used once before any is used again.
    patch_size : three ints
        Sides of a sample; a smaller scan is padded with its lowest value, around the case.
    whole : bool
        Samples are whole scans, cropped or padded around their middle.
    foreground : float
        Share of patches centred on a labelled voxel.
    augmentation : Pipeline or None
        Random changes.
    spacing : three floats
        Voxel edges in mm.
    seed : int
        Start of all random numbers.
    """

    cases: Sequence[Prepared]
    patch_size: tuple[int, int, int]
    whole: bool
    foreground: float
    augmentation: Pipeline | None
    spacing: tuple[float, float, float]
    seed: int

    def __getitem__(self, index: int) -> Patch:
        random = np.random.default_rng((self.seed, index))
        case = self.cases[_order(self.seed, index // len(self.cases), len(self.cases))[index % len(self.cases)]]
        image, target = case.image, case.target
        if self.whole:
            start = [(side - patch) // 2 for side, patch in zip(target.shape, self.patch_size, strict=True)]
        else:
            start = self._corner(case, target.shape, random)
        patch = cut(image, start, self.patch_size, case.lowest)
        classes = cut(target[np.newaxis], start, self.patch_size, 0)[0].astype(np.uint8)
        if self.augmentation is None:
            return patch, classes
        return augment(self.augmentation, patch, classes, self.spacing, seed=int(random.integers(2**62)))

    def _corner(self, case: Prepared, shape: tuple[int, ...], random: np.random.Generator) -> list[int]:
        lowest = [min(0, side - patch) for side, patch in zip(shape, self.patch_size, strict=True)]
        highest = [max(0, side - patch) for side, patch in zip(shape, self.patch_size, strict=True)]
        corner = [int(random.integers(low, high + 1)) for low, high in zip(lowest, highest, strict=True)]
        if random.random() < self.foreground:
            locations = {index: voxels for index, voxels in case.locations.items() if index > 0}
            if locations:  # a case may have an empty mask
                voxels = locations[int(random.choice(sorted(locations)))]
                centre = voxels[random.integers(len(voxels))].astype(int)
                corner = [
                    int(np.clip(middle - patch // 2, low, high)) if high > 0 else at
                    for middle, patch, low, high, at in zip(centre, self.patch_size, lowest, highest, corner, strict=True)
                ]
        return corner


def cut(array: NDArray[T], start: Sequence[int], size: Sequence[int], fill: float) -> NDArray[T]:
    """Return a block of `array` ``(C, I, J, K)``; places outside get `fill`."""
    inside, place = [slice(None)], [slice(None)]
    for first, length, side in zip(start, size, array.shape[1:], strict=True):
        low = min(max(0, first), side)
        high = max(low, min(side, first + length))
        inside.append(slice(low, high))
        place.append(slice(low - first, high - first))
    block = array[tuple(inside)]
    if block.shape[1:] == tuple(size):
        return np.array(block)
    out = np.full((array.shape[0], *size), fill, dtype=array.dtype)
    out[tuple(place)] = block
    return out


def make_loader(sampler: Sampler, batch_size: int, workers: int, first: int = 0) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """Return a loader of endless batches, beginning with sample number `first`."""
    from torch.utils.data import DataLoader

    return DataLoader(
        sampler,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=_Numbers(first),
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers > 0 else None,
        worker_init_fn=_one_thread,
        # Forking a process that already computes with many threads can hang it; a fresh interpreter cannot.
        multiprocessing_context="spawn" if workers > 0 else None,
    )


@dataclass(frozen=True)
class _Numbers:
    first: int

    def __iter__(self) -> Iterator[int]:
        return count(self.first)


def _one_thread(_worker: int) -> None:
    import torch

    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(1)  # the network goes first when both want the last core


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, cases: int) -> NDArray[np.integer]:
    return np.random.default_rng((seed, 1, epoch)).permutation(cases)
