"""MONAI bundles: a folder or zip archive with a network, its weights, its preprocessing and how it looks at a scan.

The layout is that of MONAI's bundle specification: ``configs/metadata.json``, ``configs/inference.json`` (or YAML) and
``models/model.pt``. The file could name any object of Python, expressions and scripts. Nothing of that is ever made or run here: its
values are read as plain values, and what it names must be on the lists of `bundle_networks` and `bundle_steps`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from napari_seg3d.errors import ModelError
from napari_seg3d.inference.engines import EngineName
from napari_seg3d.inference.foreign.bundle_config import BundleConfig
from napari_seg3d.inference.foreign.bundle_networks import network_of
from napari_seg3d.inference.foreign.bundle_steps import Preprocessing, preprocessing_of
from napari_seg3d.inference.foreign.predictor import ForeignPredictor, stand_in
from napari_seg3d.inference.foreign.seen import Windows
from napari_seg3d.inference.foreign.source import Source, is_archive
from napari_seg3d.inference.model import ModelSpec
from napari_seg3d.transforms import Pipeline, Step

_METADATA = "configs/metadata.json"
_WEIGHTS = "models/model.pt"
_INFERENCE = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
_PADDING = {"constant": "constant", "replicate": "edge", "reflect": "reflect", "circular": "wrap"}
# Of the inferer: how fast it is, not what it finds.
_ABOUT_SPEED = (
    "sw_batch_size",
    "sw_device",
    "device",
    "progress",
    "cache_roi_weight_map",
    "cpu_thresh",
    "buffer_steps",
    "buffer_dim",
)
# How the windows overlap is chosen by whoever predicts.
_ABOUT_BLENDING = ("overlap", "mode", "sigma_scale")
_AFTERWARDS = ("Activations", "AsDiscrete", "Invert", "SaveImage", "EnsureType", "ToTensor", "CopyItems", "SelectItems")


@dataclass(frozen=True)
class MonaiBundle:
    """A bundle whose description was read and understood; its weights were not.

    Parameters
    ----------
    source : Source
        Its files.
    name : str
        What to call it.
    config : BundleConfig
        Its settings.
    targets : {"exclusive", "overlapping"}
        Whether its postprocessing takes the likeliest class or each label by itself.
    names : tuple of str
        Of its output channels; empty where it does not say them.
    preprocessing : Preprocessing
        What happens to a scan first.
    windows : Windows
        How the network looks at it.
    notes : tuple of str
        What is not done that the bundle would do.
    """

    source: Source
    name: str
    config: BundleConfig
    targets: Literal["exclusive", "overlapping"]
    names: tuple[str, ...]
    preprocessing: Preprocessing
    windows: Windows
    notes: tuple[str, ...]

    def predictor(self, accelerator: str = "auto", precision: str = "auto", engine: EngineName = "auto") -> ForeignPredictor:
        """Return it with its weights, ready to predict.

        Raises
        ------
        ModelError
            Its network is not on our list, its weights are damaged or no plain tensors, or the two do not fit.
        ConfigError
            The device is not there.
        """
        place, raw = self.config.first("network_def", "network", "net", "model", "evaluator#network")
        if not place:
            raise ModelError(f"{self.name} describes no network.", "It should be under network_def.")
        name, arguments = self.config.component(raw, place)
        arguments = {key: self.config.plain(value, f"{place}#{key}") for key, value in arguments.items()}
        network, divisor = network_of(name, arguments, place, self._weights())
        channels = arguments.get("in_channels", 1), arguments.get("out_channels", 1 if name == "VNet" else 2)
        spec = self._spec(name, channels[0], channels[1], divisor)
        prepare, orientation = self.preprocessing.prepare(), self.preprocessing.orientation
        return ForeignPredictor(
            spec, network, prepare, self.windows, self.name, self.notes, orientation, accelerator, precision, engine
        )

    def _spec(self, network: str, in_channels: int, out_channels: int, divisor: tuple[int, int, int]) -> ModelSpec:
        if self.names and len(self.names) != out_channels:
            raise ModelError(
                f"{self.name} names {len(self.names)} channels, and its network answers with {out_channels}.",
                f"Correct channel_def in {_METADATA}.",
            )
        names = self.names or tuple(f"label {channel}" for channel in range(out_channels))
        first = 1 if self.targets == "exclusive" else 0
        labels = {value: names[channel] for value, channel in enumerate(range(first, out_channels), start=1)}
        steps = []
        if self.preprocessing.spacing is not None:
            steps = [Step("ToCanonical"), Step("Resample", {"target": list(self.preprocessing.spacing)})]
        whole = self.windows.size is None
        try:
            return ModelSpec(
                network=stand_in(in_channels, out_channels, divisor),
                labels=labels,
                targets=self.targets,
                pipeline=Pipeline(tuple(steps)).to_list(),
                patch_size=(max(64, divisor[0]), max(64, divisor[1]), max(64, divisor[2])) if whole else self.windows.size,
                mode="whole" if whole else "patches",
                info={"kind": "MONAI bundle", "network": network},
            )
        except ValidationError as error:
            raise ModelError(f"{self.name} cannot be used: {error.errors()[0]['msg']}.", "Choose another model.") from error

    def _weights(self) -> dict[str, Any]:
        import torch

        name = self.source.find(_WEIGHTS)
        if name is None:
            script = self.source.find("models/model.ts")
            raise ModelError(
                f"{self.source.path} has no {_WEIGHTS}" + (", only a TorchScript program, which is not run." if script else "."),
                "Get the bundle with its weights.",
            )
        found = self.source.tensors(name)
        for key in ("model", "state_dict", "network", "net"):
            if isinstance(found, dict) and isinstance(found.get(key), dict):
                found = found[key]
        if not isinstance(found, dict) or not found or not all(isinstance(value, torch.Tensor) for value in found.values()):
            raise ModelError(f"{name} in {self.source.path} holds no weights.", "Get the bundle from its makers again.")
        return {str(key).removeprefix("module."): value for key, value in found.items()}


def open_bundle(path: Path) -> MonaiBundle | None:
    """Return the bundle at a path, None where there is none.

    Parameters
    ----------
    path : Path
        Its folder, or a zip archive.

    Raises
    ------
    ModelError
        It asks for something that is not on our lists, or is damaged.
    """
    if not (path.is_dir() or is_archive(path)) or not _is_bundle(path):
        return None
    source = Source(path)
    metadata_name = source.find(_METADATA)
    if metadata_name is None:
        return None
    inference = next((found for place in _INFERENCE if (found := source.find(place)) is not None), None)
    if inference is None:
        raise ModelError(f"{path} is a MONAI bundle without {_INFERENCE[0]}.", "Get the bundle from its makers again.")
    values, metadata = source.text(inference), source.text(metadata_name)
    if not isinstance(values, Mapping) or not isinstance(metadata, Mapping):
        raise ModelError(f"{path} is no bundle as MONAI writes them.", "Get the bundle from its makers again.")
    config = BundleConfig(values, inference)
    _, before = config.first("preprocessing", "pre_transforms", "dataset#transform", "transform")
    place, after = config.first("postprocessing", "post_transforms", "evaluator#postprocessing")
    names = _channel_names(metadata)
    targets, notes = _decision(config, config.components(after, place), names)
    return MonaiBundle(
        source,
        path.stem if path.is_file() else path.resolve().name,
        config,
        targets,
        names,
        preprocessing_of(config, config.components(before, "preprocessing")),
        _windows(config),
        notes,
    )


def _is_bundle(path: Path) -> bool:
    if path.is_dir():
        return (path / _METADATA).is_file()
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name == _METADATA or name.endswith(f"/{_METADATA}") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False  # perhaps a damaged model of ours, which is told elsewhere


def _channel_names(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the metadata call the channels of the output, in their order; empty where they do not."""
    try:
        outputs = metadata["network_data_format"]["outputs"]
        channels = outputs.get("pred", next(iter(outputs.values())))["channel_def"]
        return tuple(str(channels[str(channel)]) for channel in range(len(channels)))
    except (KeyError, TypeError, AttributeError, StopIteration):
        return ()


