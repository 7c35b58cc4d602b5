"""A scan that stays on the disk gets the mask that it would get in memory."""

import errno
import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import Cancelled, ConfigError, DiskFull, ModelError, ReadError, WriteError
from napari_seg3d.inference import Computer, ModelSpec, PredictOptions, Predictor, seeing
from napari_seg3d.inference.beyond import predict_beyond_memory
from napari_seg3d.inference.piecewise import pieces
from napari_seg3d.inference.piecewise.pieces import Pieces, mean_and_deviation, percentiles
from napari_seg3d.inference.piecewise.steps import can_prepare
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.transforms import HU, Pipeline, Step, preprocessing_pipeline
from napari_seg3d.volumes import Grid, Volume, box_of, open_pyramid, read_volume
from tests.volumes.affines import ORDERS, affine_of

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


@pytest.mark.slow
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


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(*[st.integers(5, 21)] * 3),
    order=st.sampled_from(ORDERS),
    spacing=st.sampled_from([None, (1.0, 1.3, 1.7)]),
    normalization=st.sampled_from(["zscore", "rescale", "ct"]),
    targets=st.sampled_from(["exclusive", "overlapping"]),
    channels=st.integers(1, 2),
    flips=st.sampled_from([(), ("R", "S")]),
    has_region=st.booleans(),
)
def test_a_large_scan_in_memory_is_prepared_in_pieces_to_the_same_answer(
    shape, order, spacing, normalization, targets, channels, flips, has_region
) -> None:
    scan = Volume(make_data(shape, channels), affine_of(order, (7, -3, 5)))
    region = box_of([1, 2, 0], [side - 1 for side in shape]) if has_region else None
    options = PredictOptions(flips=flips, region=region, probabilities=True, uncertainty=True)
    expected = make_predictor(normalization, spacing, targets=targets, channels=channels).predict(scan, options)
    told: list[np.ndarray] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeing, "LARGE", 1)
        patch.setattr(pieces, "_MOST_OF_A_VOLUME", 200)
        predictor = make_predictor(normalization, spacing, targets=targets, channels=channels)
        patch.setattr(predictor, "_preprocessed", None)  # it is not asked
        found = predictor.predict(scan, options, partly=lambda box, values: told.append(values))
    for one, other in ((found.probabilities, expected.probabilities), (found.uncertainty, expected.uncertainty)):
        assert one is not None
        assert other is not None
        np.testing.assert_allclose(one.data, other.data, atol=1e-4)
    assert np.count_nonzero(found.labels.data != expected.labels.data) <= 1e-3 * found.labels.data.size
    assert found.labels.grid.matches(scan.grid)
    assert told


def test_a_pipeline_that_keeps_the_order_of_the_file_is_not_done_in_pieces() -> None:
    steps = preprocessing_pipeline(None, "zscore").enabled
    assert can_prepare(Pipeline(tuple(steps)))
    assert not can_prepare(Pipeline(tuple(steps[1:])))


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


def scan_in(folder: Path, shape: tuple[int, ...] = (20, 18, 17)) -> Path:
    return save(folder / "scan.ome.zarr", make_data(shape))


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != "scan.ome.zarr"] if folder.exists() else []


@pytest.mark.parametrize("after", [0, 9, 40])
def test_cancelled_while_it_is_prepared_or_predicted_nothing_is_left(after: int, tmp_path: Path) -> None:
    asked = count()
    with pytest.raises(Cancelled):
        predict_beyond_memory(
            make_predictor(), scan_in(tmp_path), tmp_path / "m.ome.zarr", cancelled=lambda: next(asked) >= after
        )
    assert next(asked) > after
    assert hidden(tmp_path) == []


def test_a_full_disk_leaves_nothing_and_the_old_mask_stays(tmp_path: Path) -> None:
    scan, target = scan_in(tmp_path), tmp_path / "m.ome.zarr"
    predict_beyond_memory(make_predictor(), scan, target)
    before = read_volume(target).data

    def no_room(done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull, match=r"m\.ome\.zarr"):
        predict_beyond_memory(make_predictor("rescale"), scan, target, progress=no_room, overwrite=True)
    np.testing.assert_array_equal(read_volume(target).data, before)
    assert hidden(tmp_path) == ["m.ome.zarr"]


def test_what_is_there_is_replaced_only_when_asked_and_the_scan_never(tmp_path: Path) -> None:
    scan, target = scan_in(tmp_path), tmp_path / "m.ome.zarr"
    predict_beyond_memory(make_predictor(), scan, target)
    with pytest.raises(WriteError, match="exists already"):
        predict_beyond_memory(make_predictor(), scan, target)
    with pytest.raises(WriteError, match="the scan itself"):
        predict_beyond_memory(make_predictor(), scan, scan, overwrite=True)
    (tmp_path / "notes.zarr").mkdir()
    (tmp_path / "notes.zarr" / "important.txt").write_text("x")
    with pytest.raises(WriteError, match="something else"):
        predict_beyond_memory(make_predictor(), scan, tmp_path / "notes.zarr", overwrite=True)
    with pytest.raises(WriteError, match=r"\.ome\.zarr"):
        predict_beyond_memory(make_predictor(), scan, tmp_path / "m.nii.gz")
    other = make_predictor("rescale")
    predict_beyond_memory(other, scan, target, overwrite=True)
    np.testing.assert_array_equal(read_volume(target).data, other.predict(read_volume(scan)).labels.data)


