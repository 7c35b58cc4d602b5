from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_seg3d.errors import ConfigError, ReadError
from napari_seg3d.transforms import preprocess, preprocessing_pipeline
from napari_seg3d.volumes import Source, Volume

ORDERS = [
    "".join(pair[flip] for pair, flip in zip(axes, flips, strict=True))
    for axes in permutations(["RL", "AP", "SI"])
    for flips in product((0, 1), repeat=3)
]


def _turned(order: str, degrees: float = 0) -> NDArray[np.float64]:
    affine = np.diag([1.5, 1.0, 2.0, 1.0]) @ nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(order), (20, 24, 16))
    angle = np.deg2rad(degrees)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = rotation @ affine
    affine[:3, 3] += (7, -11, 13)
    return affine


def _with_landmark(affine: NDArray[np.float64]) -> tuple[Volume, Volume, NDArray[np.float64]]:
    image = np.random.default_rng(0).normal(0, 1, (1, 20, 24, 16)).astype(np.float32)
    mask = np.zeros((1, 20, 24, 16), np.uint8)
    mask[0, 4:9, 13:18, 8:13] = 117  # more than the half percent that normalisation clips
    image[mask > 0] = 50
    place = Volume(image, affine).grid.to_world(np.array([[6, 15, 10]]))[0]
    return Volume(image, affine), Volume(mask, affine, "labels"), place


def _centre(values: NDArray[np.generic], volume: Volume) -> NDArray[np.float64]:
    return volume.grid.to_world(np.argwhere(values)).mean(axis=0)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("degrees", [0, 25])
@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 1.5)])
def test_a_landmark_stays_where_it_is_in_the_patient(order: str, degrees: float, spacing: tuple[float, ...] | None) -> None:
    image, mask, place = _with_landmark(_turned(order, degrees))
    seen, labels = preprocess(preprocessing_pipeline(spacing, "zscore"), image, mask)
    assert labels is not None
    assert seen.orientation == labels.orientation == "RAS"
    assert labels.grid.matches(seen.grid)
    half_a_voxel = 0.5 * np.linalg.norm(seen.spacing)
    assert np.linalg.norm(_centre(labels.data[0] == 117, labels) - place) < half_a_voxel
    bright = seen.data[0] > 0.7 * seen.data.max()
    assert np.linalg.norm(_centre(bright, seen) - place) < half_a_voxel


def test_without_resampling_the_mask_is_only_turned() -> None:
    image, mask, _ = _with_landmark(_turned("PSR"))
    seen, labels = preprocess(preprocessing_pipeline(None, "zscore"), image, mask)
    assert labels is not None
    assert labels.data.dtype == mask.data.dtype
    assert np.array_equal(labels.data, mask.canonical().data)
    assert seen.data.dtype == np.float32


def test_a_spacing_that_differs_by_rounding_is_not_resampled() -> None:
    image, _, _ = _with_landmark(np.diag([1.5000001, 1.0, 2.0, 1.0]))
    seen, _ = preprocess(preprocessing_pipeline((1.5, 1.0, 2.0), "rescale"), image)
    assert np.allclose(seen.affine, image.affine, atol=0, rtol=1e-9)


def test_normalisation_withstands_a_few_voxels_of_metal() -> None:
    image, _, _ = _with_landmark(np.eye(4))
    metal = image.data.copy()
    metal[0, 0, 0, :3] = 1e6
    plain, _ = preprocess(preprocessing_pipeline(None, "zscore"), image)
    seen, _ = preprocess(preprocessing_pipeline(None, "zscore"), Volume(metal, image.affine))
    assert abs(float(seen.data.mean())) < 1e-3
    assert np.corrcoef(plain.data[0, 1:].ravel(), seen.data[0, 1:].ravel())[0, 1] > 0.99


def test_the_callers_array_is_not_touched() -> None:
    image, mask, _ = _with_landmark(np.eye(4))
    before = image.data.copy()
    preprocess(preprocessing_pipeline((1.0, 1.0, 1.0), "zscore"), image, mask)
    assert np.array_equal(before, image.data)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "NaN or infinity"), (4.0, "constant")])
def test_a_scan_without_sense_is_refused_by_name(value: float, word: str) -> None:
    data = np.full((1, 8, 8, 8), 4.0, np.float32)
    data[0, 2, 2, 2] = value
    image = Volume(data, np.eye(4), source=Source(Path("folder/knee.nii.gz"), "nifti"))
    with pytest.raises(ReadError, match=f"knee.nii.gz.*{word}"):
        preprocess(preprocessing_pipeline(None, "zscore"), image)


def test_a_header_in_the_wrong_unit_does_not_ask_for_terabytes() -> None:
    image = Volume(np.random.default_rng(0).normal(size=(1, 30, 30, 30)).astype(np.float32), np.diag([1000.0, 1000, 1000, 1]))
    with pytest.raises(ConfigError, match="spacing in its header"):
        preprocess(preprocessing_pipeline((1.0, 1.0, 1.0), "zscore"), image)
