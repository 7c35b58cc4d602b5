"""Labels grow from seeds until they meet at edges of the image."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, sparse

from napari_seg3d.editing import History, Limits, geodesics
from napari_seg3d.editing.fronts import advance
from napari_seg3d.editing.seeds import grow_from_seeds, seeds_of
from napari_seg3d.errors import Cancelled, ConfigError, GeometryError
from napari_seg3d.evaluation.counts import count_labels
from napari_seg3d.volumes import read_volume


def scene(shape=(20, 24, 22), seed=0):
    """Two bright boxes side by side in the dark, and a stroke in each."""
    truth = np.zeros(shape, np.uint8)
    middle = shape[-1] // 2
    truth[..., 4:-4, 4:middle] = 3
    truth[..., 4:-4, middle:-4] = 9
    if len(shape) == 3:
        truth[:3] = truth[-3:] = 0
    levels = np.array([0, 0, 0, 100, 0, 0, 0, 0, 0, 200], np.float32)
    image = levels[truth] + np.random.default_rng(seed).normal(0, 8, shape).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    at = () if len(shape) == 2 else (shape[0] // 2,)
    mask[(*at, slice(8, 14), middle - 4)] = 3
    mask[(*at, slice(8, 14), middle + 3)] = 9
    mask[(*at, slice(1, -1), 1)] = 1
    mask[(*at, slice(1, -1), -2)] = 1
    return truth, image, mask


@pytest.mark.parametrize("shape", [(20, 24, 22), (24, 30)])
def test_labels_meet_at_edges(shape):
    truth, image, mask = scene(shape)
    result = _all(np.zeros_like(mask), seeds_of(mask, background=1), image, (1.0,) * len(shape))
    assert min(one.dice for one in count_labels(result, truth, [3, 9]).values()) > 0.95


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.permutations([0, 1, 2]), st.lists(st.booleans(), min_size=3, max_size=3))
def test_no_direction_is_special(seed, order, flips):
    _, image, mask = scene(seed=seed)
    seeds, spacing = seeds_of(mask, background=1), (2.0, 1.0, 0.9)
    step = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    result = _all(np.zeros_like(mask), seeds, image, spacing)
    turned = _all(
        np.zeros_like(mask.transpose(order)),
        seeds.transpose(order)[step],
        image.transpose(order)[step],
        [spacing[one] for one in order],
    )
    assert np.mean(turned != result.transpose(order)[step]) < 0.002


def _all(mask, seeds, image, spacing, **kwargs):
    return grow_from_seeds(mask, seeds, image, spacing, box=tuple(slice(0, side) for side in mask.shape), **kwargs).values


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 3, 5, 9]))
def test_seeds_and_locked_labels_stay_and_undo_restores_every_bit(seed, locked):
    _, image, mask = scene(seed=seed)
    mask[5:8, 5:8, 5:8] = 5
    seeds = seeds_of(np.where(mask == 5, 0, mask), background=1)
    before, limits, history = mask.copy(), Limits(frozenset({locked})), History()
    change = grow_from_seeds(mask, seeds, image, (1.0, 1.0, 1.0), limits=limits)
    history.apply(mask, change, limits)
    assert np.array_equal(mask == locked, before == locked)
    assert np.array_equal(mask == 5, before == 5), "a label without seeds stays"
    drawn = (seeds > 0) & (seeds != locked) & (before != locked)
    assert np.array_equal(mask[drawn], seeds[drawn])
    history.undo(mask)
    assert np.array_equal(mask, before)


def test_nothing_grows_through_a_wall():
    image = np.zeros((9, 30), np.float32)
    mask = np.zeros((9, 30), np.uint8)
    mask[:, 10] = 4
    seeds = np.full(mask.shape, -1)
    seeds[4, 2], seeds[4, 14] = 1, 2
    result = _all(mask, seeds, image, (1.0, 1.0), limits=Limits(frozenset({4})))
    assert np.all(result[:, :10] == 1)
    assert np.all(result[:, 10] == 4)
    assert np.all(result[:, 11:] == 2)


def test_large_volumes_are_decided_from_coarse_to_fine(monkeypatch):
    truth, image, mask = scene((40, 64, 64))
    seeds = seeds_of(mask, background=1)
    at_once = _all(np.zeros_like(mask), seeds, image, (1.0, 1.0, 1.0))
    monkeypatch.setattr(geodesics, "_MOST", 10_000)
    result = _all(np.zeros_like(mask), seeds, image, (1.0, 1.0, 1.0))
    # Halved twice here, far more than large scans are: 3 % of the voxels lie near borders that noise has moved.
    assert np.mean(result != at_once) < 0.05
    assert np.array_equal(result[seeds >= 0], seeds[seeds >= 0])
    assert min(one.dice for one in count_labels(result, truth, [3, 9]).values()) > 0.95


def test_noise_moves_no_border():
    shape = (24, 40, 40)
    truth = np.zeros(shape, np.uint8)
    truth[:, 10:30, 10:20], truth[:, 10:30, 20:30] = 3, 9
    image = np.array([0, 0, 0, 90, 0, 0, 0, 0, 0, 180], np.float32)[truth]
    image += np.random.default_rng(0).normal(0, 40, shape).astype(np.float32)
    seeds = np.full(shape, -1)
    seeds[12, 12:28, 14], seeds[12, 12:28, 25], seeds[12, 4, 2:-2], seeds[12, -4, 2:-2] = 3, 9, 0, 0
    result = _all(np.zeros_like(truth), seeds, image, (1.0, 1.0, 1.0))
    assert min(one.dice for one in count_labels(result, truth, [3, 9]).values()) > 0.9


@pytest.mark.parametrize("most", [geodesics._MOST, 5_000])
def test_the_unit_of_the_image_and_the_order_in_memory_do_not_matter(monkeypatch, most):
    monkeypatch.setattr(geodesics, "_MOST", most)
    _, image, mask = scene((34, 40, 36))
    seeds, spacing = seeds_of(mask, background=1), (1.0, 1.0, 1.2)
    result = _all(np.zeros_like(mask), seeds, image, spacing)
    assert np.mean(_all(np.zeros_like(mask), seeds, image * 5000 + 1_000_000, spacing) != result) < 0.001
    turned = [np.asfortranarray(array) for array in (np.zeros_like(mask), seeds, image)]
    assert np.array_equal(_all(*turned, spacing), result)


def test_it_can_be_stopped_within_each_step(monkeypatch):
    monkeypatch.setattr(geodesics, "_MOST", 5_000)
    _, image, mask = scene((34, 40, 36))
    seeds, told, asked = seeds_of(mask, background=1), [], []

    def ask():
        asked.append(len(told))
        return False

    _all(np.zeros_like(mask), seeds, image, (1.0, 1.0, 1.0), progress=lambda *step: told.append(step), cancelled=ask)
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    assert all(asked.count(step) >= 2 for step in range(len(told))), "every step asks before it is done, too"
    for stop in (0, len(asked) // 2, len(asked) - 2):
        answers = iter([False] * stop + [True])
        with pytest.raises(Cancelled):
            _all(np.zeros_like(mask), seeds, image, (1.0, 1.0, 1.0), cancelled=lambda answers=answers: next(answers))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(0, 4))
def test_fronts_find_what_dijkstra_finds(seed, count, starts):
    random = np.random.default_rng(seed)
    size = 9 * count
    labels = np.full(size, -1, np.int16)
    chosen = random.choice(size, starts, replace=False)
    labels[chosen] = np.arange(starts)
    to = random.integers(0, size + 1, (size, 3)).astype(np.int32)  # `size` leads nowhere
    lengths = random.uniform(0.1, 9, to.shape).astype(np.float32)
    kept = to < size
    ways = np.full((size, size), np.inf)
    np.minimum.at(ways, (np.broadcast_to(np.arange(size)[:, None], to.shape)[kept], to[kept]), lengths[kept])
    ways[~np.isfinite(ways)] = 0
    advance(labels, to, lengths, lambda: None)
    if starts == 0:
        assert np.all(labels == -1)
        return
    far = sparse.csgraph.dijkstra(sparse.csr_matrix(ways), indices=chosen)
    reached = np.isfinite(far.min(axis=0))
    assert np.array_equal(labels >= 0, reached)
    assert np.allclose(far[labels[reached], np.flatnonzero(reached)], far.min(axis=0)[reached], rtol=1e-5)


def test_what_cannot_grow_says_why():
    _, image, mask = scene()
    spacing = (1.0, 1.0, 1.0)
    with pytest.raises(ConfigError, match="Paint a stroke of each label"):
        grow_from_seeds(mask, np.full(mask.shape, -1), image, spacing)
    with pytest.raises(ConfigError, match="Paint a stroke of another label"):
        grow_from_seeds(mask, np.where(mask == 3, 3, -1), image, spacing)
    with pytest.raises(GeometryError):
        grow_from_seeds(mask, seeds_of(mask), image[1:], spacing)
    with pytest.raises(Cancelled):
        grow_from_seeds(mask, seeds_of(mask), image, spacing, cancelled=lambda: True)


def test_better_than_a_random_walker_on_real_scans(shared_data: Path):
    segmentation = pytest.importorskip("skimage.segmentation")
    names = sorted(path.name for path in (shared_data / "hippocampus" / "labels").glob("*.nii.gz"))[::40]
    betas = (30, 2000)  # of more than these two, they do best here
    ours, walkers = [], []
    for name in names:
        image = read_volume(shared_data / "hippocampus" / "images" / name).data[0].astype(np.float64)
        truth = read_volume(shared_data / "hippocampus" / "labels" / name, "labels").data[0].astype(np.uint8)
        seeds = np.full(truth.shape, -1)
        for label in (1, 2):
            depth = ndimage.distance_transform_edt(np.pad(truth == label, 1))[1:-1, 1:-1, 1:-1]
            seeds[depth >= 3] = label
        seeds[ndimage.distance_transform_edt(truth == 0) > 3] = 0
        ours.append(_dice(_all(np.zeros_like(truth), seeds, image, (1.0, 1.0, 1.0)), truth))
        even = (image - image.mean()) / image.std()
        walked = [segmentation.random_walker(even, seeds + 1, beta=beta, mode="cg_j", tol=1e-4) - 1 for beta in betas]
        walkers.append([_dice(one, truth) for one in walked])
    assert np.mean(ours) > np.mean(walkers, axis=0).max()


def _dice(found, truth):
    return np.mean([one.dice for one in count_labels(found.astype(truth.dtype), truth, [1, 2]).values()])
