import gc
import threading
import weakref

import numpy as np
import pytest
from napari.layers import Labels

from napari_seg3d.errors import Seg3dError
from napari_seg3d.viewer.label_colours import label_colour
from napari_seg3d.viewer.label_table_model import LabelTableModel
from napari_seg3d.viewer.layers import layer_data
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import Volume
from tests.pumping import pump, pump_until


@pytest.fixture
def viewer(make_napari_viewer_proxy):
    return make_napari_viewer_proxy()


@pytest.fixture
def model(viewer) -> LabelTableModel:
    model = session_of(viewer).labels
    model.set_shown("test", True)
    return model


@pytest.fixture
def scan(viewer):
    """An oblique scan with a bright liver of 24 voxels and a dark spleen of 8, in voxels of 1 x 1.5 x 4 mm."""
    image = np.zeros((1, 12, 10, 8), np.float32)
    mask = np.zeros((1, 12, 10, 8), np.uint8)
    mask[0, 2:5, 3:7, 1:3] = 1
    mask[0, 8:10, 3:5, 5:7] = 5
    image[mask == 1], image[mask == 5] = 60.0, -20.0
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 1.5, 4.0])
    for volume, name in ((Volume(image, affine), "scan"), (Volume(mask, affine, "labels"), "mask")):
        for data, settings, kind in layer_data(volume, name):
            getattr(viewer, f"add_{'labels' if kind == 'labels' else 'image'}")(data, **settings)
    return viewer.layers["scan"], viewer.layers["mask"]


def _counted(model: LabelTableModel) -> None:
    pump_until(lambda: model.job is None and not model._is_stale and not model._rest.isActive(), what="the count")


def _sizes(model: LabelTableModel) -> dict[int, int | None]:
    return {row.value: row.voxels for row in model.rows}


def test_volume_and_mean_of_each_label(model, scan):
    _counted(model)
    assert model.layer == scan[1]
    assert model.size_unit == "ml"
    assert [(row.value, row.voxels, row.mean) for row in model.rows] == [(1, 24, 60.0), (5, 8, -20.0)]
    assert model.rows[0].size == pytest.approx(24 * 6 / 1000)
    assert model.mean_unit == ""
    assert [row.style.colour for row in model.rows] == [label_colour(1), label_colour(5)]


def test_the_mean_over_a_ct_is_in_hu(viewer, model):
    image = Volume(np.full((1, 4, 4, 4), -700, np.int16), np.eye(4), modality="CT")
    mask = Volume(np.ones((1, 4, 4, 4), np.uint8), np.eye(4), "labels")
    for volume, kind in ((image, "image"), (mask, "labels")):
        for data, settings, _ in layer_data(volume, kind):
            getattr(viewer, f"add_{kind}")(data, **settings)
    _counted(model)
    assert (model.rows[0].mean, model.mean_unit) == (-700, "HU")


def test_it_follows_the_selected_mask_and_keeps_it(viewer, model, scan):
    image, mask = scan
    other = viewer.add_labels(np.full((3, 3, 3), 2), name="other")
    assert model.layer == other
    viewer.layers.selection.active = mask
    assert model.layer == mask
    viewer.layers.selection.active = image
    assert model.layer == mask, "a click on the scan does not change the mask"
    mask.visible = False
    assert model.layer == other, "hidden and not selected: the topmost visible one"
    viewer.layers.remove(other)
    assert model.layer is None
    assert model.rows == []
    mask.visible = True
    assert model.layer == mask
    _counted(model)
    assert _sizes(model) == {1: 24, 5: 8}
    viewer.layers.clear()
    assert model.layer is None
    assert model.size_unit == ""


def test_only_a_visible_image_at_the_same_place_is_measured(viewer, model, scan):
    image, mask = scan
    _counted(model)
    image.visible = False
    _counted(model)
    assert [row.mean for row in model.rows] == [None, None]
    viewer.add_image(np.ones(mask.data.shape), name="elsewhere", scale=mask.scale, translate=mask.translate + 1)
    viewer.add_image(np.ones((2, 2, 2)), name="other shape")
    viewer.layers.selection.active = mask
    _counted(model)
    assert model.image is None
    viewer.add_image(np.full(mask.data.shape, 7), name="above", scale=mask.scale, translate=mask.translate)
    viewer.layers.selection.active = mask
    _counted(model)
    assert [row.mean for row in model.rows] == [7, 7]
    image.visible = True
    _counted(model)
    assert [row.mean for row in model.rows] == [60, -20], "the one below it goes first"


