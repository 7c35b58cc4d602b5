"""The presets: what each sets, and that each learns on the sample data, as the dock and the command line start it.

A test has seconds on two cores where the systems had hours on a GPU: here the networks have fewer filters and the scans fewer voxels, and the
learning rates are higher. Transforms, sampling, loss, optimiser and judge are those of the preset.
"""

from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.datasets import Report, check_dataset, open_dataset, read_case_image, read_case_mask
from napari_seg3d.errors import ConfigError
from napari_seg3d.inference import Predictor, load_model
from napari_seg3d.sample_data import Kind, dataset_folder
from napari_seg3d.training import Run, TrainConfig, start_run
from napari_seg3d.training.plan import Plan, plan_for
from napari_seg3d.training.presets import find_preset, preset_settings, presets
from napari_seg3d.transforms import load_preset
from tests.waiting import wait_for

_KINDS: dict[str, Kind] = {
    "torchio-unet3d": "abdomen",
    "spine-xray-unet2d": "spine",
    "nodule-unet25d": "lung",
    "decathlon-cascade": "spleen",
    "vnet": "spleen",
    "mini-vnet": "spleen",
    "unet2d": "spleen",
    "unet2d-planes": "spleen",
    "sparse": "spleen",
}


@cache
def report_of(kind: Kind) -> Report:
    return check_dataset(open_dataset(dataset_folder(kind)))


def config_of(name: str) -> TrainConfig:
    values = {"data": {"images": str(dataset_folder(_KINDS[name]))}, "device": {"accelerator": "cpu"}}
    return TrainConfig.parse(values).with_preset(name)


def plan_of(name: str) -> Plan:
    return plan_for(config_of(name), report_of(_KINDS[name]))


# -- what they set --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets())
def test_each_preset_says_what_it_is_and_sets_what_differs(name: str) -> None:
    preset = find_preset(name)
    assert preset.title
    assert preset.description.endswith(".")
    config = config_of(name).to_dict()
    for setting, value in preset_settings(name).items():
        section, key = setting.split(".")
        assert config[section][key] == value, setting


def test_the_known_systems_are_all_there() -> None:
    assert set(_KINDS) == set(presets())
    systems = {name for name, preset in presets().items() if preset.system}
    assert systems == {"torchio-unet3d", "spine-xray-unet2d", "nodule-unet25d", "decathlon-cascade", "vnet", "mini-vnet"}


def test_a_name_that_is_wrong_is_answered_with_the_closest() -> None:
    with pytest.raises(ConfigError, match="vnett") as caught:
        config_of("vnet").with_preset("vnett")
    assert "vnet, " in caught.value.fix


def test_a_preset_leaves_nothing_of_another_and_takes_nothing_of_the_user() -> None:
    mine = config_of("vnet").with_values(
        {"optimization.minutes": 3, "optimization.seed": 7, "device.workers": 0, "record.shown_cases": 1, "data.split_seed": 4}
    )
    config = mine.with_preset("spine-xray-unet2d").with_preset("torchio-unet3d")
    assert config.data == mine.data
    assert config.record == mine.record
    assert config.device == mine.device
    assert (config.optimization.minutes, config.optimization.seed, config.optimization.epochs) == (3, 7, None)
    assert config.targets.kind == "exclusive"
    assert config.sampling.patch_size == (64, 64, 48)
    only_epochs = mine.with_values({"optimization.minutes": None, "optimization.epochs": 5})
    assert only_epochs.with_preset("vnet").optimization.epochs == 5


def test_presets_hold_to_the_facts_of_their_systems() -> None:
    torchio, spine, nodule, cascade = (
        config_of(name) for name in ("torchio-unet3d", "spine-xray-unet2d", "nodule-unet25d", "decathlon-cascade")
    )
    for config, optimizer, rate, batch, loss in (
        (torchio, "sgd", 1e-3, 4, "dice_per_label"),
        (spine, "adam", 1e-3, 2, "dice_ce"),
        (nodule, "adam", 1e-3, 32, "dice_fn"),
        (cascade, "adam", 1e-4, "auto", "dice_per_label"),
    ):
        wishes = config.optimization
        assert (wishes.optimizer, wishes.learning_rate, wishes.batch_size, wishes.loss) == (optimizer, rate, batch, loss)
        assert (wishes.schedule, wishes.warm_up, wishes.ema, wishes.gradient_clip) == ("constant", 0, 0, None)
    assert torchio.optimization.momentum == 0.9
    assert (spine.targets.kind, spine.optimization.epochs) == ("overlapping", 100)
    assert (nodule.optimization.metric, nodule.data.split, nodule.data.stride) == ("recall", "stride", 10)
    assert (nodule.sampling.draw, nodule.sampling.slices, nodule.sampling.window) == ("lesions", "positive", (96, 96, 1))
    assert (cascade.cascade.enabled, cascade.cascade.margin, cascade.cascade.smallest) == (True, 0.2, 28)
    for name in ("vnet", "mini-vnet"):
        assert config_of(name).optimization.loss == "dice"
    for name in ("torchio-unet3d", "spine-xray-unet2d", "nodule-unet25d", "decathlon-cascade", "vnet"):
        assert config_of(name).transforms.preprocessing == load_preset(name).preprocessing.to_list()


