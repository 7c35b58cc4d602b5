"""What the header of a DICOM file says about its frames: read once, without the pixels, and kept small."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_seg3d.errors import ReadError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_FLOATS = (0x7FE00008, 0x7FE00009)
#: The first elements that a file without preamble can have: group 2, or the beginning of group 8.
_FIRST_ELEMENTS = {2: (0x0000, 0x0001, 0x0002, 0x0010), 8: (0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0016, 0x0018)}
_FIRST_TYPES = (b"UL", b"OB", b"UI", b"CS", b"DA")
#: So many bytes show whether a file is DICOM.
HEAD_BYTES = 148


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings off the terminal: they quote values, and so may name the patient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def looks_like_dicom(head: bytes) -> bool:
    """Return whether a file that begins with `head` is DICOM: by its mark, or by a plausible first element without one."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 16:
        return False
    big = head[0] == 0
    group, element = struct.unpack(">HH" if big else "<HH", head[:4])
    if element not in _FIRST_ELEMENTS.get(group, ()):
        return False
    if head[4:6] in _FIRST_TYPES:
        return True
    (length,) = struct.unpack("<I", head[4:8])  # implicit VR is little endian
    return not big and 0 < length <= 256 and length % 2 == 0


def is_dicom(path: Path) -> bool:
    """Return whether the content of a file is DICOM; False for what cannot be read."""
    try:
        with open(path, "rb") as stream:
            return looks_like_dicom(stream.read(HEAD_BYTES))
    except OSError:
        return False


def read_header(path: Path, tags: tuple[int, ...]) -> tuple[Dataset, int | None, bool]:
    """Read some elements of a file, up to its pixels.

    Returns
    -------
    dataset : Dataset
        With those of `tags` that are there, and the file meta information.
    pixels_at : int or None
        Where in the file the element with the pixels begins; None where there is none, or the file is deflated.
    is_float : bool
        Whether the pixels are floating point numbers.

    Raises
    ------
    ReadError
        The file is not DICOM.
    """
    from pydicom.filereader import read_partial

    with open(path, "rb") as stream:
        if not looks_like_dicom(stream.read(HEAD_BYTES)):
            raise ReadError(f"{path} is no DICOM file.", "Choose another file.")
        stream.seek(0)
        dataset = read_partial(stream, lambda tag, _vr, _length: tag in _PIXELS, force=True, specific_tags=list(tags))
        place = stream.tell()
        start = stream.read(4)
    for order in ("<HH", ">HH"):
        if len(start) == 4:
            group, element = struct.unpack(order, start)
            tag = group << 16 | element
            if tag in _PIXELS:
                return dataset, place, tag in _FLOATS
    return dataset, None, False


def numbers(dataset: Dataset, tag: int) -> tuple[float, ...]:
    """Return the numbers in an element; empty where it is absent, empty, or holds no finite numbers."""
    if tag not in dataset:
        return ()
    raw = dataset.get_item(tag)
    value = None if raw is None else raw.value
    try:
        # Decimal strings are parsed here: pydicom's own number types cost more than the rest of a header.
        if isinstance(value, bytes) and _is_decimal(raw.VR if raw is not None else None, tag):
            found = tuple(float(part) for part in value.decode("ascii").strip(" \0").split("\\") if part.strip(" \0"))
        else:
            value = dataset[tag].value
            if value is None or value == "":
                return ()
            several = hasattr(value, "__iter__") and not isinstance(value, str | bytes)
            found = tuple(float(part) for part in (value if several else [value]))
    except (TypeError, ValueError, NotImplementedError):
        return ()
    return found if all(math.isfinite(part) for part in found) else ()


def number(dataset: Dataset, tag: int) -> float | None:
    """Return the first number in an element, or None."""
    return next(iter(numbers(dataset, tag)), None)


def text(dataset: Dataset, tag: int) -> str:
    """Return an element as text; empty where it is absent. Several values stay separated by backslashes."""
    if tag not in dataset:
        return ""
    raw = dataset.get_item(tag)
    if raw is not None and isinstance(raw.value, bytes) and raw.value.isascii():
        return "\\".join(part.strip() for part in raw.value.decode("ascii").strip(" \0").split("\\"))
    value = dataset[tag].value
    if value is None:
        return ""
    if not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        return "\\".join(str(part).strip() for part in value)
    return str(value).strip(" \0")


def items(dataset: Dataset, tag: int) -> list[Dataset]:
    """Return the items of a sequence; empty where it is absent or no sequence."""
    from pydicom.sequence import Sequence

    value = dataset[tag].value if tag in dataset else None
    return list(value) if isinstance(value, Sequence) else []


def _is_decimal(vr: str | None, tag: int) -> bool:
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    if vr is None or vr == "UN":
        vr = dictionary_VR(tag) if dictionary_has_tag(tag) else ""
    return vr in ("DS", "IS")
