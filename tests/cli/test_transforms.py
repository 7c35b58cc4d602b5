from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.cli.training import _config
from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms import Pipeline, catalogue, load_preset, parse_recipe, presets

_RUNNER = CliRunner()


def _says(*arguments: str) -> str:
    result = _RUNNER.invoke(app, ["transforms", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_every_transform_and_preset_is_listed() -> None:
    text = _says()
    for name in (*catalogue(), *presets()):
        assert name in text


def test_one_is_shown_with_ranges_and_defaults() -> None:
    text = " ".join(_says("RandomMotion").split())
    for word in ("RandomMotion (random, intensity)", "num_transforms", "-180 to 180", "degrees", "linear"):
        assert word in text


def test_a_preset_is_printed_as_it_can_be_read_again(tmp_path: Path) -> None:
    for name in presets():
        assert parse_recipe(_says("--preset", name)) == load_preset(name)
    with pytest.raises(ConfigError, match="neither a file nor a preset"):
        _RUNNER.invoke(app, ["transforms", "--preset", "nothing"], catch_exceptions=False)


def test_training_takes_steps_by_name_and_by_file(tmp_path: Path) -> None:
    recipe = load_preset("vnet")
    (tmp_path / "steps.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    for source in ("vnet", str(tmp_path / "steps.yaml")):
        config = _config(tmp_path, None, None, None, None, ["optimization.minutes=2"], source)
        assert Pipeline.from_list(config.transforms.preprocessing) == recipe.preprocessing
        assert Pipeline.from_list(config.transforms.augmentation) == recipe.augmentation
    assert _config(tmp_path, None, None, None, None, [], None).transforms.preprocessing == "auto"
