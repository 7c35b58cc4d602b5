"""Copies of scans that name no patient."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from napari_seg3d.errors import Cancelled, ReadError, Seg3dError, WriteError
from napari_seg3d.files import atomic_path
from napari_seg3d.volumes.dicom.confidentiality import Confidentiality
from napari_seg3d.volumes.dicom.headers import is_dicom, quiet
from napari_seg3d.volumes.dicom.scan import files_below
from napari_seg3d.volumes.formats import streams
from napari_seg3d.volumes.io import read_volume, recognise, write_volume

#: What no cleaning of headers can do; whoever shares the copies must know it.
FACES = "Faces can be made out in scans of heads: the voxels are those of the source."
_DIRECTORY = "1.2.840.10008.1.3.10"
# Numbers only: free text (descrip, aux_file, intent_name, db_name, data_type) and extensions may name the patient.
_NIFTI_FIELDS = (
    "dim_info", "dim", "intent_p1", "intent_p2", "intent_p3", "intent_code", "datatype", "bitpix", "slice_start", "pixdim",
    "scl_slope", "scl_inter", "slice_end", "slice_code", "xyzt_units", "cal_max", "cal_min", "slice_duration", "toffset",
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z",
)  # fmt: skip
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Report:
    """What became of each file.

    Parameters
    ----------
    copies : tuple of (Path, Path)
        The source and its copy. This is the key to the patients: keep it secret, or forget it.
    refused : tuple of (Path, str)
        What was not copied, and why.
    warnings : tuple of (Path, str)
        Copies (by their new name) that a person must look at before they are shared, and why.
    """

    copies: tuple[tuple[Path, Path], ...]
    refused: tuple[tuple[Path, str], ...]
    warnings: tuple[tuple[Path, str], ...]

    def by_warning(self) -> dict[str, list[Path]]:
        """Return the copies for each warning."""
        found: dict[str, list[Path]] = {}
        for copy, warning in self.warnings:
            found.setdefault(warning, []).append(copy)
        return found


def deidentify(
    paths: Iterable[Path],
    out_folder: Path,
    progress: Callable[[int, int], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Report:
    """Write copies of scans without names, ids and dates; the sources are only read.

    DICOM follows the Basic Application Level Confidentiality Profile of PS3.15 Annex E with shifted dates: see
    `dicom.confidentiality`. NIfTI, NRRD and MetaImage keep voxels and geometry and nothing else. Whatever cannot be cleaned is
    refused. Names of files and folders say nothing about the sources. Voxels and geometry are those of the sources, so burned-in
    text stays, and so do faces.

    Parameters
    ----------
    paths : iterable of Path
        Scans, and folders of scans (with all that is below them).
    out_folder : Path
        A folder that is new or empty.
    progress : callable, optional
        Called with the number of files done and of all.
    is_cancelled : callable, optional
        Asked before each file; what was copied so far stays.

    Raises
    ------
    ReadError
        There is nothing at a path.
    WriteError
        `out_folder` holds something, lies in a source, or cannot be written.
    Cancelled
        `is_cancelled` said so.
    """
    paths = [Path(path) for path in paths]
    _check_places(paths, out_folder)
    files = list(dict.fromkeys(file for path in paths for file in _files(path)))
    writer = _Writer(out_folder)
    with quiet():
        for done, file in enumerate(files, start=1):
            if is_cancelled is not None and is_cancelled():
                raise Cancelled("The copying was cancelled; the copies made so far are complete.")
            writer.add(file)
            if progress is not None:
                progress(done, len(files))
    return Report(tuple(writer.copies), tuple(writer.refused), tuple(writer.warnings))


class _Writer:
    def __init__(self, folder: Path) -> None:
        self.copies: list[tuple[Path, Path]] = []
        self.refused: list[tuple[Path, str]] = []
        self.warnings: list[tuple[Path, str]] = []
        self._folder = folder
        self._confidentiality = Confidentiality()
        self._series: dict[str, list[Path]] = {}
        self._n_scans = 0

    def add(self, file: Path) -> None:
        """Copy one file, or note why not."""
        try:
            if is_dicom(file):
                self._add_dicom(file)
            else:
                self._add_scan(file)
        except WriteError:
            raise
        except Seg3dError as error:
            # The path stands in front of it anyway; it may name the patient, so that it is said once only, and by the caller.
            self.refused.append((file, error.what.replace(f"{file}: ", "").replace(str(file), "it")))
        except Exception as error:  # noqa: BLE001  damaged headers make the libraries fail in any way they like
            self.refused.append((file, f"It is damaged, or not what its name says ({type(error).__name__})."))

    def _add_dicom(self, file: Path) -> None:
        import pydicom

        dataset = pydicom.dcmread(file, force=True)
        if dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
            return  # a table of contents with every name; the copies need none
        series = self._series.setdefault(str(dataset.get("SeriesInstanceUID") or file.parent), [])
        warnings = self._confidentiality.clean(dataset)
        number = list(self._series.values()).index(series) + 1
        copy = self._folder / f"series_{number:03}" / f"{len(series) + 1:04}.dcm"
        with atomic_path(copy) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
        series.append(copy)
        self._note(file, copy, warnings)

    def _add_scan(self, file: Path) -> None:
        found = recognise(file)
        name = found.name if found is not None else ""
        if name not in ("NIfTI", "NRRD", "MetaImage"):
            what = f"{name} files cannot be cleaned" if name else "It is no scan in a format that can be cleaned"
            raise ReadError(f"{what}.", "")
        self._n_scans += 1
        ending = {"NRRD": ".nrrd", "MetaImage": ".mha"}.get(name) or (".nii.gz" if streams.is_gzip(file) else ".nii")
        copy = self._folder / f"scan_{self._n_scans:03}{ending}"
        if name == "NIfTI":
            with atomic_path(copy) as temporary:
                _copy_nifti(file, temporary)
        else:
            volume = read_volume(file, "image")
            write_volume(replace(volume, source=None), copy)
        self._note(file, copy, [])

    def _note(self, file: Path, copy: Path, warnings: list[str]) -> None:
        self.copies.append((file, copy))
        self.warnings += [(copy, warning) for warning in warnings]


def _copy_nifti(file: Path, copy: Path) -> None:
    """Copy the voxels byte for byte behind a header of numbers."""
    packed = streams.is_gzip(file)
    with streams.open_whole(file) as stream:
        head = stream.read(4)
        kind = Nifti2Header if 540 in (int.from_bytes(head, "little"), int.from_bytes(head, "big")) else Nifti1Header
        length = kind.template_dtype.itemsize
        header = kind(head + stream.read(length - 4))
        if header["magic"].item().startswith(b"ni"):
            raise ReadError("Its voxels lie in a second file.", "Save it as a single NIfTI file.")
        clean = kind(endianness=header.endianness)
        for field in _NIFTI_FIELDS:
            clean[field] = header[field]
        clean["vox_offset"] = length + 4
        stream.seek(max(int(header["vox_offset"]), length + 4))
        left = int(np.prod(header.get_data_shape(), dtype=np.int64)) * header.get_data_dtype().itemsize
        with open(copy, "wb") as raw, _gzipped(raw) if packed else nullcontext(raw) as target:
            target.write(clean.binaryblock + bytes(4))  # no extensions
            while left > 0:
                chunk = stream.read(min(left, _CHUNK))
                if not chunk:
                    raise ReadError("It is cut off.", "Copy or export it again.")
                target.write(chunk)
                left -= len(chunk)


def _gzipped(raw: IO[bytes]) -> gzip.GzipFile:
    return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0)  # a gzip may hold a name and a date


def _check_places(paths: list[Path], out_folder: Path) -> None:
    for path in paths:
        if not path.exists():
            raise ReadError(f"{path} does not exist.", "Check the path.")
        if path.is_dir() and out_folder.resolve().is_relative_to(path.resolve()):
            raise WriteError(f"{out_folder} lies in {path}, a source.", "Choose a folder elsewhere.")
    if out_folder.exists() and (not out_folder.is_dir() or any(out_folder.iterdir())):
        raise WriteError(f"{out_folder} is not empty.", "Choose a new folder, so that nothing is replaced or mixed up.")


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for file in files_below(path):
        is_companion = file.suffix.lower() in (".raw", ".zraw") and file.with_suffix(".mhd").exists()
        if not file.name.startswith(".") and not is_companion:
            yield file
