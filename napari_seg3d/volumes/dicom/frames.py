"""`Frame`: one plane of pixels, where it lies, when it was taken, and how its numbers are meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.dicom.headers import Elements, read_header

Three = tuple[float, float, float]

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_TAGS = (
    0x00080008, 0x00080016, 0x00080018, 0x00080022, 0x0008002A, 0x00080032, 0x00080033, 0x00080060, 0x00089208, 0x00180050,
    0x00180081, 0x00180086, 0x00180088, 0x00181060, 0x00181114, 0x00181210, 0x00181164, 0x00182010, 0x00189087, 0x00190010, 0x0019100C,
    0x0020000E, 0x00200012, 0x00200013, 0x00200020, 0x00200032, 0x00200037, 0x00200100, 0x00280002, 0x00280004, 0x00280008,
    0x00280009, 0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00281052,
    0x00281053, 0x00281054, 0x00283000, 0x00541001, _SHARED, _PER_FRAME,
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
    transfer_syntax: str
    has_meta: bool
    pixels_at: int | None
    instance_number: float | None
    units: str
    modality_lut: tuple[int, NDArray[np.int64]] | None = field(repr=False)
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
    elements, pixels_at, is_float = read_header(path, _TAGS)
    header = _header(path, elements, pixels_at, is_float)
    if not header.sop_class and header.rows == 0:
        raise ReadError(f"The header of {path} does not say what the file holds.", "It is damaged: copy or export it again.")
    shared = elements.items(_SHARED)[:1]
    per_frame = elements.items(_PER_FRAME)
    if not per_frame:
        return tuple(_frame(header, index, [*_groups(shared), elements]) for index in range(header.n_frames))
    if len(per_frame) != header.n_frames:
        raise ReadError(
            f"{path} has {header.n_frames} frames, but its header describes {len(per_frame)}.", "Copy or export it again."
        )
    common = [*_groups(shared), elements]
    return tuple(_frame(header, index, [*_groups([groups]), *common]) for index, groups in enumerate(per_frame))


def _header(path: Path, elements: Elements, pixels_at: int | None, is_float: bool) -> Header:
    n_frames = int(elements.number(0x00280008) or 1)
    # The smallest frame that can be stored takes a few bytes: a header cannot make us believe in millions.
    if not 1 <= n_frames <= max(1, path.stat().st_size // 4):
        raise ReadError(f"{path} says that it has {n_frames} frames.", "Its header is damaged: export it again.")
    bits_allocated = int(elements.number(0x00280100) or 0)
    bits_stored = int(elements.number(0x00280101) or bits_allocated)
    high_bit = elements.number(0x00280102)
    return Header(
        path=path,
        sop_class=elements.text(0x00080016) or _meta(elements, "MediaStorageSOPClassUID"),
        instance=elements.text(0x00080018),
        series=elements.text(0x0020000E),
        modality=_code(elements.text(0x00080060)),
        rows=int(elements.number(0x00280010) or 0),
        columns=int(elements.number(0x00280011) or 0),
        n_frames=n_frames,
        samples=int(elements.number(0x00280002) or 1),
        photometric=elements.text(0x00280004).upper(),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=bits_stored - 1 if high_bit is None else int(high_bit),
        is_signed=elements.number(0x00280103) == 1,
        is_float=is_float,
        transfer_syntax=_transfer_syntax(elements),
        has_meta=bool(_meta(elements, "TransferSyntaxUID")),
        pixels_at=pixels_at,
        instance_number=elements.number(0x00200013),
        units=(elements.text(0x00541001) or elements.text(0x00281054)).upper(),
        modality_lut=_lut(elements),
        patient_orientation=tuple(part for part in elements.text(0x00200020).upper().split("\\") if part),
        detector_spacing=elements.numbers(0x00181164) or elements.numbers(0x00182010),
        magnification=elements.number(0x00181114),
        frame_increment=tuple(int(tag) for tag in _tags_in(elements, 0x00280009)),
    )


def _frame(header: Header, index: int, places: list[Elements]) -> Frame:
    """Return a frame; each fact is taken from the first of `places` that has it."""

    def first(tag: int) -> tuple[float, ...]:
        return next((found for place in places if (found := place.numbers(tag))), ())

    def word(tag: int) -> str:
        return next((found for place in places if (found := place.text(tag))), "")

    position = first(0x00200032)
    orientation = first(0x00200037)
    slope, intercept = first(0x00281053), first(0x00281052)
    return Frame(
        header=header,
        index=index,
        position=(position[0], position[1], position[2]) if len(position) == 3 else None,
        orientation=orientation if len(orientation) == 6 else (),
        spacing=first(0x00280030),
        thickness=next((abs(edge) for edge in (*first(0x00180088), *first(0x00180050)) if edge), None),
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
    header_of_file: Elements, word: Callable[[int], str], first: Callable[[int], tuple[float, ...]]
) -> tuple[tuple[str, str], ...]:
    """Return what makes this picture another one than its neighbour at the same place, such as echo time and b-value."""
    kind = word(0x00089007) or word(0x00080008)
    echo = first(0x00189082) or first(0x00180081)
    b_value = first(0x00189087)
    if not b_value and header_of_file.text(0x00190010).startswith("SIEMENS"):
        b_value = first(0x0019100C)
    found = {
        "type": " ".join(code for part in kind.split("\\")[2:] if (code := _code(part))),
        "component": _code(word(0x00089208)),
        "kernel": _code(word(0x00181210).split("\\")[0]),
        "echo time": f"{echo[0]:g} ms" if echo else "",
        "b-value": f"{b_value[0]:g}" if b_value else "",
    }
    return tuple((name, value) for name, value in found.items() if value)


def _code(value: str) -> str:
    """Return a code string, or nothing if it is not made like one: free text may name the patient."""
    return value.upper() if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,15}", value) else ""


def _groups(functional_groups: Iterable[Elements]) -> list[Elements]:
    """Return the items that hold the facts of functional groups: each is a sequence with one item."""
    return [group.items(tag)[0] for group in functional_groups for tag in _FUNCTIONAL_GROUPS if group.items(tag)]


def _meta(elements: Elements, keyword: str) -> str:
    return str(getattr(elements.dataset, "file_meta", {}).get(keyword, "") or "")


def _transfer_syntax(elements: Elements) -> str:
    if named := _meta(elements, "TransferSyntaxUID"):
        return named
    implicit, little = elements.dataset.original_encoding  # a file without meta information: what pydicom found it to be
    return IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN


def _lut(elements: Elements) -> tuple[int, NDArray[np.int64]] | None:
    table = next(iter(elements.items(0x00283000)), None)
    if table is None:
        return None
    descriptor = table.numbers(0x00283002)
    data = table.dataset[0x00283006].value if 0x00283006 in table else None
    if len(descriptor) != 3 or data is None:
        return None
    if isinstance(data, bytes):
        wide = len(data) >= 2 * (int(descriptor[0]) or 65536)
        values = np.frombuffer(data, np.uint16 if wide else np.uint8).astype(np.int64)
    else:
        values = np.array(data, np.int64).ravel()
    first = int(descriptor[1])
    if elements.number(0x00280103) == 1 and first > 0x7FFF:
        first -= 0x10000
    return first, values


def _tags_in(elements: Elements, tag: int) -> list[int]:
    value = elements.dataset[tag].value if tag in elements else None
    if value is None:
        return []
    return [int(one) for one in value] if hasattr(value, "__iter__") else [int(value)]  # a tag is no sequence, a list of them is
