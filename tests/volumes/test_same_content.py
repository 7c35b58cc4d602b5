"""One scan in several formats is one volume, whatever library wrote them.

The twelve transfer syntaxes are compared in `dicom.test_scan`, the five enhanced encodings in `dicom.test_enhanced`, the liver as
DICOM SEG and as NRRD in `dicom.test_segmentation`.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_seg3d.volumes import Grid, read_grid, read_volume
from tests.volumes.affines import affine_of
from tests.volumes.dicom.phantom_series import write_enhanced, write_series

SCAN = np.random.default_rng(0).normal(100, 300, (5, 6, 7)).astype(np.int16)
# Slices that follow the normal of their planes: DICOM knows no others.
AFFINE = affine_of(((1, 0, 2), (1, -1, 1)), (20, -10, 30))


def write(name: str, folder: Path) -> Path:
    """Let another library write the scan."""
    path = folder / name
    if name == "series":
        write_series(path, Grid(SCAN.shape, AFFINE), SCAN + 1000)  # the phantom's intercept is -1000
    elif name == "enhanced.dcm":
        write_enhanced(path, Grid(SCAN.shape, AFFINE), SCAN)
    elif name.endswith((".nrrd", ".mha", ".mhd", ".mnc")):
        itk_affine = (
            AFFINE if name.endswith(".mnc") else np.diag([-1.0, -1, 1, 1]) @ AFFINE
        )  # ITK takes MINC's places as they are
        sitk.WriteImage(itk_image(itk_affine), str(path))
    else:
        kinds = {"pair.hdr": nib.Nifti1Pair, "scan.mgz": nib.MGHImage, "second.nii": nib.Nifti2Image}
        kinds.get(name, nib.Nifti1Image)(SCAN, AFFINE).to_filename(path)
    return path


def itk_image(affine: NDArray[np.float64]) -> sitk.Image:
    image = sitk.GetImageFromArray(SCAN.T)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetOrigin(affine[:3, 3])
    image.SetDirection((affine[:3, :3] / spacing).ravel())
    return image


@pytest.mark.parametrize(
    "name",
    [
        "scan.nii.gz",
        "second.nii",
        "pair.hdr",
        "scan.nrrd",
        "scan.mha",
        "scan.mhd",
        "scan.mgz",
        "scan.mnc",
        "series",
        "enhanced.dcm",
    ],
)
def test_a_scan_is_the_same_in_every_format_that_knows_the_patient(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path)
    volume = read_volume(path, "image")
    # MINC stores real values as shares of a range, and turns its axes as it likes.
    found, wanted = volume.canonical(), read_volume(write("reference.nii", tmp_path), "image").canonical()
    assert found.grid.matches(wanted.grid)
    np.testing.assert_allclose(found.data, wanted.data, rtol=0, atol=0.02 if name == "scan.mnc" else 0)
    assert read_grid(path).matches(volume.grid)


def test_a_real_scan_as_nifti_and_as_nrrd(shared_data: Path) -> None:
    nifti, nrrd = (read_volume(shared_data / "formats" / f"FLAIR{ending}") for ending in (".nii.gz", ".nrrd"))
    assert nifti.grid.is_oblique
    assert nifti.grid.matches(nrrd.grid)
    np.testing.assert_array_equal(nifti.data, nrrd.data)
    assert read_grid(shared_data / "formats" / "lesion.nii.gz").matches(nifti.grid)


@pytest.mark.parametrize(
    "name", ["brain1_image", "brain1_label", "prostate_phantom_subvolume", "prostate_phantom_subvolume-label"]
)
def test_a_real_nrrd_and_the_nifti_that_itk_makes_of_it(name: str, shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "nrrd" / f"{name}.nrrd"
    sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / f"{name}.nii.gz"))
    nrrd, nifti = read_volume(path), read_volume(tmp_path / f"{name}.nii.gz")
    assert nrrd.grid.matches(nifti.grid)
    np.testing.assert_array_equal(nrrd.data, nifti.data)
    assert nrrd.kind == nifti.kind == ("labels" if name.endswith("label") else "image")


@pytest.mark.parametrize("scan", ["brain1_image", "prostate_phantom_subvolume"])
def test_a_real_mask_lies_on_its_scan(scan: str, shared_data: Path) -> None:
    mask = {"brain1_image": "brain1_label"}.get(scan, f"{scan}-label")
    image, labels = (read_volume(shared_data / "nrrd" / f"{name}.nrrd") for name in (scan, mask))
    assert image.grid.matches(labels.grid)
    assert labels.data.any()


@pytest.mark.parametrize("name", ["wm.mgz", "tiny.mnc", "ras.hdr", "FLAIR.nii.gz", "lesion.nii.gz", "example4d.nii.gz"])
def test_real_files_hold_what_nibabel_finds_in_them(name: str, shared_data: Path) -> None:
    path = shared_data / "formats" / name
    volume, image = read_volume(path, "image"), nib.load(path)
    data = np.asarray(image.dataobj)
    np.testing.assert_allclose(volume.data, np.moveaxis(data, 3, 0) if data.ndim == 4 else data[np.newaxis], rtol=1e-6)
    np.testing.assert_allclose(volume.affine, image.affine, atol=1e-5)
