"""Small data sets on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_seg3d.datasets import Report, check_dataset, open_dataset

WriteNifti = Callable[..., Path]


@pytest.fixture(scope="session")
def hippocampus_report(shared_data: Path) -> Report:
    """What a check of the 199 crops of heads found."""
    return check_dataset(open_dataset(shared_data / "hippocampus"))


@pytest.fixture
def write_nifti(tmp_path: Path) -> WriteNifti:
    """Write an array (or a small default image or mask) below the test's folder and return the path."""

    def write(name: str, data: NDArray[np.generic] | None = None, spacing: float = 1.0) -> Path:
        if data is None:
            data = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(data, np.diag([spacing, spacing, spacing, 1.0])).to_filename(path)
        return path

    return write


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., Path]:
    """Make files of which only the names matter, and return the folder."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"only the name matters")
        return tmp_path

    return make
