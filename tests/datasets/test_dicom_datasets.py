"""Data sets that never were NIfTI: series in folders, radiographs, masks as DICOM SEG, MATLAB files and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import scipy.io
from PIL import Image

from napari_seg3d.datasets import (
    Case,
    Dataset,
    Report,
    check_dataset,
    find_scans,
    open_dataset,
    place_mask,
    read_case_image,
    read_case_mask,
    split_by_subject,
)
from napari_seg3d.errors import DatasetError, GeometryError, IrregularSeries
from napari_seg3d.volumes import Grid, Source, Volume, read_volume, write_volume
from tests.datasets.scans import GRID, ball, write_ct, write_radiograph, write_seg
from tests.volumes.dicom.series_writer import AXIAL, PATIENT, write_series

Touch = Callable[..., Path]


def named_pairs(dataset: Dataset) -> dict[str, str]:
    return {case.id: case.mask.name for case in dataset.pairs if case.mask is not None}


def errors(report: Report) -> list[str]:
    found = [problem for problem in report.problems if problem.severity == "error"]
    assert all(problem.fix for problem in found)
    return [problem.what for problem in found]


def write_mask(path: Path, seed: int = 0) -> Path:
    return write_volume(Volume(ball(seed)[np.newaxis], GRID.affine, "labels"), path)


def masked_slices(mask: Volume) -> np.ndarray:
    return np.flatnonzero(mask.data[0].any(axis=(0, 1)))


def test_series_in_a_folder_of_images_and_masks_beside(tmp_path: Path) -> None:
    for number in range(3):
        write_ct(tmp_path / "images" / f"p.{number}", f"ID {number}", number)
        write_mask(tmp_path / "masks" / f"p.{number}.nii.gz", number)
    dataset = open_dataset(tmp_path)
    assert named_pairs(dataset) == {f"p.{number}": f"p.{number}.nii.gz" for number in range(3)}
    assert dataset.problems == ()
    report = check_dataset(dataset)
    assert report.problems == ()
    assert len(report.sound) == 3
    assert report.facts["p.1"].grid.matches(GRID)
    assert report.facts["p.1"].label_counts[1] == ball(1).sum()


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}/ct", "{}/mask.nii.gz"),
        ("{}/ct/thin", "{}/mask.nii.gz"),
        ("{}", "{}/mask.nii.gz"),
        ("{}/image", "{}/mask.nii.gz"),
        ("{}/ct", "{}/seg/labels.nii.gz"),
        ("images/{}", "labels/{}/mask.nii.gz"),
        ("imagesTr/{}", "labelsTr/{}.nii.gz"),
        ("scans/{}_ct", "scans/{}_ct_seg.nii.gz"),
    ],
)
def test_a_folder_for_each_patient(image: str, mask: str, tmp_path: Path) -> None:
    for name in ("anna", "bert"):
        write_series(tmp_path / image.format(name), np.zeros((2, 3, 3), np.int16))
        (tmp_path / mask.format(name)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mask.format(name)).write_bytes(b"only the name matters")
    dataset = open_dataset(tmp_path)
    assert dataset.problems == ()
    assert len(dataset.pairs) == len(dataset.cases) == 2
    for case, name in zip(dataset.cases, ("anna", "bert"), strict=True):
        assert name in case.id
        assert (case.images, case.mask) == ((tmp_path / image.format(name),), tmp_path / mask.format(name))


def test_a_mask_in_a_folder_with_two_series_belongs_to_nobody_in_particular(tmp_path: Path) -> None:
    for name in ("t1", "t2"):
        write_series(tmp_path / "p" / name, np.zeros((2, 3, 3), np.int16))
    (tmp_path / "p" / "mask.nii.gz").write_bytes(b"only the name matters")
    (problem, *_) = open_dataset(tmp_path).problems
    assert problem.severity == "error"
    assert "mask.nii.gz could belong to p/t1, p/t2" in problem.what.replace("\\", "/")


def test_masks_as_dicom_seg_lie_on_their_scan(tmp_path: Path) -> None:
    for number in range(3):
        files = write_ct(tmp_path / "images" / f"p{number}", f"ID {number}", number)
        write_seg(tmp_path / "masks" / f"p{number}.dcm", files, ball(number))
    dataset = open_dataset(tmp_path)
    assert len(dataset.pairs) == 3
    case = dataset.cases[0]
    assert case.mask is not None
    assert read_volume(case.mask).data.shape[3] < GRID.shape[2], "the file leaves out what is empty"
    image = read_case_image(case)
    mask = read_case_mask(case, image)
    assert mask.grid.matches(image.grid)
    np.testing.assert_array_equal(mask.data[0], ball(0))
    report = check_dataset(dataset)
    assert errors(report) == []
    assert report.dataset.labels == {1: "Ball 1"}
    assert report.facts["p0"].label_counts == {0: ball(0).size - ball(0).sum(), 1: ball(0).sum()}


def test_a_seg_among_the_slices_of_its_scan_is_the_mask(tmp_path: Path) -> None:
    for number in range(2):
        files = write_ct(tmp_path / f"p{number}" / "ct", f"ID {number}", number)
        write_seg(tmp_path / f"p{number}" / "seg.dcm", files, ball(number))
    assert {case.id for case in check_dataset(open_dataset(tmp_path)).sound} == {"p0_ct", "p1_ct"}


def test_a_seg_of_another_scan_is_named(tmp_path: Path) -> None:
    write_ct(tmp_path / "images" / "p0", "ID 0")
    files = write_series(
        tmp_path / "other", np.zeros((4, 6, 6), np.int16), spacing=(0.5, 0.5), StudyDate="", StudyTime="", StudyID=""
    )
    other = [pydicom.dcmread(file) for file in files]
    for header in other:
        header.PatientSex = header.ReferringPhysicianName = header.PositionReferenceIndicator = ""
        header.save_as(header.filename)
    write_seg(tmp_path / "labels" / "p0.dcm", tuple(files), np.ones((6, 6, 4), np.uint8))
    (what,) = errors(check_dataset(open_dataset(tmp_path / "images", masks=tmp_path / "labels")))
    assert what.startswith("p0.dcm: The mask")
    assert "does not lie on the voxels of the scan" in what


def test_a_mask_may_be_stored_in_another_axis_order(tmp_path: Path) -> None:
    # dcm2niix turns the rows round; what is drawn on its result lies on the series all the same.
    write_ct(tmp_path / "images" / "p0", "ID 0")
    canonical = Volume(ball()[np.newaxis], GRID.affine, "labels").canonical()
    write_volume(canonical, tmp_path / "labels" / "p0.nii.gz")
    (case,) = open_dataset(tmp_path).pairs
    np.testing.assert_array_equal(read_case_mask(case, read_case_image(case)).data[0], ball())
    assert errors(check_dataset(open_dataset(tmp_path))) == []


def test_a_cut_mask_of_another_format_is_refused(tmp_path: Path) -> None:
    image = Volume(np.zeros((1, *GRID.shape), np.int16), GRID.affine)
    part = Volume(np.ascontiguousarray(ball()[np.newaxis, :, :, :5]), GRID.affine, "labels", Source(Path("p0.nii.gz"), "nifti"))
    with pytest.raises(GeometryError, match=r"p0\.nii\.gz lies on another grid than its image: 12x10x8 voxels against 12x10x5"):
        place_mask(part, image)


def test_overlapping_segments_can_be_trained_on_and_are_told(tmp_path: Path) -> None:
    overlapping = np.stack([ball(0), ball(1)], axis=3)
    for number in range(2):
        files = write_ct(tmp_path / "images" / f"p{number}", f"ID {number}", number)
        write_seg(tmp_path / "masks" / f"p{number}.dcm", files, overlapping if number else ball(number))
    report = check_dataset(open_dataset(tmp_path))
    both = int((ball(0) & ball(1)).sum())
    assert errors(report) == []
    (told,) = [finding for finding in report.findings if finding.kind == "overlapping labels"]
    assert told.what == f"p1.dcm: the labels 1 (Ball 1) and 2 (Ball 2) overlap in {both} voxels."
    assert [case.id for case in report.sound] == ["p0", "p1"]
    assert report.overlapping
    assert [report.facts[case].overlapping for case in ("p0", "p1")] == [False, True]
    assert report.facts["p1"].label_counts == {
        0: ball().size - int((ball(0) | ball(1)).sum()),
        1: int(ball(0).sum()),
        2: int(ball(1).sum()),
    }


def test_an_irregular_series_is_one_bad_case(tmp_path: Path) -> None:
    for number in range(2):
        write_ct(tmp_path / "images" / f"p{number}", f"ID {number}", number)
        write_mask(tmp_path / "masks" / f"p{number}.nii.gz", number)
    uneven = np.array([[0, 0, z] for z in (0, 2.5, 5, 11, 13.5)], float)
    write_series(tmp_path / "images" / "p2", np.zeros((5, 6, 6), np.int16), AXIAL, uneven)
    write_mask(tmp_path / "masks" / "p2.nii.gz")
    report = check_dataset(open_dataset(tmp_path))
    assert [case.id for case in report.sound] == ["p0", "p1"]
    assert "gaps between them go from 2.50 to 6.00 mm" in errors(report)[0]
    with pytest.raises(IrregularSeries):
        read_case_image(report.dataset.case("p2"))
    assert read_case_image(report.dataset.case("p2"), resample_irregular=True).data.shape[1:3] == (6, 6)


def test_mixed_series_are_one_bad_case_with_their_descriptions(tmp_path: Path) -> None:
    for number in range(2):
        write_ct(tmp_path / f"p{number}", f"ID {number}", number)
    write_series(tmp_path / "p1", np.zeros((3, 6, 6), np.int16), series="1.9", order=[91, 92, 93])
    (what,) = errors(check_dataset(open_dataset(tmp_path)))
    assert "holds 2 series" in what
    assert "Muster" not in what


def test_two_series_of_one_patient_stay_together_and_nobody_is_named(tmp_path: Path) -> None:
    for number, patient in enumerate(["ID-4711-X", "8000", "ID-4711-X", "9000"]):
        write_ct(tmp_path / "images" / f"scan{number}", patient, number)
        write_mask(tmp_path / "masks" / f"scan{number}.nii.gz", number)
    report = check_dataset(open_dataset(tmp_path))
    assert [case.subject for case in report.dataset.cases] == ["scan0", "scan1", "scan0", "scan3"]
    assert report.problems == ()
    (problem,) = report.findings
    assert "scan0 and scan2 look like one subject (their headers name one patient)" in problem.what
    assert not any(secret in repr(report) for secret in ("4711", "8000", "9000", PATIENT["PatientName"]))
    for seed in range(8):
        split = split_by_subject(report.sound, 0.4, seed)
        assert ("scan0" in split.train) == ("scan2" in split.train)


@pytest.mark.parametrize("patient", ["", "ANONYMOUS", "Anonymized", "0000", "xxx", "N/A", "unknown", "REMOVED"])
def test_what_anonymisers_write_is_no_patient(patient: str, tmp_path: Path) -> None:
    for number in range(2):
        for file in write_ct(tmp_path / f"scan{number}", patient, number):
            header = pydicom.dcmread(file)
            header.PatientName = "Anonymous^" if number else ""
            header.save_as(file)
    report = check_dataset(open_dataset(tmp_path))
    assert len({case.subject for case in report.dataset.cases}) == 2


def test_a_table_is_not_overruled_by_headers(tmp_path: Path) -> None:
    for number in range(2):
        write_ct(tmp_path / f"scan{number}", "4711", number)
    (tmp_path / "subjects.csv").write_text("case,subject\nscan0,a\nscan1,b\n")
    assert [case.subject for case in check_dataset(open_dataset(tmp_path)).dataset.cases] == ["a", "b"]


# Radiographs


def write_separated(path: Path, marked: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"label_separated": marked.astype(np.float64)})


def test_radiographs_with_separated_labels_that_overlap_are_paired_and_can_be_trained_on(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(2):
        write_radiograph(
            tmp_path / "img" / f"{number:03d}.dcm", random.integers(0, 4000, (60 + number, 40), np.uint16), f"ID {number}"
        )
        marked = np.zeros((60 + number, 40, 3))
        marked[5:20, 5:20, 0] = marked[15:30, 5:20, 1] = 1
        write_separated(tmp_path / "label" / f"{number:03d}.mat", marked)
    dataset = open_dataset(tmp_path)
    assert named_pairs(dataset) == {"000": "000.mat", "001": "001.mat"}
    report = check_dataset(dataset)
    assert len(report.sound) == 2
    assert report.overlapping
    told = [finding.what for finding in report.findings if finding.kind == "overlapping labels"]
    assert len(told) == 2
    assert all("the labels 1 and 2 overlap in 75 voxels" in what for what in told)
    assert any("right and left are not known" in problem.what for problem in report.problems)


@pytest.mark.parametrize("ending", [".png", ".npy", ".nii.gz"])
def test_radiographs_with_label_maps_can_be_trained_on(ending: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    marked = np.zeros((60, 40), np.uint8)
    marked[5:20, 10:30] = 1
    for number in range(2):
        image = read_volume(
            write_radiograph(tmp_path / "img" / f"{number}.dcm", random.integers(0, 4000, (60, 40), np.uint16), f"ID {number}")
        )
        path = tmp_path / "mask" / f"{number}{ending}"
        path.parent.mkdir(exist_ok=True)
        if ending == ".png":
            Image.fromarray(marked).save(path)
        elif ending == ".npy":
            np.save(path, marked)
        else:
            write_volume(Volume(marked.T[np.newaxis, :, :, np.newaxis], image.affine, "labels"), path)
    report = check_dataset(open_dataset(tmp_path))
    assert errors(report) == []
    assert len(report.sound) == 2
    case = report.sound[0]
    mask = read_case_mask(case, read_case_image(case))
    np.testing.assert_array_equal(mask.data[0, :, :, 0], marked.T)
    assert mask.spacing[:2] == pytest.approx((0.2, 0.2))


def test_a_picture_of_another_size_is_no_mask_of_a_radiograph(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "img" / "1.dcm", np.arange(60 * 40, dtype=np.uint16).reshape(60, 40), "ID")
    (tmp_path / "mask").mkdir()
    Image.fromarray(np.ones((40, 60), np.uint8)).save(tmp_path / "mask" / "1.png")
    (what,) = errors(check_dataset(open_dataset(tmp_path)))
    assert "1.png lies on another grid than 1.dcm: 40x60x1 voxels against 60x40x1" in what


def test_an_array_of_unknown_order_is_no_mask_of_a_scan(tmp_path: Path) -> None:
    # Equal sides hide which axis is which: a cube of numbers may lie on the scan in 48 ways.
    random = np.random.default_rng(0)
    write_volume(Volume(random.integers(0, 99, (1, 20, 20, 20), np.int16), np.eye(4)), tmp_path / "images" / "a.nii.gz")
    (tmp_path / "labels").mkdir()
    np.save(tmp_path / "labels" / "a.npy", np.pad(np.ones((5, 5, 5), np.uint8), 7)[:20, :20, :20].repeat(1, 0))
    report = check_dataset(open_dataset(tmp_path))
    assert len(errors(report)) == 1
    assert "lies on another grid" in errors(report)[0]


def test_pictures_with_masks_that_are_pictures(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            pixels = random.integers(0, 255, (30, 20), np.uint8) if folder == "images" else np.eye(30, 20, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    report = check_dataset(open_dataset(tmp_path))
    assert errors(report) == []
    assert len(report.sound) == 2


def test_notes_about_many_files_are_said_once(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", random.integers(0, 999, (30 + number, 20), np.int16))
    problems = check_dataset(open_dataset(tmp_path)).problems
    assert all(problem.what.startswith("0.npy and 2 more cases: ") for problem in problems)
    assert len({problem.what for problem in problems}) == len(problems)
    assert any("left and right are not known" in problem.what for problem in problems)


def test_screenshots_beside_scans_are_no_cases(touch: Touch) -> None:
    root = touch(
        "images/a.nii.gz", "images/a.png", "images/b.nii.gz", "labels/a.nii.gz", "labels/b.nii.gz", "labels/stats.npy",
        "overview.png", "figures/f1.png", "meta.mat",
    )  # fmt: skip
    dataset = open_dataset(root)
    assert named_pairs(dataset) == {"a": "a.nii.gz", "b": "b.nii.gz"}
    assert len(dataset.cases) == 2
    assert dataset.problems == ()


def test_a_time_series_says_what_becomes_of_it(tmp_path: Path) -> None:
    for number in range(2):
        for time in range(3):
            write_series(
                tmp_path / f"p{number}",
                np.random.default_rng(time).integers(0, 99, (4, 6, 6), np.int16),
                order=range(4 * time, 4 * time + 4),
                TemporalPositionIdentifier=time + 1,
                modality="MR",
                PatientID=f"ID {number}",
            )
    report = check_dataset(open_dataset(tmp_path))
    assert errors(report) == []
    assert report.facts["p0"].channels == 3
    assert any("its 3 time points are taken for 3 channels" in problem.what for problem in report.problems)


# Scans to predict


def ids(cases: list[Case]) -> dict[str, Path]:
    return {case.id: case.images[0] for case in cases}


def test_scans_to_predict_are_series_wherever_they_lie(tmp_path: Path, touch: Touch) -> None:
    for name in ("anna/ct", "bert/ct", "bert/mr"):
        files = write_series(tmp_path / "export" / name, np.zeros((2, 3, 3), np.int16))
    touch("export/readme.txt", "export/anna/notes.nii.gz", "export/single.nii.gz", "export/single.png")
    assert len(files) == 2
    found = ids(find_scans([tmp_path / "export"]))
    assert found == {
        "export_anna_ct": tmp_path / "export/anna/ct",
        "export_bert_ct": tmp_path / "export/bert/ct",
        "mr": tmp_path / "export/bert/mr",
        "single": tmp_path / "export/single.nii.gz",
    }
    assert ids(find_scans([tmp_path / "export/bert/mr"])) == {"mr": tmp_path / "export/bert/mr"}


def test_a_seg_is_nothing_to_predict(tmp_path: Path) -> None:
    files = write_ct(tmp_path / "p", "A")
    write_seg(tmp_path / "p" / "seg.dcm", files, ball())
    assert ids(find_scans([tmp_path / "p"])) == {"p": tmp_path / "p"}
    write_seg(tmp_path / "only" / "seg.dcm", files, ball())
    with pytest.raises(DatasetError, match="no scan"):
        find_scans([tmp_path / "only"])


def test_scans_of_one_name_are_told_apart(touch: Touch) -> None:
    root = touch("a/head.nii.gz", "b/head.nii.gz")
    assert set(ids(find_scans([root / "a", root / "b"]))) == {"a_head", "b_head"}
    assert set(ids(find_scans([root / "a/head.nii.gz", root / "b/head.nii.gz"]))) == {"a_head", "b_head"}
    assert set(ids(find_scans([root / "a", root / "a/head.nii.gz"]))) == {"head"}


def test_grid_of_the_phantom_is_what_a_scanner_writes() -> None:
    assert Grid(GRID.shape, GRID.affine).orientation == "LPS"
    assert not ball()[:, :, [0, 1, -1]].any()
