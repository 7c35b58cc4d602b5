"""Faults that are planted in small data sets, each found, named and, where it can be, mended."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_seg3d.datasets import (
    Finding,
    Report,
    StoredSplit,
    apply_remedies,
    check_dataset,
    load_dataset,
    open_dataset,
    save_dataset,
)
from napari_seg3d.datasets.doctor import examine
from napari_seg3d.datasets.doctor.findings import grouped
from napari_seg3d.errors import Cancelled

SHAPE = (14, 12, 10)


def tissue(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.int16]:
    """Return an image with a bright half, so that left and right differ."""
    noise = np.random.default_rng(seed).normal(100, 10, shape)
    noise[: shape[0] // 2] += 100
    return noise.astype(np.int16)


def ball(seed: int = 0, value: int = 1) -> NDArray[np.uint8]:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 3:8, 2 + seed % 4 : 5 + seed % 5] = value
    return mask


def write(path: Path, data: NDArray[np.generic], affine: NDArray[np.float64] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four sound cases."""
    for number in range(4):
        write(tmp_path / "images" / f"s{number}.nii.gz", tissue(number))
        write(tmp_path / "labels" / f"s{number}.nii.gz", ball(number))
    return tmp_path


def of_kind(report: Report, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


def contents(folder: Path) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.nii.gz") if "corrected" not in path.parts
    }


def mended(folder: Path, report: Report, finding: Finding) -> Report:
    """Apply a remedy, save, load and check again; nothing that was there may change."""
    before = contents(folder)
    save_dataset(apply_remedies(report.dataset, [finding], folder), folder / "dataset.yaml")
    again = check_dataset(load_dataset(folder / "dataset.yaml"))
    assert contents(folder) == before
    return again


def test_sound_cases_have_no_findings(folder: Path) -> None:
    assert check_dataset(open_dataset(folder)).findings == ()


def test_a_mask_on_another_grid_is_resampled(folder: Path) -> None:
    fine = np.kron(ball(1), np.ones((2, 2, 2), np.uint8))
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = -0.25
    write(folder / "labels" / "s1.nii.gz", fine, affine)
    report = check_dataset(open_dataset(folder))
    (finding,) = of_kind(report, "mask on another grid")
    assert (finding.severity, finding.case, finding.remedy and finding.remedy.kind) == ("error", "s1", "resample_mask")
    again = mended(folder, report, finding)
    assert again.findings == ()
    case = again.dataset.case("s1")
    assert case.mask == folder / "corrected" / "s1.nii.gz"
    np.testing.assert_array_equal(np.asanyarray(nib.load(case.mask).dataobj), ball(1))


def test_the_mask_of_another_scan_is_not_resampled(folder: Path) -> None:
    affine = np.eye(4)
    affine[:3, 3] = 9
    write(folder / "labels" / "s1.nii.gz", ball(), affine)
    (finding,) = of_kind(check_dataset(open_dataset(folder)), "mask on another grid")
    assert "lies outside the image" in finding.what
    assert "another scan" in finding.what
    assert finding.remedy is not None
    assert finding.remedy.kind == "drop_case"


def test_whole_floats_are_labels_and_it_is_said(folder: Path) -> None:
    write(folder / "labels" / "s1.nii.gz", ball(1).astype(np.float64))
    report = check_dataset(open_dataset(folder))
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == ("float labels", "info")
    assert len(report.sound) == 4


@pytest.mark.parametrize(
    ("values", "can_be_rounded"),
    [(ball() * np.float32(0.995), True), (ball() * np.float32(0.7), True), (ball() * np.float32(1.5), False)],
    ids=["nearly whole", "probabilities", "interpolated"],
)
def test_fractional_labels(folder: Path, values: NDArray[np.float32], can_be_rounded: bool) -> None:
    write(folder / "labels" / "s0.nii.gz", values)
    report = check_dataset(open_dataset(folder))
    (finding,) = of_kind(report, "no labels")
    assert finding.severity == "error"
    assert finding.remedy is not None
    assert finding.remedy.kind == ("round_labels" if can_be_rounded else "drop_case")
    again = mended(folder, report, finding)
    assert of_kind(again, "no labels") == []
    if can_be_rounded:
        mask = again.dataset.case("s0").mask
        assert mask is not None
        np.testing.assert_array_equal(np.asanyarray(nib.load(mask).dataobj), ball())


