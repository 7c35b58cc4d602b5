"""The Data dock as a person uses it: sets, pairs, remedies and saving, in a real viewer on real files."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtWidgets import QAbstractButton, QCheckBox, QComboBox, QFileDialog, QLabel, QMessageBox, QPushButton

from napari_seg3d.datasets import load_dataset
from napari_seg3d.datasets.layouts.manifest import FILE_NAME
from napari_seg3d.widgets.data import DataDock
from napari_seg3d.widgets.train import TrainDock
from tests.pumping import pump, pump_until

PLUGIN = "napari-seg3d"


@pytest.fixture
def folder(ball_dataset: Path, tmp_path: Path) -> Path:
    """The balls; two are scans of one subject, one mask is called otherwise, and one lies on another grid."""
    folder = shutil.copytree(ball_dataset, tmp_path / "balls")
    for kind in ("images", "labels"):
        (folder / kind / "ball_4.nii.gz").rename(folder / kind / "ball_3_visit2.nii.gz")
    (folder / "labels" / "ball_5.nii.gz").rename(folder / "labels" / "something.nii.gz")
    mask = nib.load(folder / "labels" / "ball_2.nii.gz")
    coarse = np.asarray(mask.dataobj)[::2, ::2, ::2]
    nib.Nifti1Image(coarse, mask.affine @ np.diag([2, 2, 2, 1])).to_filename(folder / "labels" / "ball_2.nii.gz")
    return folder


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def dock(viewer) -> DataDock:
    dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Data")[1]
    pump(0.2)
    return dock


@pytest.fixture
def _yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)


def settle(dock: DataDock) -> None:
    pump_until(lambda: dock._model.job is None and "Reading" not in dock.notice.text(), what="the work in the background")
    pump(0.05)


def open_in(dock: DataDock, folder: Path) -> None:
    dock.open(folder)
    settle(dock)


def row_of(dock: DataDock, case: str) -> list[str]:
    row = [one.id for one in dock._model.cases].index(case)
    return [dock.table.item(row, column).text() for column in range(dock.table.columnCount())]


def put(dock: DataDock, cases: list[str], place: str) -> None:
    dock.cases.choose(cases)
    index = dock.cases.place_box.findText(place)
    assert index > 0
    dock.cases.place_box.activated.emit(index)
    settle(dock)


def test_sets_are_edited_refused_saved_and_found_again(dock, folder):
    open_in(dock, folder)
    assert row_of(dock, "ball_0") == ["✓", "ball_0", "ball_0", "sure", "auto"]
    put(dock, ["ball_0", "ball_1"], "validation")
    assert row_of(dock, "ball_1")[4] == "valid."
    assert row_of(dock, "ball_3")[4] == "train"
    assert [case.id for case in dock.cases.chosen] == ["ball_0", "ball_1"], "the selection stays"
    put(dock, ["ball_3"], "test")
    assert "ball_3 (test) and ball_3_visit2 (train) are of one subject" in dock.notice.text()
    assert row_of(dock, "ball_3")[4] == "train"
    put(dock, ["ball_3", "ball_3_visit2"], "test")
    assert dock.notice.text() == ""
    assert dock.unsaved.isVisible()

    dock.cases.choose(["ball_1"])
    dock.cases.leave_button.click()
    settle(dock)
    assert row_of(dock, "ball_1")[::4] == ["–", "out"]
    assert dock.cases.leave_button.text() == "Take back"
    assert "1 left out" in dock.summary.text()

    dock._model.save(folder / FILE_NAME)
    pump_until(lambda: not dock._model.is_changed, what="the saved file")
    assert "Saved to" in dock.notice.text()
    assert not dock.unsaved.isVisible()
    kept = load_dataset(folder)
    assert kept.split == dock._model.dataset.split
    assert set(kept.excluded) == {"ball_1"}
    rows = [row_of(dock, case.id) for case in dock._model.cases]
    open_in(dock, folder)
    assert [row_of(dock, case.id) for case in dock._model.cases] == rows
    assert dock.save_button.text() == "Save data set"


@pytest.mark.usefixtures("_yes")
def test_a_split_is_drawn_and_its_test_set_frozen(dock, folder):
    open_in(dock, folder)
    form = dock.split
    form.method.setCurrentIndex(form.method.findData("folds"))
    form.folds.setValue(2)
    assert not form.share.isVisibleTo(form)
    assert form.folds.isVisibleTo(form)
    form.test_share.setValue(0.34)
    form.test_button.click()
    split = dock._model.split
    assert split.test
    assert set(split.sets.values()) == {1, 2}
    assert "fold 2" in form.text.text()
    form.freeze_button.click()
    settle(dock)
    assert dock._model.split.is_frozen
    assert "frozen" in form.text.text()
    assert not form.test_button.isEnabled()
    put(dock, list(split.test), "fold 1")
    assert "frozen" in dock.notice.text()
    form.method.setCurrentIndex(form.method.findData("fraction"))
    form.apply_button.click()
    assert dock._model.split.method == "fraction"
    assert dock._model.split.test == split.test
    form.freeze_button.click()
    assert not dock._model.split.is_frozen


def test_pairs_by_hand(viewer, dock, folder):
    open_in(dock, folder)
    assert row_of(dock, "ball_5")[3:] == ["none", ""]
    dock.cases.choose(["ball_5"])
    settle(dock)
    dock.cases._mask_menu.aboutToShow.emit()
    actions = {action.text(): action for action in dock.cases._mask_menu.actions()}
    assert not actions["Unpair"].isEnabled()
    actions["Take something.nii.gz, which no case has"].trigger()
    settle(dock)
    assert row_of(dock, "ball_5")[3] == "sure"
    assert "chosen by hand" in dock.table.item(5, 0).toolTip()
    assert dock._model.dataset.unused_masks == ()
    dock.cases.choose(["ball_0", "ball_5"])
    dock.cases._mask_menu.aboutToShow.emit()
    next(action for action in dock.cases._mask_menu.actions() if action.text() == "Unpair").trigger()
    settle(dock)
    assert [row_of(dock, case)[3] for case in ("ball_0", "ball_5")] == ["none", "none"]
    assert len(dock._model.dataset.unused_masks) == 2
    dock.cases.paired.emit("ball_0", folder / "images" / "ball_0.nii.gz")
    assert "is the image itself" in dock.notice.text()


def test_a_finding_is_mended_by_its_button(dock, folder):
    open_in(dock, folder)
    assert row_of(dock, "ball_2")[0] == "✗"
    before = (folder / "labels" / "ball_2.nii.gz").read_bytes()
    ready = len(dock._model.report.sound)
    (button,) = [button for button in dock.findings.buttons if "Resample" in button.text()]
    button.click()
    settle(dock)
    assert row_of(dock, "ball_2")[0] == "✓", dock.findings.words
    assert len(dock._model.report.sound) == ready + 1
    assert dock._model.dataset.case("ball_2").mask.parent.name == "corrected"
    assert (folder / "labels" / "ball_2.nii.gz").read_bytes() == before
    assert dock.unsaved.isVisible()


def test_training_takes_what_is_saved(viewer, dock, folder, tmp_path):
    train: TrainDock = viewer.window.add_plugin_dock_widget(PLUGIN, "Train")[1]
    open_in(dock, folder)
    assert train.start_button.isEnabled()
    put(dock, ["ball_0"], "validation")
    assert not train.start_button.isEnabled()
    assert "not saved" in train.data_label.text()
    dock._model.save(tmp_path / "elsewhere" / "mine.yaml")
    pump_until(lambda: not dock._model.is_changed, what="the saved file")
    assert train.start_button.isEnabled()
    assert train.form.value().data.images == tmp_path / "elsewhere" / "mine.yaml"


def test_open_layers_become_a_data_set(viewer, dock, ball_dataset, tmp_path, monkeypatch):
    viewer.open(str(ball_dataset / "images" / "ball_0.nii.gz"), plugin=PLUGIN)
    viewer.open(str(ball_dataset / "labels" / "ball_0.nii.gz"), plugin=PLUGIN)
    (pair,) = dock.layers.pairs
    assert pair.image.name == "ball_0"
    assert isinstance(pair.mask, Labels)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "new"))
    dock.layers.button.click()
    settle(dock)
    assert dock.table.rowCount() == 1
    assert row_of(dock, "ball_0")[3] == "sure"
    assert (tmp_path / "new" / FILE_NAME).exists()


def test_the_report_is_written(dock, folder, tmp_path):
    open_in(dock, folder)
    dock._model.save_report(tmp_path / "report.html")
    pump_until(lambda: "The report is" in dock.notice.text(), what="the report")
    assert "ball_2" in (tmp_path / "report.html").read_text()


def test_everything_fits_and_says_what_it_is(viewer, dock, folder):
    viewer.window.resize(1366, 768)
    open_in(dock, folder)
    put(dock, ["ball_0"], "validation")
    pump(0.3)
    assert not any(part.isExpanded() for part in (dock.split, dock.findings, dock.layers)), "nothing unasked-for is open"
    assert dock.table.height() >= 220
    for part in (dock.split, dock.findings, dock.layers):
        part.expand(animate=False)
    pump(0.3)
    assert dock.widget().minimumSizeHint().width() <= dock.viewport().width(), "nothing is cut off at the right"
    assert dock.widget().minimumSizeHint().width() <= 360
    for kind in (QPushButton, QCheckBox, QComboBox):
        for control in dock.widget().findChildren(kind):
            if control.isVisible():
                assert control.width() >= control.minimumSizeHint().width(), (
                    control.text() if hasattr(control, "text") else control
                )
                assert control.toolTip() or isinstance(control.parent(), QAbstractButton) or control.parent().toolTip()
    for label in dock.widget().findChildren(QLabel):
        if label.isVisible() and not label.wordWrap():
            assert label.width() >= label.sizeHint().width(), label.text()
    header = dock.table.horizontalHeader()
    for column in (3, 4):
        texts = [dock.table.item(row, column).text() for row in range(dock.table.rowCount())]
        widest = max(header.fontMetrics().horizontalAdvance(text) for text in (*texts, "unsure", "fold 10"))
        assert widest + 8 <= dock.table.columnWidth(column)
