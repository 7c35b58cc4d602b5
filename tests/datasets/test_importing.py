"""CSV lists, masks with a file for each label, nnU-Net and the decathlon, and pairs by hand: the cases that come out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.datasets import (
    Dataset,
    check_dataset,
    import_dataset,
    load_dataset,
    open_dataset,
    read_case_image,
    read_case_mask,
    read_mask,
    with_pair,
    without_pair,
)
from napari_seg3d.errors import DatasetError, WriteError
from tests.datasets.conftest import WriteNifti
from tests.datasets.makers import make_decathlon, make_spine_radiographs

Touch = Callable[..., Path]


def pairs(dataset: Dataset) -> dict[str, str]:
    return {case.id: case.mask.name for case in dataset.pairs if case.mask is not None}


def parts(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Return case -> label -> file, all as written on disk."""
    return {
        case.id: {dataset.labels[part.value]: part.path.relative_to(dataset.root).as_posix() for part in case.parts}
        for case in dataset.cases
    }


def said(dataset: Dataset) -> list[str]:
    return [problem.what for problem in dataset.problems]


# One mask file for each label


@pytest.mark.parametrize(
    "layout",
    [
        "{case}/ct.nii.gz {case}/segmentations/{label}.nii.gz",
        "{case}/ct.nii.gz {case}/{label}.nii.gz",
        "{case}/ct.nii.gz {case}/{label}_seg.nii.gz",
        "{case}/ct.nii.gz {case}/masks/{case}_{label}.nii.gz",
        "images/{case}.nii.gz labels/{case}/{label}.nii.gz",
        "images/{case}.nii.gz masks/{label}/{case}.nii.gz",
        "images/train/{case}.nii.gz masks/train/{label}/{case}_mask.nii.gz",
        "images/{case}.nii.gz masks/{case}_{label}.nii.gz",
        "{case}.nii.gz {case}_{label}.nii.gz",
        "{case}.nii.gz {case}_{label}_mask.nii.gz",
    ],
)
def test_layouts_with_a_file_for_each_label(write_nifti: WriteNifti, tmp_path: Path, layout: str) -> None:
    image, mask = layout.split()
    labels = {"liver": (slice(1),), "spleen": (slice(1, 2),), "vena_cava": (slice(2, 3),)}
    for number in range(3):
        write_nifti(image.format(case=f"s{number}"))
        for label, where in labels.items():
            data = np.zeros((4, 5, 6), np.uint8)
            data[where] = 1
            if (number, label) != (1, "spleen"):  # somebody without a spleen
                write_nifti(mask.format(case=f"s{number}", label=label), data)
    dataset = open_dataset(tmp_path)
    assert dataset.labels == {1: "liver", 2: "spleen", 3: "vena_cava"}
    assert dataset.problems == ()
    wanted = {f"s{number}": {label: mask.format(case=f"s{number}", label=label) for label in labels} for number in range(3)}
    del wanted["s1"]["spleen"]
    assert {case.removesuffix("_ct"): found for case, found in parts(dataset).items()} == wanted
    assert all("one for each label" in case.reason and 0.6 < case.sureness < 0.9 for case in dataset.cases)
    values = [read_case_mask(case, read_case_image(case)).data[0, :3, 0, 0].tolist() for case in dataset.pairs]
    assert values == [[1, 2, 3], [1, 0, 3], [1, 2, 3]]


def test_masks_of_two_readers_are_no_labels(touch: Touch) -> None:
    names = [f"images/s{n}.nii.gz" for n in range(3)] + [
        f"masks/s{n}_{who}.nii.gz" for n in range(3) for who in ("reader1", "reader2")
    ]
    dataset = open_dataset(touch(*names))
    assert parts(dataset) == {"s0": {}, "s1": {}, "s2": {}}
    assert len(dataset.unused_masks) == 6


def test_images_that_lie_like_labels_are_none(write_nifti: WriteNifti, tmp_path: Path) -> None:
    for number in range(3):
        for name in ("", "_smooth", "_sharp"):
            write_nifti(f"s{number}{name}.nii.gz", np.random.default_rng(number).normal(0, 100, (6, 6, 6)).astype(np.float32))
    dataset = open_dataset(tmp_path)
    assert len(dataset.cases) == 9
    assert dataset.labels == {}


