"""A network that gives back what it sees must give back the scan: in every mode, plane, size and axis order, to the voxel."""

from itertools import permutations, product
from typing import Any, Literal

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import Cancelled, ModelError
from napari_seg3d.inference import Computer, ModelSpec, Predictor
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.networks.planes import AXIS
from napari_seg3d.transforms import Pipeline, Step, preprocessing_pipeline
from napari_seg3d.volumes import Grid, Volume

ORDERS = [
    "".join(pair[flip] for pair, flip in zip(axes, flips, strict=True))
    for axes in permutations(["RL", "AP", "SI"])
    for flips in product((0, 1), repeat=3)
]
PLANES = [("axial",), ("coronal",), ("sagittal",), ("axial", "coronal", "sagittal"), ("sagittal", "axial")]


class _Seen(torch.nn.Module):
    """Says where one of its channels is bright: one logit (overlapping), or one for dark and one for bright (exclusive)."""

    def __init__(self, channel: int, is_exclusive: bool) -> None:
        super().__init__()
        self.channel, self.is_exclusive = channel, is_exclusive
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(batch.shape))
        bright = 50 * (batch[:, self.channel : self.channel + 1] - 0.5)
        return torch.cat([-bright, bright], dim=1) if self.is_exclusive else bright


def _predictor(
    dims: Literal[2, 3] = 2, channel: int = 0, scans: int = 1, pipeline: Pipeline | None = None, **settings: Any
) -> tuple[Predictor, _Seen]:
    values: dict[str, Any] = {"mode": "whole", "planes": ("axial",), "context": 0, "targets": "exclusive"} | settings
    is_exclusive = values["targets"] == "exclusive"
    network = NetworkSpec(
        dims=dims,
        in_channels=scans * (2 * values["context"] + 1),
        out_channels=1 + is_exclusive,
        features=(8, 16, 32),
        strides=((2, 2, 2 if dims == 3 else 1),) * 2,
    )
    pipeline = pipeline if pipeline is not None else preprocessing_pipeline(None, "rescale")
    spec = ModelSpec(
        network=network, labels={1: "bright"}, pipeline=pipeline.to_list(), patch_size=(8, 4, 8 if dims == 3 else 1), **values
    )
    seen = _Seen(channel, is_exclusive)
    return Predictor(spec, Computer(seen, "cpu", "32")), seen


def _scan(shape: tuple[int, ...], order: str, seed: int, scans: int = 1) -> Volume:
    bright = np.random.default_rng(seed).random((scans, *shape)) < 0.4
    bright[:, 0, 0, 0], bright[:, -1, -1, -1] = True, False  # never constant
    affine = np.diag([1.5, 0.75, 2.0, 1.0]) @ nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(order), shape)
    return Volume(bright.astype(np.int16) * 100, affine)


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 13)] * 3),
    order=st.sampled_from(ORDERS),
    planes=st.sampled_from(PLANES),
    mode=st.sampled_from(["whole", "patches"]),
    targets=st.sampled_from(["exclusive", "overlapping"]),
    context=st.integers(0, 2),
    dims=st.sampled_from([2, 2, 3]),
    seed=st.integers(0, 99),
)
def test_what_is_seen_comes_back_where_it_was(
    shape: tuple[int, int, int],
    order: str,
    planes: tuple[str, ...],
    mode: str,
    targets: str,
    context: int,
    dims: Literal[2, 3],
    seed: int,
) -> None:
    context = context if dims == 2 else 0
    predictor, seen = _predictor(dims, channel=context, planes=planes, mode=mode, targets=targets, context=context)
    scan = _scan(shape, order, seed)
    labels = predictor.predict(scan).labels
    assert np.array_equal(labels.affine, scan.affine)
    assert np.array_equal(labels.data, (scan.data > 0).astype(np.uint8))
    sides = {one[2:] for one in seen.shapes}
    assert all(len(one) == dims and one[0] % 4 == 0 and one[1] % 4 == 0 for one in sides)
    assert mode == "whole" or sides == {(8, 4, 8)[:dims]}


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 6)] * 3),
    order=st.sampled_from(ORDERS),
    plane=st.sampled_from(["axial", "coronal", "sagittal"]),
    step=st.integers(-3, 3),
    scan=st.integers(0, 1),
)
def test_context_channels_are_the_neighbours_and_the_last_slice_is_repeated(
    shape: tuple[int, int, int], order: str, plane: str, step: int, scan: int
) -> None:
    # With two channels in the scan: all channels of slice -3, then all of slice -2, ...
    predictor, _ = _predictor(channel=2 * (step + 3) + scan, scans=2, planes=(plane,), context=3)
    volume = _scan(shape, order, 1, scans=2)
    canonical = volume.grid.to_canonical(volume.data[scan] > 0)
    axis = AXIS[plane]  # type: ignore[index]
    wanted = np.take(canonical, np.clip(np.arange(canonical.shape[axis]) + step, 0, canonical.shape[axis] - 1), axis)
    labels = predictor.predict(volume).labels.data[0]
    assert np.array_equal(volume.grid.to_canonical(labels), wanted)


