"""What lies in a folder is found by content, listed without the patient, and refused in words where it is no volume."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.uid import BasicTextSRStorage, DeflatedExplicitVRLittleEndian, generate_uid

from napari_seg3d.errors import Cancelled, GeometryError, ReadError, Seg3dError
from napari_seg3d.volumes import find_series, read_volume
from napari_seg3d.volumes.dicom.headers import looks_like_dicom
from tests.volumes.dicom.series_writer import CORONAL, PATIENT, SAGITTAL, dataset, write_series

SLICES = np.random.default_rng(0).integers(0, 1000, (4, 8, 6), np.int16)


def test_a_folder_of_many_series_lists_them(tmp_path: Path) -> None:
    write_series(tmp_path / "a", SLICES, SeriesInstanceUID="1.1", SeriesDescription="Thorax B70f", SeriesNumber=3)
    write_series(
        tmp_path / "b" / "c", SLICES[:, :5], SAGITTAL, SeriesInstanceUID="1.2", modality="MR", SeriesDescription="t2 tse"
    )
    (tmp_path / "readme.txt").write_text("not DICOM")
    (tmp_path / "empty.dcm").write_bytes(b"")
    found = find_series(tmp_path)
    assert {one.description for one in found} == {"CT 3: Thorax B70f, axial, 6 x 8 x 4", "MR: t2 tse, sagittal, 6 x 5 x 4"}
    assert all(one.kind == "image" and one.problem is None for one in found)
    for one in found:
        assert one.read().data.shape[3] == 4
    with pytest.raises(ReadError, match="holds 2 series") as caught:
        read_volume(tmp_path)
    assert "Thorax B70f" in str(caught.value)


def test_series_of_one_folder_are_told_apart_by_their_uid(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, SeriesInstanceUID="1.1", order=range(4))
    write_series(tmp_path, SLICES[:3] + 1, SeriesInstanceUID="1.2", order=range(10, 13))
    assert sorted(one.read().data.shape[3] for one in find_series(tmp_path)) == [3, 4]


def test_a_localiser_in_three_planes_is_three_series(tmp_path: Path) -> None:
    for number, orientation in enumerate(((1, 0, 0, 0, 1, 0), SAGITTAL, CORONAL)):
        write_series(tmp_path / str(number), SLICES, orientation, gap=20.0)
    found = find_series(tmp_path)
    assert [len(one.files) for one in found] == [4, 4, 4]
    assert sorted(one.description.split(", ")[1] for one in found) == ["axial", "coronal", "sagittal"]
    for one in found:
        assert one.read().spacing[2] == pytest.approx(20)


def test_an_overview_in_the_series_is_not_one_of_its_slices(tmp_path: Path) -> None:
    write_series(tmp_path / "a", SLICES)
    write_series(tmp_path / "b", SLICES[:1, :4, :4], CORONAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert [one.size for one in find_series(tmp_path)] == ["6 x 8 x 4", "4 x 4 x 1"]


def test_two_fields_of_view_at_the_same_heights_are_two_series(tmp_path: Path) -> None:
    write_series(tmp_path / "left", SLICES, first=(50, 0, 0), AcquisitionNumber=1)
    write_series(tmp_path / "right", SLICES + 1, first=(-150, 0, 0), AcquisitionNumber=2)
    found = find_series(tmp_path)
    assert [one.size for one in found] == ["6 x 8 x 4"] * 2
    assert sorted(one.read().affine[0, 3] for one in found) == [-50, 150]


def test_how_slices_were_processed_does_not_split_them(tmp_path: Path) -> None:
    def mark(one: Dataset, number: int) -> None:
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", *(["ADD"] if number > 1 else [])]

    write_series(tmp_path, SLICES, change=mark)
    assert read_volume(tmp_path).data.shape[3] == 4


def test_reports_are_listed_but_cannot_be_opened(tmp_path: Path) -> None:
    write_series(tmp_path / "a", SLICES)
    report = dataset(SLICES[0], "SR", SOPClassUID=BasicTextSRStorage, series="9.9")
    for keyword in ("Rows", "Columns", "PixelData", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(report, keyword)
    report.save_as(tmp_path / "report", enforce_file_format=True)
    assert [one.kind for one in find_series(tmp_path)] == ["image", "other"]
    assert read_volume(tmp_path).data.shape[3] == 4
    with pytest.raises(ReadError, match="holds no pictures"):
        read_volume(tmp_path / "report")


def test_a_disc_is_read_by_its_directory(tmp_path: Path) -> None:
    write_series(tmp_path / "raw", SLICES, StudyDate="20200229", StudyTime="120000", StudyID="S", SeriesNumber=1)
    disc = FileSet()
    for file in (tmp_path / "raw").iterdir():
        disc.add(file)
    disc.write(tmp_path / "disc")
    for path in (tmp_path / "disc" / "DICOMDIR", tmp_path / "disc"):
        (series,) = find_series(path)
        np.testing.assert_array_equal(series.read().data[0], np.transpose(SLICES, (2, 1, 0)))
        np.testing.assert_array_equal(read_volume(path).data[0], np.transpose(SLICES, (2, 1, 0)))


def test_a_disc_that_is_not_whole_says_so(tmp_path: Path) -> None:
    write_series(tmp_path / "raw", SLICES, StudyDate="20200229", StudyTime="120000", StudyID="S", SeriesNumber=1)
    disc = FileSet()
    for file in (tmp_path / "raw").iterdir():
        disc.add(file)
    disc.write(tmp_path / "disc")
    directory = tmp_path / "disc" / "DICOMDIR"
    last = find_series(directory)[0].files[-1]
    last.write_bytes(last.read_bytes()[:100])
    assert any("1 damaged DICOM file" in note for note in read_volume(directory).notes)
    last.unlink()
    assert any("1 damaged DICOM file" in note for note in read_volume(directory).notes)
    directory.write_bytes(directory.read_bytes()[:-400])
    with pytest.raises(ReadError, match="DICOMDIR is cut off"):
        read_volume(directory)


@pytest.mark.parametrize("parts", [["..", "secret"], ["sub", "..", "..", "secret"], ["/", "secret"], ["link", "secret"]])
def test_a_directory_cannot_lead_out_of_its_folder(parts: list[str], tmp_path: Path) -> None:
    write_series(tmp_path / "raw", SLICES, StudyDate="20200229", StudyTime="120000", StudyID="S", SeriesNumber=1)
    disc = FileSet()
    disc.add(next(iter((tmp_path / "raw").iterdir())))
    disc.write(tmp_path / "disc")
    (tmp_path / "raw" / "IM00000").rename(tmp_path / "secret")
    (tmp_path / "disc" / "link").symlink_to(tmp_path)
    directory = dcmread(tmp_path / "disc" / "DICOMDIR")
    for record in directory.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record["ReferencedFileID"].value = parts
    directory.save_as(tmp_path / "disc" / "DICOMDIR")
    with pytest.raises(ReadError, match=r"outside of its folder|none is there"):
        find_series(tmp_path / "disc" / "DICOMDIR")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_links_are_not_followed(tmp_path: Path) -> None:
    write_series(tmp_path / "elsewhere", SLICES)
    write_series(tmp_path / "here", SLICES[:2], SeriesInstanceUID="1.2")
    (tmp_path / "here" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "file").symlink_to(tmp_path / "elsewhere" / "IM00000")
    assert [len(one.files) for one in find_series(tmp_path / "here")] == [2]


def test_nothing_that_is_shown_names_the_patient(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    identity = {
        **PATIENT,
        "InstitutionName": "Klinik Sonnenhof",
        "ReferringPhysicianName": "Müller^Hans",
        "StudyID": "ST88",
        "StudyDate": "20200229",
        "SeriesDescription": "Thorax MUSTER erika ID4711X 61-02-03 Mueller Müller Sonnenhof 1961 8812345 ST88 b1000 045Y nativ",
        "ProtocolName": "Muster",
        "SpecificCharacterSet": "ISO_IR 192",
        "SeriesNumber": 7,
        "ImageComments": "Erika Muster",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_series(tmp_path, np.repeat(SLICES, 2, axis=0), **identity)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        (series,) = find_series(tmp_path)
        volume = series.read()
    assert series.description == "CT 7: Thorax b1000 nativ, axial, 6 x 8 x 8"
    assert not raised
    captured = capfd.readouterr()
    shown = " ".join(
        [repr(series), str(series), *volume.notes, *volume.channels, repr(volume.source), captured.out, captured.err]
    )
    shown = shown.replace(str(tmp_path), "")
    for secret in ("muster", "erika", "4711", "1961", "sonnenhof", "müller", "mueller", "88", "1.2.3.4", "2020"):
        assert secret not in shown.lower()


def test_progress_and_cancelling(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES)
    seen: list[tuple[int, int]] = []
    (series,) = find_series(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(Cancelled):
        find_series(tmp_path, is_cancelled=lambda: True)
    seen.clear()
    series.read(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
    with pytest.raises(Cancelled):
        series.read(is_cancelled=lambda: len(seen) > 2)


def test_thumbnails_are_small_and_show_the_middle_slice(tmp_path: Path) -> None:
    stored = np.zeros((5, 300, 200), np.int16)
    stored[2, 100:200, 50:100] = 1000
    write_series(tmp_path, stored)
    (series,) = find_series(tmp_path)
    picture = series.thumbnail(size=64)
    assert picture.dtype == np.uint8
    assert max(picture.shape) <= 64
    assert picture[picture.shape[0] // 2, picture.shape[1] * 3 // 8] == 255
    assert picture[0, 0] < 128


def test_a_damaged_file_beside_a_series_is_mentioned(tmp_path: Path) -> None:
    files = write_series(tmp_path, SLICES)
    content = files[3].read_bytes()
    files[3].write_bytes(content[:132] + b"\xff" * 400)
    volume = read_volume(tmp_path)
    assert volume.data.shape[3] == 3
    assert any("could not be read" in note for note in volume.notes)


def test_a_slice_of_which_next_to_nothing_is_left_is_mentioned(tmp_path: Path) -> None:
    files = [file.rename(file.with_suffix(".dcm")) for file in write_series(tmp_path, SLICES)]
    content = files[-1].read_bytes()
    (tmp_path / "._IM1.dcm").write_bytes(b"what macOS leaves on shared disks")
    for length in (100, 400, 600):  # without a mark, within the numbers of the series, in front of rows and columns
        files[-1].write_bytes(content[:length])
        assert any("1 damaged DICOM file" in note for note in read_volume(tmp_path).notes), length


def test_a_cut_off_slice_is_refused_by_name(tmp_path: Path) -> None:
    files = write_series(tmp_path, SLICES)
    files[2].write_bytes(files[2].read_bytes()[:-10])
    with pytest.raises(ReadError, match="cut off: 86 bytes of pixels instead of 96") as caught:
        read_volume(tmp_path)
    assert files[2].name in str(caught.value)


def test_a_siemens_mosaic_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, modality="MR", ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    with pytest.raises(ReadError, match="mosaic"):
        read_volume(tmp_path)


def test_two_slices_of_noise_are_no_volume_but_two_of_a_scan_are(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2, 64, 64), np.int16)
    write_series(tmp_path / "noise", noise)
    with pytest.raises(ReadError, match="noise"):
        read_volume(tmp_path / "noise")
    row = np.arange(64)
    ball = (500 * np.exp(-((row[:, None] - 30) ** 2 + (row - 30) ** 2) / 300)).astype(np.int16)
    write_series(tmp_path / "scan", np.stack([ball, ball]) + noise // 20)
    assert read_volume(tmp_path / "scan").data.shape[3] == 2


def test_an_empty_folder_and_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="holds no DICOM"):
        find_series(tmp_path)
    with pytest.raises(ReadError, match="does not exist"):
        find_series(tmp_path / "nowhere")


def test_other_formats_do_not_look_like_dicom() -> None:
    for head in (
        b"",
        b"NRRD0005\n" + b"x" * 200,
        b"\x5c\x01\x00\x00" + b"\0" * 300,
        b"II*\0" + b"\0" * 200,
        b"\x89PNG\r\n\x1a\n" * 30,
    ):
        assert not looks_like_dicom(head[:148])
    assert looks_like_dicom(b"\0" * 128 + b"DICM" + b"\0" * 16)
    assert looks_like_dicom(b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100")
    assert looks_like_dicom(b"\x08\x00\x16\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.2")


def test_a_file_that_inflates_beyond_reason_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_seg3d.volumes.dicom.headers._MOST_INFLATED", 1 << 20)
    write_series(tmp_path, np.zeros((1, 1024, 1024), np.int16), transfer_syntax=DeflatedExplicitVRLittleEndian)
    with pytest.raises(ReadError, match="compressed beyond reason"):
        read_volume(tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_cuts_and_flips_give_one_clear_message(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    (file,) = write_series(tmp_path / "whole", SLICES[:1], SOPInstanceUID=generate_uid())
    content = bytearray(file.read_bytes())
    damaged = tmp_path / "damaged"
    for number in range(60):
        bad = bytearray(content)
        if number % 2:
            bad = bad[: random.integers(1, len(bad))]
        else:
            for place in random.integers(0, len(bad) - SLICES[0].nbytes, 3):
                bad[place] ^= 1 << random.integers(8)
        damaged.write_bytes(bad)
        message = refusal_of(damaged)
        assert message or len(bad) == len(content)
        assert not message or str(damaged) in message
        assert "Muster" not in message


def refusal_of(path: Path) -> str:
    """Return what reading a file is refused with; empty if it is read."""
    try:
        read_volume(path)
    except Seg3dError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["bad_truncated", "bad_two_slices_noise_pixels"])
def test_the_bad_sets_are_refused(kind: str, shared_data: Path) -> None:
    with pytest.raises(ReadError, match=kind):
        read_volume(shared_data / "dicom" / kind)


def test_the_lossless_transfer_syntaxes_are_equal(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "transfer_syntax"
    volumes = {file.name: read_volume(file) for file in folder.iterdir()}
    assert len(volumes) == 12
    reference = volumes["CTImage.dcm_LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2.dcm"]
    assert (reference.data.min(), reference.data.max()) == (-3024, 1378)
    for name, volume in volumes.items():
        assert volume.grid.matches(reference.grid)
        difference = np.abs(volume.data.astype(float) - reference.data)
        if any(lossy in name for lossy in ("JPEG2000Transfer", "Lossy", "Process1T", "Process2_4")):
            inside = reference.data > -2000
            assert 0 < difference[inside].mean() < 20, name
        else:
            assert not difference.any(), name


def test_pictures_at_one_place_that_differ_are_refused(shared_data: Path) -> None:
    with pytest.raises((ReadError, GeometryError), match="different pictures of the same slice"):
        read_volume(shared_data / "dicom" / "transfer_syntax")


def test_slices_that_are_picked_one_by_one_are_one_series(tmp_path: Path) -> None:
    stored = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    files = write_series(tmp_path / "a", stored)
    write_series(tmp_path / "b", stored, series="1.2.3.9", SeriesInstanceUID="1.2.3.9")
    (series,) = find_series(files)
    assert len(series.files) == 5
    np.testing.assert_array_equal(series.read().data[0], read_volume(tmp_path / "a").data[0])