def test_labels_keep_the_values_that_dataset_json_gives_and_background_is_none(touch: Touch) -> None:
    files = ("ct", "segmentations/Spleen", "segmentations/liver", "segmentations/background")
    root = touch(*[f"{case}/{name}.nii.gz" for case in ("a1", "a2") for name in files])
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 5}}))
    assert open_dataset(root).labels == {1: "Spleen", 5: "liver"}


# CSV


def test_a_list_with_everything(touch: Touch) -> None:
    channels = [["a_0000.nii.gz", "a_0001.nii.gz"], ["b_0000.nii.gz", "b_0001.nii.gz"]]
    root = touch(*[f"scans/{name}" for names in channels for name in names], "ct, old/c.nii", "m/a.nii", "m/b.nii")
    table = root / "list.csv"
    table.write_text(
        "\ufeffCase;Image;Mask;Subject;Set\n"
        'A 1;"scans/a_0000.nii.gz;scans/a_0001.nii.gz";m/a.nii;Ms A;train\n'
        "\n"
        f'B;"scans/b_0000.nii.gz; {root}/scans/b_0001.nii.gz";m/b.nii;Ms B;Val\n'
        "C;ct, old/c.nii;;Ms B;test\n",
        encoding="utf-8",
    )
    dataset = open_dataset(table)
    assert [case.id for case in dataset.cases] == ["A 1", "B", "C"]
    assert [[path.name for path in case.images] for case in dataset.cases] == [*channels, ["c.nii"]]
    assert pairs(dataset) == {"A 1": "a.nii", "B": "b.nii"}
    assert [case.subject for case in dataset.cases] == ["Ms A", "Ms B", "Ms B"]
    assert dataset.case("B").reason == "listed in list.csv, line 4"
    assert dataset.case("B").sureness == 1
    assert dataset.subjects_known
    assert dataset.problems == ()
    imported = import_dataset(table)
    assert (root / "dataset.yaml").is_file()
    assert [replace(case, images=(), mask=None) for case in imported.cases] == [
        replace(case, images=(), mask=None) for case in dataset.cases
    ]
    assert imported.split == dataset.split is not None


def test_a_list_with_commas_and_a_column_for_each_channel(touch: Touch) -> None:
    root = touch("a_t2.nii", "a_t1.nii", "b_t1.nii", "b_t2.nii", "a.nii", "b.nii")
    table = root / "list.csv"
    table.write_text("image_1,image_0,mask\na_t2.nii,a_t1.nii,a.nii\nb_t2.nii,b_t1.nii,b.nii\n")
    dataset = open_dataset(table)
    assert [[path.name for path in case.images] for case in dataset.cases] == [["a_t1.nii", "a_t2.nii"], ["b_t1.nii", "b_t2.nii"]]
    assert dataset.split is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "line 1: there is no column image"),
        ("scan,mask\na.nii,m.nii\n", "line 1: there is no column image; there are scan, mask"),
        ("image,image\na.nii,a.nii\n", "line 1: there are two columns image"),
        ("image,mask\n,m.nii\n", "line 2: there is no image"),
        ("image,mask\na.nii,m.nii,x\n", "line 2: it has 3 cells, and there are 2 columns"),
        ("image,mask\na.nii,m.nii\na.nii,m.nii\n", "line 3: the case a is there twice"),
        ("image,id\na.nii,../a\n", "line 2: '../a' cannot name a case"),
        ("image,set\na.nii,learn\n", "line 2: there is no set 'learn'"),
        ("image,mask\nb.nii,m.nii\n", "lists no image that exists"),
        ("image,mask\n", "lists no image that exists"),
        ("image,mask\na\0.nii,m.nii\n", "list.csv"),
    ],
)
def test_a_list_that_is_wrong_says_where(touch: Touch, text: str, what: str) -> None:
    root = touch("a.nii", "m.nii")
    (root / "list.csv").write_text(text)
    with pytest.raises(DatasetError, match=what) as raised:
        open_dataset(root / "list.csv")
    assert "list.csv" in raised.value.what


