from itertools import permutations, product

import numpy as np
import pytest
from napari.layers import Image, Labels, Layer, Points

from napari_seg3d.errors import GeometryError, Seg3dError
from napari_seg3d.viewer.intensities import contrast_limits
from napari_seg3d.viewer.label_colours import label_colour
from napari_seg3d.viewer.layers import KEY, layer_data, marked_centre, place_over
from napari_seg3d.viewer.saving import layer_to_volume
from napari_seg3d.volumes import Source, Volume

SPACING = np.array([0.8, 1.5, 4.0])
SHAPE = (5, 6, 7)


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def affine_of(axes: tuple[int, ...], signs: tuple[int, ...], oblique: bool) -> np.ndarray:
    affine = np.eye(4)
    for voxel_axis, (patient_axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[:3, voxel_axis] = 0
        affine[patient_axis, voxel_axis] = sign * SPACING[voxel_axis]
    if oblique:
        affine[:3, :3] = rotation((11, -7, 18)) @ affine[:3, :3]
    affine[:3, 3] = (12.5, -40.25, 7.75)
    return affine


ORDERS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize(("axes", "signs"), ORDERS)
@pytest.mark.parametrize("kind", ["image", "labels"])
def test_every_axis_order_comes_back_to_the_voxel(axes, signs, oblique, kind):
    data = np.arange(np.prod(SHAPE)).reshape((1, *SHAPE)).astype(np.uint8 if kind == "labels" else np.float32)
    volume = Volume(data, affine_of(axes, signs, oblique), kind, Source(__file__, "nifti"))
    ((array, settings, layer_type),) = layer_data(volume, "scan")
    back = layer_to_volume(Layer.create(array, settings, layer_type))
    np.testing.assert_array_equal(back.data, volume.data)
    np.testing.assert_array_equal(back.affine, volume.affine)
    assert back.kind == kind
    assert back.source is volume.source


@pytest.mark.parametrize(("axes", "signs"), ORDERS)
def test_a_voxel_lies_where_it_lies_in_the_patient(axes, signs):
    volume = Volume(np.zeros((1, *SHAPE), np.uint8), affine_of(axes, signs, oblique=False), "labels")
    volume.data[0, 1, 4, 2] = 3
    ((array, settings, _),) = layer_data(volume, "mask")
    layer = Labels(array, **settings)
    (place,) = np.argwhere(layer.data == 3)
    x, y, z = volume.grid.to_world(np.array([[1, 4, 2]]))[0]
    np.testing.assert_allclose(layer.data_to_world(place), (z, y, x))
    assert layer.units == ("mm",) * 3 or all(str(unit) == "millimeter" for unit in layer.units)


def test_channels_become_layers_of_their_own():
    volume = Volume(np.random.default_rng(0).normal(size=(3, *SHAPE)), affine_of((0, 1, 2), (1, 1, 1), False))
    layers = layer_data(volume, "flow")
    assert [settings["name"] for _, settings, _ in layers] == ["flow [1]", "flow [2]", "flow [3]"]
    second = layer_to_volume(Layer.create(*layers[1]))
    np.testing.assert_array_equal(second.data, volume.data[1:2])


def test_painting_leaves_the_volume_alone():
    volume = Volume(np.zeros((1, *SHAPE), np.uint8), np.eye(4), "labels")
    ((array, settings, _),) = layer_data(volume, "mask")
    Labels(array, **settings).data[:] = 1
    assert volume.data.max() == 0


def test_a_colour_belongs_to_a_value_whatever_else_the_mask_holds():
    def colours(*values):
        mask = np.zeros((1, *SHAPE), np.uint8)
        mask[0, 0, 0, : len(values)] = values
        ((array, settings, _),) = layer_data(Volume(mask, np.eye(4), "labels"), "mask")
        layer = Labels(array, **settings)
        return {value: tuple(np.round(layer.get_color(value) * 255).astype(int)[:3]) for value in values}

    assert colours(1, 2, 9)[2] == colours(2)[2]
    assert colours(2)[2] == tuple(int(label_colour(2)[i : i + 2], 16) for i in (1, 3, 5))
    assert colours(21)[21] == colours(1)[1]
    assert len(set(colours(*range(1, 8)).values())) == 7


def test_label_names_are_shown_in_the_status_bar():
    mask = np.full((1, *SHAPE), 7, np.uint8)
    ((array, settings, _),) = layer_data(Volume(mask, np.eye(4), "labels"), "mask", {7: "liver"})
    assert "liver" in Labels(array, **settings).get_status(position=(1, 1, 1))["value"]


def test_a_mask_drawn_with_new_labels_takes_the_grid_below_it():
    volume = Volume(np.zeros((1, *SHAPE), np.float32), affine_of((2, 0, 1), (-1, 1, -1), oblique=True))
    ((array, settings, _),) = layer_data(volume, "scan")
    scan = Image(array, **settings)
    drawn = Labels(np.zeros(array.shape, np.int32), scale=scan.scale, translate=scan.translate)
    drawn.data[2, 3, 4] = 5
    back = layer_to_volume(drawn, [Points(ndim=3), drawn, scan])
    np.testing.assert_array_equal(back.affine, volume.affine)
    assert back.data.shape == volume.data.shape
    assert volume.grid.to_canonical(back.data)[0, 4, 3, 2] == 5


def test_a_mask_on_nothing_of_ours_takes_its_own_scale():
    drawn = Labels(np.zeros((4, 5, 6), np.uint8), scale=(3, 2, 1), translate=(30, 20, 10))
    volume = layer_to_volume(drawn)
    assert volume.data.shape == (1, 6, 5, 4)
    np.testing.assert_array_equal(volume.affine, [[1, 0, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])


def test_what_is_no_volume_is_refused_in_words():
    with pytest.raises(Seg3dError, match="no image and no mask"):
        layer_to_volume(Points(ndim=3))
    with pytest.raises(Seg3dError, match="three axes"):
        layer_to_volume(Image(np.zeros((4, 5))))
    volume = Volume(np.zeros((1, *SHAPE), np.uint8), np.eye(4), "labels")
    ((array, settings, _),) = layer_data(volume, "mask")
    with pytest.raises(GeometryError, match="cropped"):
        layer_to_volume(Labels(array[1:], **settings))


def test_a_prediction_lies_exactly_on_its_image_even_when_that_was_moved():
    volume = Volume(np.zeros((1, *SHAPE), np.float32), affine_of((0, 1, 2), (-1, -1, 1), False))
    ((array, settings, _),) = layer_data(volume, "scan")
    scan = Image(array, **settings)
    scan.translate = scan.translate + 5
    mask = volume.with_data(np.ones((1, *SHAPE), np.uint8), "labels")
    layer = place_over(scan, layer_data(mask, "scan prediction", {1: "organ"})[0])
    np.testing.assert_array_equal(layer.translate, scan.translate)
    assert layer.metadata[KEY].grid.matches(volume.grid)
    with pytest.raises(GeometryError, match="voxels"):
        place_over(Image(array[1:]), layer_data(mask, "x")[0])


def test_contrast_survives_a_hot_voxel_air_nan_and_a_constant():
    rng = np.random.default_rng(0)
    head = np.where(rng.random((40, 40, 40)) < 0.1, rng.normal(500, 50, (40, 40, 40)), 0)
    head[0, 0, 0] = 1e6
    low, high = contrast_limits(head)
    assert low == pytest.approx(0, abs=20)
    assert 500 < high < 800
    assert contrast_limits(np.full((4, 4, 4), 7)) == (7, 8)
    assert contrast_limits(np.full((4, 4, 4), np.nan)) == (0, 1)


def test_the_middle_of_what_is_marked_is_marked():
    mask = np.zeros((1, *SHAPE), np.uint8)
    mask[0, 0, 1, 2] = mask[0, 4, 1, 2] = 1
    mask[0, 4, 2, 2] = 1
    ((array, settings, _),) = layer_data(Volume(mask, affine_of((0, 1, 2), (1, 1, 1), oblique=False), "labels"), "two kidneys")
    layer = Labels(array, **settings)
    centre = marked_centre(array, settings)
    assert layer.data[tuple(np.rint(layer.world_to_data(centre)).astype(int))] == 1
    assert marked_centre(np.zeros_like(array), settings) is None
