"""Masks on real scans of many formats; of the 48 orders, see `test_orders`, of one scan in several formats `test_same_content`."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_seg3d.volumes import GRID_SUFFIXES, is_volume_path, read_grid, read_volume, volume_name, write_volume


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
