from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_seg3d.datasets import Dataset, open_dataset
from napari_seg3d.errors import DatasetError

Touch = Callable[..., Path]


def named_pairs(dataset: Dataset) -> dict[str, str]:
    return {case.id: case.mask.name for case in dataset.pairs if case.mask is not None}


def problems(dataset: Dataset, severity: str) -> list[str]:
    return [problem.what for problem in dataset.problems if problem.severity == severity]


def decathlon(touch: Touch, description: object, *names: str) -> Path:
    root = touch(*names)
    (root / "dataset.json").write_text(description if isinstance(description, str) else json.dumps(description))
    return root


@pytest.mark.parametrize(
    ("images", "masks"),
    [("images", "labels"), ("images", "masks"), ("image", "mask"), ("img", "seg"), ("Img", "Mask"), ("imagesTr", "labelsTr")],
)
def test_an_image_and_a_mask_folder(touch: Touch, images: str, masks: str) -> None:
    dataset = open_dataset(touch(f"{images}/a.nii.gz", f"{images}/b.nii.gz", f"{masks}/a.nii.gz", f"{masks}/b.nii.gz"))
    assert named_pairs(dataset) == {"a": "a.nii.gz", "b": "b.nii.gz"}
    assert {case.reason for case in dataset.cases} == {"same name"}
    assert dataset.problems == ()
    assert dataset.require_pairs() == dataset.pairs


def test_modes_with_img_and_mask(touch: Touch) -> None:
    folders = [f"{mode}/{folder}" for mode in ("train", "val") for folder in ("Img", "Mask")]
    together = touch(*[f"one/{folder}/x{n}.nii.gz" for folder in folders for n in (1, 2)]) / "one"
    apart = touch(*[f"{'i' if folder.endswith('Img') else 'm'}/{folder}/x{n}.nii.gz" for folder in folders for n in (1, 2)])
    dataset = open_dataset(apart / "i", masks=apart / "m")
    assert sorted(named_pairs(dataset)) == ["train_x1", "train_x2", "val_x1", "val_x2"]
    for case in dataset.pairs:
        assert case.mask is not None
        assert case.mask.parts[-3] == case.images[0].parts[-3]
    assert named_pairs(open_dataset(together)) == named_pairs(dataset)


def test_two_folders_one_inside_the_other(touch: Touch) -> None:
    root = touch("a.nii.gz", "b.nii.gz", "drawn/a.nii.gz", "drawn/b.nii.gz")
    for images, masks in ((root, root / "drawn"), (root / "drawn", root)):
        dataset = open_dataset(images, masks=masks)
        assert named_pairs(dataset) == {"a": "a.nii.gz", "b": "b.nii.gz"}
        assert all(case.mask is not None and case.mask.parent == masks for case in dataset.cases)
        assert dataset.problems == ()


def test_decathlon(touch: Touch) -> None:
    root = decathlon(
        touch,
        {
            "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
            "training": [{"image": "./imagesTr/h_001.nii.gz", "label": "./labelsTr/h_001.nii.gz"}],
            "test": ["./imagesTs/h_002.nii.gz"],
        },
        "imagesTr/h_001.nii.gz", "imagesTr/._h_001.nii.gz", "labelsTr/h_001.nii.gz", "labelsTr/._h_001.nii.gz", "imagesTs/h_002.nii.gz",
    )  # fmt: skip
    dataset = open_dataset(root)
    assert dataset.labels == {1: "Anterior", 2: "Posterior"}
    assert named_pairs(dataset) == {"h_001": "h_001.nii.gz"}
    assert dataset.case("h_001").reason == "listed in dataset.json"
    assert dataset.case("h_002").mask is None
    assert dataset.problems == ()
    apart = open_dataset(root / "imagesTr", masks=root / "labelsTr")
    assert (apart.labels, named_pairs(apart)) == (dataset.labels, named_pairs(dataset))


def test_nnunet_channels(touch: Touch) -> None:
    root = decathlon(
        touch,
        {"labels": {"background": 0, "tumour": 1, "whole": [1, 2]}, "channel_names": {"0": "T1", "1": "T2"}},
        "imagesTr/p1_0000.nii.gz", "imagesTr/p1_0001.nii.gz", "imagesTr/p2_0000.nii.gz", "labelsTr/p1.nii.gz", "labelsTr/p2.nii.gz",
    )  # fmt: skip
    dataset = open_dataset(root)
    assert dataset.labels == {1: "tumour", 2: "whole (2)"}  # what only a region names is in the masks as well
    assert (dataset.channels, dataset.modality) == (("T1", "T2"), "MR")
    assert [path.name for path in dataset.case("p1").images] == ["p1_0000.nii.gz", "p1_0001.nii.gz"]
    assert [case.id for case in dataset.cases] == ["p1"]
    assert any("p2 lacks channel 0001" in what for what in problems(dataset, "error"))
    assert any("'whole' is a region of the labels 1, 2" in what for what in problems(dataset, "warning"))


