from threading import Thread

import numpy as np
import pytest
import torch
import torchio

from napari_seg3d.errors import Cancelled, ConfigError
from napari_seg3d.transforms import Pipeline, Step, Trace, catalogue, elastic, run
from napari_seg3d.volumes import Volume
from tests.transforms.phantoms import ball_centres, phantom, telling_step
from tests.volumes.affines import affine_of

SPATIAL = [name for name, transform in catalogue().items() if transform.kind == "spatial"]
INTENSITY = [name for name, transform in catalogue().items() if transform.kind == "intensity"]
LABEL = [name for name, transform in catalogue().items() if transform.kind == "label"]
RANDOM = [name for name, transform in catalogue().items() if transform.is_random]
IMAGE, MASK = phantom()
# These draw whether, not what.
_FEW_OUTCOMES = {"RandomFlip": 8}


def _run(name: str, seed: int = 1) -> tuple[Volume, Volume]:
    image, mask = run(Pipeline((telling_step(name),)), IMAGE, MASK, seed=seed)
    assert mask is not None
    return image, mask


@pytest.mark.parametrize("name", SPATIAL)
def test_image_and_mask_move_together(name: str) -> None:
    seeds = range(4) if name in RANDOM else range(1)
    moved = False
    for seed in seeds:
        image, mask = _run(name, seed)
        assert mask.grid.shape == image.grid.shape
        assert np.array_equal(mask.affine, image.affine)
        for bright, labelled in ball_centres(image, mask):
            assert np.abs(bright - labelled).max() < 0.5
        moved |= not np.array_equal(mask.data, MASK.data)
    assert moved or name == "ToCanonical"


@pytest.mark.parametrize("name", [name for name in SPATIAL if name not in RANDOM and name != "Affine"])
def test_what_changes_the_grid_alone_leaves_all_in_its_place_in_the_patient(name: str) -> None:
    image, mask = _run(name)
    if name == "Flip":  # the one that mirrors the patient
        assert np.array_equal(image.affine, IMAGE.affine)
        return
    for value in (2, 5):
        before = MASK.grid.to_world(np.argwhere(MASK.data[0] == value)).mean(axis=0)
        after = mask.grid.to_world(np.argwhere(mask.data[0] == value)).mean(axis=0)
        assert (np.abs(before - after) < 0.3 * np.array(image.spacing).min()).all()


@pytest.mark.parametrize("name", INTENSITY)
def test_intensity_steps_change_the_image_and_leave_the_mask_to_the_bit(name: str) -> None:
    image, mask = _run(name)
    assert mask.data.dtype == MASK.data.dtype
    assert np.array_equal(mask.data, MASK.data)
    assert np.array_equal(mask.affine, MASK.affine)
    assert np.array_equal(image.affine, IMAGE.affine)
    assert image.data.dtype == np.float32
    assert np.isfinite(image.data).all()
    assert image.data.shape != IMAGE.data.shape or not np.array_equal(image.data, IMAGE.data)


@pytest.mark.parametrize("name", LABEL)
def test_label_steps_change_the_mask_and_leave_the_image_to_the_bit(name: str) -> None:
    expected = {
        "RemapLabels": {0, 5, 7},
        "RemoveLabels": {0, 5},
        "SequentialLabels": {0, 1, 2},
        "KeepLargestComponent": {0, 2, 5},
        "Contour": {0, 2, 5},
    }
    speckled = MASK.data.copy()
    speckled[0, 45, 40, :3] = 2
    image, mask = run(Pipeline((telling_step(name),)), IMAGE, MASK.with_data(speckled))
    assert mask is not None
    assert np.array_equal(image.data, IMAGE.data)
    assert set(np.unique(mask.data)) == expected[name]
    assert not np.array_equal(mask.data, speckled)
    if name == "KeepLargestComponent":
        assert np.array_equal(mask.data, MASK.data)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("name", ["RandomAffine", "RandomElasticDeformation", "ToOrientation"])
def test_labels_stay_whole_numbers_of_their_type(name: str, dtype: type) -> None:
    high = 117 if dtype == np.uint8 else 30_001
    values = MASK.data.astype(dtype)
    values[values == 5] = high
    _, mask = run(Pipeline((telling_step(name),)), IMAGE, MASK.with_data(values), seed=2)
    assert mask is not None
    assert mask.data.dtype == dtype
    assert set(np.unique(mask.data)) == {0, 2, high}


