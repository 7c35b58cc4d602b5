"""Batches: the same whoever makes them, a share of them for each of several processes, and what happens when one of them ends."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.datasets import open_dataset
from napari_seg3d.errors import ConfigError, TrainingError
from napari_seg3d.training.samples.cache import CachedCase, prepare
from napari_seg3d.training.samples.loader import Batches, make_loader
from napari_seg3d.training.samples.sampling import Sampler
from napari_seg3d.training.samples.survey import Surveyed
from napari_seg3d.transforms import Pipeline, Step, augmentation_pipeline, preprocessing_pipeline


def _sampler(cases: int = 5, **changes: object) -> Sampler:
    made = []
    for number in range(cases):
        image = np.random.default_rng(number).normal(size=(1, 9, 9, 9)).astype(np.float32)
        made.append(Surveyed(image, (image > 1).astype(np.uint8), 1))
    return Sampler(**{"cases": made, "patch_size": (4, 4, 4), "batch_size": 4, "seed": 3, **changes})  # type: ignore[arg-type]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_processes_that_train_together_share_the_batch_of_one(batch: int, ranks: int, done: int) -> None:
    sampler = _sampler(batch_size=batch * ranks)
    first = done * batch * ranks
    alone = list(islice(make_loader(sampler, batch * ranks, 0, first), 2))
    parts = [list(islice(make_loader(sampler, batch, 0, first, rank, ranks), 2)) for rank in range(ranks)]
    for step in range(2):
        for place in range(2):
            assert torch.equal(torch.cat([part[step][place] for part in parts]), alone[step][place])
    begun = list(islice(make_loader(sampler, batch * ranks, 0), done + 1))[done]
    assert torch.equal(begun[0], alone[0][0])


@pytest.fixture(scope="module")
def cached(ball_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[CachedCase]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_SEG3D_HOME", str(tmp_path_factory.mktemp("cache-home")))
        pairs = open_dataset(ball_dataset).pairs
        return prepare(pairs, preprocessing_pipeline((1.0, 1.0, 1.0), "zscore"), {3: "ball", 7: "core"})


@pytest.mark.slow
def test_loader_processes_change_nothing_and_are_told_when_they_end(cached: list[CachedCase]) -> None:
    sampler = Sampler(cases=cached, patch_size=(12, 12, 12), augmentation=augmentation_pipeline(), seed=4, batch_size=2)
    alone = list(islice(make_loader(sampler, 2, 0), 4))
    before = _spawned()  # other tests of this process may have left theirs
    batches = Batches(make_loader(sampler, 2, 2))
    helped = list(islice(batches, 4))
    for (image, target), (other_image, other_target) in zip(alone, helped, strict=True):
        assert torch.equal(image, other_image)
        assert torch.equal(target, other_target)
    workers = _spawned() - before
    assert len(workers) == 2
    os.kill(workers.pop(), signal.SIGKILL)
    time.sleep(0.5)  # the rest of the program goes on
    with pytest.raises(TrainingError, match="has ended") as caught:
        list(islice(batches, 100))
    assert "Loader processes" in caught.value.fix
    batches.close()


def _spawned() -> set[int]:
    """Return the numbers of the processes that this one has started with Python's spawn."""
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # one that has ended says nothing about itself
            if "spawn_main" in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


def test_what_is_wrong_with_a_sample_is_told_in_words() -> None:
    steps = Pipeline((Step("RandomSwap", {"patch_size": 15}),))
    with pytest.raises(ConfigError, match="RandomSwap cannot be applied"):
        next(Batches(make_loader(_sampler(augmentation=steps), 2, 0)))


def test_a_cache_that_is_emptied_meanwhile_is_told(ball_dataset: Path) -> None:
    (case, *_) = prepare(open_dataset(ball_dataset).pairs[:1], Pipeline(()), {3: "ball"})
    batches = Batches(make_loader(Sampler(cases=[case], patch_size=(8, 8, 8)), 1, 0))
    assert next(batches)[0].shape == (1, 1, 8, 8, 8)
    (case.folder / "image.npy").unlink()
    with pytest.raises(TrainingError, match="cannot be read from the cache"):
        next(batches)


@pytest.mark.parametrize("flat", [False, True])
def test_samples_are_changed_alike_in_the_loader_and_on_the_device(flat: bool) -> None:
    sampler = _sampler(
        patch_size=(6, 6, 1) if flat else (6, 6, 6),
        dims=2 if flat else 3,
        planes=("axial", "coronal"),
        context=int(flat),
        augmentation=augmentation_pipeline(),
        spacing=(1.0, 1.5, 2.0),
    )
    there = islice(Batches(make_loader(sampler, 2, 0, 4, 1, 2)), 4)
    here = islice(Batches(make_loader(sampler, 2, 0, 4, 1, 2, augmented=False), "cpu"), 4)
    for (image, target), (other_image, other_target) in zip(there, here, strict=True):
        assert torch.equal(image, other_image)
        assert torch.equal(target, other_target)


def test_the_wait_is_measured() -> None:
    batches = Batches(make_loader(_sampler(), 4, 0))
    for _ in range(20):
        next(batches)
    assert batches.wait_share > 0.5, "without other processes, all of the time is spent in making samples"
    batches.reset()
    next(batches)
    time.sleep(0.3)
    assert 0 < batches.wait_share < 0.5
    batches.close()
    assert list(batches) == []


def test_no_file_stays_open_and_no_memory_is_kept(cached: list[CachedCase]) -> None:
    sampler = Sampler(cases=cached, patch_size=(12, 12, 12), seed=4, batch_size=2)
    batches = Batches(make_loader(sampler, 2, 0))
    for _ in range(20):
        next(batches)
    process = psutil.Process()
    files, maps = len(process.open_files()), len(process.memory_maps(grouped=False))
    for _ in range(200):
        next(batches)
    assert len(process.open_files()) <= files + 1
    assert len(process.memory_maps(grouped=False)) <= maps + 4
