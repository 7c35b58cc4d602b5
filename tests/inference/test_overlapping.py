import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.inference import Computer, ModelSpec, Predictor
from napari_seg3d.inference.home import bring_home
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Grid, Volume


class _Above(torch.nn.Module):
    """Each label is where the scan is above a number of its own, so that all of them overlap."""

    def __init__(self, *limits: float) -> None:
        super().__init__()
        self.limits = limits

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return 80 * torch.cat([batch - limit for limit in self.limits], dim=1)


def _predictor(labels: dict[int, str], *limits: float) -> Predictor:
    spec = ModelSpec(
        network=NetworkSpec(out_channels=len(labels), features=(8, 16, 32), strides=((2, 2, 2),) * 2),
        labels=labels,
        targets="overlapping",
        pipeline=preprocessing_pipeline(None, "rescale").to_list(),
        patch_size=(8, 8, 8),
        mode="patches",
    )
    return Predictor(spec, Computer(_Above(*limits), "cpu", "32"))


def _ramp() -> Volume:
    data = np.broadcast_to(np.arange(101).reshape(-1, 1, 1), (101, 5, 4))[np.newaxis]
    return Volume(np.ascontiguousarray(data, np.int16), np.diag([-1.0, 2.0, -3.0, 1.0]))


def test_each_label_has_the_channel_of_its_value_and_its_name() -> None:
    scan = _ramp()
    predictor = _predictor({4: "core", 2: "ball"}, 0.255, 0.755)
    labels = predictor.predict(scan).labels
    assert labels.data.shape == (4, *scan.grid.shape)
    assert labels.data.dtype == np.uint8
    assert labels.fourth == "channel"
    assert {value: label.name for value, label in labels.labels.items()} == {2: "ball", 4: "core"}
    assert [set(np.unique(channel)) for channel in labels.data] == [{0}, {0, 2}, {0}, {0, 4}]
    ball, core = labels.data[1] != 0, labels.data[3] != 0
    assert 70 < ball[:, 0, 0].sum() < 80
    assert 20 < core[:, 0, 0].sum() < 30
    assert (ball & core).sum() == core.sum(), "the core lies in the ball"
    assert ball[-1].all(), "where the scan is brightest"
    assert not ball[0].any()


def test_values_too_large_for_channels_are_numbered_anew() -> None:
    prediction = _predictor({700: "core", 30: "ball"}, 0.255, 0.755).predict(_ramp())
    labels = prediction.labels
    assert "numbered anew" in prediction.notes[0]
    assert {value: label.name for value, label in labels.labels.items()} == {1: "ball", 2: "core"}
    assert [int(channel.max()) for channel in labels.data] == [1, 2]


def test_classes_are_zeros_and_ones_for_each_label() -> None:
    image = np.linspace(0, 1, 8**3, dtype=np.float32).reshape(1, 8, 8, 8)
    grid = Grid((8, 8, 8), np.eye(4))
    classes = _predictor({1: "a", 2: "b", 3: "c"}, 0.2, 0.5, 0.8).classes(image, grid, grid)
    assert classes.shape == (3, 8, 8, 8)
    assert np.array_equal(classes, np.stack([image[0] > limit for limit in (0.2, 0.5, 0.8)]))


def test_a_single_label_is_a_mask_with_its_value() -> None:
    labels = _predictor({5: "nodule"}, 0.5).predict(_ramp()).labels
    assert labels.data.shape[0] == 1
    assert set(np.unique(labels.data)) == {0, 5}
    assert labels.labels[5].name == "nodule"


@settings(max_examples=40, deadline=None)
@given(
    start=st.tuples(*[st.integers(-6, 6)] * 3),
    sides=st.tuples(*[st.integers(1, 9)] * 3),
    channels=st.integers(1, 4),
)
def test_what_was_cropped_or_padded_away_is_background(
    start: tuple[int, int, int], sides: tuple[int, int, int], channels: int
) -> None:
    """On the scan's own voxels, nothing is interpolated: each voxel is decided by its own probabilities."""
    native = Grid((7, 8, 6), np.diag([1.0, -2.0, 3.0, 1.0]))
    canonical = native.canonical()
    affine = canonical.affine.copy()
    affine[:3, 3] = canonical.to_world(np.array([start]))[0]
    probabilities = np.random.default_rng(0).random((channels + 1, *sides)).astype(np.float32)
    probabilities /= probabilities.sum(axis=0)
    exclusive = np.zeros(canonical.shape, int)
    overlapping = np.zeros((channels + 1, *canonical.shape), int)
    for voxel in np.ndindex(*sides):
        place = tuple(np.add(voxel, start))
        if all(0 <= index < side for index, side in zip(place, canonical.shape, strict=True)):
            exclusive[place] = probabilities[(slice(None), *voxel)].argmax()
            overlapping[(slice(None), *place)] = probabilities[(slice(None), *voxel)] > 0.5
    known = Grid(sides, affine)
    assert np.array_equal(native.to_canonical(bring_home(probabilities, known, native, "exclusive").labels[0]), exclusive)
    assert np.array_equal(native.to_canonical(bring_home(probabilities, known, native, "overlapping").labels), overlapping)
