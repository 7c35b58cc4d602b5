"""``evaluate`` as a user calls it: its table, its CSV and its page."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.errors import ConfigError, DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three cases with scans; of the last, the tumour was missed."""
    random = np.random.default_rng(0)
    for number in range(3):
        mask = np.zeros((20, 18, 8), np.uint8)
        mask[3:12, 4:12, 2:6], mask[5:7, 5:7, 3:5] = 1, 2
        predicted = np.roll(mask, number, axis=0)
        predicted[predicted == 2] = 1 if number == 2 else 2
        scan = random.normal(50 * (mask > 0), 9).astype(np.int16)
        for kind, data in (("labels", mask), ("predicted", predicted), ("images", scan)):
            (tmp_path / kind).mkdir(exist_ok=True)
            nib.Nifti1Image(data, np.diag([0.8, 0.8, 2.5, 1])).to_filename(tmp_path / kind / f"c{number}.nii.gz")
    return tmp_path


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "250"}).invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


def test_numbers_and_page(folder: Path) -> None:
    text = run(
        folder / "predicted", folder / "labels", "--csv", folder / "out" / "numbers.csv", "--html", folder / "out" / "page.html",
        "--images", folder / "images", "--tolerance", 0.8,
    )  # fmt: skip
    assert "3 cases; distances in mm, NSD at 0.8 mm" in text
    assert all(column in text for column in ("Dice", "precision", "recall", "HD95", "ASSD", "NSD", "volume"))
    assert "Once a label is in one of the masks only" in text
    with open(folder / "out" / "numbers.csv", encoding="utf-8") as handle:
        rows = {(row["case"], row["label"]): row for row in csv.DictReader(handle)}
    assert (rows["c0", "1"]["dice"], rows["c0", "1"]["hausdorff_mm"], rows["c0", "1"]["nsd"]) == ("1.000000", "0", "1.000000")
    assert (rows["c1", "1"]["hausdorff_mm"], rows["c1", "1"]["nsd"]) == ("0.8", "1.000000")
    assert (rows["c2", "2"]["hd95_mm"], rows["c2", "2"]["nsd"], rows["c2", "2"]["volume_error"]) == (
        "inf",
        "0.000000",
        "-1.000000",
    )
    page = (folder / "out" / "page.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 4, "of both labels the two cases in which something is wrong"
    assert str(folder) not in page


def test_surfaces_to_choose(folder: Path) -> None:
    pair = (folder / "predicted", folder / "labels")
    assert run(*pair, "--surface", "areas") != run(*pair)
    text = run(*pair, "--surface", "none")
    assert "HD95" not in text
    assert "volume" in text


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (["--surface", "mesh"], ConfigError, "no surface 'mesh'"),
        (["--images", "images"], ConfigError, "no page is asked for"),
        (["--images", "nowhere", "--html", "page.html"], DatasetError, "nowhere does not exist"),
    ],
)
def test_mistakes_are_said(
    arguments: list[str], kind: type[Exception], said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["evaluate", "predicted", "labels", *arguments])
    assert isinstance(result.exception, kind)
    assert said in str(result.exception)
    assert not (folder / "page.html").exists()


def test_a_scan_that_is_missing_is_said_and_no_failure(folder: Path) -> None:
    (folder / "images" / "c1.nii.gz").unlink()
    text = run(folder / "predicted", folder / "labels", "--html", folder / "page.html", "--images", folder / "images")
    assert "no scan of this case" in text
    assert (folder / "page.html").read_text(encoding="utf-8").count("<figure>") == 4
