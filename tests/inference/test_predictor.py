from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_seg3d.errors import Cancelled, ConfigError, ModelError, ReadError
from napari_seg3d.evaluation import dice
from napari_seg3d.inference import Computer, ModelSpec, Predictor, choose_precision
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Source, Volume

ORDERS = [
    "".join(pair[flip] for pair, flip in zip(axes, flips, strict=True))
    for axes in permutations(["RL", "AP", "SI"])
    for flips in product((0, 1), repeat=3)
]


class _Threshold(torch.nn.Module):
    """Says class 1 where the normalised scan is bright: what it must answer is known for every voxel."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        bright = batch[:, :1] - 0.5
        return 50 * torch.cat([-bright, bright, torch.full_like(bright, -9.0)], dim=1)


def _predictor(spacing: tuple[float, float, float] | None, mode: str = "patches") -> Predictor:
    spec = ModelSpec(
        network=NetworkSpec(out_channels=3, features=(8, 16, 32), strides=((2, 2, 2),) * 2),
        labels={3: "ball", 700: "never"},
        pipeline=preprocessing_pipeline(spacing, "rescale").to_list(),
        patch_size=(16, 16, 8),
        mode=mode,  # type: ignore[arg-type]
    )
    return Predictor(spec, Computer(_Threshold(), "cpu", "32"))


def _scan(order: str, degrees: float = 20) -> tuple[Volume, np.ndarray]:
    shape = (22, 27, 19)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    bright = np.linalg.norm((grid - np.array([9, 15, 8])[:, None, None, None]) / [[[[1]]], [[[1.4]]], [[[0.8]]]], axis=0) < 6
    affine = np.diag([1.5, 1.0, 2.0, 1.0]) @ nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(order), shape)
    angle = np.deg2rad(degrees)
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    source = Source(Path("folder/scan.nii.gz"), "nifti")
    return Volume(bright[np.newaxis].astype(np.int16) * 1000, rotation @ affine, source=source), bright


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("mode", ["patches", "whole"])
def test_labels_come_back_onto_the_scans_own_voxels(order: str, mode: str) -> None:
    scan, bright = _scan(order)
    labels = _predictor(None, mode).predict(scan).labels
    assert labels.kind == "labels"
    assert labels.source == scan.source
    assert np.array_equal(labels.affine, scan.affine)
    assert np.array_equal(labels.data[0], np.where(bright, 3, 0))
    assert labels.data.dtype == np.uint16


@pytest.mark.parametrize("order", ["RAS", "LPI", "PSR", "SAL"])
def test_through_another_spacing_and_back_nothing_shifts(order: str) -> None:
    scan, bright = _scan(order)
    labels = _predictor((2.0, 2.0, 2.0)).predict(scan).labels.data[0] == 3
    assert dice(labels, bright) > 0.9
    shift = np.argwhere(labels).mean(axis=0) - np.argwhere(bright).mean(axis=0)
    assert np.abs(shift).max() < 0.2


def test_another_number_of_channels_is_refused() -> None:
    scan, _ = _scan("RAS")
    twice = Volume(np.concatenate([scan.data, scan.data]), scan.affine)
    with pytest.raises(ModelError, match="2 channels.*trained on 1"):
        _predictor(None).predict(twice)


def test_an_empty_scan_is_refused() -> None:
    scan, _ = _scan("RAS")
    with pytest.raises(ReadError, match="constant"):
        _predictor(None).predict(scan.with_data(np.zeros_like(scan.data)))


def test_a_cancelled_prediction_gives_nothing() -> None:
    with pytest.raises(Cancelled):
        _predictor(None).predict(_scan("RAS")[0], cancelled=lambda: True)


def test_a_scan_smaller_than_a_patch_is_predicted() -> None:
    data = np.zeros((1, 5, 40, 3), np.int16)
    data[0, 1:3, 10:20, 1] = 500
    labels = _predictor(None).predict(Volume(data, np.eye(4))).labels
    assert np.array_equal(labels.data[0] == 3, data[0] > 0)


@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
def test_every_precision_sees_the_same(precision: str) -> None:
    scan, bright = _scan("LPS")
    predictor = _predictor(None)
    predictor = Predictor(predictor.spec, Computer(predictor.network, "cpu", precision))
    assert np.array_equal(predictor.predict(scan).labels.data[0] == 3, bright)


def test_16_bit_is_for_gpus_and_unknown_precisions_are_refused() -> None:
    assert choose_precision("cuda", "16") == "16"
    assert choose_precision("cpu", "bf16") == "bf16"
    for accelerator, wish in (("cpu", "16"), ("cuda", "8")):
        with pytest.raises(ConfigError) as refused:
            choose_precision(accelerator, wish)  # type: ignore[arg-type]
        assert "bf16" in refused.value.fix


class _Narrow(torch.nn.Module):
    """A network for which the memory holds so many images at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.seen: list[int] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 999 bytes")
        self.seen.append(len(batch))
        return torch.cat([-batch[:, :1], batch[:, :1]], dim=1)


def test_where_the_memory_ends_fewer_slices_are_computed_at_once() -> None:
    spec = ModelSpec(
        network=NetworkSpec(dims=2, in_channels=1, out_channels=2, features=(8, 16, 32), strides=((2, 2, 1),) * 2),
        labels={1: "bright"},
        pipeline=preprocessing_pipeline(None, "zscore").to_list(),
        patch_size=(8, 8, 1),
        mode="whole",
    )
    scan = Volume(np.random.default_rng(0).normal(size=(1, 12, 12, 11)).astype(np.float32), np.eye(4))
    expected = Predictor(spec, Computer(_Narrow(99), "cpu", "32")).predict(scan).labels.data
    narrow = _Narrow(2)
    assert np.array_equal(Predictor(spec, Computer(narrow, "cpu", "32")).predict(scan).labels.data, expected)
    assert sum(narrow.seen) == 11
    with pytest.raises(ModelError, match="memory does not hold.*12 x 12"):
        Predictor(spec, Computer(_Narrow(0), "cpu", "32")).predict(scan)
