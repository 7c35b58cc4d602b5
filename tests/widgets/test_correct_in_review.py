"""Correcting in the course of a review: what was kept where, with which tools, and keys wherever the focus is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialog

from napari_seg3d.datasets import read_mask
from napari_seg3d.editing.tools import tool
from napari_seg3d.editing.versions import list_versions
from napari_seg3d.review import Worklist
from napari_seg3d.viewer.recovery import pending_recoveries
from napari_seg3d.viewer.session import session_of
from napari_seg3d.viewer.undo import tools_used
from napari_seg3d.volumes import Volume, write_volume
from napari_seg3d.widgets.correct_versions import VersionsDialog
from tests.hands import canvas_of, press, press_key
from tests.pumping import pump, pump_until
from tests.reviewer import Reviewer


@pytest.fixture
def folder(ball_dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ball_dataset, tmp_path / "balls")


@pytest.fixture
def reviewer(make_napari_viewer, folder: Path) -> Reviewer:
    return Reviewer(make_napari_viewer(show=True), folder)


def kept(folder: Path, case: str) -> list[tuple[str, ...]]:
    """Return the tools of each version that lies in the folder of the review."""
    return [version.tools for version in list_versions(folder / "seg3d-review" / "corrections" / case)]


def test_tools_since_the_last_time_are_noted_whichever_dock_keeps(reviewer, folder):
    reviewer.say("next")
    reviewer.edit("brush")
    reviewer.edit("margin")
    reviewer.key("Control-Z")
    assert list(tools_used(reviewer.mask)) == ["brush"], "what was undone does not count"
    reviewer.correct._keep_version()
    reviewer.settle()
    pump_until(lambda: "Kept as" in reviewer.correct.notice.text(), what="the version")
    assert kept(folder, "ball_0") == [("brush",)]
    assert not (folder / "labels" / "seg3d-review").exists(), "one place for all of them"
    assert Worklist.open(folder).entry("ball_0").state == "in work"
    reviewer.edit("napari brush")
    reviewer.say("approve")
    assert kept(folder, "ball_0") == [("brush",), ("napari brush",)]
    assert not pending_recoveries()
    reviewer.correct._keep_version()
    pump(0.2)
    assert "Nothing was changed" in reviewer.correct.notice.text()
    assert kept(folder, "ball_1") == []


def test_a_case_that_another_dock_opened_is_kept_in_the_review_too(reviewer, folder):
    data = session_of(reviewer.viewer).data
    data.show_case(data.dataset.case("ball_3"))
    pump_until(lambda: "ball_3 mask" in reviewer.viewer.layers, what="the case")
    mask = reviewer.viewer.layers["ball_3 mask"]
    mask.paint((1, 1, 1), 7)
    reviewer.correct._keep_version()
    pump_until(lambda: "Kept as" in reviewer.correct.notice.text(), what="the version")
    entry = reviewer.model.worklist.entry("ball_3")
    assert entry.state == "in work"
    assert np.array_equal(read_mask(entry.mask.file).data[0].transpose(2, 1, 0)[::, ::-1, ::-1], mask.data)


@pytest.mark.slow
def test_a_window_that_closes_keeps_the_mask_and_the_place(reviewer, folder, make_napari_viewer):
    reviewer.click_row("ball_2")
    reviewer.edit("brush")
    painted = reviewer.mask.data.copy()
    reviewer.comment("half done")
    reviewer.close()
    assert kept(folder, "ball_2") == [("brush",)]
    assert not pending_recoveries()
    again = Reviewer(make_napari_viewer(show=True), folder)
    entry = again.model.worklist.entry("ball_2")
    assert (entry.state, entry.comment) == ("in work", "half done")
    again.say("next")
    assert again.model.current == "ball_2", "where the reviewer stopped, and not the first case"
    assert np.array_equal(again.mask.data, painted)


def test_going_back_to_a_version_by_double_click(reviewer):
    reviewer.say("next")
    before = reviewer.mask.data.copy()
    reviewer.edit("brush")
    first = reviewer.mask.data.copy()
    reviewer.model.save()
    reviewer.settle()
    reviewer.edit("margin")
    reviewer.model.save()
    reviewer.settle()
    seen = []

    def choose() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, VersionsDialog)
        table = dialog.table
        seen.extend([table.item(row, 2).text(), table.item(row, 1).text()] for row in range(table.rowCount()))
        at = table.visualItemRect(table.item(1, 0)).center()
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
        QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
        if dialog.isVisible():
            dialog.done(QDialog.DialogCode.Rejected)

    QTimer.singleShot(300, choose)
    reviewer.correct._choose_version()
    reviewer.settle()
    assert seen == [["Grow or shrink", reviewer.model.worklist.who], ["Brush", reviewer.model.worklist.who]], (
        "the latest at the top"
    )
    assert np.array_equal(reviewer.mask.data, first)
    for _ in range(3):
        reviewer.key("Control-Z")
    assert np.array_equal(reviewer.mask.data, before), "all of it is undone"


def test_d_goes_through_the_differences_of_a_comparison(reviewer, folder):
    reviewer.say("next")
    reviewer.mask.paint((3, 3, 3), 7)
    reviewer.mask.paint((9, 3, 3), 7)
    reviewer.model.save()
    reviewer.settle()
    reviewer.review.compare.smallest.setValue(0)
    reviewer.say("compare")
    comparison = reviewer.model.comparison
    assert len(comparison.pieces) == 2
    places = {round(float(reviewer.viewer.dims.point[0] - reviewer.mask.translate[0]))}
    press(canvas_of(reviewer.viewer), "D")
    places.add(round(float(reviewer.viewer.dims.point[0] - reviewer.mask.translate[0])))
    assert places == {3, 9}
    assert comparison.index == 1
    press(canvas_of(reviewer.viewer), "Control-Alt-D")
    assert comparison.index == 0
    reviewer.key("Shift-B")
    assert session_of(reviewer.viewer).correct.scene.layer is reviewer.mask, "tools stay with the mask, not with the differences"


@pytest.mark.slow
def test_keys_work_from_the_table_the_comment_and_the_canvas(reviewer):
    model, correct = reviewer.model, session_of(reviewer.viewer).correct
    reviewer.click_row("ball_2")
    assert reviewer.review.table.view.hasFocus()
    at = reviewer.viewer.dims.point[0]
    reviewer.key("Right")
    assert reviewer.viewer.dims.point[0] != at, "slices, and not columns"
    reviewer.key("Shift-B")
    assert correct.tool is tool("brush")
    reviewer.key("Escape")
    assert correct.tool is None
    reviewer.say("flag")
    assert model.worklist.entry("ball_2").state == "flagged"
    assert model.current == "ball_3"
    reviewer.comment("blurred")
    reviewer.say("approve")
    assert model.worklist.entry("ball_3").comment == "blurred"
    assert model.current == "ball_4"
    reviewer.key("Shift-B")
    assert correct.tool is tool("brush"), "it is not typed into the comment of the next case"
    assert reviewer.review.comment.text() == ""
    reviewer.say("previous")
    reviewer.say("reopen")
    assert model.worklist.entry("ball_3").state == "in work"
    for name in ("next", "previous", "next", "comment"):
        reviewer.say(name)
    assert reviewer.review.comment.hasFocus()
    press_key(reviewer.review.comment, "Enter")
    assert canvas_of(reviewer.viewer).canvas.native.hasFocus()


def test_centres_of_a_table_become_nodules(make_napari_viewer, tmp_path, monkeypatch):
    ct = np.full((40, 44, 30), -850, np.int16)
    centres = [(10, 12, 8), (28, 30, 20)]
    grid = np.indices(ct.shape)
    for centre in centres:
        ct[sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)) <= 9] = 40
    affine = np.array([[-0.8, 0, 0, 100.0], [0, -0.8, 0, 60.0], [0, 0, 1.5, -200.0], [0, 0, 0, 1]])
    write_volume(Volume(ct[None], affine, "image"), tmp_path / "scan_1.nii.gz")
    rows = [(affine @ [*centre, 1])[:3] * (-1, -1, 1) for centre in [*centres, (99, 0, 0)]]
    table = tmp_path / "centres.csv"
    table.write_text("\n".join(["series_uid,x,y,z", *(f"scan_1,{x},{y},{z}" for x, y, z in rows), f"other,{rows[0][0]},0,0"]))
    viewer = make_napari_viewer(show=True)
    dock = viewer.window.add_plugin_dock_widget("napari-seg3d", "Correct")[1]
    scans = session_of(viewer).scans
    scans.open([tmp_path / "scan_1.nii.gz"])
    pump_until(lambda: scans.job is None and len(viewer.layers) == 1, what="the scan")
    dock.new_button.click()
    dock._press("brush")
    assert not dock.centres_button.isVisible()
    dock._press("nodule")
    assert dock.centres_button.isVisible()
    monkeypatch.setattr("napari_seg3d.widgets.correct.choose_file", lambda *_: table)
    dock.centres_button.click()
    mask = viewer.layers["scan_1 mask"].data
    assert np.array_equal(mask.transpose(2, 1, 0)[::-1, ::-1] > 0, ct > -700)
    assert "line 4 of centres.csv" in dock.notice.text()
    viewer.layers["scan_1 mask"].undo()
    assert not mask.any(), "one level"
    table.write_text("series_uid,x,y,z\nscan_1,1,2,3\nscan_1,1,2,x\n")
    dock.centres_button.click()
    assert "line 3: z is 'x'" in dock.notice.text()
    table.write_text("x,y,z\n0,0,0\n")
    dock.centres_button.click()
    assert "No centre" in dock.notice.text()
    assert "(line 2)" in dock.notice.text()
    assert not mask.any()
