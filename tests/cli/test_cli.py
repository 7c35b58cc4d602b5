"""The command line as a user calls it: a real process, its exit status, its words."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.training import Run, TrainConfig, live_runs
from napari_seg3d.volumes import Volume, read_volume, write_volume
from tests.waiting import steps, wait_for


def _cli(*arguments: object, status: int = 0) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "napari_seg3d.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        timeout=240,
    )
    text = ended.stdout + ended.stderr
    assert ended.returncode == status, text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("command", ["check", "train", "predict", "evaluate", "deidentify", "demo"])
def test_help_shows_an_example(command: str) -> None:
    text = _cli(command, "--help")
    assert f"napari-seg3d {command}" in text
    assert "Example" in text


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, napari_seg3d.cli; print([n for n in ('torch', 'torchio', 'monai', 'napari', 'SimpleITK') if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_check_passes_sound_data_and_names_what_is_wrong(ball_dataset: Path, tmp_path: Path) -> None:
    text = _cli("check", ball_dataset)
    assert "6 cases, 6 ready to train on" in text
    assert "same name" in _cli("check", ball_dataset, "--pairs")
    data = shutil.copytree(ball_dataset, tmp_path / "data")
    (data / "images" / "ball_2.nii.gz").write_text("no scan at all")
    (data / "labels" / "ball_4.nii.gz").unlink()
    text = _cli("check", data, status=1)
    assert "4 ready to train on" in text
    assert "ball_2" in text
    assert "ball_4" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "nowhere"], "nowhere does not exist"),
        (["train"], "Nothing to train on"),
        (["train", ".", "--set", "optimization.minutes"], "has no value"),
        (["train", ".", "--set", "optimization.speed=1"], "no setting optimization.speed"),
        (["train", ".", "--minutes", "-3"], "optimization.minutes = -3"),
        (["train", "--config", "nothing.yaml"], "nothing.yaml cannot be read"),
        (["predict", "nothing.pt", "."], "no scan in ."),
        (["predict", "nothing.pt", "--validation"], "no run folder"),
        (["predict", "nothing.pt", ".", "--mode", "fast"], "no mode 'fast'"),
        (["evaluate", "nowhere", "nothing"], "nowhere does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_mend(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in _cli(*arguments, status=1)


@pytest.mark.slow
def test_the_whole_way(ball_dataset: Path, quick_config: TrainConfig, tmp_path: Path) -> None:
    quick_config.save(tmp_path / "quick.yaml")
    run = tmp_path / "run"
    text = _cli("train", "--config", tmp_path / "quick.yaml", "--out", run)
    assert "4 cases train, 2 validate" in text
    assert "Finished" in text
    assert Run(run).config() == quick_config

    text = _cli("predict", run, "--validation", "--out", tmp_path / "predicted")
    assert "2 masks" in text
    text = _cli("evaluate", tmp_path / "predicted", ball_dataset / "labels", "--csv", tmp_path / "dice.csv")
    best = max(event["mean_dice"] for event in Run(run).events() if event["kind"] == "validation")
    assert f"{best:.4f}" in text
    with open(tmp_path / "dice.csv") as handle:
        assert len(list(csv.DictReader(handle))) == 4

    # A second time there is nothing left to do, unless asked.
    text = _cli("predict", run, "--validation", "--out", tmp_path / "predicted")
    assert "2 of them from before" in " ".join(text.split())
    assert "from before" not in _cli("predict", run, "--validation", "--out", tmp_path / "predicted", "--overwrite")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal for a single process")
def test_ctrl_c_stops_and_keeps(ball_dataset: Path, quick_config: TrainConfig, tmp_path: Path) -> None:
    quick_config.with_values({"optimization.max_iterations": None, "optimization.minutes": 30.0}).save(tmp_path / "long.yaml")
    command = [sys.executable, "-m", "napari_seg3d.cli", "train", "--config", tmp_path / "long.yaml", "--out", tmp_path / "run"]
    # Where the tests themselves run in the background, the shell has switched Ctrl-C off for all that they start.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    terminal = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=listen)
    run = Run(tmp_path / "run")
    try:
        while not steps(run):
            assert terminal.poll() is None
            time.sleep(0.1)
        terminal.send_signal(signal.SIGINT)
        said, _ = terminal.communicate(timeout=120)
    finally:
        terminal.kill()
        run.kill()
    assert terminal.returncode == 0, said
    assert "Stopped" in said
    assert "Traceback" not in said
    assert run.status().state == "stopped"
    assert run.best.exists()


@pytest.mark.slow
def test_the_settings_given_are_the_settings_run(ball_dataset: Path, tmp_path: Path) -> None:
    _cli(
        "train", ball_dataset, "--minutes", 1, "--set", "sampling.patch_size=[16, 16, 16]", "--set", "optimization.max_iterations=1",
        "--set", "data.validation=0.34", "--out", tmp_path / "run", "--detach",
    )  # fmt: skip
    (run,) = live_runs()
    config = run.config()
    assert config.optimization.minutes == 1
    assert config.sampling.patch_size == (16, 16, 16)
    assert config.data.images == ball_dataset
    assert wait_for(run).state == "finished"


@pytest.mark.slow
def test_one_bad_scan_does_not_stop_the_others(finished_run: Run, ball_dataset: Path, tmp_path: Path) -> None:
    scans = shutil.copytree(ball_dataset / "images", tmp_path / "scans")
    (scans / "ball_1.nii.gz").write_text("no scan at all")
    write_volume(Volume(np.zeros((1, 20, 20, 20), np.int16), np.eye(4)), scans / "black.nrrd")
    text = _cli("predict", finished_run.folder, scans, "--out", tmp_path / "out", status=1)
    assert "5 masks" in text
    assert "ball_1.nii.gz" in text
    assert "black.nrrd is constant" in text
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == [
        f"ball_{number}.nii.gz" for number in (0, 2, 3, 4, 5)
    ]


@pytest.mark.slow
def test_a_mask_never_replaces_its_scan(finished_run: Run, ball_dataset: Path, tmp_path: Path) -> None:
    scans = shutil.copytree(ball_dataset / "images", tmp_path / "scans")
    before = (scans / "ball_0.nii.gz").read_bytes()
    text = _cli("predict", finished_run.best, scans / "ball_0.nii.gz", "--out", scans, "--overwrite", status=1)
    assert "source is never overwritten" in text
    assert (scans / "ball_0.nii.gz").read_bytes() == before


@pytest.mark.slow
def test_another_format_keeps_its_format(finished_run: Run, ball_dataset: Path, tmp_path: Path) -> None:
    scan = read_volume(ball_dataset / "images" / "ball_1.nii.gz", "image")
    write_volume(scan, tmp_path / "ball_1.nrrd")
    _cli("predict", finished_run.best, tmp_path / "ball_1.nrrd", "--out", tmp_path / "out")
    assert read_volume(tmp_path / "out" / "ball_1.nrrd", "labels").grid.matches(scan.grid)
