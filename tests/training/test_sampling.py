from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.datasets import open_dataset
from napari_seg3d.errors import TrainingError
from napari_seg3d.networks.planes import Plane, as_slices
from napari_seg3d.training.samples.cache import CachedCase, prepare
from napari_seg3d.training.samples.sampling import Sampler, cut, weighted
from napari_seg3d.transforms import augmentation_pipeline, preprocessing_pipeline
from napari_seg3d.volumes import read_volume

_LABELS = {3: "ball", 7: "core"}


@pytest.fixture
def cached(ball_dataset: Path) -> list[CachedCase]:
    return prepare(open_dataset(ball_dataset).pairs, preprocessing_pipeline((1.0, 1.0, 1.0), "zscore"), _LABELS)


def _sampler(cases: list[CachedCase], **changes: object) -> Sampler:
    settings = {"cases": cases, "patch_size": (12, 12, 12), "augmentation": augmentation_pipeline(), "seed": 4}
    return Sampler(**{**settings, **changes})  # type: ignore[arg-type]


def test_a_cached_case_is_the_case(cached: list[CachedCase], ball_dataset: Path) -> None:
    for case, source in zip(cached, open_dataset(ball_dataset).pairs, strict=True):
        mask = read_volume(source.mask, "labels")
        assert np.array_equal(np.array([0, 3, 7])[case.reference], mask.data)
        assert np.array_equal(np.array([0, 3, 7])[case.target], mask.canonical().data)
        assert case.native.matches(mask.grid)
        for index, voxels in case.locations.items():
            assert (case.target[0][tuple(voxels.T)] == index).all()


def test_nothing_is_prepared_twice(cached: list[CachedCase], ball_dataset: Path) -> None:
    written = [(case.folder / "image.npy").stat().st_mtime_ns for case in cached]
    pairs = open_dataset(ball_dataset).pairs
    again = prepare(pairs, preprocessing_pipeline((1.0, 1.0, 1.0), "zscore"), _LABELS)
    assert [case.folder for case in again] == [case.folder for case in cached]
    assert [(case.folder / "image.npy").stat().st_mtime_ns for case in again] == written
    other = prepare(pairs, preprocessing_pipeline((2.0, 2.0, 2.0), "zscore"), _LABELS)
    assert not {case.folder for case in other} & {case.folder for case in cached}


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_slices_that_lie_together_on_the_disk_are_the_same_scan(
    cached: list[CachedCase], ball_dataset: Path, plane: Plane
) -> None:
    pairs = open_dataset(ball_dataset).pairs
    stacked = prepare(pairs, preprocessing_pipeline((1.0, 1.0, 1.0), "zscore"), _LABELS, plane=plane)
    for one, other in zip(cached, stacked, strict=True):
        assert one.folder != other.folder
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.target, other.target)
        assert np.array_equal(one.reference, other.reference)
        assert as_slices(other.image, plane)[0, ..., 3].flags.c_contiguous
    sampler = _sampler(stacked, dims=2, patch_size=(12, 12, 1), planes=(plane,), context=1)
    again = _sampler(cached, dims=2, patch_size=(12, 12, 1), planes=(plane,), context=1)
    for number in range(6):
        assert all(np.array_equal(one, other) for one, other in zip(sampler[number], again[number], strict=True))


def test_a_sample_depends_on_its_number_alone(cached: list[CachedCase]) -> None:
    sampler = _sampler(cached)
    forward = [sampler[number] for number in range(6)]
    backward = [sampler[number] for number in reversed(range(6))]
    for one, other in zip(forward, reversed(backward), strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])


def test_each_case_is_seen_once_an_epoch(cached: list[CachedCase]) -> None:
    # Without augmentation, a whole scan tells which case it is.
    sampler = _sampler(cached, whole=True, augmentation=None, patch_size=(26, 28, 18))
    for epoch in range(3):
        seen = {sampler[epoch * len(cached) + number][0].tobytes() for number in range(len(cached))}
        assert len(seen) == len(cached)


def test_foreground_patches_show_each_label(cached: list[CachedCase]) -> None:
    only_labels = _sampler(cached, foreground=1.0, augmentation=None, patch_size=(8, 8, 8))
    centres = [only_labels[number][1][0, 4, 4, 4] for number in range(80)]
    share_of_core = np.mean([centre == 2 for centre in centres])
    assert 0.3 < share_of_core < 0.7, "a small label is aimed at as often as a large one"
    anywhere = _sampler(cached, foreground=0.0, augmentation=None, patch_size=(8, 8, 8))
    labelled = [bool(sampler[number][1][0, 4, 4, 4]) for sampler in (only_labels, anywhere) for number in range(80)]
    assert all(labelled[:80])
    assert np.mean(labelled[80:]) < 0.6


def test_a_patch_larger_than_the_scan_is_padded(cached: list[CachedCase]) -> None:
    image, target = _sampler(cached, augmentation=None, patch_size=(40, 40, 40))[0]
    assert image.shape == (1, 40, 40, 40)
    assert (target > 0).sum() in {(case.target > 0).sum() for case in cached}
    assert image.min() in {case.image.min() for case in cached}


@given(
    start=st.tuples(*[st.integers(-6, 9)] * 3),
    size=st.tuples(*[st.integers(1, 12)] * 3),
)
def test_cut_is_a_window_on_a_padded_array(start: tuple[int, int, int], size: tuple[int, int, int]) -> None:
    array = np.arange(1, 5 * 6 * 7 + 1).reshape(1, 5, 6, 7)
    padded = np.pad(array, ((0, 0), (20, 20), (20, 20), (20, 20)))
    window = tuple(slice(20 + first, 20 + first + length) for first, length in zip(start, size, strict=True))
    # A window may miss the array altogether; nobody asks for one, but it must not be an error.
    assert np.array_equal(cut(array, start, size, fill=0), padded[(slice(None), *window)])


def test_case_weights_give_each_case_its_turns(cached: list[CachedCase]) -> None:
    names = [case.id for case in cached]

    def turns(weights: dict[str, float]) -> dict[str, int]:
        drawn = [case.id for case in weighted(cached, weights)]  # type: ignore[attr-defined]
        return {name: drawn.count(name) for name in names}

    assert turns({}) == dict.fromkeys(names, 1)
    assert turns({names[0]: 3}) == {**dict.fromkeys(names, 1), names[0]: 3}
    assert turns({names[0]: 1.5}) == {**dict.fromkeys(names, 2), names[0]: 3}, "the least numbers that come near"
    assert turns({names[0]: 0.25}) == {**dict.fromkeys(names, 4), names[0]: 1}
    assert turns({names[0]: 0}) == {**dict.fromkeys(names, 1), names[0]: 0}
    with pytest.raises(TrainingError, match="weight 0"):
        weighted(cached, dict.fromkeys(names, 0.0))