def test_a_broken_image_is_left_out(folder: Path) -> None:
    data = tissue(1).astype(np.float32)
    data[0, 0, :2] = np.nan, np.inf
    write(folder / "images" / "s1.nii.gz", data)
    report = check_dataset(open_dataset(folder))
    (finding,) = of_kind(report, "broken image")
    again = mended(folder, report, finding)
    assert again.findings == ()
    assert "s1" in again.dataset.excluded
    assert [case.id for case in again.sound] == ["s0", "s2", "s3"]


def test_a_label_is_merged(folder: Path) -> None:
    mask = ball(1)
    mask[9, 9, 9] = 7
    write(folder / "labels" / "s1.nii.gz", mask)
    report = check_dataset(open_dataset(folder))
    (finding,) = of_kind(report, "rare label")
    assert finding.remedy is not None
    assert (finding.remedy.kind, finding.remedy.value) == ("merge_labels", 7)
    again = mended(folder, report, finding)
    assert again.findings == ()
    assert again.facts["s1"].label_counts[1] == int((mask == 1).sum())
    assert set(again.facts["s1"].label_counts) == {0, 1}


def test_an_empty_mask(folder: Path) -> None:
    write(folder / "labels" / "s2.nii.gz", np.zeros(SHAPE, np.uint8))
    report = check_dataset(open_dataset(folder))
    (finding,) = of_kind(report, "empty mask")
    assert finding.severity == "warning"
    assert mended(folder, report, finding).findings == ()


@pytest.mark.parametrize("how", ["as it is", "mirrored", "other axis order", "other type"])
def test_the_same_voxels_under_two_names(folder: Path, how: str) -> None:
    data, affine = tissue(1), np.eye(4)
    if how == "mirrored":
        data = data[::-1]
    if how == "other axis order":
        data, affine = np.ascontiguousarray(data.transpose(2, 0, 1)), np.eye(4)[:, [2, 0, 1, 3]]
    if how == "other type":
        data = data.astype(np.float32)
    write(folder / "images" / "s3.nii.gz", data, affine)
    write(
        folder / "labels" / "s3.nii.gz",
        np.ascontiguousarray(ball(3).transpose(2, 0, 1)) if how == "other axis order" else ball(3),
        affine,
    )
    report = check_dataset(open_dataset(folder))
    (finding,) = of_kind(report, "duplicate image")
    assert finding.case == "s3"
    assert "s1.nii.gz" in finding.what
    assert ("left and right" in finding.what) == (how == "mirrored")
    assert report.dataset.case("s3").subject == report.dataset.case("s1").subject
    assert of_kind(mended(folder, report, finding), "duplicate image") == []


@pytest.mark.parametrize("side", [1, -1])
def test_the_same_mask_under_two_names(folder: Path, side: int) -> None:
    write(folder / "labels" / "s3.nii.gz", ball(1)[::side])
    (finding,) = of_kind(check_dataset(open_dataset(folder)), "duplicate mask")
    assert finding.case == "s3"
    assert ("left and right" in finding.what) == (side < 0)


def test_a_mask_over_air(folder: Path) -> None:
    data = tissue(2)
    data[ball(2) != 0] = 0
    write(folder / "images" / "s2.nii.gz", data)
    (finding,) = of_kind(check_dataset(open_dataset(folder)), "mask over air")
    assert "100%" in finding.what


