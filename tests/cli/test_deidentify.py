from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np

from napari_seg3d.volumes import Grid
from tests.volumes.affines import affine_of
from tests.volumes.dicom.phantom_series import PATIENT, write_series


def _cli(*arguments: object) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "napari_seg3d.cli", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_copies_are_made_and_what_was_left_out_is_said(tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", Grid((4, 3, 2), affine_of()), np.zeros((4, 3, 2), np.int16))
    (tmp_path / "in" / "letter.txt").write_text("Dear patient")
    status, text = _cli("deidentify", tmp_path / "in", "--out", tmp_path / "out", "--key", tmp_path / "key.csv")
    assert status == 1
    assert "2 copies" in text
    assert "Faces" in text
    assert "letter.txt" in text
    assert "Traceback" not in text
    assert sorted(file.name for file in (tmp_path / "out" / "series_001").iterdir()) == ["0001.dcm", "0002.dcm"]
    with open(tmp_path / "key.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["source"] for row in rows} == {str(file) for file in files}
    assert all(Path(row["copy"]).exists() and PATIENT not in row["copy"].removeprefix(str(tmp_path)) for row in rows)


def test_the_key_may_not_lie_among_the_copies(tmp_path: Path) -> None:
    write_series(tmp_path / "in", Grid((4, 3, 2), affine_of()))
    status, text = _cli("deidentify", tmp_path / "in", "--out", tmp_path / "out", "--key", tmp_path / "out" / "key.csv")
    assert status == 1
    assert "another place for the key" in text
    assert not (tmp_path / "out").exists()
