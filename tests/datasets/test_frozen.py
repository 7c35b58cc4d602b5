from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.datasets import (
    Case,
    Split,
    StoredSplit,
    assign,
    content_of,
    freeze_test,
    make_split,
    mark_of,
    read_case_image,
    refuse_test_cases,
    sides,
    unfreeze_test,
)
from napari_seg3d.errors import Cancelled, DatasetError
from napari_seg3d.volumes import Grid, Volume, write_volume
from tests.volumes.affines import ORDERS, Order, affine_of


def scan(seed: int, order: Order = ORDERS[0], dtype: type = np.int16, channels: int = 1) -> Volume:
    """Return one scan in whatever order of axes."""
    canonical = np.random.default_rng(seed).integers(0, 100, (channels, 4, 5, 6)).astype(dtype)
    shape = tuple((4, 5, 6)[axis] for axis in order[0])
    return Volume(Grid(shape, affine_of(order)).from_canonical(canonical), affine_of(order))


@given(st.integers(0, 9999), st.sampled_from(ORDERS), st.sampled_from([np.uint8, np.int16, np.int32, np.float32, np.float64]))
def test_a_copy_is_known_and_another_scan_is_not(seed: int, order: Order, dtype: type) -> None:
    known = content_of(scan(seed))
    assert content_of(scan(seed, order, dtype)) == known
    assert content_of(scan(seed + 1, order, dtype)) != known
    assert content_of(scan(seed, order, dtype, channels=2)) != known
    changed = scan(seed, order, dtype).data.copy()
    changed[0, 1, 2, 3] += 1
    assert content_of(Volume(changed, affine_of(order))) != known


def test_zeros_and_what_is_no_number() -> None:
    data = np.array([0.0, -0.0, np.nan, 1e300]).reshape(1, 4, 1, 1)
    other = np.array([-0.0, 0.0, -np.nan, 1e301]).reshape(1, 4, 1, 1)
    assert content_of(Volume(data, np.eye(4))) == content_of(Volume(other, np.eye(4)))


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Six cases of five subjects: the first two are one."""
    listed = []
    for number in range(6):
        path = write_volume(scan(number), tmp_path / f"scan{number}.nii.gz")
        listed.append(Case(f"scan{number}", (path,), None, f"s{max(number, 1)}"))
    return listed


def everybody(cases: list[Case], test: set[str]) -> Split:
    ids = [case.id for case in cases if case.id not in test]
    return Split(tuple(ids[1:]), tuple(ids[:1]))


def test_a_frozen_test_set_takes_its_subjects_along_and_stays(cases: list[Case]) -> None:
    split = StoredSplit("lists", sets={"scan0": "validation"}, test=("scan1", "scan4"))
    told: list[tuple[int, int]] = []
    frozen = freeze_test(split, cases, lambda done, total: told.append((done, total)))
    assert frozen.test == ("scan0", "scan1", "scan4")
    assert set(frozen.test_content) == set(frozen.test)
    assert told[-1] == (3, 3)
    assert StoredSplit.from_dict(frozen.to_dict()) == frozen
    assert freeze_test(frozen, cases) == frozen
    for change in (
        lambda: assign(frozen, cases, ["scan4"], "train"),
        lambda: assign(frozen, cases, ["scan5"], "test"),
    ):
        with pytest.raises(DatasetError, match="frozen"):
            change()
    again = make_split(cases, "folds", folds=2, kept=frozen)
    assert again.test_content == frozen.test_content
    assert not again.held_back & set(again.sets)
    loose = unfreeze_test(frozen)
    assert loose.test == frozen.test
    assert assign(loose, cases, ["scan4"], "train").test == ("scan0", "scan1")


def test_what_cannot_be_frozen(cases: list[Case]) -> None:
    with pytest.raises(DatasetError, match="no test set"):
        freeze_test(StoredSplit("lists"), cases)
    with pytest.raises(DatasetError, match="gone of the test set is not in the data set"):
        freeze_test(replace(StoredSplit("lists"), test=("gone",)), cases)
    with pytest.raises(Cancelled):
        freeze_test(StoredSplit("lists", test=("scan1",)), cases, cancelled=lambda: True)


def test_test_cases_are_refused_by_id_subject_and_content(cases: list[Case], tmp_path: Path) -> None:
    frozen = freeze_test(StoredSplit("lists", test=("scan5",)), cases)
    refuse_test_cases(frozen, sides(make_split(cases, kept=frozen), cases, cases), cases)
    with pytest.raises(DatasetError, match="scan5 is in the test set of this data set, and would train"):
        refuse_test_cases(frozen, everybody(cases, set()), cases)
    relative = [*cases[:4], replace(cases[4], subject="s5"), cases[5]]
    with pytest.raises(DatasetError, match="scan4 would train, and shows the same subject as scan5"):
        refuse_test_cases(frozen, everybody(relative, {"scan5"}), relative)
    # The same scan under another name, in another format, type and order of axes.
    copy = write_volume(scan(5, ORDERS[17], np.float32), tmp_path / "other.nrrd")
    listed = [*cases[:5], Case("other", (copy,), None, "somebody")]
    with pytest.raises(
        DatasetError, match=r"other \(.*other.nrrd\) is the same scan as scan5 in the frozen test set of this data"
    ):
        refuse_test_cases(frozen, everybody(listed, set()), listed)
    known = {case.id: read_case_image(case).canonical().data for case in listed}
    marks = {case: mark_of(data.shape, float(data.min()), float(data.max())) for case, data in known.items()}
    with pytest.raises(DatasetError, match="same scan"):
        refuse_test_cases(frozen, everybody(listed, set()), listed, marks)
    for path in (copy, *(case.images[0] for case in cases)):
        path.unlink()  # a scan that is known to be another one is not even read
    others = dict.fromkeys(marks, mark_of((1, 4, 5, 6), 0, 100))
    refuse_test_cases(frozen, everybody(listed, set()), listed, others)
