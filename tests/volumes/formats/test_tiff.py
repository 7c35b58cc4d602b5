"""TIFF: pages, ImageJ and OME, written by tifffile (and ITK and Pillow) and read by us."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes import read_grid, read_volume
from tests.volumes.formats.damaging import assert_survives_damage

Z, Y, X = 4, 5, 6
STACK = np.random.default_rng(0).integers(0, 60000, (Z, Y, X)).astype(np.uint16)


def expected(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a stack ``(..., z, y, x)`` as ``(..., x, y, z)``."""
    return np.moveaxis(array, (-1, -2, -3), (-3, -2, -1))


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits", "lzma"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_stack_of_pages(compression: str | None, bigtiff: bool, byteorder: str, tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(
        path,
        STACK.astype(f"{byteorder}u2"),
        compression=compression,
        bigtiff=bigtiff,
        byteorder=byteorder,
        photometric="minisblack",
    )
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data[0], expected(STACK))
    assert volume.data.dtype == np.uint16
    assert volume.orientation == "LPS"
    assert not volume.is_oriented
    assert volume.spacing == (1, 1, 1)
    assert any("how large" in note for note in volume.notes)
    assert any("left and right" in note for note in volume.notes)
    assert read_grid(path).matches(volume.grid)


def test_a_stack_that_another_library_wrote(tmp_path: Path) -> None:
    pages = [Image.fromarray(page) for page in STACK]
    pages[0].save(tmp_path / "scan.tiff", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.tiff").data[0], expected(STACK))


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4", "f8", "?"])
def test_types_of_numbers(dtype: str, tmp_path: Path) -> None:
    data = (STACK % 200 > 100 if dtype == "?" else STACK % 200).astype(dtype)
    tifffile.imwrite(tmp_path / "scan.tif", data, photometric="minisblack")
    volume = read_volume(tmp_path / "scan.tif", "image")
    np.testing.assert_array_equal(volume.data[0], expected(data))
    assert volume.data.dtype == (np.uint8 if dtype == "?" else np.dtype(dtype))


@pytest.mark.parametrize(
    ("unit", "in_mm"), [("um", 1e-3), ("micron", 1e-3), ("\\u00B5m", 1e-3), ("mm", 1), ("cm", 10), ("pixel", None), ("", None)]
)
def test_sizes_of_imagej(unit: str, in_mm: float | None, tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "spacing": 3.0, "unit": unit}
    tifffile.imwrite(tmp_path / "scan.tif", STACK, imagej=True, resolution=(2.0, 4.0), metadata=metadata)
    volume = read_volume(tmp_path / "scan.tif")
    np.testing.assert_array_equal(volume.data[0], expected(STACK))
    sizes = (1, 1, 1) if in_mm is None else (0.5 * in_mm, 0.25 * in_mm, 3 * in_mm)
    np.testing.assert_allclose(volume.spacing, sizes)
    assert any("how large" in note for note in volume.notes) == (in_mm is None)
    assert read_grid(tmp_path / "scan.tif").matches(volume.grid)


@pytest.mark.parametrize(("axes", "fourth"), [("TZYX", "time"), ("ZCYX", "channel"), ("CYX", "channel"), ("TYX", "time")])
def test_hyperstacks_of_imagej(axes: str, fourth: str, tmp_path: Path) -> None:
    sizes = {"T": 3, "C": 2, "Z": Z, "Y": Y, "X": X}
    data = np.random.default_rng(1).integers(0, 60000, [sizes[axis] for axis in axes]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "scan.tif", data, imagej=True, metadata={"axes": axes, "finterval": 2.5})
    volume = read_volume(tmp_path / "scan.tif")
    front = axes.index("T") if fourth == "time" else axes.index("C")
    moved = np.moveaxis(data, front, 0)
    moved = moved if "Z" in axes else moved[:, np.newaxis]
    np.testing.assert_array_equal(volume.data, expected(moved))
    assert volume.fourth == fourth
    assert volume.channels == (("0 s", "2.5 s", "5 s") if fourth == "time" else ())
    assert any(("time" if fourth == "time" else "channels") in note for note in volume.notes)
    assert read_grid(tmp_path / "scan.tif").matches(volume.grid)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("axes", "fourth"), [("ZYX", None), ("CZYX", "channel"), ("ZCYX", "channel"), ("TZYX", "time")])
