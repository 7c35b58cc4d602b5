"""Masks are cleaned from the command line, and a run learns what cleans its predictions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.datasets import read_case_image, read_case_mask
from napari_seg3d.errors import ConfigError, WriteError
from napari_seg3d.evaluation import dice_per_label
from napari_seg3d.inference import ModelSpec, PredictOptions, Predictor, save_model
from napari_seg3d.inference.postprocess import Rule, Rules, postprocessed, rules_beside, rules_file, save_rules
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.training import Run, TrainConfig
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Label, Volume, read_volume, write_volume

_AFFINE = np.array([[0, -2.0, 0, 3], [-1, 0, 0, 2], [0, 0, 2, -7], [0, 0, 0, 1.0]])


def _clean(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["postprocess", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """A liver with a hole, a spleen, and specks of both."""
    data = np.zeros((1, 16, 16, 16), np.uint8)
    data[0, 1:9, 1:9, 1:9] = 1
    data[0, 4, 4, 4] = 0
    data[0, 10:14, 10:14, 10:14] = 2
    data[0, 14, 1, 1] = data[0, 1, 14, 1] = 1
    data[0, 1, 1, 14] = 2
    mask = Volume(data, _AFFINE, "labels", labels={1: Label("liver"), 2: Label("spleen")})
    for name in ("a.nii.gz", "b.nrrd"):
        write_volume(mask, tmp_path / "masks" / name)
    return tmp_path / "masks"


def test_each_mask_is_cleaned_on_its_own_grid(masks: Path, tmp_path: Path) -> None:
    text = _clean(masks, "--largest", "all", "--holes", "--out", tmp_path / "out")
    assert "label 1: 2 pieces dropped (0.008 ml), 0.004 ml in holes filled." in text
    assert "2 masks are in" in text
    for name in ("a.nii.gz", "b.nrrd"):
        before, after = read_volume(masks / name, "labels"), read_volume(tmp_path / "out" / name, "labels")
        assert after.grid.matches(before.grid)
        assert np.bincount(after.data.ravel())[1:].tolist() == [512, 64]


def test_a_label_is_asked_for_by_name_or_value(masks: Path, tmp_path: Path) -> None:
    _clean(masks / "b.nrrd", "--largest", "1", "--out", tmp_path / "out")
    assert np.bincount(read_volume(tmp_path / "out" / "b.nrrd").data.ravel())[1:].tolist() == [511, 65]
    _clean(masks / "b.nrrd", "--min-ml", 0.01, "--only", "2", "--out", tmp_path / "small")
    assert np.bincount(read_volume(tmp_path / "small" / "b.nrrd").data.ravel())[1:].tolist() == [513, 64]
    text = _clean(masks / "b.nrrd", "--largest", "heart", "--out", tmp_path / "none", status=1)
    assert "b.nrrd has no label 'heart'" in text


def test_nothing_is_overwritten_and_bad_numbers_are_named(masks: Path, tmp_path: Path) -> None:
    one = masks / "a.nii.gz"
    assert "is the file that this was read from" in _clean(one, "--holes", "--out", masks, "--overwrite", status=1)
    _clean(one, "--holes", "--out", tmp_path / "out")
    assert "exists already" in _clean(one, "--holes", "--out", tmp_path / "out", status=1)
    _clean(one, "--holes", "--out", tmp_path / "out", "--overwrite")
    assert "closing_mm: Input should be greater than 0" in _clean(one, "--closing-mm", -1, status=1)
    assert "in ml or in voxels" in _clean(one, "--min-ml", 1, "--min-voxels", 1, status=1)
    for arguments, what in (
        ([one], "Nothing was asked for"),
        (["--holes"], "There is no mask"),
        ([one, "--rules", one], "does not exist"),
        ([one, write_volume(read_volume(one, "labels"), tmp_path / "a.nii.gz"), "--holes"], "Several masks would become"),
    ):
        with pytest.raises(ConfigError, match=what):
            _clean(*arguments)


def test_rules_of_a_model_are_applied(masks: Path, tmp_path: Path) -> None:
    save_rules(rules_file(tmp_path / "best.pt"), Rules(labels={1: Rule(largest=True)}), {1: "liver"})
    _clean(masks / "b.nrrd", "--rules", tmp_path / "best.pt", "--out", tmp_path / "out")
    assert np.bincount(read_volume(tmp_path / "out" / "b.nrrd").data.ravel())[1:].tolist() == [511, 65]


@pytest.fixture
def run(quick_config: TrainConfig, tmp_path: Path) -> Run:
    """A run whose network is new, and so finds pieces everywhere."""
    run = Run(tmp_path / "run")
    quick_config.save(run.folder / "run.yaml")
    (run.folder / "split.csv").write_text(
        "case,subject,set\nball_0,ball_0,train\nball_1,ball_1,validation\nball_2,ball_2,validation\n"
    )
    network = NetworkSpec(in_channels=1, out_channels=3, features=(4, 8, 16), strides=((2, 2, 2),) * 2)
    spec = ModelSpec(
        network=network,
        labels={3: "ball", 7: "core"},
        pipeline=preprocessing_pipeline(None, "zscore").to_list(),
        patch_size=(16, 16, 16),
        mode="whole",
    )
    torch.manual_seed(0)
    save_model(run.best, spec, build_network(network).state_dict())
    return run


def test_a_run_chooses_the_rules_that_help(run: Run) -> None:
    text = _clean("--choose", run.folder)
    rules = rules_beside(run.best)
    assert rules is not None
    assert not rules.is_empty
    assert "Dice before" in text
    predictor = Predictor.load(run.best, "cpu")
    before, after = [], []
    for case in run.cases("validation"):
        image = read_case_image(case)
        prediction, mask = predictor.predict(image, PredictOptions(postprocess=False)).labels, read_case_mask(case, image)
        before.append(dice_per_label(prediction.data, mask.data, [3, 7]))
        after.append(dice_per_label(postprocessed(prediction, rules)[0].data, mask.data, [3, 7]))
    for label in (3, 7):
        means = [float(np.mean([scores[label] for scores in one])) for one in (before, after)]
        assert (means[1] > means[0]) == (not rules.of(label).is_empty)
        assert f"{means[0]:.4f}" in text
        assert f"{means[1]:.4f}" in text
    with pytest.raises(WriteError, match="exists already"):
        _clean("--choose", run.folder)
    # What is chosen does not depend on the rules that the model has already.
    assert _clean("--choose", run.folder, "--overwrite").split("┏")[1] == text.split("┏")[1]
    assert rules_beside(run.best) == rules
    with pytest.raises(ConfigError, match="no run folder"):
        _clean("--choose", run.best)