def test_a_damaged_block_names_the_scan(tmp_path: Path) -> None:
    scan = scan_in(tmp_path)
    block = next(path for path in sorted((scan / "0" / "c").rglob("*")) if path.is_file())
    block.write_bytes(b"damaged")
    with pytest.raises(ReadError, match=r"scan\.ome\.zarr cannot be read"):
        predict_beyond_memory(make_predictor(), scan, tmp_path / "m.ome.zarr")
    assert hidden(tmp_path) == []


def test_useless_scans_are_refused(tmp_path: Path) -> None:
    constant = save(tmp_path / "constant.ome.zarr", np.ones((1, 9, 9, 9), np.int16))
    broken = save(tmp_path / "broken.ome.zarr", np.full((1, 9, 9, 9), np.nan, np.float32))
    twice = save(tmp_path / "twice.ome.zarr", make_data((9, 9, 9), 2))
    for scan, error, words in (
        (constant, ReadError, "is constant"),
        (broken, ReadError, "729 voxels that are no finite numbers"),
        (twice, ModelError, "2 channels"),
        (tmp_path / "none.ome.zarr", ReadError, "does not exist"),
    ):
        with pytest.raises(error, match=words):
            predict_beyond_memory(make_predictor(), scan, tmp_path / "out" / "m.ome.zarr")
    assert hidden(tmp_path / "out") == []


def test_what_needs_the_whole_scan_says_so(tmp_path: Path) -> None:
    scan, target = scan_in(tmp_path), tmp_path / "m.ome.zarr"
    with pytest.raises(ModelError, match="sees scans as a whole"):
        predict_beyond_memory(make_predictor(mode="whole"), scan, target)
    for options in (
        PredictOptions(probabilities=True),
        PredictOptions(uncertainty=True),
        PredictOptions(region=(slice(0, 4), slice(0, 4), slice(0, 4))),
    ):
        with pytest.raises(ConfigError, match="piece by piece"):
            predict_beyond_memory(make_predictor(), scan, target, options)
    resized = make_predictor()
    resized.pipeline = Pipeline((Step("ToCanonical"), Step("Resize", {"target_shape": [8, 8, 8]})))
    with pytest.raises(ConfigError, match="Resize needs the scan as a whole") as refused:
        predict_beyond_memory(resized, scan, target)
    assert "ZNormalization" in refused.value.fix
    assert hidden(tmp_path) == []


_CHILD = """
import gc, resource, sys
import psutil, torch
from pathlib import Path
from napari_seg3d.volumes import free_memory, read_volume
from napari_seg3d.errors import Seg3dError
from napari_seg3d.inference import PredictOptions
from napari_seg3d.inference.beyond import predict_beyond_memory, too_large
from napari_seg3d.datasets import Case
from tests.inference.test_beyond_memory import make_predictor, scan_in

torch.set_num_threads(1)
folder, more = Path(sys.argv[1]), int(sys.argv[2])
scan = folder / "scan.ome.zarr"
small = folder / "small"
small.mkdir()
predictor = make_predictor("ct", window=(64, 64, 64))
options = PredictOptions(overlap=0)
predict_beyond_memory(predictor, scan_in(small), small / "mask.ome.zarr", options)  # whatever is loaded at the first time
assert not too_large(predictor, [Case("scan", (scan,), None, "scan")])
limit = psutil.Process().memory_info().vms + more
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
assert free_memory() <= more, free_memory()
assert too_large(predictor, [Case("scan", (scan,), None, "scan")]) == {"scan"}
try:
    predictor.predict(read_volume(scan, "image"), options)
    raise SystemExit("the limit does not bind")
except (Seg3dError, MemoryError, RuntimeError) as error:
    print("in memory:", error)
gc.collect()  # the frames of an error hold what they had
print(predict_beyond_memory(predictor, scan, folder / "mask.ome.zarr", options).volumes)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space hold on Linux")
def test_a_scan_larger_than_the_limit_of_the_process_is_predicted(tmp_path: Path) -> None:
    data = np.zeros((448, 448, 448), np.int32)
    data[::7, ::5, ::3] = 400
    scan = tmp_path / "scan.ome.zarr"
    group = zarr.open_group(scan, mode="w", zarr_format=3)
    group.create_array("0", shape=data.shape, dtype="i4", chunks=(64, 64, 64))[...] = data
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1]}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    limit = 350_000_000
    assert 4 * data.size > limit
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CHILD, str(tmp_path), str(limit)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stdout + child.stderr
    mask = open_pyramid(tmp_path / "mask.ome.zarr").levels[0].data
    assert mask.shape == (1, 448, 448, 448)
