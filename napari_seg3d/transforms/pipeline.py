"""`Pipeline`: an ordered list of named steps that can be stored as text and run by torchio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    import torchio

#: The torchio transforms that a pipeline may name. A checkpoint is an untrusted file: a name outside this list is refused, so that
#: none can reach a transform that runs code or opens files (``Lambda``, ``HistogramStandardization`` with a path).
TRANSFORMS = frozenset(
    {
        "Clamp",
        "CropOrPad",
        "RandomAffine",
        "RandomBiasField",
        "RandomBlur",
        "RandomElasticDeformation",
        "RandomFlip",
        "RandomGamma",
        "RandomMotion",
        "RandomNoise",
        "Resample",
        "RescaleIntensity",
        "ToCanonical",
        "ZNormalization",
    }
)


@dataclass(frozen=True)
class Step:
    """One transform.

    Parameters
    ----------
    name : str
        A torchio transform, one of :data:`TRANSFORMS`.
    parameters : mapping
        Its keyword arguments: numbers, strings and lists of them.
    probability : float
        How often it is applied, 0 to 1.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    probability: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in TRANSFORMS:
            raise ConfigError(f"There is no transform {self.name!r}.", f"Known ones are {', '.join(sorted(TRANSFORMS))}.")

    def to_torchio(self) -> torchio.Transform:
        """Return the transform that runs this step."""
        import torchio

        arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in self.parameters.items()}
        try:
            return getattr(torchio, self.name)(**arguments, p=self.probability)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{self.name} cannot be used with {dict(self.parameters)}: {error}.", "Correct its parameters."
            ) from error


@dataclass(frozen=True)
class Pipeline:
    """Steps in the order in which they run.

    ``Pipeline.from_list(pipeline.to_list()) == pipeline``; the list holds plain values only and can be stored as YAML or JSON.
    """

    steps: tuple[Step, ...] = ()

    def to_torchio(self) -> torchio.Compose:
        """Return the transform that runs all steps."""
        import torchio

        return torchio.Compose([step.to_torchio() for step in self.steps])

    def to_list(self) -> list[dict[str, Any]]:
        """Return the steps as plain values."""
        return [{"name": step.name, "parameters": dict(step.parameters), "probability": step.probability} for step in self.steps]

    @classmethod
    def from_list(cls, values: Iterable[Mapping[str, Any]]) -> Pipeline:
        """Return the pipeline that `to_list` described; a ConfigError names what is wrong with it."""
        steps = []
        for value in values:
            if not isinstance(value, Mapping) or "name" not in value or set(value) - {"name", "parameters", "probability"}:
                raise ConfigError(f"{value!r} is no step of a pipeline.", "A step has a name, parameters and a probability.")
            steps.append(Step(str(value["name"]), dict(value.get("parameters") or {}), float(value.get("probability", 1.0))))
        return cls(tuple(steps))
