"""What holds for every tool, whatever it does: it writes nothing itself, can be undone to the bit, and stays within the limits."""

from dataclasses import replace
from inspect import signature

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_seg3d.editing import Change, History, Limits, no_change
from napari_seg3d.editing.tool_spec import FAMILIES, ToolSpec, Work
from napari_seg3d.editing.tools import TOOLS, tool
from napari_seg3d.errors import Cancelled, ConfigError, LabelError, Seg3dError
from tests.editing.blobs import after, masks, places, scenes, turned, turned_place, turns

_EACH = pytest.mark.parametrize("spec", TOOLS, ids=[spec.id for spec in TOOLS])
# A model that learns in each of many examples takes minutes; it has tests of its own.
_QUICK = pytest.mark.parametrize("spec", [spec for spec in TOOLS if spec.id != "refine"], ids=lambda spec: spec.id)
# Tools that paint over others by default, or give a piece that was clicked another label.
_PAINTS_OVER = {"brush", "polygon", "replace_brush", "flood_fill", "merge", "combine"}
# Tools that only take away.
_REMOVES = {"erase_brush", "keep_largest", "drop_small", "keep_island", "cut"}
_REMOVES_TOO = {"smooth", "margin", "hollow", "combine"}
_MANY = {"copy_to_next", "copy_to_previous", "smooth_jointly", "fill_between", "grow_from_seeds", "refine"}
_NEW = {"split", "split_by_seeds", "split_islands"}
# Tools that refuse to do what cannot be done, where others do nothing.
_REFUSES = {"fill_between", "grow_from_seeds", "refine"}
# Parameters with which a tool has something to do in masks of a few voxels.
_SMALL = {
    "drop_small": {"least_ml": 0.004},
    "merge": {"labels": [2, 7]},
    "combine": {"other": 2},
    "cut": {"by": [2]},
    "replace_brush": {"below": [0, 2]},
    "split": {"least_depth_mm": 0.0},
    "threshold_brush": {"intensities": [-5.0, 5.0]},
    "grow_region": {"tolerance": 5.0},
    "nodule": {"above": 0.0},
    "smooth": {"mm": 1.5},
    "hollow": {"mm": 1.0},
}


def _values(spec: ToolSpec) -> st.SearchStrategy[dict[str, object]]:
    chosen: dict[str, st.SearchStrategy[object]] = {name: st.just(value) for name, value in _SMALL.get(spec.id, {}).items()}
    for parameter in spec.parameters:
        if parameter.kind == "choice":
            chosen[parameter.name] = st.sampled_from(parameter.choices)
        elif parameter.kind == "flag":
            chosen[parameter.name] = st.booleans()
        elif parameter.name == "mm" and parameter.minimum is not None and parameter.minimum < 0:
            chosen[parameter.name] = st.sampled_from([-3.0, -1.0, 1.0, 2.5])
        elif parameter.name == "radius_mm":
            chosen[parameter.name] = st.sampled_from([0.5, 2.0, 5.0])
    return st.fixed_dictionaries(chosen)


def _run(spec: ToolSpec, work: Work, values: dict[str, object]) -> Change:
    try:
        return spec.run(work, values)
    except (ConfigError, LabelError):
        if spec.id not in _REFUSES:
            raise
        return no_change(work.mask)


@st.composite
def _works(draw: st.DrawFn, spec: ToolSpec) -> Work:
    mask, spacing, image = draw(scenes(axes=(3, 3) if spec.gesture == "slice" else (2, 3)))
    flat = mask.ndim == 2
    across = None if flat else draw(st.integers(0, 2))
    index = None if across is None else draw(st.integers(0, mask.shape[across] - 1))
    label = draw(st.sampled_from([1, 2, 7, 3]))
    drawn: object = None
    if spec.gesture == "stroke":
        drawn = draw(st.lists(places(mask.shape), min_size=1, max_size=3))
    elif spec.gesture == "click":
        drawn = draw(places(mask.shape))
    elif spec.gesture == "clicks":
        label = draw(st.sampled_from([1, 2, 7]))
        own = np.argwhere(mask == label)
        drawn = [tuple(own[draw(st.integers(0, len(own) - 1))]) for _ in range(3)] if len(own) else []
    elif spec.gesture == "polygon":
        corner = st.floats(-3, 12, allow_nan=False)
        drawn = draw(st.lists(st.tuples(corner, corner), min_size=0, max_size=7)) or np.empty((0, 2))
    source = draw(st.none() | st.just(np.roll(mask, 1, axis=0))) if spec.takes_source else None
    return Work(mask, spacing, label, image, drawn, across, index, source)  # type: ignore[arg-type]


