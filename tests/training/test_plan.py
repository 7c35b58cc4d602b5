from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.errors import ConfigError
from napari_seg3d.inference import load_model, save_model
from napari_seg3d.networks import build_network
from napari_seg3d.training import TrainConfig
from napari_seg3d.training.plan import Fingerprint, Plan, Trial, make_plan, planned_preprocessing, tried_on_device
from napari_seg3d.training.plan.rules import plan_place
from napari_seg3d.training.plan.trial import seconds_per_step
from napari_seg3d.transforms import Pipeline, Step, augmentation_pipeline, preprocessing_pipeline
from napari_seg3d.volumes import Grid

_CONFIG = TrainConfig.parse({"data": {"images": "/scans"}, "device": {"accelerator": "cpu"}})


def _grids(shape: tuple[int, int, int], spacing: tuple[float, float, float], count: int = 3) -> list[Grid]:
    return [Grid(shape, np.diag([*spacing, 1.0]))] * count


def test_small_scans_are_seen_whole() -> None:
    plan = make_plan(_CONFIG, Fingerprint(_grids((35, 50, 35), (1, 1, 1)), {1: "head", 2: "tail"}))
    assert plan.spec.patch_size == (40, 56, 40)
    assert plan.spacing == (1, 1, 1)
    assert plan.spec.network.out_channels == 3
    assert plan.batch_size == 4


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((512, 512, 400), (0.7, 0.7, 1.0)),
        ((256, 256, 25), (0.78, 0.78, 6.5)),
        ((9, 300, 300), (7.5, 0.5, 0.5)),
        ((8, 8, 8), (1, 1, 1)),
    ],
)
def test_a_patch_fits_the_network_and_the_budget(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    plan = make_plan(_CONFIG, Fingerprint(_grids(shape, spacing), {1: "organ"}))
    patch = np.array(plan.spec.patch_size)
    assert (patch % plan.spec.network.divisor == 0).all()
    assert patch.prod() <= 64**3
    assert (patch <= np.array(shape) + plan.spec.network.divisor).all()
    assert 2 <= plan.batch_size <= 8


def test_the_spacing_is_the_median_over_canonical_axes() -> None:
    # The same thick slices, stored along another axis: the plan must not take the axis order of a file for anatomy.
    straight = Grid((20, 30, 10), np.diag([1.0, 1.0, 5.0, 1.0]))
    turned = Grid((10, 20, 30), np.array([[0, 1.0, 0, 0], [0, 0, 1.0, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]]))
    plan = make_plan(_CONFIG, Fingerprint([straight, turned, turned], {1: "organ"}))
    assert plan.spacing == (1, 1, 5)
    assert turned.canonical().shape == straight.shape


def test_a_patch_that_does_not_fit_the_network_is_refused_with_those_that_do() -> None:
    config = _CONFIG.with_values({"sampling.patch_size": [30, 33, 64]})
    with pytest.raises(ConfigError, match=r"(?s)30 x 33 x 64.*28 or 32"):
        make_plan(config, Fingerprint(_grids((64, 64, 64), (1, 1, 1)), {1: "organ"}))


def test_what_cannot_fit_the_memory_is_refused_before_it_is_tried() -> None:
    config = _CONFIG.with_values({"sampling.patch_size": [1000, 1000, 1000], "optimization.batch_size": 64})
    with pytest.raises(ConfigError, match=r"1000 x 1000 x 1000.*GB"):
        make_plan(config, Fingerprint(_grids((64, 64, 64), (1, 1, 1)), {1: "organ"}))


def test_where_memory_is_short_the_patch_shrinks_before_the_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint = Fingerprint(_grids((200, 200, 200), (1, 1, 1)), {1: "organ"})
    usual = make_plan(_CONFIG, fingerprint)
    monkeypatch.setattr("napari_seg3d.training.plan.make.free_memory", lambda _: usual.memory // 3)
    small = make_plan(_CONFIG, fingerprint)
    assert np.prod(small.spec.patch_size) < np.prod(usual.spec.patch_size)
    assert small.batch_size >= 2
    assert small.memory < usual.memory // 3
    with pytest.raises(ConfigError, match="GB are free"):
        make_plan(_CONFIG.with_values({"sampling.patch_size": [64, 64, 64], "optimization.batch_size": 2}), fingerprint)
    monkeypatch.setattr("napari_seg3d.training.plan.make.free_memory", lambda _: 1_000_000)
    with pytest.raises(ConfigError, match="1 sample of"):
        make_plan(_CONFIG, fingerprint)


def test_whole_scans_all_fit() -> None:
    config = _CONFIG.with_values({"sampling.mode": "whole"})
    grids = [*_grids((30, 40, 20), (1, 1, 1)), *_grids((44, 38, 31), (1, 1, 1), 1)]
    assert make_plan(config, Fingerprint(grids, {1: "organ"})).spec.patch_size == (48, 40, 32)


def test_a_device_that_is_not_there_is_named() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="cuda"):
        make_plan(_CONFIG.with_values({"device.accelerator": "cuda"}), Fingerprint(_grids((32, 32, 32), (1, 1, 1)), {1: "organ"}))


def test_what_auto_chose_can_be_set_by_hand_and_gives_the_same_plan() -> None:
    for fingerprint in (
        Fingerprint(_grids((35, 50, 35), (1, 1, 1)), {1: "head", 2: "tail"}),
        Fingerprint(_grids((300, 200, 1), (1, 1, 1)), {1: "one", 2: "other"}, overlapping=True),
    ):
        plan = make_plan(_CONFIG, fingerprint)
        assert len(plan.reasons) >= 10
        assert all(reason.why.endswith(".") for reason in plan.reasons)
        config = _CONFIG.with_values({reason.setting: reason.value for reason in plan.reasons})
        again = make_plan(config, fingerprint)
        assert again.reasons == ()
        assert replace(again, reasons=plan.reasons) == plan


def test_a_training_that_starts_from_a_model_keeps_its_strides(tmp_path: Path) -> None:
    thick = make_plan(_CONFIG, Fingerprint(_grids((128, 128, 16), (0.8, 0.8, 5.0)), {1: "organ"}))
    network = thick.spec.network
    save_model(tmp_path / "best.pt", thick.spec, build_network(network).state_dict())
    cubes = Fingerprint(_grids((64, 64, 64), (1, 1, 1)), {1: "organ"})
    same = {"network.name": network.name, "network.features": list(network.features), "sampling.patch_size": [64, 64, 16]}
    assert make_plan(_CONFIG.with_values(same), cubes).spec.network.strides != network.strides, "other scans would have others"
    goes_on = make_plan(_CONFIG.with_values({**same, "network.pretrained": str(tmp_path / "best.pt")}), cubes).spec.network
    assert goes_on.strides == network.strides
    build_network(goes_on).load_state_dict(load_model(tmp_path / "best.pt").weights)


def test_mr_of_small_scans_is_prepared_as_it_was_when_it_was_measured() -> None:
    plan = make_plan(_CONFIG, Fingerprint(_grids((35, 50, 35), (1, 1, 1)), {1: "head", 2: "tail"}, minimum=0, maximum=900))
    assert plan.spec.pipeline == preprocessing_pipeline((1.0, 1.0, 1.0), "zscore").to_list()
    assert plan.spec.network.name == "dynunet"
    assert plan.spec.network.features == (16, 32, 64, 128)
    assert (plan.loss, plan.learning_rate, plan.spec.mode, plan.workers) == ("dice_ce", 2e-3, "patches", 1)


def _window(fingerprint: Fingerprint) -> dict[str, object]:
    step = planned_preprocessing(_CONFIG, fingerprint).steps[-1]
    return {"name": step.name, **step.parameters}


def test_ct_is_cut_to_what_lies_under_the_labels() -> None:
    grids = _grids((64, 64, 64), (1, 1, 1))
    values = np.random.default_rng(0).normal(100, 20, 5000)
    ct = Fingerprint(grids, {1: "organ"}, minimum=-1024, maximum=2000, labelled=values.tolist())
    assert ct.is_ct
    window = _window(ct)
    assert window["name"] == "HUWindow"
    low, high = np.percentile(values, (0.5, 99.5))
    assert window["level"] == pytest.approx((low + high) / 2, abs=0.01)
    assert window["width"] == pytest.approx(high - low, abs=0.01)
    # The mean of what is kept becomes 0, its standard deviation 1.
    kept = values.clip(low, high)
    assert window["out_min_max"] == pytest.approx([(low - kept.mean()) / kept.std(), (high - kept.mean()) / kept.std()], abs=1e-3)
    nothing_known = _window(replace(ct, labelled=()))
    assert (nothing_known["level"], nothing_known["width"]) == (0, 2000)
    assert _window(replace(ct, labelled=(7.0,) * 200))["width"] == 2000


@pytest.mark.parametrize(
    ("facts", "is_ct"),
    [
        ({"modality": "CT", "minimum": -1024.0, "maximum": 1500.0}, True),
        ({"modality": "CT", "minimum": 0.0, "maximum": 4095.0}, False),
        ({"modality": "MR", "minimum": -1024.0, "maximum": 1500.0}, False),
        ({"minimum": -1024.0, "maximum": 1500.0}, True),
        ({"minimum": -3.0, "maximum": 4.0}, False),
        ({"minimum": -1000.0, "maximum": 900.0, "channels": 2}, False),
        ({"modality": "CT"}, True),
        ({}, False),
    ],
)
def test_ct_is_what_is_said_or_measures_air_as_minus_a_thousand(facts: dict[str, object], is_ct: bool) -> None:
    assert Fingerprint((), {}, **facts).is_ct is is_ct  # type: ignore[arg-type]


def test_across_thick_slices_the_thinnest_tenth_decides() -> None:
    thick = [Grid((256, 256, 20), np.diag([0.8, 0.8, edge, 1.0])) for edge in (3.0, *(6.0,) * 9)]
    assert make_plan(_CONFIG, Fingerprint(thick, {1: "organ"})).spacing[2] == pytest.approx(5.7)
    alike = [Grid((256, 256, 200), np.diag([0.8, 0.8, edge, 1.0])) for edge in (0.5, *(1.0,) * 9)]
    assert make_plan(_CONFIG, Fingerprint(alike, {1: "organ"})).spacing == pytest.approx((0.8, 0.8, 1.0))


@pytest.mark.parametrize(
    ("shape", "affine", "plane"),
    [
        ((300, 200, 1), np.eye(4), "axial"),
        ((300, 200, 1), np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), "coronal"),
        ((300, 200, 1), np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), "sagittal"),
    ],
)
def test_scans_of_one_slice_are_learnt_in_2d(shape: tuple[int, int, int], affine: np.ndarray, plane: str) -> None:
    plan = make_plan(_CONFIG, Fingerprint([Grid(shape, affine)] * 3, {1: "bone"}))
    assert plan.spec.network.dims == 2
    assert plan.spec.planes == (plane,)
    assert plan.spec.patch_size[2] == 1
    assert np.prod(plan.spec.patch_size) <= 256**2
    assert all(side % step == 0 for side, step in zip(plan.sides, plan.spec.network.divisor, strict=False))


