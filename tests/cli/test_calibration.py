"""A run's best model learns from its validation cases how sure it may be."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.datasets import read_case_image
from napari_seg3d.errors import ConfigError, WriteError
from napari_seg3d.inference import ModelSpec, PredictOptions, Predictor, save_model
from napari_seg3d.inference.calibration import calibration_beside
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.training import Run, TrainConfig
from napari_seg3d.transforms import preprocessing_pipeline


def _calibrate(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["calibrate", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize("targets", ["exclusive", "overlapping"])
def test_a_network_that_guesses_becomes_unsure(quick_config: TrainConfig, tmp_path: Path, targets: str) -> None:
    run = Run(tmp_path / "run")
    quick_config.save(run.folder / "run.yaml")
    (run.folder / "split.csv").write_text("case,subject,set\nball_0,ball_0,train\nball_1,ball_1,validation\n")
    channels = 3 if targets == "exclusive" else 2
    network = NetworkSpec(in_channels=1, out_channels=channels, features=(4, 8, 16), strides=((2, 2, 2),) * 2)
    spec = ModelSpec(
        network=network,
        labels={3: "ball", 7: "core"},
        targets=targets,  # type: ignore[arg-type]
        pipeline=preprocessing_pipeline(None, "zscore").to_list(),
        patch_size=(16, 16, 16),
        mode="whole",
    )
    torch.manual_seed(0)
    built = build_network(network)
    with torch.no_grad():
        for weight in list(built.parameters())[-2:]:  # its last layer: sure of what it only guesses
            weight *= 20
    save_model(run.best, spec, built.state_dict())
    image = read_case_image(run.cases("validation")[0])
    before = Predictor.load(run.best, "cpu").predict(image, PredictOptions(uncertainty=True)).uncertainty

    text = _calibrate(run.folder)
    found = calibration_beside(run.best)
    assert found is not None
    assert found.temperature > 1.5
    assert found.error_after < found.error_before
    assert f"Temperature {found.temperature:.3f} from 1 cases" in text
    after = Predictor.load(run.best, "cpu").predict(image, PredictOptions(uncertainty=True)).uncertainty
    assert before is not None
    assert after is not None
    assert after.data.mean() > before.data.mean()
    with pytest.raises(WriteError, match="exists already"):
        _calibrate(run.folder)
    _calibrate(run.folder, "--overwrite")
    assert calibration_beside(run.best) == found, "fitted anew from the network as it is"
    with pytest.raises(ConfigError, match="no run folder"):
        _calibrate(run.best)
