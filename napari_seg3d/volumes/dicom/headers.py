"""What the header of a DICOM file says about its frames: read once, without the pixels, and kept small."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.bounded import BoundedFile

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_FLOATS = (0x7FE00008, 0x7FE00009)
#: The first elements that a file without preamble can have: group 2, or the beginning of group 8.
_FIRST_ELEMENTS = {2: (0x0000, 0x0001, 0x0002, 0x0010), 8: (0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0016, 0x0018)}
_FIRST_TYPES = (b"UL", b"OB", b"UI", b"CS", b"DA")
#: So many bytes show whether a file is DICOM.
HEAD_BYTES = 148
_META_BYTES = 1024
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MOST_INFLATED = 2 << 30
_UNDEFINED_LENGTH = 0xFFFFFFFF


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


def read_header(path: Path, tags: tuple[int, ...]) -> tuple[Elements, int | None, bool]:
    """Read some elements of a file, up to its pixels.

    Returns
    -------
    elements : Elements
        Those of `tags` that are there.
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

    with BoundedFile(path) as stream:
        head = stream.read(_META_BYTES)
        if not looks_like_dicom(head[:HEAD_BYTES]):
            raise ReadError(f"{path} is no DICOM file.", "Choose another file.")
        if _DEFLATED in head:
            _refuse_bomb(path, stream, head)
        stream.seek(0)
        dataset = read_partial(stream, lambda tag, _vr, _length: tag in _PIXELS, force=True, specific_tags=list(tags))
        place = stream.tell()
        start = stream.read(4)
    for order in ("<HH", ">HH"):
        if len(start) == 4:
            group, element = struct.unpack(order, start)
            tag = group << 16 | element
            if tag in _PIXELS:
                return Elements(dataset), place, tag in _FLOATS
    return Elements(dataset), None, False


def _refuse_bomb(path: Path, stream: BinaryIO, head: bytes) -> None:
    """Refuse a deflated file that grows beyond reason: it would be inflated whole only to look at its header."""
    (meta_length,) = struct.unpack("<I", head[140:144])
    stream.seek(144 + meta_length)
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with suppress(zlib.error):  # damage is found by who reads the file
        while (chunk := inflate.unconsumed_tail or stream.read(1 << 16)) and not inflate.eof:
            size += len(inflate.decompress(chunk, 1 << 22))
            if size > _MOST_INFLATED:
                raise ReadError(f"{path} is compressed beyond reason.", "Do not trust this file.")


class Elements:
    """The elements of a data set, converted only when they are asked for: that is most of what reading a header costs."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._raw = {int(element.tag): element for element in dataset.elements()}

    def __contains__(self, tag: int) -> bool:
        return tag in self._raw

    def is_whole(self, tag: int) -> bool:
        """Return whether an element is as long as it says, which it is not at the end of a file that is cut off."""
        raw = self._raw[tag]
        length = getattr(raw, "length", _UNDEFINED_LENGTH)
        return length == _UNDEFINED_LENGTH or not isinstance(raw.value, bytes) or len(raw.value) >= length

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Return the numbers in an element; empty where it is absent, empty, or holds no finite numbers."""
        raw = self._raw.get(tag)
        if raw is None or raw.value is None:
            return ()
        value, vr = raw.value, raw.VR or _usual_vr(tag)
        try:
            if isinstance(value, bytes) and vr in ("DS", "IS"):
                found = tuple(float(part) for part in value.decode("ascii").strip(" \0").split("\\") if part.strip(" \0"))
            elif isinstance(value, bytes) and vr == "US":
                order = "<" if getattr(raw, "is_little_endian", True) else ">"
                found = struct.unpack(f"{order}{len(value) // 2}H", value)
            else:
                converted = self.dataset[tag].value
                if converted is None or converted == "":
                    return ()
                found = tuple(float(part) for part in (converted if _is_several(converted) else [converted]))
        except (TypeError, ValueError, NotImplementedError, struct.error):
            return ()
        return found if all(math.isfinite(part) for part in found) else ()

    def number(self, tag: int) -> float | None:
        """Return the first number in an element, or None."""
        return next(iter(self.numbers(tag)), None)

    def text(self, tag: int) -> str:
        """Return an element as text; empty where it is absent. Several values stay separated by backslashes."""
        raw = self._raw.get(tag)
        if raw is None or raw.value is None:
            return ""
        if isinstance(raw.value, bytes) and raw.value.isascii() and b"\x1b" not in raw.value:  # no escape to another alphabet
            return "\\".join(part.strip() for part in raw.value.decode("ascii").strip(" \0").split("\\"))
        value = self.dataset[tag].value
        if value is None:
            return ""
        if _is_several(value):
            return "\\".join(str(part).strip() for part in value)
        return str(value).strip(" \0")

    def items(self, tag: int) -> list[Elements]:
        """Return the items of a sequence; empty where it is absent or no sequence."""
        from pydicom.sequence import Sequence

        value = self.dataset[tag].value if tag in self._raw else None
        return [Elements(item) for item in value] if isinstance(value, Sequence) else []


def _is_several(value: object) -> bool:
    from pydicom.multival import MultiValue

    return isinstance(value, MultiValue | list | tuple)  # a person's name can be iterated over, too, letter by letter


@cache
def _usual_vr(tag: int) -> str:
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    return dictionary_VR(tag) if dictionary_has_tag(tag) else ""
