"""``runs``, and the options of ``train`` that start and steer runs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.errors import Seg3dError, TrainingError
from napari_seg3d.training import Run, TrainConfig, make_run
from tests.waiting import wait_for


def _cli(*arguments: object, fails: type[Seg3dError] | None = None) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], terminal_width=300)
    if fails is None:
        assert done.exit_code == 0, done.output
    else:
        assert isinstance(done.exception, fails), done.output
        return str(done.exception)
    return " ".join(done.output.split())


@pytest.fixture
def ended_run(quick_config: TrainConfig, tmp_path: Path) -> Run:
    run = make_run(quick_config, tmp_path / "spleen-1")
    run.add_event("validation", iteration=1, mean_dice=0.75, best=True, dice={})
    run.best.parent.mkdir()
    run.best.write_bytes(b"")
    run.add_event("state", state="failed", message="The disk is gone.", fix="")
    return run


def test_runs_are_listed_with_state_and_score(ended_run: Run) -> None:
    assert "No runs yet" in _cli("runs", ended_run.folder / "checkpoints")
    text = _cli("runs")
    assert "spleen-1" in text
    assert "failed" in text
    assert "0.7500" in text
    assert "spleen-1" in _cli("runs", ended_run.folder.parent)


def test_a_run_is_found_by_name_or_folder_and_told_what_to_do(ended_run: Run) -> None:
    _cli("runs", "--pause", "spleen-1")
    assert ended_run.command() == "pause"
    _cli("runs", "--go-on", ended_run.folder)
    assert ended_run.command() == "go on"
    _cli("runs", "--stop", ended_run.folder)
    assert ended_run.stop_asked()
    assert "no run liver" in _cli("runs", "--stop", "liver", fails=TrainingError)
    _cli("runs", "--delete", "spleen-1")
    assert not ended_run.folder.exists()


def test_a_run_that_saved_nothing_cannot_go_on(ended_run: Run) -> None:
    assert "no saved state" in _cli("train", "--resume", "spleen-1", fails=TrainingError)


def test_a_folder_is_prepared_with_preset_and_model_to_start_from(ball_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    text = _cli("train", ball_dataset, "--preset", "vnet", "--fine-tune", "a.pt", "--devices", 2, "--out", out, "--prepare")
    assert f"train --join {out}" in text
    config = Run(out).config()
    assert config.network.name == "vnet"
    assert config.network.pretrained == Path("a.pt").absolute()
    assert config.device.devices == 2
    assert not Run(out).is_alive()


def test_a_run_on_several_machines_is_not_started_here(ball_dataset: Path, tmp_path: Path) -> None:
    text = _cli("train", ball_dataset, "--set", "device.nodes=2", "--out", tmp_path / "run", fails=TrainingError)
    assert "--join" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_is_watched_and_explained(quick_config: TrainConfig, tmp_path: Path) -> None:
    changes = {"optimization.max_iterations": 1, "optimization.batch_size": "auto"}
    quick_config.with_values(changes).save(tmp_path / "quick.yaml")
    text = _cli("train", "--config", tmp_path / "quick.yaml", "--out", tmp_path / "run", "--explain")
    assert "optimization.batch_size =" in text
    assert "voxels per step" in text
    assert wait_for(Run(tmp_path / "run")).state == "finished"