def test_several_planes_are_averaged() -> None:
    class ByShape(torch.nn.Module):
        """Is sure of the coronal slices, known by their sides, and a little against in all others."""

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.full_like(batch, 3.0 if batch.shape[2:] == (12, 20) else -1.0)

    sides = {"axial": (12, 16), "coronal": (12, 20), "sagittal": (16, 20)}
    predictor, _ = _predictor(targets="overlapping", planes=tuple(sides))
    predictor.computer.network = ByShape()
    image = np.zeros((1, 12, 16, 20), np.float32)
    mean = (torch.sigmoid(torch.tensor(3.0)) + 2 * torch.sigmoid(torch.tensor(-1.0))) / 3
    probabilities, _ = predictor.probabilities(image, Grid(image.shape[1:], np.eye(4)))
    assert np.allclose(probabilities, mean.numpy(), atol=1e-6)


def test_slices_go_through_the_network_together() -> None:
    predictor, seen = _predictor()
    predictor.predict(_scan((20, 24, 30), "RAS", 0))
    assert seen.shapes == [(30, 1, 20, 24)]
    big, seen = _predictor()
    big.probabilities(np.random.default_rng(0).random((1, 512, 512, 3), np.float32), Grid((512, 512, 3), np.eye(4)))
    assert [shape[0] for shape in seen.shapes] == [1, 1, 1], "a large slice alone is enough"


def test_progress_counts_all_planes_and_cancelling_stops_between_batches() -> None:
    predictor, seen = _predictor(planes=("axial", "coronal"), mode="patches")
    told: list[tuple[int, int]] = []
    predictor.predict(_scan((15, 15, 15), "RAS", 0), progress=lambda done, total: told.append((done, total)))
    assert told == [(done, len(seen.shapes)) for done in range(1, len(seen.shapes) + 1)]
    for mode in ("whole", "patches"):
        predictor, seen = _predictor(planes=("axial", "coronal", "sagittal"), mode=mode)
        with pytest.raises(Cancelled):
            predictor.predict(_scan((15, 15, 15), "RAS", 0), cancelled=lambda seen=seen: len(seen.shapes) > 0)
        assert len(seen.shapes) <= 2, "the one that was under way, and no other"


@pytest.mark.parametrize("shape", [(301, 173, 1), (97, 260, 1)])
def test_a_radiograph_comes_back_at_its_own_size(shape: tuple[int, int, int]) -> None:
    pipeline = Pipeline(
        (
            Step("ToCanonical"),
            Step("RescaleIntensity", {"out_min_max": [0.0, 1.0]}),
            Step("Resize", {"target_shape": [128, 128, 1]}),
        )
    )
    predictor, seen = _predictor(pipeline=pipeline)
    i, j = np.meshgrid(*(np.arange(side) for side in shape[:2]), indexing="ij")
    bright = ((i / shape[0] - 0.3) ** 2 + (j / shape[1] - 0.6) ** 2 < 0.04)[..., np.newaxis]
    # As pictures lie: columns to the left, rows to the back.
    labels = predictor.predict(Volume(bright[np.newaxis].astype(np.int16) * 100, np.diag([-1.0, -1.0, 1.0, 1.0]))).labels.data[0]
    assert seen.shapes == [(1, 1, 128, 128)]
    assert labels.shape == shape
    assert 2 * (labels & bright).sum() / (labels.sum() + bright.sum()) > 0.97
    assert np.abs(np.argwhere(labels).mean(axis=0) - np.argwhere(bright).mean(axis=0)).max() < 0.5


def test_channels_are_counted_without_the_neighbours() -> None:
    predictor, _ = _predictor(scans=2, context=3)
    with pytest.raises(ModelError, match="1 channels.*trained on 2"):
        predictor.predict(_scan((8, 8, 8), "RAS", 0))


def test_a_radiograph_of_another_plane_is_refused() -> None:
    predictor, _ = _predictor()
    chest = _scan((20, 30, 1), "LSA", 0)  # rows to the feet: seen from the front
    with pytest.raises(ModelError, match="single coronal slice.*axial"):
        predictor.predict(chest)
    predictor, _ = _predictor(planes=("coronal",))
    assert np.array_equal(predictor.predict(chest).labels.data, chest.data > 0)
