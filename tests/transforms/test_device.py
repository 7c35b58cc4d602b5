"""The random changes that torch computes are those of torchio: drawn alike, and the same but for the last digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_seg3d.transforms import Pipeline, Step, augmentation_pipeline, run
from napari_seg3d.transforms import device as room
from napari_seg3d.transforms.augment import Augmentation
from napari_seg3d.transforms.device import TorchSteps, is_known
from napari_seg3d.volumes import Volume

STEPS = (
    Step("RandomAffine", {"scales": 0.2, "degrees": 30.0, "translation": 4.0}),
    Step("RandomAffine", {"scales": [0.7, 1.4], "degrees": [0, 0, 0, 0, -90, 90], "isotropic": True, "default_pad_value": -7.0}),
    Step("RandomFlip", {"axes": [0, 1, 2], "flip_probability": 0.7}),
    Step("RandomGamma", {"log_gamma": [-0.4, 0.4]}),
    Step("RandomNoise", {"mean": 0.3, "std": [0.1, 0.5]}),
    Step("RandomBlur", {"std": [0, 2, 0.5, 1, 0, 3]}),
    Step("RandomBiasField", {"coefficients": 0.5, "order": 3}),
    Step("RandomMotion", {"degrees": 10, "translation": 4.0, "num_transforms": 2}),
    Step("RandomMotion", {"degrees": 3, "translation": 1.0, "num_transforms": 5}),
    Step("ZNormalization"),
)
SHAPES = st.one_of(st.tuples(*[st.integers(6, 20)] * 3), st.tuples(st.integers(6, 24), st.integers(6, 24), st.just(1)))


def _sample(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(0).normal(size=(2, *shape))
    image = 10 * gaussian_filter(noise, (0, 2, 2, 2 if shape[2] > 1 else 0)).astype(np.float32)
    target = np.zeros((1, *shape), np.uint8)
    target[0, shape[0] // 4 : shape[0] // 2] = 2
    target[0, :, shape[1] // 2 :] = 1
    return image, target


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
@given(shape=SHAPES, spacing=st.tuples(*[st.floats(0.5, 3.0)] * 3), seed=st.integers(0, 2**62))
@settings(max_examples=12, deadline=None)
def test_each_step_does_what_torchio_does(
    step: Step, shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int
) -> None:
    pipeline = Pipeline((Step("RandomGamma", probability=0.0), step))
    if shape[2] == 1 and "translation" in step.parameters:
        pipeline = Pipeline((step,))
    image, target = _sample(shape)
    affine = np.diag([*spacing, 1.0])
    expected, moved = run(pipeline, Volume(image, affine), Volume(target, affine, "labels"), seed)
    assert moved is not None
    changed, labels = TorchSteps(pipeline)(torch.from_numpy(image), torch.from_numpy(target), spacing, seed, 0)
    # On the very border of a voxel, the last digit decides whether a place is inside.
    assert (np.abs(changed.numpy() - expected.data) > 1e-4).mean() < 0.005
    assert (labels.numpy() != moved.data).mean() < 0.005


@given(shape=SHAPES, seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_a_gpu_would_move_a_sample_as_itk_does(shape: tuple[int, int, int], seed: int) -> None:
    image, target = (torch.from_numpy(array) for array in _sample(shape))
    random = np.random.default_rng(seed)
    matrix = room._rotation(random.uniform(-40, 40, 3) * ([0, 0, 1] if shape[2] == 1 else 1)) * random.uniform(0.8, 1.2)
    if shape[2] == 1:
        matrix[2, 2] = 1.0
    shift = random.uniform(-3, 3, 3) * [1, 1, shape[2] > 1]
    sample, fill = room._Sample(image, target, (1, 1, 1), 255), torch.tensor([-5.0, 5.0])[:, None, None, None]
    by_itk, by_torch = (move(sample, matrix, shift, fill) for move in (room._moved_by_itk, room._moved_by_torch))
    assert float(((by_itk[0] - by_torch[0]).abs() > 1e-3).float().mean()) < 0.005
    assert float((by_itk[1] != by_torch[1]).float().mean()) < 0.005
    assert by_torch[1].dtype == torch.uint8


def test_a_seed_draws_each_step_by_its_place_however_often_it_acts() -> None:
    image, target = _sample((16, 16, 16))
    pipeline = augmentation_pipeline()
    acted = 0
    for seed in range(12):
        expected, moved = run(pipeline, Volume(image, np.eye(4)), Volume(target, np.eye(4), "labels"), seed)
        changed, labels = Augmentation(pipeline)(image, target, (1, 1, 1), seed)
        assert moved is not None
        assert (np.abs(changed - expected.data) > 1e-3).mean() < 0.005
        assert (labels != moved.data).mean() < 0.005
        acted += not np.array_equal(changed, image)
    assert 3 < acted < 12
    switched = Pipeline((Step("RandomFlip", enabled=False), *pipeline.steps))
    before, _ = run(switched, Volume(image, np.eye(4)), None, 5)
    assert (np.abs(Augmentation(switched)(image, target, (1, 1, 1), 5)[0] - before.data) > 1e-3).mean() < 0.005


def test_nothing_random_of_the_caller_is_touched() -> None:
    image, target = _sample((8, 8, 8))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    kept = image.copy(), target.copy()
    Augmentation(Pipeline(STEPS))(image, target, (1, 1, 1), 9)
    assert torch.equal(torch.rand(4), expected)
    assert np.array_equal(image, kept[0])
    assert np.array_equal(target, kept[1])


def test_overlapping_labels_move_together_and_what_comes_in_is_as_asked() -> None:
    image, target = _sample((12, 12, 12))
    channels = np.concatenate([target == 1, target == 2, target > 0]).astype(np.uint8)
    for pipeline in (Pipeline(STEPS[:1]), Pipeline((Step("RandomElasticDeformation"), STEPS[0]))):
        _, moved = Augmentation(pipeline)(image, channels, (1, 1, 1), 4, outside=255)
        assert set(np.unique(moved)) == {0, 1, 255}
        assert ((moved == 255).any(axis=0) == (moved == 255).all(axis=0)).all()
        inside = (moved != 255).all(axis=0)
        assert np.array_equal(moved[2][inside], (moved[0] | moved[1])[inside])
        assert not (moved[0] & moved[1])[inside].any()


@pytest.mark.parametrize(
    "parameters",
    [
        {"center": "origin"},
        {"image_interpolation": "bspline"},
        {"label_interpolation": "label_gaussian"},
        {"default_pad_value": "mean"},
    ],
)
def test_what_it_does_not_know_it_leaves_to_torchio(parameters: dict[str, Any]) -> None:
    assert not is_known(Pipeline((Step("RandomAffine", parameters),)))
    assert not is_known(Pipeline((Step("RandomFlip"), Step("RandomElasticDeformation"))))
    assert is_known(Pipeline((*STEPS, Step("RandomElasticDeformation", enabled=False))))