def test_a_label_that_its_type_cannot_hold_gets_a_larger_one() -> None:
    _, mask = run(Pipeline((Step("RemapLabels", {"remapping": {5: 700}}),)), IMAGE, MASK)
    assert mask is not None
    assert set(np.unique(mask.data)) == {0, 2, 700}
    with pytest.raises(ConfigError, match="33554433"):
        run(Pipeline(), IMAGE, MASK.with_data(np.where(MASK.data > 0, 2**25 + 1, 0)))


@pytest.mark.parametrize("name", RANDOM)
def test_a_seed_replays_to_the_bit_and_another_does_not(name: str) -> None:
    image, mask = _run(name, seed=7)
    again, mask_again = _run(name, seed=7)
    assert np.array_equal(image.data, again.data)
    assert np.array_equal(mask.data, mask_again.data)
    others = [_run(name, seed=seed)[0] for seed in range(_FEW_OUTCOMES.get(name, 2))]
    assert any(not np.array_equal(image.data, other.data) for other in others)


def test_without_a_seed_every_call_draws_anew() -> None:
    pipeline = Pipeline((Step("RandomNoise"),))
    assert not np.array_equal(run(pipeline, IMAGE)[0].data, run(pipeline, IMAGE)[0].data)


def test_one_step_leaves_what_the_others_draw() -> None:
    flip, noise = Step("RandomAffine"), Step("RandomNoise")
    both = run(Pipeline((flip, noise)), IMAGE, seed=3)[0].data
    traces: list[Trace] = []
    without = run(Pipeline((Step("RandomAffine", enabled=False), noise)), IMAGE, seed=3, each=traces.append)[0].data
    moved = run(Pipeline((flip,)), IMAGE, seed=3)[0].data
    assert np.allclose(both - moved, without - IMAGE.data, atol=1e-4)
    assert [trace.index for trace in traces] == [1]


@pytest.mark.parametrize("name", SPATIAL)
def test_overlapping_labels_move_alike(name: str) -> None:
    first = (MASK.data[0] == 2).astype(np.uint8)
    second = 2 * (MASK.data[0] > 0).astype(np.uint8)  # holds the first
    overlapping = Volume(np.stack([first, second]), MASK.affine, "labels")
    _, moved = run(Pipeline((telling_step(name),)), IMAGE, overlapping, seed=5)
    _, single = run(Pipeline((telling_step(name),)), IMAGE, MASK, seed=5)
    assert moved is not None
    assert single is not None
    assert np.array_equal(moved.data[0] > 0, single.data[0] == 2)
    assert np.array_equal(moved.data[1] > 0, single.data[0] > 0)
    assert set(np.unique(moved.data[1])) == {0, 2}


