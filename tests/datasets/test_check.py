from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_seg3d.datasets import Report, check_dataset, open_dataset
from napari_seg3d.errors import Cancelled

WriteNifti = Callable[..., Path]


def box(value: int = 1, dtype: type[np.generic] = np.uint8, kind: str = "") -> NDArray[np.generic]:
    """Return a mask (4, 5, 6) with a labelled box of 18 voxels, elsewhere in that of `b`."""
    mask = np.zeros((4, 5, 6), dtype)
    mask[1:3, 1:4, (1 if kind == "b" else 2) : (4 if kind == "b" else 5)] = value
    return mask


def noise(name: str) -> NDArray[np.int16]:
    """Return an image (4, 5, 6) of its own for each name."""
    return np.random.default_rng(ord(name[0])).integers(0, 1000, (4, 5, 6)).astype(np.int16)


def errors(report: Report, case: str | None = None) -> list[str]:
    found = [problem for problem in report.problems if problem.severity == "error"]
    assert all(problem.fix for problem in found)
    return [problem.what for problem in found if case is None or problem.case == case]


def warnings(report: Report) -> list[str]:
    return [problem.what for problem in report.problems if problem.severity == "warning"]


@pytest.fixture
def good(write_nifti: WriteNifti, tmp_path: Path) -> Path:
    """A data set of two sound cases."""
    for name in ("a", "b"):
        write_nifti(f"images/{name}.nii.gz", noise(name))
        write_nifti(f"labels/{name}.nii.gz", box(kind=name))
    return tmp_path


def sound(report: Report) -> list[str]:
    return [case.id for case in report.sound]


def test_sound_cases(good: Path) -> None:
    report = check_dataset(open_dataset(good))
    assert report.problems == ()
    assert sound(report) == ["a", "b"]
    assert report.dataset.labels == {1: "label 1"}
    facts = report.facts["a"]
    data = noise("a")
    assert (facts.grid.shape, facts.channels, facts.dtype) == ((4, 5, 6), 1, "int16")
    assert (facts.minimum, facts.maximum) == (data.min(), data.max())
    assert facts.mean == pytest.approx(data.mean())
    assert facts.label_counts == {0: 102, 1: 18}


def with_nan() -> NDArray[np.float32]:
    data = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    data[0, 0, :3] = [np.nan, np.inf, -np.inf]
    return data


@pytest.mark.parametrize(
    ("folder", "data", "spacing", "match"),
    [
        ("images", with_nan(), 1.0, "3 voxels that are no finite numbers"),
        ("images", np.full((4, 5, 6), 7, np.int16), 1.0, "constant: every voxel is 7"),
        ("images", np.full((4, 5, 6), np.nan, np.float32), 1.0, "120 voxels"),
        ("labels", box() * np.float32(0.5), 1.0, "fractional"),
        ("labels", box(dtype=np.uint8)[:3], 1.0, "3x5x6"),
        ("labels", box(), 2.0, "spacing"),
        ("labels", box(-1, np.int16), 1.0, "negative label -1"),
        ("labels", np.stack([box(), box()], axis=3), 1.0, "2 volumes"),
        ("labels", np.arange(8 * 8 * 8, dtype=np.int16).reshape(8, 8, 8), 1.0, "looks like an image"),
    ],
)
def test_one_bad_file_is_named_and_the_others_run(
    good: Path, write_nifti: WriteNifti, folder: str, data: NDArray[np.generic], spacing: float, match: str
) -> None:
    write_nifti("images/bad.nii.gz")
    write_nifti("labels/bad.nii.gz", box())
    path = write_nifti(f"{folder}/bad.nii.gz", data, spacing)
    report = check_dataset(open_dataset(good))
    assert sound(report) == ["a", "b"]
    found = [problem for problem in report.problems if problem.case == "bad" and problem.severity == "error"]
    assert any(match in problem.what and problem.path == path and path.name in problem.what for problem in found), found
    assert all(problem.fix for problem in found)


