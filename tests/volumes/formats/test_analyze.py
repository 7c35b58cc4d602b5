"""Pairs of a header and a file of voxels, written by nibabel and read by us."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.spm2analyze import Spm2AnalyzeImage
from nibabel.spm99analyze import Spm99AnalyzeImage
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes import is_volume_path, read_grid, read_volume
from tests.volumes.affines import affine_of
from tests.volumes.formats.damaging import assert_survives_damage

SHAPE = (5, 6, 7)
OBLIQUE = affine_of(((2, 0, 1), (-1, 1, -1)), (10, -5, 20))


def scan(dtype: str = "i2", shape: tuple[int, ...] = SHAPE) -> NDArray[np.generic]:
    return np.random.default_rng(0).normal(100, 20, shape).astype(dtype)


def save(folder: Path, kind: type[nib.AnalyzeImage], data: NDArray[np.generic], affine: NDArray[np.float64]) -> Path:
    kind(data, affine).to_filename(folder / "scan.hdr")
    return folder / "scan.hdr"


@pytest.mark.parametrize("ending", [".hdr", ".img"])
@pytest.mark.parametrize("kind", [nib.AnalyzeImage, Spm99AnalyzeImage, Spm2AnalyzeImage, nib.Nifti1Pair, nib.Nifti2Pair])
def test_voxels_and_grid_are_those_of_nibabel(kind: type[nib.AnalyzeImage], ending: str, tmp_path: Path) -> None:
    path = save(tmp_path, kind, scan(), np.diag((-0.8, 1.5, 4, 1))).with_suffix(ending)
    volume, reference = read_volume(path, "image"), nib.load(path)
    np.testing.assert_array_equal(volume.data[0], np.asarray(reference.dataobj))
    np.testing.assert_allclose(volume.affine, reference.affine)
    assert read_grid(path).matches(volume.grid)


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair, Spm99AnalyzeImage])
def test_what_says_how_it_lies_is_taken_at_its_word(kind: type[nib.AnalyzeImage], tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path, kind, scan(), OBLIQUE))
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)
    assert volume.is_oriented
    assert not volume.notes


def test_plain_analyze_does_not_say_how_it_lies(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path, nib.AnalyzeImage, scan(), OBLIQUE))
    assert not volume.is_oriented
    assert volume.orientation == "LAS"
    assert "not a fact" in volume.notes[0]
    np.testing.assert_allclose(volume.spacing, (0.8, 1.5, 4.0), rtol=1e-6)


def test_spm_scales_its_values(tmp_path: Path) -> None:
    image = Spm99AnalyzeImage(scan("f4") / 7, OBLIQUE)
    image.set_data_dtype(np.int16)
    image.to_filename(tmp_path / "scan.hdr")
    volume = read_volume(tmp_path / "scan.img")
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data[0], nib.load(tmp_path / "scan.img").get_fdata(), rtol=1e-6)


def test_a_fourth_axis_of_analyze_is_time(tmp_path: Path) -> None:
    data = scan(shape=(*SHAPE, 3))
    volume = read_volume(save(tmp_path, nib.AnalyzeImage, data, OBLIQUE))
    np.testing.assert_array_equal(np.moveaxis(volume.data, 0, 3), data)
    assert volume.fourth == "time"
    assert any("time" in note for note in volume.notes)


def test_a_header_without_voxel_sizes_says_so(tmp_path: Path) -> None:
    path = save(tmp_path, nib.AnalyzeImage, scan(), OBLIQUE)
    content = bytearray(path.read_bytes())
    content[80:92] = bytes(12)
    path.write_bytes(content)
    volume = read_volume(path)
    assert volume.spacing == (1, 1, 1)
    assert any("no size" in note for note in volume.notes)


@pytest.mark.parametrize("kind", [nib.AnalyzeImage, nib.Nifti1Pair])
def test_half_a_pair(kind: type[nib.AnalyzeImage], tmp_path: Path) -> None:
    path = save(tmp_path, kind, scan(), OBLIQUE)
    path.with_suffix(".img").unlink()
    with pytest.raises(ReadError, match="missing"):
        read_volume(path)
    with pytest.raises(ReadError, match="does not exist"):
        read_volume(path.with_suffix(".img"))


@pytest.mark.parametrize("kind", [nib.AnalyzeImage, nib.Nifti1Pair])
def test_a_compressed_pair_is_checked_to_its_end(kind: type[nib.AnalyzeImage], tmp_path: Path) -> None:
    path = save(tmp_path, kind, scan(), OBLIQUE)
    expected = np.asarray(nib.load(path).dataobj)
    voxels = path.with_suffix(".img")
    compressed = gzip.compress(voxels.read_bytes())
    voxels.unlink()
    (tmp_path / "scan.img.gz").write_bytes(compressed)
    np.testing.assert_array_equal(read_volume(path, "image").data[0], expected)
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.img.gz", "image").data[0], expected)
    for damaged in (compressed[:-9], compressed[:-6] + b"\0" + compressed[-5:]):
        (tmp_path / "scan.img.gz").write_bytes(damaged)
        with pytest.raises(ReadError, match=r"scan\."):
            read_volume(path)


@pytest.mark.parametrize("kind", [nib.AnalyzeImage, nib.Nifti1Pair])
def test_voxels_that_are_cut_off(kind: type[nib.AnalyzeImage], tmp_path: Path) -> None:
    path = save(tmp_path, kind, scan(), OBLIQUE)
    voxels = path.with_suffix(".img")
    voxels.write_bytes(voxels.read_bytes()[:-3])
    with pytest.raises(ReadError, match="cut off"):
        read_volume(path)


def test_a_folder_lists_a_pair_once(tmp_path: Path) -> None:
    save(tmp_path, nib.AnalyzeImage, scan(), OBLIQUE)
    assert [path.name for path in sorted(tmp_path.iterdir()) if is_volume_path(path)] == ["scan.hdr"]


def test_a_real_one(shared_data: Path) -> None:
    path = shared_data / "formats" / "ras.img"
    volume, reference = read_volume(path, "image"), nib.load(path)
    np.testing.assert_array_equal(volume.data[0], np.asarray(reference.dataobj))
    np.testing.assert_allclose(volume.affine, reference.affine)


@pytest.mark.parametrize("kind", [nib.AnalyzeImage, Spm99AnalyzeImage, nib.Nifti1Pair])
def test_damage_never_crashes(kind: type[nib.AnalyzeImage], tmp_path: Path) -> None:
    assert assert_survives_damage(save(tmp_path, kind, scan(), OBLIQUE)) > 10
