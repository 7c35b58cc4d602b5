"""MATLAB files: old ones written by scipy, 7.3 as MATLAB lays them out."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError, WriteError
from napari_seg3d.volumes import Label, Volume, read_volume, write_volume
from tests.volumes.affines import affine_of
from tests.volumes.formats.damaging import assert_survives_damage

H, W, D = 50, 40, 9
VERSIONS = ["4", "5", "7", "7.3"]


def scan(*shape: int) -> NDArray[np.generic]:
    return np.random.default_rng(0).normal(0, 100, shape).astype(np.float64)


def save(path: Path, version: str, **content: NDArray[np.generic]) -> Path:
    """Write arrays in MATLAB's order: rows, columns, slices."""
    if version != "7.3":
        scipy.io.savemat(path, content, format="4" if version == "4" else "5", do_compression=version == "7")
        return path
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in content.items():
            kind = {"f8": "double", "f4": "single", "b1": "logical"}.get(array.dtype.str[1:], array.dtype.name)
            stored = file.create_dataset(
                name, data=(array.astype(np.uint8) if kind == "logical" else array).T, compression="gzip"
            )
            stored.attrs["MATLAB_class"] = np.bytes_(kind)
        group = file.create_group("#refs#")
        group["a"] = np.zeros((3, 3))
        text = file.create_dataset("text", data=np.array([[72], [105]], np.uint16))
        text.attrs["MATLAB_class"] = np.bytes_("char")
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."
    with open(path, "rb+") as handle:
        handle.write(header.ljust(116) + bytes(8) + b"\0\2IM")
    return path


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_and_columns_are_not_swapped(version: str, tmp_path: Path) -> None:
    data = scan(H, W)
    volume = read_volume(save(tmp_path / "scan.mat", version, picture=data))
    assert volume.data.shape == (1, W, H, 1)
    np.testing.assert_array_equal(volume.data[0, :, :, 0], data.T)
    assert not volume.is_oriented


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_volume_is_rows_columns_slices(version: str, tmp_path: Path) -> None:
    data = scan(11, 12, D)
    volume = read_volume(save(tmp_path / "scan.mat", version, data=data))
    np.testing.assert_array_equal(volume.data[0], data.transpose(1, 0, 2))
    assert any("rows x columns x slices" in note for note in volume.notes)


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("version", VERSIONS[1:])
def test_separate_labels(version: str, dtype: str, tmp_path: Path) -> None:
    painted = np.zeros((H, W, 7), bool)
    for channel in range(6):
        painted[5 + 6 * channel : 13 + 6 * channel, 3 + channel : 30, channel] = True  # they overlap
    painted[..., 6] = ~painted.any(axis=-1)
    path = save(tmp_path / "label.mat", version, label_separated=painted.astype(dtype), other=scan(3, 4))
    volume = read_volume(path)
    assert volume.kind == "labels"
    assert volume.data.shape == (7, W, H, 1)
    assert volume.data.dtype == np.uint8
    for channel in range(7):
        np.testing.assert_array_equal(volume.data[channel, :, :, 0], painted[..., channel].T * (channel + 1))
    assert volume.labels == {7: Label("background")}
    assert any("label_separated" in note and "other" in note for note in volume.notes)
    assert any("background" in note for note in volume.notes)


@pytest.mark.parametrize("version", ["7", "7.3"])
def test_labels_outside_0_and_1_are_said(version: str, tmp_path: Path) -> None:
    painted = np.zeros((H, W, 2))
    painted[5:10, 5:10, 0] = 255
    painted[20:25, 20:25, 1] = 1.07
    painted[25, 25, 1] = 0.3
    painted[30, 30, 1] = -1
    volume = read_volume(save(tmp_path / "label.mat", version, label_separated=painted))
    np.testing.assert_array_equal(volume.data[0, :, :, 0] == 1, painted[..., 0].T == 255)
    np.testing.assert_array_equal(volume.data[1, :, :, 0] == 2, painted[..., 1].T > 1)
    assert any(f"{25 + 25 + 2} values are neither 0 nor 1 (from -1 to 255)" in note for note in volume.notes)


def test_many_labels_of_a_small_picture_are_known_by_their_name(tmp_path: Path) -> None:
    painted = np.zeros((12, 14, 30), np.uint8)
    painted[2:5, 3:6, 29] = 1
    volume = read_volume(save(tmp_path / "label.mat", "7", label_separated=painted))
    assert volume.data.shape == (30, 14, 12, 1)
    assert volume.data.max() == 30


