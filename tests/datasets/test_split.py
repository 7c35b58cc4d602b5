from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.datasets import (
    Case,
    Report,
    StoredSplit,
    assign,
    complete,
    draw_test,
    make_split,
    presence_of,
    read_ids,
    read_split,
    sides,
    split_by_subject,
)
from napari_seg3d.errors import DatasetError

subjects = st.lists(st.text("abc123", min_size=1, max_size=3), min_size=2, max_size=60).filter(lambda names: len(set(names)) > 1)


def cases(names: list[str]) -> list[Case]:
    return [Case(f"case{n:03d}", (Path(f"case{n:03d}.nii.gz"),), None, subject) for n, subject in enumerate(names)]


@given(subjects, st.floats(0.01, 0.99), st.integers(0, 99), st.randoms())
def test_nobody_is_on_both_sides(names: list[str], share: float, seed: int, random: object) -> None:
    listed = cases(names)
    split = split_by_subject(listed, share, seed)
    subject = {case.id: case.subject for case in listed}
    assert split.train
    assert split.validation
    assert sorted(split.train + split.validation) == sorted(subject)
    assert not {subject[case] for case in split.train} & {subject[case] for case in split.validation}
    random.shuffle(listed)  # type: ignore[attr-defined]
    assert split_by_subject(listed, share, seed) == split


def test_the_seed_decides() -> None:
    listed = cases([f"s{n}" for n in range(50)])
    assert split_by_subject(listed, 0.2, 0) == split_by_subject(listed, 0.2, 0)
    assert len({split_by_subject(listed, 0.2, seed).validation for seed in range(10)}) == 10
    assert len(split_by_subject(listed, 0.2).validation) == 10


def test_a_new_subject_moves_few_others() -> None:
    before = split_by_subject(cases([f"s{n}" for n in range(50)]))
    after = split_by_subject(cases([f"s{n}" for n in range(51)]))
    assert len(set(before.validation) ^ set(after.validation)) <= 2


def test_one_subject_cannot_be_split() -> None:
    with pytest.raises(DatasetError, match="one subject") as caught:
        split_by_subject(cases(["anna", "anna"]))
    assert "subjects.csv" in caught.value.fix
    with pytest.raises(DatasetError, match="no cases"):
        split_by_subject([])
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(DatasetError, match="share"):
            split_by_subject(cases(["a", "b"]), share)


def test_saved_split(tmp_path: Path) -> None:
    listed = cases(["a", "b", "b"])
    split = split_by_subject(listed, 0.4)
    split.save(tmp_path / "split.csv", listed)
    lines = (tmp_path / "split.csv").read_text().splitlines()
    assert lines[0] == "case,subject,set"
    assert len(lines) == 4
    assert {line.split(",")[2] for line in lines[1:]} == {"train", "validation"}
    assert split.rows([*listed, Case("other", (), None, "z")]) == split.rows(listed)


PRESENCE = st.lists(st.frozensets(st.integers(1, 4)), min_size=60, max_size=60)


def labelled(listed: list[Case], labels: list[frozenset[int]]) -> dict[str, frozenset[int]]:
    return {case.id: labels[int(case.id[-3:])] for case in listed}


@given(subjects, PRESENCE, st.floats(0.01, 0.99), st.integers(2, 5), st.integers(2, 12), st.integers(0, 99), st.randoms())
def test_every_method_keeps_subjects_together_whatever_the_labels(
    names: list[str], labels: list[frozenset[int]], share: float, folds: int, stride: int, seed: int, random: random.Random
) -> None:
    listed = cases(names)
    subject = {case.id: case.subject for case in listed}
    presence = labelled(listed, labels)
    folds = min(folds, len(set(names)))
    made = {
        method: make_split(listed, method, validation=share, folds=folds, stride=stride, seed=seed, presence=presence)
        for method in ("fraction", "folds", "stride")
    }
    shuffled = random.sample(listed, len(listed))
    for method, split in made.items():
        again = make_split(shuffled, method, validation=share, folds=folds, stride=stride, seed=seed, presence=presence)
        assert again == split, "neither chance nor the order decides"
        assert StoredSplit.from_dict(split.to_dict()) == split
        assert set(split.sets) == set(subject)
        validated = []
        for fold in split.places[1:] if method == "folds" else (1,):
            found = sides(split, listed, listed, fold)
            assert found.train
            assert found.validation
            assert sorted(found.train + found.validation) == sorted(subject)
            assert not {subject[case] for case in found.train} & {subject[case] for case in found.validation}
            validated += found.validation
        if method == "folds":
            assert sorted(validated) == sorted(subject), "each case validates once"
    sizes = [len({subject[case] for case, fold in made["folds"].sets.items() if fold == one}) for one in range(1, folds + 1)]
    assert max(sizes) - min(sizes) <= 1


