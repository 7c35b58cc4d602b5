"""`TrainConfig`: everything a run needs; the form, the YAML file and the command line are three views of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_serializer, field_validator

from napari_seg3d.errors import ConfigError
from napari_seg3d.files import write_text
from napari_seg3d.transforms import Pipeline, check_augmentation, check_preprocessing

Auto = Literal["auto"]
Size = tuple[Annotated[int, Field(ge=8, le=1024)], Annotated[int, Field(ge=8, le=1024)], Annotated[int, Field(ge=8, le=1024)]]
Millimetres = tuple[
    Annotated[float, Field(gt=0, le=100)], Annotated[float, Field(gt=0, le=100)], Annotated[float, Field(gt=0, le=100)]
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True, frozen=True)


class DataConfig(_Section):
    """Which cases, and who validates."""

    images: Path = Field(title="Data set", description="Folder of the data set, or of its images.")
    masks: Path | None = Field(
        None, title="Masks", description="Folder of the masks; empty when they lie in the data set (labelsTr, labels, Mask, …)."
    )
    subjects: Path | None = Field(
        None,
        title="Subjects",
        description="CSV with the columns case and subject. Needed only where the file names do not tell which cases are one person.",
    )
    split: Literal["auto", "fraction", "folds", "stride"] = Field(
        "auto",
        title="Split",
        description="Who judges the model. auto: as the data set says (Split in the Data dock), else by share. fraction: a share of the "
        "subjects; folds: each of several parts in turn; stride: every n-th subject. A test set of the data set never trains.",
    )
    validation: float = Field(
        0.2,
        gt=0,
        lt=1,
        title="Validation share",
        description="Share of the subjects that is held back to judge the model, where neither the data set nor Split says otherwise. "
        "Each label is in the same share of the cases on both sides, as far as that is possible.",
    )
    folds: int = Field(5, ge=2, le=100, title="Folds", description="With Split = folds: how many parts there are.")
    fold: int = Field(1, ge=1, le=100, title="Fold", description="Where there are folds: the one that judges the model.")
    stride: int = Field(10, ge=2, le=10_000, title="Stride", description="With Split = stride: one of so many subjects judges.")
    split_seed: int = Field(
        0,
        ge=0,
        title="Split seed",
        description="Another number draws other subjects for validation; the same number the same ones.",
    )

    @field_validator("images", "masks", "subjects")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        # A run may be read from another working folder than the one it was started in.
        return Path(os.path.abspath(path.expanduser())) if path is not None else None  # noqa: PTH100  takes ".." out, follows no links

    @field_serializer("images", "masks", "subjects")
    def _as_text(self, path: Path | None) -> str | None:
        return path.as_posix() if path is not None else None


class PreprocessingConfig(_Section):
    """What happens to every scan before the network sees it, in training and in prediction alike."""

    spacing: Auto | Literal["native"] | Millimetres = Field(
        "auto",
        title="Spacing",
        description="Voxel edges in mm that every scan is resampled to. auto: the median of the training cases; native: leave each as "
        "it is. Choose a larger one when the scans are too big for the memory.",
    )
    normalization: Literal["zscore", "rescale"] = Field(
        "zscore",
        title="Normalisation",
        description="zscore: mean 0 and standard deviation 1 for each scan, right for MR; rescale: 0.5 to 99.5 percentile to 0..1.",
    )


class TransformsConfig(_Section):
    """Steps that take the place of those that training plans by itself."""

    preprocessing: Auto | list[dict[str, Any]] = Field(
        "auto",
        title="Preprocessing steps",
        description="auto: by spacing and normalisation above. Steps of your own are chosen in the Transforms dock, and take their place.",
    )
    augmentation: Auto | list[dict[str, Any]] = Field(
        "auto",
        title="Augmentation steps",
        description="auto: random rotation, zoom, contrast, noise and blur. Steps of your own are chosen in the Transforms dock.",
    )

    @field_validator("preprocessing", "augmentation", mode="before")
    @classmethod
    def _sound(cls, value: Any, about: ValidationInfo) -> Any:
        if value == "auto":
            return value
        try:
            pipeline = Pipeline.from_list(value)
            (check_preprocessing if about.field_name == "preprocessing" else check_augmentation)(pipeline)
        except ConfigError as error:
            raise ValueError(f"{error.what} {error.fix}") from error
        return pipeline.to_list()


class SamplingConfig(_Section):
    """What the network is shown in one step."""

    mode: Literal["patches", "whole"] = Field(
        "patches",
        title="Train on",
        description="patches: random pieces, half of them on a labelled voxel. whole: every scan cropped or padded to one size.",
    )
    patch_size: Auto | Size = Field(
        "auto",
        title="Patch size",
        description="Voxels along R, A and S. auto: as large as the scans are, up to what the device trains well. A patch larger than a "
        "scan is padded.",
    )
    foreground: float = Field(
        0.5,
        ge=0,
        le=1,
        title="On labels",
        description="Share of the patches that is centred on a labelled voxel, each label equally often.",
    )
    augmentation: bool = Field(
        True, title="Augmentation", description="Random rotation, zoom, contrast and noise, so that few cases teach more."
    )


class NetworkConfig(_Section):
    """The network."""

    name: Literal["unet3d"] = Field("unet3d", title="Network", description="3D U-Net.")
    features: tuple[Annotated[int, Field(ge=4, le=512)], ...] = Field(
        (16, 32, 64, 128),
        min_length=3,
        max_length=6,
        title="Features",
        description="Filters per level. More levels see further, more filters learn more and take longer.",
    )


class OptimizationConfig(_Section):
    """How the network learns, and for how long."""

    minutes: float = Field(
        8.0,
        gt=0,
        le=60 * 24 * 14,
        title="Minutes",
        description="How long to learn, validations included; the data is prepared before that, once. Stop keeps what was learnt so far.",
        json_schema_extra={"basic": True},
    )
    max_iterations: int | None = Field(
        None,
        ge=1,
        title="Step limit",
        description="End after so many steps, if that is sooner; the same number repeats a run exactly.",
    )
    batch_size: Auto | Annotated[int, Field(ge=1, le=512)] = Field(
        "auto", title="Batch size", description="Patches per step. Lower it when memory runs out."
    )
    loss: Literal["dice_ce", "dice"] = Field(
        "dice_ce", title="Loss", description="Dice + cross-entropy is the safe choice; Dice alone leans less on the background."
    )
    learning_rate: float = Field(
        2e-3,
        gt=0,
        le=1,
        title="Learning rate",
        description="Lower it by ten when the loss jumps; the default suits the U-Net here.",
    )
    weight_decay: float = Field(
        1e-4, ge=0, le=1, title="Weight decay", description="Pulls the weights to zero; rarely worth a change."
    )
    seed: int = Field(0, ge=0, title="Seed", description="Start of all random numbers of the training.")


class DeviceConfig(_Section):
    """Where it runs."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", title="Device", description="auto: the GPU if there is one, else the CPU."
    )
    precision: Literal["auto", "32", "bf16"] = Field(
        "auto", title="Precision", description="auto: bfloat16 where the hardware has it (twice as fast or more), else 32 bit."
    )
    workers: int = Field(
        1,
        ge=0,
        le=64,
        title="Loader processes",
        description="Processes that cut and augment patches. 0: none, inside the training itself.",
    )


