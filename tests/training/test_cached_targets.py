"""Targets on disk: each meaning of a mask has a folder of its own, overlapping labels a channel each, and nothing is read twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.datasets import check_dataset, open_dataset
from napari_seg3d.errors import LabelError
from napari_seg3d.evaluation.counts import UNKNOWN
from napari_seg3d.training.config import TargetsConfig
from napari_seg3d.training.samples.cache import prepare
from napari_seg3d.training.samples.targets import settled
from napari_seg3d.transforms import Pipeline, preprocessing_pipeline
from napari_seg3d.volumes import Volume, read_volume, write_volume

LABELS = {1: "one", 2: "two"}


@pytest.fixture
def overlapping(tmp_path: Path) -> Path:
    """Two scans with a file for each of two labels that share voxels."""
    random = np.random.default_rng(0)
    for case in ("a", "b"):
        image = random.normal(100, 10, (1, 12, 11, 10)).astype(np.float32)
        write_volume(Volume(image, np.eye(4)), tmp_path / "images" / f"{case}.nii.gz")
        for name, first in (("one", 2), ("two", 4)):
            mask = np.zeros((1, 12, 11, 10), np.uint8)
            mask[0, first : first + 4, 3:8, 2:7] = 1
            write_volume(Volume(mask, np.eye(4), "labels"), tmp_path / "masks" / f"{case}_{name}.nii.gz")
    return tmp_path


def test_overlapping_labels_go_from_their_files_to_a_channel_each(overlapping: Path) -> None:
    report = check_dataset(open_dataset(overlapping))
    assert report.overlapping
    targets = settled(TargetsConfig(), report.overlapping)
    pipeline = preprocessing_pipeline((1.0, 1.0, 1.0), "zscore")
    for case in prepare(report.sound, pipeline, LABELS, targets=targets):
        assert case.target.shape == case.reference.shape == (2, 12, 11, 10)
        assert (case.target.dtype, case.outside) == (np.uint8, 0)
        assert case.counts == {0: 12 * 11 * 10 - 6 * 25, 1: 100, 2: 100}
        assert case.reference[:, 5, 4, 4].tolist() == [1, 1]
        assert case.reference[:, 2, 4, 4].tolist() == [1, 0]
        for label in (1, 2):
            assert (case.target[label - 1][tuple(case.locations[label].T)] == 1).all()
        assert not case.target[:, *case.locations[0].T].any()
    with pytest.raises(LabelError, match="overlap in 50 voxels") as caught:
        prepare(report.sound, pipeline, LABELS, targets=TargetsConfig(kind="exclusive"))
    assert "overlapping" in caught.value.fix


def test_each_meaning_of_a_mask_is_made_anew_and_found_again(ball_dataset: Path) -> None:
    (case, *_) = open_dataset(ball_dataset).pairs
    meanings = [
        TargetsConfig(),
        TargetsConfig(kind="overlapping"),
        TargetsConfig(known="slices"),
        TargetsConfig(known="slices", plane="coronal"),
        TargetsConfig(known="voxels", background=7),
        TargetsConfig(ignore=7),
    ]
    made = [prepare([case], Pipeline(()), {3: "ball"}, targets=meaning)[0] for meaning in meanings]
    assert len({one.folder for one in made}) == len(meanings)
    again = [prepare([case], Pipeline(()), {3: "ball"}, targets=meaning)[0] for meaning in meanings]
    assert [one.folder for one in again] == [one.folder for one in made]
    assert prepare([case], Pipeline(()), {3: "ball"}, targets=TargetsConfig(kind="exclusive"))[0].folder == made[0].folder
    mask = read_volume(case.mask, "labels").data
    assert (made[4].reference[mask == 0] == UNKNOWN).all()
    assert (made[4].reference[mask == 7] == 0).all()
    assert (made[5].reference[mask == 7] == UNKNOWN).all()
    assert made[5].outside == 0
    assert made[2].outside == UNKNOWN
    assert sum(made[2].counts.values()) == int((made[2].target != UNKNOWN).sum())


def test_a_case_that_trains_and_judges_is_prepared_once(ball_dataset: Path) -> None:
    (case, *_) = open_dataset(ball_dataset).pairs
    told: list[tuple[int, int]] = []
    one, other = prepare([case, case], Pipeline(()), {3: "ball"}, lambda done, total: told.append((done, total)))
    assert one == other
    assert told == [(1, 1)]
