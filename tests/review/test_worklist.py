"""The worklist: states, orders, masks in use, two readers, predictions, tables and pictures, on real files."""

from __future__ import annotations

import csv
import io
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_seg3d.datasets import Case, Dataset, open_dataset, read_case_image, read_case_mask, read_mask
from napari_seg3d.errors import ConfigError, DatasetError
from napari_seg3d.review import (
    ORDERS,
    Measures,
    Worklist,
    agreement,
    make_thumbnail,
    measure,
    oddness,
    ordered,
    predictions_in,
    prune_thumbnails,
    take_table,
    thumbnail_file,
    uncertainty_beside,
    uncertainty_of,
    value_of,
    write_summary,
)
from napari_seg3d.review.entry import Entry
from napari_seg3d.volumes import Volume, write_volume


@pytest.fixture
def folder(ball_dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ball_dataset, tmp_path / "balls")


@pytest.fixture
def predictions(folder: Path, tmp_path: Path) -> Path:
    """Predictions of four of the balls, one with a map of how unsure the model is."""
    target = tmp_path / "predictions"
    for number in range(4):
        mask = read_mask(folder / "labels" / f"ball_{number}.nii.gz")
        write_volume(mask.with_data(np.roll(mask.data, number, axis=1)), target / f"ball_{number}.nii.gz")
        entropy = np.full(mask.data.shape, 0.1 * number, np.float32)
        write_volume(Volume(entropy, mask.affine), target / f"ball_{number}_uncertainty.nii.gz")
    return target


def states(worklist: Worklist) -> dict[str, str]:
    return {entry.case.id: entry.state for entry in worklist.entries}


def test_what_is_said_is_found_again_by_whoever_comes(folder):
    before = {file: file.read_bytes() for file in folder.rglob("*.nii.gz")}
    mine = Worklist.open(folder, who="anna")
    assert set(states(mine).values()) == {"to do"}
    mine.set_state("ball_1", "Approved")
    mine.set_comment("ball_1", "fine")
    mine.add_seconds("ball_1", 12.04)
    mine.add_seconds("ball_1", 30)
    mine.write()
    other = Worklist.open(folder, who="ben")
    entry = other.entry("ball_1")
    assert (entry.state, entry.comment, entry.reviewer, entry.seconds) == ("approved", "fine", "anna", 42.0)
    assert [event.field for event in entry.history] == ["state", "comment", "seconds", "seconds"]
    other.set_state("ball_1", "flagged")
    other.write()
    assert mine.entry("ball_1").state == "approved"
    assert mine.refresh()
    assert mine.entry("ball_1").reviewer == "ben"
    assert {file: file.read_bytes() for file in folder.rglob("*.nii.gz")} == before, "nobody writes to the scans"
    assert [case.id for case in open_dataset(folder).cases] == [case.id for case in mine.dataset.cases]
    with pytest.raises(ConfigError, match="no state"):
        mine.set_state("ball_1", "done")
    with pytest.raises(DatasetError, match="no case"):
        mine.set_state("ball_9", "approved")


def test_masks_of_a_review_are_no_part_of_the_data_set(folder):
    worklist = Worklist.open(folder)
    target = worklist.store.folder / "masks" / "ball_0.nii.gz"
    shutil.copy(folder / "labels" / "ball_0.nii.gz", (target.parent.mkdir(parents=True), target)[1])
    worklist.use_correction("ball_0", target)
    worklist.set_state("ball_0", "approved")
    worklist.write()
    assert open_dataset(folder) == worklist.dataset
    moved = shutil.move(folder, folder.parent / "elsewhere")
    again = Worklist.open(Path(moved))
    entry = again.entry("ball_0")
    assert entry.mask.origin == "correction"
    assert entry.mask.file.exists(), "the review moves with its data set"
    (case,) = again.approved()
    assert case.mask == entry.mask.file
    assert case.images[0].parent.parent == Path(moved)


