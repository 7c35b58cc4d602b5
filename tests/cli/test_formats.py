"""Scans that never were NIfTI on the command line: listed, converted, predicted and compared, by a real process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from napari_seg3d.training import Run
from napari_seg3d.volumes import Volume, read_volume, write_volume
from tests.datasets.scans import GRID, ball, write_ct, write_radiograph, write_seg
from tests.volumes.dicom.series_writer import AXIAL, PATIENT, write_series

SECRETS = (*PATIENT.values(), "Muster", "Erika", "4711")


def cli(*arguments: object, status: int = 0) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "napari_seg3d.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "250", "NO_COLOR": "1"},
        timeout=240,
    )
    text = ended.stdout + ended.stderr
    assert ended.returncode == status, text
    assert "Traceback" not in text
    assert not any(secret in text for secret in SECRETS)
    return text


def itk_series(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def geometry(image: sitk.Image) -> list[float]:
    return [*image.GetSize(), *image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()]


# series


def test_series_are_listed_without_the_patient(tmp_path: Path) -> None:
    files = write_ct(tmp_path / "a" / "ct", "ID-4711-X")
    write_seg(tmp_path / "a" / "seg.dcm", files, ball())
    text = cli("series", tmp_path)
    assert "2 series" in text
    assert "12 x 10 x 8" in text
    assert "SEG" in text
    write_series(tmp_path / "b", np.zeros((3, 6, 6), np.int16), AXIAL, np.array([[0, 0, z] for z in (0.0, 1, 5)]), series="1.7")
    text = cli("series", tmp_path, status=1)
    assert "3 series" in text
    assert "from 1.00 to 4.00" in text
    assert "--resample-irregular" in text


# convert


def test_convert_reads_a_series_and_writes_it_where_it_lies(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct", "A")
    assert "12x10x8" in cli("convert", tmp_path / "ct", tmp_path / "out" / "ct.nrrd")
    by_itk = sitk.ReadImage(str(tmp_path / "out" / "ct.nrrd"))
    np.testing.assert_allclose(geometry(by_itk), geometry(itk_series(tmp_path / "ct")), atol=1e-4)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(by_itk), sitk.GetArrayFromImage(itk_series(tmp_path / "ct")))
    assert "exists already" in cli("convert", tmp_path / "ct", tmp_path / "out" / "ct.nrrd", status=1)
    cli("convert", tmp_path / "ct", tmp_path / "out" / "ct.nrrd", "--overwrite")


def test_convert_of_an_irregular_series_says_how_to_go_on(tmp_path: Path) -> None:
    positions = np.array([[0, 0, z] for z in (0.0, 2, 4, 9)])
    write_series(tmp_path / "ct", np.random.default_rng(0).integers(0, 99, (4, 6, 6), np.int16), AXIAL, positions)
    text = cli("convert", tmp_path / "ct", tmp_path / "ct.nii.gz", status=1)
    assert "--resample-irregular" in text
    assert not (tmp_path / "ct.nii.gz").exists()
    text = cli("convert", tmp_path / "ct", tmp_path / "ct.nii.gz", "--resample-irregular")
    assert "Resampled onto a regular grid" in text
    assert read_volume(tmp_path / "ct.nii.gz").spacing[2] == pytest.approx(9 / 4, abs=0.3)


def test_convert_takes_one_of_several_series_by_its_number(tmp_path: Path) -> None:
    write_series(tmp_path, np.zeros((3, 6, 6), np.int16), series="1.1", order=[0, 1, 2])
    write_series(tmp_path, np.ones((2, 6, 6), np.int16), series="1.2", order=[3, 4])
    assert "2 series" in cli("convert", tmp_path, tmp_path / "x.nii.gz", status=1)
    cli("convert", tmp_path, tmp_path / "x.nii.gz", "--series", 2)
    assert read_volume(tmp_path / "x.nii.gz", "image").grid.shape == (6, 6, 2)
    assert "none with the number 3" in cli("convert", tmp_path, tmp_path / "y.nii.gz", "--series", 3, status=1)


def test_convert_of_a_mask_to_dicom_seg_and_to_a_file_for_each_label(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct", "A")
    marked = ball() * 2
    marked[0, 0, 0] = 5
    # Stored the other way round, as other programs do.
    write_volume(Volume(marked[np.newaxis], GRID.affine, "labels").canonical(), tmp_path / "mask.nii.gz")
    assert "not drawn on a DICOM series" in cli("convert", tmp_path / "mask.nii.gz", tmp_path / "mask.dcm", status=1)
    cli("convert", tmp_path / "mask.nii.gz", tmp_path / "mask.dcm", "--on", tmp_path / "ct")
    back = read_volume(tmp_path / "mask.dcm")
    np.testing.assert_array_equal(back.data[0], marked)
    assert back.grid.matches(GRID)
    cli("convert", tmp_path / "mask.dcm", tmp_path / "each" / "mask.nii.gz", "--per-label")
    files = sorted((tmp_path / "each").iterdir())
    assert len(files) == 2
    assert sorted(int(read_volume(file, "labels").data.sum()) for file in files) == [1, ball().sum()]


def test_convert_takes_an_array_by_its_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", first=np.zeros((4, 5, 6)), second=np.ones((3, 3, 3), np.int16))
    cli("convert", tmp_path / "x.npz", tmp_path / "x.nii.gz", "--variable", "second", "--kind", "image")
    assert read_volume(tmp_path / "x.nii.gz").grid.shape == (3, 3, 3)
    assert "holds no array third" in cli("convert", tmp_path / "x.npz", tmp_path / "y.nii.gz", "--variable", "third", status=1)
    assert "no kind 'mask'" in cli("convert", tmp_path / "x.npz", tmp_path / "y.nii.gz", "--kind", "mask", status=1)


# predict


@pytest.mark.slow
def test_a_hospital_series_is_predicted_where_it_lies(finished_run: Run, shared_data: Path, tmp_path: Path) -> None:
    series = shared_data / "dicom" / "hippocrop_study3"
    cli("predict", finished_run.best, series, "--out", tmp_path)
    predicted = tmp_path / "hippocrop_study3.nii.gz"
    np.testing.assert_allclose(geometry(sitk.ReadImage(str(predicted))), geometry(itk_series(series)), atol=1e-4)
    cli("predict", finished_run.best, series, "--out", tmp_path, "--format", "dcm")
    seg = read_volume(tmp_path / "hippocrop_study3.dcm")
    assert seg.grid.matches(read_volume(predicted, "labels").grid)
    np.testing.assert_array_equal(seg.data, read_volume(predicted, "labels").data)
    assert {label.name for label in seg.labels.values()} <= {"label 3", "label 7"}
    assert "1.0000" in cli("evaluate", tmp_path / "hippocrop_study3.dcm", predicted)


@pytest.mark.slow
def test_a_folder_of_series_is_predicted_and_what_cannot_be_is_said(finished_run: Run, tmp_path: Path) -> None:
    for name in ("anna", "bert"):
        write_ct(tmp_path / "export" / name / "ct", name)
    files = write_series(
        tmp_path / "export" / "tilted", np.random.default_rng(0).integers(0, 99, (4, 16, 16), np.int16), AXIAL,
        np.array([[0, y, z] for y, z in ((0.0, 0.0), (1, 2), (2, 4), (3, 6))]), series="1.8",
    )  # fmt: skip
    assert len(files) == 4
    out = tmp_path / "out"
    text = cli("predict", finished_run.best, tmp_path / "export", "--out", out, status=1)
    assert "2 masks" in text
    assert "tilted by" in text
    assert "--resample-irregular" in text
    assert sorted(file.name for file in out.glob("*.nii.gz")) == ["export_anna_ct.nii.gz", "export_bert_ct.nii.gz"]
    assert read_volume(out / "export_anna_ct.nii.gz", "labels").grid.matches(GRID)
    cli("predict", finished_run.best, tmp_path / "export" / "tilted", "--out", out, "--resample-irregular")
    assert (out / "tilted.nii.gz").exists()


def test_a_series_without_a_frame_of_reference_can_be_no_seg(finished_run: Run, tmp_path: Path) -> None:
    for file in write_ct(tmp_path / "ct", "A"):
        header = pydicom.dcmread(file)
        del header.FrameOfReferenceUID
        header.save_as(file)
    text = cli("predict", finished_run.best, tmp_path / "ct", "--out", tmp_path / "out", "--format", ".dcm", status=1)
    assert "FrameOfReferenceUID" in text
    assert "Choose NIfTI (.nii.gz)" in text


@pytest.mark.slow
def test_radiographs_pictures_and_other_formats_are_predicted_in_a_format_that_keeps_their_place(
    finished_run: Run, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    scans, out = tmp_path / "scans", tmp_path / "out"
    pixels = random.integers(0, 4000, (40, 30), np.uint16)
    write_radiograph(scans / "xray.dcm", pixels, "A", PixelSpacing=[1, 1])
    Image.fromarray((pixels // 16).astype(np.uint8)).save(scans / "photo.png")
    nib.MGHImage(random.normal(size=(16, 17, 18)).astype(np.float32), np.diag([1.0, 1.0, 1.0, 1.0])).to_filename(
        scans / "head.mgz"
    )
    tifffile.imwrite(scans / "stack.tif", random.integers(0, 999, (9, 20, 21), np.uint16))
    cli(
        "predict", finished_run.best, *(scans / name for name in ("xray.dcm", "photo.png", "head.mgz", "stack.tif")), "--out", out
    )
    masks = {"head.nii.gz", "photo.png", "stack.nii.gz", "xray.nii.gz"}
    assert {file.name for file in out.iterdir()} == masks | {"predictions.csv", "predictions.json"}
    for scan, mask in (
        ("xray.dcm", "xray.nii.gz"),
        ("photo.png", "photo.png"),
        ("head.mgz", "head.nii.gz"),
        ("stack.tif", "stack.nii.gz"),
    ):
        assert read_volume(out / mask, "labels").grid.matches(read_volume(scans / scan, "image").grid), scan


def test_an_unknown_format_is_said_before_anything_is_predicted(tmp_path: Path, finished_run: Run) -> None:
    write_ct(tmp_path / "ct", "A")
    text = cli("predict", finished_run.best, tmp_path / "ct", "--out", tmp_path / "out", "--format", "mgz", status=1)
    assert ".nii.gz" in text
    assert not (tmp_path / "out").exists()


# check and evaluate


def test_check_and_evaluate_on_dicom(tmp_path: Path) -> None:
    for number in range(2):
        files = write_ct(tmp_path / "data" / f"p{number}" / "ct", f"{8000 + number}", number)
        write_seg(tmp_path / "data" / f"p{number}" / "seg.dcm", files, ball(number))
    text = cli("check", tmp_path / "data", "--pairs")
    assert "2 cases, 2 ready to train on" in text
    assert "Ball 1" in text
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    assert "1.0000" in cli("evaluate", tmp_path / "copy", tmp_path / "data")


def test_the_liver_as_seg_is_the_liver_as_nrrd(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "ct3slice_seg"
    for pair in (("liver.dcm", "liver_seg.nrrd"), ("liver_seg.nrrd", "liver.dcm")):
        assert "1.0000" in cli("evaluate", *(folder / name for name in pair))