def test_labels_are_shared_out_evenly() -> None:
    chance = random.Random(0)
    listed = cases([f"s{n // 2}" for n in range(120)])
    shares = {1: 1.0, 2: 0.6, 3: 0.25, 4: 0.1}
    unevenness = {"drawn": 0.0, "stratified": 0.0}
    for seed in range(10):
        presence = {case.id: frozenset(label for label, share in shares.items() if chance.random() < share) for case in listed}
        drawn, even = split_by_subject(listed, 0.2, seed), split_by_subject(listed, 0.2, seed, presence)
        assert len(even.validation) == len(drawn.validation) == 24
        for kind, split in (("drawn", drawn), ("stratified", even)):
            for label in shares:
                here, there = (
                    sum(label in presence[case] for case in side) / len(side) for side in (split.train, split.validation)
                )
                unevenness[kind] += abs(here - there) / 40
        folds = make_split(listed, "folds", seed=seed, presence=presence)
        for label in (1, 2, 3):
            counts = [sum(label in presence[case] for case in folds.sets if folds.sets[case] == fold) for fold in range(1, 6)]
            assert max(counts) - min(counts) <= 3, (label, counts)
    assert unevenness["stratified"] < 0.4 * unevenness["drawn"]


def test_where_labels_make_no_difference_the_draw_stays() -> None:
    listed = cases([f"s{n}" for n in range(50)])
    same = {case.id: frozenset({1, 2}) for case in listed}
    assert split_by_subject(listed, 0.2, 3, same) == split_by_subject(listed, 0.2, 3)


def test_every_nth_in_the_order_of_the_ids() -> None:
    listed = cases([f"z{-n}" for n in range(25)])
    split = make_split(listed, "stride", stride=10)
    assert sides(split, listed, listed).validation == ("case000", "case010", "case020")


def test_a_test_set_is_drawn_first_and_stays() -> None:
    listed = cases([f"s{n // 2}" for n in range(40)])
    drawn = draw_test(None, listed, 0.2, seed=1)
    assert len(drawn.test) == 8
    split = make_split(listed, "folds", kept=drawn)
    found = sides(split, listed, listed, 3)
    assert found.test == drawn.test
    assert not set(found.test) & {*found.train, *found.validation}
    assert make_split(listed, "stride", kept=split).test == drawn.test
    with pytest.raises(DatasetError, match="fewer than two"):
        draw_test(None, listed[:4], 0.5)


def test_cases_that_came_later_go_where_their_subject_is() -> None:
    split = StoredSplit("lists", sets={"case000": "train", "case001": "validation"}, test=("case002",))
    listed = cases(["a", "b", "c", "a", "b", "c", "d"])
    assert list(complete(split, listed).values()) == ["train", "validation", "test", "train", "validation", "test", "train"]
    assert sides(split, listed, [*listed[:2], listed[4]]).validation == ("case001", "case004")


def test_sets_by_hand() -> None:
    listed = cases(["a", "b", "c", "a"])
    split = assign(make_split(listed, validation=0.34, seed=1), listed, ["case001"], "validation")
    assert split.method == "lists"
    assert split.sets["case001"] == "validation"
    with pytest.raises(
        DatasetError, match=r"case000 \((train|validation)\) and case003 \(test\) are of one subject, a,"
    ) as caught:
        assign(split, listed, ["case003"], "test")
    assert "case000, case003" in caught.value.fix
    held = assign(split, listed, ["case000", "case003"], "test")
    assert held.test == ("case000", "case003")
    assert assign(held, listed, held.test, "train").test == ()
    folds = assign(make_split(listed, "folds", folds=2), listed, ["case002"], 2)
    assert (folds.method, folds.sets["case002"]) == ("folds", 2)
    with pytest.raises(DatasetError, match="no set validation: by the method folds there are train and the folds 1 to 2"):
        assign(folds, listed, ["case002"], "validation")


