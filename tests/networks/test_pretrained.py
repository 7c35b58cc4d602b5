import pytest
import torch

from napari_seg3d.errors import ModelError
from napari_seg3d.networks import build_network, complete_spec, load_pretrained, network_names
from napari_seg3d.networks.spec import NetworkSpec
from tests.networks.small import small_spec


def _changed(spec: NetworkSpec, **change: object) -> NetworkSpec:
    return NetworkSpec.model_validate(spec.model_dump() | change)


# In 3D the names are the same, and the shapes differ by an axis.
_CASES = [(name, 2) for name in network_names()] + [("dynunet", 3), ("vnet", 3)]


@pytest.mark.parametrize(("name", "dims"), _CASES)
def test_the_same_network_takes_every_weight(name: str, dims: int) -> None:
    spec = small_spec(name, dims)
    earlier, later = build_network(spec), build_network(spec)
    transferred = load_pretrained(later, earlier.state_dict())
    assert transferred.remade == ()
    assert "All weights" in transferred.message
    for name, weight in later.state_dict().items():
        assert torch.equal(weight, earlier.state_dict()[name])


@pytest.mark.parametrize(("name", "dims"), [case for case in _CASES if case[0] != "cascade-roi"])
def test_other_labels_make_the_last_layer_anew(name: str, dims: int) -> None:
    spec = small_spec(name, dims)
    earlier, later = build_network(spec), build_network(_changed(spec, out_channels=7))
    head = {name: weight.clone() for name, weight in later.state_dict().items()}
    transferred = load_pretrained(later, earlier.state_dict())
    assert "The last layer is made anew: it was made for 3 output channels, and here are 7." in transferred.message
    assert 1 <= len(transferred.remade) <= 2
    for name, weight in later.state_dict().items():
        assert torch.equal(weight, head[name] if name in transferred.remade else earlier.state_dict()[name])


@pytest.mark.parametrize("name", ["dynunet", "nodule-unet", "vnet", "unetr"])
def test_other_image_channels_make_the_first_layer_anew(name: str) -> None:
    spec = small_spec(name)
    transferred = load_pretrained(build_network(_changed(spec, in_channels=5)), build_network(spec).state_dict())
    assert transferred.message.startswith("The first layer is made anew: it was made for 2 image channels, and here are 5.")
    assert transferred.loaded


@pytest.mark.parametrize("before", [True, False])
def test_coarse_answers_may_come_and_go(before: bool) -> None:
    earlier, later = (build_network(small_spec("dynunet", deep_supervision=supervised)) for supervised in (before, not before))
    transferred = load_pretrained(later, earlier.state_dict())
    assert all("super" in name for name in transferred.remade)
    assert torch.equal(later.output_block.conv.conv.weight, earlier.output_block.conv.conv.weight)


@pytest.mark.parametrize(
    "other",
    [
        complete_spec("dynunet", features=(4, 6, 8, 12), in_channels=2, out_channels=3),
        complete_spec("dynunet", features=(4, 6, 8), in_channels=2, out_channels=3),
        small_spec("dynunet", dims=2),
        small_spec("vnet"),
    ],
)
def test_weights_of_another_network_are_refused_and_nothing_changes(other: NetworkSpec) -> None:
    network = build_network(small_spec("dynunet"))
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    with pytest.raises(ModelError, match="not the weights of this dynunet"):
        load_pretrained(network, build_network(other).state_dict())
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())
