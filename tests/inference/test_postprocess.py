"""Rules after the network: what they change, what they never touch, which ones help, and the file that keeps them."""

from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage

from napari_seg3d.errors import Cancelled, ConfigError, GeometryError, WriteError
from napari_seg3d.inference.postprocess import Rule, Rules, choose_rules, postprocessed, rules_beside, rules_file, save_rules
from napari_seg3d.inference.postprocess.choose import UNKNOWN
from napari_seg3d.volumes import Label, Volume

_SPACINGS = st.tuples(*[st.sampled_from([0.5, 1.0, 1.7, 3.0])] * 3)
_HOLES = st.sampled_from(["no", "3D", "axial", "coronal", "sagittal"])


def _mask(data: NDArray[np.integer], spacing: Sequence[float] = (1, 1, 1), names: Sequence[str] = ()) -> Volume:
    labels = {value: Label(name) for value, name in enumerate(names, start=1)}
    return Volume(data if data.ndim == 4 else data[np.newaxis], np.diag([*spacing, 1.0]), "labels", labels=labels)


@st.composite
def _masks(draw: st.DrawFn, labels: int = 3) -> Volume:
    """Blobs of several labels, exclusive or with a channel each, on any grid."""
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    smooth = draw(st.sampled_from([0, 0.6, 1.0]))
    fields = ndimage.gaussian_filter(random.normal(size=(labels, *shape)), (0, smooth, smooth, smooth))
    there = fields > np.quantile(fields, draw(st.sampled_from([0.5, 0.7])))
    values = np.arange(1, labels + 1, dtype=np.uint8)[:, None, None, None]
    data = there * values if draw(st.booleans()) else np.where(there.any(0), 1 + fields.argmax(0), 0).astype(np.uint8)[None]
    return _mask(data, draw(_SPACINGS))


@st.composite
def _rules(draw: st.DrawFn, closing: bool = True) -> Rule:
    size = draw(st.sampled_from([{}, {"smallest_voxels": 4}, {"smallest_ml": 0.005}]))
    radius = draw(st.sampled_from([None, 1.0, 2.5])) if closing else None
    return Rule(**size, closing_mm=radius, largest=draw(st.booleans()), holes=draw(_HOLES))


def _as_rules(draw: st.DataObject, closing: bool = True) -> Rules:
    return Rules(every=draw.draw(_rules(closing)), labels={2: draw.draw(_rules(closing))})


def _without(rules: Rules, name: str) -> Rules:
    left_out = {"every": {name}, "labels": {label: {name} for label in rules.labels}}
    return Rules.model_validate(rules.model_dump(exclude=left_out))


@given(_masks(), st.data())
def test_no_label_loses_a_voxel_to_another(mask: Volume, data: st.DataObject) -> None:
    before, rules = mask.data.copy(), _as_rules(data)
    dropped = postprocessed(mask, _without(rules, "holes"))[0].data
    after = postprocessed(mask, rules)[0]
    assert np.array_equal(mask.data, before)
    # What was a label is this label still, or background; what is background may become any label of its channel.
    assert ((dropped == before) | (dropped == 0) | (before == 0)).all()
    assert ((after.data == dropped) | (dropped == 0)).all()
    for channel, (old, new) in enumerate(zip(before, after.data, strict=True), start=1):
        assert set(np.unique(new)) <= ({0, channel} if len(before) > 1 else set(np.unique(old)) | {0})
    assert after.data.dtype == before.dtype
    assert after.grid.matches(mask.grid)


@given(_masks(), st.data())
def test_pieces_and_holes_are_settled_the_first_time(mask: Volume, data: st.DataObject) -> None:
    rules = _as_rules(data, closing=False)
    once, _ = postprocessed(mask, rules)
    twice, told = postprocessed(once, rules)
    assert np.array_equal(twice.data, once.data)
    assert told == []


@given(_masks(), st.data())
def test_any_voxel_order_gives_the_same(mask: Volume, data: st.DataObject) -> None:
    rules = _as_rules(data)
    expected, told = postprocessed(mask, rules)
    order = data.draw(st.sampled_from(list(permutations(range(3)))))
    flips = data.draw(st.sampled_from(list(product([False, True], repeat=3))))
    turned = mask.data.transpose(0, *(axis + 1 for axis in order))
    affine = mask.affine[:, [*order, 3]].copy()
    for axis, is_flipped in enumerate(flips):
        if is_flipped:
            turned = np.flip(turned, axis + 1)
            affine[:3, 3] += affine[:3, axis] * (turned.shape[axis + 1] - 1)
            affine[:3, axis] *= -1
    found, found_told = postprocessed(Volume(turned, affine, "labels"), rules)
    assert np.array_equal(found.canonical().data, expected.canonical().data)
    assert found_told == told


