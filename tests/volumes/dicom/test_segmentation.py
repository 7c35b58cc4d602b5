"""DICOM SEG files written by highdicom, read by us: the same voxels on the right slices, with names and colours."""

from __future__ import annotations

import zlib
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from napari_seg3d.errors import GeometryError, ReadError, Seg3dError
from napari_seg3d.volumes import Grid
from napari_seg3d.volumes.dicom.segmentation import read_segmentation
from tests.volumes.affines import ORDERS, affine_of
from tests.volumes.dicom.phantom_series import PATIENT, headers, write_series

SHAPE = (9, 7, 6)
#: Orders in which the slices follow the normal of their planes, as a DICOM series is put in order.
RIGHT_HANDED = [order for order in ORDERS if np.linalg.det(affine_of(order)) > 0]


def grid_of(number: int = 0, degrees: tuple[float, float, float] = (0, 0, 0), shape: tuple[int, int, int] = SHAPE) -> Grid:
    return Grid(shape, affine_of(RIGHT_HANDED[number], degrees))


def describe(number: int, name: str = "", colour: tuple[int, int, int] | None = None) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        number,
        name or f"Thing {number}",
        codes.SCT.Tissue,
        codes.SCT.Liver,
        "MANUAL",
        display_color=hd.color.CIELabColor.from_rgb(*colour) if colour else None,
    )


def make(folder: Path, grid: Grid, masks: NDArray[np.generic], kind: str = "BINARY", **options: object) -> Path:
    """Let highdicom write `masks` ``(I, J, K)`` or, stacked, ``(I, J, K, segments)`` over a series of its own."""
    sources = headers(write_series(folder / "series", grid))
    n_segments = masks.shape[3] if masks.ndim == 4 else int(masks.max())
    options.setdefault("segment_descriptions", [describe(number + 1) for number in range(n_segments)])
    seg = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=np.moveaxis(masks, (0, 1, 2), (2, 1, 0)),
        segmentation_type=kind,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Maker",
        manufacturer_model_name="Model",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    seg.save_as(folder / "seg.dcm")
    return folder / "seg.dcm"


