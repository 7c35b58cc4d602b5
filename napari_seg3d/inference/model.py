"""The model file: weights, and everything needed to predict with them, as numbers and plain values.

A checkpoint is an untrusted file. It is loaded with ``weights_only=True``, so that no code in it can run, and everything beside the
weights is validated before it is used.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from napari_seg3d.errors import ConfigError, ModelError
from napari_seg3d.files import atomic_path
from napari_seg3d.inference.postprocess.rules import Rules
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.transforms import Pipeline, check_preprocessing

if TYPE_CHECKING:
    import torch

FORMAT = "napari-seg3d model"
VERSION = 2
_DESCRIPTION = "description.json"  # a copy of the spec in the archive, for those who would not wait for torch
_NOT_OURS = "Choose a best.pt or last.pt from the checkpoints folder of a run."
Side = Annotated[int, Field(ge=1, le=4096)]


class Crop(BaseModel):
    """How much of a scan around the object that the first network of a cascade found is shown to the second.

    Parameters
    ----------
    margin : float
        Share of the object's box that is added on each side.
    smallest : int
        Voxels of the scan that each side of the box has at least, as far as the scan has them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(0.2, ge=0, le=2)
    smallest: int = Field(28, ge=1, le=512)


class ModelSpec(BaseModel):
    """Everything beside the weights.

    Parameters
    ----------
    network : NetworkSpec
        How to build the network.
    labels : dict of int to str
        Value in a mask -> name, without the background. The classes of the network are 0 for background, then these by rising value.
    targets : {"exclusive", "overlapping"}
        Whether a voxel has one label at most (softmax over background and labels), or each label is by itself (a sigmoid each; the channels
        of the network are the labels by rising value, without a background).
    pipeline : list of steps
        The preprocessing, as `Pipeline.to_list` gives it.
    patch_size : three ints
        What the network was trained on, along R, A and S; for a 2D network the two sides in the slice, then 1.
    mode : {"patches", "whole"}
        How it was trained, and so how it predicts unless asked otherwise: pieces, or whole scans (slices, for a 2D network).
    planes : tuple of {"axial", "coronal", "sagittal"}
        Along which planes a 2D network sees slices; with several, the probabilities are averaged.
    context : int
        Neighbouring slices on each side that a 2D network sees as further channels; at the ends the last slice is repeated. Channel order:
        all channels of slice -context, ..., of slice +context.
    crop : Crop, optional
        Of the second network of a cascade: which box around what the first one finds it sees. Left out, it sees whole scans.
    temperature : float
        What its logits are divided by, so that its probabilities mean what they say; a calibration beside its file goes before.
    rules : Rules, optional
        What is done to its masks; rules beside its file go before.
    info : dict
        Where it comes from: Dice, iteration, settings. For people; nothing depends on it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkSpec
    labels: dict[Annotated[int, Field(ge=1, le=2**31 - 1)], str]
    targets: Literal["exclusive", "overlapping"] = "exclusive"
    pipeline: list[dict[str, Any]]
    patch_size: tuple[Side, Side, Side]
    mode: Literal["patches", "whole"]
    planes: tuple[Literal["axial", "coronal", "sagittal"], ...] = Field(("axial",), min_length=1, max_length=3)
    context: int = Field(0, ge=0, le=16)
    crop: Crop | None = None
    temperature: float = Field(1.0, gt=0, le=100, allow_inf_nan=False)
    rules: Rules | None = None
    info: dict[str, Any] = Field(default_factory=dict)

    @field_validator("pipeline")
    @classmethod
    def _known_steps(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            check_preprocessing(Pipeline.from_list(value))
        except ConfigError as error:
            raise ValueError(error.what) from error
        return value

    @model_validator(mode="after")
    def _fits_itself(self) -> ModelSpec:
        if self.network.out_channels != self.channels:
            raise ValueError(f"{len(self.labels)} {self.targets} labels are not {self.network.out_channels} output channels")
        if self.context and self.network.dims == 3:
            raise ValueError("only a 2D network sees context slices")
        if self.network.in_channels % (2 * self.context + 1):
            raise ValueError(f"{self.network.in_channels} input channels are not those of {2 * self.context + 1} slices")
        return self

    @property
    def what_it_sees(self) -> str:
        """How the network sees a scan, for people: ``"axial slices in pieces of 64 x 64 pixels, with 3 neighbours on each side"``."""
        sides = " x ".join(str(side) for side in self.patch_size[: self.network.dims])
        if self.network.dims == 3:
            seen = "the whole scan" if self.mode == "whole" else f"pieces of {sides} voxels"
        else:
            slices = f"{' and '.join(self.planes)} slices"
            seen = f"whole {slices}" if self.mode == "whole" else f"{slices} in pieces of {sides} pixels"
            seen += (
                f", with {self.context} {'neighbours' if self.context > 1 else 'neighbour'} on each side" if self.context else ""
            )
        return f"{seen}, inside the box of what a first network finds in the whole scan" if self.crop is not None else seen

    @property
    def label_values(self) -> list[int]:
        """Mask value of each class, the background first."""
        return [0, *sorted(self.labels)]

    @property
    def channels(self) -> int:
        """How many output channels the network must have."""
        return len(self.labels) + (self.targets == "exclusive")


@dataclass(frozen=True)
class Model:
    """What is in a model file.

    Parameters
    ----------
    spec : ModelSpec
        What the model is.
    weights : dict of str to tensor
        State of its network, on the CPU.
    roi : Model, optional
        The first network of a cascade, which finds the object in the whole scan.
    """

    spec: ModelSpec
    weights: dict[str, torch.Tensor]
    roi: Model | None = None


def save_model(path: Path, spec: ModelSpec, weights: Mapping[str, torch.Tensor], roi: Model | None = None) -> None:
    """Write a model file whole or not at all; a reader never sees half of one."""
    import torch

    content = {"format": FORMAT, "version": VERSION, **_stored(spec, weights)}
    content["roi"] = _stored(roi.spec, roi.weights) if roi is not None else None
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch says a full disk this way
            raise OSError(str(error).splitlines()[0]) from error
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(_description_in(archive), json.dumps(spec.model_dump(mode="json")))


def read_spec(path: str | Path) -> ModelSpec | None:
    """Return what a model file says about itself, without a wait for torch or for its weights.

    None for what is no model, which `load_model` explains, and for models of version 1, which do not say it in words.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return ModelSpec.model_validate_json(archive.read(_description_in(archive)))
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, IndexError, ValueError):
        return None


