"""How a scan is predicted beside the defaults: overlap and blending, mirror images, uncertainty, a region; in 2D, 3D and cascades."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any, Literal

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import ConfigError, GeometryError
from napari_seg3d.inference import PATIENT_AXES, Computer, ModelSpec, PredictOptions, Predictor
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.transforms import Pipeline, Step
from napari_seg3d.volumes import Volume, box_of

ORDERS = [
    "".join(pair[flip] for pair, flip in zip(axes, flips, strict=True))
    for axes in permutations(["RL", "AP", "SI"])
    for flips in product((0, 1), repeat=3)
]
FLIPS = st.sets(st.sampled_from(PATIENT_AXES)).map(lambda axes: tuple(sorted(axes)))


class _Here(torch.nn.Module):
    """Says what the voxel is and, where asked, which side of the window it is on: logits that mirror images do not share."""

    def __init__(self, targets: str, lean: float) -> None:
        super().__init__()
        self.targets, self.lean = targets, lean

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        seen = 3 * batch[:, :1]
        for axis in range(2, batch.ndim):
            side = torch.linspace(-1, 1, batch.shape[axis])
            seen = seen + self.lean * axis * side.view(-1, *[1] * (batch.ndim - 1 - axis))
        logits = torch.cat([seen, -seen, seen.square()], dim=1)
        return logits if self.targets == "exclusive" else logits[:, :2]


def _predictor(
    dims: Literal[2, 3] = 3, targets: Any = "exclusive", lean: float = 0.0, mode: Any = "patches", **more: Any
) -> Predictor:
    network = NetworkSpec(
        dims=dims,
        in_channels=1,
        out_channels=3 if targets == "exclusive" else 2,
        features=(8, 16, 32),
        strides=((2, 2, 2 if dims == 3 else 1),) * 2,
    )
    spec = ModelSpec(
        network=network,
        labels={1: "first", 2: "second"},
        targets=targets,
        pipeline=Pipeline((Step("ToCanonical"),)).to_list(),
        patch_size=(8, 4, 8 if dims == 3 else 1),
        mode=mode,
        **more,
    )
    return Predictor(spec, Computer(_Here(targets, lean), "cpu", "32"))


def _scan(shape: tuple[int, ...] = (11, 9, 10), order: str = "RAS", seed: int = 0) -> Volume:
    data = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)
    affine = np.diag([1.5, 0.75, 2.0, 1.0]) @ nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(order), shape)
    return Volume(data, affine)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 15)] * 3),
    order=st.sampled_from(ORDERS),
    dims=st.sampled_from([2, 3]),
    targets=st.sampled_from(["exclusive", "overlapping"]),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    blending=st.sampled_from(["gaussian", "hann", "average", "crop"]),
    flips=FLIPS,
)
def test_a_network_that_says_what_it_sees_says_it_whatever_is_chosen(
    shape: tuple[int, int, int], order: str, dims: Any, targets: str, overlap: float, blending: Any, flips: Any
) -> None:
    scan = _scan(shape, order)
    options = PredictOptions(overlap=overlap, blending=blending, flips=flips, probabilities=True, uncertainty=True)
    found = _predictor(dims, targets).predict(scan, options)
    assert found.probabilities is not None
    assert found.uncertainty is not None
    seen = 3 * scan.data[0].astype(np.float64)
    if targets == "exclusive":
        raw = np.exp(np.stack([seen, -seen, seen**2]))
        expected = raw / raw.sum(axis=0)
        np.testing.assert_array_equal(found.labels.data[0], found.probabilities.data.argmax(axis=0))
        entropy = -(expected * np.log(expected)).sum(axis=0) / np.log(3)
    else:
        expected = 1 / (1 + np.exp(-np.stack([seen, -seen])))
        np.testing.assert_array_equal(found.labels.data > 0, found.probabilities.data > 0.5)
        entropy = (-(expected * np.log(expected)) - (1 - expected) * np.log(1 - expected)).max(axis=0) / np.log(2)
    np.testing.assert_allclose(found.probabilities.data, expected, atol=1e-5)
    np.testing.assert_allclose(found.uncertainty.data[0], entropy, atol=1e-4)
    np.testing.assert_array_equal(found.probabilities.affine, scan.affine)
    axes = [axis for axis in flips if dims == 3 or axis != "S"]  # an axial slice has no mirror image along S
    assert len(found.uncertainty.data) == 1 + bool(axes)
    # Mirror images of a voxel say the same: nobody disagrees.
    np.testing.assert_allclose(found.uncertainty.data[1:], 0, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    order=st.sampled_from(ORDERS),
    dims=st.sampled_from([2, 3]),
    targets=st.sampled_from(["exclusive", "overlapping"]),
    flips=FLIPS.filter(lambda axes: "R" in axes or "A" in axes),
)
def test_flips_average_what_is_said_of_the_mirror_images(order: str, dims: Any, targets: str, flips: Any) -> None:
    # Sides that need no padding, which would be uneven and so another one for the mirror image.
    predictor, scan = _predictor(dims, targets, lean=0.7, mode="whole"), _scan((8, 16, 8), order)
    found = predictor.predict(scan, PredictOptions(flips=flips, probabilities=True, uncertainty=True))
    assert found.probabilities is not None
    assert found.uncertainty is not None
    canonical = scan.canonical()
    single = []
    for turned in product(*[(False, True)] * len(flips)):
        axes = [1 + PATIENT_AXES.index(axis) for axis, turn in zip(flips, turned, strict=True) if turn]
        axes = [axis for axis in axes if dims == 3 or axis != 3]
        mirror = Volume(np.flip(canonical.data, axes).copy(), np.diag([1.5, 0.75, 2.0, 1.0]))
        said = predictor.predict(mirror, PredictOptions(probabilities=True)).probabilities
        assert said is not None
        single.append(np.flip(said.data, axes))
    expected = np.mean(single, axis=0)
    back = found.probabilities.canonical().data
    np.testing.assert_allclose(back, expected, atol=1e-5)
    doubt = found.uncertainty.canonical().data
    assert doubt[1].max() > 0.01, "they disagree"
    if targets == "exclusive":
        own = np.mean([-(p * np.log(np.clip(p, 1e-12, None))).sum(axis=0) for p in single], axis=0)
        mean = -(expected * np.log(np.clip(expected, 1e-12, None))).sum(axis=0)
        np.testing.assert_allclose(doubt[1], np.clip((mean - own) / np.log(3), 0, 1), atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(
    order=st.sampled_from(ORDERS),
    dims=st.sampled_from([2, 3]),
    mode=st.sampled_from(["whole", "patches"]),
    planes=st.sampled_from([("axial",), ("coronal",), ("sagittal", "axial")]),
    corners=st.tuples(*[st.tuples(st.integers(0, 8), st.integers(1, 9))] * 3),
)
def test_a_region_holds_what_the_whole_scan_holds_there(
    order: str, dims: Any, mode: Any, planes: Any, corners: tuple[tuple[int, int], ...]
) -> None:
    scan = _scan((9, 10, 11), order)
    predictor = _predictor(dims, mode=mode, **({"planes": planes} if dims == 2 else {}))
    sides = [(first, min(first + length, side)) for (first, length), side in zip(corners, scan.grid.shape, strict=True)]
    region = box_of([first for first, _ in sides], [last for _, last in sides])
    everything = predictor.predict(scan).labels.data
    found = predictor.predict(scan, PredictOptions(region=region, uncertainty=True))
    inside = np.zeros(everything.shape, dtype=bool)
    inside[(slice(None), *region)] = True
    np.testing.assert_array_equal(found.labels.data, np.where(inside, everything, 0))
    assert found.uncertainty is not None
    assert not found.uncertainty.data[~inside].any()


def test_a_region_is_less_work_and_must_lie_in_the_scan() -> None:
    predictor, scan = _predictor(), _scan((40, 40, 40))
    steps: list[int] = []
    predictor.predict(scan, progress=lambda _done, total: steps.append(total))
    whole = steps[-1]
    predictor.predict(
        scan, PredictOptions(region=box_of((16, 16, 16), (20, 20, 20))), progress=lambda _done, total: steps.append(total)
    )
    assert steps[-1] < whole / 4
    with pytest.raises(GeometryError, match="does not lie in"):
        predictor.predict(scan, PredictOptions(region=box_of((30, 30, 30), (41, 40, 40))))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"overlap": 0.95}, "overlap is 0.95"),
        ({"blending": "smooth"}, "no blending 'smooth'"),
        ({"mode": "slices"}, "no mode 'slices'"),
        ({"flips": ("X",)}, "'X'"),
    ],
)
def test_what_is_not_known_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PredictOptions(**values)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 15)] * 3),
    order=st.sampled_from(ORDERS),
    dims=st.sampled_from([2, 3]),
    targets=st.sampled_from(["exclusive", "overlapping"]),
    mode=st.sampled_from(["patches", "whole"]),
    has_region=st.booleans(),
)
def test_parts_are_told_once_and_as_they_are_in_the_end(shape, order, dims, targets, mode, has_region) -> None:
    scan = _scan(shape, order)
    region = box_of([side // 3 for side in shape], shape) if has_region else None
    seen, count = None, np.zeros(shape, int)

    def keep(box, labels) -> None:
        nonlocal seen
        seen = np.zeros((len(labels), *shape), labels.dtype) if seen is None else seen
        seen[(slice(None), *box)] = labels
        count[box] += 1

    prediction = _predictor(dims, targets, 0.1).predict(scan, PredictOptions(mode=mode, region=region), partly=keep)
    assert np.array_equal(seen, prediction.labels.data)
    assert (count[region if region is not None else ...] == 1).all()
    assert count.sum() == np.prod([side - side // 3 for side in shape] if has_region else shape)
