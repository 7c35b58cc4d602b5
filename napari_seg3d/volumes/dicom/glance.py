"""What a single DICOM file is, from a few elements of its header: enough to see that a folder of slices is one volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_seg3d.volumes.dicom import directory
from napari_seg3d.volumes.dicom.flat import SLICES
from napari_seg3d.volumes.dicom.headers import is_dicom, quiet, read_header
from napari_seg3d.volumes.dicom.scan import NO_PICTURES, SEGMENTATIONS

_SOP_CLASS, _MODALITY, _SERIES, _POSITION, _ROWS, _PER_FRAME = (
    0x00080016, 0x00080060, 0x0020000E, 0x00200032, 0x00280010, 0x52009230,
)  # fmt: skip
_SAMPLED = 2

#: How DICOM files end, if they have an ending at all.
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True)
class Glance:
    """What the DICOM files of a folder are.

    Parameters
    ----------
    has_slices : bool
        Whether some of them are slices of one series (or of several): then the folder is what can be opened, not its files.
    pictures : tuple of Path
        Otherwise, those that can be opened by themselves: radiographs, single slices, films, files with many frames. Damaged files,
        and those that are DICOM by their name only, are among them, so that whoever reads them says so.
    segmentations : tuple of Path
        Masks.
    """

    has_slices: bool
    pictures: tuple[Path, ...]
    segmentations: tuple[Path, ...]


@dataclass(frozen=True)
class _Kind:
    name: Literal["slice", "picture", "segmentation", "other", "none"]
    series: str = ""


def glance_at(files: Sequence[Path]) -> Glance | None:
    """Return what the DICOM files among `files`, all of one folder, are; None if there is none.

    Slices are recognised from a few files, so that a folder with thousands costs no more than one with ten. Whether they really
    form one volume, reading them says.
    """
    by_size = sorted(files, key=lambda file: file.stat().st_size)
    sample = dict.fromkeys((*files[:1], *files[-1:], *by_size[:_SAMPLED], *by_size[-_SAMPLED:]))
    with quiet():
        kinds = {file: _kind_of(file) for file in sample}
        dicom = [kind for kind in kinds.values() if kind.name != "none"]
        if len(dicom) > 1 and {kind.name for kind in dicom} == {"slice"} and len({kind.series for kind in dicom}) == 1:
            return Glance(True, (), ())
        kinds = {file: kinds.get(file) or _kind_of(file) for file in files}
    if all(kind.name == "none" for kind in kinds.values()):
        return None
    series = Counter(kind.series for kind in kinds.values() if kind.name == "slice")
    has_slices = any(count > 1 for count in series.values())
    pictures = () if has_slices else tuple(file for file, kind in kinds.items() if kind.name in ("slice", "picture"))
    return Glance(has_slices, pictures, tuple(file for file, kind in kinds.items() if kind.name == "segmentation"))


def _kind_of(file: Path) -> _Kind:
    if not is_dicom(file):
        return _Kind("picture" if file.name.lower().endswith(DICOM_SUFFIXES) else "none")
    try:
        elements, _, _ = read_header(file, (_SOP_CLASS, _MODALITY, _SERIES, _POSITION, _ROWS, _PER_FRAME))
        sop_class = elements.text(_SOP_CLASS)
        if sop_class == directory.SOP_CLASS:
            return _Kind("other")
        if sop_class in SEGMENTATIONS:
            return _Kind("segmentation")
        if not elements.number(_ROWS) or elements.text(_MODALITY).upper() in NO_PICTURES:
            return _Kind("picture" if not sop_class else "other")
        is_placed = _POSITION in elements or _PER_FRAME in elements or sop_class in SLICES
        return _Kind("slice" if is_placed else "picture", elements.text(_SERIES) or str(file.parent))
    except Exception:  # noqa: BLE001  a damaged header makes pydicom fail in any way it likes; reading the file will say it
        return _Kind("picture")
