"""``import`` and ``export`` as a user calls them: from folders to one file, and to nnU-Net and back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from napari_seg3d.cli.dataset import import_
from napari_seg3d.datasets import import_dataset, open_dataset
from napari_seg3d.errors import ConfigError, WriteError
from tests.cli.test_cli import _cli
from tests.datasets.makers import make_decathlon, make_luna


def test_import_tells_how_sure_it_is_and_takes_pairs_by_hand(ball_dataset: Path, tmp_path: Path) -> None:
    data = shutil.copytree(ball_dataset, tmp_path / "data")
    (data / "labels" / "ball_5.nii.gz").rename(data / "labels" / "ball_5_drawn.nii.gz")
    (data / "labels" / "ball_4.nii.gz").rename(data / "labels" / "fine.nii.gz")
    text = _cli("import", data, "--pair", f"ball_4={data / 'labels' / 'fine.nii.gz'}")
    lines = {line.split()[1]: line for line in text.splitlines() if "ball_" in line and "│" in line}
    assert "90%" in lines["ball_0"]
    assert "same name" in lines["ball_0"]
    assert "100%" in lines["ball_4"]
    assert "chosen by hand" in lines["ball_4"]
    assert "70%" in lines["ball_5"]
    assert str(data / "dataset.yaml") in text
    moved = data.rename(tmp_path / "moved")
    assert len(open_dataset(moved).pairs) == 6
    with pytest.raises(WriteError, match="exists already"):
        import_(moved)
    with pytest.raises(ConfigError, match="--pair x is no pair"):
        import_(moved, pair=["x"], overwrite=True)


def test_luna_is_imported_with_its_masks(tmp_path: Path) -> None:
    make_luna(tmp_path, count=3)
    text = _cli("import", tmp_path)
    assert "3 images, 3 with masks; labels 1 nodule" in text
    assert "Making masks" in text
    assert "3/3" in text


def test_export_to_nnunet_and_back(tmp_path: Path) -> None:
    make_decathlon(tmp_path / "task", count=3)
    import_dataset(tmp_path / "task", tmp_path / "mine.yaml")
    options = (tmp_path / "mine.yaml", "--nnunet", tmp_path / "raw", "--id", 7, "--name", "Organ")
    assert str(tmp_path / "raw" / "Dataset007_Organ") in _cli("export", *options)
    assert "exists already" in _cli("export", *options, status=1)
    again = import_dataset(tmp_path / "raw" / "Dataset007_Organ")
    assert (len(again.cases), len(again.pairs), again.labels) == (4, 3, {1: "organ", 2: "tumour"})
