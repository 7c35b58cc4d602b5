"""Several processes that train together are one with the larger batch."""

import csv
import os
from pathlib import Path

import pytest
import torch

from napari_seg3d.errors import TrainingError
from napari_seg3d.training import Run, TrainConfig, resume_run, start_run
from napari_seg3d.training.config import DeviceConfig
from napari_seg3d.training.processes import Processes
from napari_seg3d.training.state import load_state
from tests.waiting import wait_for, wait_until


@pytest.fixture
def config(quick_config: TrainConfig) -> TrainConfig:
    return quick_config.with_values(
        {
            "network.features": [4, 8, 8],
            "optimization.max_iterations": 6,
            "optimization.minutes": 10.0,
            "optimization.learning_rate": 0.001,
            "optimization.deterministic": True,
            "device.precision": "32",
            "record.shown_cases": 1,
        }
    )


def _dice(run: Run) -> dict[tuple[str, ...], float]:
    with open(run.folder / "metrics.csv", newline="") as handle:
        return {(row["iteration"], row["case"], row["label"]): float(row["dice"] or 0) for row in csv.DictReader(handle)}


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_with_the_doubled_batch(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one = start_run(config.with_values({"optimization.batch_size": 4}), tmp_path / "one")
    assert wait_for(one).state == "finished", one.log.read_text()
    two = start_run(config.with_values({"optimization.batch_size": 2, "device.devices": 2}), tmp_path / "two")
    wait_until(lambda: any(event["kind"] == "step" for event in two.events()), two)
    two.pause()
    wait_until(lambda: two.status().state in ("paused", "finished"), two)
    # Whatever is left of it when it is killed, goes on to the same end.
    two.kill()
    assert wait_for(two).state in ("died", "finished")
    if two.can_resume:
        resume_run(two)
        assert wait_for(two).state == "finished", two.log.read_text()
    states = [load_state(run)["learner"] for run in (one, two)]
    assert [state["iteration"] for state in states] == [6, 6]
    assert [state["samples"] for state in states] == [24, 24]
    first, second = (state["network"] for state in states)
    assert all(torch.allclose(first[name], second[name], atol=2e-4) for name in first)
    assert _dice(two) == pytest.approx(_dice(one), abs=0.02)


def test_another_number_of_processes_than_was_asked_for_is_refused() -> None:
    assert "WORLD_SIZE" not in os.environ
    with pytest.raises(TrainingError, match="4 processes"):
        Processes(DeviceConfig(devices=4), "cpu", "32")


def test_one_process_agrees_with_itself() -> None:
    alone = Processes(DeviceConfig(), "cpu", "32")
    assert alone.is_first
    assert alone.agree([1.0, 2.0]) == [1.0, 2.0]
    assert alone.gather("a") == ["a"]
    assert alone.first_makes(lambda: "b") == "b"
    tensor = torch.ones(2, requires_grad=True)
    alone.sum(tensor).sum().backward()
    assert tensor.grad is not None
