"""Training as the dock and the command line start it: a real process, a real folder."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
import SimpleITK as sitk

from napari_seg3d.datasets import read_case_image
from napari_seg3d.evaluation import evaluate_files
from napari_seg3d.inference import Predictor, load_model
from napari_seg3d.training import Run, TrainConfig, start_run
from napari_seg3d.volumes import read_volume, write_volume
from tests.waiting import steps, wait_for, wait_until


@pytest.fixture
def long_config(quick_config: TrainConfig) -> TrainConfig:
    return quick_config.with_values({"optimization.max_iterations": None, "optimization.minutes": 10.0})


def test_a_run_leaves_everything_that_it_promises(finished_run: Run, quick_config: TrainConfig) -> None:
    folder = finished_run.folder
    assert finished_run.config() == quick_config
    assert (folder / "run.yaml").read_text() == quick_config.to_yaml()
    for name in ("environment.json", "checkpoints/best.pt", "checkpoints/last.pt"):
        assert (folder / name).stat().st_size > 0, name
    assert "Traceback" not in finished_run.log.read_text()  # empty, where nothing was printed
    assert any((folder / "tensorboard").iterdir())
    assert not list(folder.rglob(".writing-*"))
    with open(folder / "split.csv") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["set"] for row in rows} == {"train", "validation"}
    assert len(rows) == 6
    kinds = [event["kind"] for event in finished_run.events()]
    assert {"state", "progress", "plan", "step", "validation", "preview", "checkpoint"} <= set(kinds)


def test_it_learns_and_the_log_agrees_with_the_files(finished_run: Run, tmp_path: Path) -> None:
    validations = [event for event in finished_run.events() if event["kind"] == "validation"]
    best = max(validations, key=lambda event: event["mean_dice"])
    assert best["mean_dice"] > 0.8
    predictor = Predictor.load(finished_run.best)
    assert predictor.spec.info["mean_dice"] == best["mean_dice"]
    cases = finished_run.cases("validation")
    assert len(cases) == 2
    for case in cases:
        prediction = predictor.predict(read_case_image(case))
        written = write_volume(prediction.labels, tmp_path / case.images[0].name)
        image, labels = nib.load(case.images[0]), nib.load(written)
        assert labels.shape == image.shape
        assert np.array_equal(labels.affine, image.affine)
        assert nib.aff2axcodes(labels.affine) == nib.aff2axcodes(image.affine)
        one, other = sitk.ReadImage(str(case.images[0])), sitk.ReadImage(str(written))
        for name in ("Size", "Spacing", "Origin", "Direction"):
            assert getattr(one, f"Get{name}")() == getattr(other, f"Get{name}")(), name
    evaluation = evaluate_files(tmp_path, finished_run.config().data.images)
    assert evaluation.mean_dice == pytest.approx(best["mean_dice"], abs=1e-3)
    with open(finished_run.folder / "metrics.csv") as handle:
        logged = {
            (row["case"], int(row["label"])): float(row["dice"])
            for row in csv.DictReader(handle)
            if int(row["iteration"]) == best["iteration"]
        }
    assert logged == pytest.approx({(row.case, row.label): row.dice for row in evaluation.rows}, abs=1e-3)


def test_the_preview_is_the_prediction_on_the_scans_grid(finished_run: Run, ball_dataset: Path) -> None:
    preview = [event for event in finished_run.events() if event["kind"] == "preview"][-1]
    labels = read_volume(finished_run.folder / preview["prediction"], "labels")
    assert labels.grid.matches(read_volume(preview["image"]).grid)
    spec = load_model(finished_run.last).spec
    assert preview["iteration"] == spec.info["iteration"]
    expected = Predictor.load(finished_run.last).predict(read_volume(preview["image"], "image")).labels
    assert np.array_equal(labels.data, expected.data)
    truth = read_volume(ball_dataset / "labels" / Path(preview["image"]).name, "labels")
    assert np.array_equal(read_volume(finished_run.folder / preview["mask"], "labels").data, truth.data)


@pytest.mark.slow
def test_in_bf16_the_preview_is_the_prediction_but_for_what_it_rounds(quick_config: TrainConfig, tmp_path: Path) -> None:
    config = quick_config.with_values({"device.precision": "bf16", "optimization.max_iterations": 30})
    run = start_run(config, tmp_path / "run")
    assert wait_for(run).state == "finished", run.log.read_text()
    assert next(event for event in run.events() if event["kind"] == "plan")["precision"] == "bf16"
    preview = [event for event in run.events() if event["kind"] == "preview"][-1]
    labels = read_volume(run.folder / preview["prediction"], "labels").data
    expected = Predictor.load(run.last).predict(read_volume(preview["image"], "image")).labels.data
    assert set(np.unique(labels)) == {0, 3, 7}
    assert np.mean(labels != expected) < 0.01


def test_a_model_names_no_folder_and_no_case(finished_run: Run, ball_dataset: Path) -> None:
    spec = load_model(finished_run.best).spec
    text = json.dumps(spec.model_dump(mode="json"))
    assert str(ball_dataset) not in text
    assert "ball_" not in text


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["patches", "whole"])
def test_the_same_number_of_steps_repeats_a_run(quick_config: TrainConfig, tmp_path: Path, mode: str) -> None:
    import torch

    config = quick_config.with_values(
        {"optimization.max_iterations": 4, "sampling.mode": mode, "optimization.deterministic": True}
    )
    weights = []
    for number in range(2):
        run = start_run(config, tmp_path / str(number))
        assert wait_for(run).state == "finished", run.log.read_text()
        weights.append(load_model(run.last).weights)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_stop_keeps_what_was_learnt(long_config: TrainConfig, tmp_path: Path) -> None:
    run = start_run(long_config, tmp_path / "run")
    wait_until(lambda: steps(run) > 1, run)
    run.stop()
    status = wait_for(run)
    assert status.state == "stopped"
    assert "checkpoints/best.pt" in status.message
    assert load_model(run.last).spec.info["iteration"] > 0
    Predictor.load(run.best)


@pytest.mark.slow
def test_a_killed_run_says_so_and_keeps_its_checkpoints(long_config: TrainConfig, tmp_path: Path) -> None:
    run = start_run(long_config, tmp_path / "run")
    wait_until(lambda: steps(run) > 0, run)
    process = psutil.Process(json.loads((run.folder / "process.json").read_text())["pid"])
    process.kill()
    status = wait_for(run)
    assert status.state == "died"
    assert str(run.log) in status.message


@pytest.mark.slow
def test_kill_ends_the_process_and_its_loaders(long_config: TrainConfig, tmp_path: Path) -> None:
    run = start_run(long_config.with_values({"device.workers": 1}), tmp_path / "run")
    wait_until(lambda: steps(run) > 0, run)
    process = psutil.Process(json.loads((run.folder / "process.json").read_text())["pid"])
    family = [process, *process.children(recursive=True)]
    assert len(family) > 1
    run.kill()
    assert wait_for(run).state == "died"
    end = time.monotonic() + 60
    while [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < end, "a loader lives on"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_run_outlives_the_process_that_started_it(long_config: TrainConfig, tmp_path: Path) -> None:
    long_config.save(tmp_path / "run.yaml")
    code = (
        "import sys; from napari_seg3d.training import TrainConfig, start_run;"
        "start_run(TrainConfig.from_yaml(sys.argv[1]), sys.argv[2]); import os; os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run.yaml"), str(tmp_path / "run")], check=False)
    assert ended.returncode != 0, "it was killed"
    run = Run(tmp_path / "run")
    wait_until(lambda: steps(run) > 1, run)
    run.stop()
    assert wait_for(run).state == "stopped"


@pytest.mark.slow
def test_a_crash_is_one_readable_message(quick_config: TrainConfig, tmp_path: Path) -> None:
    # A learning rate that throws the weights to infinity within a few steps.
    config = quick_config.with_values(
        {"optimization.learning_rate": 1.0, "optimization.loss": "dice", "optimization.weight_decay": 1.0}
    )
    (tmp_path / "run").mkdir()
    run = start_run(config, tmp_path / "run")
    time.sleep(0.2)
    # Whatever breaks inside, here a table that turned into a folder, ends in words and the place of the log.
    (run.folder / "metrics.csv").mkdir()
    status = wait_for(run)
    assert status.state == "failed"
    assert "metrics.csv" in status.message
    assert "Traceback" not in status.message
    assert "Traceback" in run.log.read_text()


@pytest.mark.parametrize("folder", ["images", "labels"])
def test_a_folder_without_pairs_is_said(ball_dataset: Path, quick_config: TrainConfig, tmp_path: Path, folder: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(ball_dataset / folder, data / folder)
    run = start_run(quick_config.with_values({"data.images": str(data)}), tmp_path / "run")
    status = wait_for(run)
    assert status.state == "failed"
    assert str(data) in status.message
    assert "mask" in status.message


@pytest.mark.slow
def test_a_patch_larger_than_every_scan_trains(quick_config: TrainConfig, tmp_path: Path) -> None:
    config = quick_config.with_values({"sampling.patch_size": [40, 40, 40], "optimization.max_iterations": 2})
    run = start_run(config, tmp_path / "run")
    assert wait_for(run).state == "finished", run.log.read_text()


@pytest.mark.slow
def test_sound_cases_train_beside_broken_ones(ball_dataset: Path, quick_config: TrainConfig, tmp_path: Path) -> None:
    data = shutil.copytree(ball_dataset, tmp_path / "data")
    whole = (data / "images" / "ball_0.nii.gz").read_bytes()
    (data / "images" / "ball_0.nii.gz").write_bytes(whole[: len(whole) // 2])
    (data / "labels" / "ball_1.nii.gz").unlink()
    config = quick_config.with_values({"data.images": str(data), "optimization.max_iterations": 2})
    run = start_run(config, tmp_path / "run")
    assert wait_for(run).state == "finished", run.log.read_text()
    warned = " ".join(event["message"] for event in run.events() if event["kind"] == "warning")
    assert "ball_0" in warned
    assert "ball_1" in warned
    assert len(run.cases("train")) + len(run.cases("validation")) == 4


@pytest.mark.slow
def test_a_run_waits_while_the_disk_is_full_and_goes_on_when_there_is_room(quick_config: TrainConfig, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # Room for the run's small files, not for its checkpoints.
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a small disk can only be mounted by root on Linux")
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let root mount a small disk")
    try:
        run = start_run(quick_config.with_values({"optimization.max_iterations": 4}), disk / "run")
        wait_until(lambda: run.status().state == "paused", run)
        said = [event for event in run.events() if event["kind"] == "state"][-1]
        assert "disk is full" in said["message"]
        assert "goes on by itself" in said["fix"]
        assert not list((disk / "run").rglob("*.pt"))
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        assert wait_for(run).state == "finished", run.log.read_text()
        Predictor.load(run.best)
        with open(run.folder / "metrics.csv") as handle:
            rows = [(row["iteration"], row["case"], row["label"]) for row in csv.DictReader(handle)]
        assert len(rows) == len(set(rows)), "nothing was judged twice"
        assert {row[0] for row in rows} == {"1", "2", "3", "4"}
    finally:
        if run.is_alive():
            run.kill()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # the ended process may hold it a moment longer
