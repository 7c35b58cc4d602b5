"""Steps of a learner: what they add up to, what happens when memory or numbers run out."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from napari_seg3d.errors import TrainingError
from napari_seg3d.inference import ModelSpec
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.training.config import DeviceConfig, OptimizationConfig
from napari_seg3d.training.learning.average import WeightAverage
from napari_seg3d.training.learning.learner import Learner
from napari_seg3d.training.learning.speed import Layout
from napari_seg3d.training.mishaps import NotFinite
from napari_seg3d.training.plan import Plan
from napari_seg3d.training.processes import Processes

NETWORK = NetworkSpec(features=(4, 8, 8), strides=((2, 2, 2),) * 2)


@pytest.fixture(autouse=True)
def _few_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_learner(batch_size: int = 4, ema: float = 0.0, **wishes: Any) -> Learner:
    plan = Plan(
        spec=ModelSpec(network=NETWORK, labels={1: "ball"}, pipeline=[], patch_size=(8, 8, 8), mode="patches"),
        spacing=(1, 1, 1),
        batch_size=batch_size,
        accelerator="cpu",
        precision="32",
        augmentation=None,
        loss="ce",
        class_weights=None,
        learning_rate=0.1,
        ema=ema,
        workers=0,
        augment_on="loader",
        parameters=0,
        memory=0,
    )
    torch.manual_seed(0)
    settings = OptimizationConfig(
        **{"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "warm_up": 0} | wishes
    )
    return Learner(plan, settings, build_network(NETWORK), Processes(DeviceConfig(), "cpu", "32"), Layout())


def batches(size: int, seed: int = 1) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    while True:
        image = torch.randn((size, 1, 8, 8, 8), generator=random)
        yield image, (image > 0).to(torch.uint8)


def weights(learner: Learner) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in learner.network.parameters()])


def test_accumulated_batches_are_one_larger_batch() -> None:
    image, target = next(batches(4))
    whole, halves = make_learner(batch_size=4), make_learner(batch_size=2, accumulate=2)
    loss = whole.step(iter([(image, target)]), 0.0)
    assert halves.step(iter([(image[:2], target[:2]), (image[2:], target[2:])]), 0.0) == pytest.approx(loss, abs=1e-6)
    assert torch.allclose(weights(whole), weights(halves), atol=1e-6)
    assert whole.samples == halves.samples == 4
    assert whole.iteration == halves.iteration == 1


def test_memory_that_runs_out_halves_what_is_computed_at_once_and_changes_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, short = make_learner(), make_learner()
    forward = short.network.forward

    def with_room_for_one(image: torch.Tensor) -> torch.Tensor:
        if len(image) > 1:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried …")
        return forward(image)

    monkeypatch.setattr(short.network, "forward", with_room_for_one)
    for _ in range(2):
        assert short.step(batches(4), 0.0) == pytest.approx(plain.step(batches(4), 0.0), abs=1e-5)
    assert short.chunk == 1
    assert torch.allclose(weights(plain), weights(short), atol=1e-5)
    assert short.samples == 8


def test_no_memory_for_a_single_sample_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner()

    def full(_image: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(learner.network, "forward", full)
    with pytest.raises(TrainingError, match="single sample"):
        learner.step(batches(4), 0.0)


def test_an_error_of_another_kind_is_not_taken_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner()

    def broken(_image: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(learner.network, "forward", broken)
    with pytest.raises(RuntimeError, match="sizes"):
        learner.step(batches(4), 0.0)


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_a_clipped_step_is_short(clip: float | None) -> None:
    learner = make_learner(gradient_clip=clip)
    before = weights(learner)
    learner.step(batches(4), 0.0)
    length = float((weights(learner) - before).norm())
    assert (length <= 0.1 * 1e-3 * 1.001) == (clip is not None)


def test_a_value_that_is_none_leaves_the_weights_alone_and_names_its_case() -> None:
    learner = make_learner()
    learner.step(batches(4), 0.0)
    before = weights(learner)
    image, target = next(batches(4))
    image[2, 0, 1, 2, 3] = float("inf")
    with pytest.raises(NotFinite) as caught:
        learner.step(iter([(image, target)]), 0.0)
    assert torch.equal(before, weights(learner))
    assert learner.is_finite()
    cause = learner.cause_of(caught.value, [["a", "b", "bad", "d"]])
    assert cause == "The input holds values that are no numbers: bad."


def test_the_layer_where_numbers_end_is_named() -> None:
    learner = make_learner()
    image, target = next(batches(4))
    image[[0, 2, 3]] = 0
    with torch.no_grad():
        next(learner.network.parameters()).fill_(3e38)  # finite, but not its products
    with pytest.raises(NotFinite) as caught:
        learner.step(iter([(image, target)]), 0.0)
    cause = learner.cause_of(caught.value, [["a", "huge", "c", "d"]])
    assert "layer input_block" in cause
    assert "huge" in cause
    assert "c" not in cause.split("for ")[-1].split(", ")


def test_weights_that_are_no_numbers_are_told_apart() -> None:
    learner = make_learner()
    with torch.no_grad():
        next(learner.network.parameters())[0] = float("nan")
    assert not learner.is_finite()
    with pytest.raises(NotFinite) as caught:
        learner.step(batches(4), 0.0)
    assert "weights themselves" in learner.cause_of(caught.value, [["a"] * 4])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_learner_goes_on_to_the_bit(optimizer: str) -> None:
    whole, first = (make_learner(ema=0.9, optimizer=optimizer, momentum=0.9) for _ in range(2))
    shown, seen = batches(4), batches(4)
    for step in range(4):
        whole.step(shown, step / 4)
    for step in range(2):
        first.step(seen, step / 4)
    second = make_learner(ema=0.9, optimizer=optimizer, momentum=0.9)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in range(2, 4):
        second.step(seen, step / 4)
    assert torch.equal(weights(whole), weights(second))
    assert whole.average is not None
    assert second.average is not None
    one, other = whole.average.state_dict()["weights"], second.average.state_dict()["weights"]
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert second.iteration == 4


def test_a_state_of_another_network_is_refused_in_words() -> None:
    learner = make_learner()
    state = copy.deepcopy(learner.state_dict())
    state["network"].popitem()
    with pytest.raises(TrainingError, match="does not fit the network"):
        learner.load_state_dict(state)


def test_swapping_the_average_twice_changes_nothing_although_layers_have_several_names() -> None:
    network = build_network(NETWORK)
    assert len(network.state_dict()) > len(list(network.named_parameters())), "this network lists some twice"
    average = WeightAverage(network, 0.9)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 1
    average.update()
    before = copy.deepcopy(network.state_dict())
    with average.swapped():
        inside = network.state_dict()
        assert not any(torch.equal(inside[name], before[name]) for name in before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
