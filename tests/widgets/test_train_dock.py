"""The Train dock with its buttons pressed: presets, plan, runs that are told event by event, and real ones."""

import json
import os
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from qtpy.QtCore import QPointF, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_seg3d.training import Run, TrainConfig, live_runs, start_run
from napari_seg3d.training.plan import plan_for
from napari_seg3d.training.presets import presets
from napari_seg3d.training.runs.process_file import ProcessFile
from napari_seg3d.viewer.label_colours import label_colour
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import Volume, write_volume
from napari_seg3d.widgets.train import TrainDock
from tests.pumping import pump, pump_until
from tests.waiting import steps, wait_until

LABELS = {"3": "ball", "7": "core"}


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    yield viewer
    session = session_of(viewer)
    session.preview.set_on(False)
    session.watch.stop_looking()


@pytest.fixture
def train(viewer) -> TrainDock:
    dock = viewer.window.add_plugin_dock_widget("napari-seg3d", "Train")[1]
    pump(0.1)
    return dock


@pytest.fixture
def ready(viewer, train, ball_dataset) -> TrainDock:
    """The dock with a data set that is checked."""
    session = session_of(viewer)
    session.data.open(ball_dataset)
    pump_until(lambda: session.data.job is None, what="the check")
    return train


@pytest.fixture
def told(tmp_path) -> Run:
    """The folder of a run that goes on as long as this process does, and tells what a test lets it tell."""
    run = Run(tmp_path / "told")
    TrainConfig.parse({"data": {"images": str(tmp_path)}}).save(run.folder / "run.yaml")
    ProcessFile.of(os.getpid()).write(run.folder)
    run.add_event("state", state="starting")
    return run


@pytest.fixture
def endless(quick_config) -> TrainConfig:
    return quick_config.with_values({"optimization.max_iterations": None, "optimization.minutes": 30.0})


def _plan(run: Run, labels: dict[str, str] = LABELS, **values) -> None:
    about = {
        "device": "CPU",
        "precision": "32",
        "patch_size": [16, 16, 16],
        "batch_size": 2,
        "network": "dynunet",
        "parameters": 1234567,
    }
    run.add_event("plan", **about, labels=labels, train_cases=4, validation_cases=2, **values)


def _step(run: Run, iteration: int, **values) -> None:
    usual = {
        "loss": 1 / (1 + iteration),
        "learning_rate": 0.01,
        "elapsed": 60.0,
        "seconds_left": 240.0,
        "iterations_per_second": 2.5,
    }
    run.add_event("step", iteration=iteration, epoch=iteration / 10, **(usual | values))


def _validation(run: Run, iteration: int, best: bool = True, **values) -> None:
    share = iteration / 100
    metrics = {
        "ball": {
            "dice": share,
            "precision": 0.9,
            "recall": share,
            "f1": share,
            "tp": 100 * share,
            "fn": 100 - 100 * share,
            "fp": 150.0,
        },
        "core": {"dice": None, "precision": None, "recall": None, "f1": None, "tp": None, "fn": None, "fp": None},
    }
    if iteration > 10:
        metrics["core"] = {**metrics["ball"], "dice": share / 2}
    known = [found["dice"] for found in metrics.values() if found["dice"] is not None]
    run.add_event(
        "validation",
        iteration=iteration,
        epoch=iteration / 10,
        elapsed=60.0,
        dice={name: found["dice"] for name, found in metrics.items()},
        mean_dice=sum(known) / len(known),
        cases={"ball_1": 0.5, "ball_2": None},
        best=best,
        metrics=metrics,
        **values,
    )


def _follow(train: TrainDock, run: Run) -> None:
    train._watch.follow(run)
    _arrived(train, run)


def _arrived(train: TrainDock, run: Run) -> None:
    pump_until(lambda: len(train._watch.events) == len(run.events()), what="what the run told")
    train.cockpit.curves.draw_now()