def _decision(
    config: BundleConfig, places: list[tuple[str, Any]], names: tuple[str, ...]
) -> tuple[Literal["exclusive", "overlapping"], tuple[str, ...]]:
    """Return how labels are made of what the network says, and what the bundle would do with them that is not done here."""
    has = {"softmax": False, "sigmoid": False, "argmax": False}
    threshold: Any = None
    left_out = []
    for where, raw in places:
        target, arguments = config.component(raw, where) if _is_monai(raw) else (str(raw.get("_target_")), {})
        name = target.removesuffix("Dict").removesuffix("d").removesuffix("D")
        if name in ("Activations", "AsDiscrete"):
            if "other" in arguments:
                raise ModelError(f"{where} asks for a function ({arguments['other']}), which was not run.", "Remove it.")
            for key in has:
                has[key] |= _flag(config, arguments, key, where)
            if name == "AsDiscrete" and arguments.get("threshold") is not None:
                given = config.plain(arguments["threshold"], where)
                threshold = given[0] if isinstance(given, list) and given else given
        elif name not in _AFTERWARDS:
            left_out.append(target)
    notes = (f"The bundle would also apply {', '.join(left_out)} to its labels, which is not done here.",) if left_out else ()
    if has["sigmoid"] and not has["argmax"]:
        if threshold not in (None, 0.5):
            raise ModelError(f"The bundle takes what is likelier than {threshold}.", "Only 0.5 is known: change it in the file.")
        return "overlapping", notes
    if has["softmax"] or has["argmax"] or (names and names[0].lower() == "background"):
        return "exclusive", notes
    raise ModelError(
        "The bundle's postprocessing does not say how labels are made of what its network says.",
        "Add Activationsd (softmax or sigmoid) and AsDiscreted to postprocessing.",
    )


