"""MGH and MGZ, written by nibabel and read by us."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes import read_grid, read_volume
from tests.volumes.affines import ORDERS, Order, affine_of
from tests.volumes.formats.damaging import assert_survives_damage

SHAPE = (5, 6, 7)
OBLIQUE = affine_of(((2, 0, 1), (-1, 1, -1)), (10, -5, 20))


def scan(dtype: str = "f4", shape: tuple[int, ...] = SHAPE) -> NDArray[np.generic]:
    return np.random.default_rng(0).normal(100, 20, shape).astype(dtype)


def save(path: Path, data: NDArray[np.generic], affine: NDArray[np.float64] = OBLIQUE, tr: float = 0) -> Path:
    image = nib.MGHImage(data, affine)
    if tr:
        image.header["tr"] = tr
    image.to_filename(path)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
@pytest.mark.parametrize("ending", [".mgh", ".mgz"])
def test_voxels_and_grid_are_those_of_nibabel(dtype: str, ending: str, tmp_path: Path) -> None:
    data = scan(dtype)
    volume = read_volume(save(tmp_path / f"scan{ending}", data), "image")
    np.testing.assert_array_equal(volume.data[0], data)
    assert volume.data.dtype == np.dtype(dtype)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-4)
    assert read_grid(tmp_path / f"scan{ending}").matches(volume.grid)
    assert volume.is_oriented
    assert not volume.notes


@pytest.mark.parametrize("order", ORDERS[::5])
def test_every_axis_order_becomes_the_same_canonical_volume(order: Order, tmp_path: Path) -> None:
    affine = affine_of(order, (3, 4, 5))
    original = nib.as_closest_canonical(nib.Nifti1Image(scan(), affine))
    volume = read_volume(save(tmp_path / "scan.mgz", scan(), affine)).canonical()
    np.testing.assert_array_equal(volume.data[0], np.asarray(original.dataobj))
    np.testing.assert_allclose(volume.affine, original.affine, atol=1e-4)


@pytest.mark.parametrize(("tr", "fourth", "names"), [(2500.0, "time", ("0 s", "2.5 s", "5 s")), (0.0, "channel", ())])
def test_frames_are_time_or_channels_and_a_note_says_which(
    tr: float, fourth: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    data = scan("i2", (*SHAPE, 3))
    volume = read_volume(save(tmp_path / "scan.mgz", data, tr=tr))
    np.testing.assert_array_equal(np.moveaxis(volume.data, 0, 3), data)
    assert volume.fourth == fourth
    assert volume.channels == names
    assert "3 frames" in volume.notes[0]


def test_a_file_that_does_not_say_how_it_lies(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.mgh", scan())
    content = bytearray(path.read_bytes())
    content[28:30] = b"\0\0"
    path.write_bytes(content)
    volume = read_volume(path)
    assert not volume.is_oriented
    assert "not a fact" in volume.notes[0]


@pytest.mark.parametrize("share", [0.0005, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("ending", [".mgh", ".mgz"])
def test_a_file_that_is_cut_off(ending: str, share: float, tmp_path: Path) -> None:
    path = save(tmp_path / f"scan{ending}", scan("f4", (20, 21, 22)))
    whole = path.read_bytes()
    path.write_bytes(whole[: max(1, int(share * len(whole)) - 40)])
    with pytest.raises(ReadError, match="scan"):
        read_volume(path)


def test_a_flipped_bit_in_compressed_voxels_never_passes_for_a_scan(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.mgz", scan("i2", (12, 13, 14)))
    whole = path.read_bytes()
    for place in range(20, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[place] ^= 8
        path.write_bytes(damaged)
        with pytest.raises(ReadError, match=r"scan\.mgz"):
            read_volume(path)


def test_a_header_that_promises_terabytes_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.mgz", scan())
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[4:16] = (30000).to_bytes(4, "big") * 3
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ReadError, match="cut off"):
        read_volume(path)


def test_a_real_one(shared_data: Path) -> None:
    path = shared_data / "formats" / "wm.mgz"
    volume, reference = read_volume(path, "image"), nib.load(path)
    np.testing.assert_array_equal(volume.data[0], np.asarray(reference.dataobj))
    np.testing.assert_allclose(volume.affine, reference.affine)
    assert volume.orientation == "LIA"


def test_damage_never_crashes(tmp_path: Path) -> None:
    assert assert_survives_damage(save(tmp_path / "scan.mgh", scan())) > 10
