"""Every way to predict, against what the documentation says, written down naively: every window, full float buffers, nothing streamed.

The network answers a voxel by what it and its window hold and by where in the window it lies, so that a window in the wrong place, a wrong
weight or a slice shown in the wrong order is seen at once.
"""

from itertools import product
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.inference import PATIENT_AXES, Computer, Ensemble, ModelSpec, PredictOptions, Predictor
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.networks.planes import AXIS
from napari_seg3d.transforms import Pipeline, Step
from napari_seg3d.volumes import Volume, box_of
from tests.inference.test_options import ORDERS

_PLANES = [("axial",), ("coronal",), ("sagittal",), ("axial", "coronal", "sagittal")]
_SHAPES = st.tuples(*[st.integers(1, 13)] * 3)
_OVERLAPS = st.sampled_from([0.0, 0.25, 0.5, 0.75])
_BLENDINGS: Any = st.sampled_from(["gaussian", "hann", "average", "crop"])
_WINDOW = (8, 4, 6)


class _Leaning(torch.nn.Module):
    """Logits of three classes that depend on the voxel, on all channels, on the mean of the window, and on the place in it."""

    def __init__(self, lean: float) -> None:
        super().__init__()
        self.lean = lean

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        weights = torch.arange(1.0, batch.shape[1] + 1).view(1, -1, *[1] * (batch.ndim - 2))
        seen = (batch * weights).sum(1, keepdim=True) + 0.5 * batch.mean(tuple(range(1, batch.ndim)), keepdim=True)
        for axis in range(2, batch.ndim):
            side = torch.linspace(-1, 1, batch.shape[axis])
            seen = seen + self.lean * (axis - 1) * side.view(-1, *[1] * (batch.ndim - 1 - axis))
        return torch.cat([seen, -seen, 0.3 * seen.square()], dim=1)


def _predictor(dims: Any = 3, lean: float = 0.6, context: int = 0, **more: Any) -> Predictor:
    network = NetworkSpec(
        dims=dims,
        in_channels=2 * context + 1,
        out_channels=3,
        features=(8, 16, 32),
        strides=((2, 2, 2 if dims == 3 else 1),) * 2,
    )
    spec = ModelSpec(
        network=network,
        labels={1: "first", 2: "second"},
        pipeline=Pipeline((Step("ToCanonical"),)).to_list(),
        patch_size=(8, 4, 8 if dims == 3 else 1),
        context=context,
        **({"mode": "patches"} | more),
    )
    spec = spec.model_copy(update={"patch_size": (*_WINDOW[:dims], 1)[:3]})
    return Predictor(spec, Computer(_Leaning(lean), "cpu", "32"))


def _scan(shape: tuple[int, ...], order: str = "RAS") -> Volume:
    data = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    data[0, 0, 0, 0] += 1  # a single voxel, too, is not constant: it is refused otherwise
    affine = np.diag([1.5, 0.75, 2.0, 1.0]) @ nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(order), shape)
    return Volume(data, affine)


def _starts(side: int, window: int, overlap: float) -> list[int]:
    """In steps of what windows do not share, the last at the end."""
    found = [0]
    while found[-1] + window < side:
        found.append(min(found[-1] + max(1, int(window * (1 - overlap))), side - window))
    return found


def _softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return raised / raised.sum(axis=axis, keepdims=True)


def _profile(side: int, blending: str) -> np.ndarray:
    from napari_seg3d.inference.windows import _profile as profile

    return profile(side, blending)  # its formulas are tested against MONAI's and TorchIO's


