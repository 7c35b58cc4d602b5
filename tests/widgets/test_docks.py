"""The docks as a person uses them: a real viewer, real files, real training processes."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from napari.layers import Labels
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent

from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.training import Run, TrainConfig, live_runs, start_run
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import Volume, read_volume, write_volume
from napari_seg3d.widgets.data import DataDock
from napari_seg3d.widgets.predict import PredictDock
from napari_seg3d.widgets.train import TrainDock
from tests.pumping import pump, pump_until
from tests.waiting import steps, wait_for, wait_until

PLUGIN = "napari-seg3d"


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    yield viewer
    # A training that goes on sends previews, which must not arrive while the test takes the window apart.
    session_of(viewer).preview.set_on(False)


@pytest.fixture
def docks(viewer) -> tuple[DataDock, TrainDock, PredictDock]:
    data, train, predict = (viewer.window.add_plugin_dock_widget(PLUGIN, name)[1] for name in ("Data", "Train", "Predict"))
    pump(0.2)
    return data, train, predict


def _open(data: DataDock, folder: Path) -> None:
    data.open(folder)
    pump_until(lambda: data._model.job is None, what="the check")
    pump(0.05)


@pytest.fixture
def endless(quick_config: TrainConfig) -> TrainConfig:
    return quick_config.with_values({"optimization.max_iterations": None, "optimization.minutes": 30.0})


@pytest.fixture(autouse=True)
def _leave_no_training_behind():
    yield
    for run in live_runs():
        run.kill()


@pytest.mark.slow
def test_the_whole_way(viewer, docks, ball_dataset, quick_config, tmp_path):
    data, train, predict = docks
    assert not train.start_button.isEnabled()
    _open(data, ball_dataset)
    assert data.table.rowCount() == 6
    assert "6 ready to train on" in data.summary.text()

    data.cases.choose(["ball_1"])
    pump_until(lambda: len(viewer.layers) == 2, what="the case")
    image = viewer.layers[0]
    assert isinstance(viewer.layers[1], Labels)

    # Train: nothing but Start, with settings that end soon.
    train.form.setValue(quick_config.with_values({"optimization.max_iterations": None, "optimization.minutes": 20.0}))
    assert train.start_button.text() == "Start training"
    train.start_button.click()
    pump_until(lambda: any(event["kind"] == "step" for event in train._watch.events), what="a step")
    assert train.start_button.text() == "Stop and keep"
    assert "left" in train.cockpit.progress._text.text()
    run = train._watch.run
    # The same config file as from the command line.
    expected = TrainConfig.parse({"data": {"images": str(ball_dataset)}}).with_values(
        {name: value for name, value in _flat(train.form.value()).items() if not name.startswith("data.")}
        | {"data.validation": 0.34}
    )
    assert (run.folder / "run.yaml").read_text() == expected.to_yaml()
    train.start_button.click()
    pump_until(lambda: train._watch.status.ended, what="the stop")
    pump_until(lambda: "Stopped" in train.notice.text())
    assert train._watch.status.state == "stopped"
    assert train.start_button.text() == "Start training"
    pump_until(lambda: any("epoch" in layer.name for layer in viewer.layers), what="the validation case")

    # Predict the case that was opened first.
    assert predict.models.count() == 1
    predict.images.setCurrentIndex([predict.images.itemData(row) for row in range(predict.images.count())].index(image))
    predict.run_button.click()
    pump_until(lambda: predict._model.job is None, what="the prediction")
    assert predict._model.error is None
    prediction = viewer.layers[f"{image.name} prediction"]
    assert viewer.layers.selection.active is prediction
    assert prediction.editable
    assert dict(enumerate(prediction.features["name"], start=1)) == {1: "background", 2: "label 3", 3: "label 7"}

    # Correct, save, read back.
    prediction.selected_label = 7
    prediction.paint((2, 3, 4), 7)
    path = tmp_path / "corrected.nii.gz"
    predict.save_to(prediction, path)
    pump_until(lambda: "Saved" in predict.notice.text(), what="the saved mask")
    assert "Saved" in predict.notice.text()
    saved, source = read_volume(path, "labels"), read_volume(ball_dataset / "images" / "ball_1.nii.gz")
    assert saved.grid.matches(source.grid)
    assert np.array_equal(saved.canonical().data[0].transpose(2, 1, 0), prediction.data)
    assert saved.canonical().data[0, 4, 3, 2] == 7


def test_a_second_prediction_replaces_the_first_unless_it_was_corrected(viewer, docks, ball_dataset, finished_run):
    _, _, predict = docks
    (image,) = viewer.open(str(ball_dataset / "images" / "ball_0.nii.gz"), plugin=PLUGIN)
    predict.add_model(finished_run.best)

    def masks() -> list[Labels]:
        return [layer for layer in viewer.layers if isinstance(layer, Labels)]

    for expected in (1, 1):
        predict.run_button.click()
        pump_until(lambda: predict._model.job is None)
        assert len(masks()) == expected
    masks()[0].paint((5, 5, 5), 7)
    corrected = masks()[0].data.copy()
    predict.run_button.click()
    pump_until(lambda: predict._model.job is None)
    assert len(masks()) == 2
    assert np.array_equal(masks()[0].data, corrected)
    assert image in viewer.layers


@pytest.mark.slow
def test_a_closed_dock_finds_everything_again(viewer, docks, ball_dataset, endless):
    data, train, _ = docks
    _open(data, ball_dataset)
    train.form.setValue(endless)
    train.start_button.click()
    pump_until(lambda: any(event["kind"] == "step" for event in train._watch.events))
    viewer.window.remove_dock_widget(train)
    pump(0.3)
    again = viewer.window.add_plugin_dock_widget(PLUGIN, "Train")[1]
    pump(0.3)
    assert again._watch.run is not None
    assert not again._watch.status.ended
    assert again.start_button.text() == "Stop and keep"
    assert "ball" in again.data_label.text() or "cases ready" in again.data_label.text()
    more = len(again._watch.events)
    pump_until(lambda: len(again._watch.events) > more, what="further events")


@pytest.mark.slow
def test_a_new_viewer_finds_a_run_that_goes_on(viewer, endless, tmp_path):
    run = start_run(endless, tmp_path / "run")
    wait_until(lambda: steps(run) > 0, run)
    train = viewer.window.add_plugin_dock_widget(PLUGIN, "Train")[1]
    assert train._watch.run == run
    pump_until(lambda: train.start_button.text() == "Stop and keep")
    pump_until(train.cockpit.curves.readout.text, what="a curve")


@pytest.mark.slow
def test_a_killed_training_is_said_and_nothing_else_happens(viewer, docks, ball_dataset, endless):
    data, train, _ = docks
    _open(data, ball_dataset)
    data.cases.choose(["ball_0"])
    pump_until(lambda: len(viewer.layers) == 2)
    mask = viewer.layers[1]
    mask.paint((2, 3, 4), 7)
    before = mask.data.copy()
    train.form.setValue(endless)
    train.start_button.click()
    pump_until(lambda: any(event["kind"] == "step" for event in train._watch.events))
    run = train._watch.run
    psutil.Process(json.loads((run.folder / "process.json").read_text())["pid"]).kill()
    pump_until(lambda: train._watch.status.state == "died", what="the news")
    pump(0.1)
    assert "gone" in train.notice.text()
    assert str(run.log) in train.notice.text().replace("\u200b", "")
    assert train.start_button.isEnabled()
    assert np.array_equal(mask.data, before)
    assert mask in viewer.layers


_VIEWER = """
import sys, napari
from pathlib import Path
from napari_seg3d.training import TrainConfig
from qtpy.QtCore import QTimer
viewer = napari.Viewer(show=False)
train = viewer.window.add_plugin_dock_widget("napari-seg3d", "Train")[1]
train._watch.start(TrainConfig.from_yaml(sys.argv[1]), Path(sys.argv[2]))
napari.run(force=True)
"""


@pytest.mark.slow
def test_a_killed_viewer_does_not_end_the_training(viewer, endless, tmp_path):
    endless.save(tmp_path / "config.yaml")
    window = subprocess.Popen([sys.executable, "-c", _VIEWER, str(tmp_path / "config.yaml"), str(tmp_path / "run")])
    run = Run(tmp_path / "run")
    end = time.monotonic() + 90
    while steps(run) == 0:
        assert time.monotonic() < end
        assert window.poll() is None
        time.sleep(0.1)
    window.kill()
    window.wait()
    before = steps(run)
    wait_until(lambda: steps(run) > before + 1, run)
    train = viewer.window.add_plugin_dock_widget(PLUGIN, "Train")[1]
    assert train._watch.run == run
    pump_until(lambda: train._watch.events)
    train.start_button.click()
    pump_until(lambda: train._watch.status.state == "stopped", what="the stop")


def test_what_cannot_be_trained_is_said_in_the_dock(docks, tmp_path):
    data, train, _ = docks
    (tmp_path / "empty").mkdir()
    _open(data, tmp_path / "empty")
    assert "empty" in data.notice.text()
    assert not train.start_button.isEnabled()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "scan.nii.gz").write_text("no scan at all")
    _open(data, tmp_path / "text")
    assert "scan.nii.gz" in data.findings.words
    assert not train.start_button.isEnabled()


def test_a_case_that_cannot_be_shown_leaves_the_last_one(viewer, docks, ball_dataset, tmp_path):
    import shutil

    folder = shutil.copytree(ball_dataset, tmp_path / "data")
    (folder / "images" / "ball_2.nii.gz").write_text("no scan at all")
    data, _, _ = docks
    _open(data, folder)
    data.cases.choose(["ball_0"])
    pump_until(lambda: len(viewer.layers) == 2)
    data.cases.choose(["ball_2"])
    pump_until(lambda: "ball_2" in data.notice.text() and "Reading" not in data.notice.text())
    assert [layer.name for layer in viewer.layers] == ["ball_0", "ball_0 mask"]


def test_what_cannot_be_predicted_is_said_in_the_dock(viewer, docks, finished_run, tmp_path):
    _, _, predict = docks
    viewer.add_image(np.zeros((9, 9, 9)), name="black", contrast_limits=(0, 1))
    (tmp_path / "fake.pt").write_text("no model")
    predict.add_model(finished_run.best)
    predict.run_button.click()
    pump_until(lambda: predict._model.job is None)
    assert "constant" in predict.notice.text()
    predict.add_model(tmp_path / "fake.pt")
    predict.run_button.click()
    pump_until(lambda: predict._model.job is None)
    assert "no model file" in predict.notice.text()
    assert not [layer for layer in viewer.layers if isinstance(layer, Labels) and "prediction" in layer.name]


def test_a_mask_that_cannot_be_saved_is_said_and_stays(viewer, docks, ball_dataset, tmp_path):
    _, _, predict = docks
    viewer.open(str(ball_dataset / "images" / "ball_0.nii.gz"), plugin=PLUGIN)
    (mask,) = viewer.open(str(ball_dataset / "labels" / "ball_0.nii.gz"), plugin=PLUGIN)
    (tmp_path / "file").write_text("")
    predict.save_to(mask, tmp_path / "file" / "mask.nii.gz")
    pump_until(lambda: "Saving" not in predict.notice.text(), what="the refusal")
    assert "was not written" in predict.notice.text()
    assert mask in viewer.layers


@pytest.mark.slow
def test_a_lone_dock_looks_again_when_it_is_opened_again(viewer, endless, tmp_path):
    run = start_run(endless, tmp_path / "run")
    wait_until(lambda: steps(run) > 0, run)
    train = viewer.window.add_plugin_dock_widget(PLUGIN, "Train")[1]
    pump_until(lambda: train._watch.events)
    viewer.window.remove_dock_widget(train)
    train.deleteLater()
    pump(1)
    again = viewer.window.add_plugin_dock_widget(PLUGIN, "Train")[1]
    pump_until(lambda: any(event["kind"] == "step" for event in again._watch.events))
    run.stop()
    pump_until(lambda: again._watch.status.state == "stopped", what="the news of the stop")


def test_docks_that_are_gone_do_not_answer(viewer, docks):
    for dock in docks:
        viewer.window.remove_dock_widget(dock)
        dock.deleteLater()
    pump(0.3)
    viewer.add_labels(np.zeros((4, 4, 4), np.uint8))
    viewer.layers.clear()
    pump(0.1)


def test_a_folder_can_be_dropped(docks, ball_dataset):
    data, _, _ = docks
    content = QMimeData()
    content.setUrls([QUrl.fromLocalFile(str(ball_dataset))])
    where, action, buttons, keys = (
        QPoint(5, 5),
        Qt.DropAction.CopyAction,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    enter = QDragEnterEvent(where, action, content, buttons, keys)
    data.dragEnterEvent(enter)
    assert enter.isAccepted()
    data.dropEvent(QDropEvent(QPointF(where), action, content, buttons, keys))
    pump_until(lambda: data._model.report is not None)
    assert data.table.rowCount() == 6


def test_docks_share_one_place_and_fit_a_laptop(viewer, docks):
    viewer.window.resize(1366, 768)
    pump(0.5)
    for dock in docks:
        dock.come_forward()
        pump(0.1)
        assert dock.isVisible()
        assert dock.width() <= 400
        assert dock.height() > 500, "tabs, not a pile"
        assert dock.widget().minimumSizeHint().width() <= dock.viewport().width(), "nothing is cut off at the right"


def test_every_button_says_what_it_does(docks):
    from qtpy.QtWidgets import QAbstractButton, QComboBox

    for dock in docks:
        for kind in (QAbstractButton, QComboBox):
            for control in dock.widget().findChildren(kind):
                folded = control.parent().toolTip() if control.parent() else ""
                assert control.toolTip() or folded or control.objectName().startswith("qt_"), (
                    dock,
                    getattr(control, "text", str)(),
                )


@pytest.mark.slow
def test_opening_a_dock_waits_for_no_torch():
    code = """