def test_the_random_state_and_the_arrays_of_the_caller_stay() -> None:
    image, mask = phantom()
    kept = image.data.copy(), mask.data.copy()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    run(Pipeline((Step("RandomAffine"), Step("RandomNoise"), Step("Noise"), Step("ZNormalization"))), image, mask, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(image.data, kept[0])
    assert np.array_equal(mask.data, kept[1])


def test_a_seed_holds_while_other_threads_prepare_scans() -> None:
    random = Pipeline((Step("RandomNoise"), Step("RandomAffine"), Step("RandomGamma")))
    plain = Pipeline((Step("ToCanonical"), Step("ZNormalization"), Step("Noise")))
    expected = run(random, IMAGE, seed=4)[0].data
    done = False

    def others() -> None:
        while not done:
            run(plain, IMAGE)

    threads = [Thread(target=others) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert all(np.array_equal(run(random, IMAGE, seed=4)[0].data, expected) for _ in range(8))
    finally:
        done = True
        for thread in threads:
            thread.join()


def test_a_trace_tells_what_each_step_did() -> None:
    traces: list[Trace] = []
    steps = (Step("ToCanonical"), Step("RandomNoise", probability=0.0), Step("Crop", {"cropping": 2}))
    image, mask = run(Pipeline(steps), IMAGE, MASK, each=traces.append)
    assert [(trace.index, trace.step, trace.applied) for trace in traces] == [
        (0, steps[0], True),
        (1, steps[1], False),
        (2, steps[2], True),
    ]
    assert all(trace.seconds > 0 for trace in traces)
    assert traces[-1].mask is not None
    assert mask is not None
    assert np.array_equal(traces[-1].image.data, image.data)
    assert np.array_equal(traces[-1].mask.data, mask.data)
    assert traces[0].image.grid.shape != traces[2].image.grid.shape


def test_it_stops_between_steps() -> None:
    told: list[Trace] = []
    with pytest.raises(Cancelled):
        run(Pipeline((Step("ToCanonical"), Step("ZNormalization"))), IMAGE, cancelled=lambda: len(told) == 1, each=told.append)
    assert len(told) == 1


def test_padding_is_background_in_the_mask_and_air_in_the_image() -> None:
    full = MASK.with_data(np.full_like(MASK.data, 2))
    for name, parameters in (
        ("Pad", {"padding": 3}),
        ("Pad", {"padding": 3, "padding_mode": -1000.0}),
        ("CropOrPad", {"target_shape": [54, 50, 46]}),
        ("CropOrPad", {"target_shape": [54, 50, 46], "padding_mode": "mean"}),
        ("EnsureShapeMultiple", {"target_multiple": 18}),
        ("Affine", {"degrees": 30}),
        ("RandomAffine", {"degrees": [30, 30]}),
    ):
        image, mask = run(Pipeline((Step(name, parameters),)), IMAGE, full, seed=0)
        assert mask is not None
        assert mask.data[0, 0, 0, 0] == 0
        assert image.data[0, 0, 0, 0] == {-1000.0: -1000.0, "mean": image.data[0, 0, 0, 0]}.get(
            parameters.get("padding_mode"),
            IMAGE.data.min(),  # type: ignore[call-overload]
        )
    _, mask = run(Pipeline((Step("Pad", {"padding": 3, "padding_mode": "edge"}),)), IMAGE, full)
    assert mask is not None
    assert (mask.data == 2).all()


def test_a_window_is_that_of_the_console() -> None:
    values = np.array([-2000, -160, 40, 140, 240, 3000], np.int16).reshape(1, 6, 1, 1)
    image, _ = run(Pipeline((Step("HUWindow", {"level": 40, "width": 400, "out_min_max": [-1, 1]}),)), Volume(values, np.eye(4)))
    assert np.allclose(image.data.ravel(), [-1, -1, 0, 0.5, 1, 1])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_context_slices_are_the_neighbours(axis: int) -> None:
    image, mask = phantom()
    seen, moved = run(Pipeline((Step("ContextSlices", {"neighbours": 2, "axis": axis}),)), image, mask)
    assert moved is not None
    assert seen.data.shape == (5, *image.data.shape[1:])
    assert np.array_equal(seen.data[2:3], image.data)
    slices, own = np.moveaxis(seen.data, axis + 1, 1), np.moveaxis(image.data, axis + 1, 1)
    last = own.shape[1] - 1
    for place in (0, 1, 9, last):
        for channel, offset in enumerate(range(-2, 3)):
            assert np.array_equal(slices[channel, place], own[0, np.clip(place + offset, 0, last)])


def test_thicker_slices_neither_move_the_image_nor_darken_its_rim() -> None:
    # torchio's own does both.
    image, mask = phantom(noise=0.0)
    for factor in (2.0, 3.0, 3.7):
        for axis in range(3):
            step = Step("RandomAnisotropy", {"axes": [axis], "downsampling": [factor, factor]})
            seen, _ = run(Pipeline((step,)), image, seed=0)
            assert seen.data.min() == image.data.min()
            for bright, labelled in ball_centres(seen, mask):
                assert np.abs(bright - labelled).max() < 0.2


def test_a_patch_of_air_does_not_end_the_training() -> None:
    air = Volume(np.full((1, 8, 8, 8), -1000.0, np.float32), np.eye(4))
    for masking in (None, "mean"):
        seen, _ = run(Pipeline((Step("ZNormalization", {"masking_method": masking}),)), air)
        assert not seen.data.any()


@pytest.mark.parametrize("name", catalogue())
def test_a_radiograph_of_one_slice_and_a_scan_of_two_channels_pass_or_are_told(name: str) -> None:
    flat, mask = IMAGE.with_data(IMAGE.data), MASK
    cases = [
        (Volume(np.ascontiguousarray(flat.data[..., :1]), flat.affine), Volume(mask.data[..., 14:15], mask.affine, "labels")),
        (flat.with_data(np.concatenate([flat.data, 2 * flat.data])), mask),
    ]
    for image, labels in cases:
        try:
            seen, moved = run(Pipeline((telling_step(name),)), image, labels, seed=0)
        except ConfigError:
            assert name in ("Crop", "RandomLabelsToImage", "RandomSwap", "RandomAnisotropy", "RandomGhosting"), (
                "only these may refuse"
            )
            continue
        assert moved is not None
        assert np.isfinite(seen.data).all()
        assert moved.data.shape[1:] == seen.data.shape[1:]


def test_what_needs_a_mask_says_so() -> None:
    for name in ("Mask", "RandomLabelsToImage"):
        with pytest.raises(ConfigError, match=f"{name} needs a mask"):
            run(Pipeline((Step(name),)), IMAGE)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Resize", {"target_shape": 2000}),
        ("Pad", {"padding": 1024}),
        ("Resample", {"target": 0.01}),
        ("CropOrPad", {"target_shape": 4000}),
    ],
)
def test_terabytes_are_refused_before_they_are_asked_for(name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="voxels"):
        run(Pipeline((Step(name, parameters),)), IMAGE)


