"""Scans of one patient on different grids appear at their places, and masks go home to the grid they came from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Image, Labels, Layer

from napari_seg3d.errors import GeometryError
from napari_seg3d.viewer.frames import Frame, Placement
from napari_seg3d.viewer.layers import layer_data, native_of
from napari_seg3d.viewer.saving import layer_to_volume
from napari_seg3d.volumes import Grid, Source, Volume

degrees = st.floats(-40, 40)
angles = st.tuples(degrees, degrees, degrees)
orders = st.permutations(range(3))
signs = st.tuples(*[st.sampled_from((1.0, -1.0))] * 3)
spacings = st.tuples(*[st.floats(0.8, 3.0)] * 3)


def rotation(about: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.deg2rad(about)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def grid_of(shape, spacing, order, sign, about, centre=(10.0, -20.0, 30.0)) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, target in enumerate(order):
        affine[target, axis] = sign[axis] * spacing[axis]
    affine[:3, :3] = rotation(about) @ affine[:3, :3]
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def ball(grid: Grid, centre: np.ndarray, radius: float) -> np.ndarray:
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3)
    distance = np.linalg.norm(grid.to_world(voxels) - centre, axis=1).reshape(grid.shape)
    return np.clip((radius - distance) / min(grid.spacing) + 0.5, 0, 1)[np.newaxis].astype(np.float32)


def seen_at(layer: Layer) -> np.ndarray:
    """Return where in the patient the middle of what a layer shows lies."""
    places = np.argwhere(np.asarray(layer.data) > 0)
    weights = np.asarray(layer.data)[tuple(places.T)].astype(float)
    z, y, x = layer.data_to_world((places * weights[:, None]).sum(0) / weights.sum())
    return (native_of(layer).placement.frame.to_patient @ (x, y, z, 1))[:3]


@settings(max_examples=25, deadline=None)
@given(angles, angles, orders, signs, spacings)
def test_a_scan_at_any_angle_appears_at_its_place_in_the_frame_of_another(first, second, order, sign, spacing):
    frame = Frame.of(grid_of((20, 22, 24), (1.0, 1.0, 1.0), (0, 1, 2), (1, 1, 1), first))
    grid = grid_of((24, 26, 22), spacing, order, sign, second)
    centre = np.array((11.0, -18.5, 29.0))
    volume = Volume(ball(grid, centre, 5.0), grid.affine)
    ((array, given_settings, kind),) = layer_data(volume, "scan", frame=frame)
    layer = Layer.create(array, given_settings, kind)
    np.testing.assert_allclose(seen_at(layer), centre, atol=0.25 * max(spacing))
    np.testing.assert_array_equal(layer_to_volume(layer).data, volume.data)  # never the resampled values


@settings(max_examples=25, deadline=None)
@given(angles, orders, signs, spacings)
def test_its_own_frame_never_resamples(about, order, sign, spacing):
    grid = grid_of((5, 6, 7), spacing, order, sign, about)
    place = Placement(grid, Frame.of(grid))
    assert not place.is_resampled
    data = np.arange(210).reshape(5, 6, 7)
    shown = place.to_display(data, is_labels=True)
    np.testing.assert_array_equal(place.from_display(shown), data)
    for voxel in ((0, 0, 0), (4, 1, 6), (2, 5, 3)):
        (at,) = np.argwhere(shown == data[voxel])
        patient = place.frame.to_patient @ (*place.shown.to_world(at[np.newaxis])[0], 1)
        np.testing.assert_allclose(patient[:3], grid.to_world(np.array([voxel]))[0], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(angles, angles, orders, signs)
def test_a_mask_that_nobody_touched_comes_back_to_the_bit_though_it_was_resampled(first, second, order, sign):
    frame = Frame.of(grid_of((9, 9, 9), (1, 1, 1), (0, 1, 2), (1, 1, 1), first))
    grid = grid_of((8, 9, 10), (0.9, 1.1, 2.5), order, sign, second)
    data = np.random.default_rng(0).integers(0, 5, (1, 8, 9, 10)).astype(np.uint8)
    ((array, given_settings, _),) = layer_data(Volume(data, grid.affine, "labels"), "mask", frame=frame)
    np.testing.assert_array_equal(layer_to_volume(Labels(array, **given_settings)).data, data)


def test_only_what_was_painted_changes_on_a_resampled_mask():
    frame = Frame.of(grid_of((30, 30, 30), (1, 1, 1), (0, 1, 2), (1, 1, 1), (0, 0, 0)))
    grid = grid_of((24, 25, 26), (1, 1, 1), (1, 0, 2), (-1, 1, 1), (20, 10, -15))
    old, new = np.array((5.0, -20.0, 30.0)), np.array((15.0, -20.0, 30.0))
    data = (ball(grid, old, 4) > 0.5).astype(np.uint8)
    ((array, given_settings, _),) = layer_data(Volume(data, grid.affine, "labels"), "mask", frame=frame)
    layer = Labels(array, **given_settings)
    indices = np.argwhere(np.ones(array.shape, bool))
    places = np.array([layer.data_to_world(at) for at in indices])
    near = np.linalg.norm(places[:, ::-1] - new, axis=1) < 3
    layer.data_setitem(tuple(indices[near].T), 2)
    back = layer_to_volume(layer)
    np.testing.assert_array_equal(back.data == 1, data == 1)
    painted = grid.to_world(np.argwhere(back.data[0] == 2))
    assert len(painted) == pytest.approx(4 / 3 * np.pi * 27, rel=0.2)
    assert np.linalg.norm(painted - new, axis=1).max() < 4


def test_new_labels_over_two_scans_go_to_the_one_below_or_are_refused():
    frame = Frame.of(grid_of((20, 20, 20), (1, 1, 1), (0, 1, 2), (1, 1, 1), (0, 0, 0)))
    small = grid_of((10, 10, 10), (1.5, 1.5, 1.5), (0, 1, 2), (1, 1, 1), (25, 0, 0))
    ((array, given_settings, _),) = layer_data(Volume(ball(small, np.array((10.0, -20, 30)), 5), small.affine), "b", frame=frame)
    scan = Image(array, **given_settings)
    drawn = Labels(np.zeros((40, 40, 40), np.uint8), scale=(1, 1, 1), translate=np.array((30.0, -20, 10)) - 19.5)
    place = np.rint(drawn.world_to_data((30.0, -20.0, 10.0))).astype(int)
    drawn.data[tuple(slice(at - 2, at + 3) for at in place)] = 7
    back = layer_to_volume(drawn, [scan, drawn])
    assert back.grid.matches(small)
    np.testing.assert_allclose(small.to_world(np.argwhere(back.data[0] == 7)).mean(0), (10, -20, 30), atol=0.8)
    drawn.data[0, 0, 0] = 7
    with pytest.raises(GeometryError, match="1 marked voxels of the layer Labels lie outside"):
        layer_to_volume(drawn, [scan, drawn])


def test_a_sheared_grid_is_shown_upright():
    affine = np.array([[1, 0, 0, 0], [0, 1, np.tan(np.deg2rad(18.5)) * 2, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    grid = Grid((20, 30, 15), affine)
    frame = Frame.of(grid)
    np.testing.assert_allclose(frame.axes, np.eye(3), atol=1e-9)
    centre = grid.to_world(np.array([[10, 15, 7]]))[0]
    ((array, given_settings, kind),) = layer_data(Volume(ball(grid, centre, 5), affine), "tilted")
    np.testing.assert_allclose(seen_at(Layer.create(array, given_settings, kind)), centre, atol=0.3)


def test_letters_say_where_an_axis_goes():
    assert [Frame(np.eye(3)).letters(axis) for axis in range(3)] == [("L", "R"), ("P", "A"), ("I", "S")]
    leaning = Frame(rotation((0, 0, 30)))
    assert leaning.letters(0) == ("LP", "RA")
    assert Frame(rotation((0, 0, 10))).letters(0) == ("L", "R")


def test_a_source_travels_with_a_resampled_mask(tmp_path):
    frame = Frame(rotation((10, 0, 0)))
    source = Source(tmp_path / "mask.nii.gz", "nifti")
    ((array, given_settings, _),) = layer_data(
        Volume(np.ones((1, 4, 5, 6), np.uint8), np.eye(4), "labels", source), "m", frame=frame
    )
    assert layer_to_volume(Labels(array, **given_settings)).source is source


@settings(max_examples=25, deadline=None)
@given(angles, angles, orders, signs, spacings, st.integers(0, 2), st.integers(1, 15))
def test_labels_come_to_the_display_box_by_box_as_they_do_at_once(first, second, order, sign, spacing, axis, cut):
    frame = Frame.of(grid_of((20, 22, 24), (1.0, 1.0, 1.0), (0, 1, 2), (1, 1, 1), first))
    place = Placement(grid_of((16, 17, 18), spacing, order, sign, second), frame)
    labels = np.random.default_rng(cut).integers(1, 9, place.grid.shape, dtype=np.uint8)
    known, shown = np.zeros_like(labels), np.zeros(place.shown.shape, np.uint8)
    for part in (slice(cut, None), slice(0, cut)):
        box = tuple(slice(*(part if at == axis else slice(None)).indices(side)[:2]) for at, side in enumerate(labels.shape))
        known[box] = labels[box]
        place.put(shown, known, box)
        assert np.array_equal(shown, place.to_display(known, is_labels=True))
