import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.errors import ConfigError
from napari_seg3d.networks import check_sides, complete_spec, network_info, round_sides
from tests.networks.small import ALL, small_spec


@given(case=st.sampled_from(ALL), sides=st.tuples(*[st.integers(1, 70)] * 3))
def test_rounded_sides_fit(case: tuple[str, int], sides: tuple[int, int, int]) -> None:
    name, dims = case
    spec = small_spec(name, dims)
    rounded = round_sides(spec, sides[:dims])
    check_sides(spec, rounded)
    check_sides(spec, round_sides(spec, [*sides[:dims], 1][:3]))
    if network_info(name).sides != "fixed":
        assert all(new >= old for new, old in zip(rounded, sides, strict=False))
        assert round_sides(spec, rounded) == rounded


@pytest.mark.parametrize(("name", "dims"), [case for case in ALL if network_info(case[0]).sides == "divisible"])
def test_an_odd_side_is_refused_with_the_nearest_that_fit(name: str, dims: int) -> None:
    spec = small_spec(name, dims)
    step = spec.divisor[1]
    sides = [4 * step] * dims
    sides[1] += 1
    with pytest.raises(ConfigError, match="Side 2 of") as refused:
        check_sides(spec, sides)
    assert refused.value.fix == f"Choose {4 * step} or {5 * step}."


def test_thick_slices_may_stay_whole() -> None:
    spec = complete_spec("vnet", features=(4, 6, 8), strides=((2, 2, 1), (2, 2, 2)))
    assert spec.divisor == (4, 4, 2)
    check_sides(spec, (16, 16, 6))
    with pytest.raises(ConfigError, match="Side 3"):
        check_sides(spec, (16, 16, 5))


def test_a_single_voxel_at_the_deepest_level_is_refused() -> None:
    spec = complete_spec("dynunet", features=(4, 6, 8))
    with pytest.raises(ConfigError, match="a single one is left"):
        check_sides(spec, (4, 4, 4))
    check_sides(spec, (8, 4, 4))


def test_a_transformer_takes_its_own_size_only() -> None:
    spec = complete_spec("unetr", sides=(32, 64, 16))
    check_sides(spec, (32, 64, 16))
    with pytest.raises(ConfigError, match="takes 32 x 64 x 16 voxels only"):
        check_sides(spec, (64, 64, 16))


def test_slices_and_volumes_are_not_mixed_up() -> None:
    with pytest.raises(ConfigError, match="is a volume"):
        check_sides(complete_spec("dynunet", dims=2), (16, 16, 16))
    with pytest.raises(ConfigError, match="3 sides"):
        check_sides(complete_spec("dynunet"), (16, 16))
