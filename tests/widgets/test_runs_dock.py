"""The Runs dock on real run folders: listing, comparing, scrubbing, and what can be done with a run."""

import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QComboBox, QMessageBox, QSlider

from napari_seg3d.datasets import open_dataset, read_case_image, read_case_mask
from napari_seg3d.files import user_folder
from napari_seg3d.inference import load_model
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.training import Run, TrainConfig
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import Volume, read_volume, write_volume
from napari_seg3d.widgets.predict import PredictDock
from napari_seg3d.widgets.runs import RunsDock
from napari_seg3d.widgets.train import TrainDock
from tests.pumping import pump, pump_until

PLUGIN = "napari-seg3d"
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
CASES = ("ball_a", "ball_b", "ball_c")
KEPT = CASES[:2]
ITERATIONS = (10, 20, 30)


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer()  # a window that nobody sees need not be drawn
    yield viewer
    session_of(viewer).preview.set_on(False)


@pytest.fixture
def dock(viewer) -> RunsDock:
    dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Runs")[1]
    pump(0.2)
    return dock


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small scans with their masks."""
    root = tmp_path_factory.mktemp("balls")
    for number, case in enumerate(CASES):
        image = np.arange(6 * 7 * 8, dtype=np.int16).reshape(1, 6, 7, 8)
        mask = np.zeros((1, 6, 7, 8), np.uint8)
        mask[0, 1:5, 1:5, 1 : 5 + number] = 3
        mask[0, 2:4, 2:4, 2:4] = 7
        for folder, data, kind in (("images", image, "image"), ("labels", mask, "labels")):
            write_volume(Volume(data, AFFINE, kind), root / folder / f"{case}.nii.gz")
    return root


@pytest.fixture
def make_run(dataset: Path) -> Callable[..., Run]:
    """Make a run folder as training leaves it, in which nobody trains."""

    def make(name: str, best: float = 0.8, state: str = "finished", folder: Path | None = None, **settings: object) -> Run:
        run = Run((folder or user_folder("runs")) / name)
        config = TrainConfig.parse({"data": {"images": str(dataset)}})
        config.with_values({dotted.replace("__", "."): value for dotted, value in settings.items()}).save(run.folder / "run.yaml")
        run.add_event("state", state="preparing")
        run.add_event("plan", labels={"3": "ball", "7": "core"}, train_cases=4, validation_cases=3, network="vnet")
        for case in KEPT:
            truth = read_volume(dataset / "labels" / f"{case}.nii.gz", "labels")
            write_volume(truth, run.folder / "previews" / case / "reference.nii.gz")
        for iteration in ITERATIONS:
            validate(run, iteration, best * iteration / ITERATIONS[-1])
        run.add_event("state", state=state, message="So it ended.")
        return run

    return make


def validate(run: Run, iteration: int, dice: float) -> None:
    """Add what a run says between two validations, with real predictions: the later, the less is missed."""
    epoch = iteration / 10
    run.add_event("step", iteration=iteration, epoch=epoch, loss=1 / iteration, learning_rate=0.01)
    scores = {case: dice - 0.01 * number for number, case in enumerate(CASES)}
    label = {"dice": dice, "precision": 0.7, "recall": dice / 2, "f1": dice, "tp": 60, "fn": 40, "fp": 5}
    metrics = {"ball": label, "core": label | {"recall": dice / 4}}
    about = {"iteration": iteration, "epoch": epoch}
    run.add_event(
        "validation", **about, dice={}, mean_dice=dice, metrics=metrics, cases=scores, best=True, score=dice, metric="dice"
    )
    for case in KEPT:
        truth = read_volume(run.folder / "previews" / case / "reference.nii.gz", "labels")
        guess = np.where(np.arange(8) < iteration // 10 + 1, truth.data, 0).astype(np.uint8)
        guess[0, 0, 0, : len(run.name) % 8] = 3  # so that each run predicts otherwise
        prediction = f"previews/{case}/{iteration:07d}.nii.gz"
        write_volume(truth.with_data(guess), run.folder / prediction)
        image = (run.config().data.images / "images" / f"{case}.nii.gz").as_posix()
        mask = f"previews/{case}/reference.nii.gz"
        run.add_event("preview", case=case, image=image, mask=mask, prediction=prediction, dice=scores[case], **about)


def pretend_to_train(run: Run) -> None:
    """Let this very process be the one that trains."""
    record = {"pid": os.getpid(), "created": psutil.Process().create_time(), "host": platform.node()}
    (run.folder / "process.json").write_text(json.dumps(record))
    run.add_event("state", state="training")


def listed(dock: RunsDock, column: int = 0) -> list[str]:
    model = dock.table.view.model()
    return [model.index(row, column).data() for row in range(model.rowCount())]


def wait_for_runs(dock: RunsDock, count: int) -> None:
    dock._model.look()
    pump_until(lambda: dock.table.model.rowCount() == count, what="the list of runs")


def choose(dock: RunsDock, *runs: Run) -> None:
    dock._model.look()
    pump_until(lambda: {run.name for run in runs} <= set(listed(dock)), what="the list of runs")
    for count in range(1, len(runs) + 1):
        dock.table.choose(runs[:count])
        pump_until(lambda: [history.run for history in dock._model.compared] == list(runs[:count]), what="the curves")  # noqa: B023


def click(dock: RunsDock, epoch: float, value: float) -> None:
    """Press the mouse on the plot."""
    plots = dock.curves._plots
    place = plots.mapFromScene(dock.curves.plot.vb.mapViewToScene(QPointF(epoch, value)))
    QTest.mouseClick(plots.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)


def voxels(run: Run, case: str, iteration: int) -> np.ndarray:
    path = run.folder / "previews" / case / f"{iteration:07d}.nii.gz"
    return read_volume(path, "labels").canonical().data[0].transpose(2, 1, 0)


def shows(viewer, name: str) -> bool:
    return any(layer.name == name for layer in viewer.layers)


# -- listing -------------------------------------------------------------------------------------------------------------------------


def test_all_runs_are_listed_with_what_became_of_them(dock, make_run, tmp_path, dataset):
    make_run("good", 0.9)
    make_run("poor", 0.4, "failed")
    make_run("elsewhere", 0.7, "stopped", tmp_path)
    broken = make_run("broken", 0.5, "died")
    (broken.folder / "run.yaml").write_text("{")
    wait_for_runs(dock, 3)
    dock.look_in(tmp_path)
    pump_until(lambda: dock.table.model.rowCount() == 4, what="the run elsewhere")
    assert "4 runs" in dock.where.text()
    rows = dict(zip(listed(dock), zip(*(listed(dock, column) for column in range(1, 6)), strict=True), strict=True))
    assert rows["good"] == ("finished", "0.900", "3", dataset.name, "vnet")
    assert rows["poor"][:2] == ("failed", "0.400")
    assert rows["elsewhere"][:2] == ("stopped", "0.700")
    assert rows["broken"][3] == "–"
    tooltip = dock.table.view.model().index(listed(dock).index("broken"), 0).data(Qt.ItemDataRole.ToolTipRole)
    assert "run.yaml" in tooltip


def test_hundreds_of_runs_are_listed_the_newest_first(dock, make_run, dataset):
    config = TrainConfig.parse({"data": {"images": str(dataset)}})
    for number in range(60):
        run = Run(user_folder("runs") / f"run {number:02d}")
        config.save(run.folder / "run.yaml")
        run.add_event("state", state="finished")
        os.utime(run.folder / "run.yaml", (number, number))
    seen: list[list[str]] = []
    dock._model.changed.connect(lambda: seen.append(listed(dock)))
    wait_for_runs(dock, 60)
    expected = [f"run {number:02d}" for number in reversed(range(60))]
    assert seen[-1] == expected
    assert all(names == expected[: len(names)] for names in seen)
    assert len(seen[0]) < 60


def test_a_heading_sorts_by_numbers(dock, make_run):
    for name, best in (("a", 0.9), ("b", 0.12), ("c", 0.5)):
        make_run(name, best)
    wait_for_runs(dock, 3)
    dock.table.view.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    assert listed(dock) == ["a", "c", "b"]
    dock.table.choose([Run(user_folder("runs") / "b")])
    dock.table.view.sortByColumn(2, Qt.SortOrder.AscendingOrder)
    assert listed(dock) == ["b", "c", "a"]
    assert [run.name for run in dock.table.chosen_runs()] == ["b"]


def test_a_run_that_trains_is_kept_up_to_date(dock, viewer, make_run):
    viewer.window.show()
    run = make_run("live", 0.3)
    pretend_to_train(run)
    choose(dock, run)
    assert listed(dock, 1) == ["training"]
    before = dock.curves.plot.listDataItems()[0].getData()[0].tolist()
    validate(run, 40, 0.77)
    pump_until(lambda: listed(dock, 2) == ["0.770"], what="the news")
    pump_until(lambda: dock.curves.plot.listDataItems()[0].getData()[0].tolist() == [*before, 4.0], what="the longer curve")
    assert dock.slider.slider.maximum() == len(ITERATIONS)
    another = make_run("another")
    pump_until(lambda: dock.table.model.rowCount() == 2, what="the other run")
    assert dock.table.chosen_runs() == [run], "who was chosen stays so"
    assert another.name in listed(dock)


def test_nobody_looks_at_the_disk_behind_another_tab(dock, viewer, make_run):
    viewer.window.show()
    viewer.window.add_plugin_dock_widget(PLUGIN, "Predict")
    pump_until(lambda: dock.visibleRegion().isEmpty() and dock._model.job is None)
    make_run("unseen")
    pump(1.3)
    assert dock.table.model.rowCount() == 0
    dock.come_forward()
    pump_until(lambda: dock.table.model.rowCount() == 1, what="the run")


def test_damaged_lines_leave_the_rest(dock, make_run):
    run = make_run("scratched")
    path = run.folder / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"kind": "step"', b'"kind": "step', 1) + b'[1, 2]\n{"time"')
    choose(dock, run)
    tooltip = dock.table.view.model().index(0, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert "2 lines" in tooltip
    assert listed(dock, 2) == ["0.800"]


# -- comparing -----------------------------------------------------------------------------------------------------------------------


def test_chosen_runs_are_compared_in_one_plot(dock, make_run):
    runs = [make_run("first", 0.9), make_run("second", 0.6, optimization__loss="focal", optimization__batch_size=4)]
    choose(dock, *runs)
    assert dock.metrics.currentText() == "Dice · mean"
    items = dock.curves.plot.listDataItems()
    assert [item.getData()[1].tolist()[-1] for item in items] == [0.9, 0.6]
    assert items[0].opts["pen"].color() != items[1].opts["pen"].color()
    assert [label.text for _, label in dock.curves._legend.items] == ["first", "second"]
    offered = [dock.metrics.itemText(row) for row in range(dock.metrics.count())]
    assert offered[:3] == ["Loss", "Learning rate", "Score"]
    assert {"Precision · ball", "Recall · core", "Recall · mean", "Missed, % of voxels · mean"} <= set(offered)
    dock.metrics.setCurrentText("Recall · core")
    dock.metrics.activated.emit(dock.metrics.currentIndex())
    assert [item.getData()[1].tolist()[-1] for item in dock.curves.plot.listDataItems()] == [0.9 / 4, 0.6 / 4]

    table = dock.differences
    assert dock.differences.isVisibleTo(dock)
    rows = [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount())]
    assert rows == [["Batch size", "auto", "4"], ["Loss", "auto", "focal"]]
    dock.table.choose(runs[:1])
    pump_until(lambda: len(dock.curves.plot.listDataItems()) == 1)
    assert not dock.differences.isVisibleTo(dock)
    assert dock.metrics.currentText() == "Recall · core"


def test_stages_of_a_cascade_are_two_lines(dock, make_run):
    run = make_run("cascade")
    run.add_event("step", iteration=1, epoch=0.1, loss=1, stage="segment")
    choose(dock, run)
    dock.metrics.setCurrentText("Loss")
    dock.metrics.activated.emit(0)
    assert len(dock.curves.plot.listDataItems()) == 2


# -- scrubbing -----------------------------------------------------------------------------------------------------------------------


def test_clicking_the_curve_shows_what_was_predicted_then(dock, viewer, make_run):
    run = make_run("seen")
    choose(dock, run)
    assert not len(viewer.layers), "choosing a run leaves the viewer as it is"
    assert not dock.curves.marker.isVisible()
    for epoch, iteration in ((1.1, 10), (2.9, 30), (1.8, 20)):
        click(dock, epoch, 0.5)
        pump_until(lambda at=iteration: shows(viewer, f"ball_a epoch {at // 10}"), what="the prediction")
        layer = viewer.layers[f"ball_a epoch {iteration // 10}"]
        assert np.array_equal(np.asarray(layer.data), voxels(run, "ball_a", iteration))
        assert dock.curves.marker.isVisible()
        assert dock.curves.marker.value() == iteration / 10
        assert dock.slider.slider.value() == ITERATIONS.index(iteration)
        assert f"step {iteration}" in dock.slider.text.text()
    assert shows(viewer, "ball_a errors: missed, too much")


def test_the_nearest_curve_says_whose_prediction(dock, viewer, make_run):
    runs = [make_run("upper", 0.9), make_run("lower one", 0.3)]
    choose(dock, *runs)
    for run, value in ((runs[1], 0.3), (runs[0], 0.9)):
        click(dock, 3.0, value)
        pump_until(lambda run=run: dock._epochs.shown is not None and dock._epochs.history.run == run)
        pump_until(
            lambda run=run: (
                shows(viewer, "ball_a epoch 3")
                and np.array_equal(np.asarray(viewer.layers["ball_a epoch 3"].data), voxels(run, "ball_a", 30))
            ),
            what="the prediction of that run",
        )


def test_arrow_keys_slider_and_buttons_go_through_the_training(dock, viewer, make_run):
    run = make_run("walked")
    choose(dock, run)
    plots = dock.curves._plots
    seen = []
    moves = (
        lambda: QTest.keyClick(plots, Qt.Key.Key_Left),  # at first the newest
        lambda: QTest.keyClick(plots, Qt.Key.Key_Left),
        lambda: dock.slider.back.click(),
        lambda: dock.slider.back.click(),  # there is nothing before the first
        lambda: QTest.keyClick(plots, Qt.Key.Key_Right),
        lambda: dock.slider.slider.setValue(0),
        lambda: QTest.keyClick(dock.slider.slider, Qt.Key.Key_Right),
        lambda: dock.slider.on.click(),
    )
    for move in moves:
        move()
        pump_until(lambda: shows(viewer, f"ball_a epoch {dock._epochs.shown.epoch:g}"), what="the prediction")
        layer = viewer.layers[f"ball_a epoch {dock._epochs.shown.epoch:g}"]
        assert np.array_equal(np.asarray(layer.data), voxels(run, "ball_a", dock._epochs.shown.iteration))
        seen.append(dock._epochs.shown.iteration)
    assert seen == [30, 20, 10, 10, 20, 10, 20, 30]
    # Of many wishes the newest wins.
    for index in (0, 1, 2, 1, 0, 2, 1):
        dock.slider.slider.setValue(index)
    pump_until(lambda: dock._epochs._preview._job is None, what="all reading")
    assert np.array_equal(np.asarray(viewer.layers["ball_a epoch 2"].data), voxels(run, "ball_a", 20))
    assert dock.curves.marker.value() == 2


def test_another_kept_case_at_the_same_epoch(dock, viewer, make_run):
    run = make_run("cases")
    choose(dock, run)
    assert [dock.slider.cases.itemText(row) for row in range(dock.slider.cases.count())] == list(KEPT)
    click(dock, 1.0, 0.3)
    pump_until(lambda: shows(viewer, "ball_a epoch 1"))
    dock.slider.cases.setCurrentText("ball_b")
    dock.slider.cases.textActivated.emit("ball_b")
    pump_until(lambda: shows(viewer, "ball_b epoch 1"), what="the other case")
    assert np.array_equal(np.asarray(viewer.layers["ball_b epoch 1"].data), voxels(run, "ball_b", 10))
    assert not shows(viewer, "ball_a")


def test_a_prediction_that_is_gone_is_said(dock, viewer, make_run):
    run = make_run("thinned")
    (run.folder / "previews" / "ball_a" / "0000020.nii.gz").unlink()
    choose(dock, run)
    click(dock, 2.0, 0.5)
    pump_until(lambda: "0000020.nii.gz" in dock.notice.text(), what="the words")


# -- cases ---------------------------------------------------------------------------------------------------------------------------


def test_the_worst_cases_come_first_and_a_click_opens_them(dock, viewer, make_run, dataset):
    run = make_run("judged", 0.9)
    choose(dock, run)

    def rows() -> list[list[str]]:
        return [[dock.cases.item(row, column).text() for column in range(3)] for row in range(dock.cases.rowCount())]

    assert rows() == [["ball_c", "0.880", ""], ["ball_b", "0.890", "kept"], ["ball_a", "0.900", "kept"]]
    dock.cases.cellClicked.emit(1, 0)
    pump_until(lambda: shows(viewer, "ball_b epoch 3"), what="the kept case")
    assert np.array_equal(np.asarray(viewer.layers["ball_b epoch 3"].data), voxels(run, "ball_b", 30))
    click(dock, 1.0, 0.3)
    pump_until(lambda: shows(viewer, "ball_b epoch 1"))
    assert rows()[0] == ["ball_c", "0.280", ""]
    assert "epoch 1" in dock.cases_label.text()
    # Of this one nothing was kept: its scan, with the truth.
    dock.cases.cellClicked.emit(0, 0)
    pump_until(lambda: shows(viewer, "ball_c mask"), what="the case without a prediction")
    truth = read_volume(dataset / "labels" / "ball_c.nii.gz", "labels").canonical().data[0].transpose(2, 1, 0)
    assert np.array_equal(np.asarray(viewer.layers["ball_c mask"].data), truth)


def test_the_truth_of_overlapping_labels_has_a_layer_each(dock, viewer):
    """Of a case whose predictions were not kept."""
    spines = dataset_folder("spine")
    case = next(case for case in open_dataset(spines).cases if case.mask is not None)
    truth = read_case_mask(case, read_case_image(case), overlapping=True).data
    labels = {value: f"structure {value}" for value in range(1, len(truth) + 1)}
    run = Run(user_folder("runs") / "spine")
    TrainConfig.parse({"data": {"images": str(spines)}}).save(run.folder / "run.yaml")
    run.add_event("plan", labels=labels)
    run.add_event("validation", iteration=1, epoch=0.1, dice={}, mean_dice=0.5, cases={case.id: 0.5}, best=True)
    choose(dock, run)
    dock.cases.cellClicked.emit(0, 0)
    pump_until(lambda: len(viewer.layers) == 1 + len(labels), what="the case with its truth")
    assert len(labels) > 1
    for value, name in labels.items():
        layer = viewer.layers[f"{case.id} mask [{name}]"]
        assert np.count_nonzero(layer.data) == np.count_nonzero(truth == value)


# -- what can be done ----------------------------------------------------------------------------------------------------------------


def test_resume_is_offered_where_it_is_possible(dock, make_run):
    def made(name: str, state: str, has_state: bool) -> Run:
        run = make_run(name, state=state)
        if has_state:
            (run.folder / "checkpoints").mkdir()
            run.saved_state.write_bytes(b"")
        return run

    runs = {
        made("stopped", "stopped", True): True,
        made("failed", "failed", True): True,
        made("died", "training", True): True,  # nobody trains it
        made("too early", "stopped", False): False,
        made("finished", "finished", True): False,
    }
    for run, can_resume in runs.items():
        choose(dock, run)
        assert run.can_resume == can_resume
        assert dock.resume_button.isEnabled() == can_resume


def test_only_what_can_be_done_with_the_chosen_runs_is_offered(dock, make_run):
    runs = [make_run("one"), make_run("two")]
    wait_for_runs(dock, 2)
    assert not dock.more_button.isEnabled()
    assert not dock.predict_button.isEnabled()
    choose(dock, *runs)
    enabled = {name for name, action in dock.actions.items() if action.isEnabled()}
    assert enabled == {"tensorboard", "delete"}
    assert not dock.resume_button.isEnabled()
    dock.actions["tensorboard"].trigger()
    assert f"two:{runs[1].folder / 'tensorboard'}" in QGuiApplication.clipboard().text()
    choose(dock, runs[0])
    dock.actions["tensorboard"].trigger()
    assert QGuiApplication.clipboard().text() == f'tensorboard --logdir "{runs[0].folder / "tensorboard"}"'


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Say yes to every question, and note it."""
    asked: list[str] = []

    def question(_parent: object, _title: str, text: str) -> QMessageBox.StandardButton:
        asked.append(text)
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", question)
    return asked


