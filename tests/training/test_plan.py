import numpy as np
import pytest

from napari_seg3d.errors import ConfigError
from napari_seg3d.training import TrainConfig
from napari_seg3d.training.plan import Fingerprint, make_plan
from napari_seg3d.volumes import Grid

_CONFIG = TrainConfig.parse({"data": {"images": "/scans"}, "device": {"accelerator": "cpu"}})


def _grids(shape: tuple[int, int, int], spacing: tuple[float, float, float], count: int = 3) -> list[Grid]:
    return [Grid(shape, np.diag([*spacing, 1.0]))] * count


def test_small_scans_are_seen_whole() -> None:
    plan = make_plan(_CONFIG, Fingerprint(_grids((35, 50, 35), (1, 1, 1)), {1: "head", 2: "tail"}))
    assert plan.spec.patch_size == (40, 56, 40)
    assert plan.spacing == (1, 1, 1)
    assert plan.spec.network.out_channels == 3
    assert plan.batch_size == 4


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((512, 512, 400), (0.7, 0.7, 1.0)),
        ((256, 256, 25), (0.78, 0.78, 6.5)),
        ((9, 300, 300), (7.5, 0.5, 0.5)),
        ((8, 8, 8), (1, 1, 1)),
    ],
)
def test_a_patch_fits_the_network_and_the_budget(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    plan = make_plan(_CONFIG, Fingerprint(_grids(shape, spacing), {1: "organ"}))
    patch = np.array(plan.spec.patch_size)
    assert (patch % plan.spec.network.divisor == 0).all()
    assert patch.prod() <= 64**3
    assert (patch <= np.array(shape) + plan.spec.network.divisor).all()
    assert 2 <= plan.batch_size <= 8


def test_the_spacing_is_the_median_over_canonical_axes() -> None:
    # The same thick slices, stored along another axis: the plan must not take the axis order of a file for anatomy.
    straight = Grid((20, 30, 10), np.diag([1.0, 1.0, 5.0, 1.0]))
    turned = Grid((10, 20, 30), np.array([[0, 1.0, 0, 0], [0, 0, 1.0, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]]))
    plan = make_plan(_CONFIG, Fingerprint([straight, turned, turned], {1: "organ"}))
    assert plan.spacing == (1, 1, 5)
    assert turned.canonical().shape == straight.shape


def test_a_patch_that_does_not_fit_the_network_is_refused_with_those_that_do() -> None:
    config = _CONFIG.with_values({"sampling.patch_size": [30, 33, 64]})
    with pytest.raises(ConfigError, match=r"(?s)30 x 33 x 64.*28 or 32"):
        make_plan(config, Fingerprint(_grids((64, 64, 64), (1, 1, 1)), {1: "organ"}))


def test_what_cannot_fit_the_memory_is_refused_before_it_is_tried() -> None:
    config = _CONFIG.with_values({"sampling.patch_size": [1000, 1000, 1000], "optimization.batch_size": 64})
    with pytest.raises(ConfigError, match=r"1000 x 1000 x 1000.*GB"):
        make_plan(config, Fingerprint(_grids((64, 64, 64), (1, 1, 1)), {1: "organ"}))


def test_whole_scans_all_fit() -> None:
    config = _CONFIG.with_values({"sampling.mode": "whole"})
    grids = [*_grids((30, 40, 20), (1, 1, 1)), *_grids((44, 38, 31), (1, 1, 1), 1)]
    assert make_plan(config, Fingerprint(grids, {1: "organ"})).spec.patch_size == (48, 40, 32)


def test_a_device_that_is_not_there_is_named() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="cuda"):
        make_plan(_CONFIG.with_values({"device.accelerator": "cuda"}), Fingerprint(_grids((32, 32, 32), (1, 1, 1)), {1: "organ"}))
