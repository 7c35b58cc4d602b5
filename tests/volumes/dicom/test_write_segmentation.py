"""Labels written as DICOM SEG: read back equal, by us and by others, and sound by an independent validator."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_seg3d.errors import WriteError
from napari_seg3d.volumes import Grid, Label, Source, Volume, read_volume, write_volume
from napari_seg3d.volumes.dicom.segment_codes import codes_of
from napari_seg3d.volumes.dicom.segmentation import read_segmentation
from napari_seg3d.volumes.dicom.write_segmentation import write
from tests.volumes.dicom.phantom_series import write_enhanced, write_series
from tests.volumes.dicom.test_segmentation import RIGHT_HANDED, SHAPE, grid_of, some_labels


def labels_on(folder: Path, grid: Grid, data: NDArray[np.generic], enhanced: bool = False, **fields: object) -> Volume:
    """Return labels ``(I, J, K)`` or ``(C, I, J, K)`` that were drawn on a series in `folder`."""
    files = (write_enhanced(folder / "scan.dcm", grid),) if enhanced else write_series(folder / "scan", grid)
    data = data if data.ndim == 4 else data[np.newaxis]
    return Volume(data, grid.affine, "labels", Source(folder, "dicom", files=files), **fields)


def round_trip(volume: Volume, folder: Path) -> Volume:
    write(folder / "seg.dcm", volume)
    return read_segmentation(folder / "seg.dcm")


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("number", range(0, len(RIGHT_HANDED), 3))
def test_labels_come_back_on_the_same_grid(number: int, enhanced: bool, tmp_path: Path) -> None:
    volume = labels_on(tmp_path, grid_of(number, (30, -10, 20)), some_labels(), enhanced)
    back = round_trip(volume, tmp_path)
    np.testing.assert_array_equal(back.data, volume.data)
    assert back.grid.matches(volume.grid), back.grid.difference(volume.grid)
    assert back.notes == ()


@given(
    values=st.lists(st.integers(-5, 70_000).filter(bool), min_size=1, max_size=4, unique=True),
    where=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=30),
    number=st.integers(0, 23),
    enhanced=st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_values_in_any_slices_come_back(
    values: list[int],
    where: list[tuple[int, int, int]],
    number: int,
    enhanced: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    grid = grid_of(number, (0, 15, 0), (5, 3, 7))
    data = np.zeros(grid.shape, np.int32)
    for index, voxel in enumerate(where):
        data[voxel] = values[index % len(values)]
    folder = tmp_path_factory.mktemp("seg")
    back = round_trip(labels_on(folder, grid, data, enhanced), folder)
    np.testing.assert_array_equal(back.data[0], data)
    assert back.grid.matches(grid)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_overlapping_channels_come_back(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder, grid = tmp_path_factory.mktemp("seg"), grid_of(5)
    data = (np.random.default_rng(seed).random((3, *SHAPE)) < 0.3) * np.arange(1, 4)[:, None, None, None]
    names = {1: Label("Whole tumour", "#00ff00"), 2: Label("Tumour core"), 3: Label("Enhancing", "#ff0000")}
    back = round_trip(labels_on(folder, grid, data.astype(np.uint8), labels=names), folder)
    np.testing.assert_array_equal(back.data, data)
    assert back.labels == names
    assert back.grid.matches(grid)


def test_names_colours_and_values_that_are_no_numbers_of_segments(tmp_path: Path) -> None:
    data = np.array([0, 1, 7, 300], np.uint16)[some_labels()]
    names = {1: Label("Left kidney", "#ff8000"), 7: Label("Опухоль\\x", "#0000ff"), 300: Label()}
    volume = labels_on(tmp_path, grid_of(), data, labels=names)
    back = round_trip(volume, tmp_path)
    np.testing.assert_array_equal(back.data, volume.data)
    assert back.labels == {1: Label("Left kidney", "#ff8000"), 7: Label("Опухоль x", "#0000ff"), 300: Label("Label 300")}
    segments = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    assert [segment.SegmentNumber for segment in segments] == [1, 2, 3]


@given(st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=20, deadline=None)
def test_every_colour_comes_back(tmp_path_factory: pytest.TempPathFactory, rgb: tuple[int, int, int]) -> None:
    folder, colour = tmp_path_factory.mktemp("seg"), "#{:02x}{:02x}{:02x}".format(*rgb)
    grid = grid_of(shape=(2, 2, 1))
    volume = labels_on(folder, grid, np.ones(grid.shape, np.uint8), labels={1: Label("x", colour)})
    assert round_trip(volume, folder).labels[1].colour == colour


def test_highdicom_and_itk_find_the_same_voxels(tmp_path: Path) -> None:
    shape = (8, 7, 6)  # ITK loses single bits of frames that do not end with a byte
    volume = labels_on(tmp_path, grid_of(4, (30, -10, 20), shape), some_labels(shape, n=1))
    write(tmp_path / "seg.dcm", volume)
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    by_highdicom = seg.get_volume(combine_segments=True)

    def on_volume(places: NDArray[np.float64]) -> set[tuple[int, ...]]:
        """Return the voxels of our volume at places in LPS mm."""
        voxels = (places * (-1, -1, 1) - volume.affine[:3, 3]) @ np.linalg.inv(volume.affine[:3, :3]).T
        np.testing.assert_allclose(voxels, np.rint(voxels), atol=1e-3)
        return {tuple(voxel) for voxel in np.rint(voxels).astype(int).tolist()}

    wanted = {tuple(voxel) for voxel in np.argwhere(volume.data[0]).tolist()}
    places = np.argwhere(by_highdicom.array) @ by_highdicom.affine[:3, :3].T + by_highdicom.affine[:3, 3]
    assert on_volume(places) == wanted

    image = sitk.ReadImage(str(tmp_path / "seg.dcm"))  # one segment: its frames are the slices
    voxels = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1].tolist()
    assert on_volume(np.array([image.TransformIndexToPhysicalPoint(voxel) for voxel in voxels])) == wanted


@pytest.mark.parametrize("enhanced", [False, True])
def test_frames_refer_to_the_images_they_lie_on(enhanced: bool, tmp_path: Path) -> None:
    volume = labels_on(tmp_path, grid_of(7, (30, -10, 20)), some_labels(n=1), enhanced)
    write(tmp_path / "seg.dcm", volume)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert volume.source is not None
    sources = [pydicom.dcmread(file) for file in volume.source.files]
    by_uid = {source.SOPInstanceUID: source for source in sources}
    assert len(seg.PerFrameFunctionalGroupsSequence) == SHAPE[2]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        referred = frame.DerivationImageSequence[0].SourceImageSequence[0]
        source = by_uid[referred.ReferencedSOPInstanceUID]
        place = (
            source.PerFrameFunctionalGroupsSequence[referred.ReferencedFrameNumber - 1].PlanePositionSequence[0]
            if enhanced
            else source
        )
        np.testing.assert_allclose(place.ImagePositionPatient, frame.PlanePositionSequence[0].ImagePositionPatient, atol=1e-6)
    assert {seg.StudyInstanceUID, seg.FrameOfReferenceUID} == {sources[0].StudyInstanceUID, sources[0].FrameOfReferenceUID}
    assert seg.PatientID == sources[0].PatientID
    assert not seg.get("ContentCreatorName")


def test_slices_with_nothing_cost_nothing_but_the_grid_is_whole(tmp_path: Path) -> None:
    grid = grid_of(shape=(9, 7, 40))
    data = np.zeros(grid.shape, np.uint8)
    data[3, 4, 20] = 5
    volume = labels_on(tmp_path, grid, data)
    back = round_trip(volume, tmp_path)
    assert pydicom.dcmread(tmp_path / "seg.dcm").NumberOfFrames == 3
    assert back.grid.matches(grid)
    np.testing.assert_array_equal(back.data, volume.data)


def test_the_ending_dcm_writes_it(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", grid_of())
    scan = read_volume(tmp_path / "scan")
    path = write_volume(scan.with_data(some_labels()[np.newaxis], "labels"), tmp_path / "mask.dcm")
    back = read_volume(path)
    assert back.kind == "labels"
    np.testing.assert_array_equal(back.data[0], some_labels())
    assert back.grid.matches(scan.grid)


def test_the_patient_keeps_the_name_in_another_script(tmp_path: Path) -> None:
    volume = labels_on(tmp_path, grid_of(), some_labels(), labels={1: Label("Lésion")})
    assert volume.source is not None
    for file in volume.source.files:
        header = pydicom.dcmread(file)
        header.SpecificCharacterSet = "ISO_IR 100"
        header.PatientName = "Müller^Jörg"
        header.save_as(file)
    write(tmp_path / "seg.dcm", volume)
    assert pydicom.dcmread(tmp_path / "seg.dcm").PatientName == "Müller^Jörg"
    assert read_segmentation(tmp_path / "seg.dcm").labels[1].name == "Lésion"


def test_a_series_that_was_made_anonymous_is_enough(tmp_path: Path) -> None:
    volume = labels_on(tmp_path, grid_of(), some_labels())
    assert volume.source is not None
    for file in volume.source.files:
        header = pydicom.dcmread(file)
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "StudyID",
        ):
            delattr(header, keyword)
        for keyword in ("ReferringPhysicianName", "SliceThickness", "SeriesNumber", "PositionReferenceIndicator"):
            delattr(header, keyword)
        header.save_as(file)
    np.testing.assert_array_equal(round_trip(volume, tmp_path).data, volume.data)


def test_a_real_series_and_its_seg(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "dicom" / "ct3slice_seg"
    scan, liver = read_volume(folder / "ct", "image"), read_segmentation(folder / "liver.dcm")
    assert liver.grid.matches(scan.grid)
    write(tmp_path / "seg.dcm", replace(liver, source=scan.source))
    back = read_segmentation(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.data, liver.data)
    assert back.grid.matches(scan.grid)
    assert back.labels == liver.labels


@pytest.mark.parametrize("name", ["mr_t1post_siemens", "hippocrop_study3"])
def test_a_mask_on_a_real_series_comes_back(name: str, shared_data: Path, tmp_path: Path) -> None:
    scan = read_volume(shared_data / "dicom" / name, "image")
    data = (scan.data > np.percentile(scan.data, 90)).astype(np.uint8)
    data[:, :, :, :2] = 0
    mask = scan.with_data(data, "labels")
    write(tmp_path / "seg.dcm", mask)
    back = read_segmentation(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.data, data)
    assert back.grid.matches(scan.grid)


def test_what_cannot_be_written_says_why(tmp_path: Path) -> None:
    grid, data = grid_of(), some_labels()
    volume = labels_on(tmp_path, grid, data)
    with pytest.raises(WriteError, match=r"not drawn on a DICOM series[\s\S]*NIfTI"):
        write(tmp_path / "seg.dcm", replace(volume, source=None))
    with pytest.raises(WriteError, match=r"not drawn on a DICOM series[\s\S]*NIfTI"):
        write(tmp_path / "seg.dcm", replace(volume, source=Source(tmp_path / "scan.nii.gz", "nifti")))
    with pytest.raises(WriteError, match=r"the mask is empty[\s\S]*NIfTI"):
        write(tmp_path / "seg.dcm", replace(volume, data=np.zeros_like(volume.data)))
    with pytest.raises(WriteError, match="an image cannot be written"):
        write(tmp_path / "seg.dcm", replace(volume, kind="image"))
    shifted = volume.affine.copy()
    shifted[:3, 3] += shifted[:3, 2]
    with pytest.raises(WriteError, match=r"1 of 6 have no image"):
        write(tmp_path / "seg.dcm", replace(volume, affine=shifted))
    for change in ((0, 0), (1, 1), (0, 3)):
        other = volume.affine.copy()
        other[change] += 0.4
        with pytest.raises(WriteError, match="does not lie on the slices"):
            write(tmp_path / "seg.dcm", replace(volume, affine=other))
    with pytest.raises(WriteError, match="does not lie on the slices"):
        write(tmp_path / "seg.dcm", replace(volume, data=volume.data[:, 1:]))
    assert not (tmp_path / "seg.dcm").exists()
    assert volume.source is not None
    volume.source.files[2].unlink()
    with pytest.raises(WriteError, match="cannot be read any more"):
        write(tmp_path / "seg.dcm", volume)


def test_a_series_without_a_frame_of_reference(shared_data: Path, tmp_path: Path) -> None:
    scan = read_volume(shared_data / "dicom" / "ct_head_64x64x93", "image")
    with pytest.raises(WriteError, match=r"FrameOfReferenceUID[\s\S]*NIfTI"):
        write(tmp_path / "seg.dcm", scan.with_data((scan.data > 300).astype(np.uint8), "labels"))


def test_a_radiograph_has_no_place_for_a_seg(shared_data: Path, tmp_path: Path) -> None:
    picture = read_volume(shared_data / "dicom" / "cr" / "RG3_J2KR.dcm")
    mask = picture.with_data((picture.data > picture.data.mean()).astype(np.uint8), "labels")
    with pytest.raises(WriteError, match=r"no place in the patient[\s\S]*PNG"):
        write(tmp_path / "seg.dcm", mask)


@pytest.mark.parametrize(
    ("name", "meaning", "side"),
    [
        ("Liver", "Liver", ""), ("left kidney", "Kidney", "Left"), ("kidney_right", "Kidney", "Right"), ("LeftLung", "Lung", "Left"),
        ("Lungs", "Lung", ""), ("liver tumour", "Neoplasm", ""), ("Brain metastases", "Neoplasm", ""), ("vertebrae_L3", "Vertebra", ""),
        ("Spleen 2", "Spleen", ""), ("small bowel", "Small intestine", ""), ("portal_vein_and_splenic_vein", "Tissue", ""),
        ("Mass lesion", "Lesion", ""), ("brainstem", "Brain Stem", ""), ("", "Tissue", ""), ("Опухоль", "Tissue", ""),
        ("heart atrium left", "Tissue", "Left"), ("Uterus", "Uterus", ""), ("Prostate", "Prostate", ""), ("Hippocampus", "Hippocampus", ""),
    ],
)  # fmt: skip
def test_codes(name: str, meaning: str, side: str) -> None:
    coded = codes_of(name)
    assert coded.property.meaning == meaning
    assert (coded.side.meaning if coded.side else "") == side


@pytest.mark.parametrize("enhanced", [False, True])
def test_dciodvfy_finds_nothing(enhanced: bool, tmp_path: Path) -> None:
    """The validator of dicom3tools, by another author than highdicom's."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    names = {1: Label("Left kidney", "#ff8000"), 2: Label("Liver tumour")}
    write(tmp_path / "seg.dcm", labels_on(tmp_path, grid_of(3), some_labels(), enhanced, labels=names))
    found = subprocess.run(["dciodvfy", str(tmp_path / "seg.dcm")], capture_output=True, text=True, check=False)
    assert (found.stdout + found.stderr).split() == ["Segmentation"]  # what it is, and not a word of complaint
