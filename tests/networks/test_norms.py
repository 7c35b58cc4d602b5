"""The fast instance norm is an instance norm."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.networks.modules.norms import InstanceNorm, use_own_norms

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def _channels_last(shape: tuple[int, ...], dtype: torch.dtype, offset: float = 0.0) -> torch.Tensor:
    values = torch.randn(shape, dtype=torch.float64) + offset
    return values.to(dtype).contiguous(memory_format=_LAYOUTS[len(shape)]).requires_grad_()


@given(
    shape=st.lists(st.integers(1, 5), min_size=4, max_size=5).filter(lambda sides: sides[2] * sides[3] > 1),
    offset=st.sampled_from([0.0, 3.0, 100.0]),
)
@settings(deadline=None)
def test_it_equals_torchs_own_forward_and_backward(shape: list[int], offset: float) -> None:
    features = _channels_last(tuple(shape), torch.float64, offset)
    norm = InstanceNorm(shape[1], affine=True).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    above = torch.randn_like(features)
    wanted = (features, norm.weight, norm.bias)
    found, expected = norm(features), _by_definition(features, norm)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-6)
    for one, other in zip(torch.autograd.grad(found, wanted, above), torch.autograd.grad(expected, wanted, above), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def _by_definition(features: torch.Tensor, norm: InstanceNorm) -> torch.Tensor:
    axes = tuple(range(2, features.ndim))
    shape = (1, -1, *[1] * len(axes))
    centred = features - features.mean(axes, keepdim=True)
    scaled = centred / (centred.square().mean(axes, keepdim=True) + norm.eps).sqrt()
    return scaled * norm.weight.view(shape) + norm.bias.view(shape) if norm.affine else scaled


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("layout_above", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_the_gradient_is_right_in_every_layout(
    count: int, affine: bool, dtype: torch.dtype, layout_above: torch.memory_format, layout: torch.memory_format
) -> None:
    norm = InstanceNorm(4, affine=affine).to(dtype)
    features = torch.randn(count, 4, 5, 6, 7, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    above = torch.randn(count, 4, 5, 6, 7, dtype=dtype).contiguous(memory_format=layout_above)
    exact = features.detach().double().requires_grad_()
    (found,) = torch.autograd.grad(norm(features), features, above)
    (expected,) = torch.autograd.grad(_by_definition(exact, norm), exact, above.double())
    assert (found.double() - expected).abs().max() < (1e-5 if dtype == torch.float32 else 0.1)


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_32_bit_lose_no_digits_far_from_zero(offset: float) -> None:
    features = _channels_last((2, 8, 20, 24, 20), torch.float32, offset)
    norm = InstanceNorm(8, affine=True)
    exact = nn.functional.instance_norm(features.double())
    assert (norm(features).double() - exact).abs().max() < 2e-4


def test_the_gradient_is_that_of_the_function() -> None:
    norm = InstanceNorm(3, affine=True).double()
    features = _channels_last((2, 3, 4, 3, 2), torch.float64)
    assert torch.autograd.gradcheck(norm, (features,))


def test_what_comes_out_lies_as_what_went_in() -> None:
    features = _channels_last((2, 4, 6, 6, 6), torch.float32)
    norm = InstanceNorm(4, affine=True)
    result = norm(features)
    assert result.is_contiguous(memory_format=torch.channels_last_3d)
    (gradient,) = torch.autograd.grad(result.sum(), features)
    assert gradient.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (1, 2, 4, 4, 4)])
def test_other_layouts_and_types_go_torchs_way(shape: tuple[int, ...]) -> None:
    norm = InstanceNorm(2, affine=True)
    plain = torch.randn(shape)
    torch.testing.assert_close(norm(plain), nn.functional.instance_norm(plain))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = plain.bfloat16().contiguous(memory_format=_LAYOUTS[len(shape)])
        assert norm(half).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="more than 1"):
        norm(torch.randn(1, 2, *[1] * (len(shape) - 2)))


def test_a_network_keeps_its_weights_and_their_names() -> None:
    network = build_network(NetworkSpec(name="dynunet", in_channels=1, out_channels=2))
    norms = [module for module in network.modules() if isinstance(module, InstanceNorm)]
    assert norms
    assert not any(type(module) is nn.InstanceNorm3d for module in network.modules())
    block = nn.Sequential(nn.Conv3d(1, 4, 3), nn.InstanceNorm3d(4, affine=True), nn.InstanceNorm3d(4)).eval()
    before = block.state_dict()
    use_own_norms(block)
    assert isinstance(block[1], InstanceNorm)
    assert isinstance(block[2], InstanceNorm)
    assert not block[1].training
    assert {name: value.data_ptr() for name, value in block.state_dict().items()} == {
        name: value.data_ptr() for name, value in before.items()
    }
