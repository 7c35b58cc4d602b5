"""A scan that stays on the disk gets the mask that it would get in memory."""

from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import Cancelled, ConfigError, ModelError, ReadError, WriteError
from napari_seg3d.inference import Computer, ModelSpec, PredictOptions, Predictor
from napari_seg3d.inference.beyond import predict_beyond_memory
from napari_seg3d.inference.beyond.pieces import Pieces, mean_and_deviation, percentiles
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.transforms import HU, preprocessing_pipeline
from napari_seg3d.volumes import Grid, open_pyramid, read_volume

DIRECTIONS = {
    "RAS": ("left-to-right", "posterior-to-anterior", "inferior-to-superior"),
    "LPS": ("right-to-left", "anterior-to-posterior", "inferior-to-superior"),
    "SAL": ("inferior-to-superior", "posterior-to-anterior", "right-to-left"),
    "AIR": ("posterior-to-anterior", "superior-to-inferior", "left-to-right"),
}


def save(path: Path, data: np.ndarray, order: str = "RAS", spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Path:
    """Write a scan (C, I, J, K) as an OME-Zarr in several blocks."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    stored = data.transpose(0, 3, 2, 1)
    group.create_array("0", shape=stored.shape, dtype=stored.dtype, chunks=(1, 8, 8, 8))[...] = stored
    space = [
        {
            "name": name,
            "type": "space",
            "unit": "millimeter",
            "orientation": {"type": "anatomical", "value": DIRECTIONS[order][at]},
        }
        for name, at in zip("zyx", (2, 1, 0), strict=True)
    ]
    placed = [
        {"type": "scale", "scale": [1.0, *spacing[::-1]]},
        {"type": "translation", "translation": [0.0, 7.0, -3.0, 5.5]},
    ]
    multiscale = {
        "axes": [{"name": "c", "type": "channel"}, *space],
        "datasets": [{"path": "0", "coordinateTransformations": placed}],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    return path


class _Small(torch.nn.Module):
    """Answers by what lies around each voxel, and each class differently."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv3d(channels, classes, 3, padding=1)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return 3 * self.layer(batch)


def make_predictor(
    normalization: str = "zscore",
    spacing: tuple[float, float, float] | None = None,
    window: tuple[int, int, int] = (16, 8, 8),
    targets: str = "exclusive",
    channels: int = 1,
    mode: str = "patches",
) -> Predictor:
    labels = {2: "ball", 5: "core"} if targets == "exclusive" else {1: "ball", 3: "core"}
    classes = len(labels) + (targets == "exclusive")
    spec = ModelSpec(
        network=NetworkSpec(in_channels=channels, out_channels=classes, features=(8, 16, 32), strides=((2, 2, 2),) * 2),
        labels=labels,
        pipeline=preprocessing_pipeline(spacing, normalization, HU(-500, 900, 100, 300)).to_list(),  # type: ignore[arg-type]
        patch_size=window,
        mode=mode,  # type: ignore[arg-type]
        targets=targets,  # type: ignore[arg-type]
    )
    return Predictor(spec, Computer(_Small(channels, classes), "cpu", "32"))


def make_data(shape: tuple[int, ...], channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 400, (channels, *shape)).astype(np.int16)


numbers = count()


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(*[st.integers(5, 21)] * 3),
    order=st.sampled_from(list(DIRECTIONS)),
    spacing=st.sampled_from([None, (1.0, 1.3, 1.7), (0.6, 1.0, 2.4)]),
    normalization=st.sampled_from(["zscore", "rescale", "ct"]),
    window=st.sampled_from([(16, 8, 8), (8, 8, 8), (24, 16, 8)]),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    targets=st.sampled_from(["exclusive", "overlapping"]),
    channels=st.integers(1, 2),
    flips=st.sampled_from([(), ("R", "S")]),
)
def test_the_mask_is_that_of_the_scan_in_memory(
    shape, order, spacing, normalization, window, overlap, targets, channels, flips, tmp_path_factory
) -> None:
    folder = tmp_path_factory.mktemp(f"beyond{next(numbers)}")
    scan = save(folder / "scan.ome.zarr", make_data(shape, channels), order, (1.1, 0.9, 1.6))
    predictor = make_predictor(normalization, spacing, window, targets, channels)
    options = PredictOptions(overlap=overlap, flips=flips)
    expected = predictor.predict(read_volume(scan, "image"), options).labels
    found = predict_beyond_memory(predictor, scan, folder / "out" / "mask.ome.zarr", options)
    mask = read_volume(found.path)
    assert np.count_nonzero(mask.data != expected.data) <= 1e-3 * mask.data.size  # ties, which rounding decides
    if spacing is None:
        np.testing.assert_array_equal(mask.data, expected.data)
    assert mask.kind == "labels"
    assert mask.grid.matches(expected.grid)
    assert mask.orientation == order
    assert mask.is_oriented
    assert {value: label.name for value, label in mask.labels.items()} == predictor.labels
    voxels = {value: np.count_nonzero(mask.data == value) for value in predictor.labels}
    assert found.volumes == pytest.approx({value: number * 1.1 * 0.9 * 1.6 / 1000 for value, number in voxels.items()})
    assert [path.name for path in (folder / "out").iterdir()] == ["mask.ome.zarr"]
    assert open_pyramid(found.path).is_labels


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1.0]), min_size=2, max_size=60
    ),
    low=st.floats(0, 100),
    high=st.floats(0, 100),
)
def test_what_is_measured_piece_by_piece_is_what_numpy_measures(values, low, high) -> None:
    data = np.array(values, np.float32).reshape(1, -1, 1, 1)
    image = Pieces(lambda box: data[(slice(None), *box)], 1, Grid((len(values), 1, 1), np.eye(4)), (7, 1, 1))
    exact = np.percentile(data.astype(np.float64), (low, high))
    np.testing.assert_allclose(percentiles(image, (low, high)), exact, rtol=1e-9, atol=1e-30)
    mean, deviation = mean_and_deviation(image)
    scale = np.abs(data.astype(np.float64)).max()
    assert mean == pytest.approx(data.mean(dtype=np.float64), abs=1e-6 * scale)
    assert deviation == pytest.approx(data.astype(np.float64).std(ddof=1), rel=1e-5, abs=1e-6 * scale)
