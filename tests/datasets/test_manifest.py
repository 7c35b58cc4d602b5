"""``dataset.yaml``: what is saved comes back, wherever the folder went, and a file from elsewhere can do no harm."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.datasets import Case, Dataset, MaskPart, StoredSplit, files_of, load_dataset, open_dataset, save_dataset
from napari_seg3d.datasets.layouts.manifest import FILE_NAME
from napari_seg3d.errors import DatasetError
from tests.datasets.conftest import WriteNifti

Touch = Callable[..., Path]


def moved(dataset: Dataset, old: Path, new: Path) -> Dataset:
    """Return what `dataset` has to be after its folder was moved."""

    def there(path: Path) -> Path:
        return new / path.relative_to(old)

    cases = [
        replace(
            case,
            images=tuple(map(there, case.images)),
            mask=there(case.mask) if case.mask else None,
            parts=tuple(MaskPart(part.value, there(part.path)) for part in case.parts),
        )
        for case in dataset.cases
    ]
    return replace(
        dataset, root=new, cases=tuple(cases), unused_masks=tuple(map(there, dataset.unused_masks)), file=new / FILE_NAME
    )


def everything(root: Path) -> Dataset:
    """Return a data set with something in every field that is stored."""
    parts = (MaskPart(2, root / "s1" / "liver.nii.gz"), MaskPart(5, root / "s1" / "spleen.nii.gz"))
    cases = (
        Case("001", (root / "a_0000.nii", root / "a_0001.nii"), root / "m" / "a.nii", "Frau Ä", "same name", 0.9),
        Case("no", (root / "b: 1.nii",), None, "no"),
        Case("s1", (root / "s1" / "ct.nii.gz",), parts[0].path, "s1", "one file for each of 2 labels", 0.8, parts),
    )
    return Dataset(
        root=root,
        cases=cases,
        labels={2: "liver", 5: "no", 7: "rest"},
        subjects_known=True,
        title="A data set: of mine",
        modality="CT",
        channels=("T1", "1.5"),
        merged={7: 5},
        excluded={"no": "too dark"},
        split=StoredSplit(
            "fraction", seed=3, sets={"001": "train"}, test=("s1",), test_content={"s1": f"1x2x3x4_-7_0.5-{'0f' * 32}"}
        ),
    )


def test_every_field_comes_back_and_the_folder_may_move(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "elsewhere" / "new"
    dataset = everything(old)
    save_dataset(dataset, old)
    assert str(tmp_path) not in (old / FILE_NAME).read_text(encoding="utf-8")
    new.parent.mkdir()
    shutil.move(old, new)
    for given_path in (new, new / FILE_NAME):
        loaded = open_dataset(given_path)
        assert replace(loaded, problems=()) == moved(dataset, old, new)
        assert [problem.case for problem in loaded.problems] == ["no"]
        assert loaded.name == "A data set: of mine"
    assert files_of(loaded.case("s1")) == (new / "s1/ct.nii.gz", new / "s1/liver.nii.gz", new / "s1/spleen.nii.gz")
    save_dataset(loaded, new / "again.yaml")
    assert (new / "again.yaml").read_bytes() == (new / FILE_NAME).read_bytes()


_NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\:\0", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12
)


@given(
    st.dictionaries(_NAMES.filter(lambda name: name.strip(". ")), _NAMES, min_size=1, max_size=5),
    st.dictionaries(st.integers(1, 70000), st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")))),
)
def test_names_of_all_kinds_come_back(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, str], labels: dict[int, str]
) -> None:
    root = tmp_path_factory.mktemp("names")
    names = {name: subject for name, subject in names.items() if list(map(str.lower, names)).count(name.lower()) == 1} or {
        "a": "b"
    }
    cases = tuple(Case(name, (root / f"x{name}",), root / "m" / f"y{name}", names[name]) for name in sorted(names))
    save_dataset(Dataset(root, cases, dict(sorted(labels.items()))), root)
    loaded = load_dataset(root)
    assert (loaded.cases, loaded.labels) == (cases, labels)


def test_files_outside_of_the_folder_must_exist(tmp_path: Path, write_nifti: WriteNifti) -> None:
    image, mask = write_nifti("share/images/a.nii"), write_nifti("masks/a.nii")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "share", target_is_directory=True)
    dataset = Dataset(tmp_path, (Case("a", (link / "images" / "a.nii",), mask, "a"),), {1: "one"})
    home = tmp_path / "mine" / "deeper"
    home.mkdir(parents=True)
    save_dataset(dataset, home)
    assert yaml.safe_load((home / FILE_NAME).read_text())["cases"][0]["mask"] == "../../masks/a.nii"
    (tmp_path / "way").symlink_to(home, target_is_directory=True)  # ".." goes up from where the folder is, not from the link
    for folder in (home, tmp_path / "way"):
        assert load_dataset(folder).cases[0].images[0].samefile(image)
        assert load_dataset(folder).cases[0].mask == mask.resolve()
    mask.unlink()
    with pytest.raises(DatasetError, match=r"cases\[0\] \(a\) names \.\./\.\./masks/a.nii, which lies outside"):
        load_dataset(home)


_START = "format: napari-seg3d dataset\nversion: 1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "describes no data set"),
        ("[1, 2]", "describes no data set"),
        ("format: something else\n", "describes no data set"),
        ("format: napari-seg3d dataset\nversion: 2\n", "version 2; this napari-seg3d reads version 1"),
        (_START, "line 1: cases: Field required"),
        (_START + "cases: []\n", "line 3: cases: .*at least 1"),
        (_START + "cases:\n- {id: a, images: [a.nii]}\n- id: b\n  images: 3\n", r"line 6: cases\[1\].images: .*list.*there is 3"),
        (_START + "cases: [{id: 001, images: [a.nii]}]\n", r"cases\[0\].id: .*string.*there is 1"),
        (_START + "cases: [{id: ../a, images: [a.nii]}]\n", r"cases\[0\].id: '../a' is no id"),
        (_START + "cases: [{id: '..', images: [a.nii]}]\n", "is no id"),
        (_START + "cases: [{id: a, images: [a.nii]}, {id: A, images: [b.nii]}]\n", "the case A is there twice"),
        (_START + "cases: [{id: a, image: [a.nii]}]\n", "known are id, images, mask"),
        (_START + "cases: [{id: a, images: [/etc/passwd]}]\n", r"cases\[0\] \(a\) names /etc/passwd"),
        (_START + "cases: [{id: a, images: ['../nothing.nii']}]\n", "does not exist"),
        (_START + "cases: [{id: a, images: [a.nii], mask: ''}]\n", "empty path"),
        (_START + "cases: [{id: a, images: [a.nii], mask: b, parts: {1: c}}]\n", "both a mask and parts"),
        (_START + "cases: [{id: a, images: [a.nii], sureness: 2}]\n", "less than or equal to 1"),
        (_START + "labels: {0: nothing}\ncases: [{id: a, images: [a.nii]}]\n", "line 3: labels.0"),
        (_START + "labels: {2: no}\ncases: [{id: a, images: [a.nii]}]\n", r"labels\[2\]: .*string.*False"),
        (_START + "excluded: {b: dark}\ncases: [{id: a, images: [a.nii]}]\n", "excluded names b"),
        (_START + "colour: red\ncases: [{id: a, images: [a.nii]}]\n", "line 3: colour is no known entry"),
        (_START + "cases: {\n", "line 4: it is no YAML"),
        (_START + "cases: !!python/object/apply:os.getcwd []\n", "line 3: it is no YAML"),
        (_START + "name: 2020-13-45\n", "it is no YAML"),
        (_START + "a: &a [1, 2]\nb: *a\n", "line 4: .*no references"),
        (_START + "a: " + "[" * 100_000, "no such nesting"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / FILE_NAME
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=said) as raised:
        open_dataset(tmp_path)
    assert str(file) in raised.value.what
    assert raised.value.fix


def test_files_that_are_no_text_or_too_large_are_refused(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="UTF-8"):
        load_dataset(tmp_path)
    os.truncate(file, 65 << 20)
    with pytest.raises(DatasetError, match="too large"):
        load_dataset(tmp_path)
    with pytest.raises(DatasetError, match="cannot be read: No such file"):
        load_dataset(tmp_path / "other")


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    for case_id in ("a/b", "..", "a\nb", ""):
        with pytest.raises(DatasetError, match="was not written: .*is no id"):
            save_dataset(Dataset(tmp_path, (Case(case_id, (tmp_path / "a.nii",), None, "a"),), {}), tmp_path)
    assert not (tmp_path / FILE_NAME).exists()


def test_a_folder_opens_as_its_dataset_yaml_says(touch: Touch) -> None:
    root = touch("images/a.nii", "images/b.nii", "labels/a.nii", "labels/b.nii")
    dataset = open_dataset(root)
    save_dataset(replace(dataset, excluded={"b": "moved"}, labels={1: "one"}), root)
    assert [case.id for case in open_dataset(root).pairs] == ["a"]
    # Folders that somebody chooses apart are meant as folders.
    assert [case.id for case in open_dataset(root, root / "labels").pairs] == ["a", "b"]
    (root / "who.csv").write_text("case,subject\na,x\nb,x\n")
    assert {case.subject for case in open_dataset(root, subjects=root / "who.csv").cases} == {"x"}
