"""`Frame`: one plane of pixels, where it lies, when it was taken, and how its numbers are meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.dicom.headers import items, number, numbers, read_header, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Three = tuple[float, float, float]

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_TAGS = (
    0x00080008, 0x00080016, 0x00080018, 0x00080022, 0x0008002A, 0x00080032, 0x00080033, 0x00080060, 0x00089208, 0x00180050,
    0x00180081, 0x00180086, 0x00180088, 0x00181060, 0x00181114, 0x00181164, 0x00182010, 0x00189087, 0x00190010, 0x0019100C,
    0x0020000E, 0x00200012, 0x00200013, 0x00200020, 0x00200032, 0x00200037, 0x00200100, 0x00280002, 0x00280004, 0x00280008,
    0x00280009, 0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00281050, 0x00281051,
    0x00281052, 0x00281053, 0x00281054, 0x00283000, 0x00541001, _SHARED, _PER_FRAME,
)  # fmt: skip
#: Position, orientation, pixel size, rescale, time, echo, diffusion, and the type of picture (MR, CT, PET).
_FUNCTIONAL_GROUPS = (
    0x00209113, 0x00209116, 0x00289110, 0x00289145, 0x00209111, 0x00209310, 0x00189118, 0x00189114, 0x00189117, 0x00189226,
    0x00189329, 0x00189751,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What one file says about all of its frames. Nothing but `path` may be shown to anybody."""

    path: Path
    sop_class: str = field(repr=False)
    instance: str = field(repr=False)
    series: str = field(repr=False)
    modality: str
    rows: int
    columns: int
    n_frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    is_float: bool
    is_multiframe: bool
    transfer_syntax: str
    pixels_at: int | None
    instance_number: float | None
    units: str
    modality_lut: tuple[int, NDArray[np.int64]] | None = field(repr=False)
    window: tuple[float, float] | None
    patient_orientation: tuple[str, ...]
    detector_spacing: tuple[float, ...]
    magnification: float | None
    frame_increment: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One plane of pixels. Places are in mm along DICOM's own axes (LPS)."""

    header: Header
    index: int
    position: Three | None
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float | None
    slope: float
    intercept: float
    stack: str
    temporal: float | None
    acquisition: float | None
    trigger: float | None
    time: str
    contrast: tuple[tuple[str, str], ...]

    @property
    def path(self) -> Path:
        """The file that holds this frame."""
        return self.header.path


def read_frames(path: Path) -> tuple[Frame, ...]:
    """Return the frames of a file, in its own order; a file without pixels gives one frame with no rows.

    Raises
    ------
    ReadError
        The file is no DICOM, or its header says impossible things.
    """
    dataset, pixels_at, is_float = read_header(path, _TAGS)
    header = _header(path, dataset, pixels_at, is_float)
    shared = items(dataset, _SHARED)[:1]
    per_frame = items(dataset, _PER_FRAME)
    if not per_frame:
        return tuple(_frame(header, index, [*_groups(shared), dataset]) for index in range(header.n_frames))
    if len(per_frame) != header.n_frames:
        raise ReadError(
            f"{path} has {header.n_frames} frames, but its header describes {len(per_frame)}.", "Copy or export it again."
        )
    common = [*_groups(shared), dataset]
    return tuple(_frame(header, index, [*_groups([groups]), *common]) for index, groups in enumerate(per_frame))


