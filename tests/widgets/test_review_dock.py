"""The Review dock as a reviewer uses it: by keyboard, in a real viewer, on real files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLabel, QLineEdit, QPushButton, QShortcut, QToolButton

from napari_seg3d.datasets import read_mask
from napari_seg3d.review import Worklist
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import write_volume
from napari_seg3d.widgets.review import ReviewDock
from tests.pumping import pump, pump_until

PLUGIN = "napari-seg3d"
LABELS = {3: "shell", 7: "core"}


@pytest.fixture
def folder(ball_dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ball_dataset, tmp_path / "balls")


@pytest.fixture
def predictions(folder: Path, tmp_path: Path) -> Path:
    target = tmp_path / "predictions"
    for number in range(5):
        mask = read_mask(folder / "labels" / f"ball_{number}.nii.gz")
        data = np.roll(mask.data, number, axis=1)
        if number == 2:
            data[0, 20:23, 2:5, 2:5] = 7
        write_volume(mask.with_data(data), target / f"ball_{number}.nii.gz")
    return target


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def dock(viewer) -> ReviewDock:
    dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Review")[1]
    pump(0.2)
    return dock


def settle(dock: ReviewDock) -> None:
    model = dock._model
    pump_until(
        lambda: model.job is None and not model.is_opening and model.comparison.job is None and model._journal.is_idle,
        what="the work in the background",
    )
    pump(0.05)


def open_both(dock: ReviewDock, folder: Path, predictions: Path | None = None, who: str = "anna") -> None:
    dock._model.open(folder, predictions, who)
    settle(dock)


def press(dock: ReviewDock, name: str) -> None:
    """Press a key of the dock: its shortcut, since a virtual display has no window that is active."""
    from napari_seg3d.widgets.review import KEYS

    (shortcut,) = [one for one in dock.findChildren(QShortcut) if one.key().toString() == KEYS[name].replace("Return", "Return")]
    shortcut.activated.emit()
    settle(dock)


def cells(dock: ReviewDock, title: str) -> list[str]:
    model = dock.table.model
    column = [about.title for about in model.columns].index(title)
    return [model.data(model.index(row, column)) for row in range(model.rowCount())]


def states(folder: Path) -> list[str]:
    return [entry.state for entry in Worklist.open(folder).entries]


@pytest.mark.slow
def test_a_reviewer_goes_through_it_and_finds_everything_again(viewer, dock, folder, predictions):
    open_both(dock, folder, predictions)
    assert cells(dock, "State") == ["◔ predicted"] * 5 + ["○ to do"]
    assert cells(dock, "Dice")[0] == "1.000"
    press(dock, "next")
    assert dock._model.current == "ball_0"
    assert [layer.name for layer in viewer.layers] == ["ball_0", "ball_0 mask"]
    pump_until(lambda: dock._model._ahead.is_ready, what="the next case, read ahead")
    press(dock, "approve")
    assert dock._model.current == "ball_1"

    mask = viewer.layers["ball_1 mask"]
    mask.paint((5, 5, 5), 7)
    painted = mask.data.copy()
    press(dock, "comment")
    dock.comment.setText("a vessel, not a core")
    QTest.keyClick(dock.comment, Qt.Key.Key_Return)
    press(dock, "next")
    assert dock._model.current == "ball_2"
    assert "ball_1 mask" not in viewer.layers
    assert states(folder)[:3] == ["approved", "in work", "predicted"]
    entry = Worklist.open(folder).entry("ball_1")
    assert entry.comment == "a vessel, not a core"
    assert entry.mask.origin == "correction"
    assert entry.reviewer == "anna"

    press(dock, "previous")
    assert dock._model.current == "ball_1"
    assert np.array_equal(viewer.layers["ball_1 mask"].data, painted), "what was painted is there again"
    press(dock, "comment")
    dock.comment.setText("a vessel")
    press(dock, "flag")
    assert Worklist.open(folder).entry("ball_1").comment == "a vessel", "no key loses what was typed"
    assert dock.comment.text() == ""
    press(dock, "previous")
    press(dock, "reopen")
    assert states(folder) == ["approved", "in work", "predicted", "predicted", "predicted", "to do"]

    dock._model.show("ball_5")
    settle(dock)
    press(dock, "next")
    assert "last case" in dock.notice.text()
    viewer.layers.clear()
    open_both(dock, folder, who="ben")
    assert cells(dock, "State")[:2] == ["✓ approved", "◑ in work"]
    assert dock.counts.text() == "1 ✓  0 ⚑  of 6"
    masks = sorted(path.relative_to(folder).parts for path in (folder / "seg3d-review").rglob("*.nii.gz"))
    assert [parts[:3] for parts in masks] == [("seg3d-review", "corrections", "ball_1")]


def test_a_mask_that_cannot_be_kept_keeps_the_case(viewer, dock, folder):
    open_both(dock, folder)
    dock._model.show("ball_0")
    settle(dock)
    (folder / "seg3d-review").mkdir(exist_ok=True)
    (folder / "seg3d-review" / "corrections").write_text("in the way")
    viewer.layers["ball_0 mask"].paint((5, 5, 5), 3)
    press(dock, "next")
    assert dock._model.current == "ball_0"
    assert "corrections" in dock.notice.text()
    assert dock._model._stage.is_edited
    (folder / "seg3d-review" / "corrections").unlink()
    press(dock, "next")
    assert dock._model.current == "ball_1"
    assert Worklist.open(folder).entry("ball_0").mask.origin == "correction"


def test_what_another_dock_shows_is_not_taken_for_the_case(viewer, dock, folder):
    open_both(dock, folder)
    dock._model.show("ball_0")
    settle(dock)
    data = session_of(viewer).data
    data.open(folder)
    pump_until(lambda: data.job is None)
    data.show_case(data.dataset.case("ball_4"))
    pump_until(lambda: "ball_4" in viewer.layers)
    viewer.layers["ball_4 mask"].paint((5, 5, 5), 3)
    press(dock, "next")
    assert dock._model.current == "ball_1"
    assert not (folder / "seg3d-review" / "corrections").exists()
    assert "ball_4 mask" in viewer.layers, "it was edited and not saved"


def test_the_largest_difference_comes_first_and_edits_are_seen(viewer, dock, folder, predictions):
    open_both(dock, folder, predictions)
    dock._model.show("ball_2")
    settle(dock)
    dock.compare.smallest.setValue(0)
    press(dock, "compare")
    pieces = dock._model.comparison.pieces
    assert [one.ml for one in pieces] == sorted((one.ml for one in pieces), reverse=True)
    assert dock.compare.text.text().startswith(f"1 of {len(pieces)}:")
    mask = viewer.layers["ball_2 mask"]
    lone = next(
        place for place, one in enumerate(pieces) if one.kind == "too much" and one.label == 7 and one.ml == pytest.approx(0.027)
    )
    for _ in range(lone):
        press(dock, "next difference")
    at = tuple(round(float(place)) for place in mask.world_to_data(viewer.dims.point))
    assert at == pieces[lone].centre
    assert mask.data[at] == 7
    mask.data[mask.data == 7] = np.where(np.argwhere(mask.data == 7)[:, 2] >= 20, 0, 7)
    mask.refresh()
    press(dock, "next difference")
    assert len(dock._model.comparison.pieces) == len(pieces) - 1, "compared anew"
    dock.compare.smallest.setValue(0.02)
    settle(dock)
    assert all(one.ml >= 0.02 for one in dock._model.comparison.pieces)
    press(dock, "compare")
    assert [layer.name for layer in viewer.layers] == ["ball_2", "ball_2 mask"]
    assert viewer.layers["ball_2 mask"].contour == 0


def test_rows_are_sorted_and_filtered_and_stepped_in_their_order(dock, folder, predictions):
    open_both(dock, folder, predictions)
    column = [about.title for about in dock.table.model.columns].index("Dice")
    dock.table.view.horizontalHeader().sectionClicked.emit(column)
    assert cells(dock, "Case") == ["ball_4", "ball_3", "ball_2", "ball_1", "ball_0", "ball_5"]
    press(dock, "next")
    assert dock._model.current == "ball_4"
    assert [index.row() for index in dock.table.view.selectionModel().selectedRows()] == [0]
    press(dock, "approve")
    assert dock._model.current == "ball_3"
    dock.filter.setCurrentIndex(1)
    dock.filter.activated.emit(1)
    assert "ball_4" not in cells(dock, "Case")
    dock.table.view.horizontalHeader().sectionClicked.emit(column)
    assert cells(dock, "Case")[:2] == ["ball_0", "ball_1"]
    dock.filter.setCurrentIndex(5)
    dock.filter.activated.emit(5)
    assert cells(dock, "Case") == ["ball_4"]


@pytest.mark.slow
def test_next_begins_at_the_top_of_another_order_and_when_nothing_follows(viewer, dock, folder, predictions):
    open_both(dock, folder, predictions)
    model = dock._model
    last = model.rows[-1].case.id
    model.show(last)
    settle(dock)
    press(dock, "approve")
    model.close()
    open_both(dock, folder, predictions)
    assert model.current is None
    model.go()
    settle(dock)
    assert model.current == model.rows[0].case.id, "nothing follows the case where the list was left"
    press(dock, "approve")
    model.close()
    open_both(dock, folder, predictions)
    model.set_order("dice")
    first = next(row.case.id for row in model.rows if not row.is_done)
    model.go()
    settle(dock)
    assert model.current == first, "in an order by need, the neediest comes first"


def test_others_are_seen_and_readers_are_not(dock, folder):
    open_both(dock, folder)
    dock._model.set_readers(["anna", "ben"])
    settle(dock)
    other = Worklist.open(folder, who="ben")
    other.set_state("ball_0", "flagged")
    other.set_comment("ball_0", "secret")
    other.set_state("ball_1", "approved")
    other.write()
    dock._model._journal.look()
    pump(0.3)
    assert cells(dock, "State")[0] == "○ to do"
    assert "secret" not in "".join(dock.table.model.data(dock.table.model.index(0, 1), Qt.ItemDataRole.ToolTipRole))
    dock._model.show("ball_0")
    settle(dock)
    assert "blinded" in dock.heading.text()
    press(dock, "approve")
    assert cells(dock, "State")[0] == "⚑ flagged", "both are done, and do not agree"
    dock._model.compare_readers()
    settle(dock)
    assert "say the same of 0% of 1 cases" in dock.notice.text()


def test_a_scan_without_a_mask_gets_an_empty_one(viewer, dock, folder, tmp_path):
    scans = shutil.copytree(folder / "images", tmp_path / "scans")
    (scans / "ball_1.nii.gz").write_bytes(b"nothing")
    open_both(dock, scans)
    press(dock, "next")
    mask = viewer.layers["ball_0 mask"]
    assert not mask.data.any()
    mask.paint((5, 5, 5), 1)
    press(dock, "next")
    assert dock._model.current == "ball_1"
    assert "ball_1" in dock.notice.text()
    assert len(viewer.layers) == 0
    press(dock, "next")
    assert dock._model.current == "ball_2"
    assert Worklist.open(scans).entry("ball_0").measures.volumes[1] > 0


@pytest.mark.slow
def test_another_mask_is_taken_and_predicted(viewer, dock, folder, finished_run, tmp_path):
    open_both(dock, folder)
    dock._model.show("ball_0")
    settle(dock)
    dock._model.take_mask(folder / "labels" / "ball_1.nii.gz")
    settle(dock)
    assert "grid" in dock.notice.text(), "a mask of another scan is refused"
    session_of(viewer).prediction.last = ((finished_run.best,), "auto")
    dock._model.predict()
    settle(dock)
    pump_until(lambda: dock._model.entry.measures is not None, what="what was measured of it")
    entry = dock._model.entry
    assert entry.state == "predicted"
    assert entry.dice > 0.5
    assert 0 < entry.uncertainty < 1
    assert viewer.layers["ball_0 mask"].data.any()

    dock._model.predict()
    pump_until(lambda: dock._model.job is not None)
    viewer.layers["ball_0 mask"].paint((1, 1, 1), 7)
    settle(dock)
    entry = dock._model.entry
    assert entry.mask.origin == "correction", "what was painted while the network computed goes before its answer"
    assert viewer.layers["ball_0 mask"].data[1, 1, 1] == 7
    kept = [file.name for file in (folder / "seg3d-review" / "predictions" / "ball_0").glob("*.nii.gz")]
    assert sum(not name.endswith("_uncertainty.nii.gz") for name in kept) == 2, "nothing is written over"


@pytest.mark.slow
def test_open_cases_are_predicted_but_not_those_that_somebody_has_begun(viewer, dock, folder, finished_run):
    open_both(dock, folder)
    assert dock.predict_button.text() == "Predict 6 open cases"
    dock.predict_button.click()
    assert "no model" in dock.notice.text()
    session_of(viewer).prediction.last = ((finished_run.best,), "auto")
    dock._model.show("ball_1")
    settle(dock)
    press(dock, "flag")
    open_cases = dock._model.open_cases
    stop = open_cases.predicted.connect(lambda _case: open_cases.cancel(), Qt.ConnectionType.DirectConnection)
    dock.predict_button.click()
    assert not dock.predict_button.isEnabled()
    pump_until(lambda: open_cases.job is None, what="the end")
    settle(dock)
    assert "stopped" in dock.notice.text()
    assert states(folder) == ["predicted", "flagged", "to do", "to do", "to do", "to do"]
    open_cases.predicted.disconnect(stop)
    dock.predict_button.click()
    viewer.layers["ball_2 mask"].paint((1, 1, 1), 7)
    press(dock, "approve")
    pump_until(lambda: open_cases.job is None, what="the predictions")
    settle(dock)
    assert "are predicted" in dock.notice.text()
    assert states(folder) == ["predicted", "flagged", "approved", "predicted", "predicted", "predicted"]
    entry = Worklist.open(folder).entry("ball_2")
    assert entry.mask.origin == "correction", "what a person has drawn goes before what a model found"
    assert dock.predict_button.text() == "Predict open cases"
    assert not dock.predict_button.isEnabled()


def test_everything_fits_and_says_what_it_is(viewer, dock, folder, predictions):
    viewer.window.resize(1366, 768)
    open_both(dock, folder, predictions)
    dock._model.show("ball_2")
    settle(dock)
    press(dock, "compare")
    pump_until(lambda: dock.table.model._picture(dock._model.rows[5]) is not None, what="the pictures")
    assert dock.widget().minimumSizeHint().width() <= 360
    assert dock.widget().minimumSizeHint().width() <= dock.viewport().width(), "nothing is cut off at the right"
    for kind in (QPushButton, QToolButton, QComboBox, QLineEdit):
        for control in dock.widget().findChildren(kind):
            if control.isVisible() and not isinstance(control.parent(), QLineEdit | QAbstractSpinBox):
                assert control.toolTip(), control
                assert control.width() >= control.minimumSizeHint().width()
    for label in dock.widget().findChildren(QLabel):
        if label.isVisible() and not label.wordWrap() and not isinstance(label.parent(), QAbstractButton):
            assert label.width() >= label.sizeHint().width(), label.text()
