"""`TrainConfig`: everything a run needs; the form, the YAML file and the command line are three views of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from napari_seg3d.errors import ConfigError
from napari_seg3d.files import write_text
from napari_seg3d.networks import NetworkName
from napari_seg3d.training.presets import preset_settings
from napari_seg3d.transforms import Pipeline, check_augmentation, check_preprocessing

Auto = Literal["auto"]
Side = Annotated[int, Field(ge=1, le=1024)]
Size = tuple[Side, Side, Side]
Millimetres = tuple[
    Annotated[float, Field(gt=0, le=100)], Annotated[float, Field(gt=0, le=100)], Annotated[float, Field(gt=0, le=100)]
]
Value = Annotated[int, Field(ge=0, le=2**31 - 1)]  # of a label in a mask; 0 is the background
Weight = Annotated[float, Field(ge=0, le=1e6)]
Plane = Literal["axial", "coronal", "sagittal"]
_OF_THE_USER = ("minutes", "max_iterations", "seed", "deterministic")  # settings of the optimisation that no preset touches


def _absolute_path(path: Path | None) -> Path | None:
    # A run may be read from another working folder than the one it was started in.
    return Path(os.path.abspath(path.expanduser())) if path is not None else None  # noqa: PTH100  takes ".." out, follows no links


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
        return _absolute_path(path)

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
    normalization: Literal["auto", "zscore", "rescale", "ct"] = Field(
        "auto",
        title="Normalisation",
        description="zscore: mean 0 and standard deviation 1 for each scan, right for MR; rescale: 0.5 to 99.5 percentile to 0..1; ct: one "
        "window of HU for all scans, from what the labels cover. auto: ct for CT, else zscore.",
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


class TargetsConfig(_Section):
    """What the masks mean."""

    kind: Literal["auto", "exclusive", "overlapping"] = Field(
        "auto",
        title="Labels",
        description="exclusive: a voxel has one label at most (softmax). overlapping: each label by itself, so that a tumour may lie in "
        "a liver (sigmoid). auto: overlapping where the masks overlap, else exclusive.",
    )
    known: Literal["all", "slices", "voxels"] = Field(
        "all",
        title="Painted",
        description="How much of each mask is painted. all: what is not painted is background. slices: only slices with something "
        "painted count, the rest is unknown; three to five slices of one scan are enough to start. voxels: only painted voxels count, "
        "and the background is painted, too.",
    )
    plane: Literal["auto", "axial", "coronal", "sagittal"] = Field(
        "auto",
        title="Painted plane",
        description="With Painted = slices: along which plane was painted. auto: the plane with the fewest painted slices.",
    )
    background: Value | None = Field(
        None,
        title="Painted background",
        description="The value in the masks that stands for background. With Painted = voxels it must be painted. With Painted = slices a "
        "dot of it says that a slice is empty, which helps most just beyond both ends of what you segment.",
    )
    ignore: Value | None = Field(
        None,
        title="Ignored value",
        description="Voxels with this value in the masks count neither for nor against the network, such as nnU-Net's ignore label.",
    )


class SamplingConfig(_Section):
    """What the network is shown in one step."""

    mode: Literal["auto", "patches", "whole"] = Field(
        "auto",
        title="Train on",
        description="patches: random pieces. whole: every scan (or slice, for 2D networks) cropped or padded to one size. auto: patches.",
    )
    patch_size: Auto | Size = Field(
        "auto",
        title="Patch size",
        description="Voxels along R, A and S; for 2D networks the two sides in the slice, then 1. auto: as large as the scans are, up to "
        "what the device trains well. A patch larger than a scan is padded.",
    )
    draw: Literal["mixed", "uniform", "labels", "lesions"] = Field(
        "mixed",
        title="Draw",
        description="Where patches come from. mixed: a share around labelled voxels, the rest anywhere; every batch holds some labelled "
        "voxel. uniform: anywhere. labels: all around labelled voxels. lesions: anywhere in a window around one labelled piece.",
    )
    foreground: float = Field(
        0.5,
        ge=0,
        le=1,
        title="On labels",
        description="With Draw = mixed: share of the patches around a labelled voxel.",
    )
    label_weights: dict[Value, Weight] = Field(
        default_factory=dict,
        title="Label weights",
        description="How often a patch is drawn around each label, such as 1: 1, 2: 5; empty: each label equally often.",
    )
    case_weights: dict[str, Annotated[float, Field(ge=0, le=100)]] = Field(
        default_factory=dict,
        title="Case weights",
        description="How often a case is drawn, such as scan_12: 3; a case that is not named counts 1, and 0 leaves it out. A round of "
        "learning from corrections gives the new cases their share so.",
    )
    window: Size | None = Field(
        None,
        title="Lesion window",
        description="With Draw = lesions: the window around a lesion in which patches are drawn; empty: one and a half patches.",
    )
    slices: Literal["all", "positive"] = Field(
        "all", title="Slices", description="For 2D networks. positive: only slices that hold a label are drawn."
    )
    planes: tuple[Plane, ...] = Field(
        ("axial",),
        min_length=1,
        max_length=3,
        title="Planes",
        description="For 2D networks: along which planes slices are cut. With several, predictions are averaged over them.",
    )
    context: int = Field(
        0,
        ge=0,
        le=16,
        title="Context slices",
        description="For 2D networks: how many neighbouring slices on each side are shown as further channels (2.5D).",
    )
    augmentation: bool = Field(
        True, title="Augmentation", description="Random rotation, zoom, contrast and noise, so that few cases teach more."
    )
    augment_on: Literal["auto", "loader", "device"] = Field(
        "auto",
        title="Augment on",
        description="Where random changes are computed. auto: on the GPU where there is one and it knows the steps, else in the loader.",
    )

    @field_validator("planes")
    @classmethod
    def _each_once(cls, planes: tuple[Plane, ...]) -> tuple[Plane, ...]:
        if len(set(planes)) < len(planes):
            raise ValueError("each plane may stand there once")
        return planes


class NetworkConfig(_Section):
    """The network."""

    name: NetworkName = Field(
        "dynunet",
        title="Network",
        description="dynunet: U-Net that fits its levels to the voxels, right for nearly everything. The others are those of known "
        "systems and papers.",
    )
    dims: Literal["auto", 2, 3] = Field(
        "auto", title="Dimensions", description="2: slice by slice. 3: volumes. auto: 2 where the scans have one slice, else 3."
    )
    features: Auto | tuple[Annotated[int, Field(ge=1, le=2048)], ...] = Field(
        "auto",
        title="Features",
        description="Filters per level, finest first. More levels see further, more filters learn more and take longer. auto: by the "
        "network, the patch and the device.",
    )
    deep_supervision: Auto | bool = Field(
        "auto",
        title="Deep supervision",
        description="Coarse levels are judged as well, which helps long trainings. auto: as the network was published.",
    )
    options: dict[str, bool | int | float | str | list[int]] = Field(
        default_factory=dict, title="Options", description="What only this network knows, such as dropout: 0.2."
    )
    pretrained: Path | None = Field(
        None,
        title="Start from",
        description="A model (.pt) of ours whose weights are taken to begin with. With other labels the last layer is made anew.",
    )

    @field_validator("name", mode="before")
    @classmethod
    def _renamed(cls, name: Any) -> Any:
        return "dynunet" if name == "unet3d" else name

    @field_validator("pretrained")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return _absolute_path(path)

    @field_serializer("pretrained")
    def _as_text(self, path: Path | None) -> str | None:
        return path.as_posix() if path is not None else None


class OptimizationConfig(_Section):
    """How the network learns, and for how long."""

    minutes: float | None = Field(
        8.0,
        gt=0,
        le=60 * 24 * 60,
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
    epochs: float | None = Field(
        None,
        gt=0,
        title="Epoch limit",
        description="End when every case was shown so many times, if that is sooner.",
    )
    batch_size: Auto | Annotated[int, Field(ge=1, le=512)] = Field(
        "auto", title="Batch size", description="Patches per step. Lower it when memory runs out."
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=256,
        title="Accumulate",
        description="Steps whose gradients are summed before the weights change: a larger batch than the memory holds.",
    )
    loss: Literal["auto", "dice_ce", "dice", "dice_per_label", "ce", "bce", "generalized_dice", "tversky", "focal", "dice_fn"] = (
        Field(
            "auto",
            title="Loss",
            description="auto: dice_ce, Dice + cross-entropy, the safe choice. dice: over all labels as one; dice_per_label: the mean over "
            "the labels; ce, bce: cross-entropy alone; generalized_dice, tversky, focal: for rare labels; dice_fn: Dice + 8 x Dice of what "
            "was missed.",
        )
    )
    class_weights: dict[Value, Weight] = Field(
        default_factory=dict,
        title="Class weights",
        description="How much each label counts in the loss, such as 1: 1, 2: 4 (0 is the background); empty: all the same.",
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", title="Optimiser", description="AdamW suits nearly everything; SGD (momentum 0.9) needs a higher learning rate."
    )
    momentum: float = Field(0.9, ge=0, lt=1, title="Momentum", description="Of SGD.")
    learning_rate: Auto | Annotated[float, Field(gt=0, le=10)] = Field(
        "auto",
        title="Learning rate",
        description="Lower it by ten when the loss jumps. auto: 0.002 for Adam and AdamW, 0.01 for SGD.",
    )
    weight_decay: float = Field(
        1e-4, ge=0, le=1, title="Weight decay", description="Pulls the weights to zero; rarely worth a change."
    )
    schedule: Literal["cosine", "polynomial", "constant", "plateau"] = Field(
        "cosine",
        title="Schedule",
        description="How the learning rate falls over the budget. plateau: halved when the validation stops getting better.",
    )
    warm_up: float = Field(
        0.03, ge=0, le=0.5, title="Warm-up", description="Share of the budget in which the learning rate rises from a tenth."
    )
    gradient_clip: float | None = Field(
        12.0,
        gt=0,
        title="Gradient clip",
        description="Longest gradient; one bad patch then cannot spoil the weights. Empty: none.",
    )
    ema: Auto | Annotated[float, Field(ge=0, lt=1)] = Field(
        "auto",
        title="Weight average",
        description="Decay of the moving average of the weights, which predicts better than the last weights; 0: none. auto: by the "
        "length of the run.",
    )
    metric: Literal["dice", "recall", "precision", "f1"] = Field(
        "dice", title="Judged by", description="What makes a checkpoint the best one, on whole validation scans."
    )
    metric_label: str | None = Field(
        None, title="Judged label", description="Name of the label that is judged; empty: the mean of all."
    )
    patience: int | None = Field(
        None,
        ge=1,
        title="Patience",
        description="Stop after so many validations without a better one; empty: use the whole budget.",
    )
    seed: int = Field(0, ge=0, title="Seed", description="Start of all random numbers of the training.")
    deterministic: bool = Field(
        False,
        title="Deterministic",
        description="The same numbers to the last bit at every repetition, where the device can; somewhat slower.",
    )

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.minutes is None and self.max_iterations is None and self.epochs is None:
            raise ValueError("a run needs an end: minutes, max_iterations or epochs")
        return self


class CascadeConfig(_Section):
    """Two networks: the first finds the object in the whole scan, the second segments inside its box."""

    enabled: bool = Field(
        False,
        title="Find first",
        description="Train a small network that finds the object, and one that segments inside its box: for small objects in large scans.",
    )
    share: float = Field(0.3, gt=0, lt=1, title="Share of finding", description="Share of the budget for the network that finds.")
    margin: float = Field(0.2, ge=0, le=2, title="Margin", description="Share of the box that is added on each side.")
    smallest: int = Field(28, ge=1, le=512, title="Smallest box", description="Voxels of a side of the box, at least.")


class RecordConfig(_Section):
    """What a run keeps and tells."""

    checkpoint_minutes: float = Field(
        5.0, gt=0, le=24 * 60, title="Save every", description="Minutes between two states from which the run can go on."
    )
    validate_every: Auto | Annotated[float, Field(gt=0, le=24 * 60)] = Field(
        "auto",
        title="Validate every",
        description="Minutes between two validations. auto: so often that they take a tenth of the time.",
    )
    shown_cases: int = Field(
        3, ge=1, le=20, title="Cases to watch", description="Validation cases whose prediction is kept at every validation."
    )
    trackers: tuple[Literal["mlflow", "wandb"], ...] = Field(
        (),
        title="Trackers",
        description="Other programs that are told, if they are installed: mlflow, wandb. They may use the network.",
    )


class DeviceConfig(_Section):
    """Where it runs."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", title="Device", description="auto: the GPU if there is one, else the CPU."
    )
    precision: Literal["auto", "32", "bf16", "16"] = Field(
        "auto",
        title="Precision",
        description="auto: bfloat16 where the hardware has it (twice as fast or more), 16 bit on older GPUs, else 32 bit.",
    )
    devices: int = Field(
        1, ge=1, le=64, title="Devices", description="GPUs (or CPU processes) of each machine that train together."
    )
    nodes: int = Field(
        1, ge=1, le=1024, title="Machines", description="Machines that train together, started by torchrun or SLURM."
    )
    workers: Auto | Annotated[int, Field(ge=0, le=64)] = Field(
        "auto",
        title="Loader processes",
        description="Processes that cut and augment patches. 0: none, inside the training itself. auto: by the cores of the machine.",
    )
    channels_last: Literal["auto", "on", "off"] = Field(
        "auto",
        title="Channels last",
        description="Memory layout of the network. auto: the faster of both, measured at the start.",
    )
    compile: Literal["off", "auto", "on"] = Field(
        "off",
        title="Compile",
        description="Let torch compile the network, which takes a minute or more. auto: where that is faster.",
    )

    @field_validator("channels_last", "compile", "precision", mode="before")
    @classmethod
    def _as_word(cls, value: Any) -> Any:
        # YAML takes on and off for truth values, and 32 for a number.
        if isinstance(value, bool):
            return "on" if value else "off"
        return str(value) if isinstance(value, int) else value


