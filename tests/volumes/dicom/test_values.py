"""Stored numbers become what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes import Volume, read_volume
from tests.volumes.dicom.series_writer import dataset, write_series


def read_back(folder: Path, stored: np.ndarray, **elements: Any) -> Volume:
    write_series(folder, stored, **elements)
    return read_volume(folder)


def as_stored(volume: Volume) -> np.ndarray:
    return np.transpose(volume.data[0], (2, 1, 0))


def test_hounsfield_units_stay_whole_and_small(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (3, 4, 5), np.uint16)
    volume = read_back(tmp_path, stored, RescaleSlope=1, RescaleIntercept=-1024)
    assert volume.data.dtype == np.int16
    np.testing.assert_array_equal(as_stored(volume), stored.astype(int) - 1024)


@pytest.mark.parametrize(
    ("low", "high", "intercept", "dtype"),
    [(0, 65535, 0, np.int32), (0, 30000, 0, np.int16), (1000, 33000, -1024, np.int16), (0, 65535, -32768, np.int16)],
)
def test_sixteen_bits_take_the_smallest_type_that_holds_them(
    low: int, high: int, intercept: int, dtype: type, tmp_path: Path
) -> None:
    stored = np.random.default_rng(0).integers(low, high, (3, 4, 5), np.uint16, endpoint=True)
    stored.flat[:2] = low, high
    volume = read_back(tmp_path, stored, RescaleIntercept=intercept, RescaleSlope=1)
    assert volume.data.dtype == dtype
    np.testing.assert_array_equal(as_stored(volume), stored.astype(int) + intercept)


@pytest.mark.parametrize("intercept", [-1024, 0, 1000, 32767])
def test_signed_sixteen_bits_with_an_intercept(intercept: int, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-32768, 32767, (3, 4, 5), np.int16)
    volume = read_back(tmp_path, stored, RescaleIntercept=intercept, RescaleSlope=1)
    np.testing.assert_array_equal(as_stored(volume), stored.astype(int) + intercept)


def test_each_slice_has_a_slope_of_its_own_as_in_pet(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 30000, (4, 4, 5), np.uint16)
    slopes = np.array([0.5, 1.25, 3.75, 0.01])

    def scale(one: Dataset, number: int) -> None:
        one.RescaleSlope, one.RescaleIntercept = str(slopes[number]), "0"

    volume = read_back(tmp_path, stored, modality="PT", change=scale)
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(as_stored(volume), stored * slopes[:, None, None], rtol=1e-6)
    assert any("slice by slice" in note for note in volume.notes)


def test_bits_beyond_those_stored_are_no_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-2048, 2047, (3, 4, 5), np.int16)
    with_overlay = (values.astype(np.uint16) & 0x0FFF) | 0x5000
    volume = read_back(tmp_path, with_overlay, BitsStored=12, HighBit=11, PixelRepresentation=1)
    np.testing.assert_array_equal(as_stored(volume), values)
    volume = read_back(tmp_path, with_overlay, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(as_stored(volume), with_overlay & 0x0FFF)


def test_a_radiograph_that_stores_white_as_0_is_turned_round(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1024, (3, 4, 5), np.uint16)
    volume = read_back(tmp_path, stored, modality="MR", PhotometricInterpretation="MONOCHROME1", BitsStored=10, HighBit=9)
    np.testing.assert_array_equal(as_stored(volume), 1023 - stored.astype(int))
    assert any("MONOCHROME1" in note for note in volume.notes)
    full = read_back(tmp_path / "16", stored << 6, modality="MR", PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(as_stored(full), 65535 - (stored.astype(int) << 6))


@pytest.mark.parametrize("modality", ["CT", "PT"])
def test_measured_values_are_never_turned_round(modality: str, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1024, (3, 4, 5), np.uint16)
    volume = read_back(tmp_path, stored, modality=modality, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(as_stored(volume), stored)
    assert any("MONOCHROME1" in note for note in volume.notes)


def test_a_table_in_the_file_is_applied(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [4, 10, 16]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = [100, 300, 200, 50000]
    table["LUTData"].VR = "US"
    table.ModalityLUTType = "US"
    stored = np.array([[[9, 10, 11, 12, 13, 14]]], np.uint16)
    made = dataset(stored[0], "DX", ModalityLUTSequence=Sequence([table]), PixelSpacing=[1, 1])
    made.save_as(tmp_path / "one", enforce_file_format=True)
    volume = read_volume(tmp_path / "one")
    np.testing.assert_array_equal(volume.data[0, :, 0, 0], [100, 100, 300, 200, 50000, 50000])
    assert any("Modality LUT" in note for note in volume.notes)


def test_colour_is_read_as_luminance(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
    made = dataset(colours[..., 0], "US", SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    made.PixelData = colours.tobytes()
    made.save_as(tmp_path / "one", enforce_file_format=True)
    volume = read_volume(tmp_path / "one")
    assert volume.data.shape == (1, 7, 6, 1)
    np.testing.assert_array_equal(
        volume.data[0, :, :, 0].T, np.rint(colours.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]))
    )
    assert any("colour" in note for note in volume.notes)


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    stored = np.array([[0, 1], [2, 3]], np.uint8)
    made = dataset(stored, "OT", PhotometricInterpretation="PALETTE COLOR")
    for colour, values in (("Red", [0, 255, 0, 10]), ("Green", [0, 0, 255, 10]), ("Blue", [0, 0, 0, 10])):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 8])
        setattr(made, f"{colour}PaletteColorLookupTableData", bytes(values))
    made.save_as(tmp_path / "one", enforce_file_format=True)
    volume = read_volume(tmp_path / "one", "image")
    np.testing.assert_array_equal(volume.data[0, :, :, 0].T, [[0, 76], [150, 10]])


def test_a_slope_of_0_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="multiplies all values by 0"):
        read_back(tmp_path, np.ones((3, 4, 5), np.int16), RescaleSlope=0)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8])
def test_every_way_to_write_numbers_gives_the_same(syntax: str, dtype: type, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 200, (3, 8, 6)).astype(dtype)
    if syntax == RLELossless:
        write_series(tmp_path, stored, change=lambda one, _: one.compress(RLELossless))
    else:
        write_series(tmp_path, stored, transfer_syntax=syntax)
    np.testing.assert_array_equal(as_stored(read_volume(tmp_path)), stored)


def as_jpegs(made: Dataset, planes: list[np.ndarray], syntax: str, **options: Any) -> Dataset:
    """Replace the pixels by pictures that libjpeg compressed."""
    made.PixelData = encapsulate([imagecodecs.jpeg8_encode(plane, **options) for plane in planes])
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = syntax
    return made


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
@pytest.mark.parametrize("writes_sign", [False, True])
@pytest.mark.parametrize(("bits", "signed"), [(16, True), (16, False), (12, True), (12, False), (8, True), (8, False)])
def test_lossless_jpeg_of_any_depth(bits: int, signed: bool, writes_sign: bool, syntax: str, tmp_path: Path) -> None:
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    kind = "i" if signed else "u"
    stored = np.random.default_rng(0).integers(low, high, (3, 8, 6)).astype(f"{kind}{1 if bits == 8 else 2}")

    def compress(made: Dataset, number: int) -> None:
        plane = stored[number].view(f"u{stored.dtype.itemsize}")
        precision = 8 * stored.dtype.itemsize
        if not writes_sign:
            plane, precision = plane & ((1 << bits) - 1), bits
        as_jpegs(made, [plane], syntax, lossless=True, bitspersample=precision)

    write_series(tmp_path, stored, change=compress, BitsStored=bits, HighBit=bits - 1)
    np.testing.assert_array_equal(as_stored(read_volume(tmp_path, "image")), stored)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_lossless_jpeg_in_colour(photometric: str, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
    stored = colours if photometric == "RGB" else convert_color_space(colours, "RGB", "YBR_FULL")
    made = dataset(colours[..., 0], "US", SamplesPerPixel=3, PhotometricInterpretation=photometric, PlanarConfiguration=0)
    as_jpegs(made, [stored], JPEGLosslessSV1, lossless=True, colorspace="RGB", outcolorspace="RGB")
    made.save_as(tmp_path / "one", enforce_file_format=True)
    found = read_volume(tmp_path / "one").data[0, :, :, 0].T
    np.testing.assert_allclose(found, colours.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]), atol=1.5)


def test_frames_of_lossless_jpeg_are_read_by_their_number(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 200, (5, 8, 6), np.uint8)
    made = dataset(stored[0], "US", SOPClassUID=UltrasoundMultiFrameImageStorage, NumberOfFrames=5, FrameTime=40)
    as_jpegs(made, list(stored), JPEGLossless, lossless=True)
    made.save_as(tmp_path / "one", enforce_file_format=True)
    np.testing.assert_array_equal(read_volume(tmp_path / "one", "image").data[:, :, :, 0], np.transpose(stored, (0, 2, 1)))


@pytest.mark.parametrize("change", [{"Rows": 9}, {"Columns": 5}, {"SamplesPerPixel": 3, "PlanarConfiguration": 0}])
def test_a_lossless_jpeg_of_another_size_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 200, (8, 6), np.uint8)
    made = as_jpegs(dataset(stored, "US", **change), [stored], JPEGLossless, lossless=True)
    for keyword, value in change.items():
        setattr(made, keyword, value)
    made.save_as(tmp_path / "one", enforce_file_format=True)
    with pytest.raises(ReadError, match="one cannot be decoded"):
        read_volume(tmp_path / "one")


def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 200, (3, 8, 6)).astype(np.int16)
    for file in write_series(tmp_path, stored):
        one = dcmread(file)
        del one.file_meta
        one.preamble = None
        one.save_as(file, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert file.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(as_stored(read_volume(tmp_path)), stored)
