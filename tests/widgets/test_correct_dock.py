"""The Correct dock as a reader uses it: keys and mouse on the canvas of a real viewer, undo to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.qt import QtViewer
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton, QToolButton

from napari_seg3d.editing.tool_spec import ToolSpec
from napari_seg3d.editing.tools import TOOLS, tool
from napari_seg3d.viewer.autosave import journal_of
from napari_seg3d.viewer.correct_keys import STEPS
from napari_seg3d.viewer.correct_steps import spots_of
from napari_seg3d.viewer.label_look import LabelStyle, set_styles, style_of
from napari_seg3d.viewer.layers import layer_data
from napari_seg3d.viewer.look import go_to_centre, show_radiological
from napari_seg3d.viewer.opening import find
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import Volume, write_volume
from napari_seg3d.widgets.correct import CorrectDock
from napari_seg3d.widgets.predict import PredictDock
from tests.hands import canvas_of, drag, mouse, pixel, press
from tests.pumping import pump, pump_until

SPACING = (2.0, 1.0, 1.0)
LOCKED, SPIKE = 7, 5000.0
MIDDLE = 8
# What makes each tool do something in `scene`: its label, its parameters, and where it is used, in (y, x) of the slice in the middle.
WORK: dict[str, tuple[int, dict[str, Any], list[tuple[float, float]]]] = {
    "brush": (1, {"radius_mm": 3.0}, [(4, 4), (4, 10)]),
    "threshold_brush": (1, {"radius_mm": 4.0, "intensities": [0.0, 100.0]}, [(12, 20), (12, 24)]),
    "adaptive_brush": (1, {"radius_mm": 3.0}, [(12, 21), (12, 23)]),
    "replace_brush": (1, {"radius_mm": 3.0, "below": [2]}, [(22, 6), (22, 9)]),
    "erase_brush": (1, {"radius_mm": 2.0}, [(12, 8)]),
    "polygon": (1, {}, [(2, 14), (2, 20), (6, 20), (6, 14)]),
    "flood_fill": (1, {}, [(22, 7)]),
    "grow_region": (1, {"tolerance": 60.0}, [(12, 22)]),
    "trace_level": (1, {}, [(12, 25)]),
    "nodule": (1, {}, [(12, 22)]),
    "copy_to_next": (2, {}, []),
    "copy_to_previous": (2, {}, []),
    "fill_between": (3, {}, []),
    "grow_from_seeds": (1, {}, []),
    "refine": (1, {"margin_mm": 4.0}, []),
    "smooth": (1, {"mm": 2.0}, []),
    "smooth_jointly": (1, {"mm": 1.5}, []),
    "margin": (1, {"mm": 2.0}, []),
    "hollow": (1, {"mm": 1.5}, []),
    "keep_largest": (1, {}, []),
    "drop_small": (1, {"least_ml": 0.02}, []),
    "keep_island": (1, {}, [(9, 8)]),
    "split_islands": (1, {}, []),
    "fill_holes": (1, {}, []),
    "split": (4, {"least_depth_mm": 0.0}, []),
    "split_by_seeds": (4, {}, [(19, 15), (19, 26)]),
    "combine": (1, {"other": 2}, []),
    "cut": (1, {"by": [2]}, []),
    "merge": (1, {"labels": [2]}, []),
}


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A scan with two bright balls in air, one of them painted; blocks, a barbell, a locked label, and voxels that may not be painted."""
    z, y, x = np.meshgrid(*(np.arange(size) * step for size, step in zip((17, 26, 30), SPACING, strict=True)), indexing="ij")
    random = np.random.default_rng(0)
    balls = [np.sqrt((z - 16) ** 2 + (y - 12) ** 2 + (x - at) ** 2) < 4.5 for at in (8, 22)]
    image = np.where(balls[0] | balls[1], 50.0, -900.0) + random.normal(0, 5, z.shape)
    mask = np.zeros(z.shape, np.uint8)
    mask[balls[0]] = 1
    mask[MIDDLE, 12, 8] = mask[MIDDLE, 12, 9] = 0  # a hole
    mask[MIDDLE, 2:4, 2:4] = 1  # an island
    mask[MIDDLE, 20:24, 4:11] = 2
    mask[2, 2:8, 22:28] = mask[6, 3:8, 22:27] = 3
    mask[6:11, 18:22, 14:19] = mask[6:11, 18:22, 23:28] = mask[7:10, 19:21, 18:24] = 4
    mask[6:11, 8:16, 11:13] = LOCKED
    image[:, 5, :] = image[:, 21, :] = SPIKE
    return image.astype(np.float32), mask


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1366, 768)
    return viewer