def change(path: Path, **values: object) -> Path:
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def some_labels(shape: tuple[int, int, int] = SHAPE, n: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    labels = np.random.default_rng(seed).integers(0, n + 1, shape).astype(np.uint8)
    labels.flat[: n + 1] = range(n + 1)
    return labels


def test_the_liver_equals_its_nrrd(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "ct3slice_seg"
    volume = read_segmentation(folder / "liver.dcm")
    reference = sitk.ReadImage(str(folder / "liver_seg.nrrd"))
    assert np.count_nonzero(volume.data) == 107_098
    np.testing.assert_array_equal(volume.data[0], sitk.GetArrayFromImage(reference).T)
    for voxel in ([0, 0, 0], [511, 0, 2], [100, 300, 1]):
        x, y, z = reference.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(volume.grid.to_world(np.array([voxel]))[0], (-x, -y, z), atol=1e-4)
    assert volume.kind == "labels"
    assert volume.modality == "SEG"
    assert volume.labels[1].name == "Liver"
    assert volume.labels[1].colour == "#dd8265"  # the colour of the liver in 3D Slicer, which made the file
    assert volume.notes == ()


@pytest.mark.parametrize("degrees", [(0, 0, 0), (30, -10, 20)])
@pytest.mark.parametrize("number", range(len(RIGHT_HANDED)))
def test_every_orientation_lies_on_its_series(number: int, degrees: tuple[float, float, float], tmp_path: Path) -> None:
    grid, labels = grid_of(number, degrees), some_labels()
    volume = read_segmentation(make(tmp_path, grid, labels))
    np.testing.assert_array_equal(volume.data[0], labels)
    assert volume.grid.matches(grid), volume.grid.difference(grid)


def recode(path: Path, syntax: str) -> Path:
    """Store a file in another transfer syntax."""
    dataset = pydicom.dcmread(path)
    if syntax == RLELossless:
        dataset.compress(syntax, encoding_plugin="pydicom")  # GDCM's encoder aborts the process
    elif syntax == JPEGLSLossless:
        dataset.compress(syntax, encoding_plugin="pyjpegls")
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return path


NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [("BINARY", syntax) for syntax in NATIVE]  # single bits cannot be compressed otherwise
    + [(kind, syntax) for kind in ("FRACTIONAL", "LABELMAP") for syntax in (*NATIVE, RLELossless, JPEGLSLossless)],
)
def test_every_kind_and_transfer_syntax(kind: str, syntax: str, tmp_path: Path) -> None:
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls")
    grid, labels = grid_of(3), some_labels()
    volume = read_segmentation(recode(make(tmp_path, grid, labels, kind), syntax))
    np.testing.assert_array_equal(volume.data[0], labels)
    assert volume.grid.matches(grid)
    assert volume.labels.keys() == {1, 2, 3}


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_frames_that_are_deflated_one_by_one(kind: str, tmp_path: Path) -> None:
    labels = some_labels()
    path = make(tmp_path, grid_of(), labels, kind)
    dataset = pydicom.dcmread(path)
    frames = []
    for pixels in dataset.pixel_array:
        plain = np.packbits(pixels, bitorder="little").tobytes() if kind == "BINARY" else pixels.tobytes()
        stream = zlib.compressobj(wbits=-15)
        frames.append(stream.compress(plain) + stream.flush())
    dataset.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2) for frame in frames])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    # pydicom does not know this transfer syntax yet: the file is written as another, and that name replaced.
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(path)
    path.write_bytes(path.read_bytes().replace(JPEG2000Lossless.encode(), b"1.2.840.10008.1.2.8.1\0"))
    np.testing.assert_array_equal(read_segmentation(path).data[0], labels)
    dataset.PixelData = encapsulate([b"\x00\x01"] * len(frames))
    dataset.save_as(path)
    path.write_bytes(path.read_bytes().replace(JPEG2000Lossless.encode(), b"1.2.840.10008.1.2.8.1\0"))
    with pytest.raises(ReadError, match="cannot be decoded"):
        read_segmentation(path)


def test_names_and_colours(tmp_path: Path) -> None:
    parts = [describe(1, "Left kidney", (255, 128, 0)), describe(2, "Lésion"), describe(3, "Vessel", (0, 0, 255))]
    labels = read_segmentation(make(tmp_path, grid_of(), some_labels(), segment_descriptions=parts)).labels
    assert [label.name for label in labels.values()] == ["Left kidney", "Lésion", "Vessel"]
    assert [label.colour for label in labels.values()] == ["#ff8000", "", "#0000ff"]


def test_a_segment_without_a_label_is_named_by_its_code(tmp_path: Path) -> None:
    path = make(tmp_path, grid_of(), some_labels(n=1))
    dataset = pydicom.dcmread(path)
    dataset.SegmentSequence[0].SegmentLabel = ""
    dataset.save_as(path)
    assert read_segmentation(path).labels[1].name == "Liver"


@pytest.mark.parametrize("fractional_type", ["PROBABILITY", "OCCUPANCY"])
def test_fractions_from_one_half_on_are_taken_and_it_is_said(fractional_type: str, tmp_path: Path) -> None:
    steps = np.linspace(0, 1, 101).reshape(1, 101, 1)
    fractions = np.tile(steps, (4, 1, 2))
    grid = grid_of(shape=(4, 101, 2))
    path = make(tmp_path, grid, fractions[..., None], "FRACTIONAL", max_fractional_value=100, fractional_type=fractional_type)
    volume = read_segmentation(path)
    np.testing.assert_array_equal(volume.data[0, 0, :, 0], np.arange(101) >= 50)
    assert fractional_type.lower() in volume.notes[0]
    assert "one half" in volume.notes[0]