def test_slices_of_three_planes_all_fit_the_patch() -> None:
    config = _CONFIG.with_values({"sampling.planes": ["axial", "coronal", "sagittal"]})
    plan = make_plan(config, Fingerprint(_grids((60, 90, 40), (1, 1, 1)), {1: "organ"}))
    a, b, one = plan.spec.patch_size
    assert plan.spec.network.dims == 2
    assert (a >= 90, b >= 90, one) == (True, True, 1)  # sagittal slices are 90 x 40, axial ones 60 x 90


def test_neighbouring_slices_are_joined_when_they_are_drawn_not_on_the_disk() -> None:
    steps = [{"name": "ToCanonical"}, {"name": "ContextSlices", "parameters": {"neighbours": 2, "axis": 1}}]
    flat = _CONFIG.with_values({"transforms.preprocessing": steps, "network.dims": 2})
    plan = make_plan(flat, Fingerprint(_grids((64, 64, 64), (1, 1, 1)), {1: "organ"}, channels=2))
    assert (plan.spec.context, plan.spec.planes) == (2, ("coronal",))
    assert [step.name for step in Pipeline.from_list(plan.spec.pipeline).steps] == ["ToCanonical"]
    assert plan.spec.network.in_channels == 10
    solid = make_plan(flat.with_values({"network.dims": 3}), Fingerprint(_grids((64, 64, 64), (1, 1, 1)), {1: "organ"}))
    assert (solid.spec.context, solid.spec.network.in_channels) == (0, 5)