def _header(path: Path, dataset: Dataset, pixels_at: int | None, is_float: bool) -> Header:
    n_frames = int(number(dataset, 0x00280008) or 1)
    # The smallest frame that can be stored takes a few bytes: a header cannot make us believe in millions.
    if not 1 <= n_frames <= max(1, path.stat().st_size // 4):
        raise ReadError(f"{path} says that it has {n_frames} frames.", "Its header is damaged: export it again.")
    bits_allocated = int(number(dataset, 0x00280100) or 0)
    bits_stored = int(number(dataset, 0x00280101) or bits_allocated)
    high_bit = number(dataset, 0x00280102)
    window = tuple(next(iter(numbers(dataset, tag)), 0.0) for tag in (0x00281050, 0x00281051))
    return Header(
        path=path,
        sop_class=text(dataset, 0x00080016),
        instance=text(dataset, 0x00080018),
        series=text(dataset, 0x0020000E),
        modality=text(dataset, 0x00080060).upper()[:16],
        rows=int(number(dataset, 0x00280010) or 0),
        columns=int(number(dataset, 0x00280011) or 0),
        n_frames=n_frames,
        samples=int(number(dataset, 0x00280002) or 1),
        photometric=text(dataset, 0x00280004).upper(),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=bits_stored - 1 if high_bit is None else int(high_bit),
        is_signed=number(dataset, 0x00280103) == 1,
        is_float=is_float,
        is_multiframe=0x00280008 in dataset or _PER_FRAME in dataset,
        transfer_syntax=_transfer_syntax(dataset),
        pixels_at=pixels_at,
        instance_number=number(dataset, 0x00200013),
        units=(text(dataset, 0x00541001) or text(dataset, 0x00281054)).upper(),
        modality_lut=_lut(dataset),
        window=(window[0], window[1]) if window[1] > 0 else None,
        patient_orientation=tuple(part for part in text(dataset, 0x00200020).upper().split("\\") if part),
        detector_spacing=numbers(dataset, 0x00181164) or numbers(dataset, 0x00182010),
        magnification=number(dataset, 0x00181114),
        frame_increment=tuple(int(tag) for tag in _tags_in(dataset, 0x00280009)),
    )


def _frame(header: Header, index: int, places: list[Dataset]) -> Frame:
    """Return a frame; each fact is taken from the first of `places` that has it."""

    def first(tag: int) -> tuple[float, ...]:
        return next((found for place in places if (found := numbers(place, tag))), ())

    def word(tag: int) -> str:
        return next((found for place in places if (found := text(place, tag))), "")

    position = first(0x00200032)
    orientation = first(0x00200037)
    slope, intercept = first(0x00281053), first(0x00281052)
    return Frame(
        header=header,
        index=index,
        position=(position[0], position[1], position[2]) if len(position) == 3 else None,
        orientation=orientation if len(orientation) == 6 else (),
        spacing=first(0x00280030),
        thickness=next(iter(first(0x00180088) or first(0x00180050)), None),
        slope=slope[0] if slope else 1.0,
        intercept=intercept[0] if intercept else 0.0,
        stack=word(0x00209056),
        temporal=next(iter(first(0x00209128) or first(0x00200100)), None),
        acquisition=next(iter(first(0x00200012)), None),
        trigger=next(iter(first(0x00209153) or first(0x00181060)), None),
        time=word(0x00189074) or word(0x0008002A) or word(0x00080022) + word(0x00080032) or word(0x00080033),
        contrast=_contrast(places[-1], word, first),
    )


def _contrast(
    header_of_file: Dataset, word: Callable[[int], str], first: Callable[[int], tuple[float, ...]]
) -> tuple[tuple[str, str], ...]:
    """Return what makes this picture another one than its neighbour at the same place, such as echo time and b-value."""
    kind = word(0x00089007) or word(0x00080008)
    echo = first(0x00189082) or first(0x00180081)
    b_value = first(0x00189087)
    if not b_value and text(header_of_file, 0x00190010).startswith("SIEMENS"):
        b_value = first(0x0019100C)
    found = {
        "type": " ".join(part for part in kind.upper().split("\\")[2:] if part),
        "component": word(0x00089208).upper(),
        "echo time": f"{echo[0]:g} ms" if echo else "",
        "b-value": f"{b_value[0]:g}" if b_value else "",
    }
    return tuple((name, value) for name, value in found.items() if value)


def _groups(functional_groups: Iterable[Dataset]) -> list[Dataset]:
    """Return the items that hold the facts of functional groups: each is a sequence with one item."""
    return [items(group, tag)[0] for group in functional_groups for tag in _FUNCTIONAL_GROUPS if items(group, tag)]


def _transfer_syntax(dataset: Dataset) -> str:
    named = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", "") or "")
    if named:
        return named
    implicit, little = dataset.original_encoding  # a file without meta information: what pydicom found it to be
    return IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN


def _lut(dataset: Dataset) -> tuple[int, NDArray[np.int64]] | None:
    table = next(iter(items(dataset, 0x00283000)), None)
    if table is None:
        return None
    descriptor = numbers(table, 0x00283002)
    data = table[0x00283006].value if 0x00283006 in table else None
    if len(descriptor) != 3 or data is None:
        return None
    if isinstance(data, bytes):
        wide = len(data) >= 2 * (int(descriptor[0]) or 65536)
        values = np.frombuffer(data, np.uint16 if wide else np.uint8).astype(np.int64)
    else:
        values = np.array(data, np.int64).ravel()
    first = int(descriptor[1])
    if number(dataset, 0x00280103) == 1 and first > 0x7FFF:
        first -= 0x10000
    return first, values


def _tags_in(dataset: Dataset, tag: int) -> list[int]:
    value = dataset[tag].value if tag in dataset else None
    if value is None:
        return []
    return [int(one) for one in value] if hasattr(value, "__iter__") else [int(value)]
