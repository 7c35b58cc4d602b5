"""One file for each label."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_seg3d.errors import WriteError
from napari_seg3d.volumes import Label, Volume, read_volume, write_label_files, write_volume
from tests.volumes.affines import affine_of

OBLIQUE = affine_of(((2, 0, 1), (-1, 1, -1)), (10, -5, 20))
NAMES = {1: Label("Liver"), 7: Label("left kidney / upper pole"), 9: Label("../../liver?"), 200: Label("LIVER")}


def mask() -> NDArray[np.uint8]:
    data = np.zeros((1, 8, 9, 10), np.uint8)
    data[0, 1:4, 2:5, 3:6], data[0, 5, 6, 7], data[0, 7, 7, 7], data[0, 0, 0, 0] = 1, 7, 200, 33
    return data


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_each_label_on_the_same_grid_under_its_name(ending: str, tmp_path: Path) -> None:
    volume = Volume(mask(), OBLIQUE, "labels", labels=NAMES)
    written = write_label_files(volume, tmp_path / f"case.1{ending}")
    assert [path.name for path in written] == [
        f"case.1_{word}{ending}" for word in ("Liver_1", "left_kidney_upper_pole", "liver_9", "33", "LIVER_200")
    ]
    for path, value in zip(written, (1, 7, 9, 33, 200), strict=True):
        back = read_volume(path, "labels")
        np.testing.assert_array_equal(back.data, mask() == value)
        assert back.grid.matches(volume.grid)
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(path))).max() == (0 if value == 9 else 1)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_overlapping_labels(tmp_path: Path) -> None:
    data = np.zeros((2, 8, 9, 10), np.uint8)
    data[0, 1:5], data[1, 3:8] = 1, 2
    first, second = write_label_files(Volume(data, OBLIQUE, "labels"), tmp_path / "case.nii.gz")
    np.testing.assert_array_equal(read_volume(first, "labels").data[0], data[0])
    np.testing.assert_array_equal(read_volume(second, "labels").data[0], data[1] // 2)


def test_sform_and_codes_of_the_source_are_kept(tmp_path: Path) -> None:
    image = nib.Nifti1Image(mask()[0], OBLIQUE)
    image.set_sform(OBLIQUE, 4)
    image.set_qform(OBLIQUE, 2)
    image.to_filename(tmp_path / "source.nii")
    written = write_label_files(read_volume(tmp_path / "source.nii", "labels"), tmp_path / "case.nii")
    for path in written:
        header = nib.load(path).header
        assert (header["sform_code"], header["qform_code"]) == (4, 2)


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_written_if_one_place_is_taken_by_the_source(overwrite: bool, tmp_path: Path) -> None:
    source = write_volume(Volume(mask(), OBLIQUE, "labels"), tmp_path / "case_33.nii.gz")
    before = source.read_bytes()
    with pytest.raises(WriteError, match="read from"):
        write_label_files(read_volume(source), tmp_path / "case.nii.gz", overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["case_33.nii.gz"]
    assert source.read_bytes() == before


def test_files_that_are_there_are_replaced_only_when_allowed(tmp_path: Path) -> None:
    (tmp_path / "case_7.mhd").write_text("mine")
    volume = Volume(mask(), OBLIQUE, "labels")
    with pytest.raises(WriteError, match="exists already"):
        write_label_files(volume, tmp_path / "case.mhd")
    assert [path.name for path in tmp_path.iterdir()] == ["case_7.mhd"]
    write_label_files(volume, tmp_path / "case.mhd", overwrite=True)
    np.testing.assert_array_equal(read_volume(tmp_path / "case_7.mhd", "labels").data, mask() == 7)


def test_a_data_file_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "case_7.zraw").write_text("mine")
    with pytest.raises(WriteError, match=r"case_7\.zraw exists already"):
        write_label_files(Volume(mask(), OBLIQUE, "labels"), tmp_path / "case.mhd")
    assert [path.name for path in tmp_path.iterdir()] == ["case_7.zraw"]


@pytest.mark.parametrize(("name", "said"), [("case.nothing", "no format"), ("case.png", "one slice")])
def test_a_format_that_cannot_hold_them(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=said) as error:
        write_label_files(Volume(mask(), OBLIQUE, "labels"), tmp_path / name)
    assert ".writing" not in error.value.what
    assert str(tmp_path / "case") in error.value.what
    assert not list(tmp_path.iterdir())


def test_an_empty_mask(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="no labels"):
        write_label_files(Volume(np.zeros_like(mask()), OBLIQUE, "labels"), tmp_path / "case.nii.gz")
