from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.datasets import Case, check_dataset, open_dataset, split_by_subject
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


def test_hippocampus(shared_data: Path) -> None:
    report = check_dataset(open_dataset(shared_data / "hippocampus"))
    split = split_by_subject(report.sound)
    assert 35 <= len(split.validation) <= 45
    numbers = [{(int(case[-3:]) + 1) // 2 for case in side} for side in (split.train, split.validation)]
    assert not numbers[0] & numbers[1]
