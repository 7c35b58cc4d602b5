from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.errors import LabelError
from napari_seg3d.volumes import as_labels, is_volume_path, looks_like_labels, read_volume, smallest_integer

CUT_OFF = ("MR_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm")


def is_mask(path: Path) -> bool:
    """Return what the README of the scans says about a file: whether it is a mask."""
    return path.parent.name == "labels" or (
        any(
            word in path.name
            for word in ("_seg", "gmseg", "seg_", "label.nrrd", "brain1_label", "lesion.nii", "label_", "liver.dcm")
        )
        and not path.name.startswith(("image_", "t2_fake_lesion.nii"))
    )


def test_every_real_scan_is_taken_for_what_it_is(shared_data: Path) -> None:
    files = [path for path in sorted(shared_data.rglob("*")) if is_volume_path(path) and path.name not in CUT_OFF]
    masks = [path for path in files if is_mask(path)]
    assert len(files) > 400
    assert len(masks) > 200
    wrong = []
    for path in files:
        data = read_volume(path, "image").data
        # Without a name the numbers must do; with one, nothing may change.
        found = (looks_like_labels(data), looks_like_labels(data, f"{path.parent.name}/{path.name}"))
        if found != (is_mask(path),) * 2:
            wrong.append((path.name, found))
    assert wrong == []


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8", "?"])
def test_a_patch_is_a_mask(dtype: str) -> None:
    data = np.zeros((1, 10, 10, 10), dtype)
    data[0, 2:6, 2:6, 2:6] = 1
    assert looks_like_labels(data)


def test_noise_is_an_image_whatever_its_type() -> None:
    noise = np.random.default_rng(0).normal(100, 20, (1, 20, 20, 20))
    assert not looks_like_labels(noise)
    assert not looks_like_labels(noise.astype(np.uint8))
    assert not looks_like_labels(noise.astype(np.uint8), "labels/liver_seg.nii.gz")
    assert not looks_like_labels((noise.astype(np.int16) > 100) * -1)


def test_single_voxels_are_a_mask_when_the_name_says_so() -> None:
    data = np.zeros((1, 10, 10, 10), np.uint8)
    data[0, 2, 3, 4] = 1
    assert not looks_like_labels(data, "scan.nii.gz")
    assert looks_like_labels(data, "points_seg.nii.gz")


@pytest.mark.parametrize(
    "name", ["labelsTr/case_1.nii.gz", "masks/a.nrrd", "liver_seg.nii.gz", "mask.mha", "a-label.nrrd", "gt/a.nii"]
)
def test_names_of_masks(name: str) -> None:
    constant = np.ones((1, 4, 4, 4), np.float32)
    assert looks_like_labels(constant, name)


@pytest.mark.parametrize("name", ["segovia.nii.gz", "unmasked.nii", "imagesTr/case.nii.gz", "labeling.nrrd", ""])
def test_names_that_only_sound_like_masks(name: str) -> None:
    assert not looks_like_labels(np.ones((1, 4, 4, 4), np.float32), name)


def test_values_that_are_no_labels() -> None:
    for bad, said in (
        (np.array([0.0, 0.5]), r"scan\.nii holds fractional values \(such as 0.5, 1 voxels\)"),
        (np.array([0.0, np.nan]), r"scan\.nii holds values that are not finite"),
        (np.array([0j]), r"scan\.nii holds complex128 values"),
        (np.array([]), r"scan\.nii holds no voxels"),
        (np.array([0.0, 1e20]), r"scan\.nii: Label values from 0 to 1e\+20 do not fit 64 bits"),
        (np.array([2**63], np.uint64), r"scan\.nii: Label values"),
    ):
        with pytest.raises(LabelError, match=said) as error:
            as_labels(bad, "scan.nii")
        assert error.value.fix


def test_labels_keep_their_values() -> None:
    for values, dtype in (([0.0, 255.0], "u1"), ([-0.0, 256.0], "u2"), ([-1.0, 127.0], "i1"), ([True, False], "u1")):
        labels = as_labels(np.array(values))
        assert labels.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(labels, values)
    assert smallest_integer(-(2**31), 2**31 - 1) == np.int32
    assert smallest_integer(0, 2**32) == np.int64


def test_a_large_picture_of_one_slice_is_judged() -> None:
    picture = np.random.default_rng(0).integers(0, 4000, (1, 1, 1500, 1500)).astype(np.int16)
    assert not looks_like_labels(np.transpose(picture, (0, 3, 2, 1)))
