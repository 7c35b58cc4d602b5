"""Pairs of a header and a file of voxels: Analyze 7.5 with SPM's additions, and the NIfTI pair, through nibabel."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.analyze import AnalyzeImage
from nibabel.fileholders import FileHolder
from nibabel.spm2analyze import Spm2AnalyzeHeader, Spm2AnalyzeImage

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.formats import nifti
from napari_seg3d.volumes.formats.format import Format
from napari_seg3d.volumes.formats.streams import open_whole, read_head
from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.volume import Source, Volume

_HEADER, _VOXELS = (".hdr", ".hdr.gz"), (".img", ".img.gz")
_NIFTI1, _NIFTI2 = b"ni1\0", b"ni2\0"
_LONGEST_HEADER = 1 << 20  # with the extensions of NIfTI
_LONGEST_MAT = 1 << 16
_UNKNOWN_ORIENTATION = (
    "Analyze files do not say how they lie in the patient: that the rows run from right to left is a convention, not a fact."
)


def header_of(path: Path) -> Path | None:
    """Return the header beside a file of voxels; None if there is none, or `path` is not named like one."""
    return _beside(path, _VOXELS, _HEADER) if path.name.lower().endswith(_VOXELS) else None


def read_grid(path: Path) -> Grid:
    """Return the grid of a pair from its header alone."""
    header_path, _ = _pair(path)
    image = _open(header_path, FileHolder(fileobj=io.BytesIO()))
    return nifti.grid_of(path, image) if _is_nifti(header_path) else Grid(nifti.spatial_shape(path, image.shape), image.affine)


def read(path: Path) -> Volume:
    """Return the volume of a pair, whichever of both files `path` names."""
    header_path, voxels_path = _pair(path)
    with open_whole(voxels_path) as stream:
        image = _open(header_path, FileHolder(fileobj=stream))
        if _is_nifti(header_path):
            return nifti.from_image(path, image, voxels_path)
        data = nifti.values(path, image, voxels_path)
    notes: tuple[str, ...] = ()
    if data.shape[0] > 1:
        notes += (f"The fourth axis of the file ({data.shape[0]} long) was read as time.",)
    # SPM writes a matrix beside the pair; it is the only word about the patient.
    is_oriented = _matrix(header_path).is_file()
    if not is_oriented:
        notes += (_UNKNOWN_ORIENTATION,)
    edges = Spm2AnalyzeHeader(read_head(header_path)[:348], check=False)["pixdim"][1:4]
    if not is_oriented and not (np.isfinite(edges) & (edges != 0)).all():
        notes += ("The header gives no size of the voxels: 1 mm was taken where it is missing.",)
    source = Source(path, "analyze", files=(header_path, voxels_path))
    return Volume(
        data, image.affine, "image", source, notes, fourth="time" if data.shape[0] > 1 else "channel", is_oriented=is_oriented
    )


def _open(header_path: Path, voxels: FileHolder) -> AnalyzeImage:
    with open_whole(header_path) as stream:
        header = FileHolder(fileobj=io.BytesIO(stream.read(_LONGEST_HEADER)))
    kinds = {_NIFTI1: nib.Nifti1Pair, _NIFTI2: nib.Nifti2Pair}
    kind = kinds.get(_magic(header_path), Spm2AnalyzeImage)
    matrix = _matrix(header_path)
    content = matrix.read_bytes() if matrix.is_file() and matrix.stat().st_size <= _LONGEST_MAT else b""
    files = {"header": header, "image": voxels}
    if kind is Spm2AnalyzeImage:
        files["mat"] = FileHolder(fileobj=io.BytesIO(content))
    return kind.from_file_map(files, mmap=False)


def _magic(header_path: Path) -> bytes:
    head = read_head(header_path)
    return _NIFTI2 if head[4:8] == _NIFTI2 else head[344:348]


def _is_nifti(header_path: Path) -> bool:
    return _magic(header_path) in (_NIFTI1, _NIFTI2)


def _pair(path: Path) -> tuple[Path, Path]:
    header_path = header_of(path) or path
    voxels_path = _beside(header_path, _HEADER, _VOXELS)
    if voxels_path is None:
        path.stat()  # a file that does not exist says so itself
        raise ReadError(f"{path}: the file of voxels that belongs to it (.img) is missing.", "Copy both files into one folder.")
    return header_path, voxels_path


def _matrix(header_path: Path) -> Path:
    return header_path.parent / f"{_stem(header_path, _HEADER)}.mat"


def _beside(path: Path, endings: tuple[str, ...], others: tuple[str, ...]) -> Path | None:
    stem = _stem(path, endings)
    names = (name for other in others for name in (stem + other, stem + other.upper()))
    return next((path.parent / name for name in names if (path.parent / name).is_file()), None)


def _stem(path: Path, endings: tuple[str, ...]) -> str:
    ending = next((one for one in reversed(endings) if path.name.lower().endswith(one)), path.suffix)
    return path.name[: -len(ending)] if ending else path.name


def _recognises(head: bytes) -> bool:
    if head[344:348] == _NIFTI1 or head[4:8] == _NIFTI2:
        return True
    return Spm2AnalyzeHeader.sizeof_hdr <= len(head) and bool(Spm2AnalyzeImage.header_class.may_contain_header(head))


ANALYZE = Format("Analyze or NIfTI pair", _HEADER, _recognises, read, read_grid, header_of=header_of)
