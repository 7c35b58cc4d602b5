"""From masks to a model, for what masks may mean: a few painted slices of one scan; labels that overlap, learnt from slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.evaluation import dice_per_label
from napari_seg3d.inference import Predictor
from napari_seg3d.training import TrainConfig, start_run
from napari_seg3d.volumes import Volume, read_volume, write_volume
from tests.conftest import QUICK
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


def test_three_painted_slices_of_one_scan_are_enough_to_begin(ball_dataset: Path, tmp_path: Path) -> None:
    scan = read_volume(ball_dataset / "images" / "ball_1.nii.gz", "image")
    mask = read_volume(ball_dataset / "labels" / "ball_1.nii.gz", "labels")
    whole = mask.canonical()
    holding = np.flatnonzero(whole.data.any(axis=(0, 1, 2)))
    painted = holding[[1, len(holding) // 2, -2]]
    sparse = np.zeros_like(whole.data)
    sparse[..., painted] = whole.data[..., painted]
    write_volume(scan, tmp_path / "data" / "images" / "one.nii.gz")
    write_volume(whole.with_data(sparse), tmp_path / "data" / "labels" / "one.nii.gz")
    config = TrainConfig.parse({"data": {"images": str(tmp_path / "data")}}).with_values({**QUICK, "targets.known": "slices"})
    run = start_run(config, tmp_path / "run")
    assert wait_for(run).state == "finished", run.log.read_text()
    assert any("one subject only" in event["message"] for event in run.events() if event["kind"] == "warning")
    found = Predictor.load(run.best).predict(scan).labels.canonical().data
    others = np.setdiff1d(np.arange(whole.data.shape[3]), painted)
    dice = dice_per_label(found[..., others], whole.data[..., others], [3, 7])
    assert dice[3] > 0.6, "what was not painted is not background"
    assert dice[7] > 0.4


def test_labels_that_overlap_are_learnt_from_slices_of_three_planes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(4):
        shape = (20, 18 + number, 16)
        one, two = np.zeros((2, 1, *shape), np.uint8)
        first = random.integers(2, 5, 3)
        one[0, first[0] : first[0] + 10, first[1] : first[1] + 8, first[2] : first[2] + 8] = 1
        two[0, first[0] + 5 : first[0] + 14, first[1] : first[1] + 8, first[2] : first[2] + 8] = 1
        image = (100.0 * one + 70.0 * two + random.normal(0, 5, one.shape)).astype(np.float32)
        write_volume(Volume(image, np.eye(4)), tmp_path / "data" / "images" / f"s{number}.nii.gz")
        for name, mask in (("left", one), ("right", two)):
            write_volume(Volume(mask, np.eye(4), "labels"), tmp_path / "data" / "masks" / f"s{number}_{name}.nii.gz")
    config = TrainConfig.parse({"data": {"images": str(tmp_path / "data")}}).with_values(
        {
            **QUICK,
            "network.dims": 2,
            "sampling.patch_size": [16, 16, 1],
            "sampling.planes": ["axial", "coronal", "sagittal"],
            "sampling.context": 1,
            "optimization.batch_size": 8,
        }
    )
    run = start_run(config, tmp_path / "run")
    assert wait_for(run).state == "finished", run.log.read_text()
    case, *_ = run.cases("validation")
    scan = read_volume(case.images[0], "image")
    found = Predictor.load(run.best).predict(scan).labels.data
    wanted = [read_volume(tmp_path / "data" / "masks" / f"{case.id}_{name}.nii.gz", "labels").data for name in ("left", "right")]
    assert found.shape == (2, *scan.grid.shape)
    for channel, mask in enumerate(wanted):
        both = (found[channel] > 0) & (mask[0] > 0)
        assert 2 * both.sum() / ((found[channel] > 0).sum() + mask.sum()) > 0.6