def _press(where, what: str) -> None:
    """Press a button of a message box as soon as there is one."""

    def press() -> None:
        box = next((box for box in where.findChildren(QMessageBox) if box.isVisible()), None)
        if box is None:
            QTimer.singleShot(50, press)
        else:
            next(button for button in box.buttons() if what in button.text()).click()

    QTimer.singleShot(50, press)


# -- before a run ---------------------------------------------------------------------------------------------------------------


def test_a_data_set_and_start_is_all_it_takes(train, ready):
    assert train.start_button.isEnabled()
    assert train.presets.name == "auto"
    assert train.form.value() == TrainConfig.parse({"data": {"images": str(train._data.folder)}})


def test_presets_fill_the_form_and_auto_empties_it(train):
    base = train.form.value()
    choice = train.presets.choice
    seen = []
    while choice.currentIndex() < choice.count() - 1:
        QTest.keyClick(choice, Qt.Key.Key_Down)
        name = train.presets.name
        seen.append(name)
        assert train.form.value() == base.with_preset(name)
        assert presets()[name].title == choice.currentText()
        assert presets()[name].description[:40] in choice.toolTip()
    assert seen == list(presets())
    QTest.keyClick(choice, Qt.Key.Key_Home)
    assert train.form.value() == base


def test_a_preset_says_what_was_changed_and_leaves_what_is_the_users_own(train):
    train.form.editor("optimization.minutes").setValue(77)
    QTest.keyClick(train.presets.choice, Qt.Key.Key_End)
    assert train.form.value().optimization.minutes == 77
    for name in ("data.folds", "optimization.seed", "device.workers"):
        train.form.editor(name).setValue(6)
        assert not train.presets.note.isVisibleTo(train), name
    train.form.editor("sampling.foreground").setValue(0.25)
    assert train.presets.note.isVisibleTo(train)
    assert "1 setting was changed" in train.presets.note.text()
    train.presets.choice.activated.emit(train.presets.choice.currentIndex())
    assert not train.presets.note.isVisibleTo(train)
    assert train.form.value().sampling.foreground != 0.25
    assert train.form.value().optimization.seed == 6


def test_the_plan_says_what_auto_chooses_and_can_be_taken_over(train, ready):
    button = train.plan.button
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert not button.isEnabled()
    pump_until(lambda: train._plan.job is None, what="the plan")
    assert train._plan.error is None
    expected = plan_for(train.form.value(), train._data.report).reasons
    table = train.plan.view.table
    assert table.rowCount() == len(expected) > 3
    assert [table.item(row, 1).text() for row in range(table.rowCount())] == [reason.why for reason in expected]
    assert train.plan.reasons_fold.isExpanded()

    row = next(row for row, reason in enumerate(expected) if reason.setting == "sampling.patch_size")
    assert "Patch size" in table.item(row, 0).text()
    table.cellDoubleClicked.emit(row, 0)
    assert train.form.value().sampling.patch_size == tuple(expected[row].value)
    assert train.form.is_changed("sampling.patch_size")
    other = next(row for row, reason in enumerate(expected) if reason.setting == "optimization.batch_size")
    table.selectRow(other)
    QTest.mouseClick(train.plan.view.take_button, Qt.MouseButton.LeftButton)
    assert train.form.value().optimization.batch_size == expected[other].value
    assert train.form.value().sampling.patch_size != "auto"


def test_every_reason_can_be_taken_over(train, ready):
    QTest.mouseClick(train.plan.button, Qt.MouseButton.LeftButton)
    pump_until(lambda: train._plan.job is None, what="the plan")
    pump(0.1)  # until the fold is open
    train.plan.view.table.selectAll()
    QTest.mouseClick(train.plan.view.take_button, Qt.MouseButton.LeftButton)
    values = train.form.value().to_dict()
    for reason in train._plan.reasons:
        section, name = reason.setting.split(".")
        assert values[section][name] == (list(reason.value) if isinstance(reason.value, tuple) else reason.value), reason


