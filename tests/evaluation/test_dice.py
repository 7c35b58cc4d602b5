from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError
from napari_seg3d.evaluation import dice, dice_per_label
from napari_seg3d.volumes import read_volume

LABELS = (1, 2, 3)
masks = arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 3))


def by_counting(prediction: NDArray[np.uint8], reference: NDArray[np.uint8], label: int) -> float:
    common = sum(1 for a, b in zip(prediction.flat, reference.flat, strict=True) if a == b == label)
    total = sum(1 for a in prediction.flat if a == label) + sum(1 for b in reference.flat if b == label)
    return 2 * common / total if total else math.nan


@given(masks, masks)
def test_equals_the_definition_and_is_symmetric(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> None:
    scores = dice_per_label(one, other, LABELS)
    np.testing.assert_equal(scores, {label: by_counting(one, other, label) for label in LABELS})
    np.testing.assert_equal(scores, dice_per_label(other, one, LABELS))
    assert all(math.isnan(score) or 0 <= score <= 1 for score in scores.values())


@given(masks)
def test_a_mask_equals_itself(mask: NDArray[np.uint8]) -> None:
    assert all(score == 1 or not (mask == label).any() for label, score in dice_per_label(mask, mask, LABELS).items())


def test_empty_masks() -> None:
    empty, full = np.zeros((2, 2, 2)), np.ones((2, 2, 2))
    assert math.isnan(dice(empty, empty))
    assert dice(empty, full) == dice(full, empty) == 0
    assert dice(full, full * 5) == 1


def test_shapes_must_agree() -> None:
    with pytest.raises(GeometryError, match="2x2x2 voxels, the reference 2x2x3"):
        dice(np.ones((2, 2, 2)), np.ones((2, 2, 3)))


def monai_dice(prediction: NDArray[np.generic], reference: NDArray[np.generic], count: int) -> NDArray[np.float64]:
    import torch
    from monai.metrics import DiceMetric
    from monai.networks.utils import one_hot

    def encoded(mask: NDArray[np.generic]) -> torch.Tensor:
        return one_hot(torch.from_numpy(mask.astype(np.int64))[None, None], count)

    metric = DiceMetric(include_background=False, reduction="none", ignore_empty=False)
    return np.asarray(metric(encoded(prediction), encoded(reference))[0], dtype=np.float64)


@pytest.mark.parametrize("seed", range(3))
def test_equals_monai_on_random_masks(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.integers(0, 4, (2, 9, 10, 11))
    np.testing.assert_allclose(list(dice_per_label(one, other, LABELS).values()), monai_dice(one, other, 4), rtol=1e-6)


def test_equals_monai_on_real_masks(shared_data: Path) -> None:
    reference = read_volume(shared_data / "hippocampus" / "labels" / "hippocampus_001.nii.gz", "labels").data[0]
    prediction = np.roll(reference, (1, 2, 0), axis=(0, 1, 2))
    scores = list(dice_per_label(prediction, reference, (1, 2)).values())
    assert 0.5 < min(scores) < max(scores) < 1
    np.testing.assert_allclose(scores, monai_dice(prediction, reference, 3), rtol=1e-6)