@_QUICK
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_writes_nothing_itself_and_can_be_undone_and_repeated(spec: ToolSpec, data: st.DataObject) -> None:
    work = data.draw(_works(spec))
    mask, before = work.mask, work.mask.copy()
    change = _run(spec, work, data.draw(_values(spec)))
    assert np.array_equal(mask, before)
    assert change.values.dtype == mask.dtype
    history = History()
    history.apply(mask, change)
    edited = mask.copy()
    assert np.array_equal(edited, after(before, change))
    history.undo(mask)
    assert np.array_equal(mask, before)
    history.redo(mask)
    assert np.array_equal(mask, edited)


@_QUICK
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_locked_labels_and_other_intensities_stay(spec: ToolSpec, data: st.DataObject) -> None:
    work = data.draw(_works(spec))
    mask, before = work.mask, work.mask.copy()
    locked = frozenset(data.draw(st.sets(st.sampled_from([0, 1, 2, 7]), max_size=2)))
    limits = Limits(locked, work.image, (-3.0, 4.0))
    History().apply(mask, _run(spec, replace(work, limits=limits), data.draw(_values(spec))), limits)
    changed = mask != before
    assert not (changed & np.isin(before, list(locked))).any()
    assert not (changed & np.isin(mask, list(locked))).any()
    assert work.image is not None
    assert not (changed & ((work.image < -3) | (work.image > 4))).any()


@_QUICK
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_only_labels_come_and_go_of_which_it_says_so(spec: ToolSpec, data: st.DataObject) -> None:
    work, values = data.draw(_works(spec)), data.draw(_values(spec))
    before = work.mask
    found = after(before, _run(spec, work, values))
    changed = found != before
    gained, lost = set(np.unique(found[changed]).tolist()), set(np.unique(before[changed]).tolist())
    if spec.id in _REMOVES:
        clicked = int(before[tuple(work.places)]) if spec.id == "keep_island" else work.label  # type: ignore[arg-type]
        assert gained <= {0}
        assert lost <= {clicked}
    elif spec.id in _NEW:
        assert lost <= {work.label}
        assert all(new > before.max() for new in gained)
    elif spec.id in _MANY:
        assert gained <= set(np.unique(before).tolist())
    else:
        assert gained <= {work.label} | ({0} if spec.id in _REMOVES_TOO else set())
        if not values.get("over_others", spec.id in _PAINTS_OVER) and spec.id not in _PAINTS_OVER:
            assert lost <= {0} | ({work.label} if spec.id in _REMOVES_TOO else set())


# Of equal pieces and parts the first is taken; what a model, or a step from slice to slice, adds up has another last digit.
_FIRST = {"split", "split_by_seeds", "split_islands", "keep_largest", "fill_between", "grow_from_seeds", "refine", "polygon"}
_TURN_ALIKE = [spec for spec in TOOLS if spec.id not in _FIRST]


@pytest.mark.parametrize("spec", _TURN_ALIKE, ids=[spec.id for spec in _TURN_ALIKE])
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_does_the_same_in_any_voxel_order(spec: ToolSpec, data: st.DataObject) -> None:
    work, values = data.draw(_works(spec)), data.draw(_values(spec))
    mask, shape = work.mask, work.mask.shape
    turn = data.draw(st.sampled_from(turns(mask.ndim)))
    order, flips = turn
    across = None if work.across is None else order.index(work.across)
    index = work.index
    fixed = spec
    if across is not None and index is not None and flips[across]:
        index = mask.shape[work.across] - 1 - index  # type: ignore[index]
        if spec.gesture == "slice":
            fixed = replace(spec, fixed={"step": -spec.fixed["step"]})
    drawn = work.places
    if spec.gesture == "stroke":
        drawn = [turned_place(place, shape, turn) for place in drawn]  # type: ignore[union-attr]
    elif spec.gesture == "click":
        drawn = turned_place(drawn, shape, turn)  # type: ignore[arg-type]
    other = replace(
        work,
        mask=turned(mask, turn),
        spacing=tuple(work.spacing[axis] for axis in order),
        image=turned(work.image, turn),  # type: ignore[arg-type]
        source=None if work.source is None else turned(work.source, turn),
        places=drawn,
        across=across,
        index=index,
    )
    expected = turned(after(mask, spec.run(work, values)), turn)
    assert np.array_equal(after(other.mask, fixed.run(other, values)), expected)