class TrainConfig(_Section):
    """A training run.

    Only `data.images` has no default. `from_yaml(to_yaml(config)) == config`.
    """

    data: DataConfig
    preprocessing: PreprocessingConfig = Field(default_factory=PreprocessingConfig, title="Preprocessing")
    transforms: TransformsConfig = Field(default_factory=TransformsConfig, title="Transforms")
    sampling: SamplingConfig = Field(default_factory=SamplingConfig, title="Sampling")
    network: NetworkConfig = Field(default_factory=NetworkConfig, title="Network")
    optimization: OptimizationConfig = Field(default_factory=OptimizationConfig, title="Optimisation")
    device: DeviceConfig = Field(default_factory=DeviceConfig, title="Device")

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "The configuration") -> Self:
        """Return the config that plain `values` describe; a ConfigError names each wrong one."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(
                f"{where} cannot be used: {_in_words(error)}", "Correct it, or leave it out to take the default."
            ) from error

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Return the config in a YAML file, such as the ``run.yaml`` of a run."""
        path = Path(path)
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(
                f"{path} cannot be read as YAML ({str(error).splitlines()[0]}).", "Take a run.yaml as the pattern."
            ) from error
        if not isinstance(values, dict):
            raise ConfigError(
                f"{path} is no configuration: it holds {type(values).__name__}, not settings.", "Take a run.yaml as the pattern."
            )
        return cls.parse(values, str(path))

    def to_yaml(self) -> str:
        """Return the config as YAML text, every setting written out, equal for equal configs."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=120)

    def to_dict(self) -> dict[str, Any]:
        """Return the config as plain lists, numbers and strings."""
        return self.model_dump(mode="json")

    def save(self, path: str | Path) -> None:
        """Write the config as YAML, whole or not at all."""
        write_text(path, self.to_yaml())

    def with_values(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with dotted settings changed, such as ``{"optimization.minutes": 2}``."""
        values = self.to_dict()
        for dotted, value in changes.items():
            if dotted not in self.setting_names():
                raise ConfigError(f"There is no setting {dotted}.", f"Known ones are {', '.join(self.setting_names())}.")
            section, name = dotted.split(".")
            values[section][name] = value
        return self.parse(values)

    @classmethod
    def setting_names(cls) -> list[str]:
        """Return the dotted names of all settings."""
        return [
            f"{section}.{name}"
            for section, field in cls.model_fields.items()
            for name in field.annotation.model_fields  # type: ignore[union-attr]  # every field of ours is a section
        ]


def _in_words(error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        # Unions add the tried types to the place; only our own names mean something to the user.
        place = ".".join(str(part) for part in problem["loc"][:2])
        text = f"{place} = {problem['input']!r}: {problem['msg'].lower()}"
        if problem["type"] == "extra_forbidden":
            text = f"there is no setting {place}"
        elif problem["type"] == "missing":
            text = f"{place} is missing"
        elif problem["type"] == "value_error":  # a sentence of our own
            text = f"{place} = {_short(problem['input'])}: {str(problem['ctx']['error']).rstrip('.')}"
        if text not in parts:
            parts.append(text)
    return "; ".join(parts) + "."


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
