"""The losses: equal to MONAI's where both are defined, blind to what is unknown, finite whatever comes."""

from __future__ import annotations

from typing import Any, get_args

import monai.losses
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import ConfigError
from napari_seg3d.evaluation import UNKNOWN
from napari_seg3d.training.config import OptimizationConfig
from napari_seg3d.training.losses import LossName, build_loss
from napari_seg3d.training.losses.sums import sum_by_class

NAMES: tuple[LossName, ...] = get_args(LossName)
SOFTMAX: dict[str, Any] = {"softmax": True, "to_onehot_y": True, "include_background": False, "batch": True}
SIGMOID: dict[str, Any] = {"sigmoid": True, "batch": True}
TINY = {"smooth_nr": 1e-12, "smooth_dr": 1e-12}

# Name of ours, MONAI's for exclusive labels, MONAI's for overlapping ones, and by how much MONAI's is smaller.
PAIRS: list[tuple[LossName, Any, Any, float]] = [
    ("dice_per_label", monai.losses.DiceLoss(**SOFTMAX), monai.losses.DiceLoss(**SIGMOID), 1),
    ("dice_ce", monai.losses.DiceCELoss(**SOFTMAX), None, 1),
    (
        "tversky",
        monai.losses.TverskyLoss(**SOFTMAX, alpha=0.3, beta=0.7),
        monai.losses.TverskyLoss(**SIGMOID, alpha=0.3, beta=0.7),
        1,
    ),
    (
        "generalized_dice",
        monai.losses.GeneralizedDiceLoss(**(SOFTMAX | TINY | {"include_background": True})),
        monai.losses.GeneralizedDiceLoss(**(SIGMOID | TINY)),
        1,
    ),
    # MONAI takes the mean over the channels as well, of which only one is not zero.
    ("focal", monai.losses.FocalLoss(use_softmax=True, to_onehot_y=True, gamma=2.0), monai.losses.FocalLoss(gamma=2.0), 3),
    ("ce", lambda logits, target: torch.nn.functional.cross_entropy(logits, target[:, 0]), None, 1),
    ("bce", None, torch.nn.functional.binary_cross_entropy_with_logits, 1),
    ("ce", None, torch.nn.functional.binary_cross_entropy_with_logits, 1),
]


def draw(
    seed: int, channels: int = 3, overlapping: bool = False, sides: tuple[int, ...] = (5, 6, 4)
) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((2, channels, *sides), generator=random)
    shape = (2, channels if overlapping else 1, *sides)
    return logits, torch.randint(0, 2 if overlapping else channels, shape, generator=random, dtype=torch.uint8)


def value_and_gradient(loss: Any, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.clone().requires_grad_()
    value = loss(logits, target)
    value.backward()
    assert logits.grad is not None
    return value.detach(), logits.grad


@pytest.mark.parametrize(("name", "softmax", "sigmoid", "factor"), PAIRS, ids=[pair[0] for pair in PAIRS])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), sides=st.sampled_from([(5, 6, 4), (9, 7)]))
def test_equals_monai(name: LossName, softmax: Any, sigmoid: Any, factor: float, seed: int, sides: tuple[int, ...]) -> None:
    for theirs, overlapping in ((softmax, False), (sigmoid, True)):
        if theirs is None:
            continue
        logits, target = draw(seed, 3, overlapping, sides)
        shown = target.float() if overlapping else target.long()
        share = 1 if overlapping else factor
        wanted, wanted_gradient = value_and_gradient(theirs, logits, shown)
        value, gradient = value_and_gradient(build_loss(name, overlapping, 3), logits, target)
        torch.testing.assert_close(value, share * wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient, share * wanted_gradient, rtol=1e-3, atol=1e-6)


def test_dice_over_all_labels_is_that_of_their_voxels_together() -> None:
    logits, target = draw(1)
    share = logits.softmax(1)[:, 1:]
    wanted = torch.nn.functional.one_hot(target[:, 0].long(), 3).movedim(-1, 1)[:, 1:]
    expected = 1 - 2 * (share * wanted).sum() / (share.sum() + wanted.sum())
    torch.testing.assert_close(build_loss("dice", False, 3)(logits, target), expected)