def test_what_the_networks_of_the_systems_see_and_how_large_they_are() -> None:
    torchio = plan_of("torchio-unet3d")
    assert (
        torchio.parameters == 19_071_376 + 65
    )  # 33 numbers for each channel of the output: here there are 3 classes instead of 2
    assert (torchio.spec.patch_size, torchio.spec.mode, torchio.spacing) == ((64, 64, 48), "whole", (4, 4, 4))
    spine = plan_of("spine-xray-unet2d")
    assert (spine.spec.targets, spine.spec.network.dims, spine.spec.network.out_channels) == ("overlapping", 2, 6)
    assert spine.sides == (1024, 1024)
    nodule = plan_of("nodule-unet25d")
    assert nodule.parameters == 118_271
    assert (nodule.spec.context, nodule.spec.network.in_channels, nodule.sides) == (3, 7, (64, 64))
    assert [step["name"] for step in nodule.spec.pipeline] == ["ToCanonical", "HUWindow"], (
        "7 channels are never written to the disk"
    )
    assert plan_of("mini-vnet").parameters == 96_167
    assert plan_of("decathlon-cascade").spec.network.out_channels == 2, "a sigmoid for each label"
    planes = plan_of("unet2d-planes").spec
    assert planes.planes == ("axial", "coronal", "sagittal")
    assert planes.network.dims == 2


# -- that they learn ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lesson:
    """A short training."""

    preset: str
    steps: int
    dice: float
    changes: dict[str, object] = field(default_factory=dict)


def _smaller(name: str, step: str, **parameters: object) -> list[dict[str, object]]:
    """Return the preprocessing of a preset with other parameters of one step."""
    steps = load_preset(name).preprocessing.to_list()
    for each in steps:
        if each["name"] == step:
            each["parameters"] = {**each["parameters"], **parameters}
    return steps


def _torchio_at_10_mm() -> list[dict[str, object]]:
    steps = _smaller("torchio-unet3d", "Resample", target=10.0)
    return [{**each, "parameters": {"target_shape": [32, 24, 16]}} if each["name"] == "CropOrPad" else each for each in steps]


LESSONS = (
    Lesson(
        "torchio-unet3d",
        160,
        0.5,
        {
            "transforms.preprocessing": _torchio_at_10_mm(),
            "sampling.patch_size": [32, 24, 16],
            "network.features": [8, 16, 32],
            "optimization.learning_rate": 0.03,
        },
    ),
    Lesson(
        "nodule-unet25d",
        250,
        0.5,
        {"optimization.batch_size": 8, "optimization.learning_rate": 0.005},
    ),
    Lesson(
        "decathlon-cascade",
        300,
        0.4,
        {
            "network.features": [8, 16, 32],
            "optimization.learning_rate": 0.003,
            "optimization.batch_size": 3,
        },
    ),
    Lesson("vnet", 80, 0.5, {"network.features": [8, 16, 32], "optimization.batch_size": 2}),
)


def _trained(lesson: Lesson, folder: Path) -> Run:
    config = config_of(lesson.preset).with_values(
        {
            "optimization.minutes": 20,
            "optimization.max_iterations": lesson.steps,
            "record.validate_every": 0.2,
            "record.shown_cases": 1,
            **lesson.changes,
        }
    )
    run = start_run(config, folder)
    assert wait_for(run, 280).state == "finished", run.log.read_text()
    return run


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / max(1, int(one.sum() + other.sum()))


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.preset)
def test_a_preset_learns_on_the_sample_data(lesson: Lesson, tmp_path: Path) -> None:
    run = _trained(lesson, tmp_path / "run")
    validations = [event for event in run.events() if event["kind"] == "validation"]
    best = [event for event in validations if event["best"]][-1]
    assert best["mean_dice"] > lesson.dice
    assert load_model(run.best).spec.info["mean_dice"] == best["mean_dice"]
    if lesson.preset == "nodule-unet25d":
        assert best["metric"] == "recall"
        assert best["score"] > 0.8
    if lesson.preset == "decathlon-cascade":
        assert {event["stage"] for event in validations} == {"find", "segment"}
        assert load_model(run.best).roi is not None


@pytest.mark.slow
def test_six_vertebrae_come_out_separate(tmp_path: Path) -> None:
    lesson = Lesson(
        "spine-xray-unet2d",
        600,
        0.9,
        {
            "transforms.preprocessing": _smaller("spine-xray-unet2d", "Resize", target_shape=[96, 128, 1]),
            "sampling.patch_size": [96, 128, 1],
            "network.features": [16, 32, 64, 128],
            "optimization.epochs": 120,
            "record.validate_every": 0.1,
        },
    )
    run = _trained(lesson, tmp_path / "run")
    # At a learning rate that stays high a step may spoil what was learnt: the best one is what people take.
    predictor = Predictor.load(run.best)
    for case in run.cases("validation"):
        image = read_case_image(case)
        expected = read_case_mask(case, image, overlapping=True).data[:6, ..., 0] > 0
        found = predictor.predict(image).labels.data[..., 0] > 0
        assert found.shape == expected.shape, "on each image's own pixels"
        assert all(_dice(one, other) > 0.8 for one, other in zip(found, expected, strict=True))
        assert np.mean([_dice(one, other) for one, other in zip(found, expected, strict=True)]) > lesson.dice
        # One merged spine, or the same mask in every channel, would overlap everywhere.
        assert all(_dice(found[one], found[other]) < 0.3 for one, other in combinations(range(6), 2))
        for one in range(6):
            others = [_dice(found[one], expected[other]) for other in range(6) if other != one]
            assert max(others) < 0.3