def test_predictions_are_started_from_and_corrections_go_before_them(folder, predictions):
    worklist = Worklist.open(folder, predictions=predictions)
    worklist.write()
    assert states(worklist) == {f"ball_{n}": "predicted" if n < 4 else "to do" for n in range(6)}
    assert worklist.entry("ball_2").mask.file == predictions / "ball_2.nii.gz"
    assert worklist.entry("ball_2").has_reference
    assert not worklist.entry("ball_5").has_reference
    again = Worklist.open(folder)
    assert states(again) == states(worklist), "the folder is kept in mind"
    again.use_correction("ball_2", folder / "labels" / "ball_2.nii.gz")
    assert again.entry("ball_2").mask.origin == "correction"
    again.use_prediction("ball_2", predictions / "ball_2.nii.gz")
    assert again.entry("ball_2").mask.origin == "prediction"
    shutil.rmtree(predictions)
    assert Worklist.open(folder).entry("ball_2").mask.origin == "data set"
    with pytest.raises(DatasetError, match="no folder"):
        again.use_predictions(predictions)


def test_a_plain_folder_of_scans_has_a_worklist(folder, predictions, tmp_path):
    scans = shutil.copytree(folder / "images", tmp_path / "scans")
    worklist = Worklist.open(scans, predictions=predictions)
    assert [entry.state for entry in worklist.entries] == ["predicted"] * 4 + ["to do"] * 2
    assert worklist.entry("ball_5").mask is None
    assert not worklist.entry("ball_0").has_reference


def test_the_table_of_a_batch_says_whose_a_mask_is(folder, predictions):
    (predictions / "ball_0.nii.gz").rename(predictions / "zzz.nii.gz")
    (predictions / "predictions.csv").write_text("case,file,seconds\nball_0,zzz.nii.gz,1\nball_1,../x.nii.gz,1\nball_2,,\n")
    assert predictions_in(predictions, open_dataset(folder).cases) == {"ball_0": predictions / "zzz.nii.gz"}
    assert uncertainty_beside(predictions / "ball_1.nii.gz") == predictions / "ball_1_uncertainty.nii.gz"


def measured(worklist: Worklist) -> None:
    for entry in worklist.entries:
        if entry.mask is not None and entry.mask.file is not None:
            mask, unsure = read_mask(entry.mask.file), uncertainty_beside(entry.mask.file)
            known = None if unsure is None else Volume(np.full(mask.data.shape, 0.1 * int(entry.case.id[-1])), mask.affine)
            worklist.set_measures(entry.case.id, entry.mask, measure(mask, read_case_mask(entry.case), known))


def test_orders_and_the_next_case(folder, predictions):
    worklist = Worklist.open(folder, predictions=predictions)
    measured(worklist)
    ids = {order: [entry.case.id for entry in ordered(worklist.entries, order)] for order in ORDERS}
    assert ids["uncertainty"] == ["ball_3", "ball_2", "ball_1", "ball_0", "ball_4", "ball_5"], "what nobody knows comes last"
    assert ids["dice"] == ["ball_3", "ball_2", "ball_1", "ball_0", "ball_4", "ball_5"]
    assert [entry.case.id for entry in ordered(worklist.entries, "dice", True)][:4] == ["ball_0", "ball_1", "ball_2", "ball_3"]
    assert worklist.entry("ball_0").dice == 1
    worklist.set_state("ball_2", "approved")
    assert worklist.next_case("uncertainty").case.id == "ball_3"
    assert worklist.next_case("uncertainty", "ball_3").case.id == "ball_1", "an approved one is passed over"
    assert worklist.next_case("uncertainty", "ball_3", skip=()).case.id == "ball_2"
    assert worklist.next_case("uncertainty", "ball_1", step=-1).case.id == "ball_3"
    assert worklist.next_case("uncertainty", "ball_5") is None
    # Another mask in use: what was measured of the last one does not count for it.
    worklist.use_correction("ball_0", folder / "labels" / "ball_1.nii.gz")
    assert worklist.entry("ball_0").measures is None
    with pytest.raises(ConfigError, match="no order"):
        ordered(worklist.entries, "beauty")


@given(values=st.lists(st.none() | st.floats(0, 1), max_size=12), descending=st.booleans())
def test_what_is_not_known_comes_last_whichever_way_round(values, descending):
    entries = [
        Entry(Case(f"{number:02d}", (Path("x"),), None, "x"), measures=None if value is None else Measures(uncertainty=value))
        for number, value in enumerate(values)
    ]
    found = [value_of(entry, "uncertainty") for entry in ordered(entries, "uncertainty", descending)]
    known = [value for value in found if value is not None]
    assert found == known + [None] * (len(found) - len(known))
    assert known == sorted(known, reverse=descending)


