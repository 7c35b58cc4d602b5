"""Masks that overlap, and radiographs, from a model file to files that say the same when they are read."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.datasets import read_mask
from napari_seg3d.errors import ConfigError
from napari_seg3d.inference import ModelSpec, PredictOptions, Predictor, load_model, load_models, save_model
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Grid, Volume, read_volume, write_volume
from tests.inference.test_beyond_memory import save
from tests.volumes.dicom.phantom_series import write_series

_SHAPE = (18, 15, 9)


def _predict(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A network that nobody trained, and that sees two labels here and there."""
    dims: Literal[2, 3] = request.param
    network = NetworkSpec(
        dims=dims, in_channels=1, out_channels=2, features=(4, 8, 16), strides=((2, 2, 2 if dims == 3 else 1),) * 2
    )
    spec = ModelSpec(
        network=network,
        labels={2: "liver", 4: "tumour"},
        targets="overlapping",
        pipeline=preprocessing_pipeline(None, "zscore").to_list(),
        patch_size=(16, 16, 8 if dims == 3 else 1),
        mode="whole",
        planes=("axial", "coronal") if dims == 2 else ("axial",),
    )
    torch.manual_seed(0)
    save_model(tmp_path / "model.pt", spec, build_network(network).state_dict())
    return tmp_path / "model.pt"


def _scan() -> Volume:
    data = np.random.default_rng(0).normal(0, 100, (1, *_SHAPE)).astype(np.int16)
    return Volume(data, np.array([[0, -1.5, 0, 3], [-1, 0, 0, 2], [0, 0, 2, -7], [0, 0, 0, 1.0]]))


def _expected(model: Path, path: Path) -> Volume:
    labels = Predictor.load(model, "cpu").predict(read_volume(path, "image")).labels
    assert ((labels.data != 0).sum(axis=0) == 2).any(), "they overlap"
    return labels


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_overlapping_labels_come_back_from_a_file_with_channels(model: Path, tmp_path: Path, ending: str) -> None:
    scan = write_volume(_scan(), tmp_path / "patient7.nii.gz")
    text = _predict(model, scan, "--out", tmp_path / "out", "--format", ending)
    assert "liver (ml)" in text
    expected = _expected(model, scan)
    read = read_mask(tmp_path / "out" / f"patient7{ending}", overlapping=True)
    assert np.array_equal(read.data, expected.data)
    assert np.allclose(read.affine, _scan().affine)


def test_overlapping_labels_come_back_from_a_file_for_each(model: Path, tmp_path: Path) -> None:
    scan = write_volume(_scan(), tmp_path / "patient7.nii.gz")
    _predict(model, scan, "--out", tmp_path / "out", "--per-label")
    expected = _expected(model, scan)
    for channel, name in ((1, "liver"), (3, "tumour")):
        read = read_volume(tmp_path / "out" / f"patient7_{name}.nii.gz", "labels")
        assert np.array_equal(read.data[0], expected.data[channel] != 0)
        assert read.grid.matches(_scan().grid)
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_overlapping_labels_come_back_from_a_dicom_seg(model: Path, tmp_path: Path) -> None:
    grid = Grid(_SHAPE, np.diag([-1.0, -1.0, 2.0, 1.0]))
    write_series(tmp_path / "series", grid, _scan().data[0])
    _predict(model, tmp_path / "series", "--out", tmp_path / "out", "--format", ".dcm")
    expected = _expected(model, tmp_path / "series")
    read = read_mask(tmp_path / "out" / "series.dcm", overlapping=True)
    assert {value: label.name for value, label in read.labels.items()} == {2: "liver", 4: "tumour"}
    assert np.array_equal(read.canonical().data, expected.canonical().data)


@pytest.mark.parametrize("model", [2], indirect=True)
def test_a_radiograph_gets_an_array_of_its_own_rows_and_columns(model: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (53, 38), np.uint8)
    content = torch.load(model, weights_only=True)
    content["spec"] |= {"planes": ["axial"], "labels": {"1": "heart", "2": "lungs"}}
    torch.save(content, model)
    Image.fromarray(pixels).save(tmp_path / "chest.png")
    _predict(model, tmp_path / "chest.png", "--out", tmp_path / "out")
    array = np.load(tmp_path / "out" / "chest.npy")
    assert array.shape == (53, 38, 2)
    assert array.dtype == np.uint8
    expected = _expected(model, tmp_path / "chest.png")
    assert np.array_equal(array, np.moveaxis(expected.data[..., 0] != 0, 0, -1).transpose(1, 0, 2))
    read = read_mask(tmp_path / "out" / "chest.npy", overlapping=True)
    assert np.array_equal(read.data, expected.data)
    assert np.array_equal(read.affine, expected.affine)


