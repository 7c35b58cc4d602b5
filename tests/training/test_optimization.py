"""Optimiser, schedule, weight average and early stopping."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.errors import ConfigError
from napari_seg3d.evaluation import Counts, Evaluation, EvaluationRow
from napari_seg3d.training.config import OptimizationConfig
from napari_seg3d.training.judging.stopping import EarlyStopping
from napari_seg3d.training.learning.average import WeightAverage
from napari_seg3d.training.learning.optimizer import make_optimizer
from napari_seg3d.training.learning.schedule import Kind, Schedule


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.BatchNorm3d(2), torch.nn.Conv3d(2, 1, 1))


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    optimizer.zero_grad()
    model(torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(seed))).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize(("name", "kind", "rate"), [("adamw", "AdamW", 2e-3), ("adam", "Adam", 2e-3), ("sgd", "SGD", 1e-2)])
def test_optimisers(name: Any, kind: str, rate: float) -> None:
    model = network()
    model[0].requires_grad_(False)
    optimizer = make_optimizer(model, OptimizationConfig(optimizer=name, weight_decay=0.01, momentum=0.8))
    assert type(optimizer).__name__ == kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (rate, 0.01)
    assert len(group["params"]) == 4, "frozen weights are left alone"
    if name == "sgd":
        assert group["momentum"] == 0.8
        assert group["nesterov"]
    assert make_optimizer(model, OptimizationConfig(optimizer=name, learning_rate=0.5)).param_groups[0]["lr"] == 0.5


def test_sgd_without_momentum_is_plain() -> None:
    assert not make_optimizer(network(), OptimizationConfig(optimizer="sgd", momentum=0)).param_groups[0]["nesterov"]


kinds = st.sampled_from(("cosine", "polynomial", "constant", "plateau"))


@given(kinds, st.floats(0, 0.5), st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_a_schedule_rises_to_one_and_never_again(kind: Kind, warm_up: float, places: list[float]) -> None:
    schedule = Schedule(kind, warm_up)
    factors = [schedule.factor(place) for place in sorted(places)]
    assert all(1e-3 <= factor <= 1 for factor in factors)
    assert schedule.factor(warm_up) == pytest.approx(1)
    after = [factor for place, factor in zip(sorted(places), factors, strict=True) if place >= warm_up]
    assert after == sorted(after, reverse=True)
    before = [factor for place, factor in zip(sorted(places), factors, strict=True) if place < warm_up]
    assert before == sorted(before)


def test_schedules_are_those_of_the_papers() -> None:
    assert Schedule("cosine", 0).factor(0.25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert Schedule("cosine", 0.03).factor(0) == pytest.approx(0.1)
    assert Schedule("polynomial", 0).factor(0.75) == pytest.approx(0.25**0.9)
    assert Schedule("constant", 0).factor(0.99) == 1
    assert Schedule("cosine", 0.03).factor(1) == Schedule("polynomial", 0.03).factor(1) == 1e-3


def test_a_plateau_halves_the_rate_and_is_kept_over_a_pause() -> None:
    schedule = Schedule("plateau", 0)
    for score, factor in [(0.5, 1), (0.4, 1), (0.5, 1), (math.nan, 0.5), (0.6, 0.5), (0.1, 0.5), (0.1, 0.5)]:
        schedule.note_validation(score)
        assert schedule.factor(0.5) == factor
    other = Schedule("plateau", 0)
    other.load_state_dict(schedule.state_dict())
    for one in (schedule, other):
        one.note_validation(0.1)
        assert one.factor(0.5) == 0.25


def test_an_average_is_the_moving_average_of_weights_and_buffers() -> None:
    model = network()
    optimizer = make_optimizer(model, OptimizationConfig(learning_rate=0.1))
    average = WeightAverage(model, 0.9)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for number in range(1, 6):
        step(model, optimizer, number)
        average.update()
        decay = min(0.9, (1 + number) / (10 + number))
        expected = {
            name: decay * expected[name] + (1 - decay) * now if now.is_floating_point() else now
            for name, now in model.state_dict().items()
        }
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not torch.equal(own["1.running_mean"], expected["1.running_mean"])
    with average.swapped():
        torch.testing.assert_close(dict(model.state_dict()), expected)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in own.items())


def test_an_average_gives_the_weights_back_when_something_fails() -> None:
    model = network()
    average = WeightAverage(model, 0.5)
    before = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(1)

    def fail() -> None:
        with average.swapped():
            assert torch.equal(model[0].weight, before)
            raise ValueError("in between")

    with pytest.raises(ValueError, match="in between"):
        fail()
    torch.testing.assert_close(model[0].weight.detach(), before + 1)


def test_a_short_run_forgets_its_random_start() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(100.0)
        average = WeightAverage(model, 0.999)
        model.weight.fill_(1.0)
    for _ in range(50):
        average.update()
    with average.swapped():
        # With a decay of 0.999 from the beginning, 95 % of the start would still be there.
        assert float(model.weight) == pytest.approx(1, abs=0.01)


def test_training_goes_on_from_a_saved_average_to_the_last_bit() -> None:
    model = network()
    optimizer = make_optimizer(model, OptimizationConfig())
    average = WeightAverage(model, 0.99)
    step(model, optimizer, 1)
    average.update()
    saved = {
        "updates": average.state_dict()["updates"],
        "weights": {n: t.clone() for n, t in average.state_dict()["weights"].items()},
    }
    other = network()
    other.load_state_dict(model.state_dict())
    resumed = WeightAverage(other, 0.99)
    resumed.load_state_dict(saved)
    for one in (average, resumed):
        one.update()
    weights = resumed.state_dict()["weights"]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in average.state_dict()["weights"].items())


def judged(liver: Counts, cyst: Counts = Counts(tp=1)) -> Evaluation:  # noqa: B008  it cannot be changed
    return Evaluation((EvaluationRow.of("a", 1, "liver", liver, 1.0), EvaluationRow.of("a", 2, "cyst", cyst, 1.0)))


def test_patience_runs_out_after_so_many_validations_without_a_better_one() -> None:
    stopping = EarlyStopping("recall", "liver", 2, {1: "liver", 2: "cyst"})
    told = []
    for found, missed in [(5, 5), (8, 2), (8, 2), (9, 1), (1, 9), (2, 8)]:
        evaluation = judged(Counts(tp=found, fp=100, fn=missed))
        told.append((stopping.is_better(evaluation), stopping.is_over))
        stopping.note(evaluation)
    assert told == [(True, False), (True, False), (False, False), (True, False), (False, False), (False, False)]
    assert stopping.is_over
    assert stopping.best == pytest.approx(0.9)
    other = EarlyStopping("recall", "liver", 2, {1: "liver", 2: "cyst"})
    other.load_state_dict(stopping.state_dict())
    assert other.is_over


def test_of_equal_recalls_the_higher_dice_is_better() -> None:
    stopping = EarlyStopping("recall", None, None, {1: "liver", 2: "cyst"})
    everything, precise = judged(Counts(tp=10, fp=1000)), judged(Counts(tp=10, fp=2))
    stopping.note(everything)
    assert stopping.is_better(precise)
    stopping.note(precise)
    assert not stopping.is_better(everything)
    assert not stopping.is_better(judged(Counts(tp=9, fn=1)))
    other = EarlyStopping("recall", None, None, {1: "liver", 2: "cyst"})
    other.load_state_dict(stopping.state_dict())
    assert not other.is_better(everything)


def test_without_patience_a_run_goes_on_for_ever() -> None:
    stopping = EarlyStopping("dice", None, None, {1: "liver", 2: "cyst"})
    for _ in range(100):
        stopping.note(judged(Counts(fn=1)))
    assert not stopping.is_over


def test_a_label_that_is_not_there_cannot_judge() -> None:
    with pytest.raises(ConfigError, match="spleen") as caught:
        EarlyStopping("dice", "spleen", 3, {1: "liver"})
    assert "liver" in caught.value.fix
