"""Whether two scans are of one patient, without a word about who that is."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from napari_seg3d.volumes.dicom.headers import is_dicom, quiet, read_header

_NAME, _ID, _ISSUER, _BIRTH_DATE = 0x00100010, 0x00100020, 0x00100021, 0x00100030
#: What tools write that make scans anonymous: equal for many patients, so it tells nothing.
_PLACEHOLDER = re.compile(
    r"[\W_0x]*|\W*(anon[a-z]*|de-?identified|none|no[ _-]?(id|name)|unknown|removed|patient|subject|test|phantom|n/?a)\W*",
    re.IGNORECASE,
)
# Another one in each process: the keys cannot be looked up in a table of hashed ids, and mean nothing once it has ended.
_SALT = secrets.token_bytes(16)


def patient_key(file: Path) -> str:
    """Return a key that is equal for files of one patient, by the id (or, without one, by name and date of birth).

    The key is random to everybody else: it lets nobody recognise a patient, and must not be stored. It is empty where the file is no
    DICOM, cannot be read, or names no patient.
    """
    try:
        if not is_dicom(file):
            return ""
        with quiet():
            elements, _, _ = read_header(file, (_NAME, _ID, _ISSUER, _BIRTH_DATE))
            patient, issuer = elements.text(_ID), elements.text(_ISSUER)
            name, born = elements.text(_NAME), elements.text(_BIRTH_DATE)
    except Exception:  # noqa: BLE001  a damaged header makes pydicom fail in any way it likes: it names nobody
        return ""
    if not _PLACEHOLDER.fullmatch(patient):
        return _key(("id", patient.casefold(), issuer.casefold()))
    if born and not any(_PLACEHOLDER.fullmatch(part) for part in (name, name.partition("^")[0])):
        return _key(("name", name.casefold(), born))
    return ""


def _key(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), key=_SALT, digest_size=16).hexdigest()
