"""The pipelines of the five systems, on data laid out as those systems expect it, from the files to what a network would see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.datasets import import_dataset, open_dataset, read_case_image, read_case_mask
from napari_seg3d.transforms import load_preset, run
from napari_seg3d.volumes import Volume, write_volume
from tests.datasets.makers import make_decathlon, make_luna, make_spine_radiographs

Pair = tuple[Volume, Volume]


def pairs_of(folder: Path) -> list[Pair]:
    pairs = []
    for case in open_dataset(folder).pairs:
        image = read_case_image(case)
        pairs.append((image, read_case_mask(case, image)))
    assert len(pairs) >= 2
    return pairs


def seen_by_the_network(preset: str, pair: Pair) -> tuple[Pair, Pair]:
    """Return a case after preprocessing, and after augmentation on top."""
    recipe = load_preset(preset)
    image, mask = run(recipe.preprocessing, *pair)
    assert mask is not None
    changed, moved = run(recipe.augmentation, image, mask, seed=3)
    assert moved is not None
    for one, labels in ((image, mask), (changed, moved)):
        assert one.data.dtype == np.float32
        assert np.isfinite(one.data).all()
        assert labels.data.shape[1:] == one.data.shape[1:]
        np.testing.assert_allclose(labels.affine, one.affine)
        assert labels.data.dtype.kind in "iu"
        assert set(np.unique(labels.data)) <= set(np.unique(pair[1].data))
    return (image, mask), (changed, moved)


def brighter_inside(pair: Pair) -> bool:
    image, mask = pair
    inside = mask.data[0] > 0
    return bool(image.data[0][inside].mean() > image.data[0][~inside].mean() + 0.1)


def test_torchio_unet3d_on_modes_of_images_and_masks(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(2):
        mask = np.zeros((50, 60 + number, 40), np.uint8)
        mask[15:35, 20:45, 10:30] = 1
        image = (random.normal(100, 10, mask.shape) + 300.0 * mask).astype(np.float32)
        for folder, data, kind in (("Img", image, "image"), ("Mask", mask, "labels")):
            volume = Volume(data[np.newaxis], np.diag([-4.0, -4.0, 4.0, 1.0]), kind)
            write_volume(volume, tmp_path / "training" / folder / f"{number}.nii.gz")
    for pair in pairs_of(tmp_path):
        (image, mask), changed = seen_by_the_network("torchio-unet3d", pair)
        assert image.data.shape == (1, 64, 64, 48)
        assert image.spacing == pytest.approx((4, 4, 4))
        assert abs(image.data.mean()) < 1e-3
        assert image.data.std() == pytest.approx(1, abs=1e-3)
        assert mask.data.sum() == pair[1].data.sum()  # at its own spacing nothing is lost
        assert brighter_inside((image, mask))
        assert brighter_inside(changed)


def test_spine_xray_unet2d_on_radiographs_with_matlab_masks(tmp_path: Path) -> None:
    for pair in pairs_of(make_spine_radiographs(tmp_path)):
        processed, changed = seen_by_the_network("spine-xray-unet2d", pair)
        for image, mask in (processed, changed):
            assert image.data.shape == (1, 1024, 1024, 1)
            assert set(np.unique(mask.data)) == {0, 1, 2, 3, 4, 5, 6}
        assert processed[0].data.min() == pytest.approx(-1, abs=0.05)  # the extremes are single pixels
        assert processed[0].data.max() == pytest.approx(1, abs=0.05)
        assert brighter_inside(processed)
        assert brighter_inside(changed)


def test_nodule_unet25d_on_luna(tmp_path: Path) -> None:
    series = make_luna(tmp_path)
    dataset = import_dataset(tmp_path)  # makes the masks of the nodules
    cases = {case.id: case for case in dataset.cases}
    for one in series[:-1]:
        case = next(case for name, case in cases.items() if one.uid in name)
        image = read_case_image(case)
        mask = read_case_mask(case, image)
        processed, changed = seen_by_the_network("nodule-unet25d", (image, mask))
        assert processed[0].data.shape[0] == 7
        assert processed[0].data.min() >= -1
        assert processed[0].data.max() <= 1
        middle = processed[0].data[3]
        np.testing.assert_array_equal(processed[0].data[2][..., 1:], middle[..., :-1])  # the slice below
        np.testing.assert_array_equal(processed[0].data[0][..., 0], middle[..., 0])  # repeated at the edge
        for scan, labels in (processed, changed):
            inside = labels.data[0] > 0
            assert inside.any()
            assert scan.data[3][inside].mean() > scan.data[3][~inside].mean() + 0.3


@pytest.mark.parametrize("preset", ["decathlon-cascade-stage1", "decathlon-cascade", "vnet"])
def test_decathlon_presets_on_a_task(preset: str, tmp_path: Path) -> None:
    for pair in pairs_of(make_decathlon(tmp_path)):
        processed, changed = seen_by_the_network(preset, pair)
        edges = (1, 1, 1.5) if preset == "vnet" else (1, 1, 1)
        assert processed[0].spacing == pytest.approx(edges, rel=0.05)
        if preset != "vnet":
            assert 0 <= processed[0].data.min() < processed[0].data.max() <= 1
            assert all(24 <= side <= 180 for side in processed[0].data.shape[1:])
        assert set(np.unique(processed[1].data)) == ({0, 1} if preset.endswith("stage1") else {0, 1, 2})
        assert brighter_inside(processed)
        assert brighter_inside(changed)
