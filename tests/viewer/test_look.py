"""How a viewer looks at a patient: letters, sides, read-out and windows, in a real window."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels, Layer
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_seg3d.viewer.layers import frame_of, layer_data
from napari_seg3d.viewer.look import go_to_centre, read_out, show_plane, show_radiological
from napari_seg3d.viewer.windows import CT_WINDOWS, limits_of, preset_limits, set_window
from napari_seg3d.volumes import Label, Volume
from tests.pumping import pump

# Voxels run to the patient's left, to posterior and to superior, as in most CT.
LPS = np.array([[-2.0, 0, 0, 50], [0, -2, 0, 40], [0, 0, 3, -30], [0, 0, 0, 1]])


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    pump(0.2)
    return viewer


def add(viewer, volume: Volume, name: str = "scan"):
    show_radiological(viewer)
    (one,) = layer_data(volume, name)
    layer = viewer.add_layer(Layer.create(*one))
    go_to_centre(viewer, layer)
    pump(0.1)
    return layer


def letters(viewer) -> dict[str, str]:
    overlays = viewer.canvas.overlays
    return {edge: overlays[f"seg3d_{edge}"].text for edge in ("middle_left", "middle_right", "top_center", "bottom_center")}


def ct() -> Volume:
    data = np.full((1, 20, 20, 10), -1000, np.int16)
    data[0, 5:15, 5:15, 2:8] = 40
    data[0, 5, 6, 7] = 123
    return Volume(data, LPS, modality="CT")


@pytest.mark.parametrize(
    ("plane", "expected"),
    [(0, ("R", "L", "A", "P")), (1, ("R", "L", "S", "I")), (2, ("A", "P", "S", "I"))],
    ids=["axial", "coronal", "sagittal"],
)
def test_letters_of_each_plane_are_those_of_a_radiologist(viewer, plane, expected):
    add(viewer, ct())
    show_plane(viewer, plane)
    assert tuple(letters(viewer).values()) == expected


def test_letters_stand_at_the_side_where_the_patient_has_it(viewer):
    """Not by our own book-keeping: what is marked on the patient's right must be drawn where the R stands."""
    mask = np.zeros((1, 20, 20, 10), np.uint8)
    mask[0, 1:4, 9:11, 4:6] = 1  # low I is the patient's right in this affine
    layer = add(viewer, Volume(mask, LPS, "labels"))
    right_first = layer.metadata["napari_seg3d"].grid.to_world(np.array([[2, 10, 5]]))[0][0]
    assert right_first > 20  # x of RAS+ grows to the right
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    coloured = picture.max(axis=2) - picture.min(axis=2) > 60
    assert np.argwhere(coloured)[:, 1].mean() < picture.shape[1] / 2
    assert letters(viewer)["middle_left"] == "R"


def test_the_patient_is_not_mirrored_in_3d(viewer):
    mask = np.zeros((1, 30, 30, 30), np.uint8)
    mask[0, 24:28, 13:17, 13:17] = 1
    layer = add(viewer, Volume(mask, np.diag([1.0, 1, 1, 1]), "labels"))
    assert isinstance(layer, Labels)
    viewer.dims.ndisplay = 3
    # From the front of the patient, with the head up, the right hand is on the left of the screen.
    viewer.scene.camera.set_view_direction((0, -1, 0), up_direction=(1, 0, 0))
    pump(0.3)
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    coloured = picture.max(axis=2) - picture.min(axis=2) > 60
    assert coloured.any()
    assert np.argwhere(coloured)[:, 1].mean() < picture.shape[1] / 2
    assert set(letters(viewer).values()) == {""}


def test_a_scan_that_does_not_say_how_it_lies_has_no_letters(viewer):
    volume = ct()
    add(viewer, Volume(volume.data, volume.affine, is_oriented=False))
    assert set(letters(viewer).values()) == {""}
    assert "does not say" in viewer.canvas.overlays["seg3d_read_out"].text
    assert " mm" not in read_out(viewer, viewer.dims.point)


def test_an_oblique_scan_has_letters_of_both_directions(viewer):
    turned = np.deg2rad(30)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]]
    add(viewer, Volume(np.random.default_rng(0).normal(size=(1, 9, 9, 9)), affine))
    assert tuple(letters(viewer).values()) == ("RA", "LP", "AL", "PR")


