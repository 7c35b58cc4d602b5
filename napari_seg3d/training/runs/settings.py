"""The settings of runs as they were written, whatever version wrote them, and in what they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from napari_seg3d.training.config import TrainConfig

# Reading hundreds of run.yaml with the loader in Python takes seconds.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Difference(NamedTuple):
    """A setting in which runs differ.

    Parameters
    ----------
    setting : str
        Its dotted name, such as ``"optimization.loss"``.
    title : str
        Its name for a person.
    values : tuple
        What it is in each run, as plain values.
    """

    setting: str
    title: str
    values: tuple[Any, ...]


def read_settings(folder: Path) -> tuple[dict[str, Any], str]:
    """Return what the ``run.yaml`` in a run folder holds, unchecked, and why it cannot be read (empty when it can).

    A run of another version may have settings that a `TrainConfig` refuses; to show and to compare them, they need not be accepted.
    """
    path = folder / "run.yaml"
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a safe one: plain values only
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        return {}, f"{path} cannot be read ({(str(error).splitlines() or [''])[0]})."
    if not isinstance(values, dict):
        return {}, f"{path} holds no settings."
    return {str(section): found for section, found in values.items()}, ""


def config_differences(configs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Return the settings that are not the same in all of `configs`, in the order of the form.

    Parameters
    ----------
    configs : sequence of mapping
        Section -> setting -> value, as in `TrainConfig.to_dict` or `read_settings`. What one of them does not say is the default there.
    """
    flat = [_flat(config) for config in configs]
    names = dict.fromkeys([*TrainConfig.setting_names(), *(name for values in flat for name in values)])
    differences = []
    for name in names:
        title, default = _field(name)
        values = tuple(found.get(name, default) for found in flat)
        if any(value != values[0] for value in values[1:]):
            differences.append(Difference(name, title, values))
    return differences


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section, settings in config.items()
        if isinstance(settings, dict)
        for name, value in settings.items()
    }


def _field(dotted: str) -> tuple[str, Any]:
    """Return title and default of a setting; its name and None where it is none of this version."""
    section, _, name = dotted.partition(".")
    kind = TrainConfig.model_fields[section].annotation if section in TrainConfig.model_fields else None
    field = kind.model_fields.get(name) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    if field is None:
        return dotted, None
    default = field.get_default(call_default_factory=True)
    # As YAML holds it: lists, no tuples.
    plain = list(default) if isinstance(default, tuple) else None if default is PydanticUndefined else default
    return field.title or dotted, plain