@pytest.mark.parametrize("version", ["5", "7", "7.3"])
def test_the_array_is_chosen_by_name_or_size_and_said(version: str, tmp_path: Path) -> None:
    path = save(tmp_path / "case.mat", version, first=scan(5, 6), second=scan(20, 21, 5), mask=np.ones((20, 21, 5), np.uint8))
    assert read_volume(path, "labels").data.shape == (1, 21, 20, 5)
    assert any("mask (20x21x5) was read" in note and "second" in note for note in read_volume(path).notes)
    np.testing.assert_array_equal(read_volume(path, variable="first").data[0, :, :, 0], scan(5, 6).T)
    with pytest.raises(ReadError, match="no array third"):
        read_volume(path, variable="third")


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_mask_of_one_slice_there_and_back(overlapping: bool, tmp_path: Path) -> None:
    data = np.zeros((2 if overlapping else 1, W, H, 1), np.uint8)
    data[0, 3:10, 4:20] = 1
    data[-1, 8:30, 15:40] = 2
    affine = affine_of()
    path = write_volume(Volume(data, affine, "labels"), tmp_path / "mask.mat")
    stored = scipy.io.loadmat(path)["label_separated"]
    assert stored.shape == (H, W, 2)
    assert stored.max() == 1
    again = read_volume(path)
    np.testing.assert_allclose(again.affine, affine)
    assert again.kind == "labels"
    np.testing.assert_array_equal(again.data.max(axis=0), data.max(axis=0))


@pytest.mark.parametrize("kind", ["image", "labels"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_volume_there_and_back_with_its_place(channels: int, kind: str, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 5, (channels, 6, 7, 8)).astype(np.uint8)
    affine = affine_of(((1, 2, 0), (1, -1, 1)), (10, -5, 20))
    path = write_volume(Volume(data, affine, "labels" if kind == "labels" else "image"), tmp_path / "scan.mat")
    again = read_volume(path, "labels" if kind == "labels" else "image")
    np.testing.assert_array_equal(again.data, data)
    np.testing.assert_allclose(again.affine, affine)
    assert again.is_oriented
    content = scipy.io.loadmat(path)
    assert content["labels" if kind == "labels" else "image"].shape[:3] == (7, 6, 8)


def test_more_labels_than_channels_can_stand_for(tmp_path: Path) -> None:
    data = np.full((1, 5, 6, 1), 4000, np.int32)
    with pytest.raises(WriteError, match="4000"):
        write_volume(Volume(data, np.eye(4), "labels"), tmp_path / "mask.mat")


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_nothing_in_it_that_could_be_a_scan(version: str, tmp_path: Path) -> None:
    path = tmp_path / "scan.mat"
    if version == "5":
        scipy.io.savemat(path, {"structure": {"a": 1}, "cell": np.array([1, "a"], object), "text": "words", "number": 3.0})
    else:
        save(path, version, number=np.ones((1, 1)))
    with pytest.raises(ReadError, match="no array that could be a scan"):
        read_volume(path)
    with pytest.raises(ReadError, match="text"):
        read_volume(path, variable="text")


def test_arrays_in_other_files_are_not_fetched(tmp_path: Path) -> None:
    save(tmp_path / "other.mat", "7.3", data=scan(11, 12, D))
    with h5py.File(tmp_path / "scan.mat", "w") as file:
        file["data"] = h5py.ExternalLink("other.mat", "data")
    with pytest.raises(ReadError, match="no array"):
        read_volume(tmp_path / "scan.mat")


def test_an_array_of_terabytes_that_was_never_written(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.mat", "w") as file:
        file.create_dataset("data", (50_000, 50_000, 5000), "f8", chunks=(100, 100, 100))
    with pytest.raises(ReadError, match="does not fit into memory"):
        read_volume(tmp_path / "scan.mat")


@pytest.mark.parametrize("version", VERSIONS)
def test_damage_never_crashes(version: str, tmp_path: Path) -> None:
    content = {"data": scan(H, W)} if version == "4" else {"data": scan(11, 12, D), "x": scan(3, 4)}
    assert assert_survives_damage(save(tmp_path / "scan.mat", version, **content)) > 5


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off(share: float, version: str, tmp_path: Path) -> None:
    path = save(tmp_path / "scan.mat", version, data=scan(30, 40) if version == "4" else scan(20, 30, 9))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ReadError, match=r"scan\.mat"):
        read_volume(path)
