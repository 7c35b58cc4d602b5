"""Plain arrays of NumPy."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError, WriteError
from napari_seg3d.volumes import Volume, read_volume, write_volume
from tests.volumes.formats.damaging import assert_survives_damage

STACK = np.random.default_rng(0).normal(0, 1, (4, 5, 6)).astype(np.float32)
H, W = 50, 40


def picture(*more: int) -> NDArray[np.generic]:
    return np.random.default_rng(0).integers(0, 1000, (H, W, *more)).astype(np.int16)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_stack_is_slices_rows_columns(order: str, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.asarray(STACK, order=order))
    volume = read_volume(tmp_path / "scan.npy")
    np.testing.assert_array_equal(volume.data[0], STACK.transpose(2, 1, 0))
    assert volume.orientation == "LPS"
    assert not volume.is_oriented
    assert any("slices x rows x columns (4x5x6)" in note for note in volume.notes)


def test_a_picture(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", picture())
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.npy", "image").data[0, :, :, 0], picture().T)


def test_channels_come_last(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", picture(7))
    volume = read_volume(tmp_path / "scan.npy", "image")
    np.testing.assert_array_equal(volume.data[..., 0], picture(7).transpose(2, 1, 0))
    assert any("channels" in note for note in volume.notes)


def test_time_comes_first(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.stack([STACK, -STACK]))
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.npy").data[1], -STACK.transpose(2, 1, 0))


def test_separate_labels_there_and_back(tmp_path: Path) -> None:
    painted = np.zeros((H, W, 3), np.uint8)
    painted[5:20, 3:30, 0] = 1
    painted[15:30, 20:35, 2] = 1  # over the first one
    np.save(tmp_path / "mask.npy", painted)
    volume = read_volume(tmp_path / "mask.npy")
    assert volume.kind == "labels"
    assert volume.data.shape == (3, W, H, 1)
    for channel in range(3):
        np.testing.assert_array_equal(volume.data[channel, :, :, 0], painted[..., channel].T * (channel + 1))
    np.testing.assert_array_equal(np.load(write_volume(volume, tmp_path / "again.npy")), painted)


def test_a_label_map_of_one_slice_is_written_with_a_channel_for_each_label(tmp_path: Path) -> None:
    labels = np.zeros((1, W, H, 1), np.int64)
    labels[0, 3:9, 4:20] = 1
    labels[0, 20:30, 30:40] = 4
    stored = np.load(write_volume(Volume(labels, np.eye(4), "labels"), tmp_path / "mask.npy"))
    assert stored.shape == (H, W, 4)
    assert stored.dtype == np.uint8
    for channel in range(4):
        np.testing.assert_array_equal(stored[..., channel], channel + 1 == labels[0, :, :, 0].T)
    with pytest.raises(WriteError, match="1000"):
        write_volume(Volume(labels * 250, np.eye(4), "labels"), tmp_path / "many.npy")


def test_volumes_there_and_back(tmp_path: Path) -> None:
    for name, data in {"three": STACK[np.newaxis], "four": np.stack([STACK, STACK + 1])}.items():
        volume = Volume(data.transpose(0, 3, 2, 1), np.eye(4))
        path = write_volume(volume, tmp_path / f"{name}.npy")
        np.testing.assert_array_equal(np.load(path), data[0] if name == "three" else data)
        np.testing.assert_array_equal(read_volume(path).data, volume.data)
    image = Volume(picture().T[np.newaxis, :, :, np.newaxis], np.eye(4))
    np.testing.assert_array_equal(np.load(write_volume(image, tmp_path / "two.npy")), picture())


class Shell:
    """Would run a program if it was loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch stolen",)


def test_objects_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "scan.npy", np.array([Shell(), Shell()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "scan.npz", image=np.array([Shell(), Shell()], dtype=object))
    for name in ("scan.npy", "scan.npz"):
        with pytest.raises(ReadError, match="objects"):
            read_volume(tmp_path / name)
    assert not (tmp_path / "stolen").exists()


def test_a_header_that_promises_terabytes(tmp_path: Path) -> None:
    with open(tmp_path / "scan.npy", "wb") as handle:
        np.lib.format.write_array_header_1_0(handle, {"descr": "<f8", "fortran_order": False, "shape": (100_000, 10_000, 1000)})
        handle.write(bytes(800))
    with pytest.raises(ReadError, match="cut off"):
        read_volume(tmp_path / "scan.npy")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_says_what_was_read(save: object, tmp_path: Path) -> None:
    assert callable(save)
    save(tmp_path / "case.npz", label=np.ones((4, 5, 6), np.uint8), image=STACK, spacing=np.ones(3))
    volume = read_volume(tmp_path / "case.npz")
    np.testing.assert_array_equal(volume.data[0], STACK.transpose(2, 1, 0))
    assert any("image (4x5x6) was read" in note and "label (4x5x6)" in note for note in volume.notes)
    assert read_volume(tmp_path / "case.npz", "labels", variable="label").data.max() == 1
    with pytest.raises(ReadError, match="no array nothing"):
        read_volume(tmp_path / "case.npz", variable="nothing")


def test_an_archive_with_one_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", STACK)
    np.testing.assert_array_equal(read_volume(tmp_path / "case.npz").data[0], STACK.transpose(2, 1, 0))


@pytest.mark.parametrize("name", ["scan.npy", "stored.npz", "deflated.npz"])
def test_damage_never_crashes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    {"scan.npy": np.save, "stored.npz": np.savez, "deflated.npz": np.savez_compressed}[name](path, STACK)
    assert assert_survives_damage(path) > 10


def test_a_flipped_bit_in_an_archive_never_passes(tmp_path: Path) -> None:
    path = tmp_path / "scan.npz"
    np.savez_compressed(path, STACK)
    whole = path.read_bytes()
    for place in range(200, 400, 11):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ReadError):
            read_volume(path)


@pytest.mark.parametrize(
    "data", [np.zeros(5), np.array(3.0), np.zeros((2, 3, 4, 5, 6)), np.zeros((4, 4), complex), np.zeros((0, 4))]
)
def test_what_is_no_scan(data: NDArray[np.generic], tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", data)
    with pytest.raises(ReadError, match="scan"):
        read_volume(tmp_path / "scan.npy")
