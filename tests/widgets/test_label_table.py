"""The table of labels as a person uses it: a real viewer, real clicks and keys."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QColorDialog, QLineEdit, QSlider

from napari_seg3d.viewer.label_colours import label_colour
from napari_seg3d.viewer.layers import layer_data
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import Volume
from napari_seg3d.widgets.label_table import LabelTable
from tests.pumping import pump, pump_until

COLOUR, EYE, LOCK, NAME, VALUE, SIZE, MEAN = range(7)


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def table(viewer) -> LabelTable:
    table = LabelTable(session_of(viewer).labels)
    viewer.window.add_dock_widget(table, name="Labels")
    pump(0.1)
    return table


@pytest.fixture
def mask(viewer):
    image = np.zeros((1, 12, 10, 8), np.float32)
    data = np.zeros((1, 12, 10, 8), np.uint8)
    data[0, 2:5, 3:7, 1:3] = 1
    data[0, 8:10, 3:5, 5:7] = 5
    image[data == 5] = 123.0
    affine = np.diag([1.0, 1.5, 4.0, 1.0])
    for tuples in (layer_data(Volume(image, affine), "scan"), layer_data(Volume(data, affine, "labels"), "mask", {1: "liver"})):
        for array, settings, kind in tuples:
            getattr(viewer, f"add_{kind}")(array, **settings)
    return viewer.layers["mask"]


def _counted(table: LabelTable) -> None:
    model = table._model
    pump_until(lambda: model.job is None and not model._is_stale and not model._rest.isActive(), what="the count")


def _texts(table: LabelTable) -> list[list[str]]:
    return [[table.table.item(row, place).text() for place in range(NAME, 7)] for row in range(table.table.rowCount())]


def _point(table: LabelTable, row: int, place: int) -> QPoint:
    return table.table.visualItemRect(table.table.item(row, place)).center()


def _click(table: LabelTable, row: int, place: int) -> None:
    QTest.mouseClick(table.table.viewport(), Qt.MouseButton.LeftButton, pos=_point(table, row, place))
    pump(0.02)


def _double_click(table: LabelTable, row: int, place: int) -> None:
    _click(table, row, place)
    QTest.mouseDClick(table.table.viewport(), Qt.MouseButton.LeftButton, pos=_point(table, row, place))
    pump(0.02)


def test_it_says_what_the_mask_holds(table, mask):
    _counted(table)
    assert table.heading.text() == "mask"
    assert _texts(table) == [["liver", "1", "0.14", "0.00"], ["label 5", "5", "0.05", "123"]]
    assert [table.table.horizontalHeaderItem(place).text() for place in (SIZE, MEAN)] == ["ml", "Mean"]
    assert table.table.item(0, SIZE).toolTip() == "24 voxels"
    mask.brush_size = 1
    mask.paint((0, 0, 0), 9)
    _counted(table)
    assert [row[1] for row in _texts(table)] == ["1", "5", "9"]


def test_an_empty_viewer_and_a_removed_mask(viewer, table, mask):
    _counted(table)
    viewer.layers.clear()
    assert table.table.rowCount() == 0
    assert "No mask" in table.heading.text()
    for control in (table.table, table.add_button, table.go_button, table.only_button, table.all_button, table.contour):
        assert not control.isEnabled()
    viewer.add_labels(np.ones((4, 4), np.uint8), name="other")
    _counted(table)
    assert _texts(table) == [["label 1", "1", "0.16", ""]]
    assert table.table.horizontalHeaderItem(SIZE).text() == "cm²"
    assert table.table.isEnabled()


def test_a_click_on_a_row_paints_with_it_and_one_on_an_eye_does_not(table, mask):
    _counted(table)
    assert table.table.currentRow() == 0
    _click(table, 1, VALUE)
    assert mask.selected_label == 5
    _click(table, 0, EYE)
    assert mask.selected_label == 5
    assert table.table.currentRow() == 1, "the row that is marked is the one that is painted with"
    QTest.keyClick(table.table, Qt.Key.Key_Up)
    assert mask.selected_label == 1
    mask.selected_label = 5
    assert table.table.currentRow() == 1
    mask.selected_label = 77
    assert not table.table.selectedItems()
    assert not table.go_button.isEnabled()


def test_the_eye_hides_and_the_padlock_protects(table, mask):
    _counted(table)
    _click(table, 1, EYE)
    assert mask.colormap.map(5)[3] == 0
    assert "Hidden" in table.table.item(1, EYE).toolTip()
    _click(table, 1, EYE)
    assert mask.colormap.map(5)[3] == 1
    _click(table, 0, LOCK)
    before = mask.data.copy()
    mask.brush_size, mask.n_edit_dimensions = 40, 3
    mask.paint((3, 5, 4), 5)
    assert np.array_equal(mask.data == 1, before == 1)
    assert (mask.data == 5).sum() > (before == 5).sum()
    _click(table, 0, LOCK)
    mask.paint((3, 5, 4), 5)
    assert not (mask.data == 1).any()


def test_a_colour_is_chosen(table, mask):
    _counted(table)
    _click(table, 1, COLOUR)
    (dialog,) = table.findChildren(QColorDialog)
    dialog.setCurrentColor(Qt.GlobalColor.cyan)
    dialog.accept()
    pump(0.05)
    assert np.allclose(mask.colormap.map(5), (0, 1, 1, 1))
    picture = table.table.item(1, COLOUR).icon().pixmap(32, 32).toImage()
    assert picture.pixelColor(picture.width() // 2, picture.height() // 2).name() == "#00ffff"
    picture = table.table.item(0, COLOUR).icon().pixmap(32, 32).toImage()
    assert picture.pixelColor(picture.width() // 2, picture.height() // 2).name() == label_colour(1)


def _type_into(table: LabelTable, row: int, text: str) -> QLineEdit:
    _double_click(table, row, NAME)
    editor = table.table.findChild(QLineEdit)
    editor.selectAll()
    QTest.keyClicks(editor, text)
    return editor


@pytest.mark.parametrize(("dtype", "values"), [(np.uint8, (1, 2, 7)), (np.int32, (1, 100_000, -5)), (np.int8, (1, -100, 100))])
def test_the_canvas_shows_these_colours(viewer, table, dtype, values):
    layer = viewer.add_labels(np.repeat(np.array(values, dtype), 20)[:, np.newaxis].repeat(60, axis=1), opacity=1)
    _counted(table)
    table._model.recolour(values[0], "#00ff7f")
    table._model.set_visible(values[1], False)
    layer.selected_label = values[2]
    viewer.reset_view()
    pump(0.2)
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    third = table._model.layer.colormap.map(values[2])[:3] * 255
    rows, columns = np.nonzero(np.abs(picture - (0, 255, 127)).max(axis=2) < 3)
    height = rows.max() - rows.min() + 1
    middle = (rows.max() + rows.min()) // 2, (columns.max() + columns.min()) // 2
    assert np.abs(picture[middle[0] + 2 * height, middle[1]] - third).max() < 3
    assert np.array_equal(picture[middle[0] + height, middle[1]], picture[2, 2]), "hidden: the background of the canvas"


def test_a_name_is_typed_into_the_table(table, mask):
    _counted(table)
    QTest.keyClick(_type_into(table, 1, "Milz"), Qt.Key.Key_Return)
    pump(0.05)
    assert mask.features.set_index("index")["name"].to_dict() == {0: "background", 1: "liver", 5: "Milz"}
    assert _texts(table)[1][0] == "Milz"
    QTest.keyClick(_type_into(table, 0, "nonsense"), Qt.Key.Key_Escape)
    pump(0.05)
    assert _texts(table)[0][0] == "liver"


def test_a_name_that_is_being_typed_goes_to_its_label(table, mask):
    """A new label moves the rows while somebody types: the name must not land one row off."""
    _counted(table)
    editor = _type_into(table, 1, "Milz")
    mask.data[0, 0, 0] = 3
    table._model.refresh()
    _counted(table)
    assert table._model.rows[1].value == 3
    QTest.keyClick(editor, Qt.Key.Key_Return)
    pump(0.1)
    assert [row[:2] for row in _texts(table)] == [["liver", "1"], ["label 3", "3"], ["Milz", "5"]]


def test_a_double_click_goes_there_and_so_does_the_button(viewer, table, mask):
    _counted(table)
    _double_click(table, 1, VALUE)
    index = tuple(np.round(mask.world_to_data(viewer.dims.point)).astype(int))
    assert mask.data[index] == 5
    _click(table, 0, NAME)
    table.go_button.click()
    index = tuple(np.round(mask.world_to_data(viewer.dims.point)).astype(int))
    assert mask.data[index] == 1


def test_only_this_show_all_and_add(table, mask):
    _counted(table)
    _click(table, 1, NAME)
    table.only_button.click()
    assert (mask.colormap.map(1)[3], mask.colormap.map(5)[3]) == (0, 1)
    table.all_button.click()
    assert (mask.colormap.map(1)[3], mask.colormap.map(5)[3]) == (1, 1)
    table.add_button.click()
    assert mask.selected_label == 2
    assert _texts(table)[1][:2] == ["label 2", "2"]
    assert table.table.currentRow() == 1
    table.go_button.click()
    assert "no voxels" in table.notice.text()


def test_a_full_mask_says_so(viewer, table):
    viewer.add_labels(np.arange(256, dtype=np.uint8).reshape(16, 16))
    _counted(table)
    table.add_button.click()
    assert "255 labels" in table.notice.text()


def test_outline_and_opacity_go_both_ways(table, mask):
    assert table.contour.text() == "filled"
    table.contour.setValue(2)
    table.opacity.setValue(30)
    assert (mask.contour, mask.opacity) == (2, 0.3)
    mask.contour, mask.opacity = 0, 0.8
    assert (table.contour.value(), table.opacity.value()) == (0, 80)


def test_very_many_labels_show_the_largest(viewer, table):
    data = np.arange(90_000).reshape(300, 300)
    data[:30] = 88_888
    viewer.add_labels(data)
    _counted(table)
    assert table.table.rowCount() == 300
    assert "88888" in [row[1] for row in _texts(table)]
    assert "largest 300 of" in table.notice.text()


def test_it_fits_a_narrow_dock(table, mask):
    mask.name = "a_very_long_name_without_any_space_in_it_" * 4
    _counted(table)
    table.resize(340, 500)
    pump(0.1)
    assert table.minimumSizeHint().width() <= 340
    assert table.table.columnWidth(NAME) >= 60
    assert sum(table.table.columnWidth(place) for place in range(7)) <= table.table.viewport().width()


def test_every_control_says_what_it_does(table):
    for kind in (QAbstractButton, QAbstractSpinBox, QSlider):
        for control in table.findChildren(kind):
            assert control.toolTip() or control.parent().toolTip(), control
    for place in range(7):
        assert len(table.table.horizontalHeaderItem(place).toolTip()) > 20


def test_a_table_that_is_hidden_or_gone_lets_the_model_rest(viewer, table, mask):
    _counted(table)
    model = table._model
    assert model._views
    dock = table.parent()
    dock.hide()
    pump(0.1)
    assert not model._views
    dock.show()
    pump(0.1)
    assert model._views
    viewer.window.remove_dock_widget(table)
    table.deleteLater()
    pump(0.3)
    assert not model._views
    mask.paint((0, 0, 0), 9)
    mask.contour = 3
    viewer.layers.clear()
    pump(0.7)
