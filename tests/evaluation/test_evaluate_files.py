from __future__ import annotations

import csv
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.datasets import open_dataset, save_dataset
from napari_seg3d.errors import ConfigError, DatasetError
from napari_seg3d.evaluation import EvaluationRow, evaluate_files, mean_dice
from napari_seg3d.volumes import Volume, write_volume


def write(path: Path, voxels: dict[int, int], shape: tuple[int, int, int] = (4, 5, 6), spacing: float = 2.0) -> None:
    """Write a mask with so many voxels of each label, one after the other."""
    data = np.zeros(shape, np.uint8)
    flat = data.reshape(-1)
    start = 0
    for label, count in voxels.items():
        flat[start : start + count] = label
        start += count
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data, np.diag([spacing, spacing, spacing, 1])).to_filename(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    write(references / "a.nii.gz", {1: 20, 2: 10})
    write(predictions / "a.nii.gz", {1: 30})
    write(references / "b_seg.nii.gz", {1: 20})
    write(predictions / "b.nii.gz", {1: 20})
    return predictions, references


def test_rows_means_and_volumes(folders: tuple[Path, Path]) -> None:
    calls: list[tuple[int, int]] = []
    result = evaluate_files(*folders, labels={1: "liver", 2: "tumour"}, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]
    assert [(row.case, row.label, row.name) for row in result.rows] == [
        ("a", 1, "liver"), ("a", 2, "tumour"), ("b_seg", 1, "liver"), ("b_seg", 2, "tumour"),
    ]  # fmt: skip
    scores = [row.dice for row in result.rows]
    assert scores[:3] == [pytest.approx(0.8), 0.0, 1.0]
    assert math.isnan(scores[3])
    # 8 mm^3 a voxel
    assert (result.rows[0].reference_ml, result.rows[0].prediction_ml) == (pytest.approx(0.16), pytest.approx(0.24))
    assert result.per_label() == {1: pytest.approx(0.9), 2: 0.0}
    assert result.per_case() == {"a": pytest.approx(0.4), "b_seg": 1.0}
    assert result.mean_dice == pytest.approx(0.7)
    assert result.problems == ()


def test_labels_are_those_of_the_masks_when_nobody_says(folders: tuple[Path, Path]) -> None:
    assert [(row.case, row.label, row.name) for row in evaluate_files(*folders).rows][1] == ("a", 2, "label 2")
    assert {row.label for row in evaluate_files(*folders, labels=[2, 0]).rows} == {2}


def test_csv(folders: tuple[Path, Path], tmp_path: Path) -> None:
    evaluate_files(*folders).save_csv(tmp_path / "out" / "dice.csv")
    with open(tmp_path / "out" / "dice.csv", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == [
        "case", "label", "name", "dice", "iou", "precision", "recall", "hd95_mm", "hausdorff_mm", "assd_mm", "nsd", "reference_ml",
        "prediction_ml", "volume_error", "tp", "fn", "fp", "nsd_tolerance_mm", "surface",
    ]  # fmt: skip
    assert [row["dice"] for row in rows] == ["0.800000", "0.000000", "1.000000", ""]
    assert [row["recall"] for row in rows] == ["1.000000", "0.000000", "1.000000", ""]
    assert [row["hausdorff_mm"] for row in rows] == ["4", "inf", "0", ""]
    assert [row["nsd"] for row in rows][1:] == ["0.000000", "1.000000", ""]
    assert [row["volume_error"] for row in rows] == ["0.500000", "-1.000000", "0.000000", ""]
    assert (rows[0]["iou"], rows[0]["nsd_tolerance_mm"], rows[0]["surface"]) == ("0.666667", "1", "voxels")
    assert (rows[0]["precision"], rows[0]["tp"], rows[0]["fn"], rows[0]["fp"]) == ("0.666667", "20", "0", "10")


def test_distances_are_left_out_where_nobody_wants_them(folders: tuple[Path, Path], tmp_path: Path) -> None:
    plain = evaluate_files(*folders, surface=None)
    assert [row[:11] for row in plain.rows[:3]] == [row[:11] for row in evaluate_files(*folders).rows[:3]]
    assert all(math.isnan(row.hd95) and math.isnan(row.nsd) for row in plain.rows)
    plain.save_csv(tmp_path / "plain.csv")
    assert (tmp_path / "plain.csv").read_text().splitlines()[1].endswith(",,")


@pytest.mark.parametrize(
    ("wrong", "said"), [({"tolerance_mm": -1}, "-1 mm is no length"), ({"surface": "mesh"}, "no surface 'mesh'")]
)
def test_what_cannot_be_measured_is_said_before_anything_is_read(
    wrong: dict[str, Any], said: str, folders: tuple[Path, Path]
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        evaluate_files(*folders, **wrong)
    assert caught.value.fix


def test_labels_may_overlap_in_a_channel_each(tmp_path: Path) -> None:
    liver, tumour = np.zeros((2, 4, 5, 6), np.uint8)
    liver[:2], tumour[1] = 1, 2
    write_volume(Volume(np.stack([liver, tumour]), np.eye(4), "labels"), tmp_path / "references" / "a.nii.gz")
    write_volume(
        Volume(np.stack([liver, np.where(tumour > 0, 0, 2)]), np.eye(4), "labels"), tmp_path / "predictions" / "a.nii.gz"
    )
    assert [(row.label, row.dice) for row in evaluate_files(tmp_path / "predictions", tmp_path / "references").rows] == [
        (1, 1),
        (2, 0),
    ]
    # A label map against channels: what lies under the tumour is missed.
    write_volume(Volume(np.maximum(liver, tumour)[None], np.eye(4), "labels"), tmp_path / "maps" / "a.nii.gz")
    rows = evaluate_files(tmp_path / "maps", tmp_path / "references").rows
    assert [(row.label, row.precision, row.recall) for row in rows] == [(1, 1, 0.5), (2, 1, 1)]


def test_another_grid_is_a_problem_and_no_row(folders: tuple[Path, Path]) -> None:
    predictions, references = folders
    write(predictions / "a.nii.gz", {1: 30}, spacing=3.0)
    result = evaluate_files(predictions, references)
    assert {row.case for row in result.rows} == {"b_seg"}
    (problem,) = result.problems
    assert problem.case == "a"
    assert "spacing 2 x 2 x 2 mm against 3 x 3 x 3 mm" in problem.what
    assert problem.fix


def test_damaged_missing_and_surplus_files(folders: tuple[Path, Path]) -> None:
    predictions, references = folders
    (predictions / "a.nii.gz").write_bytes(b"nothing")
    write(predictions / "surplus.nii.gz", {1: 3})
    write(references / "unpredicted.nii.gz", {1: 3})
    result = evaluate_files(predictions, references)
    assert {row.case for row in result.rows} == {"b_seg"}
    assert sorted((problem.severity, problem.path.name) for problem in result.problems if problem.path) == [
        ("error", "a.nii.gz"),
        ("error", "surplus.nii.gz"),
        ("warning", "unpredicted.nii.gz"),
    ]


def test_two_files(folders: tuple[Path, Path]) -> None:
    result = evaluate_files(folders[0] / "a.nii.gz", folders[1] / "b_seg.nii.gz")
    assert [row.dice for row in result.rows] == [pytest.approx(0.8)]


def test_nothing_to_compare(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write(tmp_path / "others" / "zebra.nii.gz", {1: 3})
    with pytest.raises(DatasetError, match="zebra") as caught:
        evaluate_files(tmp_path / "others", folders[1])
    assert caught.value.fix
    with pytest.raises(DatasetError, match="does not exist"):
        evaluate_files(tmp_path / "nowhere", folders[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no volumes"):
        evaluate_files(folders[0], tmp_path / "empty")


def test_patient_folders_as_references(tmp_path: Path) -> None:
    for patient in ("p01", "p02"):
        write(tmp_path / "data" / patient / "image.nii.gz", {1: 50, 3: 20})
        write(tmp_path / "data" / patient / "mask.nii.gz", {1: 20})
        write(tmp_path / "predictions" / f"{patient}.nii.gz", {1: 20})
    result = evaluate_files(tmp_path / "predictions", tmp_path / "data")
    assert [(row.case, row.label, row.dice) for row in result.rows] == [("p01", 1, 1.0), ("p02", 1, 1.0)]


scores = st.one_of(st.just(math.nan), st.floats(0, 1))


@given(st.dictionaries(st.text("abc", min_size=1), st.lists(scores, min_size=1, max_size=4), max_size=5))
def test_mean_is_by_case_and_then_over_cases(cases: dict[str, list[float]]) -> None:
    rows = [EvaluationRow(case, n, "", score, 0, 0) for case, found in cases.items() for n, score in enumerate(found)]
    means = [np.nanmean(found) for found in cases.values() if not np.isnan(found).all()]
    np.testing.assert_allclose(mean_dice(rows), np.mean(means) if means else math.nan)


def test_real_masks_against_themselves(shared_data: Path, tmp_path: Path) -> None:
    labels = shared_data / "hippocampus" / "labels"
    for file in sorted(labels.iterdir())[:4]:
        shutil.copy(file, tmp_path)
    result = evaluate_files(tmp_path, shared_data / "hippocampus", labels={1: "anterior", 2: "posterior"})
    assert result.mean_dice == 1
    assert len(result.rows) == 8
    assert [problem.severity for problem in result.problems] == ["warning"]
    assert "195 references" in result.problems[0].what
    assert all(1 < row.reference_ml < 4 for row in result.rows)


@pytest.mark.parametrize("given", ["labels", "."], ids=["the folder of the masks", "the data set"])
def test_labels_have_the_names_of_the_data_set_of_the_references(tmp_path: Path, given: str) -> None:
    for number in (1, 2):
        write(tmp_path / "predictions" / f"{number}.nii.gz", {1: 20, 3: number - 1})
        write(tmp_path / "set" / "labels" / f"{number}.nii.gz", {1: 20})
        write(tmp_path / "set" / "images" / f"{number}.nii.gz", {1: 9})
    save_dataset(replace(open_dataset(tmp_path / "set"), labels={1: "liver", 3: "spleen"}), tmp_path / "set")
    result = evaluate_files(tmp_path / "predictions", tmp_path / "set" / given)
    assert [(row.case, row.label, row.name) for row in result.rows] == [
        ("1", 1, "liver"), ("1", 3, "spleen"), ("2", 1, "liver"), ("2", 3, "spleen"),
    ]  # fmt: skip


def test_a_broken_description_costs_the_names_only(tmp_path: Path) -> None:
    write(tmp_path / "predictions" / "1.nii.gz", {1: 20})
    write(tmp_path / "set" / "1.nii.gz", {1: 20})
    (tmp_path / "set" / "dataset.json").write_text("{")
    result = evaluate_files(tmp_path / "predictions", tmp_path / "set")
    assert [(row.name, row.dice) for row in result.rows] == [("label 1", 1.0)]
