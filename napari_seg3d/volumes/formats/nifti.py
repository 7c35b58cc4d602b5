"""NIfTI-1 and NIfTI-2, through nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.fileholders import FileHolder
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.openers import ImageOpener
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.formats.format import Format
from napari_seg3d.volumes.formats.streams import MOST_DEFLATED, is_gzip, open_whole, read_head, refuse_impossible
from napari_seg3d.volumes.grid import FloatArray, Grid, Shape3
from napari_seg3d.volumes.volume import Fourth, Source, Volume, storable

NAME = "nifti"
_TO_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # by the spatial unit code; mm where there is none, or one that does not exist
_TO_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}  # by the temporal unit code
_LABEL_INTENT = 1002
_UNKNOWN_ORIENTATION = (
    "The file does not say how it lies in the patient (sform and qform code are 0): "
    "left and right are the NIfTI default, not a fact."
)


def read_grid(path: Path) -> Grid:
    """Return the grid of a NIfTI file from its header alone."""
    header = _header_of(read_head(path))
    return Grid(spatial_shape(path, header.get_data_shape()), _in_mm(header, header.get_best_affine()))


def read(path: Path) -> Volume:
    """Return the volume in a NIfTI file; a fourth axis becomes time or channels, in front."""
    with open_whole(path) as stream:
        # Not mapped into memory: the volume must outlive whatever another program does to the file.
        return from_image(path, _kind(path).from_file_map({"image": FileHolder(fileobj=stream)}, mmap=False), path)


def from_image(path: Path, image: SpatialImage, voxels_path: Path) -> Volume:
    """Return the volume that nibabel opened at `path`, and whose voxels stand in `voxels_path`."""
    data = values(path, image, voxels_path)
    header = image.header
    notes = _notes(image)
    fourth: Fourth = "channel"
    names: tuple[str, ...] = ()
    if data.shape[0] > 1:
        seconds = _seconds_per_volume(header)
        fourth = "time" if seconds is not None else "channel"
        if seconds is not None:
            names = tuple(f"{number * seconds:.4g} s" for number in range(data.shape[0]))
            notes += (f"The fourth axis of the file ({data.shape[0]} long) was read as time, {seconds:.4g} s apart.",)
        else:
            notes += (f"The fourth axis of the file ({data.shape[0]} long) was read as channels.",)
    is_oriented = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    source = Source(path, NAME, header)
    return Volume(data, _affine(image), "image", source, notes, fourth=fourth, channels=names, is_oriented=is_oriented)


def write(path: Path, volume: Volume) -> None:
    """Write `volume`; the source's NIfTI header gives version, sform, qform, their codes and units."""
    data = storable(volume.data)
    data = np.moveaxis(data, 0, 3) if data.shape[0] > 1 else data[0]
    header = volume.source.header if volume.source is not None else None
    kept = header if isinstance(header, Nifti1Header) and _same_affine(header, volume.affine) else None
    is_nifti2 = kept is not None and int(kept["sizeof_hdr"]) == 540
    kind = nib.Nifti2Image if is_nifti2 or max(data.shape) > 32767 else nib.Nifti1Image
    image = kind(data, volume.affine, dtype=data.dtype)
    if kept is None:
        image.header.set_xyzt_units("mm")
        image.set_sform(volume.affine, code=1)
        image.set_qform(volume.affine, code=1, strip_shears=True)
    else:
        _copy_orientation(kept, image.header)
    if volume.kind == "labels":
        image.header["intent_code"] = _LABEL_INTENT
    # Writing would derive sform and qform from the affine again; the header already holds what the source said.
    image._affine = None
    # nibabel leaves its file open when the disk is full, and Windows cannot remove an open file: this closes it.
    with ImageOpener(path, "wb") as stream:
        image.to_stream(stream)


def grid_of(path: Path, image: SpatialImage) -> Grid:
    """Return the grid of what nibabel opened at `path`."""
    return Grid(spatial_shape(path, image.shape), _affine(image))


def values(path: Path, image: SpatialImage, voxels_path: Path) -> NDArray[np.generic]:
    """Return the scaled voxels ``(C, I, J, K)`` of an image of NIfTI or Analyze."""
    spatial_shape(path, image.shape)
    _refuse_short_file(voxels_path, image)
    return _channels_first(path, storable(_scaled(image)))


def spatial_shape(path: Path, shape: tuple[int, ...]) -> Shape3:
    """Return the first three of the axes that a header names, refused if there is nothing in them."""
    shape = tuple(shape) + (1,) * (3 - len(shape))
    if 0 in shape:
        raise ReadError(f"{path} holds no voxels ({'x'.join(map(str, shape))}).", "Export it again.")
    return shape[0], shape[1], shape[2]


def _affine(image: SpatialImage) -> FloatArray:
    return _in_mm(image.header, image.affine)


