"""Preprocess, predict perfectly, and come home: on real masks, nothing may be lost that the grid does not force to be lost.

A perfect prediction at another spacing says, at each of its voxels, what makes its interpolation come nearest to the mask (least squares).
The share of each class in the voxel would be another meaning of perfect; interpolated, shares round every corner a second time.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_seg3d.inference.home import bring_home
from napari_seg3d.transforms import Pipeline, Step, preprocessing_pipeline, run
from napari_seg3d.volumes import Grid, Volume, read_volume

_SIDEWAYS = ("RAS", "LPS", "PSR", "ASL", "SRA", "IPL", "LAI", "RSP")


def _one_hot(mask: Volume) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
    values = np.unique(mask.data)
    return np.stack([mask.data[0] == value for value in values]).astype(np.float32), values


def _perfect(mask: Volume, grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
    shares, values = _one_hot(mask)
    known = Volume(shares, mask.affine).canonical()
    voxels = np.linalg.solve(grid.affine, known.affine)  # along the same axes: the processed grid is canonical
    data = known.data
    for axis in range(3):
        here, there = data.shape[1 + axis], grid.shape[axis]
        places = np.clip(voxels[axis, 3] + voxels[axis, axis] * np.arange(here), 0, there - 1)
        low = np.minimum(places.astype(int), max(there - 2, 0))
        weights = np.zeros((here, there))
        weights[np.arange(here), low] += 1 - (places - low)
        weights[np.arange(here), np.minimum(low + 1, there - 1)] += places - low
        data = np.moveaxis(np.tensordot(np.linalg.pinv(weights), data, axes=(1, 1 + axis)), 0, 1 + axis)
    return np.ascontiguousarray(data, dtype=np.float32), values


def _through(mask: Volume, spacing: float) -> tuple[float, float]:
    """Return the mean Dice of all labels, and how far the centre of the mask moved, in its own voxels."""
    seen, _ = run(preprocessing_pipeline((spacing,) * 3, "zscore"), mask.with_data(mask.data, "image"))
    assert np.allclose(seen.spacing, spacing)
    scores, values = _perfect(mask, seen.grid)
    home = values[bring_home(scores, seen.grid, mask.grid, "exclusive").labels[0]]
    own = mask.data[0]
    dice = [2 * ((home == value) & (own == value)).sum() / ((home == value).sum() + (own == value).sum()) for value in values[1:]]
    moved = np.argwhere(home > 0).mean(axis=0) - np.argwhere(own > 0).mean(axis=0)
    return float(np.mean(dice)), float(np.linalg.norm(moved))


def _native(mask: Volume) -> None:
    shares, values = _one_hot(mask)
    seen, _ = run(
        Pipeline((Step("ToCanonical"), Step("Resample", {"target": list(mask.canonical().spacing)}))), Volume(shares, mask.affine)
    )
    assert seen.orientation == "RAS"
    home = values[bring_home(seen.data, seen.grid, mask.grid, "exclusive").labels[0]]
    assert home.dtype == mask.data.dtype
    assert np.array_equal(home, mask.data[0])


def test_at_native_spacing_not_a_voxel_changes_in_any_axis_order(shared_data: Path) -> None:
    for path in sorted((shared_data / "orient48").glob("*.nii.gz")):
        head = read_volume(path, "image")
        edges = np.percentile(head.data, (40, 70, 90))
        _native(head.with_data(np.digitize(head.data, edges).astype(np.uint8), "labels"))
    mask = read_volume(shared_data / "hippocampus" / "labels" / "hippocampus_003.nii.gz", "labels")
    for order in _SIDEWAYS:
        turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(order))
        data = nib.orientations.apply_orientation(mask.data[0], turn)
        affine = mask.affine @ nib.orientations.inv_ornt_aff(turn, mask.data.shape[1:])
        turned = Volume(np.ascontiguousarray(data)[np.newaxis], affine, "labels")
        assert turned.orientation == order
        _native(turned)


def test_hippocampi_come_home_through_2_mm(shared_data: Path) -> None:
    paths = sorted((shared_data / "hippocampus" / "labels").glob("*.nii.gz"))[::12]
    results = np.array([_through(read_volume(path, "labels"), 2.0) for path in paths])
    assert results[:, 0].mean() >= 0.96
    assert results[:, 1].mean() < 0.1
    assert results[:, 1].max() < 0.2  # a tenth of a 2 mm voxel


@pytest.mark.slow
def test_all_hippocampi_come_home_through_2_mm(shared_data: Path) -> None:
    results = np.array(
        [_through(read_volume(path, "labels"), 2.0) for path in sorted((shared_data / "hippocampus" / "labels").glob("*.nii.gz"))]
    )
    assert results[:, 0].mean() >= 0.96
    assert results[:, 1].mean() < 0.1
    assert results[:, 1].max() < 0.2


def test_a_whole_body_comes_home_through_2_mm(shared_data: Path) -> None:
    dice, moved = _through(read_volume(shared_data / "totalseg" / "example_seg_mr.nii.gz", "labels"), 2.0)
    assert dice >= 0.98
    assert moved < 0.1


@pytest.mark.slow
def test_every_organ_comes_home_through_2_mm(shared_data: Path) -> None:
    for name in ("example_seg.nii.gz", "example_seg_fast_force_split.nii.gz"):
        dice, moved = _through(read_volume(shared_data / "totalseg" / name, "labels"), 2.0)
        assert dice >= 0.98
        assert moved < 0.1


@pytest.mark.parametrize("shape", [(34, 36, 32), (35, 37, 31), (33, 36, 40)])
def test_a_mask_does_not_move_when_its_voxels_grow(shape: tuple[int, int, int]) -> None:
    # Nearest neighbour moves it by half a voxel wherever a side is even.
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    for centre in ((16.0, 17.0, 15.0), (15.6, 18.3, 14.8)):
        ball = (np.linalg.norm(grid - np.array(centre)[:, None, None, None], axis=0) < 8.2).astype(np.uint8)
        mask = Volume(ball[np.newaxis], np.eye(4), "labels")
        image, labels = run(preprocessing_pipeline((2.0, 2.0, 2.0), "rescale"), mask.with_data(100 * mask.data, "image"), mask)
        assert labels is not None
        before = np.argwhere(ball).mean(axis=0)
        after = labels.grid.to_world(np.argwhere(labels.data[0])).mean(axis=0)
        weights = image.data[0] / image.data.sum()
        bright = (image.grid.to_world(np.argwhere(weights >= 0)) * weights.reshape(-1, 1)).sum(axis=0)
        assert np.abs(after - before).max() < 0.1
        assert np.abs(bright - before).max() < 0.1
