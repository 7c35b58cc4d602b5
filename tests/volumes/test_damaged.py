"""Bad input: each gives one clear error that names the file and the fix, and no volume."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import SimpleITK as sitk

from napari_seg3d.errors import ReadError, Seg3dError
from napari_seg3d.volumes import GRID_SUFFIXES, Volume, is_volume_path, read_grid, read_volume, volume_name, write_volume
from tests.volumes.affines import affine_of

T = TypeVar("T")
SCAN = np.random.default_rng(0).normal(100, 20, (1, 12, 13, 14)).astype(np.int16)


def save(path: Path, compress: bool = True) -> Path:
    """Write a scan and return the file that holds its voxels."""
    if compress or ".nii" in path.name:
        write_volume(Volume(SCAN, affine_of()), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(SCAN[0].transpose(2, 1, 0)), str(path), useCompression=False)
    if path.suffix == ".mhd":
        return path.with_suffix(".zraw" if compress else ".raw")
    return path


def assert_refused(path: Path, said: str | None = None) -> None:
    with pytest.raises(ReadError, match=said) as error:
        read_volume(path)
    assert str(path.parent / path.stem.split(".")[0]) in error.value.what
    assert "0x" not in error.value.what  # no addresses in memory
    assert error.value.fix


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("ending", GRID_SUFFIXES)
def test_a_file_that_is_cut_off(ending: str, compress: bool, share: float, tmp_path: Path) -> None:
    voxels = save(tmp_path / f"scan{ending}", compress)
    whole = voxels.read_bytes()
    voxels.write_bytes(whole[: int(share * len(whole))])
    assert_refused(tmp_path / f"scan{ending}", "cut off" if share > 0.1 and (compress or ".nii" in ending) else None)


def test_a_compressed_file_without_its_last_byte(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii.gz")
    path.write_bytes(path.read_bytes()[:-1])
    assert_refused(path, "cut off")


@pytest.mark.parametrize(
    "content", [b"hello\n" * 200, b"\0" * 2000, b"x", bytes(range(256)) * 9], ids=["text", "zeros", "x", "any"]
)
@pytest.mark.parametrize("ending", GRID_SUFFIXES)
def test_something_else_under_this_name(ending: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"scan{ending}"
    path.write_bytes(content)
    assert_refused(path)
    with pytest.raises(ReadError):
        read_grid(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".dat", ""])
@pytest.mark.parametrize("other", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_another_format_under_this_name_is_read_as_what_it_is(other: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"scan{ending}"
    shutil.copy(save(tmp_path / f"other{other}"), path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, SCAN)
    assert volume.grid.matches(Volume(SCAN, affine_of()).grid)
    assert read_grid(path).matches(volume.grid)
    is_said = any(f"Its name ends in {ending}" in note for note in volume.notes)
    same_family = {ending, other} <= {".nii", ".nii.gz"} or ending == other
    assert is_said == (ending in GRID_SUFFIXES and not same_family)


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
def test_what_is_no_file(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"scan{ending}"
    assert_refused(path, "does not exist")
    assert_refused(tmp_path / "gone" / f"scan{ending}", "does not exist")
    path.write_bytes(b"")
    assert_refused(path, "is empty")
    assert_refused(path / f"scan{ending}", "does not exist")  # below a file
    path.unlink()
    path.mkdir()
    assert_refused(path, "is a folder")
    assert_refused(tmp_path / f"{'x' * 300}{ending}", "cannot be read: ")


def test_an_unknown_ending(tmp_path: Path) -> None:
    (tmp_path / "scan.txt").write_bytes(b"x")
    with pytest.raises(ReadError, match=r"scan\.txt is no scan in any known format") as error:
        read_volume(tmp_path / "scan.txt")
    assert ".nii.gz" in error.value.fix


def test_a_header_without_its_data_file(tmp_path: Path) -> None:
    for compress in (True, False):
        save(tmp_path / "scan.mhd", compress).unlink()
        assert_refused(tmp_path / "scan.mhd", "its data file scan.z?raw is missing")
        (tmp_path / "scan.mhd").unlink()


def read_or_refused(path: Path, read: Callable[[Path], T]) -> T | None:
    """Return what was read, or None where it was refused with the file and a fix; any other exception fails the test."""
    try:
        return read(path)
    except Seg3dError as error:
        refusal = error
    assert str(path.parent) in refusal.what
    assert refusal.fix
    return None


@pytest.mark.parametrize(("ending", "end_of_header"), [(".nii.gz", b""), (".nrrd", b"\n\n"), (".mha", b"LOCAL\n"), (".mhd", b"")])
def test_flipped_bits_in_compressed_voxels_never_pass_for_a_scan(ending: str, end_of_header: bytes, tmp_path: Path) -> None:
    voxels = save(tmp_path / f"scan{ending}")
    whole = voxels.read_bytes()
    start = whole.index(end_of_header) + len(end_of_header)
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[random.integers(start, len(whole))] ^= 1 << random.integers(8)
        voxels.write_bytes(damaged)
        volume = read_or_refused(tmp_path / f"scan{ending}", read_volume)
        refused += volume is None
        if volume is not None:  # a bit that means nothing, such as one of the time in the header of gzip
            np.testing.assert_array_equal(volume.data, SCAN)
    assert refused > 90


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("ending", GRID_SUFFIXES)
def test_flipped_bits_in_the_header_never_crash(ending: str, compress: bool, tmp_path: Path) -> None:
    path = tmp_path / f"scan{ending}"
    save(path, compress)
    whole = path.read_bytes()
    random = np.random.default_rng(2)
    refused = 0
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[random.integers(min(352, len(whole)))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        refused += read_or_refused(path, read_volume) is None
        read_or_refused(path, read_grid)
    assert refused > 0


def test_names() -> None:
    assert [volume_name(name) for name in ("a/scan.01.nii.gz", "SCAN.NII", "x.mhd", "y.tif")] == ["scan.01", "SCAN", "x", "y"]
    assert is_volume_path("a/b.NII.GZ")
    assert not is_volume_path("a/._b.nii.gz")
    assert not is_volume_path("a/b.nii.gz.txt")
