"""What computes a network makes no difference to what it says."""

import sys

import numpy as np
import pytest
import torch

from napari_seg3d.errors import ConfigError
from napari_seg3d.inference.bf16 import Trial, multiplies_bf16, with_exact_ends
from napari_seg3d.inference.engines import WORTH_COMPILING, WORTH_ROUNDING, Engines
from napari_seg3d.networks import NetworkSpec, build_network


def _network(dims: int, name: str = "dynunet") -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(NetworkSpec(name=name, dims=dims, in_channels=2, out_channels=3, features=(4, 8, 8))).eval()


def _torch_forward(network: torch.nn.Module):
    def forward(images: np.ndarray, cancelled=None) -> torch.Tensor:
        with torch.no_grad():
            return network(torch.from_numpy(images))

    return forward


@pytest.mark.parametrize(("dims", "shape"), [(3, (1, 2, 16, 12, 8)), (2, (3, 2, 16, 24))])
def test_openvino_says_what_torch_says(dims: int, shape: tuple[int, ...]) -> None:
    pytest.importorskip("openvino")
    network = _network(dims)
    engine = Engines(network, _torch_forward(network), "32", "openvino").engine_for(shape, 100)
    assert engine.name == "openvino"
    images = [np.random.default_rng(seed).normal(size=shape).astype(np.float32) for seed in range(2)]
    found = [engine.forward(image) for image in images]
    for image, answer in zip(images, found, strict=True):
        torch.testing.assert_close(answer, _torch_forward(network)(image), atol=1e-4, rtol=1e-4)


def test_auto_measures_both_once_for_each_shape_and_not_for_a_few_windows() -> None:
    pytest.importorskip("openvino")
    network = _network(3)
    engines = Engines(network, _torch_forward(network), "32", "auto")
    shape = (1, 2, 16, 16, 16)
    assert np.isnan(engines.engine_for(shape, WORTH_COMPILING - 1).seconds)
    chosen = engines.engine_for(shape, WORTH_COMPILING)
    assert chosen.seconds > 0
    assert engines.engine_for(shape, 1) is chosen


def test_without_openvino_torch_carries_on_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    network = _network(3)
    engines = Engines(network, _torch_forward(network), "32", "auto")
    assert engines.engine_for((1, 2, 16, 16, 16), 50).name == "torch"
    assert "not installed" in engines.note
    with pytest.raises(ConfigError, match="not installed"):
        Engines(network, _torch_forward(network), "32", "openvino").engine_for((1, 2, 16, 16, 16), 50)


def test_a_network_that_openvino_cannot_compute_is_computed_by_torch() -> None:
    pytest.importorskip("openvino")

    class Strange(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.sort(images.numpy(), axis=-1)) if not torch.jit.is_tracing() else images.unknown()

    network = Strange().eval()
    engines = Engines(network, _torch_forward(network), "32", "auto")
    assert engines.engine_for((1, 1, 4, 4, 4), 50).name == "torch"
    assert "cannot compute" in engines.note


class _Answers:
    """Answers with a block of voxels of label 1, some of which are not seen."""

    def __init__(self, missed: int = 0, is_empty: bool = False) -> None:
        self.asked, self._missed, self._is_empty = 0, missed, is_empty

    def __call__(self, images: np.ndarray, cancelled=None) -> torch.Tensor:
        self.asked += 1
        logits = torch.zeros(1, 2, 32, 32, 32)
        if not self._is_empty:
            logits[:, 1, :16] = 1
            logits[:, 1].view(-1)[: self._missed] = -1
        return logits


def _trial(rounded: _Answers, exact: _Answers) -> tuple[Trial, list[bool]]:
    rejected: list[bool] = []
    return Trial(rounded, exact, lambda logits: logits.argmax(dim=1), lambda: rejected.append(True)), rejected


def test_bf16_goes_on_alone_once_enough_labels_were_the_same() -> None:
    rounded, exact = _Answers(missed=2), _Answers()
    trial, rejected = _trial(rounded, exact)
    answers = [trial(np.zeros(1, np.float32)) for _ in range(10)]
    assert not rejected
    assert rounded.asked == 10
    assert 1 < exact.asked < 10
    assert all(torch.equal(answer, exact(np.zeros(1, np.float32))) for answer in answers[:3]), "what was compared is exact"


def test_bf16_is_left_as_soon_as_a_thousandth_of_the_labels_is_another() -> None:
    rounded, exact = _Answers(missed=60), _Answers()
    trial, rejected = _trial(rounded, exact)
    answers = [trial(np.zeros(1, np.float32)) for _ in range(5)]
    assert rejected == [True]
    assert rounded.asked == 1
    assert all(torch.equal(answer, exact(np.zeros(1, np.float32))) for answer in answers), "no rounded answer was given"


def test_windows_in_which_nothing_is_found_say_nothing_about_bf16() -> None:
    rounded, exact = _Answers(is_empty=True), _Answers()
    trial, rejected = _trial(rounded, exact)
    for _ in range(20):
        trial(np.zeros(1, np.float32))
    assert exact.asked == 0
    assert not rejected


def test_a_network_with_exact_ends_is_nearer_to_32_bit() -> None:
    openvino = pytest.importorskip("openvino")
    if not multiplies_bf16():
        pytest.skip("this processor does not multiply bf16")
    core, network, shape = openvino.Core(), _network(3), (1, 2, 16, 16, 16)
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    model = openvino.convert_model(torch.jit.trace(network, torch.zeros(shape)), input=[openvino.PartialShape(list(shape))])

    def answer(computed, precision: str) -> np.ndarray:
        compiled = core.compile_model(computed, "CPU", {"INFERENCE_PRECISION_HINT": precision})
        return compiled({0: image})[0]

    exact = answer(model, "f32")
    errors = [np.abs(answer(one, "bf16") - exact).mean() for one in (model, with_exact_ends(model, core))]
    assert errors[1] < errors[0]
    assert np.array_equal(answer(with_exact_ends(model, core), "f32"), exact)


def test_little_work_is_never_rounded() -> None:
    pytest.importorskip("openvino")
    network, shape = _network(3), (1, 2, 16, 16, 16)
    engines = Engines(network, _torch_forward(network), "32", "auto", lambda logits: logits.argmax(dim=1))
    assert engines.engine_for(shape, WORTH_ROUNDING // 8192 - 1).precision == "32"


def test_bf16_is_not_trusted_before_enough_labels_were_seen() -> None:
    class Small(_Answers):
        def __call__(self, images: np.ndarray, cancelled=None) -> torch.Tensor:
            self.asked += 1
            logits = torch.zeros(1, 2, 32, 32, 32)
            logits[:, 1, 0, 0, :10] = 1
            return logits

    rounded, exact = Small(), Small()
    trial, rejected = _trial(rounded, exact)
    for _ in range(30):
        trial(np.zeros(1, np.float32))
    assert exact.asked == 30
    assert not rejected
