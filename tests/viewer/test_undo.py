"""One undo for napari's brush and our tools, in all views: real layers, napari's own undo and redo."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.notifications import notification_manager

from napari_seg3d.editing import Change, Limits, paint
from napari_seg3d.errors import ConfigError, GeometryError, Seg3dError
from napari_seg3d.viewer.label_locks import limits_of, set_limits
from napari_seg3d.viewer.label_look import set_styles, style_of
from napari_seg3d.viewer.mirror import Mirror
from napari_seg3d.viewer.stage import Stage
from napari_seg3d.viewer.undo import LEVELS, Edit, edit_layer, keep_undo, on_edit

_SHAPE = (6, 16, 18)


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    yield viewer
    viewer.layers.clear()


@pytest.fixture
def layer(viewer):
    layer = viewer.add_labels(np.zeros(_SHAPE, np.int32))
    layer.brush_size = 5
    return layer


def _tool(layer: Labels, label: int = 7, first: int = 2) -> None:
    box = (slice(1, 4), slice(first, first + 5), slice(3, 12))
    edit_layer(layer, paint(layer.data, box, np.indices((3, 5, 9)).sum(axis=0) % 2 == 0, label))


def _stroke(layer: Labels, label: int = 3) -> None:
    with layer.block_history():
        for x in range(2, 14):
            layer.paint((2, 6, x), label)


def _fill(layer: Labels, label: int = 4) -> None:
    layer.fill((2, 6, 6), label)


def _polygon(layer: Labels, label: int = 5) -> None:
    layer.n_edit_dimensions = 2
    layer.paint_polygon([(2, 1, 1), (2, 1, 12), (2, 12, 12)], label)


def _points(layer: Labels, label: int = 6) -> None:
    layer.data_setitem(np.nonzero(layer.data[1:3] >= 0), label)


def _values(layer: Labels, label: int = 6) -> None:
    where = np.nonzero(layer.data[1:3] >= 0)
    layer.data_setitem(where, np.arange(len(where[0]), dtype=layer.dtype) % 3)


def _aborted(layer: Labels, label: int = 8) -> None:
    layer._begin_stroke()
    layer.paint((2, 3, 3), label)
    layer.paint((2, 3, 6), label)
    layer._abort_stroke()


def _encircled(layer: Labels, label: int = 9) -> None:
    layer._begin_stroke()
    layer.paint((2, 3, 3), label)
    _polygon(layer, label)
    layer._commit_stroke()


_EDITS = [_tool, _stroke, _fill, _polygon, _points, _values, _aborted, _encircled]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([*_EDITS, "undo", "redo"]), st.integers(0, 5), st.booleans()), min_size=1, max_size=14
    ),
    dtype=st.sampled_from([np.uint8, np.int32, np.uint64]),
    contour=st.integers(0, 1),
)
def test_brush_and_tools_are_undone_and_redone_in_order(steps, dtype, contour):
    viewer = ViewerModel()
    layer = viewer.add_labels(np.zeros(_SHAPE, dtype))
    layer.contour, layer.brush_size = contour, 4
    copy = Mirror(layer).copy
    copy._slice_dims(viewer.dims)
    heard = np.zeros(_SHAPE, dtype)
    on_edit(layer, lambda edit: _follow(heard, edit))
    states, at = [layer.data.copy()], 0
    for edit, label, elsewhere in steps:
        one = copy if elsewhere else layer
        if edit == "undo":
            one.undo()
            at = max(at - 1, 0)
        elif edit == "redo":
            one.redo()
            at = min(at + 1, len(states) - 1)
        else:
            edit(one, label)
            # What changed nothing is no level, but a stroke that was given up takes the way forward away.
            if not np.array_equal(layer.data, states[at]) or len(layer._undo_history) > at:
                states[at + 1 :] = [layer.data.copy()]
                at += 1
            elif not layer._redo_history:
                del states[at + 1 :]
        assert np.array_equal(layer.data, states[at])
        assert copy.data is layer.data
        assert np.array_equal(heard, layer.data), "who listens knows all of it"
        assert len(layer._undo_history) == at
    for shown in (layer, copy):
        assert np.array_equal(shown._slice.image.raw, layer.data[shown._slice.slice_input.world_slice.point[0].astype(int)])
    viewer.layers.clear()


def _follow(mask: np.ndarray, edit: Edit) -> None:
    for delta in reversed(edit.deltas) if edit.is_undone else edit.deltas:
        box = delta.undo(mask) if edit.is_undone else delta.redo(mask)
        assert all(outer.start <= inner.start and inner.stop <= outer.stop for inner, outer in zip(box, edit.box, strict=True))


def test_what_is_drawn_is_what_is_there(layer, viewer):
    viewer.dims.point = (2, 0, 0)
    drawn = []
    layer.events.set_data.connect(lambda _event: drawn.append(True))
    _tool(layer)
    assert drawn
    colours = layer.colormap._data_to_texture(layer.data[2])
    assert np.array_equal(layer._slice.image.view, colours)
    drawn.clear()
    edit_layer(layer, paint(layer.data, (slice(5, 6), slice(0, 2), slice(0, 2)), np.ones((1, 2, 2), bool), 1))
    assert not drawn, "another slice is looked at"
    layer.undo()
    layer.undo()
    assert not layer._slice.image.view.any()


def test_a_stroke_takes_few_bytes_and_the_pile_is_bounded(layer):
    keep_undo(layer)
    for number in range(LEVELS + 50):
        edit_layer(layer, Change((slice(0, 1),) * 3, np.full((1, 1, 1), number + 1, np.int32)))
    assert len(layer._undo_history) == LEVELS
    _points(layer)
    assert layer._undo_history[-1][0].nbytes < 1000, "not 24 bytes a voxel"
    history = keep_undo(layer).history
    assert history.nbytes < history.limit


def test_what_was_painted_before_us_can_be_undone(layer):
    _stroke(layer)
    _points(layer)
    after = layer.data.copy()
    _tool(layer)
    for _ in range(3):
        layer.undo()
    assert not layer.data.any()
    layer.redo()
    layer.redo()
    assert np.array_equal(layer.data, after)


def test_tools_respect_locks_and_intensities(layer):
    _stroke(layer, 3)
    set_styles(layer, {3: replace(style_of(layer, 3), locked=True)})
    image = np.arange(np.prod(_SHAPE), dtype=np.float32).reshape(_SHAPE) % 18  # the column
    set_limits(layer, image, (4, 9))
    assert limits_of(layer) == Limits(frozenset({3}), image, (4, 9))
    before = layer.data.copy()
    for edit in (_tool, _polygon, _points, _values):
        edit(layer, 2)
        changed = layer.data != before
        assert changed.any()
        assert np.array_equal(layer.data == 3, before == 3)
        assert set(np.nonzero(changed)[2]) <= set(range(4, 10))
        layer.undo()
        assert np.array_equal(layer.data, before)
    edit_layer(layer, paint(layer.data, (slice(0, 1),) * 3, np.ones((1, 1, 1), bool), 1), Limits())
    assert layer.data[0, 0, 0] == 1, "limits of one's own"
    set_limits(layer, None, None)
    _polygon(layer, 2)
    assert (layer.data[2, :, 2] == 2).any()


def test_limits_hold_in_other_views_and_are_explained(layer, viewer):
    copy = Mirror(layer).copy
    copy._slice_dims(viewer.dims)
    set_limits(layer, np.zeros(_SHAPE), (1, 2))
    first = len(notification_manager.records)
    _stroke(copy)
    _points(copy)
    assert not layer.data.any()
    said = [record.message for record in notification_manager.records[first:]]
    assert len(said) == 1
    assert "from 1 to 2" in said[0]
    with pytest.raises(ConfigError):
        set_limits(layer, np.zeros(_SHAPE), (2, 1))
    with pytest.raises(GeometryError):
        set_limits(layer, np.zeros((2, 2, 2)), (1, 2))


def test_an_edit_counts_as_one(viewer, layer):
    stage = Stage(viewer)
    stage.mark_saved(layer)
    painted = []
    layer.events.paint.connect(lambda _event: painted.append(True))
    _tool(layer)
    assert stage.is_edited(layer)
    assert painted
    layer.undo()
    assert not stage.is_edited(layer)


def test_another_array_has_another_history(layer):
    copy = Mirror(layer).copy
    _tool(layer)
    layer.data = np.zeros((3, 4, 5), np.uint8)
    layer.undo()
    assert not layer._undo_history
    layer.data_setitem((np.array([1]), np.array([1]), np.array([1])), 1)
    copy.undo()
    assert not layer.data.any()


def test_views_have_one_history_after_the_layer_was_closed_for_edits(layer):
    copy = Mirror(layer).copy
    _tool(layer)
    layer.editable = False
    with pytest.raises(Seg3dError, match="cannot be edited"):
        _tool(layer)
    layer.editable = True
    _tool(layer, 2)
    after = layer.data.copy()
    copy.undo()
    assert not np.array_equal(layer.data, after)
    assert len(layer._redo_history) == len(copy._redo_history) == 1


def test_a_mask_on_the_disk_is_left_to_napari():
    import dask.array

    layer = Labels(dask.array.zeros((4, 5, 6), dtype=np.uint8))
    with pytest.raises(Seg3dError, match="disk"):
        edit_layer(layer, Change((slice(0, 1),) * 3, np.ones((1, 1, 1), np.uint8)))
    layer.undo()


def test_who_listens_no_more_hears_no_more(layer):
    heard = []
    stop = on_edit(layer, heard.append)
    _tool(layer)
    stop()
    stop()
    layer.undo()
    assert len(heard) == 1


def test_a_layer_leaves_the_memory():
    layer = Labels(np.zeros(_SHAPE, np.uint8))
    on_edit(layer, [].append)
    set_limits(layer, np.zeros(_SHAPE), (0, 1))
    _tool(layer)
    layer.paint((1, 3, 3), 2)
    layer.undo()
    gone = weakref.ref(layer)
    del layer
    gc.collect()
    assert gone() is None