def test_cases_counted_from_zero_are_no_channels(touch: Touch) -> None:
    names = [f"{folder}/scan_{n:04d}.nii.gz" for folder in ("images", "labels") for n in range(3)]
    assert len(open_dataset(touch(*names)).pairs) == 3
    assert len(open_dataset(touch(*names) / "images").cases) == 3


def test_single_channel_of_nnunet_without_description(touch: Touch) -> None:
    dataset = open_dataset(
        touch("imagesTr/p1_0000.nii.gz", "imagesTr/p2_0000.nii.gz", "labelsTr/p1.nii.gz", "labelsTr/p2.nii.gz")
    )
    assert named_pairs(dataset) == {"p1": "p1.nii.gz", "p2": "p2.nii.gz"}


@pytest.mark.parametrize(
    "path", ["../secret.nii.gz", "/etc/secret.nii.gz", "imagesTr/../../secret.nii.gz", "C:\\secret.nii.gz", "..\\s.nii"]
)
def test_description_cannot_reach_outside(touch: Touch, path: str) -> None:
    root = decathlon(
        touch,
        {"training": [{"image": path, "label": "labelsTr/a.nii.gz"}]},
        "imagesTr/a.nii.gz",
        "labelsTr/a.nii.gz",
        "../secret.nii.gz",
    )
    dataset = open_dataset(root)
    assert any("outside" in what for what in problems(dataset, "error"))
    assert all(file.is_relative_to(root) for case in dataset.cases for file in case.images)
    assert named_pairs(dataset) == {"a": "a.nii.gz"}


def test_listed_files_that_are_not_there(touch: Touch) -> None:
    root = decathlon(
        touch,
        {"training": [{"image": "imagesTr/b.nii.gz", "label": "labelsTr/b.nii.gz"}]},
        "imagesTr/a.nii.gz", "labelsTr/a.nii.gz",
    )  # fmt: skip
    dataset = open_dataset(root)
    assert named_pairs(dataset) == {"a": "a.nii.gz"}
    assert any("imagesTr/b.nii.gz" in what.replace("\\", "/") for what in problems(dataset, "error"))


@pytest.mark.parametrize(
    "text", ["{", "[]", '"text"', '{"labels": 3}', '{"labels": {"one": "two"}}', '{"labels": {"a": 1, "b": 1}}', "\xff"]
)
def test_broken_description_is_named(touch: Touch, text: str) -> None:
    root = touch("imagesTr/a.nii.gz")
    (root / "dataset.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=r"dataset\.json") as caught:
        open_dataset(root)
    assert caught.value.fix


def test_masks_beside_images(touch: Touch) -> None:
    dataset = open_dataset(touch("a.nii.gz", "a_seg.nii.gz", "b.nii.gz", "b_label.nii.gz", "c.nii.gz", "notes.txt", "._a.nii.gz"))
    assert named_pairs(dataset) == {"a": "a_seg.nii.gz", "b": "b_label.nii.gz"}
    assert problems(dataset, "warning") == ["c.nii.gz has no mask: it can be predicted, but not trained on."]


def test_a_folder_per_patient(touch: Touch) -> None:
    dataset = open_dataset(touch("p01/image.nii.gz", "p01/mask.nii.gz", "p02/image.nii.gz", "p02/mask.nii.gz"))
    assert {case.id: case.mask.parent.name for case in dataset.pairs if case.mask} == {"p01": "p01", "p02": "p02"}


def test_images_alone_raise_no_alarm_until_someone_wants_to_train(touch: Touch) -> None:
    dataset = open_dataset(touch("a.nii.gz", "b.mha", "c.nrrd"))
    assert [case.id for case in dataset.cases] == ["a", "b", "c"]
    assert dataset.problems == ()
    with pytest.raises(DatasetError, match="No image has a mask") as caught:
        dataset.require_pairs()
    assert "3 images (such as a.nii.gz)" in caught.value.what
    assert "labels" in caught.value.fix


def test_no_pairs_names_both_folders(touch: Touch) -> None:
    root = touch("one/alpha.nii.gz", "two/beta.nii.gz")
    dataset = open_dataset(root / "one", masks=root / "two")
    assert problems(dataset, "error") == ["beta.nii.gz is a mask without an image."]
    with pytest.raises(DatasetError) as caught:
        dataset.require_pairs()
    for part in (str(root / "one"), str(root / "two"), "alpha.nii.gz", "beta.nii.gz"):
        assert part in caught.value.what


def test_orphans_are_listed_and_the_rest_is_paired(touch: Touch) -> None:
    dataset = open_dataset(touch("images/a.nii.gz", "images/b.nii.gz", "labels/a.nii.gz", "labels/z.nii.gz"))
    assert named_pairs(dataset) == {"a": "a.nii.gz"}
    by_severity = {problem.severity: problem for problem in dataset.problems}
    assert by_severity["warning"].case == "b"
    assert by_severity["error"].path is not None
    assert by_severity["error"].path.name == "z.nii.gz"
    assert all(problem.fix for problem in dataset.problems)


def test_volumes_elsewhere_are_mentioned(touch: Touch) -> None:
    dataset = open_dataset(touch("images/a.nii.gz", "labels/a.nii.gz", "predictions_old/a.nii.gz", "extra/q.nii.gz"))
    assert any("q.nii.gz" in what for what in problems(dataset, "warning"))


@pytest.mark.parametrize(
    ("names", "match"),
    [((), "holds no volumes"), (("a.txt", "._b.nii.gz"), "holds no volumes"), (("labels/a.nii.gz",), "no images")],
)
def test_nothing_to_open(touch: Touch, names: tuple[str, ...], match: str) -> None:
    with pytest.raises(DatasetError, match=match) as caught:
        open_dataset(touch(*names))
    assert caught.value.fix


def test_missing_folder_and_file_instead_of_folder(touch: Touch) -> None:
    root = touch("a.nii.gz")
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset(root / "missing")
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset(root, masks=root / "missing")
    with pytest.raises(DatasetError, match="is a file"):
        open_dataset(root / "a.nii.gz")


def test_ids_are_unique_even_without_regard_to_case(touch: Touch) -> None:
    dataset = open_dataset(touch("a/x.nii.gz", "b/x.nii.gz", "FLAIR.nii.gz", "FLAIR.nrrd", "c/X.nii.gz"))
    ids = [case.id.lower() for case in dataset.cases]
    assert len(set(ids)) == 5
    assert {"flair.nii.gz", "flair.nrrd"} <= set(ids)


def test_a_table_of_subjects_in_the_folder_is_found(touch: Touch) -> None:
    root = touch("images/a.nii.gz", "images/b.nii.gz", "labels/a.nii.gz", "labels/b.nii.gz")
    (root / "subjects.csv").write_text("case,subject\na,anna\nb.nii.gz,anna\n")
    assert {case.subject for case in open_dataset(root).cases} == {"anna"}
    assert open_dataset(root).subjects_known


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs folders that may not be read"
)
def test_a_folder_that_may_not_be_read(touch: Touch) -> None:
    root = touch("images/a.nii.gz")
    (root / "images").chmod(0)
    try:
        with pytest.raises(DatasetError, match="cannot be opened"):
            open_dataset(root)
    finally:
        (root / "images").chmod(0o755)