def test_the_layers_of_the_network_are_listed_with_what_they_need(train, ready):
    train._plan.make(train.form.value())
    pump_until(lambda: train._plan.job is None, what="the plan")
    layers = train._plan.layers
    table = train.plan.layers.table
    assert table.rowCount() == len(layers.summary.rows) + 1
    assert table.item(table.rowCount() - 1, 2).text() == f"{layers.summary.parameters:,}"
    assert [table.horizontalHeaderItem(place).text() for place in range(5)] == [
        "Layer",
        "Output",
        "Parameters",
        "Forward",
        "Backward",
    ]
    assert train.plan.layers.verdict.text().startswith("Needs about ")
    assert "fits" in train.plan.layers.verdict.text()
    assert train.plan.layers.verdict.text() == train.plan.layers_fold.text()


def test_what_cannot_be_planned_is_said(train, ready):
    train.form.setValue(
        train.form.value().with_values({"network.features": [2048] * 8, "sampling.patch_size": [1024, 1024, 1024]})
    )
    QTest.mouseClick(train.plan.button, Qt.MouseButton.LeftButton)
    pump_until(lambda: train._plan.job is None, what="the refusal")
    assert train._plan.error is not None
    assert train.plan.notice.isVisibleTo(train)
    assert train.plan.button.isEnabled()


def test_what_was_set_is_there_when_the_dock_is_opened_again(viewer, train, ready):
    train.form.editor("optimization.minutes").setValue(77)
    train.form.editor("sampling.foreground").setValue(0.25)
    left = train.form.value()
    viewer.window.remove_dock_widget(train)
    again = viewer.window.add_plugin_dock_widget("napari-seg3d", "Train")[1]
    assert again is not train
    assert again.form.value() == left
    assert again.presets.name is None, "these are no longer the settings of a preset"


def test_why_nothing_can_be_trained_on_is_said(train, tmp_path):
    affine = np.eye(4)
    write_volume(Volume(np.zeros((1, 8, 8, 8), np.int16), affine, "image"), tmp_path / "images" / "a.nii.gz")
    write_volume(Volume(np.ones((1, 5, 4, 3), np.uint8), affine, "labels"), tmp_path / "labels" / "a.nii.gz")
    assert "Open a data set" in train.start_button.toolTip()
    train._data.open(tmp_path)
    assert "is checked" in train.start_button.toolTip()
    pump_until(lambda: train._data.job is None, what="the check")
    assert not train.start_button.isEnabled()
    assert "No case can be trained on" in train.start_button.toolTip()


def test_layers_that_are_shown_already_are_not_filled_in_again(train, ready):
    train._plan.make(train.form.value())
    pump_until(lambda: train._plan.job is None, what="the plan")
    table = train.plan.layers.table
    first = table.item(0, 0)
    train._plan.changed.emit()
    assert table.item(0, 0) is first
    assert table.columnWidth(0) >= table.sizeHintForColumn(0), "the names can be read"


# -- a run that is told event by event --------------------------------------------------------------------------------------------


def test_curves_numbers_and_best_are_what_the_run_told(train, told):
    _plan(told)
    for iteration in (1, 10, 20):
        _step(told, iteration, wait_share=0.04, memory=1_250_000_000, device_memory=3_400_000_000, samples_per_second=5.0)
    _validation(told, 10)
    _validation(told, 20)
    _follow(train, told)
    cockpit = train.cockpit
    epochs, losses = cockpit.curves._loss_line.getData()
    assert np.allclose(epochs, [0.1, 1, 2])
    assert np.allclose(losses, [1 / 2, 1 / 11, 1 / 21])
    assert np.allclose(cockpit.curves._rate_line.getData()[1], 0.01)
    assert cockpit.curves.labels == ["", "ball", "core"]
    assert np.allclose(cockpit.curves.points("ball"), ([1, 2], [0.1, 0.2]))
    assert np.allclose(cockpit.curves.points("core"), ([2], [0.1]))
    assert np.allclose(cockpit.curves.points(""), ([1, 2], [0.1, 0.15]))
    assert cockpit.curves.colour("core") == label_colour(7)
    texts = {name: label.text() for name, label in cockpit.numbers.items()}
    assert texts == {
        "epoch": "2.0",
        "step": "20",
        "speed": "2.5",
        "wait": "4 %",
        "memory": "1.2 GB",
        "device": "3.4 GB",
    }
    assert "5 samples a second" in cockpit.numbers["speed"].toolTip()
    assert cockpit.progress._text.text() == "4 min left"
    assert "0.150" in cockpit.best_label.text()
    assert "epoch 2" in cockpit.best_label.text()
    assert "dynunet, 1,234,567 parameters" in cockpit.log.toPlainText()
    assert "best so far" in cockpit.log.toPlainText()


