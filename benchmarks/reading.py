"""How long opening a large scan takes, and what it holds in memory, beside the library that decodes the format.

A scan of 512 x 512 x 400 voxels is written in each format; then each way of reading runs in a process of its own, by turns, with the
files in the system's cache. The figures are the ratio of the fastest times, and the peak of memory above that of the loaded libraries,
as a multiple of the array.

    python benchmarks/reading.py                 # all formats; --formats nii.gz dicom for some
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
_AFFINE = np.diag([0.7, 0.7, 1.0, 1.0])


def phantom(shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Return a scan like CT: smooth tissue, noise, and air around, so that it compresses as scans do."""
    random = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, edge, dtype=np.float32) for edge in shape), indexing="ij")
    body = x**2 / 0.7 + y**2 / 0.4 < 1
    tissue = 60 * np.sin(9 * x) * np.cos(7 * y + 3 * z) + random.standard_normal(shape, np.float32) * 15
    return np.asfortranarray(np.where(body, tissue, -1000).astype(np.int16))


# How the files are written.


def nifti(scan: Array, path: Path) -> None:
    import nibabel as nib

    nib.save(nib.Nifti1Image(scan, _AFFINE), path)


def itk(compress: bool) -> Callable[[Array, Path], None]:
    def write(scan: Array, path: Path) -> None:
        import SimpleITK as sitk

        sitk.WriteImage(sitk.GetImageFromArray(scan.T), str(path), useCompression=compress)

    return write


def mgh(scan: Array, path: Path) -> None:
    import nibabel as nib

    nib.save(nib.MGHImage(scan, _AFFINE), path)


def tiff(scan: Array, path: Path) -> None:
    import tifffile

    tifffile.imwrite(path, np.ascontiguousarray(scan.T), metadata={"axes": "ZYX"}, ome=True)


def npy(scan: Array, path: Path) -> None:
    np.save(path, scan)


def matlab(scan: Array, path: Path) -> None:
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("image", data=scan.T, compression="gzip", compression_opts=3).attrs["MATLAB_class"] = np.bytes_(
            "int16"
        )
    with open(path, "rb+") as handle:
        handle.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(116) + bytes(8) + b"\0\2IM")


def ome_zarr(scan: Array, path: Path) -> None:
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", data=np.ascontiguousarray(scan.T), chunks=(64, 128, 128))
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scales = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 0.7, 0.7]}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": scales}]}


def dicom(scan: Array, path: Path) -> None:
    from pydicom import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    path.mkdir()
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(scan.shape[2]):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
        one.SeriesInstanceUID, one.StudyInstanceUID, one.FrameOfReferenceUID = series, study, frame
        one.Modality, one.InstanceNumber = "CT", k + 1
        one.ImagePositionPatient, one.ImageOrientationPatient, one.PixelSpacing = [0, 0, k], [1, 0, 0, 0, 1, 0], [0.7, 0.7]
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = scan.shape[1], scan.shape[0], 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation, one.RescaleSlope, one.RescaleIntercept = 15, 1, 1, 0
        one.PixelData = scan[:, :, k].T.tobytes()
        # Names that say nothing about the order.
        one.save_as(path / f"{one.SOPInstanceUID[-12:]}.dcm", enforce_file_format=True)


# How the libraries read them.


def by_nibabel(path: str) -> Array:
    import nibabel as nib

    return np.asanyarray(nib.load(path, mmap=False).dataobj)


def by_itk(path: str) -> Array:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(path))


def by_tifffile(path: str) -> Array:
    import tifffile

    return tifffile.imread(path)


def by_numpy(path: str) -> Array:
    return np.load(path)


def by_h5py(path: str) -> Array:
    import h5py

    with h5py.File(path) as file:
        return file["image"][()].T


def by_zarr(path: str) -> Array:
    import zarr

    return zarr.open_group(path, mode="r")["0"][...]


def by_pydicom(path: str) -> Array:
    from pydicom import dcmread

    slices = sorted((dcmread(file) for file in Path(path).iterdir()), key=lambda one: one.ImagePositionPatient[2])
    return np.stack([one.pixel_array for one in slices])


#: For each format: how it is written, the library that decodes it, and how that reads it.
FORMATS: dict[str, tuple[Callable[[Array, Path], None], str, Callable[[str], Array]]] = {
    "nii": (nifti, "nibabel", by_nibabel),
    "nii.gz": (nifti, "nibabel", by_nibabel),
    "raw.nrrd": (itk(False), "SimpleITK", by_itk),
    "nrrd": (itk(True), "SimpleITK", by_itk),
    "raw.mha": (itk(False), "SimpleITK", by_itk),
    "mha": (itk(True), "SimpleITK", by_itk),
    "mgz": (mgh, "nibabel", by_nibabel),
    "ome.tif": (tiff, "tifffile", by_tifffile),
    "npy": (npy, "numpy", by_numpy),
    "mat": (matlab, "h5py", by_h5py),
    "zarr": (ome_zarr, "zarr", by_zarr),
    "dicom": (dicom, "pydicom", by_pydicom),
}


def read_once(way: str, name: str, small: str, path: str) -> None:
    """Read a small file, which loads the libraries, then the large one; print seconds, bytes of the array, and bytes on top."""
    from napari_seg3d.volumes import read_volume

    read = FORMATS[name][2] if way == "library" else lambda path: read_volume(path).data
    read(small)
    held = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here, not with the parent's
    start = time.perf_counter()
    array = read(path)
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    peak = 1024 * int(status.split("VmHWM:")[1].split()[0])
    print(json.dumps({"seconds": seconds, "bytes": array.nbytes, "peak": peak - held}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--shape", nargs=3, type=int, default=(512, 512, 400))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    scan = phantom(tuple(options.shape))
    print(f"{'format':10} {'library':10} {'library s':>10} {'ours s':>8} {'ratio':>6} {'library peak':>13} {'our peak':>9}")
    for name in options.formats:
        with tempfile.TemporaryDirectory() as folder:
            write, library, _ = FORMATS[name]
            small, path = Path(folder) / f"small.{name}", Path(folder) / f"scan.{name}"
            write(scan[:16, :16, :8], small)
            write(scan, path)
            os.sync()
            runs: dict[str, list[dict[str, float]]] = {"library": [], "ours": []}
            for turn in range(options.repeats + 1):
                for way, found in runs.items():
                    command = [sys.executable, __file__, "--once", way, name, small, path]
                    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                    if turn:  # the first turn fills the system's cache
                        found.append(result)
            seconds = {way: min(one["seconds"] for one in found) for way, found in runs.items()}
            peaks = {way: max(one["peak"] for one in found) / scan.nbytes for way, found in runs.items()}
            print(
                f"{name:10} {library:10} {seconds['library']:10.2f} {seconds['ours']:8.2f} "
                f"{seconds['ours'] / seconds['library']:6.2f} {peaks['library']:13.2f} {peaks['ours']:9.2f}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        read_once(*sys.argv[2:])
    else:
        main()
