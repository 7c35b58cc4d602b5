"""A line by which a person can choose a series, without anything that names the patient."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from napari_seg3d.volumes.dicom.headers import read_header

_MODALITY, _SERIES_DESCRIPTION, _PROTOCOL, _SERIES_NUMBER = 0x00080060, 0x0008103E, 0x00181030, 0x00200011
#: Who, where and when: accession number, institution, physicians, operators, station, patient's names, ids, address and dates,
#: study id, admission, dates and times of study and series, device.
_IDENTITY = (
    0x00080050, 0x00080080, 0x00080081, 0x00080090, 0x00080092, 0x00080094, 0x00081010, 0x00081040, 0x00081048, 0x00081050,
    0x00081060, 0x00081070, 0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00100032, 0x00101000, 0x00101001, 0x00101005,
    0x00101040, 0x00101060, 0x00102154, 0x00102160, 0x00102180, 0x00104000, 0x00181000, 0x00200010, 0x00321032, 0x00380010,
    0x00380300, 0x00400253, 0x00080020, 0x00080021, 0x00080022, 0x00080023,
)  # fmt: skip
_LONGEST = 48
#: The same name is written Müller in one place and Mueller in another.
_SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ø": "oe", "å": "aa", "ß": "ss"})


def describe(file: Path, plane: str, size: str) -> str:
    """Return a line for a person to choose by.

    Parameters
    ----------
    file : Path
        One file of the series.
    plane, size : str
        Such as ``"axial"`` and ``"512 x 512 x 93"``; empty where there is none.

    Returns
    -------
    str
        Such as ``"CT 3: Thorax, axial, 512 x 512 x 93"``. Words of the description that also occur in the patient's names or
        numbers, at the institution or among its people, and all that looks like a date or a number of a person, are left out.
    """
    elements, _, _ = read_header(file, (_MODALITY, _SERIES_DESCRIPTION, _PROTOCOL, _SERIES_NUMBER, 0x00080005, *_IDENTITY))
    secrets = _words_of([elements.text(tag) for tag in _IDENTITY])
    modality = elements.text(_MODALITY).upper()
    modality = modality if re.fullmatch(r"[A-Z]{2,16}", modality) else "DICOM"
    found = elements.number(_SERIES_NUMBER)
    is_number = found is not None and found == int(found) and 0 <= found < 10_000 and f"{found:.0f}" not in secrets
    name = without_patient(elements.text(_SERIES_DESCRIPTION), secrets) or without_patient(elements.text(_PROTOCOL), secrets)
    head = f"{modality} {found:.0f}" if is_number else modality
    return ", ".join(part for part in (f"{head}: {name}" if name else head, plane, size) if part)


def without_patient(description: str, secrets: set[str]) -> str:
    """Return a description without the words in `secrets` (folded), dates, and long numbers."""
    dateless = re.sub(r"\d{1,4}[./:-]\d{1,2}[./:-]\d{1,4}", " ", description)
    kept = []
    for word in dateless.split():
        parts = re.findall(r"\w+", word)
        if not any(_is_secret(part, secrets) for piece in parts for part in (piece, *piece.split("_"))) and not _is_secret(
            "".join(parts), secrets
        ):
            kept.append("".join(letter for letter in word if letter.isprintable()))
    name = " ".join(kept)[:_LONGEST].strip(" ,;:-_^")
    return "" if name.casefold() == "none" else name  # what some anonymisers leave


def _is_secret(word: str, secrets: set[str]) -> bool:
    folded = _folded(word)
    if folded in secrets or re.search(r"\d{5,}", folded) or re.fullmatch(r"(19|20)\d\d|\d{3}[dwmy]", folded):
        return True
    return any(len(secret) >= 4 and secret in folded for secret in secrets)


def _words_of(values: list[str]) -> set[str]:
    found = set()
    for value in values:
        for one in re.split(r"[\\=]", value):
            # The whole, too: an id "4711-X" is often written "4711X".
            for word in (*re.findall(r"[^\W_]+", one), "".join(re.findall(r"[^\W_]+", one))):
                if len(word) > 1:
                    found |= {_folded(word), _folded(word.translate(_SPELT_OUT))}
    return found


def _folded(word: str) -> str:
    """Return a word in lower case without accents, as the same name may be written here and there."""
    plain = unicodedata.normalize("NFKD", word.casefold().replace("ß", "ss"))
    return "".join(letter for letter in plain if not unicodedata.combining(letter))