@pytest.mark.parametrize(
    ("quantity", "last"), [("Precision", 0.9), ("Recall", 0.2), ("Missed (FN, %)", 80.0), ("Too much (FP, %)", 150.0)]
)
def test_other_quantities_can_be_chosen(train, told, quantity, last):
    _plan(told)
    _step(told, 20)
    _validation(told, 10)
    _validation(told, 20)
    _follow(train, told)
    chooser = train.cockpit.quantity
    while chooser.currentText() != quantity:
        before = chooser.currentIndex()
        QTest.keyClick(chooser, Qt.Key.Key_Down)
        assert chooser.currentIndex() > before
    assert train.cockpit.curves.points("ball")[1][-1] == pytest.approx(last)
    assert float(train.cockpit.curves.key.value("ball")) == pytest.approx(last)


def test_under_the_mouse_the_values_of_that_epoch_are_read_out(train, told):
    _plan(told)
    for iteration in (1, 10, 20):
        _step(told, iteration)
    _validation(told, 10)
    _validation(told, 20)
    _follow(train, told)
    train.ensureWidgetVisible(train.cockpit.curves)
    curves = train.cockpit.curves
    assert curves.readout.text() == "Epoch 2.0, loss 0.048, rate 0.01"
    assert curves.key.value("ball") == "0.200"
    box = curves._plots["metric"].getViewBox()

    def pointed() -> bool:
        # Anew each time: the plots find their place when the window has drawn them.
        place = box.mapViewToScene(QPointF(1.05, 0.5))
        QTest.mouseMove(curves._canvas.viewport(), curves._canvas.mapFromScene(place))
        curves._canvas.scene().sigMouseMoved.emit(place)
        return bool(curves.key.value("ball") == "0.100")

    pump_until(pointed, what="the value under the mouse")
    assert curves.readout.text().startswith("Epoch 1.1, loss 0.091")
    assert all(cursor.isVisible() for cursor in curves._cursors)
    from qtpy.QtCore import QEvent

    QApplication.sendEvent(curves._canvas.viewport(), QEvent(QEvent.Type.Leave))
    assert curves.key.value("ball") == "0.200"


def test_many_labels_have_a_key_that_hides_and_stresses(train, told):
    names = {str(value): f"organ {value}" for value in range(1, 105)}
    _plan(told, names)
    _step(told, 10)
    told.add_event(
        "validation",
        iteration=10,
        epoch=1.0,
        elapsed=1.0,
        dice={name: int(value) / 104 for value, name in names.items()},
        mean_dice=0.5,
        cases={"a": 0.5},
        best=True,
    )
    _follow(train, told)
    key, curves = train.cockpit.curves.key, train.cockpit.curves
    assert len(curves.labels) == 105
    assert key.height() < 200, "the others are scrolled to"
    assert "and 96 more" in train.cockpit.best_label.text()
    key.set_hidden("organ 17", True)
    assert not curves._lines["organ 17"].isVisible()
    assert curves._lines["organ 18"].isVisible()
    item = key._items["organ 18"]
    key._tree.scrollToItem(item)
    QTest.mouseClick(key._tree.viewport(), Qt.MouseButton.LeftButton, pos=key._tree.visualItemRect(item).center())
    assert key.stressed == "organ 18"
    assert curves._lines["organ 18"].opts["pen"].width() > curves._lines["organ 19"].opts["pen"].width()
    assert key.value("organ 18") == f"{18 / 104:.3f}"


