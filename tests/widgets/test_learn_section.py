"""Learning from the Review dock: a round in a real viewer, with a real training of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_seg3d.review import Worklist
from napari_seg3d.training import Run
from napari_seg3d.training.rounds import Rounds, make_round, start_round
from napari_seg3d.widgets.review import ReviewDock
from tests.learning import approve, learning_set
from tests.pumping import pump, pump_until
from tests.waiting import wait_for


@pytest.fixture
def folder(ball_dataset: Path, finished_run: Run, tmp_path: Path) -> Path:
    """Two cases have trained, one validates, one is a frozen test set, one is approved; and the run beside them."""
    root, run = learning_set(tmp_path, ball_dataset, finished_run, iterations=20)
    worklist = Worklist.open(root, who="anna")
    approve(worklist, "ball_4")
    worklist.write()
    Rounds(worklist).set_current(0, run)
    return root


@pytest.fixture
def dock(make_napari_viewer) -> ReviewDock:
    dock = make_napari_viewer(show=True).window.add_plugin_dock_widget("napari-seg3d", "Review")[1]
    pump(0.2)
    return dock


def open_list(dock: ReviewDock, folder: Path) -> None:
    model = dock._model
    model.open(folder, who="anna")
    pump_until(lambda: model.worklist is not None and model.job is None, what="the worklist")


@pytest.mark.slow
def test_a_round_from_the_dock(dock, folder):
    learn, model = dock.learn, dock.learn._model
    open_list(dock, folder)
    assert not model.words, "nothing is looked for before somebody wants to know"
    learn.expand()
    pump_until(lambda: model.words, what="the plan")
    assert learn.learn_button.text() == "Learn from 1 approved case"
    assert "1 new and 2 old" in learn.words.text()
    assert learn.runs.currentText() == "first (current)"
    learn.learn_button.click()
    assert not learn.learn_button.isEnabled()
    pump_until(lambda: model.step == "training", what="the training")
    assert learn.progress.isVisible()
    run = model.watch.run
    pump_until(lambda: model.last is not None and learn.back_button.isEnabled() and not model._soon.isActive(), 90, "the end")
    assert model.error is None
    assert "Round 1: mean Dice" in learn.verdict.text()
    assert [learn.table.item(row, 0).text() for row in range(learn.table.rowCount())] == ["ball_3", "ball_3"]
    assert ("nothing new" in learn.words.text()) == model.last.is_kept
    assert dock._model.order == "uncertainty"
    entry = Worklist.open(folder).entry("ball_5")
    assert entry.state == "predicted"
    assert entry.uncertainty > 0

    is_kept = model.last.is_kept
    assert model.current == ((1, run) if is_kept else (0, Run(folder.parent / "first")))
    learn.back_button.click()
    pump_until(lambda: not model.step, what="the predictions of the other model")
    pump_until(lambda: model.current is not None and model.current[0] == (0 if is_kept else 1), what="the other model")
    assert Rounds(Worklist.open(folder)).current == model.current
    pump(0.5)


@pytest.mark.slow
def test_a_round_that_was_begun_elsewhere_is_judged_here(dock, folder):
    worklist = Worklist.open(folder)
    record = start_round(worklist, make_round(worklist, Rounds(worklist).current[1]))
    wait_for(record.run)
    open_list(dock, folder)
    dock.learn.expand()
    pump_until(lambda: dock.learn._model.last is not None and not dock.learn._model.step, 120, "the judging")
    assert dock.learn.table.rowCount() == 2
    pump(0.5)


def test_without_anything_to_learn_it_says_why(dock, folder):
    worklist = Worklist.open(folder)
    worklist.set_state("ball_4", "in work")
    worklist.write()
    open_list(dock, folder)
    dock.learn.expand()
    pump_until(lambda: dock.learn._model.words, what="the plan")
    assert "nothing new" in dock.learn.words.text()
    assert not dock.learn.learn_button.isEnabled()
    dock._model.worklist.set_state("ball_4", "approved")
    dock._model.changed.emit()
    pump_until(lambda: dock.learn.learn_button.isEnabled(), what="the new plan")
    assert not dock.learn.table.isVisible()