@pytest.mark.parametrize("model", [3], indirect=True)
def test_a_data_set_is_predicted_as_it_is_described(model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_volume(_scan(), tmp_path / "set" / "images" / f"{name}.nii.gz")
    _predict(model, tmp_path / "set", "--out", tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").glob("*.nii.gz")) == ["a.nii.gz", "b.nii.gz"]
    (tmp_path / "cases.csv").write_text("image\nset/images/b.nii.gz\n")
    _predict(model, tmp_path / "cases.csv", "--out", tmp_path / "some")
    assert [file.name for file in (tmp_path / "some").glob("*.nii.gz")] == ["b.nii.gz"]
    with pytest.raises(ConfigError, match=r"ends in \.txt"):
        _predict(model, tmp_path / "set", "--format", "txt")


def test_maps_lie_beside_the_mask_and_say_what_it_says(model: Path, tmp_path: Path) -> None:
    scan = write_volume(_scan(), tmp_path / "patient7.nii.gz")
    other = tmp_path / "other.pt"
    description = load_model(model)
    torch.manual_seed(1)
    save_model(other, description.spec, build_network(description.spec.network).state_dict())
    chosen = ("--mode", "patches", "--overlap", "0.25", "--blending", "hann", "--flip", "A")
    _predict(model, scan, "--out", tmp_path / "out", "--ensemble", other, *chosen, "--uncertainty", "--probabilities")
    mask = read_mask(tmp_path / "out" / "patient7.nii.gz", overlapping=True)
    probabilities = read_volume(tmp_path / "out" / "patient7_probabilities.nii.gz", "image")
    uncertainty = read_volume(tmp_path / "out" / "patient7_uncertainty.nii.gz", "image")
    assert np.array_equal(mask.data[[1, 3]] > 0, probabilities.data > 0.5)
    assert uncertainty.data.shape == (2, *_SHAPE)
    assert 0 <= uncertainty.data.min() < uncertainty.data.max() <= 1
    options = PredictOptions(mode="patches", overlap=0.25, blending="hann", flips=("A",), probabilities=True)
    expected = load_models([model, other], "cpu").predict(read_volume(scan, "image"), options)
    assert expected.probabilities is not None
    assert np.allclose(probabilities.data, expected.probabilities.data, atol=1e-6)
    assert np.allclose(probabilities.affine, _scan().affine)
    text = _predict(model, scan, "--out", tmp_path / "out", "--ensemble", other, *chosen, "--uncertainty", "--probabilities")
    assert "1 of them from before" in " ".join(text.split())
    with pytest.raises(ConfigError, match="other settings"):
        _predict(model, scan, "--out", tmp_path / "out", "--ensemble", other)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--flip", "X"), "no axis to mirror along 'X'"),
        (("--overlap", "1"), "overlap is 1"),
        (("--blending", "max"), "no blending 'max'"),
        (("--mode", "slices"), "no mode 'slices'"),
    ],
)
def test_choices_that_are_none_are_told_before_anything_is_loaded(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        _predict(tmp_path / "missing.pt", tmp_path, *arguments)


def test_an_ome_zarr_is_predicted_piece_by_piece_and_other_scans_are_told(tmp_path: Path) -> None:
    network = NetworkSpec(in_channels=1, out_channels=3, features=(4, 8, 16), strides=((2, 2, 2),) * 2)
    spec = ModelSpec(
        network=network,
        labels={2: "liver", 4: "tumour"},
        pipeline=preprocessing_pipeline(None, "zscore").to_list(),
        patch_size=(8, 8, 8),
        mode="patches",
    )
    torch.manual_seed(0)
    model = tmp_path / "model.pt"
    save_model(model, spec, build_network(network).state_dict())
    scan = save(tmp_path / "large.ome.zarr", _scan().data, "LPS", (1.5, 1.0, 2.0))
    expected = Predictor.load(model, "cpu", engine="torch").predict(read_volume(scan, "image")).labels
    ours = (model, scan, "--engine", "torch", "--format", ".ome.zarr", "--out", tmp_path / "out")
    assert "liver (ml)" in _predict(*ours)
    mask = read_volume(tmp_path / "out" / "large.ome.zarr", "labels")
    assert np.array_equal(mask.data, expected.data)
    assert np.allclose(mask.affine, expected.affine)
    assert {value: label.name for value, label in mask.labels.items()} == {2: "liver", 4: "tumour"}
    assert "was there" in _predict(*ours)
    other = write_volume(_scan(), tmp_path / "patient7.nii.gz")
    assert "patient7" in _predict(model, other, "--format", ".ome.zarr", "--out", tmp_path / "other", status=1)
    assert not list((tmp_path / "other").glob("*.zarr"))
