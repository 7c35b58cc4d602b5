from itertools import permutations, product
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import Cancelled, ReadError
from napari_seg3d.inference import Computer, Crop, ModelSpec, PredictOptions, Predictor, grown_box, object_box
from napari_seg3d.inference.cascade import box_on
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Box, Grid, Volume, box_of, crop, crop_grid

ORDERS = [
    "".join(pair[flip] for pair, flip in zip(axes, flips, strict=True))
    for axes in permutations(["RL", "AP", "SI"])
    for flips in product((0, 1), repeat=3)
]
_ROOMY = Crop(margin=0.2, smallest=4)


class _Blocks(torch.nn.Module):
    """As the finding network of a cascade, answers at its deepest level: a block is found where its brightest voxel is bright."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return 50 * (torch.nn.functional.max_pool3d(batch, 4) - 0.5)


class _Bright(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(batch.shape[2:]))
        bright = 50 * (batch - 0.5)
        return torch.cat([-bright, bright], dim=1)


def _cascade(spacing: tuple[float, float, float] | None = None, around: Crop = _ROOMY) -> tuple[Predictor, _Bright]:
    shared: dict[str, Any] = {"patch_size": (8, 8, 8), "mode": "whole"}
    deep = NetworkSpec(name="cascade-roi", out_channels=1, features=(8, 16, 32), strides=((2, 2, 2),) * 2)
    finds = ModelSpec(
        network=deep,
        labels={1: "object"},
        targets="overlapping",
        pipeline=preprocessing_pipeline(spacing, "rescale").to_list(),
        **shared,
    )
    segments = ModelSpec(
        network=NetworkSpec(out_channels=2, features=(8, 16, 32), strides=((2, 2, 2),) * 2),
        labels={4: "organ"},
        pipeline=preprocessing_pipeline(None, "rescale").to_list(),
        crop=around,
        **shared,
    )
    bright = _Bright()
    return Predictor(segments, Computer(bright, "cpu", "32"), roi=Predictor(finds, Computer(_Blocks(), "cpu", "32"))), bright


def _scan(bright: np.ndarray, order: str = "RAS") -> Volume:
    turn = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(order), bright.shape)
    angle = np.deg2rad(12)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Volume(bright[np.newaxis].astype(np.int16) * 100, rotation @ np.diag([1.5, 1.0, 2.0, 1.0]) @ turn)


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(*[st.integers(8, 21)] * 3),
    order=st.sampled_from(ORDERS),
    data=st.data(),
)
def test_what_is_found_is_segmented_and_put_back_in_its_place(
    shape: tuple[int, int, int], order: str, data: st.DataObject
) -> None:
    bright = np.zeros(shape, bool)
    first = [data.draw(st.integers(0, side - 2)) for side in shape]
    box = tuple(slice(start, start + 2) for start in first)
    bright[box] = np.random.default_rng(0).random((2, 2, 2)) < 0.6
    bright[tuple(first)] = True
    scan = _scan(bright, order)
    predictor, _ = _cascade()
    prediction = predictor.predict(scan)
    assert np.array_equal(prediction.labels.affine, scan.affine)
    assert np.array_equal(prediction.labels.data[0], np.where(bright, 4, 0))
    assert prediction.notes == ()
    found = predictor.find(scan)
    assert found is not None
    assert bright[found].sum() == bright.sum()


def test_the_second_network_sees_the_box_alone() -> None:
    bright = np.zeros((64, 60, 56), bool)
    bright[30:34, 20:24, 40:44] = True
    predictor, seen = _cascade()
    predictor.predict(_scan(bright))
    (sides,) = seen.shapes
    assert max(sides) <= 16, "of 64: the object and its margin"
    predictor, seen = _cascade(around=Crop(margin=0.0, smallest=20))
    predictor.predict(_scan(bright))
    assert seen.shapes == [(20, 20, 20)]


def test_the_object_is_found_through_another_spacing() -> None:
    i, j, k = np.ogrid[:40, :44, :30]
    bright = (i - 28) ** 2 + (j - 12) ** 2 + (k - 9) ** 2 < 25
    for order in ("RAS", "LPS", "SAL"):
        scan = _scan(bright, order)
        labels = _cascade((3.0, 3.0, 3.0))[0].predict(scan).labels.data[0]
        assert np.array_equal(labels == 4, bright)


def test_a_coarse_answer_lies_where_its_blocks_do() -> None:
    bright = np.zeros((21, 18, 13), bool)
    bright[6, 9, 3] = True
    roi = _cascade()[0].roi
    assert roi is not None
    image = bright[np.newaxis].astype(np.float32)
    grid = Grid(bright.shape, np.diag([1.5, 1.0, 2.0, 1.0]))
    probabilities, coarse = roi.probabilities(image, grid, PredictOptions(mode="patches"))
    assert probabilities.shape == (1, 6, 5, 4)
    assert np.allclose(coarse.spacing, 4 * np.array(grid.spacing))
    (block,) = np.argwhere(probabilities[0] > 0.5)
    away = np.abs(coarse.to_world(block[np.newaxis]) - grid.to_world(np.array([[6, 9, 3]])))[0] / grid.spacing
    assert away.max() <= 1.5, "the voxel lies in its block, whose centre is two voxels from its edges"
    bright[6, 9, 3] = False
    bright[7:15, 3:11, 3:11] = True  # two blocks along each axis, of an image that begins one voxel inside the first
    classes = roi.classes(bright[np.newaxis].astype(np.float32), grid, grid)
    assert classes.shape == (1, *bright.shape)
    assert np.abs(np.argwhere(classes[0]).mean(axis=0) - np.argwhere(bright).mean(axis=0)).max() < 0.1


def test_nothing_found_is_background_and_said() -> None:
    scan = _scan(np.zeros((12, 12, 12), bool))
    values = np.random.default_rng(0).normal(0, 1, scan.data.shape).astype(np.float32)
    predictor, seen = _cascade()
    assert predictor.roi is not None
    predictor.roi.computer.network = torch.nn.Sequential(torch.nn.AvgPool3d(4), torch.nn.Hardtanh(-9.0, -8.0))
    prediction = predictor.predict(scan.with_data(values))
    assert not prediction.labels.data.any()
    assert prediction.labels.data.shape == scan.data.shape
    assert "found nothing" in prediction.notes[0]
    assert seen.shapes == []


def test_a_cascade_is_stopped_and_refuses_what_a_model_refuses() -> None:
    predictor, seen = _cascade()
    scan = _scan(np.arange(12**3).reshape(12, 12, 12) % 7 == 0)
    with pytest.raises(Cancelled):
        predictor.predict(scan, cancelled=lambda: True)
    assert seen.shapes == []
    with pytest.raises(ReadError, match="constant"):
        predictor.predict(scan.with_data(np.zeros_like(scan.data)))


def test_both_kidneys_are_kept_and_a_speck_is_not() -> None:
    found = np.zeros((30, 20, 20), bool)
    found[2:6, 8:12, 8:12] = True
    found[20:23, 9:12, 9:12] = True
    assert object_box(found) == box_of((2, 8, 8), (23, 12, 12))
    found[29, 0, 19] = True
    assert object_box(found) == box_of((2, 8, 8), (23, 12, 12))
    assert object_box(np.zeros((3, 3, 3), bool)) is None


@settings(max_examples=200, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 60)] * 3),
    margin=st.floats(0, 2),
    smallest=st.integers(1, 70),
    data=st.data(),
)
def test_a_grown_box_holds_the_object_its_margin_and_stays_inside(
    shape: tuple[int, int, int], margin: float, smallest: int, data: st.DataObject
) -> None:
    box = _box_in(shape, data)
    grown = grown_box(box, shape, Crop(margin=margin, smallest=smallest))
    for side, old, voxels in zip(grown, box, shape, strict=True):
        length = old.stop - old.start
        assert 0 <= side.start <= old.start < old.stop <= side.stop <= voxels
        assert side.stop - side.start >= min(voxels, smallest)
        assert side.start == 0 or side.stop == voxels or side.stop - side.start >= length * (1 + 2 * margin)


@settings(max_examples=100, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 20)] * 3),
    order=st.sampled_from(ORDERS),
    factor=st.tuples(*[st.sampled_from([0.5, 1.0, 1.5, 3.0])] * 3),
    data=st.data(),
)
def test_a_box_holds_the_same_places_on_another_grid(
    shape: tuple[int, int, int], order: str, factor: tuple[float, float, float], data: st.DataObject
) -> None:
    native = _scan(np.zeros(shape, bool), order).grid
    canonical = native.canonical()
    scale = np.diag([*factor, 1.0])
    scale[:3, 3] = (np.array(factor) - 1) / 2
    i, j, k = (max(1, int(np.ceil(side / by))) for side, by in zip(canonical.shape, factor, strict=True))
    grid = Grid((i, j, k), canonical.affine @ scale)
    box = _box_in(grid.shape, data)
    there = box_on(box, grid, native)
    voxels = np.argwhere(np.ones(native.shape, bool))
    places = np.linalg.inv(grid.affine) @ np.c_[native.to_world(voxels), np.ones(len(voxels))].T
    edges = np.array([(side.start - 0.5, side.stop - 0.5) for side in box])
    middle, width = edges.mean(axis=1), np.diff(edges)[:, 0]
    inside = (np.abs(places[:3].T - middle) < width / 2 - 1e-6).all(axis=1)
    marked = np.zeros(native.shape, bool)
    marked[there] = True
    assert marked[tuple(voxels[inside].T)].all(), "every voxel whose centre lies in the box"
    assert crop_grid(native, there).shape == tuple(side.stop - side.start for side in there)


@settings(max_examples=50, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 9)] * 3), order=st.sampled_from(ORDERS), data=st.data())
def test_a_cropped_voxel_stays_where_it_is_in_the_patient(shape: tuple[int, int, int], order: str, data: st.DataObject) -> None:
    volume = _scan(np.zeros(shape, bool), order)
    volume = volume.with_data(np.arange(volume.data.size).reshape(volume.data.shape))
    box = _box_in(shape, data)
    part = crop(volume, box)
    for voxel in np.ndindex(*part.grid.shape):
        whole = np.add(voxel, [side.start for side in box])
        assert part.data[(0, *voxel)] == volume.data[(0, *whole)]
        assert np.allclose(part.grid.to_world(np.array([voxel])), volume.grid.to_world(whole[np.newaxis]))


def _box_in(shape: tuple[int, int, int], data: st.DataObject) -> Box:
    first = [data.draw(st.integers(0, side - 1)) for side in shape]
    return box_of(first, [data.draw(st.integers(start + 1, side)) for start, side in zip(first, shape, strict=True)])