def _in_mm(header: Nifti1Header, affine: FloatArray) -> FloatArray:
    scaled = np.array(affine, dtype=np.float64)
    scaled[:3] *= _TO_MM.get(int(header["xyzt_units"]) % 8, 1.0)
    return scaled


def _same_affine(header: Nifti1Header, affine: FloatArray) -> bool:
    return bool(np.allclose(_in_mm(header, header.get_best_affine()), affine, rtol=0, atol=1e-6))


def _copy_orientation(source: Nifti1Header, target: Nifti1Header) -> None:
    # Field by field: going through matrices would round the quaternion and lose an sform that disagrees with the qform.
    for name in ("sform_code", "srow_x", "srow_y", "srow_z", "qform_code", "quatern_b", "quatern_c", "quatern_d"):
        target[name] = source[name]
    for name in ("qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units"):
        target[name] = source[name]
    target["pixdim"][:4] = source["pixdim"][:4]


def _kind(path: Path) -> type[nib.Nifti1Image]:
    second: type[nib.Nifti1Image] = nib.Nifti2Image
    return second if _is_second(read_head(path)) else nib.Nifti1Image


def _header_of(head: bytes) -> Nifti1Header:
    return Nifti2Header(head[: Nifti2Header.sizeof_hdr]) if _is_second(head) else Nifti1Header(head[: Nifti1Header.sizeof_hdr])


def _is_second(head: bytes) -> bool:
    return head[4:8] == b"n+2\0"


def _scaled(image: SpatialImage) -> NDArray[np.generic]:
    slope, inter = image.dataobj.slope, image.dataobj.inter
    raw: NDArray[np.generic] = np.asanyarray(image.dataobj.get_unscaled())
    if (slope, inter) == (1, 0) or raw.dtype.kind not in "biuf":
        return raw
    # Slice by slice: the scaled values at full precision would take four times the memory of the raw ones.
    scaled = np.empty(raw.shape, np.float32, order="F")
    for last in range(raw.shape[-1]):
        scaled[..., last] = raw[..., last].astype(np.float64) * slope + inter
    return scaled


def _seconds_per_volume(header: Nifti1Header) -> float | None:
    """Return the time between two volumes, if the fourth axis says that it is time."""
    seconds = _TO_SECONDS.get(int(header["xyzt_units"]) & 0x38)
    step = float(header["pixdim"][4])
    return step * seconds if seconds is not None and np.isfinite(step) and step > 0 else None


def _channels_first(path: Path, data: NDArray[np.generic]) -> NDArray[np.generic]:
    if data.dtype.kind not in "biuf":
        raise ReadError(
            f"{path} holds {data.dtype} values (colour or complex numbers), not a scan.", "Export it with plain numbers."
        )
    if data.ndim > 4:
        data = data.reshape(data.shape[:3] + tuple(n for n in data.shape[3:] if n > 1), order="F")
    while data.ndim < 3:
        data = data[..., np.newaxis]
    if data.ndim == 3:
        return data[np.newaxis]
    if data.ndim == 4:
        return np.moveaxis(data, 3, 0)
    raise ReadError(f"{path} has {data.ndim} axes longer than one voxel.", "Split it into volumes of at most four axes.")


def _refuse_short_file(path: Path, image: SpatialImage) -> None:
    voxels = int(np.prod(image.shape, dtype=np.int64)) * image.get_data_dtype().itemsize
    needed, size = int(image.dataobj.offset) + voxels, path.stat().st_size
    if not is_gzip(path) and size < needed:
        raise ReadError(f"{path} is cut off: {size} bytes of {needed}.", "Copy or export it again.")
    refuse_impossible(path, needed, needed if not is_gzip(path) else size * MOST_DEFLATED)


def _notes(image: SpatialImage) -> tuple[str, ...]:
    header = image.header
    if not isinstance(header, Nifti1Header):
        return ()
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if sform_code == 0 and qform_code == 0:
        return (_UNKNOWN_ORIENTATION,)
    if sform_code > 0 and qform_code > 0:
        shape = spatial_shape(Path(), image.shape)
        try:
            sform, qform = (Grid(shape, _in_mm(header, affine)) for affine in (image.get_sform(), image.get_qform()))
            differs = sform.difference(qform)
        except Exception as error:  # noqa: BLE001  a broken qform beside a sound sform is worth a word, not a refusal
            differs = f"the qform cannot be used ({error})"
        if differs:
            return (f"sform and qform of the file disagree ({differs}); the sform was used.",)
    return ()


NIFTI = Format(
    "NIfTI",
    (".nii.gz", ".nii"),
    lambda head: head[344:348] == b"n+1\0" or _is_second(head),
    read,
    read_grid,
    write=write,
    writes_grid=True,
)
