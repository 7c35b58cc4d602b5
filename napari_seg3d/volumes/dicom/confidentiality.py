"""Headers without the patient: the Basic Application Level Confidentiality Profile of DICOM PS3.15, Annex E."""

from __future__ import annotations

import hmac
import re
import secrets
from functools import cache
from typing import TYPE_CHECKING

from napari_seg3d import __version__
from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.dicom.dates import shift_date, shift_datetime, shift_pair, shift_time

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_FREE_TEXT = ("PN", "LO", "LT", "SH", "ST", "UC", "UR", "UT")
#: What stands in for a value that may not be empty, by its representation; everything else becomes empty.
_DUMMY = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "DS": "0", "IS": "0", "CS": "REMOVED"} | {
    "LO": "REMOVED", "LT": "REMOVED", "PN": "REMOVED", "SH": "REMOVED", "ST": "REMOVED", "UC": "REMOVED", "UT": "REMOVED",
    "AE": "REMOVED", "UR": "http://removed.invalid", "FD": 0, "FL": 0, "SL": 0, "SS": 0, "UL": 0, "US": 0,
}  # fmt: skip
# UIDs of code systems name no patient; without them, codes mean nothing.
_KEPT_UIDS = ("CodingSchemeUID", "ContextUID", "ContextGroupExtensionCreatorUID", "MappingResourceUID")
#: Free text that the table of the standard leaves alone.
_ALSO_REMOVED = ("ContentDescription",)
_MAY_SHOW_TEXT = ("US", "ES", "XC", "SC", "OT", "IVUS", "GM", "SM", "DOC")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


class Confidentiality:
    """Takes the patient out of headers, the same way for all files of one run.

    UIDs get others, but equal ones stay equal: series stay together, and segmentations keep referring to their images. Dates and
    times of the acquisition are shifted by an interval that is drawn for each patient, so that time series and follow-ups stay
    what they are. Both hang on a secret that is forgotten with this object.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._patients: dict[str, str] = {}

    def clean(self, dataset: Dataset) -> list[str]:
        """Clean the header of one file in place, and return what a person must still look at.

        Raises
        ------
        ReadError
            The file is no picture: reports, documents and annotations cannot be cleaned.
        """
        from pydicom.dataset import FileMetaDataset
        from pydicom.sr.codedict import codes
        from pydicom.uid import ImplicitVRLittleEndian

        if not any(keyword in dataset for keyword in _PIXELS):
            raise ReadError("It is no picture, and its text cannot be cleaned.", "Leave it out.")
        warnings = _burned_in(dataset)
        patient = _patient(dataset)
        pseudonym = self._patients.setdefault(patient, f"patient_{len(self._patients) + 1:03}")
        self._clean(dataset, self._shift(patient), _identity(dataset))

        dataset.PatientName = dataset.PatientID = pseudonym
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = ["Basic profile of DICOM PS3.15 E", "Dates shifted", f"napari-seg3d {__version__}"]
        method = (
            codes.DCM.BasicApplicationConfidentialityProfile,
            codes.DCM.RetainLongitudinalTemporalInformationModifiedDatesOption,
        )
        dataset.DeidentificationMethodCodeSequence = [_code(*code[:3]) for code in method]
        dataset.LongitudinalTemporalInformationModified = "MODIFIED"

        # The preamble and what software passed the file on say nothing that a copy needs.
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        dataset.file_meta, dataset.preamble = meta, b"\0" * 128
        return warnings

    def _clean(self, dataset: Dataset, shift: tuple[int, int], identity: frozenset[str]) -> None:
        from pydicom.datadict import dictionary_has_tag

        for tag in list(dataset.keys()):
            group = tag.group
            # Private, unknown, curves, overlays, and the lengths of groups, which no longer hold.
            if tag.is_private or not dictionary_has_tag(tag) or group & 0xFF00 in (0x5000, 0x6000) or tag.element == 0:
                del dataset[tag]
        self._shift_times(dataset, shift)
        for element in list(dataset):
            action = _actions().get(int(element.tag), "")
            is_time_of_scan = element.VR in ("DA", "TM", "DT") and element.tag.group in (0x0008, 0x0018)
            if element.VR == "UI":
                self._replace_uids(element)
            elif is_time_of_scan:
                continue  # shifted already
            elif action == "X" or element.keyword in _ALSO_REMOVED:
                del dataset[element.tag]
            elif action in ("Z", "X/Z"):
                element.value = [] if element.VR == "SQ" else None
            elif action in ("D", "Z/D", "X/D", "X/Z/D"):
                element.value = [] if element.VR == "SQ" else _DUMMY.get(element.VR)
            elif element.VR == "SQ":
                for item in element.value:
                    self._clean(item, shift, identity)
            elif element.VR in ("DA", "TM", "DT", "PN") or (element.VR in _FREE_TEXT and _names(element, identity)):
                element.value = None  # not in the table, and still somebody's name or a date

    def _shift_times(self, dataset: Dataset, shift: tuple[int, int]) -> None:
        """Shift dates and times of the scan; a date and its time together, so that midnight is crossed as it should be."""
        for element in list(dataset):
            if element.tag.group not in (0x0008, 0x0018) or element.keyword not in dataset:
                continue
            if element.VR == "DA":
                partner = element.keyword.removesuffix("Date") + "Time"
                if partner != element.keyword and partner in dataset and dataset[partner].VR == "TM" and dataset[partner].value:
                    element.value, dataset[partner].value = shift_pair(element.value, dataset[partner].value, shift)
                else:
                    element.value = shift_date(element.value, shift)
            elif element.VR == "DT":
                element.value = shift_datetime(element.value, shift)
            elif element.VR == "TM" and element.keyword.removesuffix("Time") + "Date" not in dataset:
                element.value = shift_time(element.value, shift)

    def _replace_uids(self, element: DataElement) -> None:
        if element.keyword in _KEPT_UIDS or not element.value:
            return
        several = element.VM > 1
        replaced = [self._uid(str(uid)) for uid in (element.value if several else [element.value])]
        element.value = replaced if several else replaced[0]

    def _uid(self, uid: str) -> str:
        if uid.startswith("1.2.840.10008."):  # the standard's own: classes, transfer syntaxes
            return uid
        digest = hmac.new(self._secret, uid.encode(), "sha256").digest()
        return f"2.25.{int.from_bytes(digest[:16], 'big') >> 1}"

    def _shift(self, patient: str) -> tuple[int, int]:
        """Return days and seconds, one to eleven years back."""
        digest = hmac.new(self._secret, patient.encode(), "sha512").digest()
        return -(365 + int.from_bytes(digest[:8], "big") % 3650), int.from_bytes(digest[8:16], "big") % 86400


@cache
def _actions() -> dict[int, str]:
    """Return what table E.1-1 of the standard says for each attribute, in its own letters."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    tables = dicom_anonymization_database_selector("dicomfields_2026c")
    letters = {"X": "X_TAGS", "Z": "Z_TAGS", "D": "D_TAGS", "Z/D": "Z_D_TAGS", "X/Z": "X_Z_TAGS", "X/D": "X_D_TAGS"}
    letters |= {"X/Z/D": "X_Z_D_TAGS"}  # U, and the sequences of X/Z/U*, are kept with other UIDs
    return {(tag[0] << 16) + tag[1]: letter for letter, name in letters.items() for tag in tables[name] if len(tag) == 2}


