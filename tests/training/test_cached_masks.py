"""What is trained on is the mask as the data set means it: out of all its files, with labels merged; and a data set may move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_seg3d.datasets import open_dataset, save_dataset
from napari_seg3d.training.samples.cache import prepare
from napari_seg3d.transforms import Pipeline
from napari_seg3d.volumes import Label, read_volume, write_label_files, write_volume

NOTHING = Pipeline(())


def test_label_files_train_as_their_label_map_does_wherever_they_lie(ball_dataset: Path, tmp_path: Path) -> None:
    for image in sorted((ball_dataset / "images").iterdir())[:2]:
        write_volume(read_volume(image, "image"), tmp_path / "old" / "images" / image.name)
        mask = replace(
            read_volume(ball_dataset / "labels" / image.name, "labels"), labels={3: Label("a shell"), 7: Label("core")}
        )
        write_label_files(mask, tmp_path / "old" / "masks" / image.name)
    dataset = open_dataset(tmp_path / "old")
    assert dataset.labels == {1: "a_shell", 2: "core"}
    save_dataset(dataset, tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    moved = open_dataset(tmp_path / "new")
    from_map = [case for case in open_dataset(ball_dataset).pairs if case.id in {one.id for one in moved.cases}]
    wanted = prepare(from_map, NOTHING, {3: "shell", 7: "core"})
    found = prepare(moved.pairs, NOTHING, moved.labels)
    for one, other in zip(wanted, found, strict=True):
        assert one.folder != other.folder
        assert np.array_equal(one.reference, other.reference)
        assert np.array_equal(one.target, other.target)


def test_merged_labels_are_merged_and_kept_apart_on_disk(ball_dataset: Path) -> None:
    (case, *_) = open_dataset(ball_dataset).pairs
    (plain,) = prepare([case], NOTHING, {3: "shell", 7: "core"})
    (merged,) = prepare([case], NOTHING, {3: "ball"}, merged={7: 3})
    (again,) = prepare([case], NOTHING, {3: "ball"}, merged={7: 3})
    (other,) = prepare([case], NOTHING, {3: "ball"})
    assert merged.folder == again.folder
    assert len({plain.folder, merged.folder, other.folder}) == 3
    assert np.array_equal(merged.reference == 1, plain.reference > 0)
    assert np.array_equal(other.reference == 1, plain.reference == 1)