def test_segments_that_overlap_have_a_channel_each(tmp_path: Path) -> None:
    stacked = np.random.default_rng(1).integers(0, 2, (*SHAPE, 3)).astype(np.uint8)
    volume = read_segmentation(make(tmp_path, grid_of(2), stacked))
    assert volume.data.shape == (3, *SHAPE)
    for channel in range(3):
        np.testing.assert_array_equal(volume.data[channel], stacked[..., channel] * (channel + 1))
    assert [volume.labels[value].name for value in (1, 2, 3)] == list(volume.channels) == ["Thing 1", "Thing 2", "Thing 3"]
    assert "overlap" in volume.notes[0]


def test_a_label_map_may_skip_numbers(tmp_path: Path) -> None:
    labels = np.array([0, 2, 40, 700], np.uint16)[some_labels()]
    parts = [describe(2), describe(40), describe(700)]
    volume = read_segmentation(make(tmp_path, grid_of(), labels, "LABELMAP", segment_descriptions=parts))
    np.testing.assert_array_equal(volume.data[0], labels)
    assert volume.labels.keys() == {2, 40, 700}


def test_a_number_that_the_header_does_not_describe_is_kept(tmp_path: Path) -> None:
    path = make(tmp_path, grid_of(), some_labels(), "LABELMAP")
    dataset = pydicom.dcmread(path)
    pixels = np.frombuffer(dataset.PixelData, np.uint8).copy()
    pixels[pixels == 3] = 255
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path)
    np.testing.assert_array_equal(read_segmentation(path).data[0], np.where(some_labels() == 3, 255, some_labels()))


def test_the_colours_of_a_palette(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [255, 0, 0], [10, 200, 30]], np.uint8)
    lut = hd.PaletteColorLUTTransformation.from_combined_lut(colours)
    parts = [describe(1), describe(2)]
    options = {"palette_color_lut_transformation": lut, "segment_descriptions": parts}
    volume = read_segmentation(make(tmp_path, grid_of(), some_labels(n=2), "LABELMAP", **options))
    assert [volume.labels[value].colour for value in (1, 2)] == ["#ff0000", "#0ac81e"]