@pytest.fixture
def dock(viewer) -> CorrectDock:
    dock = viewer.window.add_plugin_dock_widget("napari-seg3d", "Correct")[1]
    pump(0.2)
    return dock


def show_scene(viewer, is_flat: bool = False) -> Labels:
    image, mask = scene()
    if is_flat:
        image, mask = image[MIDDLE].copy(), mask[MIDDLE].copy()
    scale = SPACING[-image.ndim :]
    viewer.add_image(image, name="scan", scale=scale)
    layer = viewer.add_labels(mask, name="mask", scale=scale)
    set_styles(layer, {LOCKED: LabelStyle("vessel", "#ff0000", locked=True)})
    if not is_flat:
        viewer.dims.set_point(0, MIDDLE * SPACING[0])
    viewer.reset_view()
    pump(0.2)
    return layer


def settle(dock: CorrectDock) -> None:
    pump_until(lambda: dock._model.job is None, what="the tool")
    pump(0.1)


def use(dock: CorrectDock, viewer, spec: ToolSpec, model=None, view: QtViewer | None = None) -> None:
    """Take a tool by its key and use it with the mouse, in the slice that is shown."""
    layer = dock._model.scene.layer
    model, view = model or viewer, view or canvas_of(viewer)
    label, values, places = WORK[spec.id]
    layer.selected_label = label
    dock._model.set_values(spec, values)
    press(view, spec.key)
    points = [pixel(model, view, layer.data_to_world((*((MIDDLE,) if layer.ndim == 3 else ()), *place))) for place in places]
    if spec.gesture == "stroke":
        drag(view, points)
    elif spec.gesture in ("click", "clicks", "polygon"):
        for point in points:
            drag(view, [point])
            pump(0.02)
    if spec.gesture in ("clicks", "polygon", "label"):
        press(view, "Enter")
    settle(dock)


def check_each_tool(dock: CorrectDock, viewer, specs) -> None:
    layer = dock._model.scene.layer
    image, before = viewer.layers["scan"].data, layer.data.copy()
    dock._model.set_range((-2000.0, 2000.0))
    for spec in specs:
        use(dock, viewer, spec)
        after = layer.data.copy()
        changed = after != before
        assert changed.any(), (spec.id, dock.notice.text())
        assert "changed" in dock.notice.text(), spec.id
        assert not (changed & ((before == LOCKED) | (after == LOCKED))).any(), spec.id
        assert not (changed & (image == SPIKE)).any(), spec.id
        assert len(layer._undo_history) == 1, (spec.id, "one level, whatever the gesture")
        layer.undo()
        assert np.array_equal(layer.data, before), spec.id
        layer.redo()
        assert np.array_equal(layer.data, after), spec.id
        layer.undo()
        if spec.gesture in ("copy_to_next", "slice"):
            viewer.dims.set_point(0, MIDDLE * SPACING[0])
        press(canvas_of(viewer), "Escape")
        assert dock._model.tool is None, spec.id


@pytest.mark.slow
def test_every_tool_by_key_and_mouse_in_a_volume(viewer, dock):
    show_scene(viewer)
    assert set(WORK) == {spec.id for spec in TOOLS}
    check_each_tool(dock, viewer, TOOLS)


@pytest.mark.slow
def test_every_tool_by_key_and_mouse_in_a_radiograph(viewer, dock):
    show_scene(viewer, is_flat=True)
    flat = [spec for spec in TOOLS if spec.gesture != "slice"]
    check_each_tool(dock, viewer, flat)
    press(canvas_of(viewer), "Shift-Right")
    assert "but one" in dock.notice.text()


