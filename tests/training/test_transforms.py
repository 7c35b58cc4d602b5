"""Steps of one's own, from the recipe through the run folder to the prediction."""

import json
from pathlib import Path

import numpy as np
import pytest
import torchio

from napari_seg3d.datasets import open_dataset, read_case_image, read_case_mask
from napari_seg3d.errors import ConfigError
from napari_seg3d.evaluation import dice
from napari_seg3d.inference import Predictor, load_model
from napari_seg3d.training import TrainConfig, start_run
from napari_seg3d.training.plan import Fingerprint, make_plan
from napari_seg3d.training.samples.cache import prepare
from napari_seg3d.transforms import Pipeline, Recipe, Step, fit, preprocess, run
from napari_seg3d.volumes import Grid
from tests.waiting import wait_for

RECIPE = Recipe(
    "mine",
    "",
    Pipeline(
        (
            Step("RemapLabels", {"remapping": {7: 3}}),
            Step("ToCanonical"),
            Step("HistogramStandardization"),
            Step("Blur", {"std": 0.4}, enabled=False),
            Step("ZNormalization"),
            Step("CropOrPad", {"target_shape": [24, 24, 16]}),
            Step("ContextSlices", {"neighbours": 1, "axis": 2}),
        )
    ),
    Pipeline(
        (
            Step("RandomAffine", {"scales": 0.05, "degrees": 5.0}, probability=0.75),
            Step("OneOf", {"transforms": [{"name": "RandomNoise"}, {"name": "RandomBlur", "parameters": {"std": [0, 1]}}]}),
            Step("RandomFlip", enabled=False),
        )
    ),
)


@pytest.fixture(scope="module")
def config(quick_config: TrainConfig) -> TrainConfig:
    return quick_config.with_values({**RECIPE.settings(), "optimization.max_iterations": 2})


def _described(transform: torchio.Transform) -> object:
    """Return class and every parameter of a transform, nested ones as well."""
    if isinstance(transform, torchio.Compose):
        return [_described(each) for each in transform.transforms]
    plain = {}
    for name, value in vars(transform).items():
        if isinstance(value, dict) and any(isinstance(key, torchio.Transform) for key in value):
            value = [(_described(key), weight) for key, weight in value.items()]
        plain[name] = value.tolist() if isinstance(value, np.ndarray) else repr(value)
    return type(transform).__module__, type(transform).__name__, plain


@pytest.mark.slow
def test_what_is_previewed_is_what_is_trained_and_predicted(config: TrainConfig, tmp_path: Path) -> None:
    training = start_run(config, tmp_path / "run")
    assert wait_for(training).state == "finished", training.log.read_text()

    # The run folder holds the steps that were previewed ...
    stored = training.config().transforms
    assert Pipeline.from_list(stored.preprocessing) == RECIPE.preprocessing
    assert Pipeline.from_list(stored.augmentation) == RECIPE.augmentation
    previewed, trained = RECIPE.augmentation.to_torchio(), Pipeline.from_list(stored.augmentation).to_torchio()
    assert _described(previewed) == _described(trained)

    # ... and the model those that it predicts with, with the landmarks of the training cases and of no other.
    train, validation = training.cases("train"), training.cases("validation")
    expected = fit(RECIPE.preprocessing, map(read_case_image, train))
    spec = load_model(training.best).spec
    kept = Pipeline.from_list(spec.pipeline)
    assert kept == expected
    assert _described(kept.to_torchio()) == _described(expected.to_torchio())
    assert kept != fit(RECIPE.preprocessing, map(read_case_image, [*train, *validation]))
    assert spec.network.in_channels == 3
    assert spec.labels == {3: spec.labels[3]}

    # The answer lies on the scan's own grid, and outside of the crop is background.
    case = max(validation, key=lambda each: read_case_image(each).data.size)
    scan = read_case_image(case)
    labels = Predictor.load(training.best).predict(scan).labels
    assert labels.grid.matches(scan.grid)
    seen, _ = preprocess(kept, scan)
    corners = np.argwhere(np.ones(scan.data.shape[1:], bool))
    inside = (np.linalg.solve(seen.affine, np.c_[scan.grid.to_world(corners), np.ones(len(corners))].T)[:3]).T
    outside = ((inside < -0.5) | (inside > np.array(seen.grid.shape) - 0.5)).any(axis=1)
    assert outside.any()
    assert not labels.data[0].ravel()[outside].any()

    # Validation compared with a mask that went through the same steps.
    (event,) = [event for event in training.events() if event["kind"] == "plan"]
    assert event["labels"] == {"3": spec.labels[3]}