def test_context_slices_and_a_3d_network_are_refused() -> None:
    config = _CONFIG.with_values({"sampling.context": 1, "network.dims": 3})
    with pytest.raises(ConfigError, match="3D network"):
        make_plan(config, Fingerprint(_grids((64, 64, 64), (1, 1, 1)), {1: "organ"}))


def test_steps_that_end_in_one_size_say_the_size_of_a_sample() -> None:
    steps = [{"name": "ToCanonical"}, {"name": "CropOrPad", "parameters": {"target_shape": [40, 48, 20]}}]
    plan = make_plan(
        _CONFIG.with_values({"transforms.preprocessing": steps}), Fingerprint(_grids((99, 80, 70), (1, 1, 1)), {1: "organ"})
    )
    assert plan.spec.mode == "whole"
    assert plan.spec.patch_size == (40, 48, 20)


def test_overlapping_labels_have_a_channel_each_and_no_background() -> None:
    fingerprint = Fingerprint(_grids((64, 64, 64), (1, 1, 1)), {1: "liver", 2: "tumour"}, overlapping=True)
    plan = make_plan(_CONFIG, fingerprint)
    assert (plan.spec.targets, plan.spec.network.out_channels) == ("overlapping", 2)
    with pytest.raises(ConfigError, match="overlap"):
        make_plan(_CONFIG.with_values({"targets.kind": "exclusive"}), fingerprint)
    weighted = _CONFIG.with_values({"optimization.class_weights": {2: 4}})
    assert make_plan(weighted, fingerprint).class_weights == (1.0, 4.0)
    assert make_plan(weighted, replace(fingerprint, overlapping=False)).class_weights == (1.0, 1.0, 4.0)
    with pytest.raises(ConfigError, match="the label 9"):
        make_plan(_CONFIG.with_values({"optimization.class_weights": {9: 4}}), fingerprint)


