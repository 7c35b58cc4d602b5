import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import Cancelled
from napari_seg3d.inference.blocks import blended
from napari_seg3d.inference.windows import Tiling, Watch, activated


def _per_voxel(batch: np.ndarray) -> torch.Tensor:
    """A network that looks at each voxel alone: however an image is cut, the answer must be the same."""
    value = torch.from_numpy(batch[:, :1].copy())
    return torch.cat([-value, value, value**2 - 1], dim=1)


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(
    sides=st.lists(st.integers(1, 23), min_size=2, max_size=3),
    window=st.tuples(*[st.sampled_from([4, 8, 12])] * 3),
    batch=st.integers(1, 3),
)
def test_patches_give_what_the_whole_gives(sides: list[int], window: tuple[int, int, int], batch: int) -> None:
    images = _noise(batch, 2, *sides)
    expected = _per_voxel(images)
    for tiling in (Tiling(tuple(sides), window[: len(sides)]), Tiling.whole(sides, (4, 4, 2)[: len(sides)])):
        assert torch.allclose(blended(_per_voxel, images, tiling, -9.0, Watch(1)), expected, atol=1e-5)


@settings(max_examples=80, deadline=None)
@given(sides=st.tuples(*[st.integers(1, 40)] * 2), window=st.tuples(*[st.integers(1, 16)] * 2))
def test_windows_cover_everything_and_stay_inside(sides: tuple[int, int], window: tuple[int, int]) -> None:
    tiling = Tiling(sides, window)
    seen = np.zeros(tiling.padded, int)
    for corner in tiling.corners:
        assert all(0 <= start <= side - width for start, side, width in zip(corner, tiling.padded, window, strict=True))
        seen[tuple(slice(start, start + width) for start, width in zip(corner, window, strict=True))] += 1
    assert seen.min() >= 1
    assert seen[tiling.place].shape == sides


def test_a_network_sees_only_what_it_can_take() -> None:
    seen = []

    def remember(batch: np.ndarray) -> torch.Tensor:
        seen.append(batch.shape)
        return _per_voxel(batch)

    image = _noise(1, 1, 13, 7, 9)
    blended(remember, image, Tiling.whole((13, 7, 9), (8, 8, 4)), 0.0, Watch(1))
    assert seen == [(1, 1, 16, 8, 12)]
    seen.clear()
    blended(remember, image, Tiling((13, 7, 9), (8, 8, 8)), 0.0, Watch(1))
    assert set(seen) == {(1, 1, 8, 8, 8)}


def test_what_is_added_around_an_image_has_its_lowest_value() -> None:
    tiling = Tiling.whole((3, 2), (4, 4))
    padded = tiling.pad(np.ones((1, 1, 3, 2), np.float32), -7.0)
    assert padded.shape == (1, 1, 4, 4)
    assert padded[(..., *tiling.place)].min() == 1
    assert (padded == -7).sum() == 16 - 6


def test_probabilities_of_classes_sum_to_one_and_those_of_labels_stand_alone() -> None:
    logits = torch.from_numpy(_noise(2, 3, 4, 5))
    assert torch.allclose(activated(logits.clone(), "exclusive"), torch.softmax(logits, dim=1))
    assert torch.allclose(activated(logits.clone(), "overlapping"), torch.sigmoid(logits))


def test_progress_ends_full_and_cancel_stops_at_once() -> None:
    told: list[tuple[int, int]] = []
    image, tiling = _noise(1, 1, 20, 20, 20), Tiling((20, 20, 20), (8, 8, 8))
    count = len(tiling.corners)
    blended(_per_voxel, image, tiling, 0.0, Watch(count, lambda done, total: told.append((done, total))))
    assert told == [(done, count) for done in range(1, count + 1)]
    asked = 0

    def after_two() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    with pytest.raises(Cancelled):
        blended(_per_voxel, image, tiling, 0.0, Watch(count, cancelled=after_two))
    assert asked == 3