def test_the_cache_is_that_of_the_steps_and_labels_go_through_them(config: TrainConfig, ball_dataset: Path) -> None:
    cases = open_dataset(ball_dataset).pairs[:2]
    pipeline = fit(RECIPE.preprocessing, map(read_case_image, cases))
    cached = prepare(cases, pipeline, {3: "ball"})
    other = prepare(cases, Pipeline(pipeline.steps[:-1]), {3: "ball"})
    assert {case.folder for case in cached}.isdisjoint(case.folder for case in other)
    for case, one in zip(cases, cached, strict=True):
        scan = read_case_image(case)
        mask = read_case_mask(case, scan)
        image, labels = run(pipeline, scan, mask)
        assert labels is not None
        assert np.array_equal(one.image, image.data)
        assert np.array_equal(one.target, labels.data == 3)
        assert np.array_equal(one.reference > 0, np.isin(mask.data, (3, 7)))


def _plan(config: TrainConfig, changes: dict[str, object], grids: list[Grid] | None = None) -> object:
    grids = grids or [Grid((26, 24, 18), np.eye(4))]
    return make_plan(config.with_values(changes), Fingerprint(grids, {3: "ball", 7: "core"}))


def test_the_plan_knows_what_the_steps_make(quick_config: TrainConfig) -> None:
    steps = [{"name": "ToCanonical"}, {"name": "Resample", "parameters": {"target": 2.0}}, {"name": "ContextSlices"}]
    plan = make_plan(
        quick_config.with_values({"transforms.preprocessing": steps, "sampling.patch_size": "auto"}),
        Fingerprint([Grid((64, 48, 32), np.eye(4))], {3: "ball", 7: "core"}, channels=2),
    )
    assert plan.spacing == (2, 2, 2)
    assert plan.spec.patch_size == (32, 24, 16)
    assert plan.spec.network.in_channels == 14
    assert plan.augmentation is not None
    assert (
        make_plan(
            quick_config.with_values({"sampling.augmentation": False}), Fingerprint([Grid((26, 24, 18), np.eye(4))], {3: "a"})
        ).augmentation
        is None
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transforms.augmentation": [{"name": "Crop", "parameters": {"cropping": 1}}]}, "14 x 14 x 14"),
        ({"transforms.preprocessing": [{"name": "RemoveLabels", "parameters": {"labels": [3, 7]}}]}, "every label"),
        ({"transforms.preprocessing": [{"name": "RandomBlur"}]}, "random"),
        ({"transforms.augmentation": [{"name": "RandomBlurr"}]}, "RandomBlurr.*RandomBlur,"),
        ({"transforms.augmentation": "none"}, "list of steps"),
    ],
)
def test_steps_that_cannot_be_trained_with_are_refused_before_the_training(
    quick_config: TrainConfig, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        _plan(quick_config, changes)


def test_scans_in_several_axis_orders_need_to_be_turned(quick_config: TrainConfig) -> None:
    grids = [Grid((26, 24, 18), np.eye(4)), Grid((26, 24, 18), np.diag([-1.0, -1, 1, 1]))]
    with pytest.raises(ConfigError, match="LPS, RAS"):
        _plan(quick_config, {"transforms.preprocessing": [{"name": "ZNormalization"}]}, grids)


def test_a_config_keeps_steps_to_the_letter(config: TrainConfig, tmp_path: Path) -> None:
    config.save(tmp_path / "run.yaml")
    assert TrainConfig.from_yaml(tmp_path / "run.yaml") == config
    assert json.loads(json.dumps(config.to_dict())) == json.loads(json.dumps(TrainConfig.parse(config.to_dict()).to_dict()))
    # A run.yaml of before has no such section.
    old = {name: section for name, section in config.to_dict().items() if name != "transforms"}
    assert TrainConfig.parse(old).transforms.preprocessing == "auto"


def test_a_crop_comes_home(ball_dataset: Path) -> None:
    from napari_seg3d.inference.home import bring_home

    for case in open_dataset(ball_dataset).pairs[:2]:
        scan = read_case_image(case)
        mask = read_case_mask(case, scan)
        for spacing in (1.0, 1.6):
            steps = (
                Step("ToCanonical"),
                Step("Resample", {"target": spacing}),
                Step("CropOrPad", {"target_shape": [16, 40, 16]}),
            )
            seen, _ = run(Pipeline(steps), mask.with_data((mask.data > 0).astype(np.float32), "image"))
            home = bring_home(np.concatenate([1 - seen.data, seen.data]), seen.grid, scan.grid, "exclusive").labels[0]
            assert home.shape == scan.data.shape[1:]
            inside = run(Pipeline((Step("ToCanonical"), Step("CropOrPad", {"target_shape": int(14 * spacing)}))), scan)[0]
            places = np.linalg.solve(
                scan.affine, np.c_[inside.grid.to_world(np.argwhere(inside.data[0] > -1e9)), np.ones(inside.data.size)].T
            )
            i, j, k = np.rint(places[:3]).astype(int)
            keep = np.all([(axis >= 0) & (axis < side) for axis, side in zip((i, j, k), home.shape, strict=True)], axis=0)
            i, j, k = i[keep], j[keep], k[keep]
            assert dice(home[i, j, k] > 0, mask.data[0][i, j, k] > 0) > (0.999 if spacing == 1 else 0.9)