def test_it_paints_where_the_mouse_is_and_says_how_much(viewer, dock):
    layer = show_scene(viewer)
    view = canvas_of(viewer)
    layer.data[:] = 0
    use(dock, viewer, tool("brush"))
    painted = np.argwhere(layer.data == 1) * SPACING
    (from_,), (to,) = [[(MIDDLE * 2.0, *place)] for place in WORK["brush"][2]]
    along = np.clip((painted - from_) @ (np.array(to) - from_) / np.sum((np.array(to) - from_) ** 2), 0, 1)
    far = np.linalg.norm(painted - (np.array(from_) + along[:, None] * (np.array(to) - from_)), axis=1)
    assert far.max() < 3.2, "within the radius of the line, and a pixel of the screen"
    assert (layer.data[MIDDLE - 1] == 1).any(), "a ball, and no disc"
    number = int((layer.data == 1).sum())
    assert f"{number} voxels" in dock.notice.text().replace("\u202f", "")
    assert dock.undo_button.text() == "Undo (1)"
    dock.undo_button.click()
    assert not layer.data.any()
    pump_until(lambda: dock.redo_button.text() == "Redo (1)", what="the redo")
    layer.mode = "paint"
    pump(0.05)
    assert dock._model.tool is None, "napari's brush is taken instead"
    drag(view, [pixel(viewer, view, layer.data_to_world((MIDDLE, 12, 15)))])
    pump_until(lambda: dock.undo_button.text() == "Undo (1)", what="one pile for both")


def test_escape_drops_what_is_half_drawn(viewer, dock):
    layer = show_scene(viewer)
    view, before = canvas_of(viewer), None
    before = layer.data.copy()
    at = [pixel(viewer, view, layer.data_to_world((MIDDLE, *place))) for place in ((4, 4), (4, 12))]
    press(view, "Shift-B")
    mouse(view, QEvent.Type.MouseButtonPress, at[0])
    mouse(view, QEvent.Type.MouseMove, at[1])
    assert not np.array_equal(layer.data, before), "it is seen while it is drawn"
    press(view, "Escape")
    assert np.array_equal(layer.data, before)
    mouse(view, QEvent.Type.MouseButtonRelease, at[1])
    assert np.array_equal(layer.data, before)
    assert len(layer._undo_history) == 0
    press(view, "Shift-P")
    for point in at:
        drag(view, [point])
    assert len(dock._model.points) == 2
    press(view, "Escape")
    assert dock._model.points == []
    assert dock._model.tool is tool("polygon")
    press(view, "Escape")
    assert dock._model.tool is None


@pytest.mark.slow
def test_in_a_linked_view_the_plane_is_its_own(viewer, dock):
    image, mask = scene()
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    show_radiological(viewer)
    for data, kind, name in ((image, "image", "scan"), (np.zeros_like(mask), "labels", "mask")):
        (one,) = layer_data(Volume(data.transpose(2, 1, 0)[None].copy(), affine, kind), name)
        viewer.add_layer(Layer.create(*one))
    layer = viewer.layers["mask"]
    go_to_centre(viewer, layer)
    ortho = session_of(viewer).ortho
    press(canvas_of(viewer), "Shift-B")
    ortho.show(viewer.window._qt_window)
    pump(0.5)
    (coronal, view), *_ = ortho.views
    dock._model.set_values(tool("brush"), {"radius_mm": 2.0, "in_slice": True})
    row = round(float(layer.world_to_data(coronal.dims.point)[1]))
    press(view, "Shift-B")
    ends = [pixel(coronal, view, layer.data_to_world((at, row, 10))) for at in (5, 11)]
    drag(view, ends)
    painted = np.argwhere(layer.data == 1)
    assert set(painted[:, 1]) == {row}, "a disc in the coronal slice"
    assert set(range(5, 12)) <= set(painted[:, 0])
    assert len(layer._undo_history) == 1
    press(view, "Shift-P")
    for z, x in ((2, 18), (2, 25), (8, 25), (8, 18)):
        drag(view, [pixel(coronal, view, layer.data_to_world((z, row, x)))])
    press(view, "Enter")
    assert layer.data[5, row, 21] == 1
    press(view, "Shift-Right")
    assert layer.data[5, row + 1, 21] == 1, "copied along the plane of the view"
    assert round(float(layer.world_to_data(viewer.dims.point)[1])) == row + 1, "and all views go there"
    for _ in range(3):
        layer.undo()
    assert not layer.data.any()
    press(view, "Escape")
    ortho.hide()
    press(canvas_of(viewer), "Shift-B")
    assert dock._model.tool is tool("brush")


