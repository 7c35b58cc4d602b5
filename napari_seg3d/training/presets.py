"""Presets: the settings of a known system under one name, where they differ from the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms import load_preset
from napari_seg3d.transforms.parameter import closest_first

_FOLDER = Path(__file__).parents[1] / "presets" / "training"


@dataclass(frozen=True)
class Preset:
    """A training under one name.

    Parameters
    ----------
    name : str
        What ``--preset`` takes.
    title : str
        What a person calls it.
    description : str
        What it is for, and where it differs from what was published.
    system : str
        Where it comes from; empty for those of our own.
    transforms : str
        Name of the list of transforms that it takes; empty where training plans its own.
    settings : dict of str to value
        Dotted setting -> value, where it differs from the default; without the transforms.
    """

    name: str
    title: str
    description: str
    system: str
    transforms: str
    settings: dict[str, Any]


@cache
def presets() -> dict[str, Preset]:
    """Return the presets by name; those of known systems first."""
    found = [_load(file) for file in sorted(_FOLDER.glob("*.yaml"))]
    return {preset.name: preset for preset in sorted(found, key=lambda preset: (not preset.system, preset.name))}


def find_preset(name: str) -> Preset:
    """Return the preset of this name.

    Raises
    ------
    ConfigError
        There is none; the known ones are listed, the closest first.
    """
    known = presets()
    if name not in known:
        raise ConfigError(f"There is no preset {name!r}.", f"Known ones are {', '.join(closest_first(name, list(known)))}.")
    return known[name]


def preset_settings(name: str) -> dict[str, Any]:
    """Return dotted setting -> value of a preset, its transforms among them; raises as `find_preset`."""
    preset = find_preset(name)
    steps = load_preset(preset.transforms).settings() if preset.transforms else {}
    return {**steps, **preset.settings}


def _load(file: Path) -> Preset:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return Preset(
        file.stem,
        content["title"],
        content["description"].strip(),
        content.get("system", ""),
        content.get("transforms", ""),
        {f"{section}.{name}": value for section, values in content["settings"].items() for name, value in values.items()},
    )
