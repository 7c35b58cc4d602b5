"""What samples show: labels as often as asked for, something known always, the slices and lesions that are meant; on cases in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import TrainingError
from napari_seg3d.evaluation.counts import UNKNOWN
from napari_seg3d.inference import ModelSpec
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.networks.planes import AXIS, Plane, as_slices, with_context
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.samples.sampling import Sampler, make_sampler
from napari_seg3d.training.samples.survey import LOCATIONS, Surveyed, survey
from napari_seg3d.transforms import Pipeline, Step, augmentation_pipeline

PLANES = st.sampled_from(sorted(AXIS))
SHAPE = (14, 12, 10)


def _case(number: int = 0, empty: bool = False, sparse: bool = False, shape: tuple[int, int, int] = SHAPE) -> Surveyed:
    """Return a case whose voxels say where they are: ``100_000 * number + place``; label 1 is a box, label 2 one voxel."""
    image = (100_000.0 * number + np.arange(np.prod(shape)).reshape(1, *shape)).astype(np.float32)
    target = np.zeros((1, *shape), np.uint8)
    if not empty:
        target[0, 2:6, 3:7, 4:6] = 1
        target[0, -2, -3, 7] = 2
    if sparse:
        known = np.zeros(shape, bool)
        known[..., [4, 7]] = True
        target[0, ~known] = UNKNOWN
    return Surveyed(image, target, 2, UNKNOWN if sparse else 0)


def _numbers(sampler: Sampler, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [sampler[number] for number in range(count)]


# -- the survey ---------------------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 999), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_survey_finds_what_looking_everywhere_finds(seed: int, overlapping: bool) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(int(side) for side in random.integers(1, 9, 3))
    if overlapping:
        target = (random.random((3, *shape)) < 0.2).astype(np.uint8)
    else:
        target = random.choice([0, 0, 0, 1, 3], (1, *shape)).astype(np.uint8)
    target[:, random.random(shape) < 0.3] = UNKNOWN
    found = survey(target, 3)
    where = {label: target[label - 1] == 1 if overlapping else target[0] == label for label in (1, 2, 3)}
    where[0] = (target == 0).all(axis=0)
    assert found.counts == {label: int(mask.sum()) for label, mask in where.items() if mask.any()}
    for label, mask in where.items():
        if mask.any():
            assert {tuple(voxel) for voxel in found.locations[label].tolist()} == {
                tuple(voxel) for voxel in np.argwhere(mask).tolist()
            }
        for axis in range(3):
            expected = mask.any(axis=tuple(other for other in range(3) if other != axis))
            assert np.array_equal(found.slices[axis, label, : shape[axis]], expected)
            assert not found.slices[axis, label, shape[axis] :].any()
        if label:
            covered = np.zeros(shape, bool)
            for piece in found.pieces[found.pieces[:, 0] == label]:
                box = tuple(slice(first, end) for first, end in zip(piece[1:4], piece[4:], strict=True))
                assert mask[box].any()
                covered[box] = True
            assert not (mask & ~covered).any()


def test_a_large_background_is_not_listed_as_a_whole() -> None:
    target = np.zeros((1, 70, 70, 70), np.uint8)
    target[0, :8] = 1
    found = survey(target, 1)
    assert len(found.locations[0]) == len(found.locations[1]) == LOCATIONS
    assert found.locations[0][:, 0].min() >= 8
    assert found.pieces.tolist() == [[1, 0, 0, 0, 8, 70, 70]]


# -- how often labels are shown --------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.booleans(), min_size=1, max_size=9).filter(any),
    st.integers(1, 6),
    st.floats(0.01, 1.0),
    st.integers(0, 9),
)
@settings(max_examples=30, deadline=None)
def test_a_batch_always_shows_a_label_where_the_cases_allow_it(
    labelled: list[bool], batch: int, foreground: float, seed: int
) -> None:
    cases = [_case(number, empty=not has) for number, has in enumerate(labelled)]
    sampler = Sampler(cases=cases, patch_size=(4, 4, 4), foreground=foreground, seed=seed, batch_size=batch)
    if sum(labelled) * batch < len(labelled):
        return  # more batches than labelled cases
    samples = _numbers(sampler, 6 * batch)
    for first in range(0, len(samples), batch):
        assert any((target > 0).any() for _, target in samples[first : first + batch])


def test_each_case_is_used_once_before_any_is_used_again() -> None:
    sampler = Sampler(
        cases=[_case(number, empty=number % 3 > 0) for number in range(7)], patch_size=(4, 4, 4), batch_size=2, seed=1
    )
    for epoch in range(5):
        seen = [int(image.min() // 100_000) for image, _ in (sampler[7 * epoch + number] for number in range(7))]
        assert sorted(seen) == list(range(7))
        named = [sampler.cases.index(sampler.case_of(7 * epoch + number)) for number in range(7)]
        assert named == seen


def test_the_share_on_labels_is_kept_and_labels_are_weighted() -> None:
    sampler = Sampler(cases=[_case()], patch_size=(1, 1, 1), foreground=0.6, batch_size=8, seed=3)
    shown = Counter(int(target.item()) for _, target in _numbers(sampler, 800))
    assert 0.5 < (shown[1] + shown[2]) / 800 < 0.75
    assert 0.7 < shown[1] / shown[2] < 1.6, "without weights each label is as likely"
    weighted = replace(sampler, draw="labels", weights={0: 1.0, 1: 0.0, 2: 3.0})
    shown = Counter(int(target.item()) for _, target in _numbers(weighted, 800))
    assert shown[1] == 0
    assert 2 < shown[2] / shown[0] < 4.5
    uniform = replace(sampler, draw="uniform")
    shown = Counter(int(target.item()) for _, target in _numbers(uniform, 800))
    assert shown[0] > 700


def test_lesions_are_shown_somewhere_in_a_window_around_them() -> None:
    case = _case(shape=(40, 40, 40))
    sampler = Sampler(cases=[case], patch_size=(8, 8, 8), draw="lesions", window=(12, 12, 12), weights={1: 1.0}, seed=2)
    corners = []
    for image, _ in _numbers(sampler, 60):
        corners.append(np.argwhere(case.image[0] == image[0, 0, 0, 0])[0])
    middle, spread = np.array([4, 5, 5]), np.ptp(corners, axis=0)
    assert (np.array(corners) >= np.maximum(0, middle - 6)).all()
    assert (np.array(corners) + 8 <= np.maximum(8, middle + 6)).all()
    assert (spread >= 1).all(), "not always at the same place"
    usual = Sampler(cases=[case], patch_size=(8, 8, 8), draw="lesions", seed=2)
    assert any((target == 2).any() for _, target in _numbers(usual, 20)), "the lone voxel is a lesion, too"


# -- masks that are painted in part -------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["mixed", "uniform", "labels", "lesions"]),
    st.booleans(),
    PLANES,
    st.tuples(*[st.sampled_from([1, 4, 16])] * 3),
    st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_no_sample_is_unknown_altogether(draw: str, flat: bool, plane: Plane, patch: tuple[int, int, int], seed: int) -> None:
    size = (*patch[:2], 1) if flat else patch
    sampler = Sampler(
        cases=[_case(sparse=True), _case(1, sparse=True, empty=True)],
        patch_size=size,
        dims=2 if flat else 3,
        planes=(plane,),
        draw=draw,  # type: ignore[arg-type]
        seed=seed,
    )
    for image, target in _numbers(sampler, 8):
        assert image.shape[1:] == target.shape[1:] == size[: 2 if flat else 3]
        if draw != "lesions" or flat:  # a window may hold more than what was painted
            assert (target != UNKNOWN).any()


def test_around_a_scan_it_is_unknown_or_background() -> None:
    for case in (_case(), _case(sparse=True)):
        (_, target), *_ = _numbers(Sampler(cases=[case], patch_size=(20, 20, 20), whole=True), 1)
        inside = target[0, 3:17, 4:16, 5:15]
        assert np.array_equal(inside, case.target[0])
        assert (np.delete(target[0], range(3, 17), axis=0) == case.outside).all()


def test_what_an_augmentation_moves_in_is_unknown_or_background() -> None:
    steps = Pipeline((Step("RandomAffine", {"scales": [0.5, 0.5], "degrees": 0}),))
    for sparse in (False, True):
        target = np.ones((1, 12, 12, 12), np.uint8)
        case = Surveyed(np.ones((1, 12, 12, 12), np.float32), target, 1, UNKNOWN if sparse else 0)
        _, moved = Sampler(cases=[case], patch_size=(12, 12, 12), augmentation=steps)[0]
        assert set(np.unique(moved)) == {1, case.outside}
        assert moved[0, 6, 6, 6] == 1
        assert moved[0, 0, 0, 0] == case.outside


# -- slices -------------------------------------------------------------------------------------------------------------------------------


@given(PLANES, st.integers(0, 3), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_slice_is_one_of_its_plane_with_its_neighbours_as_channels(plane: Plane, context: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    image = random.normal(size=(2, 7, 6, 5)).astype(np.float32)
    target = random.integers(0, 3, (1, 7, 6, 5)).astype(np.uint8)
    slices, classes = as_slices(image, plane), as_slices(target, plane)
    case = Surveyed(image, target, 2)
    sides = slices.shape[1:3]
    sampler = Sampler(cases=[case], patch_size=(*sides, 1), dims=2, planes=(plane,), context=context, seed=seed)
    for number in range(12):
        shown, wanted = sampler[number]
        assert shown.shape == (2 * (2 * context + 1), *sides)
        assert shown.flags.c_contiguous
        found = [index for index in range(slices.shape[3]) if np.array_equal(shown, with_context(slices, index, context))]
        assert len(found) == 1
        assert np.array_equal(wanted, classes[..., found[0]])


def test_patches_of_slices_are_padded_and_cut_in_the_slice_alone() -> None:
    case = _case()
    sampler = Sampler(cases=[case], patch_size=(5, 24, 1), dims=2, planes=("coronal",), context=1, draw="uniform", seed=1)
    image, target = sampler[0]
    assert image.shape == (3, 5, 24)
    rows = np.flatnonzero((image != case.lowest).any(axis=(0, 1)))
    assert len(rows) == SHAPE[2] or (len(rows) == SHAPE[2] - 1 and case.lowest in case.image[0, :, 0, 0])
    assert target.shape == (1, 5, 24)


def test_several_planes_are_all_shown() -> None:
    case = _case(shape=(9, 9, 9))
    sampler = Sampler(cases=[case], patch_size=(9, 9, 1), dims=2, whole=True, planes=("axial", "coronal", "sagittal"), seed=0)
    seen = Counter()
    for image, _ in _numbers(sampler, 60):
        steps = (image[0, 1, 0] - image[0, 0, 0], image[0, 0, 1] - image[0, 0, 0])
        seen[{(81, 9): "axial", (81, 1): "coronal", (9, 1): "sagittal"}[int(steps[0]), int(steps[1])]] += 1
    assert set(seen) == set(AXIS)
    assert min(seen.values()) > 8


@given(PLANES, st.booleans(), st.sampled_from(["mixed", "uniform", "lesions"]))
@settings(max_examples=20, deadline=None)
def test_positive_slices_hold_a_label(plane: Plane, whole: bool, draw: str) -> None:
    case = _case()
    sides = as_slices(case.target, plane).shape[1:3]
    sampler = Sampler(
        cases=[case],
        patch_size=(*sides, 1),
        dims=2,
        planes=(plane,),
        positive=True,
        whole=whole,
        draw=draw,
        foreground=0.2,  # type: ignore[arg-type]
    )
    assert all((target > 0).any() for _, target in _numbers(sampler, 20))


def test_slices_are_augmented_in_their_plane() -> None:
    # A bright bar along the first side; any rotation out of the plane would fill the slice with what lies outside.
    image = np.zeros((1, 24, 24, 24), np.float32)
    image[0, :, 10:14] = 10
    case = Surveyed(image, (image > 0).astype(np.uint8), 1)
    steps = Pipeline((Step("RandomAffine", {"degrees": 30, "translation": 6, "scales": 0.1}),))
    sampler = Sampler(cases=[case], patch_size=(24, 24, 1), dims=2, planes=("axial",), augmentation=steps, foreground=1.0, seed=2)
    plain = replace(sampler, augmentation=None)
    for number in range(10):
        shown, wanted = sampler[number]
        assert shown.shape == (1, 24, 24)
        assert not np.array_equal(shown, plain[number][0])
        assert ((shown > 5) == (wanted > 0)).mean() > 0.95
        assert (wanted > 0).sum() > 40


# -- a run's settings ---------------------------------------------------------------------------------------------------------------------


def _spec(**changes: object) -> ModelSpec:
    flat = bool(changes.pop("flat", False))
    network = NetworkSpec(name="dynunet", dims=2 if flat else 3, in_channels=5 if flat else 1, out_channels=3)
    values = {"network": network, "labels": {3: "a", 7: "b"}, "pipeline": [], "patch_size": (8, 8, 8), "mode": "patches"}
    return ModelSpec.model_validate({**values, **changes})


def _config(**values: object) -> TrainConfig:
    return TrainConfig.parse({"data": {"images": "nowhere"}}).with_values(values)


def test_a_run_samples_as_its_settings_say() -> None:
    config = _config(**{"sampling.label_weights": {3: 1, 7: 4, 12: 1, 0: 2}, "sampling.draw": "labels", "optimization.seed": 5})
    made = make_sampler([_case(), _case(1, empty=True)], _spec(), config, batch_size=6, spacing=(1, 1, 2), augmentation=None)
    assert made.weights == {0: 2, 1: 1, 2: 4}, "by class; a value that is not learnt is left out"
    assert (made.draw, made.seed, made.batch_size, made.spacing, made.dims) == ("labels", 5, 6, (1, 1, 2), 3)
    assert len(made.cases) == 1, "a case without labels has nothing to show"
    config = _config(**{"sampling.slices": "positive"})
    flat = _spec(flat=True, patch_size=(8, 8, 1), context=2, planes=("coronal",))
    made = make_sampler([_case()], flat, config, batch_size=1, spacing=(1, 1, 1), augmentation=None)
    assert (made.dims, made.context, made.planes, made.positive) == (2, 2, ("coronal",), True)


def test_cases_that_teach_nothing_are_left_out_and_none_left_is_told() -> None:
    unpainted = replace(_case(), target=np.full((1, *SHAPE), UNKNOWN, np.uint8), outside=UNKNOWN)
    common = {"batch_size": 1, "spacing": (1.0, 1.0, 1.0), "augmentation": None}
    assert len(make_sampler([_case(), unpainted], _spec(), _config(), **common).cases) == 1  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="painted anywhere"):
        make_sampler([unpainted], _spec(), _config(), **common)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="holds a label"):
        make_sampler([_case(empty=True)], _spec(), _config(**{"sampling.draw": "lesions"}), **common)  # type: ignore[arg-type]


@given(st.integers(0, 30), st.booleans())
@settings(max_examples=10, deadline=None)
def test_a_sample_is_the_same_whenever_it_is_made(number: int, flat: bool) -> None:
    cases = [_case(0), _case(1, empty=True), _case(2, sparse=True)]
    sampler = Sampler(
        cases=cases,
        patch_size=(8, 8, 1) if flat else (8, 8, 8),
        dims=2 if flat else 3,
        context=int(flat),
        planes=("axial", "sagittal"),
        augmentation=augmentation_pipeline(),
        batch_size=3,
        seed=9,
    )
    image, target = sampler[number]
    sampler[number + 1]
    again = replace(sampler)[number]
    assert np.array_equal(image, again[0])
    assert np.array_equal(target, again[1])
    assert (image.dtype, target.dtype) == (np.float32, np.uint8)