def test_a_long_tool_is_cancelled_or_finds_the_mask_edited(viewer, dock):
    layer = show_scene(viewer)
    viewer.add_image(np.zeros((68, 208, 240), np.float32))
    layer = viewer.add_labels(np.kron(layer.data, np.ones((4, 8, 8), np.uint8)))  # large enough for some steps
    view, before = canvas_of(viewer), layer.data.copy()
    layer.selected_label = 1
    press(view, "Shift-S")
    dock.apply_button.click()
    assert dock._model.job is not None
    dock.progress.button.click()
    settle(dock)
    assert "cancelled" in dock.notice.text()
    assert np.array_equal(layer.data, before)

    dock.apply_button.click()
    layer.paint((MIDDLE * 4, 9 * 8, 8 * 8), 2)
    painted = layer.data.copy()
    settle(dock)
    assert np.array_equal(layer.data, painted), "the edit that came first stays"
    assert dock.again_button.isVisible()
    dock.again_button.click()
    settle(dock)
    assert not dock.again_button.isVisible()
    assert not np.array_equal(layer.data, painted)

    dock.apply_button.click()
    viewer.layers.remove(layer)
    settle(dock)
    assert "closed" in dock.notice.text() or dock.notice.text() == ""


def test_keys_break_none_of_napari_and_end_with_the_dock(viewer, dock):
    layer = show_scene(viewer)
    ours = {coerce_keybinding(key) for key in [*(spec.key for spec in TOOLS), *STEPS]} - {
        coerce_keybinding(key) for key in ("Escape", "Enter")
    }
    napari = {*Labels.class_keymap, *Image.class_keymap, *ViewerModel.class_keymap}
    assert not {str(key) for key in ours} & {str(key) for key in napari}
    view = canvas_of(viewer)
    press(view, "2")
    assert layer.mode == "paint"
    press(view, "6")
    assert layer.mode == "pan_zoom"
    press(view, "3")
    press(view, "Escape")
    press(view, "Enter")  # napari's own polygon has them
    press(view, "F1")
    assert dock._sheet.isVisible()
    text = " ".join(label.text() for label in dock._sheet.findChildren(QLabel))
    for spec in TOOLS:
        assert spec.title in text
    dock._sheet.close()
    session_of(viewer).correct_hand.stop()
    press(view, "Shift-B")
    assert dock._model.tool is None


def test_from_place_to_place(viewer, dock):
    layer = show_scene(viewer)
    view = canvas_of(viewer)
    pump_until(lambda: any(row.value == 4 and row.voxels for row in dock._labels.rows), what="the count of the labels")

    def slice_now() -> int:
        return round(viewer.dims.point[0] / SPACING[0])

    layer.selected_label = 3
    press(view, "Control-Alt-N")
    assert slice_now() == 6
    press(view, "Control-Alt-N")
    assert slice_now() == 2
    press(view, "Control-Alt-N")
    assert slice_now() == 2
    assert "no slice before" in dock.notice.text()
    press(view, "N")
    assert slice_now() == 6
    press(view, ".")
    assert layer.selected_label == 4
    press(view, ",")
    press(view, ",")
    assert layer.selected_label == 2

    press(view, "U")
    assert "no map" in dock.notice.text()
    uncertain = np.zeros(layer.data.shape, np.float32)
    uncertain[3, 5, 5], uncertain[12, 20, 25] = 0.5, 0.9
    viewer.add_image(uncertain, name="scan uncertainty", scale=SPACING)
    viewer.layers.selection.active = layer
    press(view, "U")
    pump_until(lambda: not session_of(viewer).correct_steps.is_looking)
    assert slice_now() == 12
    press(view, "U")
    assert slice_now() == 3
    assert "2 of 2" in dock.notice.text()
    press(view, "D")
    assert "Review" in dock.notice.text()