def test_the_stages_of_a_cascade_are_told_apart(train, told):
    _plan(told, {"1": "object"}, stage="find")
    _step(told, 10, stage="find", loss=0.9)
    told.add_event(
        "validation",
        iteration=10,
        epoch=1.0,
        elapsed=1.0,
        dice={"object": 0.8},
        mean_dice=0.8,
        cases={"a": 0.8},
        best=True,
        stage="find",
    )
    _follow(train, told)
    assert not train.cockpit.stage.isVisibleTo(train.cockpit)
    assert "Find the object" in train.cockpit.state_label.text()
    _plan(told, LABELS, stage="segment")
    _step(told, 5, stage="segment", loss=0.3)
    _validation(told, 20, stage="segment")
    told.add_event("state", state="training")
    _arrived(train, told)
    assert train.cockpit.stage.isVisibleTo(train.cockpit)
    assert "Segment" in train.cockpit.state_label.text()
    assert train.cockpit.curves.labels == ["", "ball", "core"]
    assert list(train.cockpit.curves._loss_line.getData()[1]) == [0.3]
    QTest.keyClick(train.cockpit.stage, Qt.Key.Key_Up)
    assert train.cockpit.curves.labels == ["object"], "the mean of one label is that label"
    assert list(train.cockpit.curves._loss_line.getData()[1]) == [0.9]
    assert "0.800" in train.cockpit.best_label.text()


def test_warnings_states_and_progress_are_said(train, told):
    told.add_event("state", state="queued", message="Waits for balls-1.")
    _follow(train, told)
    assert "Queued" in train.cockpit.state_label.text()
    assert "Waits for balls-1." in train.cockpit.state_label.text()
    assert not train.pause_button.isVisibleTo(train)
    told.add_event("state", state="preparing")
    told.add_event("progress", what="Preparing", done=3, total=12)
    for _ in range(2):
        told.add_event("warning", message="The label core never occurs.", fix="Leave it out.")
    _arrived(train, told)
    assert "Preparing" in train.cockpit.state_label.text()
    assert "Preparing: 3 of 12" in train.cockpit.progress._text.text()
    assert train.cockpit.warnings.text().count("never occurs") == 1
    assert train.cockpit.warnings.isVisibleTo(train)
    told.add_event("state", state="paused", message="The disk is full.", fix="Free 100 MB.")
    _arrived(train, told)
    pump_until(lambda: train.pause_button.text() == "Go on")
    assert "Paused" in train.cockpit.state_label.text()
    assert "Free 100 MB." in train.cockpit.state_label.text()
    assert not train.cockpit.progress.isVisibleTo(train)


def test_the_plan_of_a_run_is_shown(train, told):
    reason = {"setting": "sampling.patch_size", "value": [32, 40, 24], "why": "The scans are that large."}
    _plan(told, reasons=[reason, {"setting": "optimization.loss", "value": "dice_ce", "why": "It is the safe choice."}])
    _follow(train, told)
    table = train.plan.view.table
    assert [table.item(0, place).text() for place in (0, 1)] == ["Patch size\n32 x 40 x 24", "The scans are that large."]
    assert table.rowCount() == 2
    assert told.name in train.plan.reasons_fold.text()
    table.cellDoubleClicked.emit(0, 1)
    assert train.form.value().sampling.patch_size == (32, 40, 24)


