"""What a mask means: labels that exclude one another or overlap, and what nobody has painted, on its way through the preprocessing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from napari_seg3d.errors import ConfigError
from napari_seg3d.evaluation.counts import UNKNOWN
from napari_seg3d.networks.planes import AXIS, Plane
from napari_seg3d.training.config import TargetsConfig
from napari_seg3d.training.samples.targets import MOST_LABELS, classes_of, known_voxels, learnt_labels, make_target, settled
from napari_seg3d.transforms import Pipeline, Step, preprocessing_pipeline
from napari_seg3d.volumes import Volume

PLANES = st.sampled_from(sorted(AXIS))
SHAPE = (11, 9, 13)


def _mask(seed: int, shape: tuple[int, int, int] = SHAPE, values: tuple[int, ...] = (3, 7)) -> Volume:
    """Return a mask of random boxes in canonical order."""
    random = np.random.default_rng(seed)
    data = np.zeros((1, *shape), np.uint8)
    for value in values:
        low = [int(random.integers(0, side - 4)) for side in shape]
        data[(0, *(slice(first, first + int(random.integers(3, 6))) for first in low))] = value
    return Volume(data, np.eye(4), "labels")


def _image(mask: Volume) -> Volume:
    noise = np.random.default_rng(0).normal(0, 1, mask.data.shape[1:])
    return Volume(noise[np.newaxis].astype(np.float32), mask.affine)


def _stored(volume: Volume, code: str) -> Volume:
    """Return a canonical volume as a file in another axis order holds it."""
    change = ornt_transform(axcodes2ornt(("R", "A", "S")), axcodes2ornt(tuple(code)))
    order = np.argsort(change[:, 0])
    flips = tuple(slice(None, None, int(sign)) for sign in change[:, 1])
    data = volume.data[(slice(None), *flips)].transpose(0, *(1 + order))
    shape = volume.data.shape[1:]
    return Volume(np.ascontiguousarray(data), volume.affine @ inv_ornt_aff(change, shape), volume.kind)


@given(
    st.integers(0, 99), PLANES, st.sets(st.integers(0, 8), min_size=1, max_size=4), st.sampled_from(["RAS", "LPS", "SRA", "PIL"])
)
@settings(max_examples=40)
def test_only_painted_slices_are_known_however_the_file_lies(seed: int, plane: Plane, painted: set[int], code: str) -> None:
    mask = _mask(seed)
    chosen = np.isin(np.arange(mask.data.shape[1 + AXIS[plane]]), list(painted))
    view = np.moveaxis(mask.data[0], AXIS[plane], 0)
    view[~chosen] = 0
    holds = view.any(axis=(1, 2))
    stored = _stored(mask, code)
    assert stored.canonical().grid.matches(mask.grid)
    known = known_voxels(stored, TargetsConfig(known="slices", plane=plane))
    assert known is not None
    slices = np.moveaxis(stored.grid.to_canonical(known), AXIS[plane], 0)
    assert np.array_equal(slices.all(axis=(1, 2)), holds)
    assert np.array_equal(slices.any(axis=(1, 2)), holds)


@given(st.integers(0, 99), PLANES)
@settings(max_examples=20)
def test_the_plane_of_painting_is_the_one_with_the_fewest_slices(seed: int, plane: Plane) -> None:
    mask = _mask(seed, values=(3,))
    view = np.moveaxis(mask.data[0], AXIS[plane], 0)
    first = int(np.flatnonzero(view.any(axis=(1, 2)))[0])
    view[:first] = 0
    view[first + 1 :] = 0
    found = known_voxels(mask, TargetsConfig(known="slices"))
    assert np.array_equal(found, known_voxels(mask, TargetsConfig(known="slices", plane=plane)))


def test_painted_voxels_alone_and_ignored_ones() -> None:
    mask = _mask(1)
    mask.data[0, 0, 0, :5] = 9
    assert known_voxels(mask, TargetsConfig()) is None
    assert known_voxels(mask, TargetsConfig(ignore=8)) is None, "a value that never occurs leaves everything known"
    assert np.array_equal(known_voxels(mask, TargetsConfig(ignore=9)), mask.data[0] != 9)
    assert np.array_equal(known_voxels(mask, TargetsConfig(known="voxels")), mask.data[0] != 0)
    both = known_voxels(mask, TargetsConfig(known="voxels", ignore=9))
    assert np.array_equal(both, (mask.data[0] != 0) & (mask.data[0] != 9))
    _, target, reference = make_target(Pipeline(()), _image(mask), mask, [3, 7], TargetsConfig(known="voxels", background=9))
    assert np.array_equal(target, reference)
    assert (target[0][mask.data[0] == 9] == 0).all(), "the painted background is background"
    assert (target[0][mask.data[0] == 0] == UNKNOWN).all()
    assert np.array_equal(target == 2, mask.data == 7)


# -- through the preprocessing ----------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 99), plane=PLANES, edge=st.floats(0.4, 7.0), place=st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_a_single_painted_slice_survives_any_spacing_as_it_was_painted(
    seed: int, plane: Plane, edge: float, place: float
) -> None:
    mask = _mask(seed, values=(3, 7, 3, 7))
    view = np.moveaxis(mask.data[0], AXIS[plane], 0)
    # A rim of less than one new voxel is cut off by the resampling, from the scan as from its mask.
    rim = (len(view) - np.floor(len(view) / edge) * edge) / 2
    holding = [index for index in np.flatnonzero(view.any(axis=(1, 2))) if rim < index + 0.5 < len(view) - rim]
    assume(holding)
    painted = int(holding[int(place * (len(holding) - 1))])
    view[:painted] = 0
    view[painted + 1 :] = 0
    spacing = [1.0, 1.0, 1.0]
    spacing[AXIS[plane]] = edge
    image = _image(mask)
    targets = TargetsConfig(kind="exclusive", known="slices", plane=plane)
    processed, target, reference = make_target(preprocessing_pipeline(spacing, "zscore"), image, mask, [3, 7], targets)
    assert target.shape[1:] == processed.grid.shape
    slices = np.moveaxis(target[0], AXIS[plane], 0)
    known = (slices != UNKNOWN).all(axis=(1, 2))
    assert known.any(), "the painted slice was eaten"
    assert np.array_equal(known, (slices != UNKNOWN).any(axis=(1, 2)))
    expected = classes_of(view[painted][np.newaxis], [3, 7], overlapping=False)[0]
    for index in np.flatnonzero(known):
        assert np.array_equal(slices[index], expected)
        # Nothing far from what was painted is taken for known.
        axis = AXIS[plane]
        where = np.linalg.solve(mask.affine, processed.affine @ [*(index if each == axis else 0 for each in range(3)), 1])[axis]
        assert abs(where - painted) <= max(1.0, edge) / 2 + 0.5
    assert np.array_equal(reference[0] != UNKNOWN, known_voxels(mask, targets))


@given(st.integers(0, 99), st.tuples(*[st.floats(0.5, 4.0)] * 3))
@settings(max_examples=30, deadline=None)
def test_every_painted_voxel_is_known_afterwards_and_nobody_invents_a_label(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    random = np.random.default_rng(seed)
    data = np.zeros((1, *SHAPE), np.uint8)
    rims = [int(np.ceil((side - np.floor(side / edge) * edge) / 2)) for side, edge in zip(SHAPE, spacing, strict=True)]
    for value in (3, 7, 9):
        data[(0, *(int(random.integers(rim, side - rim)) for side, rim in zip(SHAPE, rims, strict=True)))] = value
    mask = Volume(data, np.eye(4), "labels")
    targets = TargetsConfig(kind="exclusive", known="voxels", background=9)
    processed, target, _ = make_target(preprocessing_pipeline(spacing, "zscore"), _image(mask), mask, [3, 7], targets)
    classes = {3: 1, 7: 2, 9: 0}
    allowed = np.zeros((256, *target.shape[1:]), bool)
    for voxel in np.argwhere(data[0]):
        place = np.linalg.solve(processed.affine, mask.affine @ [*voxel, 1])[:3]
        reach = [
            (max(1.0, factor) + 1) / 2 / factor + 1e-6 for factor in np.diag(np.linalg.solve(mask.affine, processed.affine))[:3]
        ]
        near = tuple(
            slice(max(0, int(np.ceil(at - far))), int(np.floor(at + far)) + 1) for at, far in zip(place, reach, strict=True)
        )
        assert (target[0][near] != UNKNOWN).any(), "a painted voxel was eaten"
        allowed[(classes[int(data[(0, *voxel)])], *near)] = True
    for value in np.unique(target[target != UNKNOWN]):
        assert allowed[value][target[0] == value].all()


def test_places_outside_of_a_scan_are_background_of_complete_masks_and_unknown_of_others() -> None:
    mask = _mask(3)
    pipeline = Pipeline((Step("CropOrPad", {"target_shape": [20, 20, 20]}),))
    inside = np.zeros((20, 20, 20), bool)
    start = [int(np.ceil((20 - side) / 2)) for side in SHAPE]
    inside[tuple(slice(first, first + side) for first, side in zip(start, SHAPE, strict=True))] = True
    for targets, outside in (
        (TargetsConfig(kind="exclusive"), 0),
        (TargetsConfig(kind="exclusive", ignore=7), 0),
        (TargetsConfig(kind="exclusive", known="slices"), UNKNOWN),
        (TargetsConfig(kind="overlapping", known="voxels"), UNKNOWN),
        (TargetsConfig(kind="overlapping", ignore=7), 0),
    ):
        _, target, reference = make_target(pipeline, _image(mask), mask, [3], targets)
        assert (target[:, ~inside] == outside).all()
        assert np.array_equal(target[:, inside], reference.reshape(len(reference), -1))


@given(st.integers(0, 99), st.tuples(*[st.floats(0.6, 3.0)] * 3))
@settings(max_examples=20, deadline=None)
def test_overlapping_labels_are_resampled_each_by_itself(seed: int, spacing: tuple[float, float, float]) -> None:
    one, other = _mask(seed, values=(1,)), _mask(seed + 1000, values=(2,))
    both = Volume(np.concatenate([one.data, other.data]), np.eye(4), "labels")
    pipeline, image = preprocessing_pipeline(spacing, "zscore"), _image(one)
    _, target, reference = make_target(pipeline, image, both, [1, 2], TargetsConfig(kind="overlapping"))
    for channel, (value, mask) in enumerate(((1, one), (2, other))):
        _, alone, _ = make_target(pipeline, image, mask, [value], TargetsConfig(kind="exclusive"))
        assert np.array_equal(target[channel], alone[0])
        assert np.array_equal(reference[channel], mask.data[0] == value)


def test_a_label_map_gives_the_channels_that_files_for_each_label_give() -> None:
    mask = _mask(5, values=(1, 2))
    apart = Volume(np.concatenate([mask.data * (mask.data == 1), mask.data * (mask.data == 2)]), mask.affine, "labels")
    for targets in (TargetsConfig(kind="overlapping"), TargetsConfig(kind="overlapping", known="slices")):
        pipeline = preprocessing_pipeline((2.0, 1.5, 1.0), "zscore")
        from_map, from_files = (make_target(pipeline, _image(mask), one, [1, 2], targets)[1:] for one in (mask, apart))
        assert np.array_equal(from_map[0], from_files[0])
        assert np.array_equal(from_map[1], from_files[1])


def test_steps_that_change_labels_leave_unknown_what_was_not_painted() -> None:
    mask = _mask(8)
    mask.data[:] = 0
    mask.data[0, 2:5, 2:5, 4] = 3
    mask.data[0, 6:8, 2:5, 4] = 7
    pipeline = Pipeline((Step("ToCanonical"), Step("RemapLabels", {"remapping": {7: 3}}), Step("KeepLargestComponent")))
    targets = TargetsConfig(kind="exclusive", known="slices", plane="axial")
    _, target, reference = make_target(pipeline, _image(mask), mask, [3], targets)
    assert np.array_equal(target, reference)
    assert set(np.unique(target[..., 4])) == {0, 1}
    assert (np.delete(target, 4, axis=3) == UNKNOWN).all()
    assert int((target == 1).sum()) == 9, "the smaller piece went, the slice stayed known"


# -- what cannot be -----------------------------------------------------------------------------------------------------------------------


def test_auto_goes_by_the_masks_and_a_contradiction_is_told() -> None:
    assert settled(TargetsConfig(), overlapping=True).kind == "overlapping"
    assert settled(TargetsConfig(), overlapping=False).kind == "exclusive"
    assert settled(TargetsConfig(kind="overlapping"), overlapping=False).kind == "overlapping"
    with pytest.raises(ConfigError, match="exclusive ones were asked for"):
        settled(TargetsConfig(kind="exclusive"), overlapping=True)


def test_what_stands_for_no_label_is_not_learnt() -> None:
    labels = {1: "liver", 2: "background", 9: "ignore"}
    assert learnt_labels(labels, TargetsConfig(ignore=9)) == {1: "liver", 2: "background"}
    assert learnt_labels(labels, TargetsConfig(known="voxels", background=2, ignore=9)) == {1: "liver"}
    with pytest.raises(ConfigError, match="no label to learn"):
        learnt_labels({9: "ignore"}, TargetsConfig(ignore=9))
    with pytest.raises(ConfigError, match="255 labels"):
        learnt_labels({value: str(value) for value in range(1, MOST_LABELS + 2)}, TargetsConfig())


def test_labels_that_overlap_cannot_be_numbered_anew() -> None:
    mask = _mask(2, values=(1, 2))
    with pytest.raises(ConfigError, match="SequentialLabels"):
        make_target(Pipeline((Step("SequentialLabels"),)), _image(mask), mask, [1, 2], TargetsConfig(kind="overlapping"))
