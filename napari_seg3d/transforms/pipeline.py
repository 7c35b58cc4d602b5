"""`Pipeline`: an ordered list of named steps that can be stored as text and run by torchio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms.catalogue import info
from napari_seg3d.transforms.parameter import TransformInfo

if TYPE_CHECKING:
    import torchio

_FIELDS = ("name", "parameters", "probability", "enabled")
# Files from others: deep or endless lists must not take the program down.
_DEEPEST, _LONGEST = 4, 200


@dataclass(frozen=True)
class Step:
    """One transform, checked: a step that exists can be run.

    A checkpoint or a preset is an untrusted file: a name outside of the catalogue is refused, so that none can reach a transform that
    runs code or opens files, nor through the steps inside a step.

    Parameters
    ----------
    name : str
        A transform of the catalogue.
    parameters : mapping
        Its parameters: numbers, texts and lists of them; those left out have their default.
    probability : float
        How often it is applied, 0 to 1.
    enabled : bool
        Whether it is applied at all; a step that is switched off stays in the list.

    Raises
    ------
    ConfigError
        The transform or a parameter is unknown, or a value out of range; the fix lists what is valid.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    probability: float = 1.0
    enabled: bool = True

    def __post_init__(self) -> None:
        described = info(self.name)
        checked = described.check(self.parameters)
        if "transforms" in checked:
            try:
                inside = Pipeline.from_list(checked["transforms"], _depth=_depth_of(checked["transforms"]))
            except ConfigError as error:
                raise ConfigError(f"{self.name}, transforms: {error.what}", error.fix) from error
            checked["transforms"] = inside.to_list()
            weights = checked.get("weights")
            if weights is not None and (len(weights) != len(inside.steps) or not any(weights)):
                raise ConfigError(
                    f"{self.name} has {len(inside.steps)} steps and the weights {weights}.",
                    "Give one number for each, not all 0.",
                )
        object.__setattr__(self, "parameters", checked)
        if isinstance(self.probability, bool) or not isinstance(self.probability, (int, float)) or not 0 <= self.probability <= 1:
            raise ConfigError(f"{self.name}: probability = {self.probability!r} is out of range.", "Give a number from 0 to 1.")
        if not isinstance(self.enabled, bool):
            raise ConfigError(f"{self.name}: enabled = {self.enabled!r} is neither true nor false.", "Give true or false.")

    @property
    def info(self) -> TransformInfo:
        """What the catalogue says about the transform."""
        return info(self.name)

    @property
    def values(self) -> dict[str, Any]:
        """Every parameter, those left out with their default."""
        return {**self.info.defaults(), **self.parameters}

    @property
    def inside(self) -> tuple[Step, ...]:
        """The steps inside this step; empty for nearly all."""
        return Pipeline.from_list(self.values["transforms"]).steps if self.name == "OneOf" else ()

    @property
    def is_random(self) -> bool:
        """Whether two runs may differ."""
        return self.info.is_random or 0 < self.probability < 1 or self.values.get("location") == "random"

    def to_dict(self) -> dict[str, Any]:
        """Return this step as plain values; what says nothing new is left out."""
        stored: dict[str, Any] = {"name": self.name, "parameters": dict(self.parameters), "probability": self.probability}
        return stored if self.enabled else {**stored, "enabled": False}

    def to_torchio(self) -> torchio.Transform:
        """Return the transform that runs this step."""
        from napari_seg3d.transforms.torchio_steps import build

        return build(self)


@dataclass(frozen=True)
class Pipeline:
    """Steps in the order in which they run.

    ``Pipeline.from_list(pipeline.to_list()) == pipeline``; the list holds plain values only and can be stored as YAML or JSON.
    """

    steps: tuple[Step, ...] = ()

    @property
    def enabled(self) -> tuple[Step, ...]:
        """The steps that run."""
        return tuple(step for step in self.steps if step.enabled)

    def to_torchio(self) -> torchio.Compose:
        """Return the transform that runs all enabled steps."""
        import torchio

        return torchio.Compose([step.to_torchio() for step in self.enabled])

    def to_list(self) -> list[dict[str, Any]]:
        """Return the steps as plain values."""
        return [step.to_dict() for step in self.steps]

    @classmethod
    def from_list(cls, values: Iterable[Mapping[str, Any]], *, _depth: int = 0) -> Pipeline:
        """Return the pipeline that `to_list` described; a ConfigError names what is wrong with it."""
        if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
            raise ConfigError(f"{_short(values)} is no list of steps.", "Write each step with a dash: - name: ToCanonical.")
        values = list(values)
        if len(values) > _LONGEST or _depth > _DEEPEST:
            raise ConfigError(
                f"{len(values)} steps, nested {_depth} deep, are more than a pipeline may have.",
                f"Keep to {_LONGEST} steps and {_DEEPEST} levels.",
            )
        return cls(tuple(_step(value) for value in values))


def _step(value: object) -> Step:
    if not isinstance(value, Mapping) or "name" not in value or set(value) - set(_FIELDS):
        raise ConfigError(
            f"{_short(value)} is no step of a pipeline.", "A step has a name, and may have parameters, probability and enabled."
        )
    parameters = value.get("parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise ConfigError(f"{value['name']}: {_short(parameters)} are no parameters.", "Write them as name: value.")
    return Step(str(value["name"]), dict(parameters or {}), value.get("probability", 1.0), value.get("enabled", True))


def _depth_of(value: object, depth: int = 0) -> int:
    """Return how deep lists of steps lie in one another, without going deeper than is allowed."""
    if depth > _DEEPEST or not isinstance(value, list):
        return depth
    depths = [depth]
    for step in value:
        parameters = step.get("parameters") if isinstance(step, Mapping) else None
        if isinstance(parameters, Mapping) and "transforms" in parameters:
            depths.append(_depth_of(parameters["transforms"], depth + 1))
    return max(depths)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}…"
