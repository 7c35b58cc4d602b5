"""A volume is written whole or not at all, and never over the file that it came from."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_seg3d.errors import LabelError, WriteError
from napari_seg3d.volumes import GRID_SUFFIXES, Volume, read_volume, write_volume
from tests.volumes.affines import affine_of

MASK = Volume(np.random.default_rng(0).integers(0, 3, (1, 6, 7, 8)).astype(np.uint8), affine_of(), "labels")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
def test_a_file_that_is_there_stays_unless_allowed(ending: str, tmp_path: Path) -> None:
    path = write_volume(MASK, tmp_path / f"mask{ending}")
    before = everything(tmp_path)
    other = MASK.with_data(MASK.data + 1)
    with pytest.raises(WriteError, match=f"mask{ending} exists already"):
        write_volume(other, path)
    assert everything(tmp_path) == before
    write_volume(other, path, overwrite=True)
    np.testing.assert_array_equal(read_volume(path, "labels").data, other.data)
    assert everything(tmp_path).keys() == before.keys()


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
def test_the_source_is_never_overwritten(ending: str, tmp_path: Path) -> None:
    volume = read_volume(write_volume(MASK, tmp_path / f"mask{ending}"), "labels")
    before = everything(tmp_path)
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / f"link{ending}").symlink_to(tmp_path / f"mask{ending}")
    os.link(tmp_path / f"mask{ending}", tmp_path / f"hard{ending}")
    for name in (f"mask{ending}", f"folder/mask{ending}", f"link{ending}", f"hard{ending}"):
        with pytest.raises(WriteError, match="the file that this was read from"):
            write_volume(volume.with_data(volume.data * 0), tmp_path / name, overwrite=True)
    assert {name: everything(tmp_path)[name] for name in before} == before


def test_the_header_and_the_data_of_an_mhd_arrive_together(tmp_path: Path) -> None:
    write_volume(MASK, tmp_path / "new" / "mask.mhd")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["mask.mhd", "mask.zraw"]
    (tmp_path / "new").rename(tmp_path / "moved")
    np.testing.assert_array_equal(read_volume(tmp_path / "moved" / "mask.mhd", "labels").data, MASK.data)


@pytest.mark.parametrize("overwrite", [True, False])
def test_the_data_file_of_another_volume_stays(overwrite: bool, tmp_path: Path) -> None:
    write_volume(MASK, tmp_path / "mask.mhd")
    header = (tmp_path / "mask.mhd").rename(tmp_path / "other.mhd")  # still points to mask.zraw
    volume = read_volume(header, "labels")
    with pytest.raises(WriteError, match=r"mask\.zraw exists already"):
        write_volume(volume.with_data(volume.data * 0), tmp_path / "mask.mhd", overwrite=overwrite)
    assert sorted(everything(tmp_path)) == ["mask.zraw", "other.mhd"]
    np.testing.assert_array_equal(read_volume(header, "labels").data, MASK.data)


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
def test_a_place_that_cannot_be_written(ending: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am no folder")
    (tmp_path / f"folder{ending}").mkdir()
    (tmp_path / f"folder{ending}" / "inside").write_text("mine")
    before = everything(tmp_path)
    for place in (tmp_path / "file" / f"mask{ending}", tmp_path / f"folder{ending}", tmp_path / f"{'x' * 300}{ending}"):
        with pytest.raises(WriteError) as error:
            write_volume(MASK, place, overwrite=True)
        assert str(place) in error.value.what
        assert error.value.fix
    assert everything(tmp_path) == before
    assert not list(tmp_path.rglob(".writing-*"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(WriteError, match="may not be written"):
        write_volume(MASK, tmp_path / "closed" / "mask.nii.gz")


def test_an_unknown_ending_and_values_that_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"mask\.txt: no format that can be written ends like this"):
        write_volume(MASK, tmp_path / "mask.txt")
    with pytest.raises(LabelError, match=r"mask\.nii\.gz holds fractional values"):
        write_volume(MASK.with_data(MASK.data.astype(np.float32) / 2), tmp_path / "mask.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_more_voxels_along_an_axis_than_nifti_1_can_count(tmp_path: Path) -> None:
    long = Volume(np.zeros((1, 40_000, 1, 1), np.uint8), np.eye(4), "labels")
    path = write_volume(long, tmp_path / "long.nii.gz")
    assert isinstance(nib.load(path), nib.Nifti2Image)
    assert read_volume(path).data.shape == (1, 40_000, 1, 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here ({mounted.stderr.strip()})")
    yield disk
    subprocess.run(["umount", disk], check=True)  # fails as long as a file on it is open


@pytest.mark.parametrize("ending", GRID_SUFFIXES)
def test_a_full_disk(ending: str, small_disk: Path) -> None:
    small = write_volume(MASK, small_disk / f"mask{ending}")
    before = everything(small_disk)
    random = np.random.default_rng(0)
    written = refused = 0
    # From "just fits" to "by far too large": some writers notice only while they close the file, some not even then.
    for slices in [*range(60, 90), 400]:
        large = Volume(random.integers(0, 256, (1, 40, 40, slices)).astype(np.uint8), affine_of(), "labels")
        try:
            write_volume(large, small_disk / f"large{ending}")
        except WriteError:
            refused += 1
            for path in (small_disk / f"large{ending}", small):
                with pytest.raises(WriteError, match="The disk is full") as error:
                    write_volume(large, path, overwrite=True)
                assert str(path) in error.value.what
            assert everything(small_disk) == before
            assert not list(small_disk.glob(".writing-*"))
        else:
            written += 1
            np.testing.assert_array_equal(read_volume(small_disk / f"large{ending}", "labels").data, large.data)
            for path in small_disk.glob("large*"):
                path.unlink()
    assert written
    assert refused
