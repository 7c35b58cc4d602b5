"""The raw folder of nnU-Net: what goes out comes in again, whatever format it had before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.datasets import (
    Dataset,
    StoredSplit,
    check_dataset,
    export_nnunet,
    open_dataset,
    read_case_image,
    read_case_mask,
)
from napari_seg3d.errors import Cancelled, DatasetError, WriteError
from napari_seg3d.volumes import Volume, read_volume, write_volume
from tests.datasets.makers import make_decathlon, make_spine_radiographs
from tests.datasets.scans import ball, write_ct, write_seg
from tests.volumes.affines import ORDERS, Order, affine_of


def same_voxels(one: Dataset, other: Dataset, exact: bool = True) -> None:
    """Assert that the cases of two data sets hold the same voxels at the same places."""
    for case in one.cases:
        image, again = read_case_image(case), read_case_image(other.case(case.id))
        assert np.array_equal(image.data, again.data)
        assert np.array_equal(image.affine, again.affine) if exact else np.allclose(image.affine, again.affine, atol=1e-4)
        if case.mask is not None and other.case(case.id).mask is not None:
            mask = read_case_mask(case, image, one.merged).data
            found = read_case_mask(other.case(case.id), again).data
            names = {value: name for value, name in one.labels.items() if value not in one.merged}
            for value, name in names.items():
                number = next(number for number, known in other.labels.items() if known == name)
                assert np.array_equal(mask == value, found == number)


def test_a_task_goes_out_and_comes_in_again(tmp_path: Path) -> None:
    dataset = open_dataset(make_decathlon(tmp_path / "task"))
    told: list[tuple[int, int]] = []
    folder = export_nnunet(dataset, tmp_path / "raw", 7, "Organ", progress=lambda *done: told.append(done))
    assert folder == tmp_path / "raw" / "Dataset007_Organ"
    assert told[-1] == (9, 9)
    assert sorted(path.name for path in folder.iterdir()) == [
        "dataset.json", "imagesTr", "imagesTs", "label_values.csv", "labelsTr", "subjects.csv",
    ]  # fmt: skip
    description = json.loads((folder / "dataset.json").read_text())
    assert description["channel_names"] == {"0": "CT"}
    assert description["labels"] == {"background": 0, "organ": 1, "tumour": 2}
    assert (description["numTraining"], description["file_ending"]) == (4, ".nii.gz")
    again = open_dataset(folder)
    assert again.problems == ()
    assert [case.id for case in again.cases] == [case.id for case in dataset.cases]
    assert [case.subject for case in again.cases] == [case.subject for case in dataset.cases]
    assert [case.id for case in again.pairs] == [case.id for case in dataset.pairs]
    assert (again.labels, again.name, again.modality) == (dataset.labels, "Organ", "CT")
    same_voxels(dataset, again)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(ORDERS), st.lists(st.integers(1, 300), min_size=1, max_size=4, unique=True), st.integers(0, 2**16))
def test_every_order_of_axes_and_any_labels(
    tmp_path_factory: pytest.TempPathFactory, order: Order, values: list[int], seed: int
) -> None:
    root, random = tmp_path_factory.mktemp("set"), np.random.default_rng(seed)
    for name in ("a", "b"):
        for folder, data, kind in (
            ("images", random.integers(-1000, 1000, (1, 5, 4, 3)).astype(np.int16), "image"),
            ("labels", random.choice([0, *values], (1, 5, 4, 3)).astype(np.uint16), "labels"),
        ):
            write_volume(Volume(data, affine_of(order, (10, -20, 30)), kind), root / folder / f"{name}.nii.gz")
    dataset = replace(open_dataset(root), labels={value: f"number {value}" for value in values})
    again = open_dataset(export_nnunet(dataset, root / "raw", 1, "x"))
    assert list(again.labels) == list(range(1, len(values) + 1))
    same_voxels(dataset, again)


def test_dicom_and_matlab_go_out_as_nifti(tmp_path: Path) -> None:
    for number in range(2):
        files = write_ct(tmp_path / "ct" / "images" / f"p{number}", f"ID {number}", number)
        write_seg(tmp_path / "ct" / "masks" / f"p{number}.dcm", files, ball(number))
    dataset = check_dataset(open_dataset(tmp_path / "ct")).dataset
    folder = export_nnunet(dataset, tmp_path / "raw", 1, "Balls")
    assert json.loads((folder / "dataset.json").read_text())["channel_names"] == {"0": "CT"}
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {"background": 0, "Ball 1": 1}
    same_voxels(dataset, open_dataset(folder), exact=False)
    radiographs = check_dataset(open_dataset(make_spine_radiographs(tmp_path / "spine", 2))).dataset
    again = open_dataset(export_nnunet(radiographs, tmp_path / "raw", 2, "Spine"))
    assert len(again.labels) == 6
    same_voxels(radiographs, again, exact=False)
    text = b"".join(path.read_bytes() for path in folder.rglob("*.json")) + (folder / "subjects.csv").read_bytes()
    assert b"ID 0" not in text


def test_test_set_merged_labels_and_exclusions(tmp_path: Path) -> None:
    dataset = open_dataset(make_decathlon(tmp_path / "task", count=5))
    names = [case.id for case in dataset.pairs]
    dataset = replace(
        dataset,
        merged={2: 1},
        excluded={names[0]: "moved"},
        split=StoredSplit("lists", test=(names[1],)),
    )
    folder = export_nnunet(dataset, tmp_path / "raw", 3, "Merged")
    assert sorted(path.name for path in (folder / "imagesTr").iterdir()) == [f"{name}_0000.nii.gz" for name in names[2:]]
    assert (folder / "imagesTs" / f"{names[1]}_0000.nii.gz").is_file()
    assert [path.name for path in (folder / "labelsTs").iterdir()] == [f"{names[1]}.nii.gz"]
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {"background": 0, "organ": 1}
    for name in names[2:]:
        mask = read_case_mask(dataset.case(name)).data
        assert np.array_equal(read_volume(folder / "labelsTr" / f"{name}.nii.gz", "labels").data, (mask > 0).astype(np.uint8))
    assert open_dataset(folder).case(names[1]).mask is None


def test_nothing_is_overwritten_and_a_stop_leaves_nothing(tmp_path: Path) -> None:
    dataset = open_dataset(make_decathlon(tmp_path / "task", count=2, tests=0))
    asked: list[int] = []
    stop = {"progress": lambda done, _: asked.append(done), "cancelled": lambda: len(asked) == 3}
    with pytest.raises(Cancelled):
        export_nnunet(dataset, tmp_path / "raw", 1, "a", **stop)
    assert list((tmp_path / "raw").iterdir()) == []
    folder = export_nnunet(dataset, tmp_path / "raw", 1, "a")
    with pytest.raises(WriteError, match="exists already"):
        export_nnunet(dataset, tmp_path / "raw", 1, "a")
    (folder / "imagesTr" / "old.txt").write_text("of the first export")
    export_nnunet(dataset, tmp_path / "raw", 1, "a", overwrite=True)
    assert not (folder / "imagesTr" / "old.txt").exists()
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["Dataset001_a"]
    (folder / "label_values.csv").unlink()
    with pytest.raises(WriteError, match="exists already") as raised:
        export_nnunet(dataset, tmp_path / "raw", 1, "a", overwrite=True)
    assert "no export of ours" in raised.value.fix
    for number, name, what in (
        (0, "a", "no data set 0"),
        (1000, "a", "no data set 1000"),
        (1, "a/b", "cannot"),
        (1, "", "cannot"),
    ):
        with pytest.raises(DatasetError, match=what):
            export_nnunet(dataset, tmp_path / "raw", number, name)
    with pytest.raises(DatasetError, match="has a mask"):
        export_nnunet(
            replace(dataset, excluded=dict.fromkeys((case.id for case in dataset.cases), "no")), tmp_path / "raw", 2, "a"
        )