@pytest.mark.parametrize("folder", ["images", "labels"])
@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_files_that_cannot_be_read(good: Path, folder: str, damage: str) -> None:
    path = good / folder / "a.nii.gz"
    content = path.read_bytes()
    path.write_bytes({"truncated": content[: len(content) // 2], "text": b"no scan at all", "empty": b""}[damage])
    report = check_dataset(open_dataset(good))
    assert sound(report) == ["b"]
    (problem,) = [problem for problem in report.problems if problem.severity == "error"]
    assert (problem.case, problem.path) == ("a", path)
    assert str(path) in problem.what
    assert problem.fix


def test_an_empty_mask_is_a_warning(good: Path, write_nifti: WriteNifti) -> None:
    write_nifti("labels/a.nii.gz", np.zeros((4, 5, 6), np.uint8))
    report = check_dataset(open_dataset(good))
    assert sound(report) == ["a", "b"]
    assert any("a.nii.gz is empty" in what for what in warnings(report))


def test_labels_that_dataset_json_does_not_name(good: Path, write_nifti: WriteNifti) -> None:
    (good / "dataset.json").write_text('{"labels": {"0": "background", "1": "liver", "2": "spleen"}}')
    write_nifti("labels/b.nii.gz", box(3))
    report = check_dataset(open_dataset(good))
    assert sound(report) == ["a"]
    assert errors(report, "b") == ["b.nii.gz holds the label 3; dataset.json names only 1, 2."]
    assert report.dataset.labels == {1: "liver", 2: "spleen"}
    assert any("Label 2 (spleen) is in no mask" in what for what in warnings(report))


def test_values_that_are_no_labels_need_no_name(good: Path, write_nifti: WriteNifti) -> None:
    mask = box()
    mask[0, 0, 0] = 9
    write_nifti("labels/b.nii.gz", mask)
    (good / "dataset.json").write_text('{"labels": {"0": "background", "1": "box"}}')
    assert sound(check_dataset(open_dataset(good))) == ["a"]
    report = check_dataset(open_dataset(good), aside=(9,))
    assert sound(report) == ["a", "b"]
    assert report.dataset.labels == {1: "box"}


def test_a_label_called_ignore_is_told_until_it_is_ignored(good: Path) -> None:
    (good / "dataset.json").write_text('{"labels": {"background": 0, "box": 1, "ignore": 2}}')
    what = "Label 2 is called 'ignore', which stands for voxels that nobody knows; it would be learnt like any other."
    assert what in warnings(check_dataset(open_dataset(good)))
    assert what not in warnings(check_dataset(open_dataset(good), aside=(2,)))


def test_a_label_in_one_mask_only(good: Path, write_nifti: WriteNifti) -> None:
    write_nifti("labels/b.nii.gz", box(9))
    report = check_dataset(open_dataset(good))
    assert report.dataset.labels == {1: "label 1", 9: "label 9"}
    assert any("Label 9 is in 1 of 2 masks only (such as that of b)" in what for what in warnings(report))


def test_another_count_of_channels(good: Path, write_nifti: WriteNifti) -> None:
    write_nifti("images/c.nii.gz", np.random.default_rng(0).integers(0, 99, (4, 5, 6, 3), dtype=np.int16))
    write_nifti("labels/c.nii.gz", box())
    report = check_dataset(open_dataset(good))
    assert sound(report) == ["a", "b"]
    assert report.facts["c"].channels == 3
    assert errors(report, "c") == ["c.nii.gz has 3 channels (or time points), most others have 1."]


def test_channels_on_two_grids(write_nifti: WriteNifti, tmp_path: Path) -> None:
    for name in ("p1_0000", "p1_0001", "p2_0000"):
        write_nifti(f"imagesTr/{name}.nii.gz")
    write_nifti("imagesTr/p2_0001.nii.gz", spacing=3.0)
    for name in ("p1", "p2"):
        write_nifti(f"labelsTr/{name}.nii.gz", box())
    report = check_dataset(open_dataset(tmp_path))
    assert sound(report) == ["p1"]
    assert report.facts["p1"].channels == 2
    assert "p2_0001.nii.gz lies on another grid than p2_0000.nii.gz" in errors(report, "p2")[0]


def test_progress_and_cancel(good: Path) -> None:
    calls: list[tuple[int, int]] = []
    check_dataset(open_dataset(good), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]
    with pytest.raises(Cancelled):
        check_dataset(open_dataset(good), cancelled=lambda: True)


def test_the_result_does_not_depend_on_the_number_of_threads(good: Path, write_nifti: WriteNifti) -> None:
    write_nifti("labels/b.nii.gz", box(9))
    one, four = (check_dataset(open_dataset(good), processes=processes) for processes in (1, 4))
    assert one.problems == four.problems
    assert list(one.facts) == list(four.facts)


def test_cases_without_masks_are_looked_at_too(write_nifti: WriteNifti, tmp_path: Path) -> None:
    write_nifti("a.nii.gz")
    write_nifti("b.nii.gz", np.zeros((4, 5, 6), np.int16))
    report = check_dataset(open_dataset(tmp_path))
    assert sound(report) == []
    assert len(errors(report, "b")) == 1


def test_hippocampus_is_sound(hippocampus_report: Report) -> None:
    report = hippocampus_report
    assert len(report.sound) == 199
    assert report.dataset.labels == {1: "label 1", 2: "label 2"}
    assert errors(report) == []
    assert {value for facts in report.facts.values() for value in facts.label_counts} == {0, 1, 2}


def test_a_foreign_mask_is_named_with_both_grids(shared_data: Path, tmp_path: Path) -> None:
    good, bad = shared_data / "hippocampus", shared_data / "hippocampus_bad"
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        shutil.copy(good / folder / "hippocampus_001.nii.gz", tmp_path / folder)
    shutil.copy(good / "images" / "hippocampus_003.nii.gz", tmp_path / "images" / "hippocampus_281.nii.gz")
    shutil.copy(bad / "label_foreign_512x512x94_281.nii.gz", tmp_path / "labels")
    report = check_dataset(open_dataset(tmp_path))
    assert sound(report) == ["hippocampus_001"]
    assert report.dataset.case("hippocampus_281").reason == "same number 281"
    (what,) = errors(report, "hippocampus_281")
    assert "34x52x35 voxels against 512x512x94" in what


def test_total_segmentator_labels(shared_data: Path, tmp_path: Path) -> None:
    shutil.copy(shared_data / "totalseg" / "example_ct_sm.nii.gz", tmp_path / "ct.nii.gz")
    shutil.copy(shared_data / "totalseg" / "example_seg.nii.gz", tmp_path / "ct_seg.nii.gz")
    report = check_dataset(open_dataset(tmp_path))
    assert sound(report) == ["ct"]
    assert len(report.dataset.labels) > 20
    assert max(report.dataset.labels) <= 117
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    shutil.copy(shared_data / "totalseg" / "example_ct.nii.gz", wrong / "ct.nii.gz")
    shutil.copy(shared_data / "totalseg" / "example_seg.nii.gz", wrong / "ct_seg.nii.gz")
    assert "122x101x112 voxels against 122x101x30" in errors(check_dataset(open_dataset(wrong)))[0]


def test_spinal_cord(shared_data: Path) -> None:
    report = check_dataset(open_dataset(shared_data / "spinalcord"))
    assert sound(report) == ["t2"]
