"""What computes a network makes no difference to what it says."""

import sys

import numpy as np
import pytest
import torch

from napari_seg3d.errors import ConfigError
from napari_seg3d.inference.engines import WORTH_COMPILING, Engines
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
