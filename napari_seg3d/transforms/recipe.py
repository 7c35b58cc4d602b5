"""`Recipe`: preprocessing and augmentation under one name, as a YAML file that can be passed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from napari_seg3d.errors import ConfigError
from napari_seg3d.files import write_text
from napari_seg3d.transforms.parameter import closest_first
from napari_seg3d.transforms.pipeline import Pipeline, Step

FORMAT = "napari-seg3d transforms"
_VERSION = 1
_FIELDS = {"format", "version", "name", "description", "preprocessing", "augmentation"}
_LARGEST_BYTES = 1 << 18
_DEEPEST = 40
_BEGINNINGS = (
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
)
_ENDINGS = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
_PRESETS = Path(__file__).parents[1] / "presets" / "transforms"
_PATTERN = "Export one from the Transforms dock, or print one with `napari-seg3d transforms --preset default`, as a pattern."


@dataclass(frozen=True)
class Recipe:
    """What happens to a scan before a network sees it.

    Parameters
    ----------
    name : str
        What to call it.
    description : str
        What it is for.
    preprocessing : Pipeline
        Deterministic steps, run once per scan, in training and in prediction alike.
    augmentation : Pipeline
        Random steps, run anew for every sample of the training.

    Raises
    ------
    ConfigError
        A step is in the wrong one of the two.
    """

    name: str = "untitled"
    description: str = ""
    preprocessing: Pipeline = field(default_factory=Pipeline)
    augmentation: Pipeline = field(default_factory=Pipeline)

    def __post_init__(self) -> None:
        check_preprocessing(self.preprocessing)
        check_augmentation(self.augmentation)

    def settings(self) -> dict[str, Any]:
        """Return the settings of a training that takes this recipe; without preprocessing, training plans its own."""
        preprocessing = self.preprocessing.to_list() or "auto"
        return {"transforms.preprocessing": preprocessing, "transforms.augmentation": self.augmentation.to_list()}

    def to_yaml(self) -> str:
        """Return this recipe as YAML text."""
        content = {
            "format": FORMAT,
            "version": _VERSION,
            "name": self.name,
            "description": self.description,
            "preprocessing": [_brief(step) for step in self.preprocessing.steps],
            "augmentation": [_brief(step) for step in self.augmentation.steps],
        }
        return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def check_preprocessing(pipeline: Pipeline) -> None:
    """Raise a ConfigError where a step does not belong into preprocessing."""
    for step in _all(pipeline.enabled):
        if step.is_random:
            raise ConfigError(
                f"{step.name} is random and cannot be preprocessing: prediction would see something else than training.",
                "Move it to the augmentation, or give it probability 1.",
            )
        if step.info.needs_mask:
            raise ConfigError(
                f"{step.name} needs a mask and cannot be preprocessing: a scan to predict has none.",
                "Move it to the augmentation.",
            )


def check_augmentation(pipeline: Pipeline) -> None:
    """Raise a ConfigError where a step does not belong into the augmentation."""
    for step in _all(pipeline.enabled):
        if step.info.kind == "label":
            raise ConfigError(
                f"{step.name} changes which labels there are and cannot be augmentation: no two samples would mean the same.",
                "Move it to the preprocessing.",
            )
        if step.name in ("ContextSlices", "HistogramStandardization"):
            raise ConfigError(
                f"{step.name} cannot be augmentation: prediction must do the same.", "Move it to the preprocessing."
            )


def load_recipe(path: str | Path) -> Recipe:
    """Return the recipe in a YAML file.

    Raises
    ------
    ConfigError
        The file cannot be read, is none of ours, or a step in it is wrong: the message names the file and the step.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ConfigError(f"{path} is larger than any list of steps can be ({path.stat().st_size} bytes).", _PATTERN)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"{path} cannot be read ({reason}).", "Choose a YAML file with steps.") from error
    return parse_recipe(text, str(path))