import sys, napari, npe2
viewer = napari.Viewer(show=False)
for widget in npe2.PluginManager.instance().get_manifest("napari-seg3d").contributions.widgets:
    viewer.window.add_plugin_dock_widget("napari-seg3d", widget.display_name)
    print(widget.display_name, [name for name in ("torch", "torchio", "monai", "lightning_fabric") if name in sys.modules])
"""
    lines = subprocess.check_output([sys.executable, "-c", code], text=True).strip().splitlines()
    assert {"Scans []", "Look []", "Data []", "Transforms []", "Train []", "Predict []"} <= set(lines)
    assert all(line.endswith(" []") for line in lines)


@pytest.mark.slow
def test_opening_a_scan_waits_for_no_torch(tmp_path):
    path = write_volume(Volume(np.zeros((1, 4, 5, 6), np.int16), np.eye(4)), tmp_path / "scan.nrrd")
    code = (
        "import sys, napari; viewer = napari.Viewer(show=False); (layer,) = viewer.open(sys.argv[1], plugin='napari-seg3d');"
        "print(layer.data.shape, [n for n in ('torch', 'torchio', 'monai', 'lightning_fabric') if n in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code, path], text=True).strip().splitlines()[-1] == "(6, 5, 4) []"


def test_importing_the_package_is_light():
    listing = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import napari_seg3d"], capture_output=True, text=True, check=True
    )
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in listing.stderr.splitlines() if "|" in line}
    assert not imported & {"torch", "torchio", "monai", "napari", "qtpy", "PyQt6", "PySide6", "numpy"}


def test_the_sample_data_is_one_click_away(docks):
    data, _, _ = docks
    data.sample_button.click()
    pump_until(lambda: data._model.report is not None)
    assert data._model.folder == dataset_folder()
    assert "ready to train on" in data.summary.text()


def _flat(config: TrainConfig) -> dict[str, object]:
    return {f"{section}.{name}": value for section, values in config.to_dict().items() for name, value in values.items()}


def test_sessions_are_one_per_viewer(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy()
    assert session_of(viewer) is session_of(viewer)
    assert session_of(viewer) is session_of(viewer.__wrapped__)


@pytest.mark.slow
def test_the_training_process_yields_to_the_viewer(finished_run, endless, tmp_path):
    run = start_run(endless, tmp_path / "run")
    wait_until(lambda: steps(run) > 0, run)
    process = psutil.Process(json.loads((run.folder / "process.json").read_text())["pid"])
    assert process.nice() >= 10
    run.kill()
    wait_for(run)
