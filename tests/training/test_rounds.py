"""Rounds of learning from corrections, with real trainings of seconds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from napari_seg3d.datasets import load_dataset, save_dataset
from napari_seg3d.errors import ConfigError, DatasetError, LabelError
from napari_seg3d.review import Worklist
from napari_seg3d.training import Run, find_runs
from napari_seg3d.training.rounds import (
    RoundRecord,
    Rounds,
    finish_round,
    gather,
    make_round,
    planned_share,
    predict_waiting,
    start_round,
    use_round,
)
from tests.learning import approve, learning_set
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def learnt(ball_dataset: Path, finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    return learning_set(tmp_path_factory.mktemp("learning"), ball_dataset, finished_run, iterations=30)


@pytest.fixture
def worklist(learnt: tuple[Path, Run], tmp_path: Path) -> Worklist:
    return Worklist(load_dataset(learnt[0]), "anna", tmp_path / "seg3d-review")


@pytest.fixture
def first(learnt: tuple[Path, Run]) -> Run:
    return learnt[1]


@pytest.mark.slow
def test_a_round_end_to_end(worklist, first):
    assert planned_share(1, 100) < 0.1
    approve(worklist, "ball_4")
    planned = make_round(worklist, first)
    assert planned.gathered.new == ("ball_4",)
    assert planned.gathered.old == ("ball_0", "ball_1")
    assert planned.gathered.judged_on == "frozen test set"
    assert "1 new and 2 old" in planned.in_words()
    assert planned.config.optimization.learning_rate == first.config().optimization.learning_rate
    record = start_round(worklist, planned)
    assert wait_for(record.run).state == "finished", record.run.log.read_text()
    assert sorted(case.id for case in record.run.cases("train")) == ["ball_0", "ball_1", "ball_4"]
    assert [case.id for case in record.run.cases("test")] == ["ball_3"]
    assert any("All weights" in event.get("message", "") for event in record.run.events())
    assert record.run in find_runs()

    done = finish_round(worklist, record)
    assert list(done.comparison.per_case()) == ["ball_3"]
    rounds = Rounds(worklist)
    (read,) = rounds.records
    assert (read.run, read.new, read.is_kept) == (done.run, ("ball_4",), done.comparison.is_better)
    assert read.comparison.per_case()["ball_3"] == pytest.approx(done.comparison.per_case()["ball_3"], abs=1e-5)
    assert rounds.current == ((1, done.run) if done.comparison.is_better else (0, first))

    predict_waiting(worklist, 1, done.run)
    assert worklist.entry("ball_5").state == "predicted"
    assert 0 < worklist.entry("ball_5").uncertainty < 1
    assert worklist.next_case("uncertainty").case.id == "ball_5"
    assert worklist.entry("ball_3").mask.origin == "data set", "no test case is predicted to be corrected"
    before = worklist.entry("ball_5").mask.file.stat().st_mtime_ns
    predict_waiting(worklist, 1, done.run)
    assert worklist.entry("ball_5").mask.file.stat().st_mtime_ns == before

    use_round(worklist, 0)
    assert rounds.current == (0, first)
    use_round(worklist, 1)
    assert rounds.current == (1, done.run)
    with pytest.raises(ConfigError, match="no round 7"):
        use_round(worklist, 7)
    with pytest.raises(DatasetError, match="nothing new"):
        gather(worklist, done.run)
    approve(worklist, "ball_0")
    again = make_round(worklist, done.run, origin=rounds.origin_of(done.run))
    assert again.gathered.changed == ("ball_0",)
    assert again.gathered.dataset.case("ball_0").mask.parent.parent.name == "corrections"
    assert again.config.optimization.max_iterations == planned.config.optimization.max_iterations, "it does not shrink on and on"


def test_a_case_of_the_frozen_test_set_never_teaches(worklist, first):
    worklist.set_state("ball_3", "approved")
    with pytest.raises(DatasetError, match="ball_3 is in the frozen test set"):
        make_round(worklist, first)
    approve(worklist, "ball_3")
    approve(worklist, "ball_4")
    found = gather(worklist, first)
    assert found.new == ("ball_4",)
    assert "frozen test set" in found.left_out["ball_3"]
    assert found.dataset.case("ball_3").mask.parent.name == "labels", "nor is it judged by a correction of what a model said"
    # Another scan of the same person, and the same scan under another name.
    dataset = worklist.dataset
    same = replace(dataset.case("ball_4"), subject=dataset.case("ball_3").subject)
    copied = replace(dataset.case("ball_3"), id="copy", subject="copy", mask=dataset.case("ball_0").mask)
    cases = tuple(same if case.id == "ball_4" else case for case in dataset.cases)
    other = Worklist(replace(dataset, cases=(*cases, copied), split=None), "ben", worklist.store.folder)
    other.set_state("copy", "approved")
    approve(other, "ball_4")
    with pytest.raises(DatasetError, match="None of the approved cases") as refused:
        make_round(other, first)
    assert "copy is in the frozen test set" in refused.value.what
    assert "ball_4 shows the same subject as ball_3" in refused.value.what


def test_what_cannot_be_learnt_is_refused_in_words(worklist, first):
    with pytest.raises(DatasetError, match="No case was approved"):
        make_round(worklist, first)
    worklist.set_state("ball_0", "approved")  # it teaches already, with this very mask
    with pytest.raises(DatasetError, match="nothing new"):
        make_round(worklist, first)
    approve(worklist, "ball_4", value=9)
    with pytest.raises(LabelError, match="ball_4 holds label 9, which the model does not know"):
        make_round(worklist, first)
    approve(worklist, "ball_4")
    with pytest.raises(ConfigError, match="share"):
        make_round(worklist, first, share=1.5)
    worklist.write()
    named = Worklist(replace(worklist.dataset, labels={3: "kidney", 7: "core"}), "anna", worklist.store.folder)
    assert make_round(named, first).gathered.new == ("ball_4",), "the model's labels have no names: numbers count"


def test_masks_of_cases_that_validate_are_replaced_and_go_on_to_validate(worklist, first):
    approve(worklist, "ball_2")
    approve(worklist, "ball_4")
    found = gather(worklist, first)
    assert found.new == ("ball_4",)
    assert "judges" in found.left_out["ball_2"]
    assert found.dataset.split.sets["ball_2"] == "validation"
    assert found.dataset.case("ball_2").mask.parent.name == "ball_2"


def test_without_a_test_set_those_that_validate_judge_and_it_is_said(learnt, tmp_path, first):
    run = Run(shutil.copytree(first.folder, tmp_path / "untested"))
    lines = (run.folder / "split.csv").read_text().splitlines()
    (run.folder / "split.csv").write_text("\n".join(line for line in lines if not line.startswith("ball_3")) + "\n")
    plain = shutil.copytree(learnt[0], tmp_path / "plain", ignore=shutil.ignore_patterns("dataset.yaml"))
    shutil.copytree(learnt[0].parent / "truth", tmp_path / "truth")
    run.config().with_values({"data.images": str(plain)}).save(run.folder / "run.yaml")
    worklist = Worklist.open(plain)
    approve(worklist, "ball_4")
    planned = make_round(worklist, run)
    assert planned.gathered.judged_on == "validation cases"
    assert [case.id for case in planned.gathered.judges] == ["ball_2"]
    assert "no test set" in planned.in_words()


def test_a_model_that_is_not_better_is_not_kept(worklist, first):
    approve(worklist, "ball_4")
    planned = make_round(worklist, first)
    # A training that ended without learning anything: the same weights.
    rounds = Rounds(worklist)
    number, folder = rounds.begin()
    save_dataset(planned.gathered.dataset, folder)
    rounds.set_current(0, first)
    same = Run(shutil.copytree(first.folder, folder.parent / "same"))
    planned.config.with_values({"data.images": str(folder / "dataset.yaml")}).save(same.folder / "run.yaml")
    record = RoundRecord(number, folder, same, first, judged_on="frozen test set", judges=("ball_3",))
    record.write()
    done = finish_round(worklist, record)
    assert done.comparison.mean_before == done.comparison.mean_after
    assert done.is_kept is False
    assert rounds.current == (0, first)
    assert use_round(worklist, number) == same, "what a person wants goes before"
    assert rounds.current == (number, same)
    with pytest.raises(ConfigError, match="ball_0 taught"):
        finish_round(worklist, replace(record, judges=("ball_0",)))