def test_files_that_a_list_misses_are_problems_of_their_lines(touch: Touch) -> None:
    root = touch("a.nii", "m.nii", "c.nii")
    (root / "list.csv").write_text("image,mask\na.nii,m.nii\nb.nii,m.nii\nc.nii,x.nii\n")
    dataset = open_dataset(root / "list.csv")
    assert pairs(dataset) == {"a": "m.nii"}
    assert [what.split(":")[0] for what in said(dataset)] == ["list.csv, line 3", "list.csv, line 4"]
    (root / "list.csv").write_bytes("image\nä.nii\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="UTF-8"):
        open_dataset(root / "list.csv")
    with pytest.raises(DatasetError, match="lists its masks itself"):
        open_dataset(root / "list.csv", masks=root)


# dataset.json


def test_a_decathlon_task(tmp_path: Path) -> None:
    root = make_decathlon(tmp_path / "Task99_Organ")
    dataset = open_dataset(root)
    assert (dataset.name, dataset.modality, dataset.channels) == ("Organ", "CT", ("CT",))
    assert dataset.labels == {1: "organ", 2: "tumour"}
    assert dataset.problems == ()
    assert len(check_dataset(dataset).sound) == 4
    (root / "labelsTr" / "organ_2.nii.gz").unlink()
    assert any("speaks of 4 training cases, and there are 3" in what for what in said(open_dataset(root)))


def test_nnunet_lists_cases_in_a_table(touch: Touch) -> None:
    root = touch("scans/x_0000.nii.gz", "scans/y_0000.nii.gz", "drawn/one.nii.gz", "drawn/two.nii.gz")
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
        "dataset": {
            "x": {"images": ["scans/x_0000.nii.gz"], "label": "drawn/two.nii.gz"},
            "y": {"images": ["scans/y_0000.nii.gz"], "label": "drawn/one.nii.gz"},
        },
    }
    (root / "dataset.json").write_text(json.dumps(description))
    dataset = open_dataset(root / "scans", masks=root / "drawn")
    assert pairs(dataset) == {"x": "two.nii.gz", "y": "one.nii.gz"}
    assert {case.sureness for case in dataset.cases} == {1.0}


# Radiographs with MATLAB masks


def test_radiographs_with_separated_labels_can_be_trained_on(tmp_path: Path) -> None:
    dataset = import_dataset(make_spine_radiographs(tmp_path))
    report = check_dataset(dataset)
    assert [case.id for case in report.sound] == ["000", "001", "002", "003"]
    assert {facts.grid.shape for facts in report.facts.values()} == {(64, 96, 1), (68, 102, 1), (72, 108, 1), (64, 114, 1)}
    for case in dataset.pairs:
        assert np.unique(read_case_mask(case, read_case_image(case)).data).tolist() == [0, 1, 2, 3, 4, 5, 6]


# By hand


def test_how_sure_a_pair_is_follows_its_rule(touch: Touch) -> None:
    root = touch("images/a.nii", "images/image_b1.nii", "images/c_9.nii", "labels/a.nii", "labels/b1_seg.nii", "labels/x_9.nii")
    dataset = open_dataset(root)
    sureness = {case.id: case.sureness for case in dataset.pairs}
    assert sureness["a"] == 0.9 > sureness["image_b1"] > sureness["c_9"] == 0.5


def test_pairs_by_hand_and_what_is_left_over(touch: Touch) -> None:
    root = touch("images/a.nii", "images/b.nii", "images/c.nii", "labels/a.nii", "labels/b.nii", "labels/other.nii")
    dataset = open_dataset(root)
    assert said(dataset) == [
        "c.nii has no mask: it can be predicted, but not trained on.",
        "other.nii is a mask without an image.",
    ]
    chosen = with_pair(dataset, "c", root / "labels" / "other.nii")
    assert pairs(chosen) == {"a": "a.nii", "b": "b.nii", "c": "other.nii"}
    assert (chosen.case("c").reason, chosen.case("c").sureness) == ("chosen by hand", 1)
    assert (chosen.problems, chosen.unused_masks) == ((), ())
    assert pairs(dataset) == {"a": "a.nii", "b": "b.nii"}  # the old one stays as it is
    # A mask belongs to one image: that of b goes to a, that of a is left over.
    moved = with_pair(chosen, root / "images" / "a.nii", root / "labels" / "b.nii")
    assert pairs(moved) == {"a": "b.nii", "c": "other.nii"}
    assert [path.name for path in moved.unused_masks] == ["a.nii"]
    assert said(moved) == ["b.nii has no mask: it can be predicted, but not trained on.", "a.nii is a mask without an image."]
    back = without_pair(with_pair(moved, "b.nii", root / "labels" / "a.nii"), moved.case("c"))
    assert pairs(back) == {"a": "b.nii", "b": "a.nii"}
    assert [path.name for path in back.unused_masks] == ["other.nii"]
    further = root / "d.nii"
    further.write_bytes(b"an image from somewhere else")
    assert pairs(with_pair(back, further, root / "labels" / "other.nii"))["d"] == "other.nii"
    for image, mask, what in (
        ("x", root / "labels" / "a.nii", "There is no case or image x"),
        ("a", root / "nothing.nii", "does not exist"),
        ("a", root / "images" / "a.nii", "is the image itself"),
    ):
        with pytest.raises(DatasetError, match=what):
            with_pair(back, image, mask)
    with pytest.raises(DatasetError, match="no case x"):
        without_pair(back, "x")


