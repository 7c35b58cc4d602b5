"""A few strokes teach a model that fills a region and follows further strokes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_seg3d.editing import History, Limits, quick_model, quick_nearness
from napari_seg3d.editing.quick_model import QuickModel
from napari_seg3d.editing.quick_nearness import Nearness
from napari_seg3d.editing.strokes import refine
from napari_seg3d.errors import Cancelled, ConfigError, GeometryError
from napari_seg3d.evaluation.counts import count_labels


def scene(shape=(16, 40, 40), seed=0):
    """Bright and grainy things in the dark, strokes in both."""
    random = np.random.default_rng(seed)
    truth = (ndimage.gaussian_filter(random.normal(size=shape), 3) > 0.02).astype(np.uint8) * 6
    image = (60 * (truth > 0) + random.normal(0, 15, shape)).astype(np.float32)
    strokes = np.full(shape, -1, np.int16)
    at = (shape[0] // 2,) if len(shape) == 3 else ()
    depth = ndimage.distance_transform_edt(truth[at])
    away = ndimage.distance_transform_edt(truth[at] == 0)
    strokes[at][(depth > 2) & (depth < 4)] = 6
    strokes[at][(away > 2) & (away < 4)] = 0
    return truth, image, strokes, tuple(slice(0, side) for side in shape)


@pytest.mark.parametrize("shape", [(16, 40, 40), (60, 60)])
def test_a_region_is_filled_from_strokes(shape):
    truth, image, strokes, box = scene(shape)
    model = QuickModel(image, (1.0,) * len(shape))
    model.learn(strokes)
    change = model.fill(np.zeros(shape, np.uint8), box, strokes)
    assert count_labels(change.values, truth, [6])[6].dice > 0.9
    assert np.array_equal(change.values[strokes >= 0], strokes[strokes >= 0])
    again = QuickModel(image, (1.0,) * len(shape))
    again.learn(strokes)
    assert np.array_equal(again.fill(np.zeros(shape, np.uint8), box, strokes).values, change.values), (
        "the same strokes, the same mask"
    )


def test_further_strokes_are_followed():
    _, image, strokes, box = scene()
    odd = np.zeros(image.shape, np.bool_)
    odd[:, 5:15, 5:15] = True
    image[odd] = 300
    model = QuickModel(image, (1.0, 1.0, 1.0))
    strokes[8, 5:15, 5:15] = -1
    model.learn(strokes)
    mask = np.zeros(image.shape, np.uint8)
    model.fill(mask, box, strokes)
    strokes[8, 7:13, 10] = 2
    model.learn(strokes)
    values = model.fill(mask, box, strokes).values
    assert np.mean(values[:, 7:13, 7:13] == 2) > 0.9


def test_a_part_is_filled_as_it_is_in_the_whole():
    _, image, strokes, box = scene()
    model = QuickModel(image, (1.0, 1.0, 1.0))
    model.learn(strokes)
    whole = model.probabilities(box)
    small = QuickModel(image, (1.0, 1.0, 1.0))
    small.learn(strokes)
    part = small.probabilities((slice(4, 12), slice(6, 30), slice(10, 35)))
    assert np.allclose(part, whole[:, 4:12, 6:30, 10:35], atol=1e-5)


def test_of_two_that_look_alike_the_nearer_one_is_taken():
    image = np.random.default_rng(0).normal(0, 1, (12, 30, 60)).astype(np.float32)
    strokes = np.full(image.shape, -1, np.int16)
    strokes[6, 8:22, 10], strokes[6, 8:22, 50] = 1, 2
    box = tuple(slice(0, side) for side in image.shape)
    right = np.where(np.arange(60) < 30, 1, 2)[np.newaxis, np.newaxis]
    shares = {}
    for near in (True, False):
        model = QuickModel(image, (2.0, 1.0, 1.0), near=near)
        model.learn(strokes)
        shares[near] = np.mean(model.fill(np.zeros(image.shape, np.uint8), box).values == right)
    assert shares[True] > 0.7 > 0.6 > shares[False]


def test_far_from_all_strokes_the_looks_decide():
    image = np.zeros((8, 20, 120), np.float32)
    image[:, :, 6:10] = image[:, :, 100:106] = 100
    image += np.random.default_rng(0).normal(0, 5, image.shape)
    strokes = np.full(image.shape, -1, np.int16)
    strokes[4, 5:15, 7], strokes[4, 5:15, 14] = 1, 0
    model = QuickModel(image, (1.0, 1.0, 1.0))
    model.learn(strokes)
    found = model.fill(np.zeros(image.shape, np.uint8), tuple(slice(0, side) for side in image.shape)).values
    assert np.mean(found[:, :, 101:105] == 1) > 0.95
    assert np.mean(found[:, :, 20:95] == 0) > 0.95


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(st.integers(2, 40), st.integers(2, 40), st.integers(2, 40)),
    st.tuples(*[st.floats(0.3, 4)] * 3),
    st.integers(1, 30),
    st.integers(0, 2**16),
)
def test_weights_fall_with_the_distance(shape, spacing, count, seed):
    random = np.random.default_rng(seed)
    places = random.integers(0, shape, (count, 3))
    empty = np.ones(shape, np.bool_)
    empty[tuple(places.T)] = False
    far = ndimage.distance_transform_edt(empty, sampling=spacing)
    first = random.integers(0, shape)
    part = tuple(slice(int(at), int(size)) for at, size in zip(first, shape, strict=True))
    weights = Nearness(places, spacing, tuple(slice(0, side) for side in shape)).weights(part)
    assert np.allclose(weights, (far[part] + min(spacing)) ** -3.0, rtol=1e-3)


def test_distances_between_places_are_nearly_right(monkeypatch):
    shape, spacing = (30, 40, 50), (2.0, 1.0, 0.7)
    places = np.random.default_rng(0).integers(0, shape, (5, 3))
    empty = np.ones(shape, np.bool_)
    empty[tuple(places.T)] = False
    box = tuple(slice(0, side) for side in shape)
    monkeypatch.setattr(quick_nearness, "_MOST", 4000)
    far = Nearness(places, spacing, box).weights(box) ** (-1 / 3) - 0.7
    # A place is at most three voxels away along each axis.
    assert np.abs(far - ndimage.distance_transform_edt(empty, sampling=spacing)).max() < np.linalg.norm(3 * np.array(spacing))


@pytest.mark.parametrize("near", [False, True])
def test_pieces_make_no_difference(monkeypatch, near):
    _, image, strokes, box = scene()
    mask = np.zeros(image.shape, np.uint8)
    strokes[2, 3:9, 4] = 2
    at_once = QuickModel(image, (1.0, 1.0, 1.0), near=near)
    at_once.learn(strokes, box)
    expected = at_once.fill(mask, box).values
    monkeypatch.setattr(quick_model, "_PIECE", 5_000)
    in_pieces = QuickModel(image, (1.0, 1.0, 1.0), near=near)
    in_pieces.learn(strokes)
    assert np.mean(in_pieces.fill(mask, box).values != expected) < 1e-4


def test_it_tells_how_far_it_is_and_stops(monkeypatch):
    _, image, strokes, box = scene()
    monkeypatch.setattr(quick_model, "_PIECE", 5_000)
    strokes[2, 3:9, 4] = 6
    mask = np.zeros(image.shape, np.uint8)
    model = QuickModel(image, (1.0, 1.0, 1.0))
    for work in (model.learn, lambda strokes, **asked: model.fill(mask, box, strokes, **asked)):
        told, asked = [], []
        work(strokes, progress=lambda *step, told=told: told.append(step), cancelled=lambda asked=asked: bool(asked.append(0)))
        assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
        assert len(told) > 10
        assert len(asked) > len(told)
    for stop in range(0, len(asked), 7):
        answers = iter([False] * stop + [True] * 99)
        with pytest.raises(Cancelled):
            model.fill(mask, box, strokes, cancelled=lambda answers=answers: next(answers))


def test_refining_is_told_as_one_work():
    _, image, strokes, _ = scene()
    told = []
    mask = np.where(strokes == 0, 1, np.maximum(strokes, 0)).astype(np.uint8)
    refine(mask, image, (1.0, 1.0, 1.0), background=1, progress=lambda done, total: told.append(done / total))
    assert told == sorted(told)
    assert told[0] < 0.2 < told[-1] == 1


def test_what_a_network_thinks_may_be_believed():
    truth, image, strokes, box = scene()
    blind = np.zeros_like(image)
    model = QuickModel(blind, (1.0, 1.0, 1.0), features=(truth > 0)[np.newaxis].astype(np.float32))
    model.learn(strokes)
    assert count_labels(model.fill(np.zeros(image.shape, np.uint8), box).values, truth, [6])[6].dice > 0.95


def test_locked_labels_and_labels_that_were_not_learnt_stay():
    _, image, strokes, box = scene()
    mask = np.zeros(image.shape, np.uint8)
    mask[2:5], mask[10:12], mask[12:14] = 4, 6, 2
    before, limits, history = mask.copy(), Limits(frozenset({6})), History()
    model = QuickModel(image, (1.0, 1.0, 1.0))
    strokes[3, 3, 3:9] = 2
    model.learn(strokes)
    history.apply(mask, model.fill(mask, box, strokes, limits=limits), limits)
    assert np.array_equal(mask == 6, before == 6)
    assert np.array_equal(mask == 4, before == 4)
    assert not np.array_equal(mask, before)
    history.undo(mask)
    assert np.array_equal(mask, before)


def test_what_cannot_be_learnt_says_why():
    _, image, strokes, box = scene()
    model = QuickModel(image, (1.0, 1.0, 1.0))
    mask = np.zeros(image.shape, np.uint8)
    with pytest.raises(ConfigError, match="let it learn"):
        model.fill(mask, box)
    with pytest.raises(ConfigError, match="at least one stroke"):
        model.learn(np.where(strokes == 6, 6, -1))
    with pytest.raises(ConfigError, match="at least one stroke"):
        model.learn(np.full(image.shape, -1))
    with pytest.raises(GeometryError):
        model.learn(strokes[1:])
    with pytest.raises(GeometryError):
        QuickModel(image, (1.0, 1.0))
    with pytest.raises(GeometryError, match="features"):
        QuickModel(image, (1.0, 1.0, 1.0), features=np.zeros((2, 3, 3, 3), np.float32))
    with pytest.raises(Cancelled):
        model.learn(strokes, cancelled=lambda: True)
