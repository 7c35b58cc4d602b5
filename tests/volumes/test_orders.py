"""One scan in all 48 axis orders, straight and oblique, is one volume; labels drawn on it lie right in every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_seg3d.volumes import read_grid, read_volume, write_volume
from tests.volumes.affines import ORDERS, SPACING, Order, rotation
from tests.volumes.places import Places, assert_same, places_by_itk, places_by_nibabel, through_itk

OBLIQUE = [(0, 0, 0), (30, 0, 0), (0, 30, 0), (0, 0, 30), (30, 30, 30)]
LETTERS = ("LR", "PA", "IS")


@dataclass
class Scan:
    """A scan along R, A and S (or leaning away from them), and labels on it, each of one voxel."""

    data: NDArray[np.generic]
    affine: NDArray[np.float64]

    @property
    def labels(self) -> NDArray[np.uint16]:
        found = np.zeros(self.data.shape, np.uint16)
        chosen = np.random.default_rng(1).choice(found.size, min(300, found.size // 5), replace=False)
        found.flat[chosen] = np.arange(1, len(chosen) + 1)
        return found

    @property
    def places(self) -> Places:
        labels = self.labels
        return {int(labels[tuple(at)]): self.affine[:3, :3] @ at + self.affine[:3, 3] for at in np.argwhere(labels)}

    def in_order(self, order: Order) -> nib.Nifti1Image:
        """Return the same scan, its voxels stored along other axes of the patient."""
        axes, signs = order
        data = np.transpose(self.data, axes)[tuple(slice(None, None, sign) for sign in signs)]
        affine = self.affine.copy()
        for axis, (target, sign) in enumerate(zip(axes, signs, strict=True)):
            affine[:3, axis] = sign * self.affine[:3, target]
            if sign < 0:
                affine[:3, 3] += (data.shape[axis] - 1) * self.affine[:3, target]
        image = nib.Nifti1Image(np.ascontiguousarray(data), affine)
        image.header.set_xyzt_units("mm")
        image.set_qform(affine, code=1)
        image.set_sform(affine, code=2)
        return image


def phantom(degrees: tuple[float, float, float]) -> Scan:
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) @ np.diag(SPACING)
    affine[:3, 3] = (12.5, -40.25, 7.75)
    return Scan(np.random.default_rng(0).normal(100, 30, (5, 6, 7)).astype(np.float32), affine)


@pytest.fixture(scope="module")
def head(shared_data: Path) -> Scan:
    image = nib.as_closest_canonical(nib.load(shared_data / "orient48" / "LPI.nii.gz"))
    return Scan(np.asarray(image.dataobj, np.float32), image.affine)


def letters(order: Order) -> str:
    return "".join(LETTERS[target][sign > 0] for target, sign in zip(*order, strict=True))


def assert_labels_lie_right(path: Path, scan: Scan, target: Path) -> None:
    """Open the scan at `path`, draw on its canonical view, save to `target`, and ask the others where the labels are."""
    volume = read_volume(path, "image")
    canonical = volume.canonical()
    np.testing.assert_allclose(canonical.affine, scan.affine, atol=1e-4)
    np.testing.assert_allclose(canonical.data[0], scan.data, rtol=1e-6)  # ITK and nibabel scale with other roundings
    assert read_grid(path).matches(volume.grid)

    drawn = volume.grid.from_canonical(scan.labels[np.newaxis])
    written = write_volume(volume.with_data(drawn, "labels"), target)
    assert_same(places_by_itk(written), scan.places)
    assert_same(places_by_nibabel(through_itk(written)), scan.places)
    assert_same_order(path, written)


def assert_same_order(path: Path, written: Path) -> None:
    """Check that both files store their voxels along the same axes, at the same places."""
    if path.name.endswith((".nii", ".nii.gz")):
        source, mask = nib.load(path), nib.load(written)
        assert mask.shape == source.shape
        np.testing.assert_array_equal(mask.affine, source.affine)
        np.testing.assert_array_equal(mask.get_qform(), source.get_qform())
        assert (mask.header["sform_code"], mask.header["qform_code"]) == (
            source.header["sform_code"],
            source.header["qform_code"],
        )
        return
    image, labels = sitk.ReadImage(str(path)), sitk.ReadImage(str(written))
    assert labels.GetSize() == image.GetSize()
    np.testing.assert_allclose(labels.GetDirection(), image.GetDirection(), atol=1e-12)
    np.testing.assert_allclose(labels.GetSpacing(), image.GetSpacing(), rtol=1e-12)
    np.testing.assert_allclose(labels.GetOrigin(), image.GetOrigin(), rtol=1e-12)


@pytest.mark.parametrize("degrees", OBLIQUE)
@pytest.mark.parametrize("order", ORDERS, ids=letters)
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_labels_on_a_scan_in_any_order(ending: str, order: Order, degrees: tuple[float, float, float], tmp_path: Path) -> None:
    scan = phantom(degrees)
    path = tmp_path / "scan.nii.gz"
    scan.in_order(order).to_filename(path)
    if ending != ".nii.gz":
        sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / f"scan{ending}"))
        path = tmp_path / f"scan{ending}"
    assert read_volume(path).orientation == letters(order)
    assert_labels_lie_right(path, scan, tmp_path / f"mask{ending}")


def test_the_twelve_files_of_a_head_are_one_volume(head: Scan, shared_data: Path) -> None:
    paths = sorted((shared_data / "orient48").glob("*.nii.gz"))
    assert len(paths) == 12
    built = {letters(order): order for order in ORDERS}
    for path in paths:
        volume = read_volume(path)
        assert volume.orientation == path.name[:3]
        np.testing.assert_array_equal(volume.canonical().data[0], head.data)
        np.testing.assert_allclose(volume.canonical().affine, head.affine, atol=1e-4)
        # So the other 36, which are made below, are what a file in that order would be.
        made = head.in_order(built[path.name[:3]])
        np.testing.assert_array_equal(volume.data[0], np.asarray(made.dataobj))
        np.testing.assert_allclose(volume.affine, made.affine, atol=1e-4)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_labels_on_the_twelve_files(ending: str, head: Scan, shared_data: Path, tmp_path: Path) -> None:
    for path in sorted((shared_data / "orient48").glob("*.nii.gz")):
        there = tmp_path / f"{path.name[:3]}{ending}"
        if ending == ".nii.gz":
            there = path
        else:
            sitk.WriteImage(sitk.ReadImage(str(path)), str(there))
        assert_labels_lie_right(there, head, tmp_path / f"mask_{path.name[:3]}{ending}")


@pytest.mark.parametrize("order", ORDERS, ids=letters)
def test_labels_on_a_real_head_in_any_order(order: Order, head: Scan, tmp_path: Path) -> None:
    head.in_order(order).to_filename(tmp_path / "scan.nii")
    assert_labels_lie_right(tmp_path / "scan.nii", head, tmp_path / "mask.nii")
