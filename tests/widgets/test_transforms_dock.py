"""The Transforms dock as a person uses it: a real viewer, real steps, a real preview, and a training that does the same."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import yaml
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox

from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.training import TrainConfig
from napari_seg3d.transforms import Step, load_recipe, presets
from napari_seg3d.viewer.session import session_of
from tests.pumping import pump, pump_until

PLUGIN = "napari-seg3d"


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1366, 768)
    viewer.open_sample(PLUGIN, "phantom")
    yield viewer
    session_of(viewer).transforms.stop()


@pytest.fixture
def dock(viewer):
    dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Transforms")[1]
    dock.strip.count.setValue(0)
    pump(0.1)
    return dock


def settle(dock, seconds: float = 60) -> None:
    model = dock._model
    pump_until(lambda: model.is_settled, seconds, "the preview")


def names(steps) -> list[str]:
    return [step.name for step in steps]


@pytest.mark.slow
def test_from_an_empty_list_to_a_training(viewer, dock, tmp_path):
    recipe, steps, form = dock._recipe, dock.lists["augmentation"], dock.forms["augmentation"]
    assert "As by default" in dock.name_label.text()
    assert names(steps.value()) == ["RandomAffine", "RandomGamma", "RandomNoise", "RandomBlur"]
    while steps.rows.count() > 1:
        steps.rows.setCurrentRow(1)
        steps.remove_button.click()

    # Add: typed, and taken with Enter.
    steps.add_button.click()
    QTest.keyClicks(steps._chooser.search, "randomnoise")
    QTest.keyClick(steps._chooser.search, Qt.Key.Key_Return)
    assert names(recipe.steps("augmentation")) == ["RandomAffine", "RandomNoise"]

    # Reorder: with the mouse.
    rows = steps.rows
    first, last = (rows.visualItemRect(rows.item(row)) for row in (0, 1))
    _drag(rows, last.center(), QPoint(first.center().x(), first.top() + 1))
    assert names(recipe.steps("augmentation")) == ["RandomNoise", "RandomAffine"]

    # Preview, and change a slider.
    dock.preview_button.click()
    settle(dock)
    before = dock._model.compared
    assert dock._model.error is None
    assert "seed 0" in before.titles[1]
    rows.setCurrentRow(1)
    assert form.value().name == "RandomAffine"
    form.fields["degrees"].numbers[0].slider.value = 30
    form.probability.value = 0.5
    settle(dock)
    after = dock._model.compared
    assert recipe.steps("augmentation")[1].parameters["degrees"] == 30
    assert recipe.steps("augmentation")[1].probability == 0.5
    assert not np.array_equal(after.after[0][0], before.after[0][0])
    assert after.before[0][0] is before.before[0][0], "the preprocessing did not run again"
    assert len(dock.histogram.counts("after")[1]) > 10
    assert "ms" in rows.item(1).data(Qt.ItemDataRole.UserRole + 1)

    # What cannot be used leaves the last preview.
    form.fields["default_pad_value"].control.value = "bright"
    settle(dock)
    assert recipe.steps("augmentation")[1].values["default_pad_value"] == "minimum"
    form.fields["default_pad_value"].control.value = "mean"

    # Switch one off, and export.
    dock.lists["preprocessing"].rows.item(0).setCheckState(Qt.CheckState.Unchecked)
    file = tmp_path / "steps.yaml"
    recipe.save(file)
    exported = load_recipe(file)
    assert exported.augmentation.steps == recipe.steps("augmentation")
    assert not exported.preprocessing.steps[0].enabled
    recipe.take_default()
    assert "As by default" in dock.name_label.text()
    recipe.load(file)
    assert dock.lists["augmentation"].value() == exported.augmentation.steps
    dock.lists["preprocessing"].rows.item(0).setCheckState(Qt.CheckState.Checked)
    recipe.save(file)

    # The Train dock has them, and gives them up.
    dock.training_button.click()
    assert not dock.training_button.isEnabled()
    train = viewer.window.add_plugin_dock_widget(PLUGIN, "Train")[1]
    wanted = [step.to_dict() for step in recipe.steps("augmentation")]
    assert train.form.value().transforms.augmentation == wanted
    assert train.form.value().transforms.preprocessing == "auto"
    train.form.set_back("transforms.augmentation")
    assert train.form.value().transforms.augmentation == "auto"
    assert dock.training_button.isEnabled()

    # The file trains, and the run holds the same steps.
    settings = ("max_iterations=2", "batch_size=1")
    command = [sys.executable, "-m", "napari_seg3d.cli", "train", str(dataset_folder()), "--transforms", str(file)]
    for setting in (*(f"optimization.{one}" for one in settings), "sampling.patch_size=[16, 16, 16]", "device.workers=0"):
        command += ["--set", setting]
    subprocess.run(
        [*command, "--set", "network.features=[4, 8, 16]", "--out", str(tmp_path / "run")], check=True, capture_output=True
    )
    trained = TrainConfig.from_yaml(tmp_path / "run" / "run.yaml").transforms
    assert trained.augmentation == wanted
    assert trained.preprocessing == [step.to_dict() for step in recipe.steps("preprocessing")]
    assert yaml.safe_load(file.read_text())["augmentation"][0]["name"] == "RandomNoise"


@pytest.mark.slow
def test_modes_samples_and_closing(viewer, dock):
    model = dock._model
    dock.strip.count.setValue(3)
    dock.preview_button.click()
    pump_until(lambda: len(dock.strip.buttons) == 3, what="small pictures")
    seed = model.settings.seed
    dock.strip.buttons[1].click()
    assert model.settings.seed == dock.seed.value() == seed + 2
    dock.strip.count.setValue(0)
    dock.network_box.click()
    settle(dock)
    assert "network sees" in model.compared.titles[1]
    assert not dock.edge.isEnabled()
    dock.network_box.click()
    dock.difference_box.click()
    settle(dock)
    assert model.compared.after[0][1]["name"] == "difference"
    dock.masks_box.click()
    assert not any(
        layer.visible for pane in model.comparison._panes for layer in pane.model.layers if layer._type_string == "labels"
    )
    dock.tabs.setCurrentIndex(0)
    dock.edge.setCurrentIndex(dock.edge.count() - 1)
    settle(dock)
    assert model.compared.what == "preprocessing"
    assert not dock.roll_button.isEnabled()

    # A step that cannot be applied is named; what was shown stays.
    shown = model.compared
    dock._recipe.set_steps("preprocessing", (Step("Crop", {"cropping": 400}),))
    settle(dock)
    assert "Crop leaves nothing" in dock.notice.text()
    assert model.compared is shown

    # Behind another tab the preview goes on; closed, it ends.
    other = viewer.window.add_plugin_dock_widget(PLUGIN, "Look")[1]
    pump(0.2)
    other.come_forward()
    pump(0.2)
    assert model.is_on
    viewer.window.remove_dock_widget(dock)
    pump(0.2)
    assert not model.is_on
    again = viewer.window.add_plugin_dock_widget(PLUGIN, "Transforms")[1]
    assert names(again.lists["preprocessing"].value()) == ["Crop"]


def test_presets_are_taken_and_bad_files_refused(dock, tmp_path):
    menu = dock.preset_button.menu()
    menu.aboutToShow.emit()
    offered = {action.text(): action for action in menu.actions() if action.text()}
    assert set(offered) == {"As by default", *presets()}
    for name in presets():
        offered[name].trigger()
        assert dock.file_notice.text() == ""
        assert dock._recipe.name
    last = dock._recipe.value()
    (tmp_path / "bad.yaml").write_text("format: napari-seg3d transforms\nversion: 1\naugmentation:\n  - name: RandomNoize\n")
    dock._try(lambda: dock._recipe.load(tmp_path / "bad.yaml"))
    assert "RandomNoize" in dock.file_notice.text()
    assert dock._recipe.value() == last


def test_it_fits_a_laptop_and_explains_itself(viewer, dock):
    viewer.window.resize(1366, 768)
    pump(0.3)
    for at, name in ((0, "preprocessing"), (1, "augmentation")):
        dock.tabs.setCurrentIndex(at)
        for transform in ("CropOrPad", "RescaleIntensity", "Affine") if at == 0 else ("RandomAffine", "OneOf", "RandomMotion"):
            dock.lists[name].add(transform)
            pump(0.02)
            assert dock.width() <= 400
            assert dock.widget().minimumSizeHint().width() <= dock.viewport().width(), f"{transform}: cut off at the right"
    for kind in (QAbstractButton, QComboBox, QAbstractSpinBox):
        for control in dock.widget().findChildren(kind):
            if control.isHidden():
                continue
            parents = [control.parent(), control.parent().parent() if control.parent() else None]
            said = [
                control.toolTip(),
                *(parent.toolTip() for parent in parents if parent is not None and hasattr(parent, "toolTip")),
            ]
            assert any(said) or control.objectName().startswith("qt_"), (kind, getattr(control, "text", str)())


def _drag(rows, start: QPoint, end: QPoint) -> None:
    """Drag a row with the mouse; Qt follows a drag in a loop of its own, in which only timers go on."""
    place, button = rows.viewport(), Qt.MouseButton.LeftButton
    actions = [
        lambda: QTest.mouseMove(place, end + QPoint(0, 3)),
        lambda: QTest.mouseMove(place, end),
        lambda: QTest.mouseRelease(place, button, pos=end),
    ]
    timer = QTimer()
    timer.setInterval(100)
    timer.timeout.connect(lambda: actions.pop(0)() if actions and rows.state() == rows.State.DraggingState else None)
    timer.start()
    QTest.mousePress(place, button, pos=start)
    QTest.mouseMove(place, start - QPoint(0, 12))
    QTest.mouseMove(place, start - QPoint(0, 14))
    pump_until(lambda: not actions and rows.state() != rows.State.DraggingState, what="the drop")
    timer.stop()
