"""Copies of NIfTI, NRRD and MetaImage: voxels and geometry, and not a word more."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.nifti1 import Nifti1Extension

from napari_seg3d.errors import Cancelled, ReadError
from napari_seg3d.volumes import deidentify, read_volume
from tests.volumes.affines import ORDERS, affine_of

SECRET = b"Secretname"


def only_copy(source: Path, out: Path) -> Path:
    report = deidentify([source], out)
    assert report.refused == ()
    ((original, copy),) = report.copies
    assert original == source
    return copy


def content(path: Path) -> bytes:
    data = path.read_bytes()
    return data + gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def nifti_with_names(path: Path, kind: type, dtype: type, slope: float | None, big: bool = False) -> Path:
    header = kind.header_class(endianness=">" if big else "<")
    data = np.random.default_rng(0).integers(0, 200, (5, 4, 3, 2)).astype(dtype)
    image = kind(data, None, header)
    image.header.set_sform(affine_of(ORDERS[5], (30, 0, 10)), code=2)
    image.header.set_qform(affine_of(ORDERS[5], (30, 0, 10)), code=3)
    image.header.set_xyzt_units("mm", "sec")
    if slope is not None:
        image.header.set_slope_inter(slope, -7)
    for field in ("descrip", "aux_file", "intent_name"):
        image.header[field] = SECRET
    if "db_name" in image.header.structarr.dtype.names:
        image.header["db_name"] = SECRET
    image.header.extensions.append(Nifti1Extension("comment", SECRET + b" was here"))
    nib.save(image, path)
    with open(path, "ab") if path.suffix == ".nii" else gzip.open(path, "ab") as stream:
        stream.write(b"behind the voxels: " + SECRET)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(("dtype", "slope", "big"), [(np.int16, 0.5, False), (np.float32, None, True), (np.uint8, None, False)])
def test_nifti_keeps_its_numbers_only(
    kind: type, ending: str, dtype: type, slope: float | None, big: bool, tmp_path: Path
) -> None:
    source = nifti_with_names(tmp_path / f"Secretname{ending}", kind, dtype, slope, big)
    copy = only_copy(source, tmp_path / "out")
    assert copy == tmp_path / "out" / f"scan_001{ending}"
    assert SECRET in content(source)
    assert SECRET not in content(copy)
    before, after = nib.load(source), nib.load(copy)
    assert after.header.get_data_dtype() == before.header.get_data_dtype()
    np.testing.assert_array_equal(after.dataobj.get_unscaled(), before.dataobj.get_unscaled())
    np.testing.assert_array_equal(np.asarray(after.dataobj), np.asarray(before.dataobj))
    for form in ("get_sform", "get_qform"):
        (one, one_code), (other, other_code) = (getattr(image, form)(coded=True) for image in (before, after))
        np.testing.assert_array_equal(one, other)
        assert one_code == other_code
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    assert list(after.header.extensions) == []


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_nrrd_and_metaimage_keep_voxels_and_geometry_only(ending: str, dtype: type, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 2, (3, 4, 5)).astype(dtype))
    image.SetSpacing((0.7, 0.123456789, 3))
    image.SetOrigin((-12.3456789012345, 5, 1 / 3))
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    for key in ("DICOM_0010_0010", "content", "Comment", "patient"):
        image.SetMetaData(key, SECRET.decode())
    source = tmp_path / f"Secretname{ending}"
    sitk.WriteImage(image, str(source))
    assert SECRET in content(source)
    report = deidentify([tmp_path], tmp_path.parent / f"{tmp_path.name}_out")
    ((_, copy),) = report.copies
    assert report.refused == ()
    assert SECRET not in content(copy)
    again = sitk.ReadImage(str(copy))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(image))
    assert again.GetPixelID() == image.GetPixelID()
    np.testing.assert_allclose(again.GetOrigin(), image.GetOrigin(), atol=1e-9)
    np.testing.assert_allclose(again.GetSpacing(), image.GetSpacing(), atol=1e-9)
    np.testing.assert_allclose(again.GetDirection(), image.GetDirection(), atol=1e-9)


def test_what_cannot_be_cleaned_is_refused_with_its_reason(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    nib.save(nib.MGHImage(np.zeros((3, 3, 3), np.float32), np.eye(4)), source / "a.mgz")
    (source / "b.txt").write_text("no scan")
    (source / "c.nii").write_bytes(b"\0" * 40)
    (source / ".DS_Store").write_text("hidden")
    whole = nifti_with_names(tmp_path / "whole.nii", nib.Nifti1Image, np.int16, None)
    (source / "d.nii").write_bytes(whole.read_bytes()[:420])
    report = deidentify([source], tmp_path / "out")
    assert [path.name for path, _ in report.refused] == ["a.mgz", "b.txt", "c.nii", "d.nii"]
    reasons = [reason for _, reason in report.refused]
    assert "cannot be cleaned" in reasons[0]
    assert "cut off" in reasons[3]
    assert report.copies == ()
    assert not any(str(tmp_path) in reason for reason in reasons)
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="does not exist"):
        deidentify([tmp_path / "no"], tmp_path / "out")


def test_it_can_be_stopped_between_files(tmp_path: Path) -> None:
    for number in range(3):
        nifti_with_names(tmp_path / "in" / f"{number}.nii", nib.Nifti1Image, np.int16, None) if number else (
            tmp_path / "in"
        ).mkdir()
    told: list[tuple[int, int]] = []
    with pytest.raises(Cancelled):
        deidentify([tmp_path / "in"], tmp_path / "out", lambda *so_far: told.append(so_far), lambda: len(told) == 1)
    assert told == [(1, 2)]
    assert read_volume(tmp_path / "out" / "scan_001.nii").data.shape == (2, 5, 4, 3)