@given(_masks(), st.sampled_from([Rule(largest=True), Rule(holes="3D"), Rule(closing_mm=2)]))
def test_no_label_comes_or_goes_but_by_its_size(mask: Volume, rule: Rule) -> None:
    after, _ = postprocessed(mask, Rules(every=rule))
    assert set(np.unique(after.data)) | {0} == set(np.unique(mask.data)) | {0}


@given(_masks(labels=1), st.sampled_from([1.0, 1.8, 3.1]))
@settings(max_examples=30)
def test_closing_is_that_by_a_ball_in_millimetres(mask: Volume, radius: float) -> None:
    after, _ = postprocessed(mask, Rules(every=Rule(closing_mm=radius)))
    reach = [int(radius / side) for side in mask.spacing]
    steps = np.stack(
        np.meshgrid(*(np.arange(-n, n + 1) * side for n, side in zip(reach, mask.spacing, strict=True)), indexing="ij")
    )
    ball = np.sqrt((steps**2).sum(0)) <= radius
    margin = [(n + 1, n + 1) for n in reach]
    inside = tuple(slice(before, -after_) for before, after_ in margin)
    assert np.array_equal(after.data[0] != 0, ndimage.binary_closing(np.pad(mask.data[0] != 0, margin), ball)[inside])


@given(_masks(labels=1))
@settings(max_examples=30)
def test_holes_of_a_single_label_are_those_that_scipy_fills(mask: Volume) -> None:
    after, _ = postprocessed(mask, Rules(every=Rule(holes="3D")))
    there = mask.data[0] != 0
    flat = tuple(axis for axis, voxels in enumerate(there.shape) if voxels == 1)
    wanted = ndimage.binary_fill_holes(there.squeeze()) if there.ndim > len(flat) else there.squeeze()
    assert np.array_equal(after.data[0].squeeze() != 0, wanted)


def test_the_largest_piece_is_measured_in_voxels_and_small_ones_in_millilitres() -> None:
    data = np.zeros((20, 8, 8), np.uint8)
    data[1:6, 1:6, 1:6] = 1  # 125 voxels: 0.25 ml
    data[8:12, 1:6, 1:6] = 1  # 100 voxels: 0.2 ml
    data[15, 1, 1] = 1
    mask = _mask(data, (1, 1, 2), ["spleen"])
    alone, told = postprocessed(mask, Rules(every=Rule(largest=True)))
    assert (alone.data != 0).sum() == 125
    assert told == ["spleen: 2 pieces dropped (0.202 ml)."]
    exactly, _ = postprocessed(mask, Rules(every=Rule(smallest_ml=0.2)))
    assert (exactly.data != 0).sum() == 225
    more, _ = postprocessed(mask, Rules(every=Rule(smallest_ml=0.21)))
    assert (more.data != 0).sum() == 125
    none, told = postprocessed(mask, Rules(every=Rule(smallest_voxels=126)))
    assert not none.data.any()
    assert told == ["spleen: 3 pieces dropped (0.452 ml), and nothing is left."]


def test_a_hole_goes_to_the_label_that_touches_it() -> None:
    data = np.zeros((15, 15, 15), np.uint8)
    data[1:14, 1:14, 1:14] = 1  # a liver
    data[3, 3, 3] = 0  # with a hole,
    data[5:10, 5:10, 5:10] = 2  # a tumour in it,
    data[7, 7, 7] = 0  # with a hole of its own,
    data[10, 7, 7] = 0  # and a gap between both.
    after, _ = postprocessed(_mask(data), Rules(every=Rule(holes="3D")))
    assert [int(after.data[0][place]) for place in ((3, 3, 3), (7, 7, 7), (10, 7, 7))] == [1, 2, 1]
    assert np.array_equal(after.data[0][data != 0], data[data != 0])


def test_a_tunnel_is_a_hole_in_the_slices_across_it_alone() -> None:
    data = np.zeros((7, 7, 7), np.uint8)
    data[1:6, 1:6, 1:6] = 1
    data[3, 3, :] = 0
    filled = {
        holes: int(postprocessed(_mask(data), Rules(every=Rule(holes=holes)))[0].data.sum()) - int(data.sum())  # type: ignore[arg-type]
        for holes in ("3D", "axial", "coronal")
    }
    assert filled == {"3D": 0, "axial": 5, "coronal": 0}


def test_a_piece_in_a_hole_leaves_no_hole() -> None:
    data = np.zeros((11, 11, 11), np.uint8)
    data[1:10, 1:10, 1:10] = 1
    data[3:8, 3:8, 3:8] = 0
    data[5, 5, 5] = 1
    after, _ = postprocessed(_mask(data), Rules(every=Rule(largest=True, holes="3D")))
    assert (after.data[0, 1:10, 1:10, 1:10] == 1).all()


