import pytest
import torch

from napari_seg3d.errors import ConfigError
from napari_seg3d.networks import build_network, complete_spec, summarise
from tests.networks.small import ALL, small_sides, small_spec


@pytest.mark.parametrize(("name", "dims"), ALL)
def test_all_weights_and_the_last_shape_are_told(name: str, dims: int) -> None:
    spec = small_spec(name, dims)
    sides = small_sides(spec)
    network = build_network(spec)
    found = summarise(spec, sides, batch_size=2)
    assert found.parameters == sum(weight.numel() for weight in network.parameters())
    assert found.rows[-1].shape[:2] == (2, spec.out_channels)
    told = {row.name for row in found.rows}
    assert told <= {layer for layer, _ in network.named_modules()}
    assert found.total_bytes > found.kept_bytes > 0


def test_layers_are_those_that_compute() -> None:
    spec = small_spec("vnet")
    sides = small_sides(spec)
    network = build_network(spec)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in network.named_modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda _layer, _inputs, output, name=name: shapes.update({name: tuple(output.shape)}))
    network(torch.zeros(1, 2, *sides))
    found = summarise(spec, sides)
    assert {row.name: row.shape for row in found.rows} == shapes
    assert sum(row.parameters for row in found.rows) == found.parameters


def test_what_is_kept_is_what_autograd_keeps() -> None:
    spec = small_spec("dynunet")
    network = build_network(spec)
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in weights:
            kept[memory.data_ptr()] = memory.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(torch.zeros(2, 2, 32, 32, 32))
    assert logits.requires_grad
    assert summarise(spec, (32, 32, 32), 2).kept_bytes == pytest.approx(sum(kept.values()), rel=0.02)


def test_larger_steps_need_more() -> None:
    spec = complete_spec("dynunet")
    one, two = (summarise(spec, (32, 32, 32), batch) for batch in (1, 2))
    assert two.kept_bytes == pytest.approx(2 * one.kept_bytes, rel=0.01)
    assert two.state_bytes == one.state_bytes == 20 * one.parameters
    assert summarise(spec, (32, 32, 32), 2, "bf16").kept_bytes == pytest.approx(one.kept_bytes, rel=0.01)
    assert one.fits(2 * one.total_bytes)
    assert not one.fits(one.total_bytes)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="takes multiples of 8"):
        summarise(complete_spec("dynunet"), (50, 48, 48))