def test_unknown_and_painted_background_are_no_labels() -> None:
    config = _CONFIG.with_values({"targets.known": "voxels", "targets.background": 3, "targets.ignore": 9})
    plan = make_plan(config, Fingerprint(_grids((64, 64, 64), (1, 1, 1)), {1: "liver", 3: "rest", 9: "unclear"}))
    assert plan.spec.labels == {1: "liver"}


def test_a_few_painted_slices_are_learnt_in_2d_in_the_plane_that_was_painted() -> None:
    config = _CONFIG.with_values({"targets.known": "slices"})
    fingerprint = Fingerprint(_grids((64, 64, 64), (1, 1, 1)), {1: "organ"}, painted=(40, 3, 30))
    plan = make_plan(config, fingerprint)
    assert (plan.spec.network.dims, plan.spec.planes) == (2, ("coronal",))
    said = make_plan(config.with_values({"targets.plane": "sagittal"}), fingerprint)
    assert said.spec.planes == ("sagittal",)
    assert make_plan(config.with_values({"network.dims": 3}), fingerprint).spec.network.dims == 3
    assert make_plan(config.with_values({"sampling.patch_size": [16, 16, 16]}), fingerprint).spec.network.dims == 3
    assert make_plan(_CONFIG, fingerprint).spec.network.dims == 3, "where all is painted"


