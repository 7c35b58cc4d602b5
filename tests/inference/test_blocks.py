"""Block by block gives what all at once gives: no seam, no shift, nothing kept."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
import torchio
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference

from napari_seg3d.inference import blocks as room
from napari_seg3d.inference.blocks import blended, blocks
from napari_seg3d.inference.home import Wanted, bring_blocks_home, bring_home
from napari_seg3d.inference.windows import Tiling, Watch
from napari_seg3d.volumes import Grid

_AXES = st.sampled_from(list(permutations(range(3), 2)))
_BLENDINGS = ["gaussian", "hann", "average", "crop"]


def _same(batch: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(batch.copy())


def _naive(network, images: np.ndarray, tiling: Tiling) -> np.ndarray:
    """Every patch, full buffers, and the weights as the documentation says them."""
    padded = tiling.pad(images, float(images.min()))
    total, weights = np.zeros((1, 3, *tiling.padded)), np.zeros(tiling.padded)
    for corner in tiling.corners:
        box = tuple(slice(start, start + side) for start, side in zip(corner, tiling.window, strict=True))
        weight = np.ones(tiling.window)
        for axis, side in enumerate(tiling.window):
            profile = np.ones(side)
            if tiling.blending == "gaussian":
                profile = np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 8)) ** 2)
            elif tiling.blending == "hann":
                profile = np.sin(np.pi * (np.arange(side) + 1) / (side + 1)) ** 2
            weight = weight * profile.reshape([-1 if at == axis else 1 for at in range(3)])
        if tiling.blending == "gaussian":
            weight = np.maximum(weight, 1e-3)
        total[(..., *box)] += network(padded[(..., *box)]).numpy() * weight
        weights[box] += weight
    return (total / weights)[(..., *tiling.place)]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    sides=st.tuples(*[st.integers(1, 23)] * 3),
    window=st.tuples(*[st.sampled_from([3, 4, 8, 11])] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    blending=st.sampled_from(_BLENDINGS),
    axes=_AXES,
    most=st.sampled_from([1, 300, 2**22]),
    ahead=st.booleans(),
)
def test_a_network_that_returns_its_input_gives_it_back(sides, window, overlap, blending, axes, most, ahead) -> None:
    images = np.random.default_rng(1).normal(size=(1, 2, *sides)).astype(np.float32)
    tiling = Tiling(sides, window, overlap, blending)
    found, seen = np.zeros_like(images), np.zeros(sides, int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "MOST_NUMBERS", most)
        for box, block in blocks(_same, images, tiling, float(images.min()), Watch(1), axes, ahead=ahead):
            found[(..., *box)] = block.numpy()
            seen[box] += 1
            block.fill_(np.nan)  # whoever gets a block may change it
    assert (seen == 1).all(), "each voxel comes once"
    np.testing.assert_allclose(found, images, atol=1e-5)


def _looks_around(batch: np.ndarray) -> torch.Tensor:
    """A network whose answer depends on where in the window a voxel lies."""
    shape = batch.shape[2:]
    ramp = sum(np.arange(side).reshape([-1 if at == axis else 1 for at in range(3)]) for axis, side in enumerate(shape))
    mean = batch.mean(axis=(2, 3, 4), keepdims=True)
    return torch.from_numpy(np.concatenate([batch + ramp, batch * mean, np.zeros_like(batch) + ramp], axis=1).astype(np.float32))


@settings(max_examples=30, deadline=None)
@given(
    sides=st.tuples(*[st.integers(5, 20)] * 3),
    overlap=st.sampled_from([0.0, 0.5, 0.75]),
    blending=st.sampled_from(["gaussian", "hann", "average"]),
    axes=_AXES,
)
def test_it_equals_the_naive_sum(sides, overlap, blending, axes) -> None:
    images = np.random.default_rng(2).normal(size=(1, 1, *sides)).astype(np.float32)
    tiling = Tiling(sides, (8, 6, 8), overlap, blending)
    found = np.zeros((1, 3, *sides), np.float32)
    for box, block in blocks(_looks_around, images, tiling, float(images.min()), Watch(1), axes):
        found[(..., *box)] = block.numpy()
    np.testing.assert_allclose(found, _naive(_looks_around, images, tiling), rtol=1e-4, atol=1e-4)


def test_with_crop_each_voxel_is_that_of_the_nearest_window() -> None:
    seen = iter(range(100))
    images = np.random.default_rng(3).normal(size=(1, 1, 20, 4, 4)).astype(np.float32)
    tiling = Tiling((20, 4, 4), (8, 4, 4), 0.5, "crop")
    found = blended(lambda batch: torch.full(batch.shape, float(next(seen))), images, tiling, -9.0, Watch(1))
    assert tiling.starts[0] == [0, 4, 8, 12]
    assert found[0, 0, :, 0, 0].tolist() == [0.0] * 6 + [1.0] * 4 + [2.0] * 4 + [3.0] * 6


def test_air_is_answered_once_and_told_all_the_same() -> None:
    images = np.full((1, 1, 32, 16, 16), -3.0, np.float32)
    images[..., 20:24, 4:8, 4:8] = 1
    asked, told = [], []

    def network(batch: np.ndarray) -> torch.Tensor:
        asked.append(batch.max())
        return torch.from_numpy(batch * 2)

    tiling = Tiling((32, 16, 16), (8, 8, 8), 0.0)
    found = blended(network, images, tiling, -3.0, Watch(16, lambda *now: told.append(now)))
    assert sorted(asked) == [-3.0, 1.0]
    assert told[-1] == (16, 16)
    np.testing.assert_allclose(found.numpy(), images * 2, atol=1e-5)


def _grid(shape, order: tuple[int, ...], signs: tuple[int, ...], spacing: float, shift: float) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (target, sign) in enumerate(zip(order, signs, strict=True)):
        affine[target, axis] = sign * spacing
        affine[target, 3] = shift if sign > 0 else shift + spacing * (shape[axis] - 1)
    return Grid(shape, affine)


_ORDERS = [(0, 1, 2), (2, 0, 1), (1, 0, 2)]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    native=st.tuples(*[st.integers(1, 12)] * 3),
    orders=st.tuples(st.sampled_from(_ORDERS), st.sampled_from(_ORDERS)),
    signs=st.tuples(*[st.tuples(*[st.sampled_from([1, -1])] * 3)] * 2),
    spacing=st.sampled_from([1.0, 0.73, 1.63]),  # none that ends exactly where the resampler says "outside"
    shift=st.sampled_from([0.0, 0.3, -2.6]),
    axes=_AXES,
    cuts=st.tuples(*[st.lists(st.integers(1, 8), max_size=3)] * 2),
    targets=st.sampled_from(["exclusive", "overlapping"]),
)
def test_blocks_come_home_as_the_whole_does(shape, native, orders, signs, spacing, shift, axes, cuts, targets) -> None:
    grid = _grid(shape, orders[0], signs[0], 1.0, 0.0)
    scan = _grid(native, orders[1], signs[1], spacing, shift)
    probabilities = np.random.default_rng(4).random((3, *shape)).astype(np.float32)
    edges = [sorted({0, *(cut for cut in each if cut < shape[axis]), shape[axis]}) for axis, each in zip(axes, cuts, strict=True)]
    parts = []
    for rows in pairwise(edges[0]):
        for columns in pairwise(edges[1]):
            box = [slice(0, side) for side in shape]
            box[axes[0]], box[axes[1]] = slice(*rows), slice(*columns)
            parts.append((tuple(box), probabilities[(slice(None), *box)]))
    wanted = Wanted(probabilities=True, uncertainty=True)
    found = bring_blocks_home(iter(parts), grid, scan, targets, axes, wanted)
    for name, array in bring_home(probabilities, grid, scan, targets, wanted).arrays.items():
        np.testing.assert_allclose(found.arrays[name], array, atol=0 if name == "labels" else 1e-5)


def test_oblique_scans_come_home_too() -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    grid, scan = Grid((6, 6, 6), np.eye(4)), Grid((5, 5, 5), turn)
    probabilities = np.random.default_rng(5).random((3, 6, 6, 6)).astype(np.float32)
    every = slice(0, 6)
    parts = [((part, every, every), probabilities[:, part]) for part in (slice(0, 2), slice(2, 6))]
    np.testing.assert_array_equal(
        bring_blocks_home(iter(parts), grid, scan, "exclusive").labels, bring_home(probabilities, grid, scan, "exclusive").labels
    )


@settings(max_examples=15, deadline=None)
@given(sides=st.tuples(*[st.integers(8, 21)] * 3), overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_patches_are_put_together_as_monai_does(sides, overlap) -> None:
    images = np.random.default_rng(5).normal(size=(1, 1, *sides)).astype(np.float32)
    theirs = sliding_window_inference(
        torch.from_numpy(images), (8, 8, 8), 1, lambda batch: _looks_around(batch.numpy()), overlap=overlap, mode="gaussian"
    )
    ours = blended(_looks_around, images, Tiling(sides, (8, 8, 8), overlap, "gaussian"), float(images.min()), Watch(1))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("blending", "mode"), [("hann", "hann"), ("average", "average")])
def test_patches_are_put_together_as_torchio_does(blending, mode) -> None:
    images = np.random.default_rng(6).normal(size=(1, 1, 21, 16, 19)).astype(np.float32)
    subject = torchio.Subject(image=torchio.ScalarImage(tensor=images[0]))
    sampler = torchio.GridSampler(subject, (8, 8, 8), (4, 4, 4))
    aggregator = torchio.GridAggregator(sampler, overlap_mode=mode)
    for batch in torchio.SubjectsLoader(sampler, batch_size=1):
        aggregator.add_batch(_looks_around(batch["image"]["data"].numpy()), batch[torchio.LOCATION])
    ours = blended(_looks_around, images, Tiling((21, 16, 19), (8, 8, 8), 0.5, blending), float(images.min()), Watch(1))
    np.testing.assert_allclose(ours[0].numpy(), aggregator.get_output_tensor().numpy(), rtol=1e-4, atol=1e-4)
