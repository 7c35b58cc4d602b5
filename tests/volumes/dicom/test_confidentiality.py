"""Copies of DICOM files: no word of the patient in any byte, and everything else as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from napari_seg3d.errors import WriteError
from napari_seg3d.volumes import Volume, deidentify, read_volume, write_volume
from napari_seg3d.volumes.dicom import find_series
from napari_seg3d.volumes.dicom.dates import shift_date, shift_datetime, shift_pair, shift_time
from tests.volumes.dicom.phantom_series import PATIENT, write_enhanced, write_series
from tests.volumes.dicom.test_segmentation import SHAPE, grid_of, some_labels

#: What was planted; none of it may be in any byte of a copy.
SECRETS = (
    "Secretname", "Erika", "ID-4711", "19420815", "20030417", "104607", "03086212", "Doc^Tor", "Hospital", "Ward", "Elm Street",
    "PRIVATE", "PACSTITLE", "Operator", "1.2.3.4.99",
)  # fmt: skip


def plant(file: Path) -> None:
    """Put the patient wherever one may stand."""
    dataset = pydicom.dcmread(file)
    dataset.preamble = b"Secretname Erika".ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = "PACSTITLE"
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3.4.99"
    dataset.file_meta.PrivateInformation = b"PRIVATE Secretname"
    dataset.InstitutionName, dataset.InstitutionAddress = "General Hospital", "Elm Street 1"
    dataset.InstitutionalDepartmentName = "Ward 7"
    dataset.OperatorsName = "Operator^Olga"
    dataset.OtherPatientIDs = ["ID-4711", "ID-4712"]
    dataset.PatientComments = dataset.ImageComments = "Secretname called"
    dataset.StudyDescription = dataset.SeriesDescription = dataset.ProtocolName = "CT for Secretname"
    dataset.AcquisitionDateTime = "20030417104607.123456"
    dataset.SoftwareVersions = "v1 of Erika"  # nobody expects it here, and the standard's table keeps it
    dataset.ContentDescription = "drawn in Ward 7"
    dataset.IrradiationEventUID = "1.2.3.4.99.1"
    dataset.add_new(0x60004000, "LT", "Secretname in an overlay")
    dataset.add_new(0x60003000, "OW", b"Secretname ")
    dataset.add_new(0x50000010, "US", 1)
    block = dataset.private_block(0x0099, "PRIVATE MAKER", create=True)
    block.add_new(1, "LO", "Secretname^Erika")
    request, step = Dataset(), Dataset()
    step.ScheduledPerformingPhysicianName = "Doc^Tor"
    step.ReferencedSOPInstanceUID = "1.2.3.4.99.2"
    step.OperatorsName = "Operator^Olga"
    step.private_block(0x0099, "PRIVATE MAKER", create=True).add_new(1, "LO", "Secretname")
    request.PatientName = "Secretname^Erika"
    request.ReferencedSeriesSequence = [step]
    dataset.ReferencedSeriesSequence = [request]
    dataset.RequestAttributesSequence = [step]
    dataset.save_as(file)


def leaks(folder: Path) -> list[str]:
    found = []
    for file in folder.rglob("*"):
        text = (file.read_bytes() if file.is_file() else b"") + str(file.relative_to(folder)).encode()
        found += [f"{secret} in {file.name}" for secret in SECRETS if secret.encode().lower() in text.lower()]
    return found


def some_scan(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 2000, shape).astype(np.int16)


@pytest.mark.parametrize("enhanced", [False, True])
def test_no_byte_names_the_patient_and_the_scan_is_the_same(enhanced: bool, tmp_path: Path) -> None:
    source, grid = tmp_path / f"{PATIENT}_export", grid_of(5, (30, -10, 20))
    files = (
        (write_enhanced(source / f"{PATIENT}.dcm", grid, some_scan()),) if enhanced else write_series(source, grid, some_scan())
    )
    for file in files:
        plant(file)
    (source / "DICOMDIR").write_bytes(b"")
    before = {file: file.read_bytes() for file in files}
    scan = read_volume(source, "image")
    report = deidentify([source], tmp_path / "out")
    assert leaks(tmp_path / "out") == []
    assert sorted(source for source, _ in report.copies) == sorted(files)
    assert all(file.read_bytes() == content for file, content in before.items())
    copy = read_volume(tmp_path / "out", "image")
    np.testing.assert_array_equal(copy.data, scan.data)
    np.testing.assert_array_equal(copy.affine, scan.affine)
    assert (copy.modality, copy.kind) == (scan.modality, scan.kind)
    header = pydicom.dcmread(report.copies[0][1])
    assert header.PatientIdentityRemoved == "YES"
    assert [item.CodeValue for item in header.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert header.PatientID == header.PatientName == "patient_001"
    assert header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID
    assert not header.get("PatientBirthDate")


def test_a_seg_still_lies_on_its_series(tmp_path: Path) -> None:
    grid = grid_of(2, (0, 20, 0))
    files = write_series(tmp_path / "export" / "ct", grid)
    scan = read_volume(tmp_path / "export" / "ct")
    mask = scan.with_data(some_labels()[np.newaxis], "labels")
    write_volume(mask, tmp_path / "export" / f"{PATIENT}.dcm")
    deidentify([tmp_path / "export"], tmp_path / "out")
    series, segmentation = find_series(tmp_path / "out")
    assert leaks(tmp_path / "out") == []
    copies = {pydicom.dcmread(file).SOPInstanceUID for file in series.files}
    assert copies.isdisjoint(pydicom.dcmread(file).SOPInstanceUID for file in files)
    seg = pydicom.dcmread(segmentation.files[0])
    referred = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referred == copies
    frame = seg.PerFrameFunctionalGroupsSequence[0]
    assert frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID in copies
    assert seg.FrameOfReferenceUID == pydicom.dcmread(series.files[0]).FrameOfReferenceUID
    back = segmentation.read()
    np.testing.assert_array_equal(back.data, mask.data)
    assert back.grid.matches(scan.grid)
    # What was drawn goes on being drawn: the copy takes a SEG of its own.
    write_volume(series.read().with_data(mask.data, "labels"), tmp_path / "again.dcm")


def test_patients_stay_apart_and_one_patient_stays_one(tmp_path: Path) -> None:
    for number, patient in enumerate(("A", "B", "A")):
        for file in write_series(tmp_path / "in" / str(number), grid_of(shape=(3, 3, 2))):
            header = pydicom.dcmread(file)
            header.PatientID = patient
            header.StudyDate = f"2003041{number}"
            header.save_as(file)
    report = deidentify([tmp_path / "in"], tmp_path / "out")
    ids, dates = [], []
    for number in (1, 2, 3):
        header = pydicom.dcmread(tmp_path / "out" / f"series_00{number}" / "0001.dcm")
        ids.append(header.PatientID)
        dates.append(np.datetime64(f"{header.StudyDate[:4]}-{header.StudyDate[4:6]}-{header.StudyDate[6:]}"))
    assert ids == ["patient_001", "patient_002", "patient_001"]
    assert dates[2] - dates[0] == np.timedelta64(2, "D")  # the follow-up is as late as it was
    assert dates[0] < np.datetime64("2002-04-17")
    assert len(report.copies) == 6


def test_runs_cannot_be_linked(tmp_path: Path) -> None:
    write_series(tmp_path / "in", grid_of(shape=(3, 3, 1)))
    headers = []
    for run in ("one", "two"):
        deidentify([tmp_path / "in"], tmp_path / run)
        headers.append(pydicom.dcmread(tmp_path / run / "series_001" / "0001.dcm"))
    assert headers[0].SOPInstanceUID != headers[1].SOPInstanceUID
    assert headers[0].StudyDate != headers[1].StudyDate or headers[0].StudyTime != headers[1].StudyTime


def test_text_in_the_picture_is_warned_of(tmp_path: Path) -> None:
    for number, changes in enumerate(
        ({"BurnedInAnnotation": "YES"}, {"Modality": "US"}, {"Modality": "US", "BurnedInAnnotation": "NO"})
    ):
        (file,) = write_series(tmp_path / "in" / str(number), grid_of(shape=(3, 3, 1)))
        header = pydicom.dcmread(file)
        for keyword, value in changes.items():
            setattr(header, keyword, value)
        header.save_as(file)
    report = deidentify([tmp_path / "in"], tmp_path / "out")
    assert [(copy.parent.name, "burned" in warning) for copy, warning in report.warnings] == [
        ("series_001", True),
        ("series_002", True),
    ]
    assert len(report.copies) == 3


def test_reports_and_damaged_files_are_refused(tmp_path: Path) -> None:
    (file, *_) = write_series(tmp_path / "in", grid_of(shape=(3, 3, 2)))
    header = pydicom.dcmread(file)
    del header.PixelData
    header.save_as(tmp_path / "in" / "report.dcm")
    (tmp_path / "in" / "cut.dcm").write_bytes(file.read_bytes()[:400])
    (tmp_path / "in" / "notes.txt").write_text("Secretname was here")
    report = deidentify([tmp_path / "in"], tmp_path / "out")
    assert sorted(path.name for path, _ in report.refused) == ["cut.dcm", "notes.txt", "report.dcm"]
    assert all(str(tmp_path) not in reason for _, reason in report.refused)
    assert len(report.copies) == 2
    assert leaks(tmp_path / "out") == []


@pytest.mark.parametrize("name", ["mr_t1post_siemens", "ct3slice_seg", "ct_head_64x64x93", "enhanced", "transfer_syntax", "cr"])
def test_real_files_keep_their_voxels(name: str, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "dicom" / name
    report = deidentify([source], tmp_path / "out")
    copies = [(original, copy) for original, copy in report.copies if copy.suffix == ".dcm"]
    assert copies
    for original, copy in copies:
        before, after = pydicom.dcmread(original, force=True), pydicom.dcmread(copy)
        assert after.PixelData == before.PixelData
        assert after.file_meta.TransferSyntaxUID == before.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2")
        assert after.get("ImagePositionPatient") == before.get("ImagePositionPatient")
        identity = {
            str(before.get(keyword, "")) for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber")
        }
        assert not any(len(word) > 3 and word.encode() in copy.read_bytes() for word in identity)


def test_the_time_points_of_a_series_stay_apart(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "dicom" / "enhanced_siemens_xa_4timepoints"
    before = read_volume(source, "image")
    deidentify([source], tmp_path / "out")
    after: Volume = read_volume(tmp_path / "out", "image")
    np.testing.assert_array_equal(after.data, before.data)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.channels == before.channels


def test_nothing_is_written_into_a_source_or_over_anything(tmp_path: Path) -> None:
    write_series(tmp_path / "in", grid_of(shape=(3, 3, 1)))
    for place in ("in", "in/clean"):
        with pytest.raises(WriteError, match="lies in"):
            deidentify([tmp_path / "in"], tmp_path / place)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.txt").write_text("mine")
    with pytest.raises(WriteError, match="not empty"):
        deidentify([tmp_path / "in"], tmp_path / "out")


@given(st.datetimes(), st.integers(0, 3000), st.integers(0, 86399))
def test_a_date_and_its_time_move_together(moment: object, days: int, seconds: int) -> None:
    assert hasattr(moment, "strftime")
    if moment.year < 1900:
        return
    date, time = shift_pair(f"{moment:%Y%m%d}", f"{moment:%H%M%S.%f}", (-days, seconds))
    expected = np.datetime64(moment) + np.timedelta64(-days, "D") + np.timedelta64(seconds, "s")
    joined = shift_datetime(f"{moment:%Y%m%d%H%M%S.%f}", (-days, seconds))[0]
    assert joined == date[0] + time[0]
    found = np.datetime64(f"{joined[:4]}-{joined[4:6]}-{joined[6:8]}T{joined[8:10]}:{joined[10:12]}:{joined[12:]}", "us")
    assert found == expected


def test_odd_dates_move_or_go() -> None:
    assert shift_date("2003.04.17", (-1, 0)) == ["20030416"]
    assert shift_date(["20030417", "", "20030418"], (-1, 0)) == ["20030416", "20030417"]
    assert shift_date("Secretname", (-1, 0)) == shift_date("20031399", (-1, 0)) == shift_date(None, (-1, 0)) == []
    assert shift_time("2359", (0, 120)) == ["000100.000000"]
    assert shift_time("10:46:07.5", (0, 1)) == ["104608.500000"]
    assert shift_time("997799", (0, 1)) == []
    assert shift_datetime("2003+0100", (-1, 0)) == ["20021231000000.000000"]
    assert shift_pair("20030417", "", (-1, 50)) == (["20030416"], [])
