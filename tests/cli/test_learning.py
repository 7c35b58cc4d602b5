"""``learn`` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.errors import ConfigError, DatasetError
from napari_seg3d.review import Worklist
from napari_seg3d.training import Run
from napari_seg3d.training.rounds import Rounds
from tests.learning import approve, learning_set


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["learn", *map(str, arguments)], env={"COLUMNS": "160"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def learnt(ball_dataset: Path, finished_run: Run, tmp_path: Path) -> tuple[Path, Run]:
    return learning_set(tmp_path, ball_dataset, finished_run, iterations=20)


def test_what_there_is_to_say_without_learning(learnt):
    folder, first = learnt
    assert "No rounds yet" in run(folder, "--list")
    with pytest.raises(ConfigError, match="no model yet"):
        run(folder)
    with pytest.raises(DatasetError, match="No case was approved"):
        run(folder, "--run", first.folder)
    with pytest.raises(ConfigError, match="no round 3"):
        run(folder, "--use", 3)


@pytest.mark.slow
def test_a_round(learnt, tmp_path):
    folder, first = learnt
    worklist = Worklist.open(folder)
    approve(worklist, "ball_4")
    worklist.set_state("ball_3", "approved")
    worklist.write()
    text = run(folder, "--run", first.folder, "--out", tmp_path / "second")
    assert "1 new and 2 old cases" in text
    assert "Left out: ball_3 is in the frozen test set" in text
    assert "Mean Dice" in text
    assert "look at it next" in text
    assert "ball_5" in text
    assert Worklist.open(folder).entry("ball_5").uncertainty > 0
    listed = run(folder, "--list")
    assert "second" in listed
    assert "current" in listed
    assert "model is that of second" in run(folder, "--use", 1, "--no-predict").replace("\n", " ")
    assert Rounds(worklist).current == (1, Run(tmp_path / "second"))
    assert "model is that of first" in run(folder, "--use", 0).replace("\n", " ")
    assert "was judged" in run(folder, "--finish", "--no-predict")