def test_a_run_is_deleted_after_asking(dock, make_run, answer, tmp_path):
    run, stays = make_run("away"), make_run("stays")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "scan.nii").write_text("scan")
    (run.folder / "tensorboard").symlink_to(tmp_path / "precious")
    choose(dock, run)
    dock.actions["delete"].trigger()
    pump_until(lambda: listed(dock) == ["stays"], what="the shorter list")
    assert "away" in answer[0]
    assert not run.folder.exists()
    assert (tmp_path / "precious" / "scan.nii").read_text() == "scan"
    assert stays.folder.exists()
    assert not dock.curves.plot.listDataItems()


def test_a_run_that_trains_is_not_deleted(dock, make_run, answer):
    run = make_run("busy")
    choose(dock, run)
    pretend_to_train(run)  # somebody resumed it a moment ago
    dock._model.delete([run])
    pump_until(lambda: "still running" in dock.notice.text(), what="the refusal")
    assert (run.folder / "events.jsonl").exists()
    pump_until(lambda: not dock.actions["delete"].isEnabled())


def test_what_is_not_the_runs_own_is_not_deleted(dock, make_run, answer, tmp_path):
    run = make_run("mixed")
    (run.folder / "my notes").mkdir()
    (run.folder / "my notes" / "note.txt").write_text("mine")
    linked = user_folder("runs") / "linked"
    linked.symlink_to(make_run("real", folder=tmp_path).folder)
    wait_for_runs(dock, 2)
    for one in (run, Run(linked)):
        dock._model.delete([one])
        pump_until(lambda one=one: one.name in dock.notice.text().replace("\u200b", ""), what="the words")
    assert (run.folder / "my notes" / "note.txt").read_text() == "mine"
    assert (tmp_path / "real" / "run.yaml").exists()


