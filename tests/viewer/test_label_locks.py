"""Locked labels under napari's own tools: real layers in a real viewer model, real undo."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils._proxies import ReadOnlyWrapper
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks
from napari.utils.notifications import notification_manager

from napari_seg3d.viewer.label_colours import labels_settings
from napari_seg3d.viewer.label_locks import keep_locks
from napari_seg3d.viewer.label_look import set_styles, style_of


@pytest.fixture
def layer():
    data = np.zeros((9, 24, 24), np.int16)
    data[:, 6:18, 6:12] = 1
    data[:, 6:18, 12:18] = 2
    viewer = ViewerModel()
    layer = viewer.add_labels(data, **labels_settings({1: "liver"}))
    layer.brush_size = 9
    _lock(layer, 1)
    keep_locks(layer)
    layer.selected_label = 3
    yield layer
    viewer.layers.clear()


@pytest.fixture
def said():
    """The warnings since the test began."""
    first = len(notification_manager.records)
    return lambda: [record.message for record in notification_manager.records[first:]]


def _lock(layer: Labels, value: int, locked: bool = True) -> None:
    set_styles(layer, {value: replace(style_of(layer, value), locked=locked)})


def _brush(layer: Labels) -> None:
    layer.paint((4, 10, 11), 3)


def _stroke(layer: Labels) -> None:
    with layer.block_history():
        for x in range(2, 22):
            layer.paint((4, 10, x), 3)
        for x in range(2, 22):  # over what was just painted, with another label
            layer.paint((4, 12, x), 0)


def _erase(layer: Labels) -> None:
    layer.paint((4, 10, 11), 0)


def _fill(layer: Labels) -> None:
    layer.contiguous = False
    layer.fill((4, 10, 13), 3)


def _polygon(layer: Labels) -> None:
    layer.n_edit_dimensions = 2
    layer.paint_polygon([(4, 2, 2), (4, 2, 20), (4, 20, 20), (4, 20, 2)], 3)


def _set(layer: Labels) -> None:
    layer.data_setitem(np.nonzero(layer.data[4:6] >= 0), 3)


def _set_many(layer: Labels) -> None:
    where = np.nonzero(layer.data[4:6] >= 0)
    layer.data_setitem(where, np.arange(len(where[0])) % 3 + 2)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("edit", [_brush, _stroke, _erase, _fill, _polygon, _set, _set_many])
def test_locked_voxels_stay_and_undo_is_exact(layer, edit, dimensions):
    layer.n_edit_dimensions = dimensions
    before = layer.data.copy()
    edit(layer)
    after = layer.data.copy()
    assert np.array_equal(after == 1, before == 1), "neither overwritten nor extended"
    assert not np.array_equal(after, before), "everything else was painted"
    layer.undo()
    assert np.array_equal(layer.data, before)
    layer.redo()
    assert np.array_equal(layer.data, after)
    layer.undo()
    assert np.array_equal(layer.data, before)
    # And nothing else was left on the pile.
    layer.undo()
    assert np.array_equal(layer.data, before)


@pytest.mark.parametrize("edit", [_brush, _stroke, _erase, _fill, _polygon, _set, _set_many])
def test_without_a_lock_everything_is_as_in_napari(layer, edit):
    plain = Labels(layer.data.copy())
    plain.brush_size, plain.selected_label = layer.brush_size, 3
    _lock(layer, 1, False)
    edit(layer)
    edit(plain)
    assert np.array_equal(layer.data, plain.data)
    layer.undo()
    plain.undo()
    assert np.array_equal(layer.data, plain.data)


def test_nothing_is_painted_with_a_locked_label(layer, said):
    before = layer.data.copy()
    layer.selected_label = 1
    for x in range(2, 22):
        layer.paint((4, 10, x), 1)
    layer.fill((4, 0, 0), 1)
    layer.paint_polygon([(4, 2, 2), (4, 2, 20), (4, 20, 20)], 1)
    layer.data_setitem((np.array([0]), np.array([0]), np.array([0])), 1)
    assert np.array_equal(layer.data, before)
    assert said() == ["liver is locked: nothing was painted. Unlock it in the table of labels."], "said once, not at each move"
    layer.undo()
    assert np.array_equal(layer.data, before)


def test_erasing_in_the_middle_of_a_locked_label_is_explained(layer, said):
    layer.brush_size = 1
    layer.paint((4, 10, 8), 0)
    assert len(said()) == 1
    assert said()[0].startswith("liver is locked")


def test_a_stroke_that_crosses_a_locked_label_is_no_news(layer, said):
    layer.brush_size = 3
    with layer.block_history():
        for x in range(2, 22):
            layer.paint((4, 10, x), 3)
    assert said() == []


def test_two_locked_labels_and_unlocking(layer):
    _lock(layer, 2)
    before = layer.data.copy()
    _polygon(layer)
    assert np.array_equal(layer.data[before > 0], before[before > 0])
    _lock(layer, 2, False)
    _polygon(layer)
    assert not (layer.data[4] == 2).any()
    assert np.array_equal(layer.data == 1, before == 1)


def test_a_lock_beside_preserve_labels(layer):
    layer.preserve_labels = True
    before = layer.data.copy()
    _polygon(layer)
    assert np.array_equal(layer.data[before > 0], before[before > 0])
    assert (layer.data[4][before[4] == 0] == 3).any()


def test_an_edit_from_before_the_lock_can_be_undone(layer):
    before = layer.data.copy()
    _brush(layer)
    _lock(layer, 3)
    layer.undo()
    assert np.array_equal(layer.data, before)


def test_the_mouse_paints_around_a_locked_label():
    class _Mouse:
        handled, is_dragging, dims_displayed, view_direction = False, False, [1, 2], None
        modifiers: list[str] = []
        button, pos, camera_zoom = 1, (0, 0), 1.0

        def __init__(self, kind, position):
            self.type, self.position = kind, position
            self.is_dragging = kind == "mouse_move"

    viewer = ViewerModel()
    data = np.zeros((3, 20, 20), np.uint8)
    data[:, :, 8:12] = 1
    layer = viewer.add_labels(data)
    _lock(layer, 1)
    keep_locks(layer)
    viewer.dims.point = (1, 0, 0)
    layer.selected_label, layer.brush_size, layer.mode = 2, 3, "paint"
    before = layer.data.copy()
    # As napari's canvas does: the event is a wrapper whose inside changes while the mouse is dragged.
    mouse_press_callbacks(layer, ReadOnlyWrapper(_Mouse("mouse_press", (1, 10, 2)), exceptions=("handled",)))
    for x in range(3, 18):
        mouse_move_callbacks(layer, _Mouse("mouse_move", (1, 10, x)))
    mouse_release_callbacks(layer, _Mouse("mouse_release", (1, 10, 18)))
    assert np.array_equal(layer.data == 1, before == 1)
    assert (layer.data[1, 10, [2, 6, 13, 16]] == 2).all()
    layer.undo()
    assert np.array_equal(layer.data, before)


def test_a_second_layer_with_the_same_voxels_has_the_same_locks(layer):
    twin = Labels(layer.data, **labels_settings())
    keep_locks(twin, like=layer)
    _lock(layer, 2)
    before = layer.data.copy()
    _polygon(twin)
    assert np.array_equal(layer.data[before > 0], before[before > 0])
    assert (layer.data[4] == 3).any()
    _lock(layer, 2, False)
    _polygon(twin)
    assert not (layer.data[4] == 2).any()


def test_a_layer_with_locks_leaves_the_memory():
    layer = Labels(np.zeros((4, 8, 8), np.uint8))
    _lock(layer, 1)
    keep_locks(layer)
    keep_locks(layer)
    layer.paint((1, 3, 3), 2)
    gone = weakref.ref(layer)
    del layer
    gc.collect()
    assert gone() is None