@given(kept=st.sets(st.integers(0, 11), min_size=1), number=st.integers(0, 23), stated=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_slices_that_are_left_out_become_empty(
    kept: set[int], number: int, stated: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    grid = grid_of(number, (10, 0, -20), (5, 4, 12))
    labels = np.zeros(grid.shape, np.uint8)
    for k in kept:
        labels[k % 5, 1:3, k] = 1
    path = make(tmp_path_factory.mktemp("seg"), grid, labels)
    if not stated:
        dataset = pydicom.dcmread(path)
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        if "SpacingBetweenSlices" in measures:
            del measures.SpacingBetweenSlices
        dataset.save_as(path)
    gaps = np.diff(sorted(kept))
    # Without a word in the file, only the gaps tell: some must be small, or all multiples of the smallest.
    if not stated and len(kept) > 1 and 1 not in gaps:
        return
    volume = read_segmentation(path)
    first, last = min(kept), max(kept)
    np.testing.assert_array_equal(volume.data[0], labels[:, :, first : last + 1])
    part = grid.affine.copy()
    part[:3, 3] = grid.to_world(np.array([[0, 0, first]]))[0]
    assert volume.grid.matches(Grid(volume.grid.shape, part))


def moved(path: Path, heights: list[float], spacing: float | None) -> Path:
    """Put the frames of a file at other heights (its slices are axial) and say another distance between them."""
    dataset = pydicom.dcmread(path)
    for frame, height in zip(dataset.PerFrameFunctionalGroupsSequence, heights, strict=True):
        position = frame.PlanePositionSequence[0]
        position.ImagePositionPatient = [*position.ImagePositionPatient[:2], height]
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices
    if spacing is not None:
        measures.SpacingBetweenSlices = spacing
    measures.SliceThickness = 4
    dataset.save_as(path)
    return path


@pytest.mark.parametrize(
    ("heights", "spacing", "step", "n_slices", "says"),
    [
        ([0, 4, 8, 12, 16, 20], None, 4, 6, ""),
        ([0, 3, 6, 9, 12, 18], None, 3, 7, "does not say"),
        ([0, 2, 5, 7, 9, 11], None, 1, 12, "does not say"),
        ([0, 2.5, 5, 7.5, 10, 12.5], 5, 2.5, 6, "contradict"),
        ([0, 2.5, 5, 7.5, 10, 12.5], 1.25, 1.25, 11, ""),
        ([0, 1.667, 3.333, 5, 6.667, 8.333], 1.667, 1.6666, 6, ""),
        ([20, 16, 12, 8, 4, 0], 4, 4, 6, ""),
        ([0, 0, 4, 4, 8, 8], 4, 4, 3, ""),
    ],
)
def test_the_distance_of_the_slices(
    heights: list[float], spacing: float | None, step: float, n_slices: int, says: str, tmp_path: Path
) -> None:
    volume = read_segmentation(moved(make(tmp_path, grid_of(), some_labels(n=1)), heights, spacing))
    assert volume.grid.shape[2] == n_slices
    assert volume.spacing[2] == pytest.approx(step, rel=1e-3)
    assert says in " ".join(volume.notes)
    assert bool(says) == bool(volume.notes)


@pytest.mark.parametrize("heights", [[0, 1, 2.37, 3.1, 5.9, 7], [0, 4, 8, 12, 16, 21.3], [0, 1e-3, 900, 1e4, 2e5, 3e9]])
def test_uneven_slices_are_refused(heights: list[float], tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="regular grid"):
        read_segmentation(moved(make(tmp_path, grid_of(), some_labels(n=1)), heights, None))


def test_a_tilted_gantry_is_refused(tmp_path: Path) -> None:
    grid = grid_of()
    sheared = grid.affine.copy()
    sheared[1, 2] += 1.5
    with pytest.raises(GeometryError, match="tilted gantry"):
        read_segmentation(make(tmp_path, Grid(grid.shape, sheared), some_labels(n=1)))


def test_frames_without_a_place_are_refused(tmp_path: Path) -> None:
    path = make(tmp_path, grid_of(), some_labels())
    dataset = pydicom.dcmread(path)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    dataset.save_as(path)
    with pytest.raises(ReadError, match="where its frames lie"):
        read_segmentation(path)


@pytest.mark.parametrize(
    "keyword", ["SegmentSequence", "PixelData", "Rows", "NumberOfFrames", "SegmentationType", "PerFrameFunctionalGroupsSequence"]
)
def test_a_file_that_lacks_a_part_says_so(keyword: str, tmp_path: Path) -> None:
    path = change(make(tmp_path, grid_of(), some_labels()), **{keyword: None})
    with pytest.raises(ReadError, match=str(path)):
        read_segmentation(path)


@pytest.mark.parametrize(
    "values",
    [{"Rows": 60000}, {"NumberOfFrames": 17}, {"NumberOfFrames": 10**9}, {"SegmentationType": "SURFACE"}, {"BitsAllocated": 64}],
)
def test_a_header_that_lies_is_refused(values: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(Seg3dError):
        read_segmentation(change(make(tmp_path, grid_of(), some_labels()), **values))


def test_pixels_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    path = recode(make(tmp_path, grid_of(), some_labels(), "LABELMAP"), RLELossless)
    dataset: Dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([b"\x01\x00" + b"\0" * 62] * int(dataset.NumberOfFrames))
    dataset.save_as(path)
    with pytest.raises(ReadError, match="cannot be decoded"):
        read_segmentation(path)


def test_a_scan_is_no_segmentation(tmp_path: Path) -> None:
    (first, *_) = write_series(tmp_path, grid_of())
    with pytest.raises(ReadError, match="no DICOM segmentation"):
        read_segmentation(first)


def test_no_patient_in_what_is_shown(tmp_path: Path) -> None:
    volume = read_segmentation(make(tmp_path, grid_of(), some_labels()))
    assert PATIENT not in repr((volume.labels, volume.notes, volume.channels))
