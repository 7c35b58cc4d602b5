import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import Cancelled
from napari_seg3d.inference.windows import patch_probabilities, whole_probabilities


def _per_voxel(batch: torch.Tensor) -> torch.Tensor:
    """A network that looks at each voxel alone: however an image is cut, the answer must be the same."""
    value = batch[:, :1]
    return torch.cat([-value, value, value**2 - 1], dim=1)


@settings(max_examples=60, deadline=None)
@given(
    sides=st.tuples(*[st.integers(1, 23)] * 3),
    patch=st.tuples(*[st.sampled_from([4, 8, 12])] * 3),
)
def test_patches_give_what_the_whole_gives(sides: tuple[int, int, int], patch: tuple[int, int, int]) -> None:
    image = torch.randn(2, *sides)
    expected = torch.softmax(_per_voxel(image[None]), dim=1)[0]
    patched = patch_probabilities(_per_voxel, image, patch)
    whole = whole_probabilities(_per_voxel, image, (4, 4, 2))
    assert patched.shape == whole.shape == expected.shape
    assert torch.allclose(patched, expected, atol=1e-5)
    assert torch.allclose(whole, expected, atol=1e-6)


def test_a_network_sees_only_what_it_can_take() -> None:
    seen = []

    def remember(batch: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(batch.shape))
        return _per_voxel(batch)

    whole_probabilities(remember, torch.randn(1, 13, 7, 9), (8, 8, 4))
    assert seen == [(1, 1, 16, 8, 12)]
    seen.clear()
    patch_probabilities(remember, torch.randn(1, 13, 7, 9), (8, 8, 8))
    assert set(seen) == {(1, 1, 8, 8, 8)}


def test_progress_ends_full_and_cancel_stops_at_once() -> None:
    told: list[tuple[int, int]] = []
    patch_probabilities(
        _per_voxel, torch.randn(1, 20, 20, 20), (8, 8, 8), progress=lambda done, total: told.append((done, total))
    )
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    count = 0

    def after_two() -> bool:
        nonlocal count
        count += 1
        return count > 2

    with pytest.raises(Cancelled):
        patch_probabilities(_per_voxel, torch.randn(1, 20, 20, 20), (8, 8, 8), cancelled=after_two)
    assert count == 3