def test_a_mirrored_mask(folder: Path) -> None:
    data = np.random.default_rng(5).normal(100, 10, SHAPE)
    data[ball(1) != 0] += 100
    write(folder / "images" / "s1.nii.gz", data.astype(np.int16))
    assert of_kind(check_dataset(open_dataset(folder)), "mirrored mask") == []
    write(folder / "labels" / "s1.nii.gz", ball(1)[::-1])
    (finding,) = of_kind(check_dataset(open_dataset(folder)), "mirrored mask")
    assert finding.case == "s1"


def test_spacing_and_intensities_that_differ(tmp_path: Path) -> None:
    for number in range(12):
        affine = np.diag([3.0, 1, 1, 1]) if number == 5 else np.diag([-1.0, 1, 1, 1]) if number == 8 else np.eye(4)
        write(tmp_path / f"s{number}.nii.gz", tissue(number) * (30 if number == 7 else 1), affine)
    report = check_dataset(open_dataset(tmp_path))
    found = {
        finding.kind: finding.case
        for finding in report.findings
        if finding.kind in ("other spacing", "intensities", "left and right")
    }
    assert found == {"other spacing": "s5", "intensities": "s7", "left and right": "s8"}


def test_a_ct_that_lost_its_offset(tmp_path: Path) -> None:
    for number in range(10):
        ct = np.random.default_rng(number).normal(0, 30, SHAPE)
        ct[0] = -1000
        write(tmp_path / f"s{number}.nii.gz", (ct + (1024 if number == 4 else 0)).astype(np.int16))
    (finding,) = of_kind(check_dataset(open_dataset(tmp_path)), "intensities")
    assert finding.case == "s4"
    assert "Hounsfield" in finding.fix


def test_images_without_a_common_scale_are_said_once(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path / f"s{number}.nii.gz", (tissue(number) * 3.0**number).astype(np.float32))
    (finding,) = [one for one in check_dataset(open_dataset(tmp_path)).findings if one.kind.startswith("intensit")]
    assert (finding.kind, finding.severity, finding.case) == ("intensity scale", "info", None)


def test_a_subject_in_two_sets(folder: Path) -> None:
    write(folder / "images" / "s3.nii.gz", tissue(1))
    dataset = open_dataset(folder)
    split = StoredSplit("lists", sets={"s0": "train", "s1": "train", "s2": "validation", "s3": "validation"})
    (finding,) = of_kind(check_dataset(type(dataset)(**(vars(dataset) | {"split": split}))), "subject in several sets")
    assert finding.severity == "error"
    assert "s1 in train" in finding.what
    assert "s3 in validation" in finding.what
    assert "voxels are the same" in finding.what


def test_who_is_one_subject_is_kept(folder: Path) -> None:
    big = (np.random.default_rng(1).integers(0, 900, (24, 12, 10)) * 8.791449).astype(np.float32)
    write(folder / "images" / "s0.nii.gz", big[:14])
    write(folder / "images" / "s2.nii.gz", big[10:])
    report = check_dataset(open_dataset(folder))
    (finding,) = of_kind(report, "same subject")
    assert finding.remedy is not None
    assert finding.remedy.cases == ("s0", "s2")
    again = mended(folder, report, finding)
    assert of_kind(again, "same subject") == []
    assert again.dataset.case("s0").subject == again.dataset.case("s2").subject


def test_a_very_large_image_is_told_from_its_header(folder: Path) -> None:
    path = folder / "images" / "s1.nii"
    (folder / "images" / "s1.nii.gz").unlink()
    header = nib.Nifti1Header()
    header.set_data_shape((2000, 2000, 1100))
    header.set_data_dtype(np.int16)
    header["magic"], header["vox_offset"] = b"n+1", 352
    header.set_sform(np.eye(4), 1)
    with open(path, "wb") as file:
        file.write(header.binaryblock)
        file.truncate(352 + 2 * 2000 * 2000 * 1100)  # sparse: it takes no room
    report = check_dataset(open_dataset(folder))
    (finding,) = of_kind(report, "very large image")
    assert "8.8 GB" in finding.what
    assert report.facts["s1"].grid.shape == (2000, 2000, 1100)


