from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.datasets import Case, Report, check_dataset, grouped, open_dataset, same_subject_groups
from napari_seg3d.datasets.subjects import intensity_step, read_subjects, subject_from_name
from napari_seg3d.errors import DatasetError


def cases(*ids: str) -> list[Case]:
    return [Case(name, (Path(f"{name}.nii.gz"),), None, name) for name in ids]


@pytest.mark.parametrize(
    ("case", "group", "subject"),
    [
        ("sub-01_ses-2_T1w", "", "sub-01"),
        ("T1w", "sub-07/anat", "sub-07"),
        ("patient012_left", "", "patient012"),
        ("patient012_R", "", "patient012"),
        ("p3_t1", "", "p3"),
        ("p3_visit2_left", "", "p3"),
        ("p3_ses-02", "", "p3"),
        ("case7-baseline", "", "case7"),
        ("hippocampus_001", "", "hippocampus_001"),
        ("scan_v1", "", "scan_v1"),
        ("left", "", "left"),
        ("brain_left", "", "brain_left"),
        ("1.3.6.1.4.1.14519.5.2.1.6279.6001.100", "", "1.3.6.1.4.1.14519.5.2.1.6279.6001.100"),
        ("example_ct_sm", "", "example_ct_sm"),
    ],
)
def test_subjects_from_names(case: str, group: str, subject: str) -> None:
    assert subject_from_name(case, group) == subject


@pytest.mark.parametrize("text", ["case,subject\na,anna\nb.nii.gz,anna\n", "\ufeffSubject; Case\nanna; a\nanna; b\n"])
def test_table(tmp_path: Path, text: str) -> None:
    table = tmp_path / "who.csv"
    table.write_text(text, encoding="utf-8")
    assert [case.subject for case in read_subjects(table, cases("a", "b", "c"))] == ["anna", "anna", "c"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "line 1"),
        ("case,person\na,1\n", "line 1"),
        ("case,subject\na,1\nz,2\n", "line 3.*'z'"),
        ("case,subject\na,1\na,2\n", "line 3.*two subjects"),
        ("case,subject\na,\n", "line 2.*no subject"),
        ("case,subject\na\n", "line 2.*no subject"),
    ],
)
def test_broken_tables_name_the_line(tmp_path: Path, text: str, match: str) -> None:
    table = tmp_path / "subjects.csv"
    table.write_text(text)
    with pytest.raises(DatasetError, match=match) as caught:
        read_subjects(table, cases("a", "b"))
    assert str(table) in caught.value.what
    assert caught.value.fix


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_subjects(tmp_path / "none.csv", cases("a"))


@given(st.floats(0.01, 5000), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_the_step_of_a_scaled_scan_is_the_same_in_every_crop(factor: float, seed: int) -> None:
    scan = (np.random.default_rng(seed).integers(0, 900, (20, 20, 20)) * np.float64(factor)).astype(np.float32)
    steps = [intensity_step(scan[:8]), intensity_step(scan[8:, 5:])]
    if None in steps:  # a round factor tells nothing
        assert steps == [None, None]
    else:
        np.testing.assert_allclose(steps, factor, rtol=1e-6)


def test_what_has_no_step() -> None:
    random = np.random.default_rng(0)
    counts = random.integers(0, 255, (16, 16, 16))
    assert intensity_step(counts.astype(np.int16)) is None
    assert intensity_step(counts.astype(np.float32)) is None
    assert intensity_step((counts / 255).astype(np.float32)) is None
    assert intensity_step((counts * 0.25).astype(np.float32)) is None
    assert intensity_step(random.normal(size=(16, 16, 16)).astype(np.float32)) is None
    assert intensity_step(np.zeros((4, 4, 4), np.float32)) is None
    assert intensity_step(np.full((4, 4, 4), np.nan, np.float32)) is None


def test_groups_by_step() -> None:
    steps = {"x": 8.791449, "q": 8.791449, "z": 7.12345, "n": None, "m": None}
    (group,) = same_subject_groups(steps)
    assert group.cases == ("q", "x")
    assert "multiples" in group.reason


def test_a_step_that_all_share_is_no_fingerprint() -> None:
    assert same_subject_groups({f"scan{n}": 3.14159 for n in range(9)}) == []


def test_numbers_count_only_when_the_images_confirm_them() -> None:
    confirmed = {f"s_{n}": 3.1 + (n + 1) // 2 * 0.01234 for n in range(1, 11)}
    unseen = {"s_21": None, "s_22": None, "s_24": None, "s_25": None}
    groups = {group.cases: group.reason for group in same_subject_groups(confirmed | unseen)}
    assert ("s_21", "s_22") in groups
    assert "5 pairs" in groups["s_21", "s_22"]
    assert not any("s_24" in group for group in groups)
    # One pair of neighbours that are not one scan, and the rule is not believed.
    against = confirmed | {"s_31": 5.4321, "s_32": 6.5432}
    assert ("s_21", "s_22") not in {group.cases for group in same_subject_groups(against | unseen)}
    assert same_subject_groups(unseen) == []


def test_both_sides_of_the_hippocampus_are_one_subject(hippocampus_report: Report) -> None:
    report = hippocampus_report
    subject = {int(case.id[-3:]): case.subject for case in report.dataset.cases}
    pairs = [(one, other) for one in subject for other in subject if one < other]
    true = {(one, other) for one, other in pairs if (one + 1) // 2 == (other + 1) // 2}
    found = {(one, other) for one, other in pairs if subject[one] == subject[other]}
    assert len(true) == 67
    assert len(found & true) == 67
    assert len(found - true) <= 0.05 * len(found)
    said = [finding for finding in report.findings if finding.kind == "same subject"]
    assert len(said) >= 67
    assert len(grouped(said)) == 1, "it is said once for all"
    assert report.problems == (), "nothing is wrong with this data set"


@pytest.mark.slow
def test_a_table_is_not_overruled_by_the_images(shared_data: Path, tmp_path: Path) -> None:
    table = tmp_path / "subjects.csv"
    table.write_text("case,subject\nhippocampus_003,a\nhippocampus_004,b\n")
    dataset = open_dataset(shared_data / "hippocampus", subjects=table)
    report = check_dataset(dataset)
    assert report.dataset.case("hippocampus_003").subject == "a"
    assert report.dataset.case("hippocampus_004").subject == "b"
