"""``check`` as a user calls it: its words, its page, and what --fix leaves behind."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.cli import data as command
from napari_seg3d.datasets import check_dataset, load_dataset
from napari_seg3d.datasets.doctor import REMEDIES
from napari_seg3d.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three cases, one of whose masks is a map of probabilities, and one of whose images is broken."""
    for number in range(3):
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir(exist_ok=True)
        image = np.random.default_rng(number).normal(size=(8, 8, 8)).astype(np.float32)
        mask = np.zeros((8, 8, 8), np.float32)
        mask[2:5, 2:6, 1 + number : 5] = 0.9 if number == 1 else 1
        image[0, 0, 0] = np.nan if number == 2 else 0
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "images" / f"c{number}.nii.gz")
        nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "labels" / f"c{number}.nii.gz")
    return tmp_path


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "250"}).invoke(app, ["check", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


def test_remedies_are_offered_and_applied(folder: Path) -> None:
    page = folder.parent / "page.html"
    text = run(folder, "--html", page, "--processes", 0, status=1)
    assert "--fix round_labels" in text
    assert "--fix drop_case" in text
    assert page.read_text().startswith("<!doctype html>")
    page.unlink()

    text = run(folder, "--fix", "round_labels", status=1)
    assert "Round to whole numbers: c1" in text
    assert check_dataset(load_dataset(folder / "dataset.yaml")).sound[-1].id == "c1"

    text = run(folder / "dataset.yaml", "--fix", "all", "--out", folder / "other")
    assert "Leave the case out: c2" in text
    report = check_dataset(load_dataset(folder / "other" / "dataset.yaml"))
    assert [case.id for case in report.sound] == ["c0", "c1"]
    assert report.problems == ()
    run(folder / "other" / "dataset.yaml")


def test_nothing_to_apply(folder: Path) -> None:
    assert "nothing that these remedies would change" in run(folder, "--fix", "resample_mask", status=1)
    assert not (folder / "dataset.yaml").exists()


def test_an_unknown_remedy_is_named(folder: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(folder), "--fix", "heal"])
    assert isinstance(result.exception, ConfigError)
    assert "'heal'" in result.exception.what
    assert "round_labels" in result.exception.fix


def test_the_help_names_every_remedy() -> None:
    assert command._REMEDIES == REMEDIES