def test_what_a_resumed_run_takes_back_is_gone_from_the_curves(train, told):
    _plan(told)
    for iteration in range(1, 11):
        _step(told, iteration)
    _follow(train, told)
    assert len(train.cockpit.curves._loss_line.getData()[0]) == 10
    lines = (told.folder / "events.jsonl").read_text().splitlines(keepends=True)
    resumed = json.dumps({"time": time.time(), "kind": "resumed", "iteration": 4}) + "\n"
    fresh = told.folder / "events.new"
    fresh.write_text("".join([*lines[:6], resumed]))
    fresh.replace(told.folder / "events.jsonl")
    pump_until(lambda: any(event["kind"] == "resumed" for event in train._watch.events), what="the news")
    _arrived(train, told)
    assert np.allclose(train.cockpit.curves._loss_line.getData()[0], [0.1, 0.2, 0.3, 0.4])


def test_a_long_run_stays_cheap_to_draw(train, told):
    with open(told.folder / "events.jsonl", "a") as handle:
        for iteration in range(30_000):
            event = {
                "time": 0,
                "kind": "step",
                "iteration": iteration,
                "epoch": iteration / 10,
                "loss": 0.5,
                "learning_rate": 0.01,
            }
            handle.write(json.dumps(event | {"elapsed": 1.0, "seconds_left": 1.0, "iterations_per_second": 1.0}) + "\n")
    drawn = []
    train.cockpit.curves.drawn.connect(lambda: drawn.append(time.monotonic()))
    train._watch.follow(told)
    pump_until(lambda: train.cockpit.telemetry.step is not None and train.cockpit.telemetry.step["iteration"] == 29_999)
    drawn.clear()
    newest = train._watch.events[-1]
    for number in range(40):
        train._watch.eventsArrived.emit([newest | {"epoch": 3000 + number / 10}])
        pump(0.01)
    pump_until(lambda: drawn, what="a drawing")
    assert all(later - sooner > 0.2 for sooner, later in pairwise(drawn)), "not at every step"
    epochs, _ = train.cockpit.curves._loss_line.getData()
    assert 500 < len(epochs) <= 2001
    assert epochs[-1] == pytest.approx(3000, rel=0.01)


def test_everything_fits_a_narrow_dock(viewer, train, told):
    _plan(told, {str(value): f"a label with quite a long name {value}" for value in range(1, 30)})
    _step(told, 123456, wait_share=0.04, memory=12_500_000_000, device_memory=34_000_000_000, samples_per_second=500.0)
    told.add_event(
        "warning", message="A warning about /a/folder/with/a/long/path/that/has/no/place/to/break/at/all.", fix="Mend it."
    )
    _follow(train, told)
    train.form.more.expand(animate=False)
    for section in train.form.sections.values():
        section.expand(animate=False)
    viewer.window.resize(1366, 768)
    pump(0.3)
    assert train.width() <= 400
    assert train.widget().minimumSizeHint().width() <= train.viewport().width()


def test_every_control_says_what_it_is_for(train, told):
    from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit, QTableWidget, QTreeWidget

    kinds = (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit, QTableWidget, QTreeWidget)
    for kind in kinds:
        for control in train.widget().findChildren(kind):
            if control.objectName().startswith("qt_") or isinstance(control.parent(), (QAbstractSpinBox, QTableWidget)):
                continue  # parts of controls, made by Qt
            explained = [control, control.parent(), control.parent().parent()]
            assert any(part.toolTip() for part in explained if hasattr(part, "toolTip")), (kind, control.parent())


def test_what_waits_for_its_process_to_leave_is_resumed_once(train, told):
    told.saved_state.parent.mkdir()
    told.saved_state.write_bytes(b"some state")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as leaving:
        ProcessFile.of(leaving.pid).write(told.folder)
        told.add_event("state", state="stopped")
        _follow(train, told)
        pump_until(lambda: train.pause_button.text() == "Resume", what="the end")
        QTest.mouseClick(train.pause_button, Qt.MouseButton.LeftButton)
        pump(0.2)
        assert not train.pause_button.isEnabled()
        assert not train.start_button.isEnabled(), "a second run would train beside it"
        told.saved_state.unlink()
        leaving.kill()
    pump_until(lambda: "no saved state" in train.notice.text(), what="the refusal")
    assert not train._watch.is_resuming