def test_longer_runs_average_the_weights_over_more_steps() -> None:
    fingerprint = Fingerprint(_grids((35, 50, 35), (1, 1, 1)), {1: "head"})
    decays = [make_plan(_CONFIG.with_values({"optimization.minutes": minutes}), fingerprint).ema for minutes in (1, 15, 600)]
    assert 0.5 < decays[0] < decays[1] < decays[2] < 1


# -- on the device --------------------------------------------------------------------------------------------------------------------------


def _device(memory_of_a_sample: float, seconds: dict[int, float]) -> object:
    def step(plan: Plan) -> Trial | None:
        needed = int(memory_of_a_sample * plan.batch_size)
        return Trial(needed, 100, seconds.get(plan.batch_size, float(plan.batch_size))) if needed <= 100 else None

    return step


@pytest.mark.parametrize(
    ("memory_of_a_sample", "seconds", "batch"),
    [
        (20, {}, 4),  # it fits, and twice as much gains nothing
        (22, {}, 2),  # it fits, with too little left
        (60, {}, 1),
        (10, {4: 1.0, 8: 1.1}, 8),  # twice as much for nearly nothing
        (11, {4: 1.0, 8: 1.1}, 4),  # but it does not fit
    ],
)
def test_a_batch_is_as_large_as_the_device_was_seen_to_hold(
    memory_of_a_sample: float, seconds: dict[int, float], batch: int
) -> None:
    plan = make_plan(_CONFIG, Fingerprint(_grids((35, 50, 35), (1, 1, 1)), {1: "head", 2: "tail"}))
    assert plan.batch_size == 4
    tried = tried_on_device(plan, _CONFIG, _device(memory_of_a_sample, seconds))  # type: ignore[arg-type]
    assert tried.batch_size == batch
    assert tried.memory == int(memory_of_a_sample * batch)
    (reason,) = [reason for reason in tried.reasons if reason.setting == "optimization.batch_size"]
    assert reason.value == batch
    assert tried_on_device(plan, _CONFIG) == plan, "on a CPU nothing is tried"


def test_a_batch_that_was_set_is_tried_and_not_changed() -> None:
    config = _CONFIG.with_values({"optimization.batch_size": 4})
    plan = make_plan(config, Fingerprint(_grids((35, 50, 35), (1, 1, 1)), {1: "head", 2: "tail"}))
    assert tried_on_device(plan, config, _device(24, {})).memory == 96  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"4 samples of 40 x 56 x 40"):
        tried_on_device(plan, config, _device(26, {}))  # type: ignore[arg-type]


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_step_of_a_trial_is_one_of_training(overlapping: bool) -> None:
    config = _CONFIG.with_values({"network.features": [4, 8, 16], "sampling.patch_size": [16, 16, 16], "device.precision": "32"})
    plan = make_plan(config, Fingerprint(_grids((16, 16, 16), (1, 1, 1)), {1: "head", 2: "tail"}, overlapping=overlapping))
    assert 0 < seconds_per_step(plan) < 60


def test_samples_are_augmented_on_a_gpu_that_knows_the_steps() -> None:
    config = TrainConfig.parse({"data": {"images": "nowhere"}})
    steps, strange = augmentation_pipeline(), Pipeline((Step("RandomFlip"), Step("RandomGhosting")))
    assert plan_place(config, steps, "cuda")[0] == "device"
    for pipeline, accelerator in ((steps, "cpu"), (steps, "mps"), (None, "cuda"), (strange, "cuda")):
        assert plan_place(config, pipeline, accelerator)[0] == "loader"
    asked = config.with_values({"sampling.augment_on": "device"})
    assert plan_place(asked, steps, "cpu") == ("device", [])
    with pytest.raises(ConfigError, match="RandomGhosting cannot be computed on the device"):
        plan_place(asked, strange, "cuda")