def test_spots_go_from_high_to_low():
    values = np.zeros((40, 40), np.float32)
    values[5, 5], values[5, 30], values[30, 8], values[6, 6] = 0.3, 0.9, 0.6, 0.2
    assert spots_of(values, (1.0, 1.0)) == [(5, 30), (30, 8), (5, 5)]
    assert spots_of(np.zeros((4, 4)), (1.0, 1.0)) == []


def test_what_is_chosen_is_followed_and_limits_hold_for_the_brush_of_napari(viewer, dock):
    assert not dock.palette_.buttons["brush"].isEnabled()
    dock.new_button.click()
    assert "no image" in dock.notice.text()
    layer = show_scene(viewer)
    assert dock.masks.currentText() == "mask"
    assert dock.images.currentText() == "scan"
    assert "vessel" in dock.locks.text()
    assert dock.labels.currentData() == layer.selected_label
    pump_until(lambda: dock.labels.findData(2) > 0, what="the count of the labels")
    dock.labels.setCurrentIndex(dock.labels.findData(2))
    dock.labels.activated.emit(dock.labels.currentIndex())
    assert layer.selected_label == 2
    dock.low.setValue(0)
    dock.high.setValue(100)
    dock.limit.setChecked(True)
    before = layer.data.copy()
    layer.paint((MIDDLE, 3, 15), 1)
    assert np.array_equal(layer.data, before), "air"
    layer.paint((MIDDLE, 12, 22), 1)
    assert layer.data[MIDDLE, 12, 22] == 1
    dock.limit.setChecked(False)
    layer.paint((MIDDLE, 3, 15), 1)
    assert layer.data[MIDDLE, 3, 15] == 1
    layer.selected_label = LOCKED
    use_locked = tool("margin")
    dock._model.take(use_locked.id)
    dock.apply_button.click()
    settle(dock)
    assert "locked" in dock.notice.text()
    dock.new_button.click()
    assert viewer.layers.selection.active.name == "scan mask"
    assert dock.masks.currentText() == "scan mask"
    assert not viewer.layers["scan mask"].data.any()
    dock._model.take("combine")
    pump(0.05)
    assert dock.sources.isVisible()
    dock.sources.setCurrentIndex(1)
    dock.sources.activated.emit(1)
    dock._model.set_values(tool("combine"), {"other": 4, "operation": "copy"})
    dock.apply_button.click()
    settle(dock)
    assert np.array_equal(viewer.layers["scan mask"].data == 1, layer.data == 4), "taken over from another mask"


def test_versions_are_kept_and_come_back(viewer, dock, tmp_path):
    image, mask = scene()
    paths = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    for data, kind, path in ((image, "image", paths[0]), (mask, "labels", paths[1])):
        write_volume(Volume(data.transpose(2, 1, 0)[None].copy(), np.diag([-1.0, 1, 2, 1]), kind), path)
    session_of(viewer).scans.show(find(list(paths)))
    layer = next(one for one in viewer.layers if isinstance(one, Labels))
    viewer.layers.selection.active = layer
    source = paths[1].read_bytes()
    pump(0.1)
    first = layer.data.copy()
    start = session_of(viewer).correct_start
    dock._model.take("keep_largest")
    dock._model.label_before = layer.selected_label
    layer.selected_label = 1
    dock.apply_button.click()
    settle(dock)
    start.keep("anna")
    settle(dock)
    (version,) = start.versions()
    assert version.author == "anna"
    assert version.tools == ("keep_largest",)
    edited = layer.data.copy()
    layer.undo()
    assert np.array_equal(layer.data, first)
    start.go_back(version)
    settle(dock)
    assert np.array_equal(layer.data, edited)
    layer.undo()
    assert np.array_equal(layer.data, first)
    assert paths[1].read_bytes() == source

    layer.paint((0, 0, 0), 1)
    assert journal_of(layer) is not None
    predict = viewer.window.add_plugin_dock_widget("napari-seg3d", "Predict")[1]
    predict.save_to(layer, tmp_path / "saved.nii.gz")
    pump_until(lambda: "Saved" in predict.notice.text())
    assert journal_of(layer) is None, "what is saved needs no recovery"


