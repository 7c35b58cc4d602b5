import numpy as np
import torch

from napari_seg3d.transforms import augment, augmentation_pipeline


def _patch() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    mask = np.zeros((1, 24, 20, 16), np.uint8)
    mask[0, 4:12, 6:14, 5:11] = 2
    image = (mask * 3 + random.normal(0, 0.1, (1, 24, 20, 16))).astype(np.float32)
    return image, mask


def test_a_seed_replays_to_the_bit() -> None:
    image, mask = _patch()
    one = augment(augmentation_pipeline(), image, mask, (1, 1, 2), seed=5)
    again = augment(augmentation_pipeline(), image, mask, (1, 1, 2), seed=5)
    assert np.array_equal(one[0], again[0])
    assert np.array_equal(one[1], again[1])
    different = [augment(augmentation_pipeline(), image, mask, (1, 1, 2), seed=seed)[0] for seed in range(6)]
    assert any(not np.array_equal(different[0], other) for other in different[1:])


def test_image_and_mask_move_together() -> None:
    image, mask = _patch()
    for seed in range(20):
        seen, labels = augment(augmentation_pipeline(), image, mask, (1, 1, 2), seed=seed)
        assert set(np.unique(labels)) <= {0, 2}
        bright = seen > (seen.min() + seen.max()) / 2
        overlap = 2 * (bright & (labels == 2)).sum() / (bright.sum() + (labels == 2).sum())
        assert overlap > 0.85, seed


def test_the_random_state_and_the_arrays_of_the_caller_stay() -> None:
    image, mask = _patch()
    kept = image.copy(), mask.copy()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    augment(augmentation_pipeline(), image, mask, (1, 1, 1), seed=9)
    assert torch.equal(torch.rand(4), expected)
    assert np.array_equal(image, kept[0])
    assert np.array_equal(mask, kept[1])
