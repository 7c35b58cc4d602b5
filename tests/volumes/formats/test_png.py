"""Pictures: what Pillow and tifffile's neighbours write is read as the numbers that were stored."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from napari_seg3d.errors import ReadError, WriteError
from napari_seg3d.volumes import Volume, read_volume, write_volume
from tests.volumes.formats.damaging import assert_survives_damage

H, W = 9, 7


def mask() -> NDArray[np.uint8]:
    values = np.zeros((H, W), np.uint8)
    values[1:5, 1:4] = 1
    values[5:8, 2:6] = 3
    return values


def write_png(path: Path, values: NDArray[np.uint8], depth: int, colour: int = 0) -> Path:
    """Write a PNG by hand: Pillow does not make grey ones of 2 or 4 bits."""
    bits = np.unpackbits(values[..., np.newaxis], axis=-1)[..., 8 - depth :].reshape(len(values), -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_grey_values_are_those_that_were_stored(depth: int, tmp_path: Path) -> None:
    volume = read_volume(write_png(tmp_path / "mask.png", mask(), depth), "labels")
    np.testing.assert_array_equal(volume.data[0, :, :, 0], mask().T)
    assert volume.orientation == "LPS"
    assert not volume.is_oriented


def test_one_bit(tmp_path: Path) -> None:
    Image.fromarray(mask() > 0).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "mask.png", "labels").data[0, :, :, 0], mask().T > 0)


def test_sixteen_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65535, (H, W)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "scan.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.png", "image").data[0, :, :, 0], values.T)


@pytest.mark.parametrize("bits", [2, 8])
def test_a_palette_gives_indices_never_colours(bits: int, tmp_path: Path) -> None:
    picture = Image.fromarray(mask()).convert("P")
    picture.putdata(mask().ravel().tolist())
    picture.putpalette([0, 0, 0, 255, 0, 0, 9, 9, 9, 0, 128, 255])
    picture.save(tmp_path / "mask.png", bits=bits)
    volume = read_volume(tmp_path / "mask.png")
    assert volume.kind == "labels"
    np.testing.assert_array_equal(volume.data[0, :, :, 0], mask().T)
    assert {value: label.colour for value, label in volume.labels.items()} == {1: "#ff0000", 3: "#0080ff"}


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_painted_colours_are_labels(mode: str, tmp_path: Path) -> None:
    painted = np.zeros((H, W, len(mode)), np.uint8)
    painted[..., 3:] = 255
    painted[1:5, 1:4, :3] = (255, 0, 0)
    painted[5:8, 2:6, :3] = (0, 128, 255)
    painted[0, 0] = (9, 9, 9, 0)[: len(mode)] if mode == "RGBA" else 0  # nothing shows through
    Image.fromarray(painted).save(tmp_path / "mask.png")
    volume = read_volume(tmp_path / "mask.png")
    assert volume.kind == "labels"
    assert {value: label.colour for value, label in volume.labels.items()} == {0xFF0000: "#ff0000", 0x0080FF: "#0080ff"}
    np.testing.assert_array_equal(volume.data[0, :, :, 0] == 0xFF0000, (mask() == 1).T)
    np.testing.assert_array_equal(volume.data[0, :, :, 0] == 0x0080FF, (mask() == 3).T)


def test_a_photograph_is_no_mask(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    for ending in (".png", ".bmp", ".jpg"):
        Image.fromarray(photo).save(tmp_path / f"photo{ending}")
        volume = read_volume(tmp_path / f"photo{ending}")
        assert volume.kind == "image"
        assert volume.data.shape == (1, 50, 40, 1)
        assert any("luminance" in note for note in volume.notes)
    np.testing.assert_allclose(read_volume(tmp_path / "photo.bmp").data, read_volume(tmp_path / "photo.png").data)


def test_a_folder_is_a_stack_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    slices = [np.random.default_rng(number).integers(0, 255, (H, W)).astype(np.uint8) for number in range(12)]
    for number, values in enumerate(slices):
        Image.fromarray(values).save(tmp_path / f"slice{number}.png")
    volume = read_volume(tmp_path, "image")
    np.testing.assert_array_equal(volume.data[0], np.stack(slices).transpose(2, 1, 0))
    assert any("12 pictures" in note and "slice11.png" in note for note in volume.notes)
    with pytest.raises(WriteError, match="read from"):
        write_volume(Volume(mask()[np.newaxis, ..., np.newaxis], np.eye(4), "labels", volume.source), tmp_path / "slice3.png")


def test_slices_of_different_sizes_or_palettes(tmp_path: Path) -> None:
    (tmp_path / "sizes").mkdir()
    Image.fromarray(mask()).save(tmp_path / "sizes" / "a.png")
    Image.fromarray(mask()[:-1]).save(tmp_path / "sizes" / "b.png")
    with pytest.raises(ReadError, match=r"b\.png has 7 x 8 pixels"):
        read_volume(tmp_path / "sizes")
    (tmp_path / "palettes").mkdir()
    for name, colour in (("a", 255), ("b", 254)):
        picture = Image.fromarray(mask()).convert("P")
        picture.putpalette([0, 0, 0, colour, 0, 0, 9, 9, 9, 0, 128, 255])
        picture.save(tmp_path / "palettes" / f"{name}.png")
    with pytest.raises(ReadError, match="different palettes"):
        read_volume(tmp_path / "palettes")


@pytest.mark.parametrize("largest", [3, 300])
def test_a_mask_of_one_slice_there_and_back(largest: int, tmp_path: Path) -> None:
    labels = np.where(mask() == 3, largest, mask()).astype(np.int32)
    path = write_volume(Volume(labels.T[np.newaxis, :, :, np.newaxis], np.eye(4), "labels"), tmp_path / "mask.png")
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), labels)
    np.testing.assert_array_equal(read_volume(path, "labels").data[0, :, :, 0], labels.T)


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (np.ones((1, 4, 5, 6), np.uint8), "labels", "one slice"),
        (np.ones((2, 4, 5, 1), np.uint8), "labels", "overlap"),
        (np.full((1, 4, 5, 1), 70000), "labels", "65535"),
        (np.full((1, 4, 5, 1), -1), "labels", "65535"),
        (np.ones((1, 4, 5, 1), np.float32), "image", "values of an image"),
    ],
)
def test_what_a_png_cannot_hold(data: NDArray[np.generic], kind: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=said) as error:
        write_volume(Volume(data, np.eye(4), "labels" if kind == "labels" else "image"), tmp_path / "mask.png")
    assert str(tmp_path / "mask.png") in error.value.what
    assert error.value.fix
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp"])
def test_damage_never_crashes(ending: str, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)).save(tmp_path / f"scan{ending}")
    assert assert_survives_damage(tmp_path / f"scan{ending}") > 10


def test_a_flipped_bit_in_a_png_never_passes(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)).save(path)
    whole = path.read_bytes()
    for place in range(30, len(whole) - 12, 41):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ReadError):
            read_volume(path)
    for cut in (5, 13, 500):
        path.write_bytes(whole[:-cut])
        with pytest.raises(ReadError):
            read_volume(path)