def test_what_torchio_refuses_is_said_in_words() -> None:
    with pytest.raises(ConfigError, match="RandomSwap cannot be applied"):
        run(Pipeline((Step("RandomSwap", {"patch_size": 100}),)), IMAGE, seed=0)
    with pytest.raises(ConfigError, match="landmarks"):
        run(Pipeline((Step("HistogramStandardization"),)), IMAGE)


@pytest.mark.parametrize("name", ["RandomElasticDeformation", "RandomAffineElasticDeformation"])
@pytest.mark.parametrize("depth", [1, 14])
def test_the_faster_elastic_deformations_are_torchios_to_the_bit(name: str, depth: int) -> None:
    affine = affine_of(degrees=(20, -10, 30))
    random = np.random.default_rng(0)
    image = torch.from_numpy(random.normal(size=(2, 20, 18, depth)).astype(np.float32))
    mask = torch.from_numpy(random.integers(0, 3, (1, 20, 18, depth)))
    moved = []
    for kind in (getattr(torchio, name), getattr(elastic, name)):
        subject = torchio.Subject(
            image=torchio.ScalarImage(tensor=image.clone(), affine=affine),
            mask=torchio.LabelMap(tensor=mask.clone(), affine=affine),
        )
        torch.manual_seed(5)
        moved.append(kind()(subject))
    assert not torch.equal(moved[0].image.data, image)
    assert torch.equal(moved[0].image.data, moved[1].image.data)
    assert torch.equal(moved[0].mask.data, moved[1].mask.data)


@pytest.mark.parametrize(
    "step", [Step("RescaleIntensity", {"percentiles": [0.5, 99.5]}), Step("ZNormalization")], ids=lambda step: step.name
)
@pytest.mark.parametrize("masking", [None, "mean"])
def test_steps_that_save_memory_say_what_torchio_says(step: Step, masking: str | None) -> None:
    data = np.random.default_rng(0).normal(100, 50, (2, 17, 19, 23)).astype(np.float32)
    values = {**step.parameters, "masking_method": masking}
    expected = getattr(torchio, step.name)(**{**values, "masking_method": torchio.ZNormalization.mean if masking else None})
    found = run(Pipeline((Step(step.name, values),)), Volume(data, np.eye(4)))[0].data
    assert np.array_equal(found, expected(torch.from_numpy(data)).numpy())


def test_the_scan_of_the_caller_stays_as_it_is() -> None:
    data = np.random.default_rng(0).normal(100, 50, (1, 12, 13, 14)).astype(np.float32)
    before = data.copy()
    steps = ("Flip", "Clamp", "RescaleIntensity", "ZNormalization", "RandomNoise", "RandomGamma", "RandomAffine")
    run(Pipeline(tuple(Step(name) for name in steps)), Volume(data, np.eye(4)), seed=1)
    assert np.array_equal(data, before)
