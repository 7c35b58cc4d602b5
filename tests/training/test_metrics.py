"""What a run writes for TensorBoard and tells other programs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from napari_seg3d.errors import ConfigError, WriteError
from napari_seg3d.evaluation import Counts, Evaluation, EvaluationRow
from napari_seg3d.training import Run, TrainConfig
from napari_seg3d.training.record.metrics import MetricsLog
from napari_seg3d.training.record.trackers import TrackerName, check_trackers, open_trackers

EVALUATION = Evaluation(
    (
        EvaluationRow.of("a", 1, "liver", Counts(tp=6, fp=2, fn=2), 1.0),
        EvaluationRow.of("a", 2, "cyst", Counts(), 1.0),
    )
)
LABELS = {1: "liver", 2: "cyst"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def board(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_curves_and_pictures_of_tensorboard(run: Run) -> None:
    log = MetricsLog(run, LABELS)
    log.add_step(1, 2.5, 0.002, 0.25)
    log.add_step(2, 1.5, 0.001)
    log.add_validation(2, 1.0, 3.0, EVALUATION)
    log.add_picture("a", np.full((4, 6, 3), 128, np.uint8), 2)
    log.close()
    found = board(run.folder / "tensorboard")
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(1, 2.5), (2, 1.5)]
    assert [event.step for event in found.Scalars("wait share")] == [1]
    curves = {tag: found.Scalars(tag)[0].value for tag in found.Tags()["scalars"]}
    expected = {"Dice/liver": 0.75, "recall/liver": 0.75, "F1/mean": 0.75, "missed (%)/liver": 25, "too much (%)/liver": 25}
    assert {tag: curves[tag] for tag in expected} == pytest.approx(expected)
    assert not any("cyst" in tag for tag in curves), "what is no number is no point"
    (picture,) = found.Images("prediction/a")
    assert (picture.width, picture.height) == (6, 4)


def test_a_stage_of_a_cascade_has_its_own_curves_and_rows(run: Run) -> None:
    for stage in ("find", "segment"):
        log = MetricsLog(run, LABELS, stage)
        log.add_step(1, 1.0, 0.1)
        log.add_validation(1, 1.0, 1.0, EVALUATION)
        log.close()
        assert board(run.folder / "tensorboard" / stage).Scalars("loss")
    lines = (run.folder / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("iteration,epoch,elapsed,case,label,name,dice,")
    assert [line.rsplit(",", 1)[1] for line in lines] == ["stage", "find", "find", "segment", "segment"]


def test_a_resumed_run_says_anew_what_came_after_the_saved_state(run: Run) -> None:
    first = MetricsLog(run, LABELS)
    for iteration in range(1, 5):
        first.add_step(iteration, float(iteration), 0.1)
    first.close()
    second = MetricsLog(run, LABELS)
    second.add_step(3, 30.0, 0.1)
    second.close()
    assert [(event.step, event.value) for event in board(run.folder / "tensorboard").Scalars("loss")] == [(1, 1), (2, 2), (3, 30)]


def test_a_table_that_cannot_be_written_is_said(run: Run) -> None:
    (run.folder / "metrics.csv").mkdir()
    log = MetricsLog(run, LABELS)
    with pytest.raises(WriteError, match=r"metrics\.csv"):
        log.add_validation(1, 1.0, 1.0, EVALUATION)
    log.close()


class Told:
    name: TrackerName = "wandb"

    def __init__(self, works: bool) -> None:
        self.works, self.values, self.is_closed = works, [], False

    def add(self, values: Mapping[str, float], iteration: int) -> None:
        if not self.works:
            raise ConnectionError("the server is gone")
        self.values.append((iteration, dict(values)))

    def close(self) -> None:
        self.is_closed = True


def test_a_tracker_that_fails_does_not_end_a_run(run: Run) -> None:
    good, bad = Told(True), Told(False)
    log = MetricsLog(run, LABELS, trackers=[bad, good])
    log.add_step(1, 2.5, 0.002)
    log.add_step(2, 1.5, 0.001)
    log.close()
    assert good.values == [(1, {"loss": 2.5, "learning rate": 0.002}), (2, {"loss": 1.5, "learning rate": 0.001})]
    assert (good.is_closed, bad.is_closed) == (True, False)
    (warning,) = [event for event in run.events() if event["kind"] == "warning"]
    assert "the server is gone" in warning["message"]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_a_wrong_setting(name: TrackerName) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    with pytest.raises(ConfigError, match=f"{name}, which is not installed") as caught:
        check_trackers([name])
    assert f"pip install {name}" in caught.value.fix


def test_nothing_is_loaded_that_was_not_named(run: Run) -> None:
    config = TrainConfig.parse({"data": {"images": "/nowhere"}})
    assert open_trackers(run, config) == []
    assert not {"mlflow", "wandb"} & set(sys.modules)


FOLLOWED = """
import json, sys
from napari_seg3d.training import Run, TrainConfig
from napari_seg3d.training.record.metrics import MetricsLog
from napari_seg3d.training.record.trackers import open_trackers
from pathlib import Path
run = Run(Path(sys.argv[1]))
config = TrainConfig.parse({"data": {"images": "/secret/place"}, "record": {"trackers": [sys.argv[2]]}})
log = MetricsLog(run, {1: "liver"}, trackers=open_trackers(run, config))
log.add_step(1, 2.5, 0.002)
log.close()
assert not [event for event in run.events() if event["kind"] == "warning"], run.events()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_trackers_that_are_installed_are_told_in_the_run_folder(run: Run, name: TrackerName) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "WANDB_"))}
    subprocess.run(
        [sys.executable, "-c", FOLLOWED, str(run.folder), name], check=True, env=environment | {"HOME": str(run.folder)}
    )
    files = [path for path in run.folder.rglob("*") if path.is_file() and "tensorboard" not in path.parts]
    assert any(name in str(path.relative_to(run.folder)) for path in files)
    assert not any(b"/secret/place" in path.read_bytes() for path in files)
    if name == "mlflow":
        import mlflow

        client = mlflow.MlflowClient(f"sqlite:///{run.folder / 'mlflow.db'}")
        (found,) = client.search_runs([client.get_experiment_by_name("napari-seg3d").experiment_id])
        assert found.data.metrics["loss"] == 2.5
        assert found.info.status == "FINISHED"
        assert json.loads(found.data.params["optimization.minutes"]) == 8.0