def test_ome(axes: str, fourth: str | None, compression: str | None, tmp_path: Path) -> None:
    sizes = {"T": 3, "C": 2, "Z": Z, "Y": Y, "X": X}
    data = np.random.default_rng(1).normal(0, 1, [sizes[axis] for axis in axes]).astype(np.float32)
    metadata = {
        "axes": axes,
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": "mm",
        "PhysicalSizeY": 250.0,
        "PhysicalSizeZ": 2e6,
        "PhysicalSizeZUnit": "nm",
        "TimeIncrement": 4.0,
        "TimeIncrementUnit": "s",
        "Channel": {"Name": ["DAPI", "GFP"]} if "C" in axes else {},
    }
    path = tmp_path / "scan.ome.tif"
    tifffile.imwrite(path, data, metadata=metadata, compression=compression)
    volume = read_volume(path)
    front = [axes.index(axis) for axis in "CT" if axis in axes]
    np.testing.assert_array_equal(volume.data, expected(np.moveaxis(data, front[0], 0) if front else data[np.newaxis]))
    np.testing.assert_allclose(volume.spacing, (0.5, 0.25, 2.0))
    assert volume.fourth == (fourth or "channel")
    assert volume.channels == {"time": ("0 s", "4 s", "8 s"), "channel": ("DAPI", "GFP"), None: ()}[fourth]
    assert not any("how large" in note for note in volume.notes)
    assert read_grid(path).matches(volume.grid)


def test_time_and_channels_are_too_much(tmp_path: Path) -> None:
    data = np.zeros((2, Z, 3, Y, X), np.uint8)
    tifffile.imwrite(tmp_path / "scan.tif", data, imagej=True, metadata={"axes": "TZCYX"})
    with pytest.raises(ReadError, match="more axes"):
        read_volume(tmp_path / "scan.tif")


def test_a_pyramid_gives_its_finest_level(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 255, (64, 48)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "scan.tif") as file:
        file.write(data, subifds=1, tile=(16, 16))
        file.write(data[::2, ::2], subfiletype=1, tile=(16, 16))
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.tif").data[0, :, :, 0], data.T)


def test_several_images_are_said(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "scan.tif") as file:
        file.write(STACK, metadata={"axes": "ZYX"})
        file.write(STACK[0, :3, :3])
    volume = read_volume(tmp_path / "scan.tif")
    np.testing.assert_array_equal(volume.data[0], expected(STACK))
    assert any("2 images" in note for note in volume.notes)


def test_dots_per_inch_are_no_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "print.tif", STACK[0], resolution=(300, 300), resolutionunit=2)
    volume = read_volume(tmp_path / "print.tif")
    assert volume.spacing == (1, 1, 1)
    assert any("printing" in note for note in volume.notes)
    tifffile.imwrite(tmp_path / "sized.tif", STACK[0], resolution=(20, 40), resolutionunit=3)
    np.testing.assert_allclose(read_volume(tmp_path / "sized.tif").spacing[:2], (0.5, 0.25))


def test_white_is_zero(tmp_path: Path) -> None:
    data = (STACK % 256).astype(np.uint8)
    tifffile.imwrite(tmp_path / "scan.tif", data, photometric="miniswhite")
    volume = read_volume(tmp_path / "scan.tif", "image")
    np.testing.assert_array_equal(volume.data[0], expected(255 - data))
    assert any("white" in note for note in volume.notes)


def test_a_palette_gives_indices_and_colours(tmp_path: Path) -> None:
    mask = np.zeros((Z, Y, X), np.uint8)
    mask[1:3, 1:4, 2:5] = 7
    colormap = np.zeros((3, 256), np.uint16)
    colormap[:, 7] = (255 * 257, 128 * 257, 0)
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="palette", colormap=colormap)
    volume = read_volume(tmp_path / "mask.tif")
    np.testing.assert_array_equal(volume.data[0], expected(mask))
    assert volume.kind == "labels"
    assert volume.labels[7].colour == "#ff8000"


