"""The judge, over scans of balls and a network whose answers are known: a threshold for each label."""

from __future__ import annotations

import csv
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_seg3d.datasets import Case, open_dataset
from napari_seg3d.evaluation import evaluate_files
from napari_seg3d.inference import Computer, ModelSpec, Predictor, load_model
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.training import Run, TrainConfig
from napari_seg3d.training.clock import Clock
from napari_seg3d.training.config import TargetsConfig
from napari_seg3d.training.judging.judge import Judge
from napari_seg3d.training.judging.validation import validate
from napari_seg3d.training.learning.average import WeightAverage
from napari_seg3d.training.record.pictures import Overlay
from napari_seg3d.training.record.previews import safe_names
from napari_seg3d.training.samples.cache import CachedCase, prepare
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import read_volume

LABELS = {3: "ball", 7: "core"}
GOOD, TOO_LOW, TOO_HIGH = (1.8, 4.5), (0.8, 1.0), (6.0, 8.0)


class Thresholds(torch.nn.Module):
    """Says ball above the first threshold, and core above the second."""

    def __init__(self, overlapping: bool) -> None:
        super().__init__()
        self.levels = torch.nn.Parameter(torch.tensor(GOOD))
        self.overlapping = overlapping

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        above = image - self.levels.view(1, 2, 1, 1, 1)
        if self.overlapping:
            return above
        return torch.cat([torch.zeros_like(image), above[:, :1], above.sum(1, keepdim=True)], 1)

    def set(self, levels: Sequence[float]) -> None:
        with torch.no_grad():
            self.levels.copy_(torch.tensor(levels))


class Scene:
    """Cases, and a judge of a network over them."""

    def __init__(self, dataset: Path, folder: Path, overlapping: bool = False) -> None:
        self.cases: list[Case] = open_dataset(dataset).cases[:3]
        pipeline = preprocessing_pipeline((1.0, 1.0, 1.0), "zscore")
        targets = TargetsConfig(kind="overlapping" if overlapping else "exclusive")
        self.cached: list[CachedCase] = prepare(self.cases, pipeline, LABELS, targets=targets)
        self.network = Thresholds(overlapping)
        spec = ModelSpec(
            network=NetworkSpec(in_channels=1, out_channels=3 - overlapping, features=(4, 8, 8), strides=((2, 2, 2),) * 2),
            labels=LABELS,
            targets=targets.kind,
            pipeline=pipeline.to_list(),
            patch_size=(32, 32, 32),
            mode="patches",
        )
        self.predictor = Predictor(spec, Computer(self.network, "cpu", "32"))
        self.run = Run(folder)
        self.folder = folder
        folder.mkdir()

    def judge(self, config: TrainConfig, shown: int = 2, **more: Any) -> Judge:
        return Judge(self.run, config, Clock(60.0, None), self.predictor, self.cached, self.cases[::-1][:shown], **more)

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.run.events() if event["kind"] == kind]


@pytest.fixture
def scene(ball_dataset: Path, tmp_path: Path) -> Scene:
    return Scene(ball_dataset, tmp_path / "run")


def never() -> bool:
    return False


def test_the_better_model_is_kept_and_the_last_one(scene: Scene, quick_config: TrainConfig) -> None:
    judge = scene.judge(quick_config.with_values({"optimization.patience": 2}))
    for iteration, levels in enumerate((TOO_LOW, GOOD, TOO_HIGH, TOO_LOW), start=1):
        assert not judge.is_over
        scene.network.set(levels)
        score = judge.judge(iteration, iteration / 2, never, math.inf)
        assert score is not None
        assert judge.judge(iteration, iteration / 2, never, math.inf) is None, "an iteration is judged once"
    judge.metrics.close()
    assert judge.is_over
    told = scene.events("validation")
    assert [event["best"] for event in told] == [True, True, False, False]
    assert told[1]["score"] == told[1]["mean_dice"] > 0.9 > told[0]["score"]
    best, last = load_model(scene.run.best), load_model(scene.run.last)
    assert best.weights["levels"].tolist() == pytest.approx(GOOD)
    assert last.weights["levels"].tolist() == pytest.approx(TOO_LOW)
    assert best.spec.info["score"] == told[1]["score"]
    assert scene.network.training, "it goes on learning"