def test_the_read_out_names_voxel_place_intensity_and_label(viewer):
    image = add(viewer, ct())
    mask = np.zeros((1, 20, 20, 10), np.uint8)
    mask[0, 5, 6, 7] = 3
    add(viewer, Volume(mask, LPS, "labels", labels={3: Label("liver")}), "mask")
    x, y, z = (LPS @ (5, 6, 7, 1))[:3]
    assert (x, y, z) == (40, 28, -9)
    assert read_out(viewer, (z, y, x)) == "voxel 5, 6, 7   R 40.0  A 28.0  I 9.0 mm   123 HU   liver"
    assert read_out(viewer, (z, y, 400.0)) == "R 400.0  A 28.0  I 9.0 mm"
    image.visible = False
    assert read_out(viewer, (z, y, x)).endswith("liver")


def test_the_read_out_of_a_resampled_scan_is_that_of_its_file(viewer):
    add(viewer, ct())
    turned = np.deg2rad(20)
    affine = np.array(
        [[np.cos(turned), -np.sin(turned), 0, 10], [np.sin(turned), np.cos(turned), 0, 5], [0, 0, 2, -25], [0, 0, 0, 1]]
    )
    data = np.random.default_rng(0).integers(0, 30000, (1, 15, 16, 8)).astype(np.int16)
    (one,) = layer_data(Volume(data, affine), "second", frame=frame_of(viewer.layers))
    viewer.add_layer(Layer.create(*one))
    place = (affine @ (7, 8, 3, 1))[:3]
    assert read_out(viewer, tuple(place[::-1])).startswith("voxel 7, 8, 3 ")
    assert read_out(viewer, tuple(place[::-1])).endswith(f"   {data[0, 7, 8, 3]}")


def test_a_ct_opens_in_the_soft_tissue_window_and_knows_the_others(viewer):
    image = add(viewer, ct())
    assert limits_of(image) == CT_WINDOWS["Soft tissue"]
    assert set(CT_WINDOWS) < set(preset_limits(image))
    set_window(image, *CT_WINDOWS["Lung"])
    assert limits_of(image) == CT_WINDOWS["Lung"]
    set_window(image, 0, 50000)  # wider than the values are
    assert limits_of(image) == (0, 50000)


def test_raw_numbers_of_a_ct_are_not_called_hu(viewer):
    image = add(viewer, Volume(ct().data + 1000, LPS, modality="CT"))
    assert "Lung" not in preset_limits(image)
    assert "HU" not in read_out(viewer, viewer.dims.point)


def test_dragging_with_the_right_button_changes_the_window_and_not_the_view(viewer):
    image = add(viewer, ct())
    canvas = viewer.window._qt_viewer.canvas.native
    zoom, centre, before = viewer.scene.camera.zoom, viewer.scene.camera.center, limits_of(image)
    start = QPoint(canvas.width() // 2, canvas.height() // 2)
    _drag(canvas, start, start + QPoint(80, -60), Qt.MouseButton.RightButton)
    level, width = limits_of(image)
    assert width > 1.2 * before[1]
    assert level > before[0] + 50
    assert (viewer.scene.camera.zoom, viewer.scene.camera.center) == (zoom, centre)
    assert viewer.scene.camera.mouse_pan


def _drag(canvas, start: QPoint, end: QPoint, button) -> None:
    QTest.mousePress(canvas, button, pos=start)
    for step in range(1, 6):
        QTest.mouseMove(canvas, start + (end - start) * step / 5)
        pump(0.02)
    QTest.mouseRelease(canvas, button, pos=end)
    pump(0.05)


def test_a_radiograph_is_seen_from_its_own_side(viewer):
    """A single coronal slice: seen from the front, not along its edge."""
    affine = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    image = add(viewer, Volume(np.arange(48).reshape(1, 6, 8, 1).astype(np.uint16), affine))
    assert image.data.shape == (8, 1, 6)
    assert viewer.dims.displayed == (0, 2)
    assert tuple(letters(viewer).values()) == ("R", "L", "S", "I")


def test_a_time_series_is_one_layer_that_begins_at_its_beginning(viewer):
    data = np.random.default_rng(0).normal(size=(5, 8, 9, 10)).astype(np.float32)
    image = add(viewer, Volume(data, np.eye(4), fourth="time"))
    assert image.data.shape == (5, 10, 9, 8)
    assert viewer.dims.current_step[0] == 0
    assert tuple(letters(viewer).values()) == ("R", "L", "A", "P")