# -- real runs -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_run_left_behind():
    yield
    for run in live_runs():
        run.kill()


@pytest.mark.slow
def test_a_real_run_is_paused_goes_on_is_stopped_and_resumed(train, ready, endless, no_run_left_behind):
    train.form.setValue(endless)
    QTest.mouseClick(train.start_button, Qt.MouseButton.LeftButton)
    run = train._watch.run
    pump_until(train.cockpit.numbers["speed"].text, what="a step")
    QTest.mouseClick(train.pause_button, Qt.MouseButton.LeftButton)
    assert train.pause_button.text() == "Pausing…"
    pump_until(lambda: train._watch.status.state == "paused", what="the pause")
    assert train.pause_button.text() == "Go on"
    before = steps(run)
    pump(1)
    assert steps(run) == before, "it computes nothing"
    QTest.mouseClick(train.pause_button, Qt.MouseButton.LeftButton)
    pump_until(lambda: steps(run) > before, what="further steps")
    QTest.mouseClick(train.start_button, Qt.MouseButton.LeftButton)
    pump_until(lambda: train._watch.status.ended, what="the stop")
    assert train._watch.status.state == "stopped"
    assert train.pause_button.text() == "Resume"
    assert train.pause_button.isVisibleTo(train)
    learnt = max(event["iteration"] for event in run.events() if event["kind"] == "step")
    QTest.mouseClick(train.pause_button, Qt.MouseButton.LeftButton)
    pump_until(
        lambda: any(e["kind"] == "step" and e["iteration"] > learnt for e in train._watch.events), what="steps of the resumed run"
    )
    assert train._watch.run == run
    run.kill()
    pump_until(lambda: train._watch.status.ended)


@pytest.mark.slow
def test_a_further_run_waits_for_the_one_that_goes_on(train, ready, endless, no_run_left_behind):
    train.form.setValue(endless)
    QTest.mouseClick(train.start_button, Qt.MouseButton.LeftButton)
    first = train._watch.run
    pump_until(lambda: steps(first) > 0, what="a step")
    assert train.queue_button.isVisibleTo(train)
    QTest.mouseClick(train.queue_button, Qt.MouseButton.LeftButton)
    assert train._watch.run == first, "the run that goes on is still looked at"
    assert "waits until" in train.notice.text()
    second = next(run for run in live_runs() if run != first)
    pump_until(lambda: second.status().state == "queued", what="the queue")
    train._watch.follow(second)
    pump_until(lambda: "Queued" in train.cockpit.state_label.text(), what="its state in words")
    first.kill()
    pump_until(lambda: second.status().state not in ("queued", "starting"), what="its turn")
    assert steps(second) == 0 or second.is_alive()


def test_a_double_click_on_start_does_not_stop_what_it_starts(train, ready, endless, no_run_left_behind):
    train.form.setValue(endless)
    train.start_button.click()
    train.start_button.click()
    assert len(live_runs()) == 1
    assert train._watch.run.command() is None
    pump(QApplication.doubleClickInterval() / 1000 + 0.1)
    train.start_button.click()
    assert train._watch.run.command() == "stop"


@pytest.mark.slow
def test_start_beside_another_run_offers_to_wait(train, ready, quick_config, endless, tmp_path, no_run_left_behind):
    other = start_run(endless, tmp_path / "other")
    wait_until(lambda: steps(other) > 0, other)
    assert not train._watch.is_running
    train.form.setValue(quick_config)
    _press(train, "Cancel")
    QTest.mouseClick(train.start_button, Qt.MouseButton.LeftButton)
    assert len(live_runs()) == 1
    _press(train, "when it has ended")
    QTest.mouseClick(train.start_button, Qt.MouseButton.LeftButton)
    run = train._watch.run
    assert run is not None
    pump_until(lambda: train._watch.status.state == "queued", what="the queue")
    assert "Queued" in train.cockpit.state_label.text()