def test_metrics_are_those_of_the_predicted_files(scene: Scene, quick_config: TrainConfig) -> None:
    scene.network.set(TOO_LOW)
    judge = scene.judge(quick_config, shown=3)
    judge.judge(5, 1.0, never, math.inf)
    judge.metrics.close()
    (told,) = scene.events("validation")
    predictions, references = scene.folder / "p", scene.folder / "r"
    for event in scene.events("preview"):
        for name, folder in (("prediction", predictions), ("mask", references)):
            folder.mkdir(exist_ok=True)
            (folder / f"{event['case']}.nii.gz").write_bytes((scene.folder / event[name]).read_bytes())
    expected = evaluate_files(predictions, references, LABELS)
    assert told["mean_dice"] == pytest.approx(expected.mean_dice, abs=1e-6)
    assert told["cases"] == pytest.approx(expected.per_case(), abs=1e-6)
    for value, name in LABELS.items():
        assert told["metrics"][name] == pytest.approx(expected.metrics()[value], abs=1e-5)
        assert told["metrics"][name]["tp"] + told["metrics"][name]["fn"] == pytest.approx(100, abs=1e-4)
    assert told["metrics"]["core"]["fp"] > 50, "the threshold is far too low"
    with open(scene.folder / "metrics.csv", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["case"], row["name"]) for row in rows] == [
        (case.id, name) for case in scene.cases[::-1] for name in LABELS.values()
    ]
    assert [int(row["fp"]) for row in rows] == [
        row.fp for case in scene.cases[::-1] for row in expected.rows if row.case == case.id
    ]


def test_the_best_model_is_the_best_by_what_was_chosen(scene: Scene, quick_config: TrainConfig) -> None:
    judge = scene.judge(quick_config.with_values({"optimization.metric": "recall", "optimization.metric_label": "core"}))
    half = np.median(np.concatenate([case.image[case.target == 2] for case in scene.cached]))
    for iteration, levels in enumerate(((GOOD[0], half), (GOOD[0], GOOD[0])), start=1):
        scene.network.set(levels)
        judge.judge(iteration, 1.0, never, math.inf)
    judge.metrics.close()
    first, second = scene.events("validation")
    assert first["mean_dice"] > second["mean_dice"]
    assert second["score"] == second["metrics"]["core"]["recall"] > first["score"]
    assert (first["best"], second["best"]) == (True, True)
    assert second["metric"] == "recall of core"


@pytest.mark.parametrize("overlapping", [False, True])
def test_previews_are_small_files_on_the_grid_of_the_scan(
    ball_dataset: Path, tmp_path: Path, quick_config: TrainConfig, overlapping: bool
) -> None:
    scene = Scene(ball_dataset, tmp_path / "run", overlapping)
    judge = scene.judge(quick_config.with_values({"record.shown_cases": 2}), shown=3)
    judge.judge(7, 1.0, never, math.inf)
    judge.metrics.close()
    previews = scene.events("preview")
    assert [event["case"] for event in previews] == [case.id for case in scene.cases[::-1][:2]], "the most worth watching"
    for event, case in zip(previews, scene.cases[::-1], strict=False):
        scan = read_volume(case.images[0])
        labels = read_volume(scene.folder / event["prediction"], "labels")
        assert labels.grid.matches(scan.grid)
        truth, reference = read_volume(case.mask, "labels"), read_volume(scene.folder / event["mask"], "labels")
        if overlapping:
            assert labels.data.shape[0] == reference.data.shape[0] == 7, "a channel for each value"
            assert np.array_equal(reference.data.max(axis=0), truth.data[0])
        else:
            assert np.array_equal(reference.data, truth.data)
            expected = scene.predictor.predict(scan).labels
            assert np.array_equal(labels.data, expected.data)
        assert (scene.folder / event["prediction"]).stat().st_size < 20_000
        assert event["dice"] == scene.events("validation")[0]["cases"][case.id]


def test_the_average_is_judged_and_saved_and_the_weights_go_on(scene: Scene, quick_config: TrainConfig) -> None:
    average = WeightAverage(scene.network, 0.9)  # of good thresholds
    scene.network.set(TOO_HIGH)
    judge = scene.judge(quick_config, average=average)
    assert judge.judge(1, 1.0, never, math.inf) > 0.9  # type: ignore[operator]
    judge.save("other.pt", 2)
    judge.metrics.close()
    for name in ("best.pt", "last.pt", "other.pt"):
        assert load_model(scene.folder / "checkpoints" / name).weights["levels"].tolist() == pytest.approx(GOOD)
    assert scene.network.levels.tolist() == pytest.approx(TOO_HIGH)


def test_a_resumed_run_knows_what_was_best(scene: Scene, quick_config: TrainConfig) -> None:
    judge = scene.judge(quick_config)
    judge.judge(3, 1.0, never, seconds=0.0)
    judge.metrics.close()
    resumed = scene.judge(quick_config)
    resumed.load_state_dict(judge.state_dict())
    assert resumed.judge(3, 1.0, never, math.inf) is None
    scene.network.set(TOO_LOW)
    resumed.judge(4, 1.0, never, math.inf)
    resumed.metrics.close()
    told = scene.events("validation")
    assert [event["best"] for event in told] == [True, False]
    assert [list(event["cases"]) for event in told] == [[scene.cases[2].id]] * 2, (
        "the same case, so that the numbers can be compared"
    )
    (warning,) = scene.events("warning")
    assert "1 of the 3" in warning["message"]
    with open(scene.folder / "metrics.csv", encoding="utf-8") as handle:
        assert sum("iteration" in line for line in handle) == 1, "one head"


