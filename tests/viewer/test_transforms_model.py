"""What the preview shows is what training does; and the user's viewer stays as it was."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Image, Labels, Layer
from napari.qt import QtViewer

from napari_seg3d.datasets import open_dataset, read_case_image, read_case_mask
from napari_seg3d.errors import Cancelled, ConfigError
from napari_seg3d.training import TrainConfig
from napari_seg3d.training.plan import Fingerprint, make_plan
from napari_seg3d.training.samples.cache import prepare
from napari_seg3d.training.samples.sampling import make_sampler
from napari_seg3d.transforms import Pipeline, Recipe, Step, augmentation_pipeline, preprocess, preprocessing_pipeline, run
from napari_seg3d.viewer.frames import Frame
from napari_seg3d.viewer.layers import layer_data
from napari_seg3d.viewer.look import go_to_centre, show_radiological
from napari_seg3d.viewer.session import session_of
from napari_seg3d.viewer.transform_preview import Ask, Kept, Scene, block, compare, samples
from napari_seg3d.volumes import Volume
from tests.pumping import pump, pump_until


def never() -> bool:
    return False


def scene_of(image: Volume, mask: Volume | None) -> Scene:
    return Scene("case", image, mask, {}, Frame.of(image.grid))


def ask(recipe: Recipe, what: str = "augmentation", **changes) -> Ask:
    wish = Ask(
        recipe=recipe,
        what=what,
        seed=3,
        edge=None,
        point=(0.0, 0.0, 0.0),
        upto=None,
        always=None,
        samples=2,
        order=(0, 1, 2),
        config=TrainConfig.parse({"data": {"images": "."}}),
        settings={
            "transforms.preprocessing": recipe.preprocessing.to_list(),
            "transforms.augmentation": recipe.augmentation.to_list(),
        },
        fingerprint=None,
        values=(),
        difference=False,
    )
    return replace(wish, **changes)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    steps = (Step("RandomAffine", {"degrees": 15}), Step("RandomNoise", {"std": [0.1, 0.2]}, 0.5))
    return Recipe("test", "", preprocessing_pipeline(None, "zscore"), Pipeline(steps))


@pytest.fixture(scope="module")
def case(ball_dataset):
    # Stored from left to right, so that whoever ignores the affine is found out.
    case = open_dataset(ball_dataset).pairs[1]
    image = read_case_image(case)
    return case, image, read_case_mask(case, image)


def test_the_right_view_shows_what_run_returns(case, recipe):
    _, image, mask = case
    compared = compare(scene_of(image, mask), ask(recipe), Kept(), never)
    expected, moved = run(recipe.augmentation, *preprocess(recipe.preprocessing, image, mask), seed=3)
    assert np.array_equal(compared.after[0][0], expected.data[0].transpose(2, 1, 0))
    assert np.array_equal(compared.after[1][0], moved.data[0].transpose(2, 1, 0))
    assert [timing.index for timing in compared.timings] == [0, 1]
    assert compared.histograms[0][0].sum() > 0
    assert len({tuple(edges) for _, edges in compared.histograms}) == 1  # one range, so that a shift can be seen


def test_the_patch_is_that_of_a_training_run(case, ball_dataset, recipe):
    known, image, mask = case
    wish = ask(recipe, "network", values=(3, 7))
    config = wish.config.with_values(wish.settings)
    plan = make_plan(config, Fingerprint([image.grid], {3: "", 7: ""}))
    cached = prepare([known], Pipeline.from_list(plan.spec.pipeline), {3: "", 7: ""})
    config = config.with_values({"optimization.seed": 3})
    sampler = make_sampler(cached, plan.spec, config, batch_size=1, spacing=plan.spacing, augmentation=plan.augmentation)
    patch, classes = sampler[0]
    compared = compare(scene_of(image, mask), wish, Kept(), never)
    assert np.array_equal(compared.after[0][0], patch[0].transpose(2, 1, 0))
    assert np.array_equal(compared.after[1][0], np.array([0, 3, 7])[classes[0]].transpose(2, 1, 0))
    plain = replace(sampler, augmentation=None)[0][0]
    assert np.array_equal(compared.before[0][0], plain[0].transpose(2, 1, 0))


def test_another_augmentation_does_not_preprocess_again(case, recipe):
    _, image, mask = case
    scene, kept = scene_of(image, mask), Kept()
    first = compare(scene, ask(recipe), kept, never)
    other = replace(recipe, augmentation=Pipeline((Step("RandomBlur"),)))
    second = compare(scene, ask(other), kept, never)
    assert second.before[0][0] is first.before[0][0]
    changed = replace(recipe, preprocessing=Pipeline((Step("ToCanonical"),)))
    third = compare(scene, ask(changed), kept, never)
    assert third.before[0][0] is not first.before[0][0]


def test_steps_are_left_out_and_forced_as_asked(case, recipe):
    _, image, mask = case
    scene, rare = (
        scene_of(image, mask),
        replace(recipe, augmentation=Pipeline((Step("RandomGamma", {}, 0.0), Step("RandomBlur")))),
    )
    assert [timing.applied for timing in compare(scene, ask(rare), Kept(), never).timings] == [False, True]
    forced = compare(scene, ask(rare, always=0, upto=0), Kept(), never)
    assert [timing.applied for timing in forced.timings] == [True]


def test_the_difference_of_a_mere_stretch_is_nothing(case):
    _, image, mask = case
    stretch = Recipe("", "", Pipeline((Step("ToCanonical"), Step("ZNormalization"))))
    (change, shown, _), *_ = compare(scene_of(image, mask), ask(stretch, "preprocessing", difference=True), Kept(), never).after
    assert np.abs(change).max() < 1e-3
    noise = Recipe("", "", stretch.preprocessing, Pipeline((Step("RandomNoise", {"std": [0.5, 0.5]}),)))
    (change, shown, _), *_ = compare(scene_of(image, mask), ask(noise, difference=True), Kept(), never).after
    assert 0.45 < change.std() < 0.55
    assert shown["contrast_limits"][0] == -shown["contrast_limits"][1]


def test_small_pictures_are_those_of_the_next_seeds(case, recipe):
    _, image, mask = case
    scene, kept = scene_of(image, mask), Kept()
    found = list(samples(scene, ask(recipe), kept, never))
    assert [sample.seed for sample in found] == [4, 5]
    assert found[0].picture.shape[2] == 3
    assert not np.array_equal(found[0].picture, found[1].picture)
    coloured = (found[0].picture.max(axis=2).astype(int) - found[0].picture.min(axis=2)) > 60
    assert coloured.any(), "the outline of the mask"
    with pytest.raises(Cancelled):
        next(samples(scene, ask(recipe), kept, lambda: True))


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    edge=st.integers(2, 20),
    place=st.tuples(*[st.floats(-20, 60)] * 3),
    flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
)
def test_a_block_lies_where_it_was_cut(shape, edge, place, flips):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape((1, *shape))
    affine = np.diag([*(np.array(flips) * (1.0, 2.0, 0.5)), 1.0])
    affine[:3, 3] = (5, -7, 11)
    whole = Volume(values, affine)
    part = block(whole, np.array(place), edge)
    corner = part.grid.to_world(np.zeros((1, 3)))[0]
    voxel = np.rint(np.linalg.inv(affine) @ np.append(corner, 1))[:3].astype(int)
    inside = tuple(slice(at, at + size) for at, size in zip(voxel, part.grid.shape, strict=True))
    assert np.array_equal(part.data[0], values[0][inside])
    assert part.data.size <= max(edge**3 * 1.2, 8) or part is whole


def test_a_radiograph_is_previewed(recipe):
    data = np.random.default_rng(0).normal(500, 100, (1, 300, 200, 1)).astype(np.int16)
    image = Volume(data, np.diag([0.2, 0.2, 1, 1]))
    mask = Volume((data > 550).astype(np.uint8), image.affine, "labels")
    flat = replace(recipe, augmentation=Pipeline((Step("RandomAffine", {"degrees": [0, 0, 0, 0, -9, 9]}), Step("RandomGamma"))))
    compared = compare(scene_of(image, mask), ask(flat, edge=32), Kept(), never)
    assert compared.is_block
    assert compared.after[0][0].shape == (1, 181, 181)


def test_a_step_that_fails_is_named(case, recipe):
    _, image, mask = case
    swap = replace(recipe, augmentation=Pipeline((Step("RandomSwap", {"patch_size": 200}),)))
    with pytest.raises(ConfigError, match="RandomSwap"):
        compare(scene_of(image, mask), ask(swap), Kept(), never)


def test_histogram_standardisation_is_fitted_to_the_case_and_says_so(case, recipe):
    _, image, mask = case
    standard = replace(recipe, preprocessing=Pipeline((Step("ToCanonical"), Step("HistogramStandardization"))))
    compared = compare(scene_of(image, mask), ask(standard), Kept(), never)
    assert "fitted to this scan alone" in " ".join(compared.notes)


# -- in a viewer ---------------------------------------------------------------------------------------------------------------------------

SHAPE = (90, 80, 70)


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    show_radiological(viewer)
    random = np.random.default_rng(0)
    affine = np.diag([-1.0, 1, 2, 1])
    mask = np.zeros((1, *SHAPE), np.uint8)
    mask[0, 30:60, 30:50, 30:40] = 2
    image = random.normal(100, 20, (1, *SHAPE)).astype(np.float32) + 80 * mask
    for one in (*layer_data(Volume(image, affine), "scan"), *layer_data(Volume(mask, affine, "labels"), "mask")):
        viewer.add_layer(Layer.create(*one))
    go_to_centre(viewer, viewer.layers[0])
    pump(0.1)
    yield viewer
    session_of(viewer).transforms.stop()


def settled(model) -> bool:
    return model.is_settled


def start(viewer):
    model = session_of(viewer).transforms
    model.look(samples=0)
    model.start(viewer.window._qt_window)
    pump_until(lambda: settled(model), what="the preview")
    assert model.error is None
    return model


def state_of(viewer) -> tuple:
    camera, dims = viewer.scene.camera, viewer.dims
    layers = [(layer, layer.name, layer.visible, layer.data, layer.opacity) for layer in viewer.layers]
    return (camera.center, camera.zoom, dims.point, dims.order, dims.ndisplay, set(viewer.layers.selection), layers)


@pytest.mark.slow
def test_the_viewer_is_as_it_was_after_a_preview(viewer):
    mask, main = viewer.layers["mask"], viewer.window._qt_window.centralWidget().findChild(QtViewer)
    viewer.layers.selection = {viewer.layers["scan"]}
    viewer.dims.set_point(0, 44.0)
    viewer.scene.camera.zoom = 3.3
    before, voxels = state_of(viewer), [layer.data.copy() for layer in viewer.layers]
    model = start(viewer)
    left, right = (pane.model for pane in model.comparison._panes)
    assert [type(layer) for layer in right.layers] == [Image, Labels]
    assert [layer.name for layer in viewer.layers] == ["scan", "mask"]
    right.dims.set_point(0, 60.0)
    right.scene.camera.zoom = 7.0
    assert left.dims.point == right.dims.point
    assert left.scene.camera.zoom == 7.0
    # The block follows the eye.
    assert model.compared.is_block
    lowest, place = np.array(model.compared.after[0][1]["translate"]), np.array((4.0, 70.0, -80.0))
    left.dims.point = tuple(place)
    pump_until(
        lambda: settled(model) and (np.array(model.compared.after[0][1]["translate"]) != lowest).any(), what="another block"
    )
    data, where, _ = model.compared.after[0]
    assert (place >= np.array(where["translate"]) - 1).all()
    assert (place <= np.array(where["translate"]) + np.array(where["scale"]) * data.shape).all()
    model.look(kind="preprocessing", difference=True, edge=None)
    pump_until(lambda: settled(model) and model.compared.what == "preprocessing", what="the other list")
    model.stop()
    pump(0.2)
    after = state_of(viewer)
    assert after[:-1] == before[:-1]
    assert all(
        one[0] is other[0] and one[1:3] == other[1:3] and one[3] is other[3]
        for one, other in zip(after[-1], before[-1], strict=True)
    )
    assert all(np.array_equal(layer.data, was) for layer, was in zip(viewer.layers, voxels, strict=True))
    assert not mask._undo_history
    assert main.isVisible()


@pytest.mark.slow
def test_four_views_and_the_preview_give_way_to_each_other(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    window, session = viewer.window._qt_window, session_of(viewer)
    model, ortho, main = session.transforms, session.ortho, window.centralWidget().findChild(QtViewer)
    model.start(window)
    assert main.isHidden()
    ortho.show(window)
    assert not model.is_on
    model.start(window)
    assert ortho._splitter.isHidden()
    ortho.hide()
    assert not model.is_on
    pump(0.1)
    assert main.isVisible()


def test_the_newest_wish_wins(viewer):
    model = start(viewer)
    shown = []
    model.changed.connect(lambda: shown.append(model.compared.titles[1]) if model.job is None and model.compared else None)
    for seed in range(1, 30):
        model.look(seed=seed)
    pump_until(lambda: settled(model), what="the last preview")
    assert "seed 29" in model.compared.titles[1]
    assert len(set(shown)) < 29
    # Pinned, the seed stays when a step changes; else it does not.
    model.recipe.set_steps("augmentation", (Step("RandomNoise"),))
    assert model.settings.seed == 29
    model.look(pinned=False)
    model.recipe.set_steps("augmentation", (Step("RandomNoise", {"std": [0.0, 0.3]}),))
    assert model.settings.seed != 29


@pytest.mark.slow
def test_nothing_stays_in_memory(viewer):
    model = start(viewer)
    seen = []
    for seed in range(4):
        model.look(seed=seed, difference=seed % 2 == 1)
        pump_until(lambda: settled(model), what="a preview")
        seen.append(weakref.ref(model.compared.after[0][0].base))
        seen.append(weakref.ref(model.compared))
    models = [weakref.ref(pane.model) for pane in model.comparison._panes]
    pump(0.1)
    gc.collect()
    assert sum(one() is not None for one in seen) <= 2, "only what is shown"
    model.stop()
    pump(0.3)
    gc.collect()
    assert [one() for one in (*seen, *models)] == [None] * len(seen + models)


@pytest.mark.slow
def test_without_a_scan_it_says_so_and_follows_when_one_comes(viewer):
    scan, mask = viewer.layers["scan"], viewer.layers["mask"]
    viewer.layers.clear()
    model = session_of(viewer).transforms
    model.look(samples=0)
    model.start(viewer.window._qt_window)
    pump_until(lambda: model.error is not None, what="the word")
    assert "No scan is in view" in model.error.what
    for layer in (scan, mask):
        viewer.add_layer(layer)
    pump_until(lambda: model.compared is not None and settled(model), what="the preview")
    assert model.error is None
    assert len(model.compared.after) == 2
    viewer.layers.clear()
    pump_until(lambda: model.error is not None, what="the word")
    assert not any(len(pane.model.layers) for pane in model.comparison._panes)


def test_what_training_does_by_itself_follows_the_data_set(viewer, ball_dataset):
    session = session_of(viewer)
    recipe = session.transforms.recipe
    assert recipe.steps("augmentation") == augmentation_pipeline().steps
    assert [step.name for step in recipe.steps("preprocessing")] == ["ToCanonical", "RescaleIntensity", "ZNormalization"]
    session.data.open(ball_dataset)
    pump_until(lambda: session.data.report is not None, what="the check")
    assert [step.name for step in recipe.steps("preprocessing")][1] == "Resample"
    assert recipe.is_default("preprocessing")
    assert recipe.settings() == {"transforms.preprocessing": "auto", "transforms.augmentation": "auto"}
    recipe.set_steps("augmentation", (Step("RandomFlip"),))
    recipe.hand_over()
    assert recipe.config.transforms.preprocessing == "auto"
    assert [step["name"] for step in recipe.config.transforms.augmentation] == ["RandomFlip"]
