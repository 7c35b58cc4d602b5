"""``split`` as a user calls it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.datasets import open_dataset
from napari_seg3d.datasets.layouts.manifest import FILE_NAME
from napari_seg3d.errors import DatasetError


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["split", *map(str, arguments)], env={"COLUMNS": "160"}, catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def folder(ball_dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ball_dataset, tmp_path / "balls")


def test_a_split_is_made_shown_and_kept(folder: Path) -> None:
    assert "No split is stored" in run(folder, "--show")
    assert not (folder / FILE_NAME).exists()
    text = run(folder, "--method", "folds", "--folds", "2", "--test", "0.34", "--freeze")
    for words in ("folds, 2, test set frozen", "fold 1", "fold 2", "test", "2 (100%)", "Written to"):
        assert words in text
    split = open_dataset(folder).split
    assert split is not None
    assert (split.method, len(split.test), len(split.sets), len(split.test_content)) == ("folds", 2, 4, 2)
    assert open_dataset(folder).labels == {}, "what nobody named is not named by a split"
    assert "test set frozen" in run(folder, "--show")

    run(folder, "--method", "fraction", "--validation", "0.5", "--seed", "3")
    again = open_dataset(folder).split
    assert again is not None
    assert (again.method, again.validation, again.seed) == ("fraction", 0.5, 3)
    assert again.test_content == split.test_content
    with pytest.raises(DatasetError, match="frozen"):
        run(folder, "--test", "0.2")
    run(folder, "--unfreeze")
    loose = open_dataset(folder).split
    assert loose is not None
    assert not loose.is_frozen
    assert loose.sets == again.sets


def test_lists_decide(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("ball_0\n")
    run(folder, "--test", tmp_path / "test.txt", "--method", "stride", "--stride", "2", "--freeze")
    split = open_dataset(folder).split
    assert split is not None
    assert split.test == ("ball_0",)
    (folder / "labels" / "ball_5.nii.gz").unlink()
    assert re.search(r"train\W+2\W+2\W", run(folder, "--show")), "without its mask a case trains nothing"
    assert [case for case, place in split.sets.items() if place == "validation"] == ["ball_1", "ball_3", "ball_5"]
    table = tmp_path / "sets.csv"
    table.write_text("case,set\nball_1,val\nball_2,train\n")
    run(folder, "--lists", table)
    split = open_dataset(folder).split
    assert split is not None
    assert (split.method, split.sets, split.test) == ("lists", {"ball_1": "validation", "ball_2": "train"}, ("ball_0",))
    table.write_text("case,set\nball_0,val\n")
    with pytest.raises(DatasetError, match="ball_0 is in the test set, and its set is validation"):
        run(folder, "--lists", table)
