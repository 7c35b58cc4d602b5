"""No training touches a frozen test set, however it is asked to."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from napari_seg3d.datasets import (
    Split,
    StoredSplit,
    check_dataset,
    freeze_test,
    make_split,
    open_dataset,
    save_dataset,
)
from napari_seg3d.datasets.layouts.manifest import FILE_NAME
from napari_seg3d.errors import DatasetError
from napari_seg3d.training import TrainConfig, start_run
from napari_seg3d.training.config import DataConfig
from napari_seg3d.training.samples.cache import prepare
from napari_seg3d.training.samples.sides import choose_sides
from napari_seg3d.transforms import preprocessing_pipeline
from tests.waiting import wait_for


@pytest.fixture
def frozen(ball_dataset: Path, tmp_path: Path) -> Path:
    """The balls with two folds, and ball_5 in a frozen test set."""
    folder = shutil.copytree(ball_dataset, tmp_path / "balls")
    dataset = open_dataset(folder)
    kept = freeze_test(StoredSplit("lists", test=("ball_5",)), dataset.cases)
    save_dataset(replace(dataset, split=make_split(dataset.cases, "folds", folds=2, kept=kept)), folder)
    return folder


def change(folder: Path, how: Callable[[dict[str, Any]], None]) -> None:
    content = yaml.safe_load((folder / FILE_NAME).read_text())
    how(content)
    (folder / FILE_NAME).write_text(yaml.safe_dump(content))


def chosen(folder: Path, masks: Path | None = None, **wishes: object) -> Split:
    report = check_dataset(open_dataset(folder, masks))
    return choose_sides(DataConfig.model_validate({"images": folder, **wishes}), report)


@pytest.mark.slow
def test_a_run_leaves_the_test_set_alone(frozen: Path, quick_config: TrainConfig, tmp_path: Path) -> None:
    changes = {"data.images": str(frozen), "data.fold": 2, "optimization.max_iterations": 1}
    run = start_run(quick_config.with_values(changes), tmp_path / "run")
    assert wait_for(run).state == "finished", run.log.read_text()
    split = open_dataset(frozen).split
    assert split is not None
    with open(run.folder / "split.csv") as handle:
        sets = {row["case"]: row["set"] for row in csv.DictReader(handle)}
    assert sets == {"ball_5": "test"} | {case: "validation" if fold == 2 else "train" for case, fold in split.sets.items()}
    assert [case.id for case in run.cases("test")] == ["ball_5"]
    seen = {case for event in run.events() if event["kind"] == "validation" for case in event["cases"]}
    assert seen == {case.id for case in run.cases("validation")}


def test_a_test_case_moved_to_train_by_hand_is_refused_with_its_name(
    frozen: Path, quick_config: TrainConfig, tmp_path: Path
) -> None:
    def move(content: dict[str, Any]) -> None:
        content["split"]["test"].remove("ball_5")
        content["split"]["sets"]["ball_5"] = 1

    change(frozen, move)
    run = start_run(quick_config.with_values({"data.images": str(frozen)}), tmp_path / "run")
    status = wait_for(run)
    assert status.state == "failed"
    assert "ball_5 is in the test set" in status.message
    assert not (run.folder / "split.csv").exists()


def test_another_name_or_another_subject_does_not_help(frozen: Path) -> None:
    def rename(content: dict[str, Any]) -> None:
        content["cases"][-1].update(id="fresh", subject="fresh")
        content["split"]["sets"]["fresh"] = 1

    change(frozen, rename)
    with pytest.raises(DatasetError, match=r"fresh \(.*ball_5.nii.gz\) is the same scan as ball_5 in the frozen test set"):
        chosen(frozen)


def test_a_further_scan_of_a_test_subject_is_held_back_and_refused_where_it_is_listed(frozen: Path) -> None:
    change(frozen, lambda content: content["cases"][0].update(subject="ball_5"))
    with pytest.raises(DatasetError, match=r"ball_0 \(fold \d\) and ball_5 \(test\) are of one subject"):
        chosen(frozen)
    change(frozen, lambda content: content["split"]["sets"].pop("ball_0"))
    assert chosen(frozen).test == ("ball_0", "ball_5")
    assert chosen(frozen, split="stride", stride=2).test == ("ball_0", "ball_5")


def test_the_folders_opened_without_the_dataset_yaml(frozen: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is the same scan as ball_5 in the frozen test set of .*dataset.yaml"):
        chosen(frozen / "images", frozen / "labels")
    (frozen / FILE_NAME).write_text("path: what other programs write\n")
    chosen(frozen / "images", frozen / "labels")


def test_what_the_config_says_where_nothing_is_stored(ball_dataset: Path) -> None:
    assert len(chosen(ball_dataset, split="folds", folds=3, fold=3).validation) == 2
    assert chosen(ball_dataset, split="stride", stride=3).validation == ("ball_0", "ball_3")
    assert len(chosen(ball_dataset, validation=0.34).validation) == 2
    with pytest.raises(DatasetError, match="Fold 2 cannot validate: the split has no folds"):
        chosen(ball_dataset, fold=2)


def test_preparing_refuses_what_is_forbidden(ball_dataset: Path) -> None:
    dataset = open_dataset(ball_dataset)
    with pytest.raises(DatasetError, match="ball_2 is in the test set"):
        prepare(dataset.cases, preprocessing_pipeline((1.0, 1.0, 1.0), "zscore"), {3: "ball"}, forbidden=("ball_2",))


def test_a_single_subject_trains_and_is_judged_by(ball_dataset: Path, tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        shutil.copy(ball_dataset / folder / "ball_2.nii.gz", tmp_path / folder)
    assert chosen(tmp_path) == Split(("ball_2",), ("ball_2",))
    chosen(tmp_path).save(tmp_path / "split.csv", open_dataset(tmp_path).cases)
    assert (tmp_path / "split.csv").read_text().splitlines()[1:] == ["ball_2,ball_2,train", "ball_2,ball_2,validation"]


def test_a_single_subject_that_is_held_back_does_not_train(ball_dataset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(ball_dataset, tmp_path / "balls")
    dataset = open_dataset(folder)
    save_dataset(replace(dataset, split=StoredSplit("lists", test=tuple(case.id for case in dataset.cases))), folder)
    with pytest.raises(DatasetError):
        chosen(folder)