def test_settings_go_to_the_train_dock(dock, viewer, make_run, dataset):
    run = make_run("pattern", optimization__loss="focal", optimization__minutes=3.0)
    (run.folder / "checkpoints").mkdir()
    run.best.write_bytes(b"")
    choose(dock, run)
    dock.actions["settings"].trigger()
    train = viewer.window._qt_window.findChild(TrainDock)
    assert train.form.value().optimization == run.config().optimization
    assert train.form.value().network.pretrained is None
    pump_until(lambda: session_of(viewer).data.job is None, what="the data set")
    assert session_of(viewer).data.folder == dataset
    dock.actions["continue"].trigger()
    assert train.form.value().network.pretrained == run.best
    assert train.form.value().optimization.loss == "focal"


def test_settings_of_another_version_are_refused_in_words(dock, make_run):
    run = make_run("future")
    path = run.folder / "run.yaml"
    path.write_text(path.read_text() + "telepathy: {range: 3}\n")
    choose(dock, run)
    dock.actions["settings"].trigger()
    assert "telepathy" in dock.notice.text()


def test_a_real_run_is_scrubbed_and_its_model_used(dock, viewer, finished_run, tmp_path):
    dock.look_in(finished_run.folder)
    pump_until(lambda: dock.table.model.rowCount() == 1)
    choose(dock, finished_run)
    for kept in dock._epochs.kept:
        click(dock, kept.epoch, 0.5)
        pump_until(lambda kept=kept: shows(viewer, f"{kept.case} epoch {kept.epoch:g}"))
        shown = np.asarray(viewer.layers[f"{kept.case} epoch {kept.epoch:g}"].data)
        assert np.array_equal(shown, read_volume(kept.prediction, "labels").canonical().data[0].transpose(2, 1, 0))
    assert dock.cases.rowCount() == len(finished_run.cases("validation"))
    dock.predict_button.click()
    predict = viewer.window._qt_window.findChild(PredictDock)
    assert predict.models.currentData() == str(finished_run.best)
    path = tmp_path / "given away.pt"
    dock._model.export(finished_run, path, "model")
    pump_until(lambda: "Written" in dock.notice.text(), what="the exported model")
    assert load_model(path).spec == load_model(finished_run.best).spec


# -- the dock itself -----------------------------------------------------------------------------------------------------------------


def test_it_fits_a_laptop_and_says_what_everything_does(dock, viewer, make_run):
    runs = [make_run(f"hippocampus-20250101-12000{number}", optimization__seed=number) for number in range(3)]
    viewer.window.show()
    viewer.window.resize(1366, 768)
    choose(dock, *runs)
    pump(0.3)
    assert dock.width() <= 400
    assert dock.widget().minimumSizeHint().width() <= dock.viewport().width(), "nothing is cut off at the right"
    for kind in (QAbstractButton, QComboBox, QSlider):
        for control in dock.widget().findChildren(kind):
            assert control.toolTip() or control.objectName().startswith("qt_") or not control.isVisible(), control
    assert all(action.toolTip() for action in dock.actions.values())


def test_a_closed_dock_finds_its_runs_again(dock, viewer, make_run):
    run = make_run("kept in mind")
    choose(dock, run)
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    pump(0.2)
    again = viewer.window.add_plugin_dock_widget(PLUGIN, "Runs")[1]
    pump_until(lambda: again.table.chosen_runs() == [run], what="the choice")
    assert again.curves.plot.listDataItems()
