"""Layouts: chosen as asked or measured, and without a trace in numbers or networks."""

import pytest
import torch

from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.training.config import DeviceConfig
from napari_seg3d.training.learning.speed import Layout, arrange, choose_layout
from napari_seg3d.training.processes import Processes

NETWORK = NetworkSpec(features=(4, 8, 8), strides=((2, 2, 2),) * 2)


def _chosen(deterministic: bool = False, **wishes: str) -> Layout:
    device = DeviceConfig.model_validate(wishes)
    network = build_network(NETWORK)
    return choose_layout(device, deterministic, 60.0, network, (2, 1, 8, 8, 8), Processes(device, "cpu", "32").fabric)


def test_what_is_asked_for_is_done() -> None:
    assert _chosen(channels_last="on") == Layout(True, False)
    assert _chosen(channels_last="off", compile="on") == Layout(False, True)
    assert _chosen(deterministic=True) == Layout(True, False), "the same at every repetition"


def test_measuring_leaves_no_trace() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    network = build_network(NETWORK)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(0)
    choose_layout(DeviceConfig(), False, 60.0, network, (2, 1, 8, 8, 8), Processes(DeviceConfig(), "cpu", "32").fabric)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_layout_changes_no_number(channels_last: bool) -> None:
    network = build_network(NETWORK).eval()
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        before = network(image)
        arrange(network, channels_last)
        assert torch.allclose(network(image), before, atol=1e-5)
    kernel = next(weight for weight in network.parameters() if weight.ndim == 5 and weight.shape[1] > 1)
    assert kernel.is_contiguous(memory_format=torch.channels_last_3d) == channels_last