def test_a_second_reader_sees_nothing_of_the_first_before_both_are_done(folder):
    chief = Worklist.open(folder, who="chief")
    chief.set_readers(["anna", "ben"])
    chief.set_comment("ball_0", "is the third one a cyst?")
    chief.write()
    anna, ben = (Worklist.open(folder, who=who) for who in ("anna", "ben"))
    target = folder / "seg3d-review" / "masks" / "anna.nii.gz"
    mask = read_mask(folder / "labels" / "ball_0.nii.gz")
    write_volume(mask.with_data(np.roll(mask.data, 1, axis=1)), target)
    anna.use_correction("ball_0", target)
    anna.set_measures("ball_0", anna.entry("ball_0").mask, Measures({3: 1.5}))
    anna.add_seconds("ball_0", 50)
    anna.set_comment("ball_0", "no")
    anna.set_state("ball_0", "approved")
    anna.write()
    write_summary(anna)
    ben.refresh()
    hidden = ben.entry("ball_0")
    assert (hidden.state, hidden.mask.origin, hidden.measures, hidden.seconds) == ("to do", "data set", None, 0)
    assert hidden.comment == "is the third one a cyst?"
    assert hidden.is_blinded
    assert "anna" not in hidden.readings
    assert all(event.who != "anna" for event in hidden.history)
    assert anna.entry("ball_0").state == "approved"
    assert anna.approved() == ()
    row = next(csv.DictReader(io.StringIO((folder / "seg3d-review" / "review.csv").read_text())))
    assert (row["state"], row["mask"], row["minutes"]) == ("to do", "data set", ""), "the table is for everybody"
    assert agreement(ben).cases == ()

    ben.set_state("ball_0", "flagged")
    ben.write()
    for worklist in (anna, ben, chief):
        worklist.refresh()
        entry = worklist.entry("ball_0")
        assert not entry.is_blinded
        assert entry.state == "flagged", "they disagree"
        assert {who: entry.readings[who].state for who in ("anna", "ben")} == {"anna": "approved", "ben": "flagged"}
    found = agreement(chief)
    assert found.cases[0].states == ("approved", "flagged")
    assert found.cases[0].dice == pytest.approx(measure(read_mask(target), mask).dice)
    assert found.same == 0
    assert math.isnan(found.kappa) or found.kappa <= 0
    chief.set_state("ball_0", "approved")
    assert chief.entry("ball_0").state == "approved", "who decides afterwards decides"
    with pytest.raises(ConfigError, match="Name two"):
        agreement(chief, ["anna"])


def test_a_table_goes_out_and_comes_back(folder, predictions, tmp_path):
    worklist = Worklist.open(folder, predictions=predictions, who="anna")
    measured(worklist)
    worklist.set_comment("ball_0", "=HYPERLINK()")
    worklist.set_state("ball_1", "flagged")
    worklist.write()
    file = write_summary(worklist, tmp_path / "mine.csv")
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [row["state"] for row in rows] == ["predicted", "flagged", "predicted", "predicted", "to do", "to do"]
    assert rows[0]["comment"] == "'=HYPERLINK()", "no formula"
    assert rows[0]["dice"] == "1.0000"
    assert float(rows[1]["label 7 (ml)"]) > 0
    assert take_table(worklist, file) == 0
    file.write_text(file.read_text().replace("ball_2,predicted,,", "ball_2,in work,,"))
    assert take_table(worklist, file) == 1
    assert worklist.entry("ball_2").state == "in work"
    file.write_text("case,state\nball_3,approved\nball_4,splendid\n")
    with pytest.raises(DatasetError, match="row 3"):
        take_table(worklist, file)
    assert worklist.entry("ball_3").state == "predicted", "all or nothing"
    for text in ("id\n1\n", "case,state\nnobody,approved\n"):
        file.write_text(text)
        with pytest.raises(DatasetError):
            take_table(worklist, file)


