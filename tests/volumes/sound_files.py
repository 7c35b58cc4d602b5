"""A small sound file of every format and of its common variants, made on the spot: what the fuzz damages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import h5py
import imagecodecs
import nibabel as nib
import numpy as np
import scipy.io
import SimpleITK as sitk
import tifffile
import zarr
from nibabel.testing import data_path
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.fileset import FileSet
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from napari_seg3d.volumes import Grid, read_volume, write_volume
from tests.volumes.affines import affine_of
from tests.volumes.dicom import phantom_series, series_writer

_RANDOM = np.random.default_rng(0)
SCAN = _RANDOM.normal(100, 20, (12, 13, 14)).astype(np.int16)
MASK = (SCAN > 110).astype(np.uint8)
AFFINE = affine_of(((2, 0, 1), (-1, 1, -1)), (10, -5, 20))
PAGES = np.ascontiguousarray(SCAN.T)


@dataclass(frozen=True)
class Sound:
    """One sound file or folder.

    Parameters
    ----------
    name : str
        Of the variant.
    format : str
        Name of its `Format`.
    path : Path
        What is opened.
    files : tuple of Path
        What is damaged, all below the folder `path.parent`, which holds nothing else.
    checked_from : mapping of str to int
        From which byte on a check sum guards a file, by its name; a file that is not named has none.
    """

    name: str
    format: str
    path: Path
    files: tuple[Path, ...]
    checked_from: Mapping[str, int] = field(default_factory=dict)


def make_all(folder: Path) -> list[Sound]:
    """Write one of each below `folder`."""
    found = []
    for make in (_nibabel, _itk, _minc, _tiff, _matlab, _numpy, _pictures, _ome_zarr, _dicom, _compressed_dicom):
        found += make(folder)
    return found


def _single(folder: Path, name: str, format_name: str, write: Callable[[Path], object], checked_from: int | None = None) -> Sound:
    """Let `write` make a file of the given name, and what belongs to it, in a folder of its own."""
    path = folder / name.replace(".", "-") / name
    path.parent.mkdir()
    write(path)
    files = tuple(sorted(file for file in path.parent.rglob("*") if file.is_file()))
    return Sound(name, format_name, path, files, {} if checked_from is None else {name: checked_from})


def _nibabel(folder: Path) -> list[Sound]:
    image = nib.Nifti1Image(SCAN, AFFINE)
    series = nib.Nifti1Image(np.stack([SCAN, SCAN], axis=-1), AFFINE)
    series.header.set_xyzt_units("mm", "sec")
    scaled = nib.Nifti1Image(SCAN * 0.5, AFFINE, dtype=np.int16)
    return [
        _single(folder, "one.nii", "NIfTI", image.to_filename),
        _single(folder, "series.nii", "NIfTI", series.to_filename),
        _single(folder, "scaled.nii", "NIfTI", scaled.to_filename),
        _single(folder, "second.nii", "NIfTI", nib.Nifti2Image(SCAN, AFFINE).to_filename),
        _single(folder, "packed.nii.gz", "NIfTI", image.to_filename, checked_from=0),
        _single(folder, "one.mgh", "MGH", nib.MGHImage(SCAN, AFFINE).to_filename),
        _single(folder, "packed.mgz", "MGH", nib.MGHImage(SCAN, AFFINE).to_filename, checked_from=0),
        _single(folder, "pair.hdr", "Analyze or NIfTI pair", nib.Nifti1Pair(SCAN, AFFINE).to_filename),
        _single(folder, "spm.hdr", "Analyze or NIfTI pair", nib.Spm99AnalyzeImage(SCAN, AFFINE).to_filename),
    ]


def _itk(folder: Path) -> list[Sound]:
    image = sitk.GetImageFromArray(PAGES)
    image.SetSpacing((0.8, 1.5, 4.0))

    def write(compress: bool) -> Callable[[Path], object]:
        return lambda path: sitk.WriteImage(image, str(path), useCompression=compress)

    def text(path: Path) -> None:
        numbers = " ".join(map(str, PAGES[:2].ravel()))
        path.write_text(f"NRRD0004\ntype: short\ndimension: 3\nsizes: 12 13 2\nencoding: ascii\n\n{numbers}\n")

    found = [
        _single(folder, "one.nrrd", "NRRD", write(False)),
        _single(folder, "packed.nrrd", "NRRD", write(True)),
        _single(folder, "text.nrrd", "NRRD", text),
        _single(folder, "one.mha", "MetaImage", write(False)),
        _single(folder, "packed.mha", "MetaImage", write(True)),
        _single(folder, "by_itk.mhd", "MetaImage", write(False)),
        _single(folder, "packed.mhd", "MetaImage", write(True)),
    ]
    ends = {"packed.nrrd": b"\n\n", "packed.mha": b"LOCAL\n"}
    for sound in found:
        if sound.name in ends:
            content = sound.path.read_bytes()
            sound.checked_from[sound.name] = content.index(ends[sound.name]) + len(ends[sound.name])
        elif sound.name == "packed.mhd":
            sound.checked_from["packed.zraw"] = 0
    return found


def _minc(folder: Path) -> list[Sound]:
    examples = Path(data_path)
    image = sitk.GetImageFromArray(PAGES)
    return [
        _single(folder, "first.mnc", "MINC", lambda path: shutil.copyfile(examples / "tiny.mnc", path)),
        _single(folder, "second.mnc", "MINC", lambda path: sitk.WriteImage(image, str(path))),
        _single(folder, "small.mnc", "MINC", lambda path: shutil.copyfile(examples / "small.mnc", path)),
    ]


def _tiff(folder: Path) -> list[Sound]:
    pages = PAGES.astype(np.uint16)

    def write(**options: object) -> Callable[[Path], object]:
        return lambda path: tifffile.imwrite(path, pages, **options)

    return [
        _single(folder, "one.tif", "TIFF", write()),
        _single(folder, "lzw.tif", "TIFF", write(compression="lzw")),
        _single(folder, "deflated.tif", "TIFF", write(compression="zlib")),
        _single(folder, "zstd.tif", "TIFF", write(compression="zstd", tile=(16, 16))),
        _single(folder, "jpeg.tif", "TIFF", lambda path: tifffile.imwrite(path, pages.astype(np.uint8), compression="jpeg")),
        _single(folder, "big.tif", "TIFF", write(bigtiff=True, byteorder=">")),
        _single(folder, "imagej.tif", "TIFF", write(imagej=True, metadata={"axes": "ZYX", "spacing": 2, "unit": "mm"})),
        _single(folder, "one.ome.tif", "TIFF", write(metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})),
    ]


def _matlab(folder: Path) -> list[Sound]:
    scan = SCAN.astype(np.float32)

    def hdf5(path: Path) -> None:
        with h5py.File(path, "w", userblock_size=512) as file:
            stored = file.create_dataset("image", data=scan.T, compression="gzip", fletcher32=True)
            stored.attrs["MATLAB_class"] = np.bytes_("single")
        header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."
        with open(path, "rb+") as handle:
            handle.write(header.ljust(116) + bytes(8) + b"\0\2IM")

    def old(version: str, compress: bool = False) -> Callable[[Path], object]:
        data = scan[:, :, 0] if version == "4" else scan
        return lambda path: scipy.io.savemat(path, {"image": data, "affine": AFFINE}, format=version, do_compression=compress)

    return [
        _single(folder, "four.mat", "MATLAB", old("4")),
        _single(folder, "five.mat", "MATLAB", old("5")),
        _single(folder, "seven.mat", "MATLAB", old("5", compress=True)),
        _single(folder, "hdf5.mat", "MATLAB", hdf5),
    ]


def _numpy(folder: Path) -> list[Sound]:
    return [
        _single(folder, "one.npy", "NumPy", lambda path: np.save(path, PAGES)),
        _single(folder, "one.npz", "NumPy archive", lambda path: np.savez(path, data=PAGES)),
        _single(folder, "packed.npz", "NumPy archive", lambda path: np.savez_compressed(path, data=PAGES, other=PAGES[:2])),
    ]


def _pictures(folder: Path) -> list[Sound]:
    grey = np.clip(_RANDOM.normal(100, 20, (40, 50)), 0, 255).astype(np.uint8)

    def save(mode: str) -> Callable[[Path], object]:
        return lambda path: Image.fromarray(grey).convert(mode).save(path)

    def stack(path: Path) -> None:
        for number in range(4):
            path.mkdir(exist_ok=True)
            Image.fromarray(grey + np.uint8(number)).save(path / f"slice{number}.png")

    return [
        _single(folder, "grey.png", "PNG", save("L"), checked_from=8),
        _single(folder, "deep.png", "PNG", lambda path: Image.fromarray(grey.astype(np.uint16) * 200).save(path), checked_from=8),
        _single(folder, "palette.png", "PNG", save("P"), checked_from=8),
        _single(folder, "colour.png", "PNG", save("RGB"), checked_from=8),
        _single(folder, "one.jpg", "JPEG or BMP", save("L")),
        _single(folder, "colour.jpg", "JPEG or BMP", save("RGB")),
        _single(folder, "one.bmp", "JPEG or BMP", save("L")),
        _single(folder, "stack", "folder of PNG files", stack),
    ]


def _ome_zarr(folder: Path) -> list[Sound]:
    def save(version: str) -> Callable[[Path], object]:
        def write(path: Path) -> None:
            group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
            group.create_array("0", shape=PAGES.shape, dtype=PAGES.dtype, chunks=(8, 8, 8))[...] = PAGES
            axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
            datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [4, 1.5, 0.8]}]}]
            content = {"multiscales": [{"axes": axes, "datasets": datasets, "version": version}]}
            group.attrs.update(content if version == "0.4" else {"ome": {"version": version, **content}})

        return write

    return [
        _single(folder, "old.zarr", "OME-Zarr", save("0.4")),
        _single(folder, "new.zarr", "OME-Zarr", save("0.5")),
    ]


def _dicom(folder: Path) -> list[Sound]:
    grid = Grid((12, 13, 6), affine_of(((0, 1, 2), (-1, -1, 1)), (10, 5, 0)))
    scan = SCAN[:, :, :6]

    def series(path: Path) -> None:
        phantom_series.write_series(path, grid, scan)

    def segmentation(path: Path) -> None:
        phantom_series.write_series(folder / "referenced", grid, scan)
        write_volume(read_volume(folder / "referenced").with_data(MASK[np.newaxis, :, :, :6], "labels"), path)

    def disc(path: Path) -> None:
        files = phantom_series.write_series(folder / "to_copy", grid, scan)
        directory = FileSet()
        for file in files:
            directory.add(dcmread(file))
        directory.write(path.parent)

    return [
        _single(folder, "series", "DICOM", series),
        _single(folder, "seg.dcm", "DICOM", segmentation),
        _single(folder, "enhanced.dcm", "DICOM", lambda path: phantom_series.write_enhanced(path, grid, scan)),
        _single(folder, "DICOMDIR", "DICOM", disc),
    ]


def _compressed_dicom(folder: Path) -> list[Sound]:
    def one(syntax: str, compress: bool = False) -> Callable[[Path], object]:
        def write(path: Path) -> None:
            plane = np.abs(PAGES[:1]).astype(np.uint16)
            options = {} if compress else {"transfer_syntax": syntax}
            (file,) = series_writer.write_series(path.parent, plane, **options)
            made = dcmread(file)
            if compress:
                made.compress(syntax)
            made.save_as(path, enforce_file_format=True)
            file.unlink()

        return write

    def encoded(syntax: str, bits: int, encode: Callable[[NDArray[np.generic]], bytes]) -> Callable[[Path], object]:
        def write(path: Path) -> None:
            plane = _RANDOM.integers(0, 1 << bits, (1, 24, 20)).astype(np.uint8 if bits == 8 else np.uint16)
            (file,) = series_writer.write_series(path.parent, plane, BitsStored=bits, HighBit=bits - 1)
            made = dcmread(file)
            made.PixelData = encapsulate([encode(plane[0])])
            made["PixelData"].is_undefined_length = True
            made.file_meta.TransferSyntaxUID = UID(syntax)
            made.save_as(path, enforce_file_format=True)
            file.unlink()

        return write

    jpeg = imagecodecs.jpeg8_encode
    return [
        _single(folder, "implicit.dcm", "DICOM", one(ImplicitVRLittleEndian)),
        _single(folder, "big.dcm", "DICOM", one(ExplicitVRBigEndian)),
        _single(folder, "deflated.dcm", "DICOM", one(DeflatedExplicitVRLittleEndian)),
        _single(folder, "rle.dcm", "DICOM", one(RLELossless, compress=True)),
        _single(folder, "jpeg_ls.dcm", "DICOM", one(JPEGLSLossless, compress=True)),
        _single(folder, "jpeg_8_bit.dcm", "DICOM", encoded(JPEGBaseline8Bit, 8, jpeg)),
        _single(folder, "jpeg_12_bit.dcm", "DICOM", encoded(JPEGExtended12Bit, 12, partial(jpeg, bitspersample=12))),
        _single(folder, "lossless.dcm", "DICOM", encoded(JPEGLosslessSV1, 12, partial(jpeg, lossless=True, bitspersample=12))),
        _single(folder, "lossless_8.dcm", "DICOM", encoded(JPEGLossless, 8, partial(jpeg, lossless=True, predictor=4))),
        _single(folder, "jpeg_2000.dcm", "DICOM", encoded(JPEG2000Lossless, 12, _jpeg_2000)),
    ]


def _jpeg_2000(plane: NDArray[np.generic]) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(plane, codecformat="J2K", reversible=True, level=0, bitspersample=12))
