"""Interrupted runs go on as if nothing had happened: stopped, killed, paused."""

import csv
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from napari_seg3d.errors import ModelError, TrainingError
from napari_seg3d.inference import load_model
from napari_seg3d.training import EventReader, Run, TrainConfig, make_run, resume_run, start_run
from napari_seg3d.training.loop import Learning, Turn
from napari_seg3d.training.state import load_state, random_state, save_state, set_random_state
from napari_seg3d.training.train import train
from tests.waiting import steps, wait_for, wait_until


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def exact_config(quick_config: TrainConfig) -> TrainConfig:
    """A run that repeats itself to the last bit."""
    return quick_config.with_values(
        {
            "network.features": [4, 8, 8],
            "optimization.max_iterations": 12,
            "optimization.minutes": 10.0,
            "optimization.deterministic": True,
            "record.shown_cases": 1,
        }
    )


def metrics(run: Run) -> list[dict[str, str]]:
    with open(run.folder / "metrics.csv", newline="") as handle:
        return [{name: value for name, value in row.items() if name != "elapsed"} for row in csv.DictReader(handle)]


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[Run], None]) -> None:
    """Let something happen when a run has done so many steps, once."""
    done: list[int] = []
    next_turn = Learning._next_turn

    def watched(self: Learning) -> Turn:
        if self._learner.iteration == number and not done:
            done.append(number)
            do(self._run)
        return next_turn(self)

    monkeypatch.setattr(Learning, "_next_turn", watched)


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_bit(exact_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_after = 7
    whole, stopped = make_run(exact_config, tmp_path / "whole"), make_run(exact_config, tmp_path / "stopped")
    train(whole)
    follower = EventReader(stopped)
    at_step(monkeypatch, stopped_after, Run.stop)
    train(stopped)
    seen = list(follower.read())
    assert stopped.status().state == "stopped"
    assert stopped.can_resume
    (stopped.folder / "control.json").unlink()
    # What a killed process might have left behind.
    with open(stopped.folder / "metrics.csv", "a") as handle:
        handle.write("99,half a ro")
    stopped.add_event("step", iteration=99)
    train(stopped)
    assert stopped.status().state == "finished"
    assert not stopped.can_resume
    one, other = load_state(whole)["learner"], load_state(stopped)["learner"]
    assert one["iteration"] == other["iteration"] == 12
    assert all(torch.equal(one["network"][name], other["network"][name]) for name in one["network"])
    assert metrics(whole) == metrics(stopped)
    told = [event["iteration"] for event in stopped.events() if event["kind"] == "validation"]
    assert told == [event["iteration"] for event in whole.events() if event["kind"] == "validation"]
    assert all(event["iteration"] != 99 for event in stopped.events() if event["kind"] == "step")
    # Whoever followed the run hears where it goes on, and nothing twice.
    later = list(follower.read())
    assert later[0]["kind"] == "resumed"
    assert later[0]["iteration"] == stopped_after
    assert [event["iteration"] for event in later if event["kind"] == "validation"] == [i for i in told if i > stopped_after]
    assert seen


@pytest.mark.slow
def test_kill_at_random_moments_never_leaves_a_checkpoint_that_cannot_be_read(exact_config: TrainConfig, tmp_path: Path) -> None:
    run = make_run(exact_config.with_values({"record.checkpoint_minutes": 1e-4}), tmp_path / "run")
    _kill(run, kills=2, seed=1)


@pytest.mark.slow
def test_twenty_kills(exact_config: TrainConfig, tmp_path: Path) -> None:
    changes = {"record.checkpoint_minutes": 1e-4, "optimization.max_iterations": 40}
    run, whole = (make_run(exact_config.with_values(changes), tmp_path / name) for name in ("run", "whole"))
    _kill(run, kills=20, seed=2)
    _kill(whole, kills=0, seed=0)
    assert metrics(run) == metrics(whole)


def _kill(run: Run, kills: int, seed: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("killing.py")), str(run.folder), str(kills), str(seed)]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=280, env=environment, cwd=Path(__file__).parents[2]
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert run.status().state == "finished"


@pytest.mark.slow
def test_a_process_waits_in_a_pause_without_computing_and_can_be_killed_there(exact_config: TrainConfig, tmp_path: Path) -> None:
    run = start_run(exact_config.with_values({"optimization.max_iterations": 5000}), tmp_path / "run")
    wait_until(lambda: steps(run) > 0, run)
    run.pause()
    wait_until(lambda: run.status().state == "paused", run)
    process = psutil.Process(psutil.Process(_pid(run)).pid)
    before, told = process.cpu_times(), steps(run)
    threading.Event().wait(1.0)
    after = process.cpu_times()
    assert (after.user + after.system) - (before.user + before.system) < 0.3
    assert steps(run) == told
    assert load_state(run)["learner"]["iteration"] > 0
    run.go_on()
    wait_until(lambda: steps(run) > told, run)
    with pytest.raises(TrainingError, match="still running"):
        run.delete()
    with pytest.raises(TrainingError, match="still running"):
        resume_run(run)
    run.kill()
    assert wait_for(run).state == "died"
    assert run.can_resume
    resume_run(run)
    wait_until(lambda: any(event["kind"] == "resumed" for event in run.events()), run)
    wait_until(lambda: run.status().state == "training", run)
    run.kill()
    assert wait_for(run).state == "died"
    run.delete()
    assert not run.folder.exists()