def test_edits_undo_and_new_data_are_counted(model, scan):
    _, mask = scan
    _counted(model)
    mask.brush_size = 1
    mask.paint((0, 0, 0), 9)
    _counted(model)
    assert _sizes(model) == {1: 24, 5: 8, 9: 1}
    mask.undo()
    _counted(model)
    assert _sizes(model) == {1: 24, 5: 8}
    mask.redo()
    _counted(model)
    assert _sizes(model)[9] == 1
    mask.data = np.where(mask.data == 1, 0, mask.data)
    _counted(model)
    assert _sizes(model) == {5: 8, 9: 1}
    mask.data[0, 0, 0] = 5
    model.refresh()
    _counted(model)
    assert _sizes(model) == {5: 9}


def test_scrolling_counts_nothing(viewer, model, scan):
    _counted(model)
    for z in range(0, 30, 4):
        viewer.dims.set_point(0, z)
    assert not model._rest.isActive()
    assert not model._is_stale


def test_nothing_is_counted_while_nobody_looks(model, scan):
    _counted(model)
    model.set_shown("test", False)
    scan[1].paint((0, 0, 0), 9)
    pump(0.8)
    assert 9 not in _sizes(model)
    model.set_shown("test", True)
    _counted(model)
    assert 9 in _sizes(model)


def test_many_strokes_are_one_count(viewer, model, scan):
    _counted(model)
    jobs = []
    model.changed.connect(lambda: jobs.append(model.job) if model.job is not None and model.job not in jobs else None)
    for x in range(10):
        scan[1].paint((0, 0, x), 9)
        pump(0.02)
    _counted(model)
    assert len(jobs) == 1


class _Slow:
    """A mask that is read from somewhere far away, and tells who reads it."""

    def __init__(self, data, gate):
        self._data, self._gate = data, gate
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim
        self.readers = 0
        self.most_readers = 0

    def __getitem__(self, index):
        if threading.current_thread() is not threading.main_thread():
            self.readers += 1
            self.most_readers = max(self.most_readers, self.readers)
            self._gate.wait(20)
            self.readers -= 1
        return self._data[index]


def test_one_count_at_a_time_and_none_for_a_mask_that_is_gone(viewer, model):
    gate = threading.Event()
    slow = _Slow(np.ones((3, 4, 4), np.uint8), gate)
    layer = viewer.add_labels(slow, name="slow", multiscale=False)
    pump_until(lambda: slow.readers == 1, what="the first count")
    for _ in range(3):
        model.refresh()
        pump(0.6)
    assert slow.most_readers == 1
    job = model.job
    viewer.layers.remove(layer)
    assert job.is_cancelled()
    quick = viewer.add_labels(np.full((2, 2, 2), 3), name="quick")
    gate.set()
    _counted(model)
    assert model.layer == quick
    assert _sizes(model) == {3: 8}


@pytest.mark.parametrize(("dtype", "values"), [(np.int32, (1, 100_000, -5)), (np.uint64, (7, 2**40)), (np.int8, (-100, 100))])
def test_large_and_negative_values(viewer, model, dtype, values):
    data = np.zeros((6, 6, 6), dtype)
    for z, value in enumerate(values):
        data[z] = value
    layer = viewer.add_labels(data)
    _counted(model)
    assert _sizes(model) == dict.fromkeys(sorted(values), 36)
    model.set_visible(values[-1], False)
    model.recolour(values[0], "#102030")
    viewer.dims.set_point(0, len(values) - 1)
    model.set_locked(values[0], True)
    before = layer.data.copy()
    layer.paint((0, 3, 3), 0)
    assert np.array_equal(layer.data, before)
    model.select(values[1])
    assert layer.selected_label == values[1]


def test_names_colours_and_states_go_to_the_layer(model, scan):
    _, mask = scan
    _counted(model)
    model.rename(1, " liver ")
    model.recolour(1, "#102030")
    model.show_only(5)
    assert [(row.style.name, row.style.colour, row.style.visible) for row in model.rows] == [
        ("liver", "#102030", False),
        ("", label_colour(5), True),
    ]
    assert mask.features.set_index("index")["name"].to_dict() == {0: "background", 1: "liver"}
    model.show_all()
    assert all(row.style.visible for row in model.rows)
    assert [row.voxels for row in model.rows] == [24, 8], "nobody had to count again"