def test_uncertainty_is_that_near_what_was_found():
    entropy = np.zeros((30, 30, 30), np.float32)
    marked = np.zeros((30, 30, 30), bool)
    marked[10:14, 10:14, 10:14] = True
    entropy[9:15, 9:15, 9:15] = 0.5
    assert uncertainty_of(entropy, marked, (4, 4, 4)) == pytest.approx(0.5)
    entropy[20:, 20:, 20:] = 1
    assert uncertainty_of(entropy, marked, (4, 4, 4)) == pytest.approx(0.5), "far away nobody asks"
    assert 0 < uncertainty_of(entropy, marked, (1, 1, 1)) < 0.5
    assert uncertainty_of(entropy, np.zeros_like(marked), (1, 1, 1)) == pytest.approx(1.0)
    assert math.isnan(uncertainty_of(np.full((2, 2, 2), np.nan), np.ones((2, 2, 2), bool), (1, 1, 1)))


def test_odd_volumes():
    volumes = {str(number): {1: 10 + 0.1 * number, 2: 0.0} for number in range(8)}
    assert max(oddness(volumes).values()) < 3.5
    volumes["odd"] = {1: 30.0, 2: 0.0}
    scores = oddness(volumes)
    assert scores["odd"] > 3.5 > max(score for case, score in scores.items() if case != "odd")
    volumes["lone"] = {2: 1.0}
    assert oddness(volumes)["lone"] == math.inf
    assert all(math.isnan(score) for score in oddness(dict(list(volumes.items())[:4])).values())
    assert oddness({}) == {}


@given(values=st.lists(st.integers(0, 6), min_size=5, max_size=12))
def test_odd_volumes_are_those_of_the_definition(values):
    column = np.array(values, float)
    scores = oddness({str(number): {1: value} for number, value in enumerate(column)})
    for number, value in enumerate(column):
        others = np.delete(column, number)
        away, spread = abs(value - np.median(others)), np.median(np.abs(others - np.median(others))) / 0.6745
        spread = spread or 1.2533 * np.mean(np.abs(others - np.median(others)))
        expected = 0.0 if away == 0 else away / spread if spread else math.inf
        assert scores[str(number)] == pytest.approx(expected)


def test_measures_go_to_the_journal_and_back():
    measures = Measures({1: 2.5}, {1: math.nan, 2: 0.5}, math.nan)
    again = Measures.from_json(measures.to_json())
    assert again.volumes == {1: 2.5}
    assert again.mean_dice == measures.mean_dice == 0.5
    assert math.isnan(again.uncertainty)
    for broken in (None, 3, {"volumes": {"a": 1}}, {"volumes": {"1": "much"}}, {"uncertainty": True}):
        assert Measures.from_json(broken) is None


def test_overlapping_labels_are_measured():
    channels = np.zeros((2, 4, 4, 4), np.uint8)
    channels[0, :2], channels[1, 1:3] = 1, 2
    mask = Volume(channels, np.diag([10, 10, 10, 1]), "labels")
    found = measure(mask, mask.with_data(channels * np.array([1, 0])[:, None, None, None].astype(np.uint8)))
    assert found.volumes == pytest.approx({1: 32.0, 2: 32.0})
    assert found.dice == {1: 1.0, 2: 0.0}


def test_pictures_are_kept_in_the_cache(folder, tmp_path):
    worklist = Worklist.open(folder)
    entry = worklist.entries[0]
    image = read_case_image(entry.case)
    file = make_thumbnail(entry, image, read_case_mask(entry.case, image))
    assert Image.open(file).size[0] <= 112
    assert file == thumbnail_file(entry)
    assert "ball" not in str(file.relative_to(file.parents[2])), "a file name may be that of a patient"
    other = replace(entry, mask=replace(entry.mask, file=folder / "labels" / "ball_1.nii.gz"))
    assert thumbnail_file(other) != file
    assert make_thumbnail(worklist.entries[1], image, None).exists()
    assert prune_thumbnails(1) == 1


def test_cases_that_left_the_data_set_are_kept(folder):
    worklist = Worklist.open(folder)
    worklist.set_state("ball_5", "approved")
    worklist.write()
    fewer: Dataset = replace(worklist.dataset, cases=worklist.dataset.cases[:3])
    again = Worklist(fewer)
    assert again.strangers() == ["ball_5"]
    assert len(again.entries) == 3