def test_opening_reads_no_voxels(touch: Touch) -> None:
    root = touch(*[f"{folder}/scan_{n:05d}.nii.gz" for folder in ("images", "labels") for n in range(2000)])
    assert len(open_dataset(root).pairs) == 2000, "though there is nothing in any of the files"


def test_hippocampus_is_paired_completely(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "hippocampus")
    assert len(dataset.pairs) == len(dataset.cases) == 199
    assert all(case.mask is not None and case.mask.name == case.images[0].name for case in dataset.cases)
    assert dataset.problems == ()


def test_hippocampus_bad_is_named(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "hippocampus_bad")
    assert [case.id for case in dataset.cases] == ["image_without_label_118"]
    assert [(problem.severity, problem.path.name) for problem in dataset.problems if problem.path] == [
        ("warning", "image_without_label_118.nii.gz"),
        ("error", "label_foreign_512x512x94_281.nii.gz"),
        ("error", "label_without_image_010.nii.gz"),
    ]


def test_hippocampus_bad_among_good_ones(shared_data: Path, tmp_path: Path) -> None:
    for folder, bad in (("images", "image_"), ("labels", "label_")):
        (tmp_path / folder).mkdir()
        for file in sorted((shared_data / "hippocampus" / folder).iterdir())[:5]:
            shutil.copy(file, tmp_path / folder)
        for file in (shared_data / "hippocampus_bad").glob(f"{bad}*"):
            shutil.copy(file, tmp_path / folder)
    dataset = open_dataset(tmp_path)
    assert len(dataset.pairs) == 5
    assert len(dataset.problems) == 3


def test_spinal_cord_masks_beside_images(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "spinalcord")
    assert named_pairs(dataset) == {"t2": "t2_seg-manual.nii.gz"}
    disputed = {problem.case: problem.what for problem in dataset.problems}
    assert set(disputed) == {"t2s", "t2_fake_lesion"}
    assert all("Two masks for one image" in what for what in disputed.values())


def test_total_segmentator_names_say_too_little(shared_data: Path) -> None:
    # example_seg lies on example_ct_sm, which no name tells: nothing must be guessed.
    dataset = open_dataset(shared_data / "totalseg")
    assert dataset.pairs == ()
    assert len(dataset.cases) == 3
    assert len(problems(dataset, "error")) == 3
    with pytest.raises(DatasetError, match="example_seg"):
        dataset.require_pairs()
