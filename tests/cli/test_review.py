"""``review`` as a user calls it."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.errors import ConfigError, DatasetError
from napari_seg3d.review import Worklist


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["review", *map(str, arguments)], env={"COLUMNS": "160"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def folder(ball_dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ball_dataset, tmp_path / "balls")


def test_a_worklist_is_listed_said_and_listed_again(folder, tmp_path):
    assert "6 to do" in run(folder)
    assert not (folder / "seg3d-review").exists(), "looking leaves nothing behind"
    text = run(folder, "--set", "ball_1=approved", "--set", "ball_2=in_work", "--comment", "ball_1=a = b", "--who", "anna")
    assert "4 to do, 0 predicted, 1 in work, 1 approved" in text
    assert Worklist.open(folder).entry("ball_1").comment == "a = b"
    listed = run(folder, "--state", "approved")
    assert "ball_1" in listed
    assert "ball_3" not in listed
    with pytest.raises(ConfigError, match="CASE=STATE"):
        run(folder, "--set", "approved")
    with pytest.raises(DatasetError, match="no case"):
        run(folder, "--set", "ball_7=approved")


def test_measures_orders_and_tables(folder, tmp_path):
    text = run(folder, "--predictions", folder / "labels", "--measure", "--order", "-dice", "--csv", tmp_path / "out.csv")
    assert "6 predicted" in text
    assert "1.000" in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert all(float(row["label 3 (ml)"]) > 0 for row in rows)
    edited = (tmp_path / "out.csv").read_text().replace("ball_3,predicted", "ball_3,flagged")
    (tmp_path / "out.csv").write_text(edited)
    assert "1 changes were taken" in run(folder, "--take", tmp_path / "out.csv")
    assert "1 flagged" in run(folder)
    journal = next((folder / "seg3d-review").glob("*.jsonl"))
    journal.write_text(journal.read_text() + "scribble\n")
    assert "is passed over" in run(folder)


def test_two_readers_agree(folder):
    run(folder, "--readers", "anna, ben")
    for who, state in (("anna", "approved"), ("ben", "flagged")):
        assert "No case was read by both" in run(folder, "--agreement")
        run(folder, "--who", who, "--set", f"ball_0={state}", "--set", "ball_1=approved")
    text = run(folder, "--agreement")
    assert "2 cases read by both; they say the same of 50%" in text
    assert "1.000" in text