def test_a_split_that_breaks_a_subject_apart_is_refused() -> None:
    listed = cases(["a", "b", "a"])
    split = StoredSplit("lists", sets={"case000": "train", "case001": "validation", "case002": "validation"})
    with pytest.raises(DatasetError, match="case000 .train. and case002 .validation. are of one subject, a,"):
        sides(split, listed, listed)
    with pytest.raises(DatasetError, match="Fold 3 cannot validate: the split has no folds"):
        sides(StoredSplit("lists"), listed, listed, 3)
    with pytest.raises(DatasetError, match="no sound case to validate"):
        sides(StoredSplit("lists", sets={"case000": "train"}), listed, listed)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"method": "magic"}, "method"),
        ({"method": "fraction", "validation": 1.0}, "validation"),
        ({"method": "folds", "folds": 1}, "folds"),
        ({"method": "lists", "sets": {"a": "somewhere"}}, "set of a is 'somewhere'"),
        ({"method": "folds", "sets": {"a": 9}}, "no set 9"),
        ({"method": "fraction", "sets": {"a": 1}}, "no set 1"),
        ({"method": "lists", "sets": {"a": "train"}, "test": ["a"]}, "a is in the test set, and its set is train"),
        (
            {"method": "lists", "sets": {"a": "train"}, "test_content": {"a": f"1x2x3x4_-7_0.5-{'0' * 64}"}},
            "a is in the test set",
        ),
        ({"method": "lists", "test_content": {"a": "made up"}}, "made up"),
        ({"method": "lists", "colour": "red"}, "colour is no known entry"),
    ],
)
def test_a_broken_split_is_said(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        StoredSplit.from_dict(wrong)


def test_lists_of_others(tmp_path: Path) -> None:
    listed = cases(["a", "b", "c", "d"])
    table, folds = tmp_path / "split.csv", tmp_path / "splits_final.json"
    found = split_by_subject(listed, 0.25)
    found.save(table, listed)
    assert sides(read_split(table, listed), listed, listed) == found
    table.write_text("Set;Case\nval;case000.nii.gz\ntest;case003\n")
    assert sides(read_split(table, listed), listed, listed).train == ("case001", "case002")
    assert read_ids(table, listed) == ["case000", "case003"]
    (tmp_path / "ids.txt").write_text("\ncase001\n")
    assert read_ids(tmp_path / "ids.txt", listed) == ["case001"]
    named = ["case000", "case001", "case002", "case003"]
    folds.write_text(json.dumps([{"train": named[2:], "val": named[:2]}, {"train": named[:2], "val": named[2:]}]))
    split = read_split(folds, listed)
    assert (split.method, split.folds) == ("folds", 2)
    assert sides(split, listed, listed, 2).validation == ("case002", "case003")
    for text, words in (
        ("case,set\nnobody,train\n", "line 2: there is no case 'nobody'"),
        ("case,set\ncase000,left\n", "no set 'left'"),
        ("case,set\ncase000,test\ncase000,train\n", "case000 is in two sets"),
        ("a,b\n", "the columns are"),
    ):
        table.write_text(text)
        with pytest.raises(DatasetError, match=words):
            read_split(table, listed)


def test_hippocampus(hippocampus_report: Report) -> None:
    sound = hippocampus_report.sound
    split = split_by_subject(sound)
    assert 35 <= len(split.validation) <= 45
    numbers = [{(int(case[-3:]) + 1) // 2 for case in side} for side in (split.train, split.validation)]
    assert not numbers[0] & numbers[1]
    assert split_by_subject(sound, presence=presence_of(hippocampus_report.facts)) == split, "every mask has both labels"