def test_a_gap_is_closed_before_the_pieces_are_counted() -> None:
    data = np.zeros((20, 9, 9), np.uint8)
    data[1:8, 2:7, 2:7] = data[9:19, 2:7, 2:7] = 1
    after, told = postprocessed(_mask(data), Rules(labels={1: Rule(closing_mm=1, largest=True)}))
    # Where the ball comes in from the sides, the gap stays.
    assert (after.data[0, 8, 3:6, 3:6] == 1).all()
    assert (after.data[0][data == 1] == 1).all()
    assert told == ["label 1: 0.009 ml in gaps closed."]
    after, told = postprocessed(_mask(data, (2, 2, 2)), Rules(labels={1: Rule(closing_mm=1.5)}))
    assert np.array_equal(after.data[0], data)
    assert told == ["label 1: no gap is narrower than 1.5 mm, because no side of a voxel is."]


def test_a_label_has_its_own_rule_or_the_one_for_all() -> None:
    data = np.zeros((12, 4, 4), np.int32)
    data[0, 0, 0] = data[2:5, 0, 0] = 3
    data[6, 0, 0] = data[8:11, 0, 0] = 70_000
    after, _ = postprocessed(_mask(data), Rules(every=Rule(largest=True), labels={3: Rule()}))
    assert {int(value): int((after.data == value).sum()) for value in (3, 70_000)} == {3: 4, 70_000: 3}


def test_it_can_be_cancelled() -> None:
    with pytest.raises(Cancelled):
        postprocessed(_mask(np.ones((3, 3, 3), np.uint8)), Rules(every=Rule(largest=True)), lambda: True)


# -- the choice ----------------------------------------------------------------------------------------------------------------------------


def _pair(kind: str, shape: tuple[int, int, int] = (20, 20, 20)) -> tuple[Volume, Volume]:
    """A block that is predicted with a fault."""
    truth = np.zeros(shape, np.int16)
    truth[3:12, 3:12, 3:12] = 1
    prediction = truth.copy()
    if kind == "speck":
        prediction[16:18, 16:18, 16:18] = 1
    elif kind == "hole":
        prediction[6:9, 6:9, 6:9] = 0
    elif kind == "two":
        truth[14:18, 14:18, 14:18] = prediction[14:18, 14:18, 14:18] = 1
        prediction[17, 3, 3] = 1
    elif kind == "nothing there":
        truth[:] = prediction[:] = 0
        prediction[3, 3, 3] = 1
    return _mask(prediction.astype(np.uint8)), _mask(truth)


def test_the_largest_piece_is_chosen_where_it_helps_and_holes_where_they_do() -> None:
    choice = choose_rules([_pair("speck"), _pair("hole"), _pair("")], {1: "spleen"})
    assert choice.rules == Rules(labels={1: Rule(largest=True, holes="3D")})
    (effect,) = choice.effects
    expected = (2 * 729 / (2 * 729 + 8) + 2 * 702 / (2 * 702 + 27) + 1) / 3
    assert effect.before == pytest.approx(expected)
    assert effect.after == 1
    assert (effect.name, effect.cases) == ("spleen", 3)


def test_a_label_in_two_pieces_keeps_both() -> None:
    choice = choose_rules([_pair("two"), _pair("two")], {1: "kidneys"})
    rule = choice.rules.of(1)
    assert not rule.largest
    assert rule.smallest_ml is not None
    assert 0.001 < rule.smallest_ml <= 0.064
    assert choice.effects[0].after == 1


def test_nothing_is_chosen_where_nothing_helps() -> None:
    choice = choose_rules([_pair(""), _pair("")], {1: "spleen", 2: "kidney"})
    assert choice.rules.is_empty
    assert [(effect.before, effect.after) for effect in choice.effects[:1]] == [(1, 1)]
    assert np.isnan([choice.effects[1].before, choice.effects[1].after]).all()


def test_what_is_found_where_nothing_is_counts_as_zero_until_it_is_dropped() -> None:
    choice = choose_rules([_pair(""), _pair("nothing there")], {1: "spleen"})
    assert choice.effects[0].before == 0.5
    assert choice.effects[0].after == 1
    assert choice.rules.of(1).smallest_ml is not None


def test_unknown_voxels_count_for_nothing() -> None:
    prediction, mask = _pair("speck")
    mask.data[0, 15:, 15:, 15:] = UNKNOWN
    choice = choose_rules([(prediction, mask)], {1: "spleen"})
    assert choice.effects[0].before == 1
    assert choice.rules.is_empty