def _patient(dataset: Dataset) -> str:
    """Return what tells this patient from others; only ever a key."""
    return f"{dataset.get('PatientID') or ''}|{dataset.get('PatientName') or '' if not dataset.get('PatientID') else ''}"


def _identity(dataset: Dataset) -> frozenset[str]:
    """Return words that name the patient, wherever they stand: somebody may have typed them into another field."""
    found: set[str] = set()
    for element in dataset.iterall():
        if element.VR == "PN" or element.keyword in (
            "PatientID",
            "AccessionNumber",
            "OtherPatientIDs",
            "PatientBirthDate",
            "AdmissionID",
        ):
            found.update(_words(element))
    return frozenset(found)


def _words(element: DataElement) -> set[str]:
    values = element.value if element.VM > 1 else [element.value]
    words = re.findall(r"\w+", " ".join(str(value) for value in values if value).casefold())
    return {word for word in words if len(word) >= 3}


def _names(element: DataElement, identity: frozenset[str]) -> bool:
    return not identity.isdisjoint(_words(element))


def _burned_in(dataset: Dataset) -> list[str]:
    tags = sorted(dataset.keys())
    stated = str(dataset.get("BurnedInAnnotation") or "")
    warnings = []
    if stated == "YES":
        warnings.append("its header says that text is burned into the picture")
    elif stated != "NO" and (
        dataset.get("Modality") in _MAY_SHOW_TEXT
        or str(dataset.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE)
        or dataset.get("ConversionType")
    ):
        warnings.append("pictures of its kind often have text burned in")
    if any(0x6000 <= tag.group <= 0x60FF and tag.element == 0x0010 and (tag.group, 0x3000) not in dataset for tag in tags):
        warnings.append("an overlay, which may hold text, is stored in unused bits of its pixels")
    return warnings


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset as NewDataset

    item = NewDataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
