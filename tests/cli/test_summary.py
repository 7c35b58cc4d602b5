from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.errors import ConfigError
from napari_seg3d.sample_data import dataset_folder


def _shown(*arguments: str) -> str:
    shown = CliRunner().invoke(app, ["summary", *arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    return " ".join(shown.output.split())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("torchio-unet3d", "19,071,376"),
        ("nodule-unet25d", "118,271"),
        ("vnet", "16,308,696"),
        ("mini-vnet", "96,167"),
        ("spine-xray-unet2d", "31,036,871"),
        ("decathlon-cascade", "7,828,362"),
    ],
)
def test_presets_have_their_numbers_of_weights(name: str, parameters: str) -> None:
    text = _shown(name)
    assert f"{parameters} parameters" in text
    assert "A step of" in text


def test_both_networks_of_the_cascade_are_told() -> None:
    assert "Before it, cascade-roi finds the object" in _shown("decathlon-cascade")


def test_layers_of_a_network_of_a_size() -> None:
    text = _shown("mini-vnet", "--dims", "2", "--sides", "64x32", "--batch", "3", "--channels", "2", "--outputs", "4")
    assert "stages.0.convolutio" in text  # a narrow terminal breaks the name there
    assert "Conv2d 3x16x64x32 304" in text
    assert "head Conv2d 3x4x64x32 132" in text
    assert "A step of 3 x 64 x 32 voxels" in text


def test_what_a_device_cannot_hold_is_said() -> None:
    assert "it does not fit" in _shown("dynunet", "--sides", "1024x1024x1024", "--batch", "500")


def test_settings_are_planned_for_their_data(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"data": {"images": str(dataset_folder())}, "network": {"name": "mini-vnet"}}))
    text = _shown(str(file))
    assert "run.yaml (mini-vnet): 96,167 parameters" in text  # three classes there, too
    with pytest.raises(ConfigError, match="say dimensions and channels"):
        _shown(str(file), "--dims", "2")


def test_mistakes_are_told_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match="no preset, no network and no file") as refused:
        _shown("vent")
    assert "mini-vnet" in refused.value.fix
    with pytest.raises(ConfigError, match="Side 1 of 50 x 50 x 50"):
        _shown("dynunet", "--sides", "50x50x50")
    with pytest.raises(ConfigError, match="is no size"):
        _shown("dynunet", "--sides", "big")
