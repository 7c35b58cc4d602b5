import numpy as np
import pytest

from napari_seg3d.viewer.stage import Picture, Preview, Stage
from napari_seg3d.volumes import Volume

LABELS = {1: "organ"}


def _case(name: str, shift: float = 0) -> tuple[Picture, Picture]:
    image, mask = _scan(shift)
    return Picture.of(image, name), Picture.of(mask, f"{name} mask", LABELS)


def _scan(shift: float = 0) -> tuple[Volume, Volume]:
    image = np.random.default_rng(0).normal(size=(1, 12, 10, 8)).astype(np.float32)
    mask = np.zeros((1, 12, 10, 8), np.uint8)
    mask[0, 2:5, 3:6, 1:4] = 1
    affine = np.diag([1.0, 1.5, 3.0, 1.0])
    affine[:3, 3] = shift
    return Volume(image, affine), Volume(mask, affine, "labels")


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def stage(viewer):
    return Stage(viewer)


def test_a_case_takes_the_place_of_the_last_one(viewer, stage):
    own = viewer.add_image(np.zeros((4, 4, 4)), name="mine")
    stage.show_case(*_case("one"))
    assert stage.show_case(*_case("two")) == []
    assert [layer.name for layer in viewer.layers] == ["mine", "two", "two mask"]
    assert own in viewer.layers


def test_layers_are_taken_away_together(viewer, stage):
    (image, mask), ended = _case("one"), []
    stage.show_preview(Preview("one", image, mask, mask, mask))
    viewer.layers.events.end_batch.connect(lambda: ended.append(len(viewer.layers)))
    stage.remove_preview()
    stage.remove_preview()
    assert ended == [0], "the garbage is collected once, not for each layer"
    stage.show_case(*_case("two"))
    stage.show_case(*_case("three"))
    assert ended == [0, 0]


def test_an_edited_mask_is_never_thrown_away(viewer, stage):
    stage.show_case(*_case("one"))
    mask = viewer.layers["one mask"]
    mask.paint((5, 5, 5), 1)
    edited = mask.data.copy()
    assert stage.is_edited(mask)
    assert stage.show_case(*_case("two")) == ["one mask"]
    assert not mask.visible
    assert np.array_equal(viewer.layers["one mask"].data, edited)


def test_a_saved_mask_counts_as_untouched(viewer, stage):
    stage.show_case(*_case("one"))
    mask = viewer.layers["one mask"]
    mask.paint((5, 5, 5), 1)
    stage.mark_saved(mask)
    assert stage.show_case(*_case("two")) == []
    assert "one mask" not in viewer.layers


def test_the_view_goes_to_what_is_marked(viewer, stage):
    stage.show_case(*_case("one"))
    z = viewer.dims.point[0]
    assert 1 * 3 <= z <= 3 * 3, "the mask lies in slices 1 to 3 of 3 mm"


def test_a_preview_is_refreshed_without_moving_anything(viewer, stage):
    (image, truth), (_, mask) = _case("case"), _scan()
    stage.show_preview(Preview("case", image, truth, Picture.of(mask, "case epoch 1", LABELS), None))
    assert [layer.name for layer in viewer.layers] == ["case", "case mask", "case epoch 1"]
    viewer.layers.selection.active = viewer.layers["case"]
    viewer.dims.point = (15, 0, 0)
    viewer.scene.camera.zoom = 7
    other = mask.with_data(np.roll(mask.data, 2, axis=1))
    stage.show_preview(Preview("case", image, truth, Picture.of(other, "case epoch 2", LABELS), None))
    assert [layer.name for layer in viewer.layers] == ["case", "case mask", "case epoch 2"]
    assert np.array_equal(viewer.layers["case epoch 2"].data, np.roll(mask.data[0], 2, axis=0).transpose(2, 1, 0))
    assert viewer.layers.selection.active is viewer.layers["case"]
    assert viewer.dims.point[0] == 15
    assert viewer.scene.camera.zoom == 7


def test_a_preview_does_not_disturb_somebody_who_draws(viewer, stage):
    stage.show_case(*_case("mine"))
    mask = viewer.layers["mine mask"]
    mask.mode = "paint"
    stage.show_preview(Preview("case", *_case("case", 30), Picture.of(_scan(30)[1], "case epoch 1", LABELS), None))
    assert viewer.layers.selection.active is mask
    assert mask.mode == "paint"
    assert mask.visible
    assert not viewer.layers["case epoch 1"].visible


def test_what_belongs_to_another_scan_is_hidden(viewer, stage):
    stage.show_preview(Preview("case", *_case("case", 30), Picture.of(_scan(30)[1], "case epoch 1", LABELS), None))
    image, mask = _scan()
    layer = viewer.add_image(image.data[0].transpose(2, 1, 0), name="stranger")
    stage.show_case(*_case("one"))
    picture = Picture.of(mask, "one prediction", LABELS)
    prediction = stage.add_mask(viewer.layers["one"], picture)
    viewer.layers["case"].visible = True
    stage.bring_forward(viewer.layers["one"], prediction, picture)
    assert not viewer.layers["case"].visible
    assert viewer.layers["one"].visible
    assert layer.visible, "what we did not make is not ours to hide"
