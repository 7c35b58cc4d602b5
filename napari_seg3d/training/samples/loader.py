"""Batches for the network, made ahead of time by other processes; and how long the network had to wait for them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, islice
from typing import TYPE_CHECKING, Any, cast

from napari_seg3d.errors import Seg3dError, TrainingError
from napari_seg3d.training.samples.sampling import Sample, Sampler

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

    Batch = tuple[torch.Tensor, torch.Tensor]

_FEWER = "Choose fewer Loader processes, or 0 to make the samples in the training itself."


def make_loader(
    sampler: Sampler,
    batch_size: int,
    workers: int,
    first: int = 0,
    rank: int = 0,
    ranks: int = 1,
    *,
    pinned: bool = False,
    augmented: bool = True,
) -> DataLoader[Any]:
    """Return a loader of endless batches.

    Parameters
    ----------
    sampler : Sampler
        Makes the samples.
    batch_size : int
        Samples of a batch.
    workers : int
        Processes that make them; 0: none, they are made when they are asked for.
    first : int
        Number of the first sample: ``batch_size * ranks`` times the steps that were done before.
    rank, ranks : int
        Which of several processes asks that train together. Their batches of a step make up the batch of one process with so many times
        the batch size.
    pinned : bool
        Whether batches lie where a GPU fetches them from by itself.
    augmented : bool
        Whether the samples are changed at random here, and not by `Batches`.
    """
    from torch.utils.data import DataLoader

    return DataLoader(
        _Answers(sampler, augmented or sampler.augmentation is None),  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=_Numbers(first, batch_size, rank, ranks),
        collate_fn=_collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=(4 if workers <= 4 else 2) if workers > 0 else None,
        worker_init_fn=_one_thread,
        # Forking a process that already computes with many threads can hang it; a fresh interpreter cannot.
        multiprocessing_context="spawn" if workers > 0 else None,
        pin_memory=pinned,
    )


class Batches:
    """The batches of a loader, one after the other, and the share of the time that was spent waiting for them.

    Parameters
    ----------
    loader : DataLoader
        From `make_loader`. Samples that were not augmented there are augmented on the device.
    device : torch device, optional
        Where the batches go; left out, they stay in memory.

    Raises
    ------
    Seg3dError
        When a sample cannot be made, or a process that makes them has ended.
    """

    def __init__(self, loader: DataLoader[Any], device: torch.device | str | None = None) -> None:
        self._device, self._answers = device, cast("_Answers", loader.dataset)
        self._numbers = iter(loader.sampler)
        with _quiet_ends():
            self._batches: Iterator[Any] | None = iter(loader)
        self.reset()

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        """Return images ``(N, C, ...)`` and targets ``(N, T, ...)``."""
        if self._batches is None:
            raise StopIteration
        asked = time.perf_counter()
        try:
            batch = next(self._batches)
        except RuntimeError as error:
            raise _in_words(error) or error from error
        finally:
            self._waited += time.perf_counter() - asked
        if isinstance(batch, _Failure):
            raise batch.error
        image, target = batch
        if self._device is not None:
            image, target = image.to(self._device, non_blocking=True), target.to(self._device, non_blocking=True)
        numbers = list(islice(self._numbers, len(image)))
        return (image, target) if self._answers.augmented else self._changed(image, target, numbers)

    def _changed(self, image: torch.Tensor, target: torch.Tensor, numbers: Sequence[int]) -> Batch:
        """Return a batch whose samples are changed at random, where it lies."""
        import torch

        changed = []
        for one, wanted, number in zip(image, target, numbers, strict=True):
            change = self._answers.sampler.change_of(number)
            assert change.augmentation.steps is not None
            missing = 4 - one.ndim  # a slice is a volume of one voxel thickness
            pair = (one[(..., *[None] * missing)], wanted[(..., *[None] * missing)])
            moved = change.augmentation.steps(*pair, change.spacing, change.seed, change.outside)
            changed.append([each.reshape(-1, *one.shape[1:]) for each in moved])
        images, targets = zip(*changed, strict=True)
        return torch.stack(images), torch.stack(targets)

    @property
    def wait_share(self) -> float:
        """Share of the time since the last `reset` that was spent in waiting for a batch, 0 to 1."""
        passed = time.perf_counter() - self._since
        return min(1.0, self._waited / passed) if passed > 0 else 0.0

    def reset(self) -> None:
        """Begin to measure anew."""
        self._since, self._waited = time.perf_counter(), 0.0

    def close(self) -> None:
        """End the processes that make samples."""
        self._batches = None  # torch ends them with the iterator


@contextmanager
def _quiet_ends() -> Iterator[None]:
    """Keep torch from raising an error at whatever line the program is at when a loader process ends; it is told with the next batch."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    yield
    signal.signal(signal.SIGCHLD, before)


def _in_words(error: RuntimeError) -> TrainingError | None:
    """Return the end of a loader process in words, or None where torch complains of something else."""
    if "DataLoader worker" not in str(error) and "shared memory" not in str(error):
        return None
    return TrainingError(
        "A process that makes the samples has ended, most likely because the memory (or /dev/shm in a container) was full.",
        _FEWER,
    )


@dataclass(frozen=True)
class _Failure:
    """What went wrong while a sample was made; exceptions lose their words on the way out of a process."""

    error: Seg3dError


@dataclass(frozen=True)
class _Answers:
    """A sampler that says what is wrong instead of raising it."""

    sampler: Sampler
    augmented: bool

    def __getitem__(self, index: int) -> Sample | _Failure:
        try:
            return self._plain[index]
        except Seg3dError as error:
            return _Failure(error)
        except OSError as error:
            what = f"A sample cannot be read from the cache ({error})."
            return _Failure(TrainingError(what, "Do not empty the cache during a training; start the run again."))
        except MemoryError:
            return _Failure(TrainingError("There is no memory left for the samples.", _FEWER))

    @cached_property
    def _plain(self) -> Sampler:
        return self.sampler if self.augmented else replace(self.sampler, augmentation=None)


def _collate(samples: Sequence[Sample | _Failure]) -> Batch | _Failure:
    from torch.utils.data import default_collate

    failed = [sample for sample in samples if isinstance(sample, _Failure)]
    if failed:
        return failed[0]
    image, target = default_collate(list(samples))
    return image, target


@dataclass(frozen=True)
class _Numbers:
    first: int
    batch_size: int
    rank: int
    ranks: int

    def __iter__(self) -> Iterator[int]:
        for step in count():
            start = self.first + (step * self.ranks + self.rank) * self.batch_size
            yield from range(start, start + self.batch_size)


def _one_thread(_worker: int) -> None:
    import SimpleITK as sitk
    import torch

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if hasattr(os, "nice"):
        os.nice(1)  # the network goes first when both want the last core