def test_processes_and_threads_find_the_same(folder: Path) -> None:
    write(folder / "labels" / "s1.nii.gz", ball(3))
    (folder / "images" / "s2.nii.gz").write_bytes(b"nothing")
    threads, processes = (check_dataset(open_dataset(folder), processes=number) for number in (0, 2))
    assert threads.findings == processes.findings
    assert list(threads.facts) == list(processes.facts)
    with pytest.raises(Cancelled):
        check_dataset(open_dataset(folder), cancelled=lambda: True, processes=1)


def test_a_case_that_ends_its_process_is_one_finding(folder: Path) -> None:
    if not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        pytest.skip("the processes of a process cannot be listed here")
    others, killed = _descendants(os.getpid()), []

    def kill_the_second(done: int, _: int) -> None:
        if done != 1:
            return
        killed.extend(process for process in _descendants(os.getpid()) if process not in others)
        for process in killed:
            os.kill(process, signal.SIGKILL)

    for number in range(4, 30):
        write(folder / "images" / f"s{number}.nii.gz", tissue(number))
    report = check_dataset(open_dataset(folder), progress=kill_the_second, processes=1)
    assert killed
    ended = [finding for finding in report.findings if "ended the process" in finding.what]
    assert len(ended) == 1
    assert len(report.facts) == 29


def test_many_of_a_kind_are_told_together(folder: Path) -> None:
    for number in range(4):
        write(folder / "labels" / f"s{number}.nii.gz", np.zeros(SHAPE, np.uint8))
    groups = grouped(check_dataset(open_dataset(folder)).findings)
    assert [len(group.findings) for group in groups if group.first.kind == "empty mask"] == [4]
    assert "And 3 more like it" in groups[0].what


def test_interrupting_the_command_line(folder: Path) -> None:
    if not Path("/proc").is_dir():
        pytest.skip("the processes of a process cannot be listed here")
    for number in range(4, 60):
        write(folder / "images" / f"s{number}.nii.gz", tissue(number, (40, 40, 40)))
    command = [sys.executable, "-m", "napari_seg3d.cli", "check", str(folder), "--processes", "1"]
    # Where the tests themselves run in the background, the shell has switched Ctrl-C off for all that they start.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=listen)
    while process.poll() is None and not _descendants(process.pid):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in text


def _descendants(pid: int) -> list[int]:
    return [int(text) for thread in Path(f"/proc/{pid}/task").glob("*/children") for text in thread.read_text().split()]


def test_the_planted_faults_of_the_bad_hippocampus(shared_data: Path) -> None:
    report = check_dataset(open_dataset(shared_data / "hippocampus_bad"))
    what: dict[str, str] = defaultdict(str)
    for finding in report.findings:
        what[finding.path.name if finding.path is not None else ""] += finding.what
    assert "has no mask" in what["image_without_label_118.nii.gz"]
    assert "without an image" in what["label_without_image_010.nii.gz"]
    assert "without an image" in what["label_foreign_512x512x94_281.nii.gz"]
    assert "512x512x94 voxels" in what["label_foreign_512x512x94_281.nii.gz"]
    assert "that of no image here" in what["label_foreign_512x512x94_281.nii.gz"]


def test_the_limit_of_what_is_read() -> None:
    assert examine.LARGE == 8_000_000_000


def test_painted_slices_are_counted_along_the_patients_axes(folder: Path) -> None:
    mask = np.zeros((8, 9, 10), np.uint8)
    mask[2:5, 3, 1:8] = 1
    turned = np.array([[0, 0, -1.0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # I runs to anterior, J up, K to the left
    write(folder / "images" / "turned.nii.gz", tissue(90, (8, 9, 10)), turned)
    write(folder / "labels" / "turned.nii.gz", mask, turned)
    facts = check_dataset(open_dataset(folder)).facts["turned"]
    assert facts.painted == (7, 3, 1)
