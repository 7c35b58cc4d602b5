"""Real scans of many axis orders and formats."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_seg3d.volumes import GRID_SUFFIXES, is_volume_path, read_grid, read_volume, volume_name, write_volume
from tests.volumes.test_round_trip import assert_same, places_by_itk, places_by_nibabel


def test_one_head_in_twelve_orders_is_one_canonical_volume(shared_data: Path) -> None:
    paths = sorted((shared_data / "orient48").glob("*.nii.gz"))
    assert len(paths) == 12
    first = read_volume(paths[0]).canonical()
    for path in paths:
        volume = read_volume(path)
        assert volume.orientation == path.name[:3]
        canonical = volume.canonical()
        assert canonical.orientation == "RAS"
        assert canonical.grid.matches(first.grid)
        np.testing.assert_array_equal(canonical.data, first.data)


def test_labels_drawn_on_the_canonical_view_lie_right_in_each_order(shared_data: Path, tmp_path: Path) -> None:
    found = []
    for path in sorted((shared_data / "orient48").glob("*.nii.gz")):
        image = read_volume(path)
        drawn = np.zeros((1, *image.grid.canonical().shape), np.uint8)
        drawn[0, 10, 20, 30], drawn[0, 40, 5, 50] = 1, 2
        mask = image.with_data(image.grid.from_canonical(drawn), "labels")
        written = write_volume(mask, tmp_path / path.name)
        assert nib.load(written).shape == nib.load(path).shape
        np.testing.assert_array_equal(nib.load(written).affine, nib.load(path).affine)
        assert_same(places_by_itk(written), places_by_nibabel(written))
        found.append(places_by_nibabel(written))
    for places in found:
        assert_same(places, found[0])


def test_nifti_and_nrrd_of_one_scan_are_equal(shared_data: Path) -> None:
    nifti, nrrd = (read_volume(shared_data / "formats" / f"FLAIR{ending}") for ending in (".nii.gz", ".nrrd"))
    assert nifti.grid.is_oblique
    assert nifti.grid.matches(nrrd.grid)
    np.testing.assert_array_equal(nifti.data, nrrd.data)
    assert read_grid(shared_data / "formats" / "lesion.nii.gz").matches(nifti.grid)


@pytest.mark.parametrize("folder", ["totalseg", "spinalcord", "nrrd", "formats", "orient48", "hippocampus_bad"])
def test_a_mask_of_every_scan_lies_on_it(folder: str, shared_data: Path, tmp_path: Path) -> None:
    paths = [path for path in sorted((shared_data / folder).iterdir()) if is_volume_path(path)]
    assert paths
    for path in paths:
        volume = read_volume(path)
        assert read_grid(path).matches(volume.grid)
        data = np.zeros((1, *volume.grid.shape), np.uint8)
        data[0, ::7, ::5, ::3] = 1
        name = path.name if path.name.endswith(GRID_SUFFIXES) else f"{volume_name(path)}.nii.gz"
        written = write_volume(volume.with_data(data, "labels"), tmp_path / name)
        back = read_volume(written, "labels")
        np.testing.assert_array_equal(back.data, data)
        assert back.grid.matches(volume.grid)
        if path.name.endswith(".nii.gz"):
            source, mask = nib.load(path), nib.load(written)
            assert mask.shape == source.shape[:3]
            np.testing.assert_array_equal(mask.affine, source.affine)
            assert (mask.header["sform_code"], mask.header["qform_code"]) == (
                source.header["sform_code"], source.header["qform_code"],
            )  # fmt: skip