def _seen(network: Any, image: np.ndarray, window: tuple[int, ...], overlap: float, blending: str, lowest: float) -> np.ndarray:
    """Logits ``(3, *sides)`` of an image ``(C, *sides)``."""
    dims, sides = len(window), image.shape[1:]
    edges = [(max(0, at - side) // 2, max(0, at - side) - max(0, at - side) // 2) for side, at in zip(sides, window, strict=True)]
    padded = np.pad(image, [(0, 0), *edges], constant_values=lowest)
    starts = [_starts(side, at, overlap) for side, at in zip(padded.shape[1:], window, strict=True)]
    total, weights = np.zeros((3, *padded.shape[1:])), np.zeros(padded.shape[1:])
    for corner in product(*starts):
        box = tuple(slice(first, first + at) for first, at in zip(corner, window, strict=True))
        weight = np.ones(window)
        for axis, (first, at) in enumerate(zip(corner, window, strict=True)):
            along = _profile(at, blending)
            if blending == "crop":  # the window whose centre is nearest, of two alike the first
                centres = np.array(starts[axis]) + (at - 1) / 2
                nearest = np.abs(np.arange(first, first + at)[:, None] - centres).argmin(axis=1)
                along = (nearest == starts[axis].index(first)).astype(float)
            weight = weight * along.reshape([-1 if axis == other else 1 for other in range(dims)])
        if blending == "gaussian":
            weight = np.maximum(weight, 1e-3)  # as MONAI's
        answer = network(torch.from_numpy(np.ascontiguousarray(padded[(slice(None), *box)])[None]))[0].numpy()
        total[(slice(None), *box)] += answer * weight
        weights[box] += weight
    place = tuple(slice(before, before + side) for (before, _), side in zip(edges, sides, strict=True))
    return (total / weights)[(slice(None), *place)]


def _naive(
    predictor: Predictor, image: np.ndarray, overlap: float = 0.5, blending: str = "gaussian", flips: Any = ()
) -> np.ndarray:
    """Probabilities ``(3, I, J, K)`` of a canonical image ``(1, I, J, K)``."""
    spec, lowest = predictor.spec, float(image.min())

    def network_in(plane: str | None) -> Any:
        in_plane = [axis for axis in range(3) if plane is None or axis != AXIS[plane]]  # type: ignore[index]
        axes = [2 + in_plane.index(axis) for axis in range(3) if PATIENT_AXES[axis] in flips and axis in in_plane]
        if not axes:
            return predictor.network

        def mean(batch: torch.Tensor) -> torch.Tensor:
            said = []
            for turned in product(*[(False, True)] * len(axes)):
                turn = [axis for axis, is_turned in zip(axes, turned, strict=True) if is_turned]
                said.append(torch.softmax(predictor.network(batch.flip(turn)), dim=1).flip(turn))
            return torch.stack(said).mean(0).log()

        return mean

    if spec.network.dims == 3:
        return _softmax(_seen(network_in(None), image, spec.patch_size, overlap, blending, lowest), 0)
    total = np.zeros((3, *image.shape[1:]))
    for plane in spec.planes:
        slices = np.moveaxis(image[0], AXIS[plane], 0)
        for index in range(len(slices)):
            near = np.clip(np.arange(index - spec.context, index + spec.context + 1), 0, len(slices) - 1)
            logits = _seen(network_in(plane), slices[near], spec.patch_size[:2], overlap, blending, lowest)
            np.moveaxis(total, 1 + AXIS[plane], 1)[:, index] += _softmax(logits, 0) / len(spec.planes)
    return total


def _same(found: Any, expected: np.ndarray) -> None:
    said = found.probabilities.canonical().data
    np.testing.assert_allclose(said, expected, atol=2e-4)
    first, second = np.sort(expected, axis=0)[[-1, -2]]
    sure = first - second > 1e-3  # a tie is either's
    labels = found.labels.canonical().data[0]
    np.testing.assert_array_equal(labels[sure], expected.argmax(axis=0)[sure])


@settings(max_examples=25, deadline=None)
@given(shape=_SHAPES.filter(lambda shape: max(shape) > 1), overlap=_OVERLAPS, blending=_BLENDINGS, order=st.sampled_from(ORDERS))
def test_patches(shape: Any, overlap: float, blending: Any, order: str) -> None:
    predictor, scan = _predictor(), _scan(shape, order)
    found = predictor.predict(scan, PredictOptions(overlap=overlap, blending=blending, probabilities=True))
    _same(found, _naive(predictor, scan.canonical().data, overlap, blending))


@settings(max_examples=30, deadline=None)
@given(
    shape=_SHAPES.filter(lambda shape: min(shape) > 1),
    planes=st.sampled_from(_PLANES),
    context=st.integers(0, 2),
    overlap=_OVERLAPS,
    blending=_BLENDINGS,
    order=st.sampled_from(ORDERS),
)
def test_slices_with_context_along_one_plane_or_several(
    shape: Any, planes: Any, context: int, overlap: float, blending: Any, order: str
) -> None:
    predictor, scan = _predictor(2, context=context, planes=planes), _scan(shape, order)
    found = predictor.predict(scan, PredictOptions(overlap=overlap, blending=blending, probabilities=True))
    _same(found, _naive(predictor, scan.canonical().data, overlap, blending))


@settings(max_examples=6, deadline=None)
@given(
    shape=_SHAPES.filter(lambda shape: min(shape) > 1),
    dims=st.sampled_from([2, 3]),
    flips=st.sets(st.sampled_from(PATIENT_AXES), min_size=1).map(sorted).map(tuple),
    overlap=_OVERLAPS,
    order=st.sampled_from(ORDERS),
)
def test_flips(shape: Any, dims: Any, flips: Any, overlap: float, order: str) -> None:
    predictor, scan = _predictor(dims), _scan(shape, order)
    found = predictor.predict(scan, PredictOptions(overlap=overlap, flips=flips, probabilities=True))
    _same(found, _naive(predictor, scan.canonical().data, overlap, flips=flips))


@settings(max_examples=6, deadline=None)
@given(shape=_SHAPES.filter(lambda shape: min(shape) > 1), overlap=_OVERLAPS, order=st.sampled_from(ORDERS))
def test_ensembles(shape: Any, overlap: float, order: str) -> None:
    members = [_predictor(lean=0.9), _predictor(2, context=1), _predictor(lean=-0.4)]
    scan = _scan(shape, order)
    found = Ensemble(members).predict(scan, PredictOptions(overlap=overlap, probabilities=True))
    _same(found, np.mean([_naive(member, scan.canonical().data, overlap) for member in members], axis=0))


@settings(max_examples=6, deadline=None)
@given(shape=st.tuples(*[st.integers(4, 15)] * 3), data=st.data(), overlap=_OVERLAPS)
def test_regions(shape: Any, data: st.DataObject, overlap: float) -> None:
    predictor, scan = _predictor(), _scan(shape)
    first = [data.draw(st.integers(0, side - 1)) for side in shape]
    last = [data.draw(st.integers(start + 1, side)) for start, side in zip(first, shape, strict=True)]
    found = predictor.predict(scan, PredictOptions(overlap=overlap, region=box_of(first, last), probabilities=True))
    # The network sees half a window around the region.
    start = [max(0, at - side // 2) for at, side in zip(first, _WINDOW, strict=True)]
    end = [min(most, at + side // 2) for at, side, most in zip(last, _WINDOW, shape, strict=True)]
    seen = _naive(predictor, scan.data[(slice(None), *box_of(start, end))], overlap)
    inside = tuple(slice(a - s, b - s) for a, b, s in zip(first, last, start, strict=True))
    expected = np.zeros((3, *shape))
    expected[(slice(None), *box_of(first, last))] = seen[(slice(None), *inside)]
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities.data, expected, atol=2e-4)


class _Itself(torch.nn.Module):
    """A label that is there as surely as the voxel is bright, from 0 to 1."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.logit(batch.double(), 1e-6).float()


@pytest.mark.parametrize(("spacing", "most"), [(None, 1e-5), ((1.5, 0.75, 2.0), 1e-5), ((2.0, 1.0, 2.5), 0.02)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_what_goes_in_comes_out_in_its_place(spacing: Any, most: float, overlap: float) -> None:
    i, j, k = np.meshgrid(*(np.arange(side) for side in (25, 28, 21)), indexing="ij")
    smooth = (0.5 + 0.4 * np.sin(i / 9) * np.cos(j / 11 + 1) * np.sin(k / 8 + 2)).astype(np.float32)
    steps = (Step("ToCanonical"), *([Step("Resample", {"target": list(spacing)})] if spacing is not None else []))
    spec = ModelSpec(
        network=NetworkSpec(out_channels=1, features=(8, 16, 32), strides=((2, 2, 2),) * 2),
        labels={1: "bright"},
        targets="overlapping",
        pipeline=Pipeline(steps).to_list(),
        patch_size=(16, 20, 16),
        mode="patches",
    )
    predictor = Predictor(spec, Computer(_Itself(), "cpu", "32"))
    for order in ORDERS[:: 1 if spacing is None and overlap == 0 else 19]:
        turn = nib.orientations.axcodes2ornt(order)
        affine = np.diag([1.5, 0.75, 2.0, 1.0]) @ nib.orientations.inv_ornt_aff(turn, smooth.shape)
        scan = Volume(smooth[np.newaxis], affine)
        found = predictor.predict(scan, PredictOptions(overlap=overlap, probabilities=True)).probabilities
        assert found is not None
        inner = (slice(None), *(slice(3, -3) if most > 1e-3 else slice(None),) * 3)
        np.testing.assert_allclose(found.data[inner], scan.data[inner], atol=most)