def load_model(path: str | Path) -> Model:
    """Return the model in a file, on the CPU.

    Raises
    ------
    ModelError
        The file is missing, damaged, not one of ours, or holds anything but numbers and plain values.
    """
    import pickle

    import torch

    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path} does not exist.", _NOT_OURS)
    if _is_damaged(path):
        raise ModelError(f"{path} is no model file, or is damaged.", _NOT_OURS)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} holds something other than numbers, which was not run.", _NOT_OURS) from error
    except Exception as error:  # a damaged archive makes torch fail in any way it likes
        raise ModelError(
            f"{path} cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__}).", _NOT_OURS
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelError(f"{path} was not written by napari-seg3d.", _NOT_OURS)
    if content.get("version") not in (1, VERSION):
        raise ModelError(
            f"{path} is of version {content.get('version')}, which this program does not know.", "Update napari-seg3d."
        )
    roi = content.get("roi")
    return _understood(path, content, _understood(path, roi) if roi is not None else None)


def _description_in(archive: zipfile.ZipFile) -> str:
    return f"{archive.namelist()[0].split('/')[0]}/{_DESCRIPTION}"  # torch wants everything in the folder of its own


def _stored(spec: ModelSpec, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    return {"spec": spec.model_dump(mode="json"), "weights": dict(weights)}


def _understood(path: Path, content: object, roi: Model | None = None) -> Model:
    """Return the model that a part of a file describes, if it is one."""
    import torch

    if not isinstance(content, dict):
        raise ModelError(f"{path} does not describe a model that this program knows.", "Update napari-seg3d.")
    try:
        spec = ModelSpec.model_validate(content["spec"])
    except (ValidationError, KeyError) as error:
        raise ModelError(
            f"{path} does not describe a model that this program knows ({_first(error)}).", "Update napari-seg3d."
        ) from error
    if (roi is None) != (spec.crop is None):
        raise ModelError(f"{path} holds one of the two networks of a cascade.", _NOT_OURS)
    weights = content.get("weights")
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ModelError(f"{path} holds no weights.", _NOT_OURS)
    return Model(spec, weights, roi)


def _is_damaged(path: Path) -> bool:
    # torch does not look at the checksums that it writes; weights with a flipped bit would predict nonsense without a word.
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is not None
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError):
        return True


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc'])) or 'spec'}: {problem['msg']}"
    return f"it has no {error}"
