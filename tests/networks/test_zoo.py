from copy import deepcopy
from typing import get_args

import pytest
import torch

from napari_seg3d.errors import ConfigError
from napari_seg3d.networks import (
    NetworkName,
    build_network,
    complete_spec,
    network_info,
    network_names,
    output_sides,
)
from napari_seg3d.networks.summary import meta_network
from tests.networks.small import ALL, small_sides, small_spec

#: Those of which a real step takes seconds: their shapes are looked at without values.
_SLOW = {("swinunetr", 3)}


def _weights(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(
    ("name", "dims", "channels", "expected"),
    [
        ("torchio-unet", 3, (1, 2), 19_071_376),
        ("nodule-unet", 2, (7, 1), 118_271),
        ("vnet", 3, (1, 3), 16_308_696),
        ("mini-vnet", 3, (1, 3), 96_167),
        ("spine-unet", 2, (1, 7), 31_036_871),
    ],
)
def test_the_known_systems_have_their_numbers_of_weights(name: str, dims: int, channels: tuple[int, int], expected: int) -> None:
    assert network_info(name).dims[0] == dims
    assert network_info(name).channels == channels
    spec = complete_spec(name, dims=dims, in_channels=channels[0], out_channels=channels[1])
    assert _weights(meta_network(spec)) == expected


def test_every_name_is_in_the_zoo() -> None:
    assert network_names() == get_args(NetworkName)
    assert network_names(2) == network_names(3) == network_names()
    with pytest.raises(ConfigError, match="Choose one of dynunet"):
        network_info("unet")


@pytest.mark.parametrize(("name", "dims"), [case for case in ALL if case not in _SLOW])
def test_a_step_moves_every_weight(name: str, dims: int) -> None:
    torch.manual_seed(0)
    spec = small_spec(name, dims)
    sides = small_sides(spec)
    network = build_network(spec)
    logits = network(torch.randn(2, 2, *sides))
    assert logits.shape == (2, spec.out_channels, *output_sides(spec, sides))
    logits.square().mean().backward()
    assert all(weight.grad is not None for weight in network.parameters() if weight.requires_grad)
    deepcopy(network)  # as the average of the weights does


@pytest.mark.parametrize(("name", "dims"), sorted(_SLOW))
def test_shapes_without_values(name: str, dims: int) -> None:
    spec = small_spec(name, dims)
    sides = small_sides(spec)
    logits = meta_network(spec).eval()(torch.zeros(1, 2, *sides, device="meta"))
    assert logits.shape == (1, spec.out_channels, *output_sides(spec, sides))


@pytest.mark.parametrize(("name", "dims"), [case for case in ALL if case not in _SLOW])
def test_samples_do_not_see_each_other_when_predicting(name: str, dims: int) -> None:
    torch.manual_seed(0)
    spec = small_spec(name, dims)
    network = build_network(spec).eval()
    pair = torch.randn(2, 2, *small_sides(spec))
    with torch.no_grad():
        torch.testing.assert_close(network(pair)[:1], network(pair[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("name", "answers"), [("dynunet", 3), ("mednext", 5)])
def test_coarse_levels_answer_while_training(name: str, answers: int, dims: int) -> None:
    spec = small_spec(name, dims, deep_supervision=True)
    sides = small_sides(spec)
    network = build_network(spec)
    image = torch.randn(1, 2, *sides)
    logits = network(image)
    assert [each.shape for each in logits] == [(1, 3, *(side // 2**level for side in sides)) for level in range(answers)]
    sum(each.square().mean() for each in logits).backward()
    assert all(weight.grad is not None for weight in network.parameters())
    deepcopy(network)
    assert network.eval()(image).shape == (1, 3, *sides)


def test_only_those_that_can_are_asked_for_coarse_answers() -> None:
    with pytest.raises(ConfigError, match="no coarse levels"):
        small_spec("vnet", deep_supervision=True)


@pytest.mark.parametrize("sides", [(5, 5, 5), (9, 14, 11), (24, 7, 31)])
def test_the_cascade_takes_any_size(sides: tuple[int, ...]) -> None:
    network = build_network(small_spec("cascade-unet"))
    assert network(torch.randn(1, 2, *sides)).shape == (1, 3, *sides)


def test_noise_is_added_while_training_only() -> None:
    network = build_network(small_spec("cascade-unet", 2))
    image = torch.randn(1, 2, 8, 8)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


def test_what_is_deepest_in_a_vnet_reaches_the_output() -> None:
    network = build_network(small_spec("vnet", 2)).eval()
    image = torch.randn(1, 2, 16, 16)
    before = network(image)
    with torch.no_grad():
        network.stages[-1].convolutions[0].bias += 1
        network.stages[-1].convolutions[1].running_mean -= 1
    assert not torch.allclose(before, network(image))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "vnet", "features": (8, 16, 32), "strides": ((2, 2, 2),)}, "3 levels need 2 strides"),
        ({"name": "mednext", "features": (8, 16)}, "5 levels, not 2"),
        ({"name": "segresnet", "features": (8, 16, 24)}, "double from level to level: 8, 16, 32"),
        ({"name": "segresnet", "features": (4, 8, 16)}, "no multiple of 8"),
        ({"name": "segresnet", "strides": ((2, 2, 1), (2, 2, 2), (2, 2, 2))}, "every step of segresnet halves"),
        ({"name": "dynunet", "dims": 2, "strides": ((2, 2, 2),) * 3}, "third number"),
        ({"name": "dynunet", "options": {"dropuot": 0.1}}, "did you mean dropout"),
        ({"name": "dynunet", "options": {"dropout": 1.5}}, "between 0 and 0.9, and is 1.5"),
        ({"name": "dynunet", "options": {"residual": 1}}, "on or off"),
        ({"name": "vnet", "options": {"kernel": "7"}}, "one of 3, 5"),
        ({"name": "vnet", "options": {"convolutions": [1, 2.5]}}, "whole number"),
        ({"name": "unetr", "options": {"image_size": [96, 90, 96]}}, "choose 80 or 96"),
        ({"name": "unetr", "options": {"image_size": [96, 96]}}, "holds 3 numbers"),
        ({"name": "unetr", "options": {"heads": 7}}, "no multiple of its 7 heads"),
        ({"name": "swinunetr", "features": (20, 20, 40, 80, 160, 320)}, "multiple of 12"),
        ({"name": "cascade-roi", "out_channels": 2}, "1 output channel, not 2"),
    ],
)
def test_what_a_network_cannot_do_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        complete_spec(**change)  # type: ignore[arg-type]


def test_a_spec_says_everything() -> None:
    spec = complete_spec("unetr", dims=2, sides=(64, 32))
    assert spec.options == {"image_size": [64, 32, 1], "heads": 12, "dropout": 0.0}
    assert spec.model_validate_json(spec.model_dump_json()) == spec
