"""Edits, undo and redo in random order leave every voxel as it was, in any shape, order in memory and type of number."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.editing import Change, Delta, History, Limits, apply, no_change, paint
from napari_seg3d.editing import delta as delta_module
from napari_seg3d.errors import GeometryError, LabelError, ReadError, Seg3dError

_TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """2D and 3D masks, contiguous either way, flipped, or a part of something larger; labels from the ends of the type."""
    shape = draw(st.lists(st.integers(1, 9), min_size=2, max_size=3))
    dtype = np.dtype(draw(st.sampled_from(_TYPES)))
    span = np.iinfo(dtype)
    palette = draw(st.lists(st.integers(span.min, span.max) | st.sampled_from([0, 1, 2, span.max]), min_size=1, max_size=4))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = np.array(palette, dtype)[random.integers(0, len(palette), shape)]
    kind = draw(st.sampled_from(["C", "F", "flipped", "part", "turned"]))
    if kind == "flipped":
        return mask[::-1]
    if kind == "part":
        return np.kron(mask, np.ones((2,) * mask.ndim, dtype))[(slice(None, None, 2),) * mask.ndim]
    if kind == "turned":
        return np.moveaxis(mask, 0, -1)
    return np.array(mask, order=kind)


@st.composite
def changes(draw: st.DrawFn, mask: np.ndarray) -> Change:
    """New values of a box: all of them, a few, or none."""
    box = []
    for side in mask.shape:
        start = draw(st.integers(0, side))
        box.append(slice(start, draw(st.integers(start, side))))
    span = np.iinfo(mask.dtype)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = mask[tuple(box)].copy()
    few = random.random(values.shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    palette = np.array(draw(st.lists(st.integers(span.min, span.max), min_size=1, max_size=4)), mask.dtype)
    values[few] = palette[random.integers(0, len(palette), int(few.sum()))]
    return Change(tuple(box), values)


@pytest.fixture(params=[1 << 22, 7], ids=["one slab", "many slabs"])
def slab(request, monkeypatch):
    """How many voxels are worked on at a time."""
    monkeypatch.setattr(delta_module, "_SLAB", request.param)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def _check_sequence(data: st.DataObject) -> None:
    mask = data.draw(masks())
    history, states, at = History(), [mask.copy()], 0
    for step in data.draw(st.lists(st.sampled_from(["edit", "points", "stroke", "undo", "redo"]), max_size=12)):
        before = mask.copy()
        if step == "undo":
            box = history.undo(mask)
            assert (box is None) == (at == 0)
            at = max(at - 1, 0)
        elif step == "redo":
            box = history.redo(mask)
            assert (box is None) == (at == len(states) - 1)
            at = min(at + 1, len(states) - 1)
        else:
            with history.group():
                for _ in range(3 if step == "stroke" else 1):
                    _edit(data, mask, history, step)
            box = None
            if not np.array_equal(mask, states[at]) or history.undo_levels > at:
                del states[at + 1 :]
                states.append(mask.copy())
                at += 1
        assert np.array_equal(mask, states[at])
        assert (history.undo_levels, history.redo_levels) == (at, len(states) - 1 - at)
        if box is not None:
            outside = np.ones(mask.shape, bool)
            outside[box] = False
            assert np.array_equal(mask[outside], before[outside]), "the box that is told holds all that changed"


def _edit(data: st.DataObject, mask: np.ndarray, history: History, step: str) -> None:
    change = data.draw(changes(mask))
    if step != "points":
        history.apply(mask, change)
        return
    # As somebody else's brush does: it writes, and says what there was.
    where = np.nonzero(np.ones(change.values.shape, bool))
    indices = tuple(along + side.start for along, side in zip(where, change.box, strict=True))
    old = mask[indices]
    mask[change.box] = change.values
    history.note(Delta.of_points(mask, indices, old, change.values.ravel()))


def test_undo_and_redo_restore_to_the_bit(slab):
    _check_sequence()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_delta_survives_a_file_and_is_told_where_it_is(data):
    mask = data.draw(masks())
    before = mask.copy()
    delta = apply(mask, data.draw(changes(mask)))
    if delta is None:
        assert np.array_equal(mask, before)
        return
    after = mask.copy()
    differs = np.argwhere(before != after)
    assert delta.number == len(differs)
    assert [(side.start, side.stop) for side in delta.box] == [
        (low, high + 1) for low, high in zip(differs.min(0), differs.max(0), strict=True)
    ]
    read = Delta.from_bytes(delta.to_bytes())
    # A mask from a file may lie in memory the other way round.
    other = np.array(after, order="F")
    read.undo(other)
    assert np.array_equal(other, before)
    read.redo(other)
    assert np.array_equal(other, after)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_region_written_by_a_brush(data):
    mask = data.draw(masks())
    change = data.draw(changes(mask))
    before = mask.copy()
    region = before[change.box]
    differs = np.random.default_rng(data.draw(st.integers(0, 99))).random(region.shape) < 0.6
    label = int(change.values.flat[0]) if change.values.size else 0
    delta = Delta.of_region(mask, change.box, differs, region[differs], label)
    mask[change.box][differs] = label
    after = mask.copy()
    assert (delta is None) == np.array_equal(before, after)
    if delta is not None:
        delta.undo(mask)
        assert np.array_equal(mask, before)
        delta.redo(mask)
        assert np.array_equal(mask, after)


def test_a_voxel_that_is_named_twice():
    mask = np.zeros((4, 4), np.uint8)
    delta = Delta.of_points(mask, ([1, 1, 2], [1, 1, 2]), [0, 0, 0], [5, 6, 7])
    delta.redo(mask)
    assert mask[1, 1] == 6
    delta.undo(mask)
    assert not mask.any()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_locked_labels_neither_lose_nor_gain(data):
    mask = data.draw(masks())
    before = mask.copy()
    change = data.draw(changes(mask))
    values = [int(value) for value in {*mask.flat, *change.values.flat}]
    locked = frozenset(data.draw(st.lists(st.sampled_from([*values, -3, 2**63]), max_size=3)))
    delta = apply(mask, change, Limits(locked))
    for value in locked & set(values):
        assert np.array_equal(mask == np.array(value, mask.dtype), before == np.array(value, mask.dtype))
    touched = np.isin(before[change.box].astype(object), list(locked)) | np.isin(change.values.astype(object), list(locked))
    assert np.array_equal(mask[change.box][~touched], change.values[~touched]), "all else is as the tool wanted it"
    if delta is not None:
        delta.undo(mask)
    assert np.array_equal(mask, before)


def test_the_oldest_levels_are_forgotten_and_the_last_one_never():
    random = np.random.default_rng(0)
    mask = np.zeros((16, 16, 16), np.int32)
    history = History(limit=100_000)
    noise = [random.integers(0, 2**31, mask.shape, np.int32) for _ in range(12)]
    for values in noise:
        history.apply(mask, Change((slice(0, 16),) * 3, values))
    assert history.nbytes <= 100_000
    assert 1 < history.undo_levels < 12
    while history.undo(mask) is not None:
        pass
    assert any(np.array_equal(mask, values) for values in noise), "a state that was there"
    small = History(limit=10)
    small.apply(mask, Change((slice(0, 16),) * 3, noise[3]))
    assert small.undo_levels == 1


def test_an_edit_after_an_undo_takes_the_way_forward_away():
    mask = np.zeros((5, 5), np.uint8)
    history = History()
    history.apply(mask, paint(mask, (slice(0, 2), slice(0, 2)), np.ones((2, 2), bool), 3))
    history.undo(mask)
    history.apply(mask, no_change(mask))
    assert history.redo_levels == 1, "nothing was edited"
    history.apply(mask, paint(mask, (slice(0, 2), slice(0, 2)), np.ones((2, 2), bool), 4))
    assert history.redo(mask) is None


def test_changes_that_cannot_be():
    mask = np.zeros((5, 5), np.uint8)
    with pytest.raises(LabelError, match="300"):
        paint(mask, (slice(0, 1), slice(0, 1)), np.ones((1, 1), bool), 300)
    with pytest.raises(LabelError, match="int64"):
        apply(mask, Change((slice(0, 1), slice(0, 1)), np.ones((1, 1), np.int64)))
    with pytest.raises(GeometryError, match="4 to 6"):
        apply(mask, Change((slice(4, 6), slice(0, 1)), np.ones((2, 1), np.uint8)))
    with pytest.raises(GeometryError, match="shape"):
        Change((slice(0, 2), slice(0, 1)), np.ones((1, 1), np.uint8))
    delta = apply(mask, Change((slice(0, 1), slice(0, 1)), np.ones((1, 1), np.uint8)))
    with pytest.raises(GeometryError, match="taken back"):
        delta.undo(np.zeros((5, 6), np.uint8))
    mask.flags.writeable = False
    with pytest.raises(Seg3dError, match="read-only"):
        apply(mask, Change((slice(0, 1), slice(0, 1)), np.full((1, 1), 2, np.uint8)))
    with pytest.raises(ReadError):
        Delta.from_bytes(delta.to_bytes()[:-1] if delta.to_bytes()[-1:] else b"")
    with pytest.raises(ReadError):
        Delta.from_bytes(b"\x00")


def test_an_edit_that_cannot_be_finished_is_not_there_at_all(monkeypatch):
    monkeypatch.setattr(delta_module, "_SLAB", 16)
    mask = np.zeros((8, 4, 4), np.uint8)

    class _Runs(np.ndarray):
        """Values that run out of memory when the fifth slab is read."""

        def __getitem__(self, index):
            if isinstance(index, tuple) and isinstance(index[0], slice) and index[0].start == 4:
                raise MemoryError
            return np.asarray(self)[index]

    values = np.ones(mask.shape, np.uint8).view(_Runs)
    with pytest.raises(MemoryError):
        apply(mask, Change((slice(0, 8), slice(0, 4), slice(0, 4)), values))
    assert not mask.any()


def test_a_whole_volume_is_edited_in_little_memory():
    mask = np.zeros((128, 256, 256), np.int32)
    values = np.zeros_like(mask)
    values[:, 64:192, 64:192] = 7
    history = History()
    tracemalloc.start()
    history.apply(mask, Change((slice(0, 128), slice(0, 256), slice(0, 256)), values))
    _, edit = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    history.undo(mask)
    kept, undo = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not mask.any()
    assert max(edit, undo) < 3 * delta_module._SLAB * 10
    assert kept < 1_000_000