def test_names_from_elsewhere_are_shown(model, scan):
    scan[1].features = {"index": [0, 1, 2], "name": ["background", "liver", "kidney"]}
    assert [(row.value, row.style.name) for row in model.rows][:2] == [(1, "liver"), (2, "kidney")]
    _counted(model)
    assert _sizes(model) == {1: 24, 2: 0, 5: 8}


def test_a_duplicate_of_a_locked_mask_is_locked(viewer, model, scan):
    _, mask = scan
    model.set_locked(1, True)
    data, state, _ = mask.as_layer_data_tuple()
    twin = Labels(data.copy(), **state | {"name": "twin"})
    viewer.add_layer(twin)
    assert model.layer == twin
    twin.brush_size, twin.n_edit_dimensions = 30, 3
    twin.paint((4, 5, 5), 3)
    assert np.array_equal(twin.data == 1, data == 1)


def test_a_new_label_is_the_first_free_one(viewer, model, scan):
    _counted(model)
    assert model.add() == 2
    assert scan[1].selected_label == 2
    assert [(row.value, row.style.name) for row in model.rows] == [(1, ""), (2, "label 2"), (5, "")]
    viewer.add_labels(np.zeros((2, 2), np.uint8))
    assert model.add() == 1


def test_a_full_mask_takes_no_more(viewer, model):
    layer = viewer.add_labels(np.arange(256, dtype=np.uint8).reshape(16, 16))
    _counted(model)
    with pytest.raises(Seg3dError, match="255 labels"):
        model.add()
    assert layer.selected_label == 1


def test_a_slice_has_an_area(viewer, model):
    viewer.add_labels(np.ones((10, 20), np.uint8), scale=(0.5, 2))
    _counted(model)
    assert (model.rows[0].size, model.size_unit) == (2.0, "cm²")
    viewer.add_labels(np.ones((10, 1, 20), np.uint8), scale=(0.5, 99, 2))
    _counted(model)
    assert (model.rows[0].size, model.size_unit) == (2.0, "cm²")


def test_going_to_a_label_shows_a_voxel_of_it(viewer, model, scan):
    _, mask = scan
    _counted(model)
    for value in (5, 1):
        assert model.go_to(value)
        index = tuple(np.round(mask.world_to_data(viewer.dims.point)).astype(int))
        assert mask.data[index] == value
        assert np.allclose(viewer.scene.camera.center[1:], viewer.dims.point[1:])
    assert not model.go_to(77)
    before = viewer.dims.point
    mask.data[:] = 0
    assert not model.go_to(1)
    assert viewer.dims.point == before


def test_a_mask_beside_a_time_series(viewer, model, scan):
    viewer.add_image(np.zeros((5, *scan[1].data.shape)), name="time")
    viewer.layers.selection.active = scan[1]
    _counted(model)
    assert model.go_to(5)
    index = tuple(np.round(scan[1].world_to_data(viewer.dims.point[1:])).astype(int))
    assert scan[1].data[index] == 5


def test_the_selection_contour_and_opacity_are_told(model, scan):
    told = []
    model.lookChanged.connect(lambda: told.append(1))
    scan[1].selected_label = 5
    scan[1].contour = 2
    scan[1].opacity = 0.2
    assert len(told) >= 3


def test_a_mask_that_is_gone_tells_nothing_and_is_let_go(viewer, model):
    layer = Labels(np.ones((3, 3, 3), np.uint8))
    viewer.add_layer(layer)
    model.set_locked(1, True)
    _counted(model)
    viewer.layers.remove(layer)
    told = []
    model.changed.connect(lambda: told.append(1))
    layer.paint((1, 1, 1), 2)
    layer.contour = 2
    layer.visible = False
    pump(0.7)
    assert told == []
    gone = weakref.ref(layer)
    del layer
    # napari's own list remembers the last selected layer until there is another.
    viewer.add_labels(np.ones((2, 2), np.uint8))
    _counted(model)
    pump(0.1)
    gc.collect()
    assert gone() is None
