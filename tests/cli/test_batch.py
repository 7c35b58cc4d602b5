"""``predict`` on folders: killed and given again, other models, Dask workers."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.errors import ConfigError
from napari_seg3d.inference import ModelSpec, Predictor, save_model
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Volume, read_volume, write_volume

_COUNT = 24


def _predict(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())  # the console breaks lines


def _save(path: Path, seed: int) -> Path:
    network = NetworkSpec(dims=3, in_channels=1, out_channels=2, features=(4, 8, 16), strides=((2, 2, 2),) * 2)
    pipeline = preprocessing_pipeline(None, "zscore").to_list()
    spec = ModelSpec(network=network, labels={1: "liver"}, pipeline=pipeline, patch_size=(16, 16, 16), mode="patches")
    torch.manual_seed(seed)
    save_model(path, spec, build_network(network).state_dict())
    return path


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(_COUNT):
        data = random.normal(0, 100, (1, 24, 20, 16)).astype(np.int16)
        write_volume(Volume(data, np.eye(4)), tmp_path / "scans" / f"case{number:02}.nii.gz")
    return tmp_path / "scans"


def _rows(out: Path) -> list[dict[str, str]]:
    with open(out / "predictions.csv", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_a_command_that_is_killed_goes_on_where_it_stopped(scans: Path, tmp_path: Path) -> None:
    model, out = _save(tmp_path / "model.pt", 0), tmp_path / "out"
    command = [sys.executable, "-m", "napari_seg3d.cli", "predict", model, scans, "--out", out, "--device", "cpu"]
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while len(list(out.glob("*.nii.gz"))) < 3:
        assert started.poll() is None, started.communicate()[1]
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    assert started.stderr is not None
    started.stderr.close()
    before = {file: file.stat().st_mtime_ns for file in out.glob("*.nii.gz")}
    assert 3 <= len(before) < _COUNT
    for file in before:
        read_volume(file, "labels")  # whole, all of them
    text = _predict(model, scans, "--out", out, "--device", "cpu")
    assert f"{_COUNT} masks are in" in text
    assert f"{len(before)} of them from before" in text
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert sorted(row["case"] for row in _rows(out)) == [f"case{number:02}" for number in range(_COUNT)]
    assert all(row["liver (ml)"] for row in _rows(out))
    predictor = Predictor.load(model, "cpu")
    for name in ("case00", f"case{_COUNT - 1}"):
        expected = predictor.predict(read_volume(scans / f"{name}.nii.gz", "image")).labels
        assert np.array_equal(read_volume(out / f"{name}.nii.gz", "labels").data, expected.data)


def test_another_model_needs_another_folder_or_permission(scans: Path, tmp_path: Path) -> None:
    first, second, out = _save(tmp_path / "first.pt", 0), _save(tmp_path / "second.pt", 1), tmp_path / "out"
    some = [scans / f"case{number:02}.nii.gz" for number in range(3)]
    _predict(first, *some, "--out", out)
    with pytest.raises(ConfigError, match=r"come from another model \(first\)"):
        _predict(second, *some, "--out", out)
    with pytest.raises(ConfigError, match="come from other settings"):
        _predict(first, *some, "--out", out, "--mode", "whole")
    assert "from before" not in _predict(second, *some, "--out", out, "--overwrite")
    assert len(_rows(out)) == 3
    # The same weights under another name are the same model, and another format is another file beside the first.
    shutil.copy(second, tmp_path / "renamed.pt")
    assert "3 of them from before" in _predict(tmp_path / "renamed.pt", *some, "--out", out)
    _predict(second, some[0], "--out", out, "--format", "nrrd")
    assert sorted((row["case"], row["file"]) for row in _rows(out)) == [
        ("case00", "case00.nii.gz"),
        ("case00", "case00.nrrd"),
        ("case01", "case01.nii.gz"),
        ("case02", "case02.nii.gz"),
    ]


@pytest.mark.slow
def test_dask_workers_make_the_same_masks(scans: Path, tmp_path: Path) -> None:
    model = _save(tmp_path / "model.pt", 0)
    some = [scans / f"case{number:02}.nii.gz" for number in range(4)]
    (tmp_path / "bad.nii.gz").write_text("no scan")
    text = _predict(model, *some, tmp_path / "bad.nii.gz", "--out", tmp_path / "spread", "--dask", "local:1", status=1)
    assert "4 masks are in" in text
    assert "bad.nii.gz" in text
    _predict(model, *some, "--out", tmp_path / "here", "--device", "cpu")
    for scan in some:
        spread, here = (read_volume(tmp_path / folder / scan.name, "labels") for folder in ("spread", "here"))
        assert np.array_equal(spread.data, here.data)
    volumes = [{row["case"]: row["liver (ml)"] for row in _rows(tmp_path / folder)} for folder in ("spread", "here")]
    assert volumes[0] == volumes[1] | {"bad": ""}