def _is_monai(raw: Any) -> bool:
    target = raw.get("_target_") if isinstance(raw, Mapping) else None
    return not isinstance(target, str) or "." not in target or target.startswith("monai.")


def _flag(config: BundleConfig, arguments: dict[str, Any], key: str, where: str) -> bool:
    value = config.plain(arguments.get(key, False), f"{where}#{key}")
    return any(value) if isinstance(value, list) else bool(value)


def _windows(config: BundleConfig) -> Windows:
    """Return how the bundle's inferer looks at a scan."""
    place, raw = config.first("inferer", "evaluator#inferer")
    if not place:
        return Windows(None)  # as MONAI's evaluator does
    name, arguments = config.component(raw, place)
    if name == "SimpleInferer":
        return Windows(None)
    if name != "SlidingWindowInferer":
        raise ModelError(f"{place} asks for {name}, which is not known.", "Known are SlidingWindowInferer and SimpleInferer.")
    known = {"roi_size", "padding_mode", "cval", "with_coord", *_ABOUT_SPEED, *_ABOUT_BLENDING}
    if set(arguments) - known or config.plain(arguments.get("with_coord", False), place):
        unknown = sorted({*(set(arguments) - known), *({"with_coord"} & set(arguments))})
        raise ModelError(f"{place}: {name} does not take {', '.join(unknown)} here.", "Remove that from the file.")
    size = config.plain(arguments.get("roi_size"), f"{place}#roi_size")
    size = size if isinstance(size, list) else [size] * 3
    if len(size) != 3 or not all(isinstance(side, int) and 1 <= side <= 4096 for side in size):
        raise ModelError(f"{place}: roi_size = {size} is no window of a scan.", "Write three whole numbers from 1 to 4096.")
    padding = str(config.plain(arguments.get("padding_mode", "constant"), place))
    value = config.plain(arguments.get("cval", 0.0), place)
    if padding not in _PADDING or not isinstance(value, (int, float)):
        raise ModelError(f"{place}: padding_mode = {padding} is not known.", f"Known are {', '.join(_PADDING)}.")
    i, j, k = size
    return Windows((i, j, k), _PADDING[padding], float(value))