@_EACH
def test_it_has_nothing_to_do_in_an_empty_mask(spec: ToolSpec) -> None:
    for shape in ((4, 5, 6), (5, 6), (1, 1, 1)):
        mask = np.zeros(shape, np.uint8)
        if spec.gesture == "slice" and len(shape) == 2:
            continue
        middle = tuple(size // 2 for size in shape)
        drawn = {"polygon": [(-9, -9), (-9, -8), (-8, -9)], "clicks": [], "stroke": [middle]}.get(spec.gesture, middle)
        across, index = (0, 0) if len(shape) == 3 else (None, None)
        work = Work(mask, (1.0,) * len(shape), 1, np.zeros(shape), drawn, across, index)
        change = _run(spec, work, {})
        if spec.gesture in ("label", "slice", "clicks", "polygon") or spec.id in ("erase_brush", "replace_brush", "keep_island"):
            assert not change.values.any()


@pytest.mark.parametrize("spec", [spec for spec in TOOLS if spec.is_long and spec.id != "refine"], ids=lambda spec: spec.id)
def test_long_tools_tell_how_far_they_are_and_stop(spec: ToolSpec) -> None:
    mask = np.zeros((6, 12, 6), np.uint8)
    mask[1:5, 1:5, 1:5] = mask[1:5, 7:11, 1:5] = 1
    mask[5, 5:7] = 2
    mask[2] = 0
    told: list[tuple[int, int]] = []
    drawn = [(1, 2, 2), (1, 8, 2)]
    image = np.random.default_rng(0).normal(size=mask.shape)
    work = Work(mask, (1.0, 1.0, 1.0), 1, image, drawn, 0, progress=lambda done, total: told.append((done, total)))
    spec.run(work, _SMALL.get(spec.id))
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    for stop_after in range(len(told)):
        asked = iter([False] * stop_after + [True] * 99)
        with pytest.raises(Cancelled):
            spec.run(replace(work, cancelled=lambda asked=asked: next(asked)), _SMALL.get(spec.id))


@_EACH
def test_it_is_described(spec: ToolSpec) -> None:
    assert tool(spec.id) is spec
    assert spec.family in FAMILIES
    assert spec.tooltip.endswith(".")
    assert spec.use.endswith(".")
    asked = set(signature(spec.function).parameters)
    names = {parameter.name for parameter in spec.parameters}
    assert names - {"in_slice"} <= asked
    assert set(spec.fixed) <= asked
    assert "in_slice" not in names or "across" in asked
    for parameter in spec.parameters:
        assert parameter.help.endswith(".")
        assert parameter.check(parameter.default) == parameter.default
    with pytest.raises(ConfigError, match="no parameter"):
        spec.check({"colour": 3})


def test_every_tool_has_an_id_and_a_key_of_its_own() -> None:
    for names in ([spec.id for spec in TOOLS], [spec.key for spec in TOOLS], [spec.title for spec in TOOLS]):
        assert len(set(names)) == len(names)
    with pytest.raises(ConfigError, match="no tool 'brsh'"):
        tool("brsh")


@pytest.mark.parametrize("spec", [spec for spec in TOOLS if spec.gesture in ("stroke", "polygon")], ids=lambda spec: spec.id)
def test_a_label_that_does_not_fit_is_refused(spec: ToolSpec) -> None:
    mask = np.zeros((5, 5, 5), np.uint8)
    drawn = [(1, 1), (1, 4), (4, 1)] if spec.gesture == "polygon" else [(2, 2, 2)]
    work = Work(mask, (1.0, 1.0, 1.0), 300, np.zeros((5, 5, 5)), drawn, 0, 2)
    if spec.id == "erase_brush":
        assert not spec.run(work).values.any()
    else:
        with pytest.raises(LabelError, match="300"):
            spec.run(work)


@given(masks())
@settings(max_examples=20, deadline=None)
def test_what_lies_outside_is_refused_in_words(mask: np.ndarray) -> None:
    outside = tuple(size + 5 for size in mask.shape)
    for spec in TOOLS:
        if spec.gesture == "click":
            with pytest.raises(Seg3dError, match="does not lie"):
                spec.run(Work(mask, (1.0,) * mask.ndim, 1, np.zeros(mask.shape), outside, 0 if mask.ndim == 3 else None, 0))
        elif spec.gesture == "stroke":
            assert spec.run(Work(mask, (1.0,) * mask.ndim, 1, np.zeros(mask.shape), [outside], None, None), {}).is_empty
