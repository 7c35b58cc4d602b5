"""Opening a scan waits for no deep-learning library, and opening a NIfTI for none of those that other formats need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from napari_seg3d.volumes import Volume, write_volume
from tests.volumes.sound_files import make_all

LEARNING = {"torch", "torchio", "monai", "lightning_fabric", "tensorboard"}
OTHER_FORMATS = {"SimpleITK", "highdicom", "tifffile", "zarr", "dask", "h5py", "imagecodecs"}


def imported_by(code: str, *arguments: object) -> set[str]:
    """Return the packages that a new Python has imported after `code`."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    output = subprocess.check_output([sys.executable, "-c", script, *map(str, arguments)], text=True)
    return set(json.loads(output.splitlines()[-1]))


def test_reading_a_scan_of_any_format_imports_no_torch(tmp_path: Path) -> None:
    paths = [sound.path for sound in make_all(tmp_path)]
    imported = imported_by(
        "from napari_seg3d.volumes import read_grid, read_volume\nfor path in sys.argv[1:]: read_grid(path); read_volume(path)",
        *paths,
    )
    assert "SimpleITK" in imported
    assert not imported & LEARNING


def test_reading_a_nifti_imports_no_library_of_another_format(tmp_path: Path) -> None:
    path = write_volume(Volume(np.zeros((1, 4, 5, 6), np.int16), np.eye(4)), tmp_path / "scan.nii.gz")
    imported = imported_by("from napari_seg3d.volumes import read_volume\nread_volume(sys.argv[1])", path)
    assert not imported & (LEARNING | OTHER_FORMATS)
