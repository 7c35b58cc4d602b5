"""What a NIfTI header says, and that a mask says the same as its image."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension
from numpy.typing import NDArray

from napari_seg3d.errors import LabelError, ReadError
from napari_seg3d.volumes import read_grid, read_volume, write_volume
from tests.volumes.affines import affine_of

SHAPE = (5, 6, 7)
ORIENTATION = (
    "sform_code", "srow_x", "srow_y", "srow_z",
    "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units",
)  # fmt: skip
LPI = affine_of(((0, 1, 2), (-1, -1, 1)), (10, -5, 20))


def scan(dtype: str = "i2", shape: tuple[int, ...] = SHAPE) -> NDArray[np.generic]:
    return np.random.default_rng(0).normal(100, 20, shape).astype(dtype)


def save_mask_of(path: Path) -> nib.Nifti1Image:
    image = read_volume(path, "image")
    mask = image.with_data((image.data[:1].astype(np.float64) > 100).astype(np.uint8), "labels")
    return nib.load(write_volume(mask, path.parent / "mask.nii.gz"))


@pytest.mark.parametrize("version", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (2, 4), (4, 2), (1, 1), (0, 0)])
@pytest.mark.parametrize("order", [">", "<"])
def test_a_mask_keeps_sform_and_qform_of_its_image_to_the_bit(
    codes: tuple[int, int], same: bool, version: type[nib.Nifti1Image], order: str, tmp_path: Path
) -> None:
    header = version.header_class(endianness=order)
    image = version(scan(f"{order}i2"), None, header)
    image.set_sform(LPI, codes[0])
    image.set_qform(LPI if same else affine_of(((1, 0, 2), (1, 1, -1)), (3, 4, 5)), codes[1])
    image.to_filename(tmp_path / "image.nii.gz")

    source = nib.load(tmp_path / "image.nii.gz")
    mask = save_mask_of(tmp_path / "image.nii.gz")
    assert type(mask) is version
    assert mask.shape == source.shape
    np.testing.assert_array_equal(mask.affine, source.affine)
    for field in ORIENTATION:
        np.testing.assert_array_equal(mask.header[field], source.header[field], err_msg=field)
    np.testing.assert_array_equal(mask.header["pixdim"][:4], source.header["pixdim"][:4])
    assert mask.header.get_intent()[0] == "label"
    assert mask.get_data_dtype() == np.uint8


@pytest.mark.parametrize(("unit", "in_mm"), [("meter", 1000.0), ("mm", 1.0), ("micron", 0.001), ("unknown", 1.0)])
def test_units_are_read_as_mm_and_kept_on_writing(unit: str, in_mm: float, tmp_path: Path) -> None:
    image = nib.Nifti1Image(scan(), LPI)
    image.header.set_xyzt_units(unit, "sec")
    image.to_filename(tmp_path / "image.nii.gz")
    volume = read_volume(tmp_path / "image.nii.gz")
    np.testing.assert_allclose(volume.affine[:3], LPI[:3] * in_mm, rtol=1e-5)
    assert read_grid(tmp_path / "image.nii.gz").matches(volume.grid)

    mask = save_mask_of(tmp_path / "image.nii.gz")
    assert mask.header.get_xyzt_units() == (unit, "sec")
    np.testing.assert_array_equal(mask.affine, image.affine.astype(np.float32))
    assert read_grid(tmp_path / "mask.nii.gz").matches(volume.grid)
    # Another format knows only mm.
    other = write_volume(volume, tmp_path / "image.nrrd")
    assert read_grid(other).matches(volume.grid)


def test_a_unit_that_does_not_exist_is_no_reason_to_refuse_a_scan(tmp_path: Path) -> None:
    image = nib.Nifti1Image(scan(), LPI)
    image.header["xyzt_units"] = 5
    image.to_filename(tmp_path / "image.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "image.nii").affine, LPI, atol=1e-5)


def test_free_text_of_the_source_is_not_copied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(scan(), LPI)
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = b"DOE^JANE"
    image.header.extensions.append(Nifti1Extension("comment", b"born 1970, DOE^JANE"))
    image.to_filename(tmp_path / "image.nii")
    assert b"DOE^JANE" in (tmp_path / "image.nii").read_bytes()
    volume = read_volume(tmp_path / "image.nii")
    for ending in (".nii", ".nrrd", ".mha", ".mhd"):
        written = write_volume(volume, tmp_path / f"copy{ending}")
        assert b"DOE" not in written.read_bytes()


def test_a_new_place_in_the_patient_replaces_sform_and_qform(tmp_path: Path) -> None:
    nib.Nifti1Image(scan(), LPI).to_filename(tmp_path / "image.nii.gz")
    canonical = read_volume(tmp_path / "image.nii.gz").canonical()
    written = nib.load(write_volume(canonical, tmp_path / "canonical.nii.gz"))
    for affine in (written.get_sform(), written.get_qform()):
        np.testing.assert_allclose(affine, canonical.affine, atol=1e-4)
    assert nib.aff2axcodes(written.affine) == ("R", "A", "S")


def test_unknown_orientation_is_said(tmp_path: Path) -> None:
    image = nib.Nifti1Image(scan(), LPI)
    image.header["sform_code"] = image.header["qform_code"] = 0
    image._affine = None
    image.to_filename(tmp_path / "image.nii.gz")
    (note,) = read_volume(tmp_path / "image.nii.gz").notes
    assert "sform and qform code are 0" in note
    assert "left and right" in note


def test_disagreement_of_sform_and_qform_is_said(tmp_path: Path) -> None:
    image = nib.Nifti1Image(scan(), LPI)
    image.set_qform(LPI, 1)
    image.to_filename(tmp_path / "agree.nii")
    assert read_volume(tmp_path / "agree.nii").notes == ()
    image.set_qform(LPI @ np.diag([-1, 1, 1, 1]), 1)
    image.to_filename(tmp_path / "disagree.nii")
    volume = read_volume(tmp_path / "disagree.nii")
    (note,) = volume.notes
    assert "disagree (axis order LPS against RPS)" in note
    np.testing.assert_allclose(volume.affine, LPI, atol=1e-5)
    image.header["quatern_b"] = 5  # no rotation at all
    image._affine = None
    image.to_filename(tmp_path / "broken.nii")
    assert "the qform cannot be used" in read_volume(tmp_path / "broken.nii").notes[0]


@pytest.mark.parametrize(("slope", "inter"), [(0.5, 0), (1, -1024), (2, 10)])
def test_scaled_values_are_float32(slope: float, inter: float, tmp_path: Path) -> None:
    stored = scan()
    image = nib.Nifti1Image(stored, LPI)
    image.header.set_slope_inter(slope, inter)
    image.to_filename(tmp_path / "image.nii.gz")
    # nibabel scales back what it writes; the stored numbers are what it chose.
    raw = nib.load(tmp_path / "image.nii.gz").dataobj.get_unscaled()
    volume = read_volume(tmp_path / "image.nii.gz", "image")
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data[0], raw * slope + inter, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_big_endian_files(dtype: str, ending: str, tmp_path: Path) -> None:
    values = scan(dtype)
    image = nib.Nifti1Image(values, LPI, nib.Nifti1Header(endianness=">"))
    image.set_data_dtype(dtype)
    image.to_filename(tmp_path / f"image{ending}")
    volume = read_volume(tmp_path / f"image{ending}", "image")
    assert volume.data.dtype == values.dtype
    assert volume.data.dtype.isnative
    np.testing.assert_array_equal(volume.data[0], values)


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ((5, 6), (1, 5, 6, 1)),
        ((5, 6, 1), (1, 5, 6, 1)),
        ((5, 6, 7, 1), (1, 5, 6, 7)),
        ((5, 6, 7, 3), (3, 5, 6, 7)),
        ((5, 6, 1, 3), (3, 5, 6, 1)),
        ((5, 6, 7, 1, 3), (3, 5, 6, 7)),
        ((5, 6, 7, 1, 1), (1, 5, 6, 7)),
    ],
)
def test_axes_of_the_file(shape: tuple[int, ...], read: tuple[int, ...], tmp_path: Path) -> None:
    values = scan(shape=shape)
    nib.Nifti1Image(values, LPI).to_filename(tmp_path / "image.nii.gz")
    volume = read_volume(tmp_path / "image.nii.gz")
    assert volume.data.shape == read
    assert read_grid(tmp_path / "image.nii.gz").shape == read[1:]
    spatial = values.reshape(*read[1:], read[0])
    np.testing.assert_array_equal(volume.data, np.moveaxis(spatial, -1, 0))
    assert len(volume.notes) == (read[0] > 1)


def test_more_than_four_axes_and_colours_are_refused(tmp_path: Path) -> None:
    nib.Nifti1Image(scan(shape=(5, 6, 7, 2, 3)), LPI).to_filename(tmp_path / "five.nii")
    with pytest.raises(ReadError, match=r"five\.nii has 5 axes"):
        read_volume(tmp_path / "five.nii")
    colours = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nib.Nifti1Image(colours, LPI).to_filename(tmp_path / "colours.nii")
    with pytest.raises(ReadError, match=r"colours\.nii holds .* not a scan"):
        read_volume(tmp_path / "colours.nii")


def test_an_affine_that_collapses_an_axis_names_the_file(tmp_path: Path) -> None:
    image = nib.Nifti1Image(scan(), LPI)
    image.header["srow_z"] = 0
    image._affine = None
    image.to_filename(tmp_path / "flat.nii")
    for read in (read_volume, read_grid):
        with pytest.raises(Exception, match=r"flat\.nii: The affine does not span three dimensions"):
            read(tmp_path / "flat.nii")


def test_masks_stored_as_floats(tmp_path: Path) -> None:
    values = (scan().astype(np.float64) > 100) * 7.0
    nib.Nifti1Image(values, LPI).to_filename(tmp_path / "whole.nii.gz")
    volume = read_volume(tmp_path / "whole.nii.gz", "labels")
    assert volume.data.dtype == np.uint8
    np.testing.assert_array_equal(volume.data[0], values)
    for bad, said in ((0.5, "fractional values"), (np.nan, "not finite"), (np.inf, "not finite"), (1e30, "do not fit")):
        values[1, 2, 3] = bad
        nib.Nifti1Image(values, LPI).to_filename(tmp_path / "bad.nii.gz")
        with pytest.raises(LabelError, match=said) as error:
            read_volume(tmp_path / "bad.nii.gz", "labels")
        assert "bad.nii.gz" in error.value.what
        assert error.value.fix
        assert read_volume(tmp_path / "bad.nii.gz").kind == "image"


def test_a_volume_outlives_its_file(tmp_path: Path) -> None:
    nib.Nifti1Image(scan("u1"), LPI).to_filename(tmp_path / "image.nii")
    volume = read_volume(tmp_path / "image.nii", "image")
    with open(tmp_path / "image.nii", "rb+") as handle:
        handle.truncate(400)
    np.testing.assert_array_equal(volume.data[0], scan("u1"))