def test_a_choice_by_hand_ends_a_dispute(touch: Touch) -> None:
    root = touch("a.nii", "a_seg-one.nii", "a_seg-two.nii", "b.nii", "b_seg.nii")
    dataset = open_dataset(root)
    assert any("Two masks for one image" in what for what in said(dataset))
    assert len(dataset.unused_masks) == 2
    chosen = with_pair(dataset, "a", root / "a_seg-two.nii")
    assert pairs(chosen) == {"a": "a_seg-two.nii", "b": "b_seg.nii"}
    assert said(chosen) == ["a_seg-one.nii is a mask without an image."]


def test_an_import_is_stored_with_its_choices_and_replaces_nothing(write_nifti: WriteNifti, tmp_path: Path) -> None:
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1:3] = 1
    for name in ("a", "b"):
        write_nifti(f"data/images/{name}.nii.gz")
        write_nifti(f"data/labels/{name}.nii.gz", mask)
    other = write_nifti("data/labels/other.nii.gz", mask * 2)
    root = tmp_path / "data"
    imported = import_dataset(root, pairs={"a": other})
    with pytest.raises(WriteError, match="exists already"):
        import_dataset(root)
    shutil.move(root, tmp_path / "moved")
    dataset = open_dataset(tmp_path / "moved")
    assert pairs(dataset) == pairs(imported) == {"a": "other.nii.gz", "b": "b.nii.gz"}
    assert len(check_dataset(dataset).sound) == 2
    assert np.array_equal(read_mask(dataset.case("a").mask or Path()).data[0], mask * 2)
    # The folder itself is looked at again, whatever its dataset.yaml says.
    again = import_dataset(tmp_path / "moved", tmp_path / "apart.yaml")
    assert pairs(again)["a"] == "a.nii.gz"
    assert load_dataset(tmp_path / "apart.yaml").cases == again.cases


# Real scans


def test_real_scans_are_stored_apart_from_where_they_lie(shared_data: Path, tmp_path: Path) -> None:
    opened = open_dataset(shared_data / "hippocampus")
    stored = import_dataset(shared_data / "hippocampus", tmp_path)
    assert not (shared_data / "hippocampus" / "dataset.yaml").exists()
    assert len(stored.cases) == len(opened.cases) > 100
    assert {case.sureness for case in stored.pairs} == {0.9}
    for case, other in zip(stored.cases, opened.cases, strict=True):
        assert (case.id, case.subject) == (other.id, other.subject)
        assert case.images[0].samefile(other.images[0])
        assert case.mask is not None
        assert other.mask is not None
        assert case.mask.samefile(other.mask)


def test_a_dispute_between_real_masks_is_ended_by_hand(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "spinalcord"
    by_hand = {"t2s": folder / "t2s_seg.nii.gz", "t2_fake_lesion.nii.gz": folder / "t2_fake_lesion_sc_seg.nii.gz"}
    stored = import_dataset(folder, tmp_path, pairs=by_hand)
    assert pairs(stored) == {
        "t2": "t2_seg-manual.nii.gz",
        "t2_fake_lesion": "t2_fake_lesion_sc_seg.nii.gz",
        "t2s": "t2s_seg.nii.gz",
    }
    assert sorted(path.name for path in stored.unused_masks) == ["t2_fake_lesion_lesion_seg.nii.gz", "t2s_gmseg_manual.nii.gz"]
    assert [case.id for case in check_dataset(stored).sound] == ["t2", "t2_fake_lesion", "t2s"]