def parse_recipe(text: str, where: str = "The text") -> Recipe:
    """Return the recipe in YAML text; a ConfigError says what is wrong and `where`."""
    try:
        refuse_traps(text, where, _PATTERN)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a date that is none is a ValueError
        raise ConfigError(f"{where} cannot be read as YAML ({_first_line(error)}).", _PATTERN) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigError(f"{where} is no list of transforms: it does not begin with 'format: {FORMAT}'.", _PATTERN)
    if content.get("version") != _VERSION:
        raise ConfigError(
            f"{where} is of version {content.get('version')!r}, which this program does not know.", "Update napari-seg3d."
        )
    unknown = [str(name) for name in content if name not in _FIELDS]
    if unknown:
        raise ConfigError(f"{where} has no use for {', '.join(unknown)}.", f"It may hold {', '.join(sorted(_FIELDS))}.")
    return Recipe(
        str(content.get("name") or "untitled"),
        str(content.get("description") or ""),
        _pipeline(content.get("preprocessing"), f"{where}, preprocessing"),
        _pipeline(content.get("augmentation"), f"{where}, augmentation"),
    )


def save_recipe(recipe: Recipe, path: str | Path) -> None:
    """Write a recipe as YAML, whole or not at all."""
    write_text(path, recipe.to_yaml())


def presets() -> dict[str, Path]:
    """Return name -> file of the recipes that come with the program; the default first."""
    files = sorted(_PRESETS.glob("*.yaml"), key=lambda file: (file.stem != "default", file.stem))
    return {file.stem: file for file in files}


def load_preset(name: str) -> Recipe:
    """Return a recipe that comes with the program.

    Raises
    ------
    ConfigError
        There is none of this name; the known ones are listed.
    """
    known = presets()
    if name not in known:
        raise ConfigError(f"There is no preset {name!r}.", f"Known ones are {', '.join(closest_first(name, list(known)))}.")
    return load_recipe(known[name])


def find_recipe(name: str) -> Recipe:
    """Return the recipe that a person means: a preset by its name, or else a file.

    Raises
    ------
    ConfigError
        There is neither; or as `load_recipe`.
    """
    if name in presets():
        return load_preset(name)
    if Path(name).exists():
        return load_recipe(name)
    known = closest_first(name, list(presets()))
    raise ConfigError(f"{name} is neither a file nor a preset.", f"Presets are {', '.join(known)}.")


def refuse_traps(text: str, where: str, fix: str) -> None:
    """Raise a ConfigError with `fix` for YAML text that is meant to keep a reader busy; a YAMLError for text that is no YAML."""
    # Anchors let a few lines grow to billions of steps; thousands of brackets keep the parser busy for minutes.
    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, (yaml.AliasToken, yaml.AnchorToken)):
            raise ConfigError(f"{where} uses YAML anchors, which are not read.", f"Write everything out. {fix}")
        depth += isinstance(token, _BEGINNINGS) - isinstance(token, _ENDINGS)
        if depth > _DEEPEST:
            raise ConfigError(f"{where} is nested too deeply.", fix)


def _pipeline(values: Any, where: str) -> Pipeline:
    steps: list[Step] = []
    if values is not None and not isinstance(values, list):
        raise ConfigError(f"{where}: {type(values).__name__} is no list of steps.", _PATTERN)
    for number, value in enumerate(values or [], start=1):
        try:
            steps.extend(Pipeline.from_list([value]).steps)
        except ConfigError as error:
            raise ConfigError(f"{where}, step {number}: {error.what}", error.fix) from error
    return Pipeline.from_list([step.to_dict() for step in steps])


def _all(steps: tuple[Step, ...]) -> list[Step]:
    return [each for step in steps for each in (step, *_all(tuple(inside for inside in step.inside if inside.enabled)))]


def _brief(step: Step) -> dict[str, Any]:
    values = step.to_dict()
    return {
        name: value
        for name, value in values.items()
        if not (name == "parameters" and not value) and (name, value) != ("probability", 1.0)
    }


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class _Dumper(yaml.SafeDumper):
    """Lists of numbers on one line, steps below one another."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _list_of_numbers(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    is_flat = all(isinstance(value, (int, float)) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=is_flat)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=">" if len(value) > 100 else None)


_Dumper.add_representer(list, _list_of_numbers)
_Dumper.add_representer(str, _text)