def test_a_prediction_is_a_start(viewer, dock, ball_dataset, finished_run):
    path = ball_dataset / "images" / "ball_0.nii.gz"
    session_of(viewer).scans.show(find([path]))
    pump(0.1)
    dock.predict(False)
    assert "no model" in dock.notice.text()
    predict: PredictDock = viewer.window.add_plugin_dock_widget("napari-seg3d", "Predict")[1]
    predict.add_model(finished_run.best)
    pump(0.1)
    dock.predict(False)
    settle(dock)
    layer = dock._model.scene.layer
    assert layer.name == "ball_0 mask"
    assert (layer.data == 3).any(), dock.notice.text()
    assert style_of(layer, 3).name == "label 3"
    found = layer.data.copy()
    layer.undo()
    layer.data_setitem((np.array([5]), np.array([5]), np.array([5])), 9)
    layer.data[layer.data == 0] = 0
    dock.predict(True)
    settle(dock)
    assert layer.data[5, 5, 5] == 9
    elsewhere = np.ones(layer.data.shape, bool)
    elsewhere[5, 5, 5] = False
    assert np.array_equal(layer.data[elsewhere], found[elsewhere])


@pytest.mark.slow
@pytest.mark.parametrize("title", ["Correct", "Scans", "Data"])
def test_what_a_killed_viewer_left_is_offered(make_napari_viewer, tmp_path, title):
    image, mask = scene()
    paths = tmp_path / "case.nii.gz", tmp_path / "case_seg.nii.gz"
    for data, kind, path in ((image, "image", paths[0]), (mask, "labels", paths[1])):
        write_volume(Volume(data.transpose(2, 1, 0)[None].copy(), np.diag([-1.0, 1, 2, 1]), kind), path)
    script = Path(__file__).parents[1] / "viewer" / "painting.py"
    root = str(Path(__file__).parents[2])
    painter = subprocess.Popen(
        [sys.executable, str(script), *map(str, paths)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    assert painter.stdout is not None
    for line in painter.stdout:
        if line.startswith("12 "):
            break
    painter.send_signal(signal.SIGKILL)
    painter.wait()

    viewer = make_napari_viewer(show=True)
    other, dock = (viewer.window.add_plugin_dock_widget("napari-seg3d", one)[1] for one in ("Review", title))
    pump(0.2)
    assert dock.recovery.isVisible()
    assert "case_seg" in " ".join(label.text() for label in dock.recovery.findChildren(QLabel))
    assert other.recovery.isVisibleTo(other)
    assert len(viewer.layers) == 0, "nothing comes back without being asked for"
    dock.recovery.recover_buttons[0].click()
    pump_until(lambda: dock.recovery.job is None, what="the recovery")
    assert [layer.name for layer in viewer.layers] == ["case", "case_seg"]
    assert (viewer.layers["case_seg"].data != mask).any()
    assert not dock.recovery.isVisible()
    assert not other.recovery.isVisibleTo(other), "nor is it offered elsewhere"
    assert "Save it" in dock.notice.text()


def test_everything_fits_and_says_what_it_is(viewer, dock):
    show_scene(viewer)
    for spec in TOOLS:
        dock._model.take(spec.id)
        pump(0.05)
        assert dock.widget().minimumSizeHint().width() <= dock.viewport().width() <= 360, spec.id
        for kind in (QPushButton, QToolButton, QComboBox):
            for control in dock.widget().findChildren(kind):
                if control.isVisible() and control.text() if kind is not QComboBox else control.isVisible():
                    assert control.toolTip() or control.parentWidget().toolTip(), (spec.id, control)
                    needed = control.fontMetrics().horizontalAdvance(control.text()) if kind is not QComboBox else 0
                    assert control.width() >= needed, (spec.id, control.text())