def test_dice_of_what_was_missed_weighs_eight_times() -> None:
    target = torch.zeros(1, 1, 10, 10, dtype=torch.uint8)
    target[..., :5] = 1
    half = torch.full((1, 1, 10, 10), -50.0)
    half[..., :5, :5] = 50.0
    more = torch.full((1, 1, 10, 10), 50.0)
    loss = build_loss("dice_fn", True, 1)
    # Half of the label is found and nothing else: Dice 2/3, and the same of prediction x label.
    assert float(loss(half, target)) == pytest.approx((1 - 2 / 3) * 9, abs=1e-4)
    assert float(loss(more, target)) == pytest.approx(1 - 2 / 3, abs=1e-4), "too much costs its Dice only"


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_unknown_voxels_count_for_nothing(name: LossName, overlapping: bool) -> None:
    logits, target = draw(3, 4, overlapping)
    hidden = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    target = target.masked_fill(hidden, UNKNOWN)
    loss = build_loss(name, overlapping, 4)
    value, gradient = value_and_gradient(loss, logits, target)
    everywhere = hidden.expand_as(logits)
    assert (gradient[everywhere] == 0).all()
    assert (gradient[~everywhere] != 0).any()
    changed = torch.where(everywhere, 10 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)), logits)
    again, same_gradient = value_and_gradient(loss, changed, target)
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(same_gradient, gradient)


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("filling", [0, 1, UNKNOWN])
def test_finite_whatever_comes(name: LossName, overlapping: bool, filling: int) -> None:
    logits, target = draw(5, 3, overlapping)
    loss = build_loss(name, overlapping, 3)
    for sharpness in (1.0, 1e4):
        value, gradient = value_and_gradient(loss, (sharpness * logits).bfloat16(), torch.full_like(target, filling))
        assert torch.isfinite(value)
        assert value.dtype == torch.float32
        assert torch.isfinite(gradient).all()
        assert gradient.dtype == torch.bfloat16
        if filling == UNKNOWN:
            assert (gradient == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_right_answer_costs_nothing_and_a_wrong_one_much(name: LossName) -> None:
    for overlapping in (False, True):
        _, target = draw(7, 3, overlapping)
        right = target.float() if overlapping else torch.nn.functional.one_hot(target[:, 0].long(), 3).movedim(-1, 1).float()
        loss = build_loss(name, overlapping, 3)
        assert float(loss(60 * right - 30, target)) == pytest.approx(0, abs=1e-3)
        assert float(loss(30 - 60 * right, target)) > 0.3


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: LossName) -> None:
    logits, target = draw(11, 3, False, (3, 4))
    target[0, 0, 0, 0] = UNKNOWN
    loss = build_loss(name, False, 3, weights=[1, 2, 3])
    _, gradient = value_and_gradient(loss, logits, target)
    for place in [(0, 0, 1, 1), (0, 2, 2, 3), (1, 1, 0, 0), (0, 1, 0, 0)]:
        step = torch.zeros_like(logits)
        step[place] = 0.05
        slope = float(loss(logits + step, target) - loss(logits - step, target)) / 0.1
        assert slope == pytest.approx(float(gradient[place]), abs=2e-3)


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_halves_summed_over_processes_are_the_whole_batch(name: LossName, overlapping: bool) -> None:
    logits, target = draw(13, 3, overlapping)
    target[0, :, :2] = UNKNOWN  # the halves have different numbers of known voxels
    whole, gradient = value_and_gradient(build_loss(name, overlapping, 3), logits, target)
    collected: list[torch.Tensor] = []
    build_loss(name, overlapping, 3, reduce=lambda part: collected.append(part) or part)(logits[1:], target[1:])
    with_other = build_loss(name, overlapping, 3, reduce=lambda part: part + collected[0].detach())
    half, half_gradient = value_and_gradient(with_other, logits[:1], target[:1])
    torch.testing.assert_close(half, whole)
    torch.testing.assert_close(half_gradient, gradient[:1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("overlapping", [False, True])
def test_coarser_levels_weigh_half_as_much_each_and_see_a_coarser_target(overlapping: bool) -> None:
    target = torch.zeros(1, 2 if overlapping else 1, 8, 8, 8, dtype=torch.uint8)
    target[:, :, 4:] = 1
    levels = [torch.randn(1, 2, side, side, side) for side in (8, 4, 2)]
    loss = build_loss("dice_ce", overlapping, 2)
    each = [loss(level, target[..., ::step, ::step, ::step]) for level, step in zip(levels, (1, 2, 4), strict=True)]
    torch.testing.assert_close(loss(levels, target), (4 * each[0] + 2 * each[1] + each[2]) / 7)


def test_class_weights_are_relative() -> None:
    logits, target = draw(17)
    for name in NAMES:
        plain = build_loss(name, False, 3)(logits, target)
        torch.testing.assert_close(build_loss(name, False, 3, weights=[5, 5, 5])(logits, target), plain)
    weighted = build_loss("ce", False, 3, weights=[1, 2, 6])(logits, target)
    expected = torch.nn.functional.cross_entropy(logits, target[:, 0].long(), torch.tensor([1.0, 2.0, 6.0]))
    torch.testing.assert_close(weighted, expected)
    only_second = build_loss("dice_per_label", False, 3, weights=[0, 0, 1])(logits, target)
    both = build_loss("dice_per_label", False, 3)(logits, target)
    only_first = build_loss("dice_per_label", False, 3, weights=[0, 1, 0])(logits, target)
    torch.testing.assert_close(both, (only_first + only_second) / 2)


def test_weights_that_leave_nothing_to_learn_are_refused() -> None:
    with pytest.raises(ConfigError, match="all labels are 0"):
        build_loss("dice_ce", False, 3, weights=[1, 0, 0])
    with pytest.raises(ConfigError, match="2 class weights for 3 channels"):
        build_loss("ce", False, 3, weights=[1, 1])


def test_every_loss_of_the_config_is_there() -> None:
    wanted = set(get_args(OptimizationConfig.model_fields["loss"].annotation)) - {"auto"}
    assert wanted == set(NAMES)


def test_sums_stay_exact_beyond_what_one_float_can_count() -> None:
    # 2^24 ones and more, added one by one in float32, would stop growing.
    voxels = 2**24 + 2**18
    sums = sum_by_class(torch.ones(1, voxels), torch.ones(voxels, dtype=torch.int64), 2)
    assert sums.tolist() == [[0, voxels]]