def test_a_validation_that_is_stopped_says_nothing(scene: Scene, quick_config: TrainConfig) -> None:
    judge = scene.judge(quick_config)
    assert judge.judge(1, 1.0, lambda: True, math.inf) is None
    judge.metrics.close()
    assert not scene.events("validation")
    assert not scene.run.best.exists()
    assert scene.network.training


class Together:
    """Stands for two processes in threads of one."""

    count = 2

    def __init__(self, rank: int, held: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self._held, self._barrier = rank, held, barrier

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        self._held[self.rank] = value
        self._barrier.wait(60)
        return list(self._held)


def in_threads(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def test_several_processes_judge_a_share_each_and_all_know_the_result(
    ball_dataset: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    held: list[Any] = [None, None]
    barrier = threading.Barrier(2)
    scenes = [Scene(ball_dataset, tmp_path / str(rank)) for rank in range(2)]
    scores: dict[int, float | None] = {}

    def work(rank: int) -> None:
        judge = scenes[rank].judge(quick_config, shown=1, processes=Together(rank, held, barrier))
        scores[rank] = judge.judge(1, 1.0, never, math.inf)
        judge.metrics.close()

    in_threads(work)
    alone = Scene(ball_dataset, tmp_path / "alone")
    judge = alone.judge(quick_config, shown=1)
    assert scores[0] == scores[1] == pytest.approx(judge.judge(1, 1.0, never, math.inf))
    judge.metrics.close()
    (told,), (expected,) = scenes[0].events("validation"), alone.events("validation")
    assert told["cases"] == expected["cases"]
    assert told["metrics"] == expected["metrics"]
    assert len(held[0].evaluation.per_case()) == 2
    assert len(held[1].evaluation.per_case()) == 1
    assert not held[1].shown, "the first process has those that are shown: no volumes travel"
    assert not list((tmp_path / "1").iterdir()), "only the first process writes"


def test_all_processes_leave_when_one_of_them_was_stopped(ball_dataset: Path, tmp_path: Path, quick_config: TrainConfig) -> None:
    held: list[Any] = [None, None]
    barrier = threading.Barrier(2)
    scenes = [Scene(ball_dataset, tmp_path / str(rank)) for rank in range(2)]
    scores: dict[int, float | None] = {}

    def work(rank: int) -> None:
        judge = scenes[rank].judge(quick_config, shown=1, processes=Together(rank, held, barrier))
        scores[rank] = judge.judge(1, 1.0, lambda: rank == 0, math.inf)
        judge.metrics.close()

    in_threads(work)
    assert scores == {0: None, 1: None}
    assert not scenes[0].events("validation")


def test_what_is_unknown_is_not_judged(ball_dataset: Path, tmp_path: Path) -> None:
    scene = Scene(ball_dataset, tmp_path / "run")
    sparse = prepare(scene.cases[:1], scene.predictor.pipeline, LABELS, targets=TargetsConfig(kind="exclusive", ignore=7))
    result = validate(scene.predictor, sparse, (), lambda done, total: None, never, math.inf)
    ball, core = result.evaluation.rows
    assert (core.tp, core.fn, core.fp) == (0, 0, 0), "the voxels of the core say nothing"
    assert ball.recall > 0.95
    assert ball.precision > 0.95


def test_the_picture_shows_scan_truth_and_prediction(ball_dataset: Path, tmp_path: Path) -> None:
    scene = Scene(ball_dataset, tmp_path / "run")
    scan, case = read_volume(scene.cases[1].images[0]), scene.cached[1]
    overlay = Overlay(scan.data[0], case.reference, scan.grid)
    nothing, truth = overlay.draw(np.zeros_like(case.reference)), overlay.draw(case.reference)
    canonical = scan.grid.canonical().shape
    assert nothing.shape == (canonical[1], canonical[0], 3)
    assert nothing.dtype == np.uint8
    coloured = np.ptp(nothing.astype(int), axis=2) > 50
    filled = np.ptp(truth.astype(int), axis=2) > 50
    assert 10 < coloured.sum() < filled.sum(), "an outline, and a filling"
    middle = np.argwhere(filled).mean(axis=0)
    # The patient's right is on the left of the picture, and anterior is up.
    plane = scan.grid.to_canonical(case.reference)[0]
    index = int(np.count_nonzero(plane, axis=(0, 1)).argmax())
    right, anterior = np.argwhere(plane[:, :, index]).mean(axis=0)
    assert middle == pytest.approx([canonical[1] - 1 - anterior, canonical[0] - 1 - right], abs=0.6)


def test_names_of_folders_are_safe_and_never_the_same() -> None:
    names = safe_names(["sub-01", "../../etc", "a b", "a/b", "A-b", "Ä", ".."])
    assert names == ["sub-01", "etc", "a-b", "a-b-2", "A-b-3", "case", "case-2"]
