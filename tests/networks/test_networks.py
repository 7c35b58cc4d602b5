import pytest
import torch
from pydantic import ValidationError

from napari_seg3d.networks import NetworkSpec, build_network, plan_strides


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((64, 64, 64), (1, 1, 1), (8, 8, 8)),
        ((256, 256, 24), (0.78, 0.78, 6.5), (8, 8, 1)),  # thick slices stay whole
        ((64, 64, 32), (1, 1, 2), (8, 8, 4)),  # and shrink once the finer axes have caught up
        ((8, 64, 64), (1, 1, 1), (2, 8, 8)),  # no axis below four voxels
    ],
)
def test_strides_follow_the_voxels(shape: tuple[int, ...], spacing: tuple[float, ...], expected: tuple[int, ...]) -> None:
    assert NetworkSpec(strides=plan_strides(4, shape, spacing)).divisor == expected


@pytest.mark.parametrize("strides", [((2, 2, 2), (2, 2, 2)), ((2, 2, 1), (2, 2, 2)), ((1, 1, 1), (1, 2, 2))])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_output_lies_on_the_input(strides: tuple[tuple[int, int, int], ...], channels: int) -> None:
    spec = NetworkSpec(in_channels=channels, out_channels=4, features=(8, 16, 32), strides=strides)
    sides = [2 * step for step in spec.divisor]
    network = build_network(spec).eval()
    assert network(torch.zeros(2, channels, *sides)).shape == (2, 4, *sides)


def test_a_stride_too_few_is_refused() -> None:
    with pytest.raises(ValidationError, match="3 levels need 2 strides"):
        NetworkSpec(features=(8, 16, 32), strides=((2, 2, 2),))
