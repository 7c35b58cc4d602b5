"""Masks in one file or many, as label maps or channels: what comes out is one mask, or the reason why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_seg3d.datasets import Case, MaskPart, read_case_image, read_case_mask, read_mask
from napari_seg3d.errors import DatasetError, GeometryError, LabelError
from napari_seg3d.volumes import Volume, write_volume
from tests.datasets.conftest import WriteNifti
from tests.datasets.scans import ball, write_ct, write_seg

SHAPE = (4, 5, 6)


def box(*slices: slice) -> np.ndarray:
    data = np.zeros(SHAPE, np.uint8)
    data[slices] = 1
    return data


def in_parts(write_nifti: WriteNifti, **masks: np.ndarray) -> Case:
    """Return a case with a mask file for each of ``v5=array``."""
    parts = tuple(MaskPart(int(name[1:]), write_nifti(f"p/{name}.nii.gz", data)) for name, data in masks.items())
    return Case("p", (write_nifti("p/ct.nii.gz"),), parts[0].path, "p", parts=parts)


def write_separated(path: Path, channels: np.ndarray) -> Path:
    """Write ``(rows, columns, labels)`` as MATLAB does."""
    scipy.io.savemat(path, {"label_separated": channels.astype(np.float64)})
    return path


def test_parts_become_one_label_map(write_nifti: WriteNifti) -> None:
    case = in_parts(write_nifti, v5=box(slice(1)) * 7, v2=box(slice(2, 4)).astype(np.float32), v300=box(slice(1, 2)))
    mask = read_case_mask(case, read_case_image(case))
    assert mask.data.shape == (1, *SHAPE)
    assert mask.data[0, :, 0, 0].tolist() == [5, 300, 2, 2]
    merged = read_case_mask(case, merged={300: 2, 5: 0})
    assert merged.data.dtype == np.uint8
    assert merged.data[0, :, 0, 0].tolist() == [0, 2, 2, 2]


def test_parts_that_overlap_are_refused_or_come_as_channels(write_nifti: WriteNifti) -> None:
    case = in_parts(write_nifti, v1=box(slice(0, 2)), v4=box(slice(1, 3)))
    with pytest.raises(LabelError, match=r"p: the labels v1\.nii\.gz and v4\.nii\.gz overlap in 30 voxels"):
        read_case_mask(case)
    channels = read_case_mask(case, read_case_image(case), overlapping=True).data
    assert channels.shape == (4, *SHAPE)
    assert channels[:, 1, 0, 0].tolist() == [1, 0, 0, 4]
    assert channels.sum() == 60 * 1 + 60 * 4
    # What counts as one label cannot overlap itself.
    assert read_case_mask(case, merged={4: 1}).data[0, :, 0, 0].tolist() == [1, 1, 1, 0]


def test_parts_on_different_grids_are_refused(write_nifti: WriteNifti) -> None:
    case = in_parts(write_nifti, v1=box(slice(1)), v2=box(slice(1, 2)))
    write_nifti("p/v2.nii.gz", box(slice(1, 2)), spacing=2.0)
    with pytest.raises(GeometryError, match=r"v2\.nii\.gz lies on another grid than v1\.nii\.gz"):
        read_case_mask(case)
    with pytest.raises(DatasetError, match="has no mask"):
        read_case_mask(Case("a", case.images, None, "a"))


@given(
    hnp.arrays(np.uint8, (3, 4, 2), elements=st.integers(0, 4)),
    st.dictionaries(st.integers(1, 4), st.integers(0, 300), max_size=4),
)
def test_merging_is_one_look_up(tmp_path_factory: pytest.TempPathFactory, data: np.ndarray, merged: dict[int, int]) -> None:
    path = tmp_path_factory.mktemp("merge") / "mask.nii.gz"
    write_volume(Volume(data[np.newaxis], np.eye(4), "labels"), path)
    found = read_mask(path, merged).data[0]
    wanted = np.vectorize(lambda value: merged.get(int(value), int(value)))(data)
    assert np.array_equal(found, wanted)
    assert found.dtype.kind == "u"


@pytest.mark.parametrize("background_at", [0, 6, None])
def test_separated_labels_become_a_label_map_and_their_background_none(tmp_path: Path, background_at: int | None) -> None:
    vertebrae = np.zeros((60, 40, 6))
    for number in range(6):
        vertebrae[10 * number : 10 * number + 6, 10:30, number] = 1
    channels = vertebrae
    if background_at is not None:
        channels = np.insert(vertebrae, background_at, 1 - vertebrae.max(axis=2), axis=2)
    mask = read_mask(write_separated(tmp_path / "a.mat", channels))
    assert mask.data.shape == (1, 40, 60, 1)
    first = 2 if background_at == 0 else 1
    assert np.unique(mask.data).tolist() == [0, *range(first, first + 6)]
    for number in range(6):
        assert np.array_equal(mask.data[0, :, :, 0].T == first + number, vertebrae[:, :, number] == 1)  # noqa: SIM300
    assert "background" not in {label.name for label in mask.labels.values()}


def test_separated_labels_that_overlap(tmp_path: Path) -> None:
    channels = np.zeros((60, 40, 3))
    channels[:20, :, 0] = channels[10:30, :, 1] = 1
    channels[..., 2] = 1 - channels[..., :2].max(axis=2)
    path = write_separated(tmp_path / "a.mat", channels)
    with pytest.raises(LabelError, match=r"a\.mat: the labels 1 and 2 overlap in 400 voxels"):
        read_mask(path)
    kept = read_mask(path, overlapping=True).data
    assert kept.shape == (3, 40, 60, 1)
    assert [np.unique(channel).tolist() for channel in kept] == [[0, 1], [0, 2], [0]]
    assert np.array_equal(kept[1, :, :, 0].T == 2, channels[..., 1] == 1)


def test_of_two_channels_the_larger_one_is_the_background(tmp_path: Path) -> None:
    channels = np.zeros((60, 40, 2))
    channels[:10, :, 1] = 1
    channels[..., 0] = 1 - channels[..., 1]
    assert np.unique(read_mask(write_separated(tmp_path / "a.mat", channels)).data).tolist() == [0, 2]


def test_segments_that_do_not_overlap_become_a_label_map(tmp_path: Path) -> None:
    files = write_ct(tmp_path / "ct", "A")
    halves = np.stack([ball(), ball()], axis=3)
    halves[5:, ..., 0] = halves[:5, ..., 1] = 0
    case = Case("ct", (tmp_path / "ct",), write_seg(tmp_path / "seg.dcm", files, halves), "A")
    image = read_case_image(case)
    mask = read_case_mask(case, image)
    assert mask.grid.matches(image.grid)
    assert np.array_equal(mask.data[0] == 1, halves[..., 0] == 1)
    assert np.array_equal(mask.data[0] == 2, halves[..., 1] == 1)
    assert {value: label.name for value, label in mask.labels.items()} == {1: "Ball 1", 2: "Ball 2"}
    assert {value: label.name for value, label in read_case_mask(case, image, {2: 1}).labels.items()} == {1: "Ball 1"}
    write_seg(tmp_path / "seg.dcm", files, np.stack([ball(0), ball(1)], axis=3))
    assert read_case_mask(case, image, overlapping=True).data.shape == (2, *image.grid.shape)


def test_volumes_that_are_no_labels_of_one_mask_are_refused(write_nifti: WriteNifti) -> None:
    stack = np.stack([box(slice(1)) * 2, box(slice(2)) * 2], axis=3)
    with pytest.raises(LabelError, match="holds 2 volumes, not one mask"):
        read_mask(write_nifti("m.nii.gz", stack))