@given(st.lists(st.tuples(_masks(labels=2), st.integers(0, 2**32 - 1)), min_size=1, max_size=3))
@settings(max_examples=30)
def test_no_label_becomes_worse_and_what_is_told_is_what_comes_out(drawn: list[tuple[Volume, int]]) -> None:
    # Pieces of other labels, which a rule frees, are never taken here: no hole is enclosed by two labels at once in a channel each.
    pairs = []
    for volume, seed in drawn:
        there = (volume.data == 1).any(axis=0)
        flips = np.random.default_rng(seed).uniform(size=there.shape) < 0.2
        pairs.append((_mask((there ^ flips).astype(np.uint8), volume.spacing), _mask(there.astype(np.int16), volume.spacing)))
    choice = choose_rules(pairs, {1: "it"})
    (effect,) = choice.effects
    scores = []
    for prediction, mask in pairs:
        found, wanted = postprocessed(prediction, choice.rules)[0].data != 0, mask.data != 0
        if found.any() or wanted.any():
            scores.append(2 * (found & wanted).sum() / (found.sum() + wanted.sum()))
    assert effect.after == pytest.approx(np.mean(scores) if scores else np.nan, nan_ok=True)
    assert effect.after > effect.before or choice.rules.is_empty


def test_labels_that_overlap_are_judged_by_themselves() -> None:
    truth = np.zeros((2, 16, 16, 16), np.int16)
    truth[0, 2:12, 2:12, 2:12] = 1
    truth[1, 4:8, 4:8, 4:8] = 2
    prediction = truth.astype(np.uint8)
    prediction[1, 14, 14, 14] = 2
    choice = choose_rules([(_mask(prediction), _mask(truth))], {1: "liver", 2: "tumour"})
    assert choice.rules == Rules(labels={2: Rule(largest=True)})
    assert [effect.after for effect in choice.effects] == [1, 1]


def test_cases_are_gone_through_one_at_a_time() -> None:
    class Cases:
        def __init__(self) -> None:
            self.asked = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            for kind in ("speck", "hole"):
                self.asked += 1
                yield _pair(kind)

    cases = Cases()
    assert choose_rules(cases, {1: "a"}) == choose_rules(iter(list(Cases())), {1: "a"})
    assert cases.asked == 4


def test_masks_on_another_grid_are_refused() -> None:
    with pytest.raises(GeometryError):
        choose_rules([(_pair("")[0], _pair("", (21, 20, 20))[1])], {1: "spleen"})


# -- the file ------------------------------------------------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=20)
def test_rules_come_back_from_their_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    model = tmp_path_factory.mktemp("run") / "best.pt"
    rules = _as_rules(data)
    assert rules_beside(model) is None
    save_rules(rules_file(model), rules, {1: "Leber, müde"})
    assert rules_beside(model) == rules
    with pytest.raises(WriteError, match=r"postprocessing\.yaml exists already"):
        save_rules(rules_file(model), Rules(), {})
    save_rules(rules_file(model), Rules(), {}, overwrite=True)
    assert rules_beside(model) == Rules()


_HEAD = "format: napari-seg3d postprocessing\nversion: 1\n"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "holds no rules"),
        ("[1, 2]", "holds no rules"),
        ("format: [", "cannot be read as YAML"),
        ("[" * 20_000, "nested too deeply"),
        ("date: 2020-99-99", "cannot be read as YAML"),
        ("format: !!python/object/apply:os.system ['true']", "cannot be read as YAML"),
        ("a: &a [1]\nb: *a", "anchors"),
        ("format: napari-seg3d postprocessing\nversion: 2\nrules: {}", "version 2"),
        (f"{_HEAD}", "rules: Field required"),
        (f"{_HEAD}rules: {{every: {{largest: 7}}}}", r"rules\.every\.largest"),
        (f"{_HEAD}rules: {{labels: {{0: {{largest: true}}}}}}", r"rules\.labels\.0"),
        (f"{_HEAD}rules: {{every: {{smallest_ml: .nan}}}}", r"rules\.every\.smallest_ml"),
        (f"{_HEAD}rules: {{every: {{smallest_ml: 1, smallest_voxels: 1}}}}", "in ml or in voxels"),
        (f"{_HEAD}rules: {{every: {{bigest: true}}}}", r"rules\.every\.bigest"),
        ("#" * 300_000, "larger than any rules"),
    ],
    ids=range(15),
)
def test_a_file_that_holds_no_rules_is_named(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "postprocessing.yaml").write_text(text)
    with pytest.raises(ConfigError, match=what) as caught:
        rules_beside(tmp_path / "best.pt")
    assert str(tmp_path / "postprocessing.yaml") in caught.value.what


def test_a_size_is_given_once() -> None:
    with pytest.raises(ValidationError, match="in ml or in voxels"):
        Rule(smallest_ml=1, smallest_voxels=2)
    assert Rule(smallest_ml=1, holes="axial").in_words == "pieces below 1 ml dropped, holes in axial slices filled"