class TrainConfig(_Section):
    """A training run.

    Only `data.images` has no default. `from_yaml(to_yaml(config)) == config`.
    """

    data: DataConfig
    preprocessing: PreprocessingConfig = Field(default_factory=PreprocessingConfig, title="Preprocessing")
    transforms: TransformsConfig = Field(default_factory=TransformsConfig, title="Transforms")
    targets: TargetsConfig = Field(default_factory=TargetsConfig, title="Targets")
    sampling: SamplingConfig = Field(default_factory=SamplingConfig, title="Sampling")
    network: NetworkConfig = Field(default_factory=NetworkConfig, title="Network")
    optimization: OptimizationConfig = Field(default_factory=OptimizationConfig, title="Optimisation")
    cascade: CascadeConfig = Field(default_factory=CascadeConfig, title="Cascade")
    record: RecordConfig = Field(default_factory=RecordConfig, title="Record")
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

    def with_defaults(self) -> Self:
        """Return a copy with defaults, but the data, what is recorded, the device, the budget and the seed as they are."""
        values = self.to_dict()
        own = [*_OF_THE_USER]
        if self.optimization.minutes is None and self.optimization.max_iterations is None:
            own.append("epochs")  # the only end that the run has
        kept = {section: values[section] for section in ("data", "record", "device")}
        kept["optimization"] = {setting: values["optimization"][setting] for setting in own}
        return self.parse(kept)

    def with_preset(self, name: str) -> Self:
        """Return a copy with the settings of a preset, and what `with_defaults` leaves where it says nothing.

        Raises
        ------
        ConfigError
            There is no preset of this name.
        """
        return self.with_defaults().with_values(preset_settings(name))

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
