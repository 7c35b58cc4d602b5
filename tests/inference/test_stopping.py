"""Whoever asks to stop is heard between two layers of a network, whichever engine computes it, and at every other step on the way."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import Cancelled
from napari_seg3d.inference import Computer, Ensemble, PredictOptions, Predictor, slabs
from napari_seg3d.inference.postprocess import Rule, Rules
from napari_seg3d.inference.stopping import asking
from napari_seg3d.networks import NetworkSpec, build_network
from tests.inference.test_cascade import _cascade
from tests.inference.test_cascade import _scan as _object_scan
from tests.inference.test_options import _predictor, _scan


class _Layers(torch.nn.Module):
    """Ten layers, after the third of which somebody asks to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.layers = torch.nn.ModuleList([torch.nn.Conv3d(1, 1, 1) for _ in range(10)])
        self.done = 0

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            batch = layer(batch)
            self.done += 1
            if self.done == 3:
                self.asked.set()
        return batch


def test_a_network_stops_between_its_layers_and_computes_the_next_scan() -> None:
    network = _Layers()
    computer, image = Computer(network, "cpu", "32"), np.zeros((1, 1, 8, 8, 8), np.float32)
    with pytest.raises(Cancelled):
        computer.forward(image, cancelled=network.asked.is_set)
    assert network.done == 3
    assert torch.equal(computer.forward(image, cancelled=lambda: False), computer.forward(image))


def test_other_threads_compute_on_while_one_is_stopped() -> None:
    network = _Layers()
    computer, image = Computer(network, "cpu", "32"), np.zeros((1, 1, 4, 4, 4), np.float32)
    expected = computer.forward(image)
    found: list[torch.Tensor] = []

    def asked() -> bool:
        if not found:  # in the middle of the one that is about to be stopped
            other = threading.Thread(target=lambda: found.append(computer.forward(image)))
            other.start()
            other.join()
        return True

    with pytest.raises(Cancelled):
        computer.forward(image, cancelled=asked)
    assert torch.equal(found[0], expected)


def test_openvino_is_stopped_while_it_compiles_and_while_it_computes() -> None:
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    network = build_network(NetworkSpec(features=(32, 32, 32), strides=((2, 2, 2),) * 2)).eval()
    computer = Computer(network, "cpu", "32", "openvino")
    images = np.random.default_rng(0).normal(size=(1, 1, 64, 64, 64)).astype(np.float32)
    with pytest.raises(Cancelled):
        computer.forward(images, cancelled=lambda: True)
    expected = computer.forward(images)
    assert computer.told == "OpenVINO"
    for _ in range(2):
        with pytest.raises(Cancelled):
            computer.forward(images, cancelled=lambda: True)
    assert torch.equal(computer.forward(images, cancelled=lambda: False), expected)


class _After:
    """Asks to stop at question number `last`, and counts the questions."""

    def __init__(self, last: float) -> None:
        self.last, self.count = last, 0

    def __call__(self) -> bool:
        self.count += 1
        return self.count > self.last


def _ways() -> dict[str, tuple[Any, Any, PredictOptions]]:
    options, everything = PredictOptions(), PredictOptions(probabilities=True, uncertainty=True, flips=("R",))
    bright = np.zeros((16, 12, 12), bool)
    bright[4:9, 4:8, 3:8] = True
    cascade, object_scan = _cascade()[0], _object_scan(bright)
    ruled = _predictor(mode="whole")
    ruled.rules = Rules(labels={1: Rule(largest=True, holes="3D"), 2: Rule(largest=True)})
    scan = _scan((11, 9, 10), "LSA")
    return {
        "patches": (_predictor(), scan, options),
        "whole": (_predictor(mode="whole"), scan, options),
        "slices": (_predictor(2), scan, options),
        "planes": (_predictor(2, planes=("axial", "coronal", "sagittal")), scan, options),
        "maps and flips": (_predictor(), scan, everything),
        "region": (_predictor(), scan, replace(options, region=(slice(2, 9), slice(1, 5), slice(0, 7)))),
        "cascade": (cascade, object_scan, options),
        "ensemble": (Ensemble([_predictor(), _predictor(lean=1.0)]), scan, everything),
        "rules": (ruled, scan, options),
    }


@pytest.mark.parametrize("way", list(_ways()))
def test_every_question_is_heard_and_leaves_the_model_as_it_was(way: str) -> None:
    model, scan, options = _ways()[way]
    counted = _After(float("inf"))
    expected = model.predict(scan, options, cancelled=counted).labels.data
    assert counted.count > 5
    for last in sorted({0, 1, 2, counted.count // 2, counted.count - 2, counted.count - 1}):
        with pytest.raises(Cancelled):
            model.predict(scan, options, cancelled=_After(last))
    np.testing.assert_array_equal(model.predict(scan, options).labels.data, expected)


def test_nothing_is_told_any_more_once_it_stopped() -> None:
    predictor: Predictor = _predictor()
    told: list[Any] = []
    check = _After(10)
    with pytest.raises(Cancelled):
        predictor.predict(
            _scan((40, 9, 10)), PredictOptions(), lambda *now: told.append(now), check, lambda box, _: told.append(box)
        )
    before = len(told)
    threading.Event().wait(0.1)
    assert len(told) == before


@pytest.mark.slow
@settings(deadline=None)
@given(
    sides=st.tuples(st.integers(1, 12), st.integers(3, 5), st.integers(3, 5)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 2),
    groups=st.sampled_from((1, 2)),
    is_last=st.booleans(),
)
def test_a_convolution_in_slabs_is_that_at_once(sides, kernel, stride, padding, dilation, groups, is_last) -> None:
    assume(all(side + 2 * padding > dilation * (kernel - 1) for side in sides))
    torch.manual_seed(0)
    images = torch.randn(2, 4, *sides)
    images = images.to(memory_format=torch.channels_last_3d) if is_last else images
    layers = [
        torch.nn.Conv3d(4, 6, kernel, stride, padding, dilation, groups),
        torch.nn.ConvTranspose3d(4, 6, stride, stride, groups=groups),
        torch.nn.ConvTranspose3d(4, 6, kernel + 1, stride, padding=1, groups=groups),
    ]
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        expected = [layer(images) for layer in layers[: 2 + (kernel > 1)]]
        patch.setattr(slabs, "MOST_PRODUCTS", 1)
        with asking(lambda: False):
            found = [layer(images) for layer in layers[: 2 + (kernel > 1)]]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_a_convolution_in_slabs_keeps_the_layout(layout: torch.memory_format) -> None:
    images, layer = torch.randn(1, 4, 12, 8, 8).to(memory_format=layout), torch.nn.Conv3d(4, 8, 3, padding=1)
    layer = layer.to(memory_format=layout)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        expected = layer(images)
        patch.setattr(slabs, "MOST_PRODUCTS", 2**17)
        with asking(lambda: False):
            assert layer(images).stride() == expected.stride()


def test_a_convolution_that_takes_long_is_stopped_in_between() -> None:
    images, asked = torch.zeros(1, 4, 64, 8, 8), []

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) > 4

    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "MOST_PRODUCTS", 1)
        with pytest.raises(Cancelled), asking(cancelled):
            torch.nn.Conv3d(4, 4, 3)(images)
    assert len(asked) == 5, "of more than sixty slabs"