def test_colours_become_labels_or_luminance(tmp_path: Path) -> None:
    painted = np.zeros((Z, Y, X, 3), np.uint8)
    painted[1:3, 1:4, 2:5] = (255, 0, 0)
    painted[3, 4, 5] = (0, 128, 0)
    tifffile.imwrite(tmp_path / "mask.tif", painted, photometric="rgb")
    mask = read_volume(tmp_path / "mask.tif")
    assert mask.kind == "labels"
    assert {value: label.colour for value, label in mask.labels.items()} == {0xFF0000: "#ff0000", 0x008000: "#008000"}
    np.testing.assert_array_equal(mask.data[0] == 0xFF0000, expected(painted[..., 0] == 255))

    photo = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "photo.tif", photo, photometric="rgb")
    volume = read_volume(tmp_path / "photo.tif")
    np.testing.assert_allclose(volume.data[0, :, :, 0], (photo @ [0.299, 0.587, 0.114]).T, atol=1e-3)
    assert any("luminance" in note for note in volume.notes)

    grey = np.repeat(photo[..., :1], 3, axis=-1)
    tifffile.imwrite(tmp_path / "grey.tif", grey, photometric="rgb")
    np.testing.assert_array_equal(read_volume(tmp_path / "grey.tif", "image").data[0, :, :, 0], grey[..., 0].T)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.8, 0.95, 0.999])
@pytest.mark.parametrize("kind", ["plain", "zlib", "pillow", "imagej", "ome"])
def test_a_file_that_is_cut_off(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / ("scan.ome.tif" if kind == "ome" else "scan.tif")
    data = np.random.default_rng(0).integers(0, 60000, (8, 20, 30)).astype(np.uint16)
    if kind == "pillow":
        pages = [Image.fromarray(page) for page in data]
        pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
    else:
        axes = {"axes": "ZYX"}
        tifffile.imwrite(path, data, imagej=kind == "imagej", metadata=axes, compression="zlib" if kind == "zlib" else None)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    try:
        volume = read_volume(path)
    except ReadError as error:
        assert str(path) in error.what  # noqa: PT017
    else:
        # A few bytes at the end may belong to a tag that nobody needs.
        assert share > 0.99
        np.testing.assert_array_equal(volume.data[0], expected(data))


@pytest.mark.parametrize("kind", ["plain", "zlib", "lzw", "imagej", "ome"])
def test_damage_never_crashes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("scan.ome.tif" if kind == "ome" else "scan.tif")
    tifffile.imwrite(path, STACK, imagej=kind == "imagej", compression=kind if kind in ("zlib", "lzw") else None)
    assert assert_survives_damage(path) > 10


def test_a_header_that_promises_terabytes(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, STACK[0], metadata=None, compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["ImageWidth"].overwrite(65000 * 60)
        file.pages.first.tags["ImageLength"].overwrite(65000 * 60)
    with pytest.raises(ReadError, match=r"scan\.tif"):
        read_volume(path)


def test_a_tile_that_promises_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, STACK[0], metadata=None, compression="zlib", tile=(16, 16))
    assert read_volume(path).data.size == STACK[0].size
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["TileLength"].overwrite((1 << 28) + 16)
    with pytest.raises(ReadError, match="promises"):
        read_volume(path)


def test_an_ome_tiff_of_several_files(tmp_path: Path) -> None:
    names = ["part_0.ome.tif", "part_1.ome.tif"]
    uuids = [f"urn:uuid:0000000{number}-0000-0000-0000-000000000000" for number in range(2)]
    data = "".join(
        f'<TiffData FirstC="{number}" FirstT="0" FirstZ="0" IFD="0" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for number, (name, uuid) in enumerate(zip(names, uuids, strict=True))
    )
    for number, (name, uuid) in enumerate(zip(names, uuids, strict=True)):
        ome = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}"><Image ID="Image:0"><Pixels '
            f'DimensionOrder="XYZCT" ID="Pixels:0" SizeC="2" SizeT="1" SizeX="{X}" SizeY="{Y}" SizeZ="1" Type="uint16">'
            f"{data}</Pixels></Image></OME>"
        )
        tifffile.imwrite(tmp_path / name, STACK[number], description=ome, metadata=None)
    volume = read_volume(tmp_path / names[0])
    np.testing.assert_array_equal(volume.data[:, :, :, 0], STACK[:2].transpose(0, 2, 1))
    shutil.move(tmp_path / names[1], tmp_path / "elsewhere.ome.tif")
    with pytest.raises(ReadError, match="not beside it"):
        read_volume(tmp_path / names[0])
