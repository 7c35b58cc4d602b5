"""Four linked views in a real window: the same place, the same voxels, the same tools."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.layers import Layer
from napari.qt import QtViewer
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_seg3d.viewer.half_made import HalfMade
from napari_seg3d.viewer.layers import layer_data
from napari_seg3d.viewer.look import go_to_centre, show_radiological
from napari_seg3d.viewer.session import session_of
from napari_seg3d.viewer.stage import Picture
from napari_seg3d.volumes import Label, Volume, box_of
from tests.pumping import pump, pump_until

SHAPE = (20, 24, 16)  # I, J, K of a scan that runs to right, anterior and superior


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    show_radiological(viewer)
    data = np.random.default_rng(0).normal(100, 20, (1, *SHAPE)).astype(np.float32)
    (image,) = layer_data(Volume(data, np.diag([1.0, 1, 2, 1])), "scan")
    (mask,) = layer_data(Volume(np.zeros((1, *SHAPE), np.uint8), np.diag([1.0, 1, 2, 1]), "labels"), "mask")
    for one in (image, mask):
        viewer.add_layer(Layer.create(*one))
    go_to_centre(viewer, viewer.layers[0])
    pump(0.2)
    return viewer


@pytest.fixture
def ortho(viewer):
    ortho = session_of(viewer).ortho
    ortho.show(viewer.window._qt_window)
    pump(0.5)
    yield ortho
    ortho.hide()


def models(ortho):
    coronal, sagittal, solid = (view.model for view in ortho._views)
    return coronal, sagittal, solid


def test_each_view_shows_its_plane_of_the_same_voxels(viewer, ortho):
    coronal, sagittal, solid = models(ortho)
    assert viewer.dims.displayed == (1, 2)
    assert coronal.dims.displayed == (0, 2)
    assert sagittal.dims.displayed == (0, 1)
    assert solid.dims.ndisplay == 3
    for model in models(ortho):
        assert [layer.name for layer in model.layers] == ["scan", "mask"]
        assert np.shares_memory(model.layers[1].data, viewer.layers["mask"].data)


@pytest.mark.slow
def test_the_mask_lies_over_the_scan_in_the_first_view_too(viewer):
    """Qt gives a canvas that is moved a new context, in which napari had not said that what lies on the scan is drawn."""
    viewer.layers["mask"].data[:] = 1
    viewer.layers["mask"].refresh()
    window = viewer.window._qt_window
    main = window.centralWidget().findChild(QtViewer)

    def coloured() -> bool:
        pump(0.5)
        picture = main.grab().toImage()
        colour = picture.pixelColor(picture.width() // 2 - 30, picture.height() // 2 - 40)
        return colour.red() - colour.green() > 30

    ortho = session_of(viewer).ortho
    ortho.show(window)
    assert coloured()
    assert coloured()
    ortho.hide()
    assert coloured()
    assert coloured()


def test_a_place_in_one_view_is_the_place_in_all(viewer, ortho):
    coronal, sagittal, _ = models(ortho)
    viewer.dims.point = (10, 5, 7)
    assert coronal.dims.point == sagittal.dims.point == viewer.dims.point
    sagittal.dims.set_point(2, 3)
    assert viewer.dims.point == (10, 5, 3)
    axial, front, side = ortho._crosshairs
    assert {axis for axis, _ in axial.lines()} == {1, 2}
    assert {axis for axis, _ in front.lines()} == {0, 2}
    assert {axis for axis, _ in side.lines()} == {0, 1}


def test_a_click_brings_all_views_to_the_place_under_the_mouse(viewer, ortho):
    coronal, _, _ = models(ortho)
    widget = ortho._views[0].widget
    canvas = widget.canvas.native
    pressed = QPoint(canvas.width() // 2 + 20, canvas.height() // 2 - 15)
    QTest.mouseMove(canvas, pressed)
    pump(0.1)
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=pressed)
    pump(0.2)
    # The lines cross at the pixel that was clicked, within the step of a slice.
    (_, across), (_, down) = ortho._crosshairs[1].lines()
    assert abs(across.top() - pressed.y()) <= coronal.scene.camera.zoom * 2 / 2 + 2
    assert abs(down.left() - pressed.x()) <= coronal.scene.camera.zoom / 2 + 2
    assert viewer.dims.point == coronal.dims.point


def test_painting_in_one_view_paints_in_all_and_can_be_undone_from_the_first(viewer, ortho):
    coronal, _, _ = models(ortho)
    mask = viewer.layers["mask"]
    viewer.layers.selection.active = mask
    assert coronal.layers.selection.active is coronal.layers["mask"]
    mask.selected_label = 5
    mask.brush_size = 3
    mirrored = coronal.layers["mask"]
    assert (mirrored.selected_label, mirrored.brush_size) == (5, 3)
    mirrored.paint((8, 12, 10), 5)
    assert (mask.data == 5).sum() > 0
    painted = np.argwhere(mask.data == 5)
    assert len({y for _, y, _ in painted}) == 1  # in the plane of the view that was painted in
    mask.undo()
    assert not mask.data.any()
    viewer.dims.point = (16, 12, 10)
    mask.paint((8, 12, 10), 5)
    pump(0.1)
    assert (np.asarray(mirrored._slice.image.raw) == 5).any()


def test_a_mask_that_is_being_made_fills_in_all_views_and_is_painted_when_it_is_whole(viewer, ortho):
    coronal, _, _ = models(ortho)
    scan = Volume(np.zeros((1, *SHAPE), np.float32), np.diag([1.0, 1, 2, 1]))
    half = HalfMade(viewer, session_of(viewer).stage, viewer.layers["scan"], scan, "organ", None)
    left, right = box_of((0, 0, 0), (10, 24, 16)), box_of((10, 0, 0), SHAPE)
    ones = np.ones((1, 10, 24, 16), np.uint8)
    half.take(left, ones, {1: Label("organ")})
    pump(0.1)
    mirrored = coronal.layers["organ (being made)"]
    assert not mirrored.editable
    assert np.asarray(mirrored._slice.image.raw).mean() == 0.5
    half.take(right, ones, {1: Label("organ")})
    pump_until(lambda: np.asarray(mirrored._slice.image.raw).all(), what="the second part in the second view")
    whole = Volume(np.ones((1, *SHAPE), np.uint8), scan.affine, "labels")
    (mask,) = half.finish([Picture.of(whole, "organ")])
    assert mirrored.editable
    mirrored.paint((8, 12, 10), 0)
    assert not mask.data.all()
    mask.undo()
    assert mask.data.all()
    assert mirrored.data is mask.data


def test_looks_are_shared(viewer, ortho):
    coronal, _, solid = models(ortho)
    viewer.layers["scan"].contrast_limits = (50, 150)
    assert tuple(coronal.layers["scan"].contrast_limits) == (50, 150)
    coronal.layers["scan"].contrast_limits = (60, 140)
    assert tuple(viewer.layers["scan"].contrast_limits) == (60, 140)
    viewer.layers["mask"].visible = False
    assert not coronal.layers["mask"].visible
    assert solid.layers["scan"].visible  # with no mask to show, the scan itself
    viewer.layers["mask"].visible = True
    assert not solid.layers["scan"].visible


@pytest.mark.slow
def test_layers_come_and_go_in_all_views(viewer, ortho):
    coronal, _, _ = models(ortho)
    viewer.add_points(np.zeros((1, 3)))  # not mirrored, and no harm
    viewer.add_image(np.zeros((16, 24, 20)), name="second")
    assert [layer.name for layer in coronal.layers] == ["scan", "mask", "second"]
    viewer.layers.move(viewer.layers.index("second"), 0)
    assert [layer.name for layer in coronal.layers] == ["second", "scan", "mask"]
    viewer.layers.remove("scan")
    assert [layer.name for layer in coronal.layers] == ["second", "mask"]
    viewer.layers.clear()
    assert not len(coronal.layers)


@pytest.mark.slow
def test_hiding_leaves_the_first_view_as_it_was_and_frees_the_others(viewer):
    ortho = session_of(viewer).ortho
    window = viewer.window._qt_window
    main = window.centralWidget().findChild(QtViewer)
    ortho.show(window)
    pump(0.3)
    gone = [weakref.ref(view.model) for view in ortho._views]
    ortho.hide()
    pump(0.3)
    gc.collect()
    assert window.centralWidget().findChildren(QtViewer) == [main]
    assert main.isVisible()
    assert not ortho.is_shown
    assert [one() for one in gone] == [None, None, None]
    viewer.layers["mask"].paint((8, 12, 10), 1)  # nothing listens any more that is gone
    ortho.show(window)
    pump(0.2)
    assert ortho.is_shown
    ortho.hide()