def _pid(run: Run) -> int:
    from napari_seg3d.training.runs.process_file import ProcessFile

    record = ProcessFile.read(run.folder)
    assert record is not None
    return record.pid


@pytest.mark.slow
def test_time_in_a_pause_does_not_count(exact_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(exact_config, tmp_path / "run")

    def pause(run: Run) -> None:
        def go_on() -> None:
            while all(event.get("state") != "paused" for event in run.events()):
                time.sleep(0.05)
            time.sleep(2)
            run.go_on()

        run.pause()
        threading.Thread(target=go_on, daemon=True).start()

    at_step(monkeypatch, 3, pause)
    train(run)
    states = [event["state"] for event in run.events() if event["kind"] == "state"]
    assert states[states.index("paused") + 1] in ("training", "validating")
    assert states[-1] == "finished"
    assert load_state(run)["learner"]["iteration"] == 12
    paused = next(event["time"] for event in run.events() if event.get("state") == "paused")
    told = [event for event in run.events() if event["kind"] == "step"]
    before = [event for event in told if event["time"] <= paused][-1]
    after = next(event for event in told if event["time"] > paused)
    assert after["elapsed"] - before["elapsed"] < after["time"] - before["time"] - 1.5


def test_a_run_without_a_state_cannot_go_on(quick_config: TrainConfig, tmp_path: Path) -> None:
    run = make_run(quick_config, tmp_path / "run")
    run.add_event("state", state="failed", message="nothing")
    assert not run.can_resume
    with pytest.raises(TrainingError, match="no saved state"):
        resume_run(run)


def test_a_state_that_is_damaged_or_not_ours_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(ModelError, match="does not exist"):
        load_state(run)
    save_state(run, {"learner": {"iteration": 1}, "random": [random_state()]})
    state = load_state(run)
    first = torch.rand(3)
    set_random_state(state["random"][0])
    assert torch.equal(first, torch.rand(3))
    content = run.saved_state.read_bytes()
    run.saved_state.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        load_state(run)
    torch.save({"format": "other"}, run.saved_state)
    with pytest.raises(ModelError, match="not written by"):
        load_state(run)
    torch.save({"format": print}, run.saved_state)
    with pytest.raises(ModelError, match="other than numbers"):
        load_state(run)


def test_a_network_starts_from_an_earlier_model(finished_run: Run, exact_config: TrainConfig, tmp_path: Path) -> None:
    changes = {"network.features": [8, 16, 32], "network.pretrained": str(finished_run.best), "optimization.max_iterations": 1}
    config = exact_config.with_values(changes | {"optimization.learning_rate": 1e-6, "optimization.ema": 0})
    run = make_run(config, tmp_path / "run")
    train(run)
    said = [event["message"] for event in run.events() if event["kind"] == "warning"]
    assert any("best.pt" in message for message in said)
    before, after = load_model(finished_run.best).weights, load_model(run.last).weights
    assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in before)


def test_a_number_that_is_none_ends_the_run_with_its_case_and_keeps_the_weights(
    exact_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(exact_config, tmp_path / "run")
    spoilt: list[str] = []
    next_turn = Learning._next_turn

    def spoiling(self: Learning) -> Turn:
        if self._learner.iteration == 3 and not spoilt:
            case = self._lesson.material.train[0]
            spoilt.append(case.id)
            np.lib.format.open_memmap(case.folder / "image.npy", mode="r+")[:] = np.nan
        return next_turn(self)

    monkeypatch.setattr(Learning, "_next_turn", spoiling)
    with pytest.raises(TrainingError) as caught:
        train(run)
    assert "The loss became nan at step" in caught.value.what
    assert f"The input holds values that are no numbers: {spoilt[0]}." in caught.value.what
    kept = load_model(run.last)
    assert all(bool(torch.isfinite(weight).all()) for weight in kept.weights.values())
    assert f"step {kept.spec.info['iteration']} are kept" in caught.value.what
    load_state(run)


@pytest.mark.slow
def test_memory_stays_flat_over_many_epochs(exact_config: TrainConfig, tmp_path: Path) -> None:
    changes = {"optimization.max_iterations": None, "optimization.epochs": 50.0, "sampling.augmentation": False}
    run = make_run(exact_config.with_values(changes), tmp_path / "run")
    train(run)
    told = [event for event in run.events() if event["kind"] == "step"]
    assert told[-1]["epoch"] == 50
    # What is allocated once is there after a third; half a megabyte an epoch would be seen.
    later = [event["memory"] for event in told if event["epoch"] > 17]
    assert max(later) - later[0] < 30e6
