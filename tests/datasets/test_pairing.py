from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.datasets.pairing.by_name import Item, pair_by_name
from napari_seg3d.datasets.pairing.names import core, folder_role, name_role, numbers


def items(*names: str, folder: str) -> list[Item]:
    return [Item((Path(folder) / f"{name}.nii.gz",), name) for name in names]


def pairs(images: list[str], masks: list[str], in_mask_folder: bool = True) -> dict[str, tuple[str, str]]:
    found = pair_by_name(items(*images, folder="images"), items(*masks, folder="masks"), in_mask_folder)
    return {pair.image.name: (pair.mask.name, pair.reason) for pair in found.pairs}


@pytest.mark.parametrize(
    ("image", "mask", "reason"),
    [
        ("case_1", "case_1", "same name"),
        ("case_1", "Case_1", "same name"),
        ("case_1", "case_1_seg", "same name without _seg"),
        ("case_1", "seg_case_1", "same name without _seg"),
        ("brain_image", "brain_label", "same name without _image and _label"),
        ("image01", "mask01", "same name, written differently"),
        ("case.1", "case_1", "same name, written differently"),
        ("t2s", "t2s_gmseg_manual", "same name without _gmseg_manual"),
        ("t2_lesion", "t2_lesion_sc_seg", "same name without _sc_seg"),
        ("p01", "p01_liver", "same name without _liver"),
        ("scan_2023_118", "label_118", "same number 118"),
        ("hippo_7", "label_foreign_512x512x94_007", "same number 7"),
    ],
)
def test_names_that_belong_together(image: str, mask: str, reason: str) -> None:
    others = ["other_1000", "another_2000"]
    found = pairs([image, *others], [*others, mask])
    assert found[image][0] == mask
    if reason != "same name, written differently":
        assert found[image][1] == reason
    assert len(found) == 3


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("case_1", "case_11"),
        ("case_1", "case_1_2"),
        ("p3_v1", "p4_v1_seg"),
        ("p3_t1", "p4_t1"),
        ("scan_3mm", "mask_3mm_5"),
        ("brain_10", "brain_100_seg"),
        ("alpha", "beta"),
        ("t2", "t2s_seg"),
        ("visit_3_patient_1", "visit_2_patient_1"),
    ],
)
def test_names_that_do_not(image: str, mask: str) -> None:
    assert pairs([image], [mask]) == {}


def test_equal_counts_are_no_reason() -> None:
    # Sorted side by side these look paired; by number they are shifted by one.
    found = pairs(["scan_1", "scan_2", "scan_3"], ["mask_2", "mask_3", "mask_4"])
    assert {image: mask for image, (mask, _) in found.items()} == {"scan_2": "mask_2", "scan_3": "mask_3"}


def test_a_number_that_occurs_twice_decides_nothing() -> None:
    assert pairs(["a_7", "b_7"], ["label_7"]) == {}
    assert pairs(["a_7"], ["x_7", "y_7"]) == {}


def test_two_masks_for_one_image_are_reported_and_not_chosen() -> None:
    found = pair_by_name(items("t2s", folder="a"), items("t2s_seg", "t2s_gmseg_manual", folder="a"), in_mask_folder=False)
    assert found.pairs == ()
    (problem,) = found.problems
    assert problem.severity == "error"
    assert "Two masks for one image" in problem.what
    assert "t2s_seg.nii.gz" in problem.what
    assert problem.fix


def test_the_same_name_wins_over_a_longer_one() -> None:
    found = pair_by_name(items("p1", folder="images"), items("p1", "p1_lesion", folder="masks"))
    assert [(pair.image.name, pair.mask.name) for pair in found.pairs] == [("p1", "p1")]
    assert [problem.severity for problem in found.problems] == ["warning"]
    assert "p1_lesion" in found.problems[0].what


def test_several_images_for_one_mask() -> None:
    images = [Item((Path("a/x.nii.gz"),), "x", "a"), Item((Path("b/x.nii.gz"),), "x", "b")]
    found = pair_by_name(images, items("x", folder="masks"))
    assert found.pairs == ()
    assert "Several images for one mask" in found.problems[0].what


def test_equal_names_in_two_groups_stay_in_their_group() -> None:
    images = [Item((Path(f"{mode}/Img/x.nii"),), "x", mode) for mode in ("train", "val")]
    masks = [Item((Path(f"{mode}/Mask/x.nii"),), "x", mode) for mode in ("val", "train")]
    assert all(pair.image.group == pair.mask.group for pair in pair_by_name(images, masks).pairs)
    assert len(pair_by_name(images, masks).pairs) == 2


@given(st.lists(st.integers(1, 400), unique=True, min_size=1, max_size=30), st.randoms())
def test_numbered_cases_all_find_their_mask_in_any_order(ids: list[int], random: object) -> None:
    images, masks = [f"scan_{number:03d}" for number in ids], [f"{number:03d}_label" for number in ids]
    random.shuffle(masks)  # type: ignore[attr-defined]
    found = pairs(images, masks)
    assert {image: mask for image, (mask, _) in found.items()} == {f"scan_{n:03d}": f"{n:03d}_label" for n in ids}


@given(
    st.lists(st.text("ab12_ts", min_size=1, max_size=6), unique=True, max_size=8),
    st.lists(st.text("ab12_ts", max_size=8), max_size=8),
)
def test_nobody_is_paired_twice_and_nobody_is_lost(images: list[str], masks: list[str]) -> None:
    wanted = [Item((Path(f"i{n}"),), name) for n, name in enumerate(images)]
    given_masks = [Item((Path(f"m{n}"),), name) for n, name in enumerate(masks)]
    found = pair_by_name(wanted, given_masks)
    assert len({pair.image for pair in found.pairs}) == len({pair.mask for pair in found.pairs}) == len(found.pairs)
    assert not {pair.image for pair in found.pairs} & set(found.lone_images)
    assert not {pair.mask for pair in found.pairs} & set(found.lone_masks)
    named = {problem.path for problem in found.problems}
    in_disputes = " ".join(problem.what for problem in found.problems)
    for item in given_masks:
        accounted = item in found.lone_masks or item in {pair.mask for pair in found.pairs} or item.path in named
        assert accounted or item.path.name in in_disputes


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("image_without_label_118", "image"),
        ("label_without_image_010", "mask"),
        ("image01_seg", "mask"),
        ("t2_seg-manual", "mask"),
        ("t2s_gmseg_manual", "mask"),
        ("brainmask", "mask"),
        ("brain1_image", "image"),
        ("t2_fake_lesion", None),
        ("hippocampus_001", None),
    ],
)
def test_what_a_name_says(name: str, role: str | None) -> None:
    assert name_role(name) == role


def test_what_folders_say() -> None:
    assert [folder_role(name) for name in ("imagesTr", "labelsTr", "imagesTs", "Img", "Mask", "train", "seg-lungs")] == [
        ("image", False),
        ("mask", False),
        ("image", True),
        ("image", False),
        ("mask", False),
        (None, False),
        ("mask", False),
    ]


def test_parts_of_names() -> None:
    assert core("IMG_Case-01_seg") == ("case", "01")
    assert core("image01") == ("01",)
    assert numbers("label_512x512x94_281_v2_3mm_T1w") == {281}
