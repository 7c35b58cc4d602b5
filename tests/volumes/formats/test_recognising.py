"""The content says which format a file has, whatever its name."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import scipy.io
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_seg3d.volumes import Volume, recognise, write_volume
from napari_seg3d.volumes.formats import FORMATS
from tests.volumes.affines import affine_of

DATA = np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(np.uint8)


def files(folder: Path) -> dict[str, Path]:
    """Return a file of each format."""
    folder.mkdir()
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha", ".npy", ".mat"):
        write_volume(Volume(DATA[np.newaxis], affine_of()), folder / f"a{ending}")
    nib.MGHImage(DATA, affine_of()).to_filename(folder / "a.mgz")
    nib.AnalyzeImage(DATA.astype(np.int16), affine_of()).to_filename(folder / "a.hdr")
    nib.Nifti1Pair(DATA, affine_of()).to_filename(folder / "pair.hdr")
    tifffile.imwrite(folder / "a.tif", DATA)
    np.savez(folder / "a.npz", DATA)
    for ending in (".png", ".jpg", ".bmp"):
        Image.fromarray(DATA[0]).save(folder / f"a{ending}")
    scipy.io.savemat(folder / "four.mat", {"data": DATA[0].astype(float)}, format="4")
    names = {
        "a.nii.gz": "NIfTI", "a.nii": "NIfTI", "a.nrrd": "NRRD", "a.mha": "MetaImage", "a.npy": "NumPy", "a.mat": "MATLAB",
        "four.mat": "MATLAB", "a.mgz": "MGH", "a.hdr": "Analyze or NIfTI pair", "pair.hdr": "Analyze or NIfTI pair",
        "a.tif": "TIFF", "a.npz": "NumPy archive", "a.png": "PNG", "a.jpg": "JPEG or BMP", "a.bmp": "JPEG or BMP",
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} - set(names) == {"a.img", "pair.img"}
    return {f"{name} {number}": folder / file for number, (file, name) in enumerate(names.items())}


def test_each_format_under_its_own_and_under_another_name(tmp_path: Path) -> None:
    for name, path in files(tmp_path / "files").items():
        elsewhere = shutil.copy(path, tmp_path / "something.else")
        for there in (path, elsewhere):
            found = recognise(there)
            assert found is not None, path
            assert found.name == name.rpartition(" ")[0], path


@pytest.mark.parametrize(("ending", "name"), [(".mat", "MATLAB"), (".mnc", "MINC")])
def test_hdf5_goes_by_its_name(ending: str, name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / f"scan{ending}", "w") as file:
        file["data"] = DATA
    found = recognise(tmp_path / f"scan{ending}")
    assert found is not None
    assert found.name == name


@given(
    head=st.binary(max_size=400),
    start=st.sampled_from([b"", b"\0\0\0\1", b"MATLAB 5.0 MAT-file", b"II*\0", b"\x5c\1\0\0", b"PK\3\4"]),
)
def test_any_bytes_are_looked_at_without_a_crash(head: bytes, start: bytes) -> None:
    for one in FORMATS:
        assert one.recognises(start + head) in (True, False)


def test_a_short_file_is_of_no_format(tmp_path: Path) -> None:
    for length in range(1, 30):
        (tmp_path / "scan.nii").write_bytes(b"\0" * length)
        assert recognise(tmp_path / "scan.nii") is None
