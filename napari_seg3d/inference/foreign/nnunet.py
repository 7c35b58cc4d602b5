"""Result folders of nnU-Net v2 (Isensee et al., Nature Methods 2021), through the optional package ``nnunetv2``.

``plans.json`` and ``dataset.json`` say what the network and its preprocessing are, and each ``fold_x`` holds weights. nnU-Net itself
loads those with full pickle and finds classes by any name in the plans. Here the weights are loaded as plain tensors, and what the plans
name must be on the lists below; only then is nnU-Net's own preprocessing called with them.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_seg3d.errors import ConfigError, ModelError
from napari_seg3d.inference.engines import EngineName
from napari_seg3d.inference.foreign.bundle_networks import check_weights, shapes_of
from napari_seg3d.inference.foreign.predictor import ForeignPredictor, stand_in
from napari_seg3d.inference.foreign.seen import Windows
from napari_seg3d.inference.foreign.source import Source, load_tensors
from napari_seg3d.inference.model import ModelSpec
from napari_seg3d.volumes import Volume

if TYPE_CHECKING:
    import torch

_CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
_NETWORKS = ("PlainConvUNet", "ResidualEncoderUNet")
_ARCHITECTURES = "dynamic_network_architectures.architectures."
# What the arguments of a network may name.
_PARTS = ("Conv3d", "InstanceNorm3d", "BatchNorm3d", "Dropout3d", "LeakyReLU", "ReLU", "GELU", "PReLU")
_NORMALISATIONS = (
    "ZScoreNormalization",
    "CTNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
)
_RESAMPLING = ("resample_data_or_seg_to_shape", "resample_torch_fornnunet")
_RESAMPLING_ARGUMENTS = {
    "is_seg",
    "order",
    "order_z",
    "force_separate_z",
    "separate_z_anisotropy_threshold",
    "num_threads",
    "memefficient_seg_resampling",
    "mode",
    "aniso_axis_mode",
}
# Reader -> the orientation to which it turns a scan; None: that of the file.
_READERS = {"SimpleITKIO": None, "NibabelIO": None, "NibabelIOWithReorient": "RAS"}
_LIKE_NNUNET = "Only what nnU-Net makes by itself can be used."


@dataclass(frozen=True)
class NnunetResults:
    """A result folder whose description was read; its weights were not.

    Parameters
    ----------
    folder : Path
        The folder with ``plans.json`` and ``dataset.json``.
    checkpoints : tuple of Path
        The weights of each fold; their answers are averaged.
    plans, dataset : mapping
        What the two files hold.
    """

    folder: Path
    checkpoints: tuple[Path, ...]
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What to call it: the data set."""
        return Path(str(self.plans.get("dataset_name") or "")).name or self.folder.name

    def predictor(self, accelerator: str = "auto", precision: str = "auto", engine: EngineName = "auto") -> ForeignPredictor:
        """Return it with its weights, ready to predict.

        Raises
        ------
        ModelError
            The package nnunetv2 is missing, the plans name something that is not on our lists, or the weights are damaged or do not fit.
        ConfigError
            The device is not there.
        """
        states = [_weights(path) for path in self.checkpoints]
        configurations = {name for name, _ in states}
        if len(configurations) != 1:
            raise ModelError(f"The folds in {self.folder} are of {len(configurations)} configurations.", "Keep one.")
        configuration = self._configuration(configurations.pop())
        patch = _patch_of(configuration)
        try:
            targets, labels = _labels_of(self.dataset["labels"])
            channels = len(self.dataset.get("channel_names") or self.dataset["modality"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{self.folder / 'dataset.json'} is not as nnU-Net writes it ({error}).", _LIKE_NNUNET) from error
        outputs = len(labels) + (targets == "exclusive")
        architecture = configuration["architecture"]
        networks = [_network(architecture, channels, outputs, weights, self.folder) for _, weights in states]
        i, j, k = np.prod(np.array(architecture["arch_kwargs"]["strides"]), axis=0).tolist()
        try:
            spec = ModelSpec(
                network=stand_in(channels, outputs, (i, j, k)),
                labels=labels,
                targets=targets,
                pipeline=[],
                patch_size=patch,
                mode="patches",
                info={"kind": "nnU-Net v2", "folds": len(networks)},
            )
        except ValidationError as error:
            raise ModelError(f"{self.folder} cannot be used: {error.errors()[0]['msg']}.", "Choose another model.") from error
        reader = str(self.plans.get("image_reader_writer"))
        if reader not in _READERS:
            raise ModelError(f"{self.name} reads scans with {reader}.", f"Known are {', '.join(_READERS)}.")
        prepare = _prepared_by(self.plans, configuration, reader)
        network = networks[0] if len(networks) == 1 else _average(networks)
        turned = _READERS[reader]
        orientation = "".join(turned[axis] for axis in _axes(self.plans)) if turned is not None else None
        return ForeignPredictor(
            spec, network, prepare, Windows(patch), self.name, (), orientation, accelerator, precision, engine
        )

    def _configuration(self, name: str) -> dict[str, Any]:
        """Return the settings of a configuration, each of which is known."""
        manager = _imported("nnunetv2.utilities.plans_handling.plans_handler").PlansManager(dict(self.plans))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = dict(manager.get_configuration(name).configuration)
            _check(found, self.plans)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ModelError(
                f"{self.folder / 'plans.json'} is not as nnU-Net writes it ({type(error).__name__}: {error}).", _LIKE_NNUNET
            ) from error
        return found


def open_results(path: Path) -> NnunetResults | None:
    """Return the nnU-Net results at a path, None where there are none.

    Parameters
    ----------
    path : Path
        The folder of a trained configuration, one of its folds, or a checkpoint in it. Of the whole folder, all folds are averaged.

    Raises
    ------
    ModelError
        A file is damaged, or no fold has weights.
    """
    folders = [path, *path.parents][:3]
    folder = next((one for one in folders if all((one / name).is_file() for name in ("plans.json", "dataset.json"))), None)
    if folder is None:
        return None
    if path.is_file():
        checkpoints = [path]
    else:
        folds = sorted(folder.glob("fold_*")) if path == folder else [path]
        found = (next((fold / name for name in _CHECKPOINTS if (fold / name).is_file()), None) for fold in folds)
        checkpoints = [one for one in found if one is not None]
    source = Source(folder)
    plans, dataset = source.text("plans.json"), source.text("dataset.json")
    if not isinstance(plans, Mapping) or not isinstance(dataset, Mapping) or "configurations" not in plans:
        return None
    if not checkpoints:
        raise ModelError(f"No fold in {path} has a {_CHECKPOINTS[0]}.", "Choose the folder of a finished nnU-Net training.")
    return NnunetResults(folder, tuple(checkpoints), plans, dataset)


def _imported(name: str) -> Any:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints which of its environment variables are not set
            return importlib.import_module(name)
    except ImportError as error:
        raise ModelError(
            f"nnU-Net's results need its package, which is not there ({error}).",
            'Install it: pip install "napari-seg3d[nnunet]".',
        ) from error
    except RuntimeError as error:  # a torchvision that was built for another torch
        raise ModelError(
            f"The package nnunetv2 does not start ({error}).", "Install the torchvision that belongs to your torch, or remove it."
        ) from error


def _weights(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the configuration that a checkpoint is of, and its weights."""
    import torch
    from numpy._core.multiarray import scalar

    # Beside the weights it holds scores as NumPy's numbers; older releases of NumPy called the same function by another name.
    numbers = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.float16, np.int64, np.int32, np.bool_)]
    content = load_tensors(path, str(path), (scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *numbers))
    try:
        weights, configuration = content["network_weights"], str(content["init_args"]["configuration"])
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path} is no checkpoint of nnU-Net v2.", "Choose checkpoint_final.pth of a fold.") from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ModelError(f"{path} holds no weights.", "Choose checkpoint_final.pth of a fold.")
    return configuration, {str(key).removeprefix("module."): value for key, value in weights.items()}


def _check(configuration: Mapping[str, Any], plans: Mapping[str, Any]) -> None:
    """Refuse whatever nnU-Net would look for by a name that is not on our lists."""
    if configuration.get("previous_stage"):
        raise ModelError("This is the second stage of nnU-Net's cascade.", "Choose 3d_fullres or 3d_lowres.")
    if configuration["preprocessor_name"] != "DefaultPreprocessor":
        raise ModelError(f"The plans name the preprocessor {configuration['preprocessor_name']}.", _LIKE_NNUNET)
    for name in configuration["normalization_schemes"]:
        if name not in _NORMALISATIONS:
            raise ModelError(f"The plans name the normalisation {name}.", f"Known are {', '.join(_NORMALISATIONS)}.")
    for kind in ("data", "seg", "probabilities"):
        name, arguments = configuration[f"resampling_fn_{kind}"], configuration[f"resampling_fn_{kind}_kwargs"]
        if name not in _RESAMPLING or set(arguments) - _RESAMPLING_ARGUMENTS:
            raise ModelError(f"The plans resample by {name} with {arguments}.", f"Known are {' and '.join(_RESAMPLING)}.")
    if sorted(plans["transpose_forward"]) != [0, 1, 2]:
        raise ModelError(f"The plans transpose by {plans['transpose_forward']}.", _LIKE_NNUNET)


def _patch_of(configuration: Mapping[str, Any]) -> tuple[int, int, int]:
    size = configuration["patch_size"]
    if len(size) != 3:
        raise ModelError("This nnU-Net sees slices.", "Choose a 3D configuration, such as 3d_fullres.")
    i, j, k = (int(side) for side in size)
    return i, j, k


def _labels_of(named: Mapping[str, Any]) -> tuple[Literal["exclusive", "overlapping"], dict[int, str]]:
    """Return what a data set calls its labels; regions made of several labels have a channel each."""
    kept = {name: value for name, value in named.items() if name != "ignore" and value not in (0, [0])}
    if any(isinstance(value, (list, tuple)) and len(value) > 1 for value in kept.values()):
        return "overlapping", dict(enumerate((str(name) for name in kept), start=1))
    labels = {int(value[0] if isinstance(value, list) else value): str(name) for name, value in kept.items()}
    if sorted(labels) != list(range(1, len(labels) + 1)):
        raise ValueError(f"the labels are {sorted(labels)}")
    return "exclusive", labels


def _network(
    architecture: Mapping[str, Any], inputs: int, outputs: int, weights: Mapping[str, torch.Tensor], folder: Path
) -> torch.nn.Module:
    from torch import nn

    target = str(architecture["network_class_name"])
    name = target.rsplit(".", 1)[-1]
    if name not in _NETWORKS or not target.startswith(_ARCHITECTURES):
        raise ModelError(f"The plans name the network {target}, which was not made.", f"Known are {' and '.join(_NETWORKS)}.")
    arguments = dict(architecture["arch_kwargs"])
    for key in architecture["_kw_requires_import"]:
        part = arguments.get(key)
        if part is not None:
            short = str(part).rsplit(".", 1)[-1]
            if short not in _PARTS or not str(part).startswith("torch.nn."):
                raise ModelError(f"The plans name {part} as {key}, which was not made.", f"Known are {', '.join(_PARTS)}.")
            arguments[key] = getattr(nn, short)
    maker = getattr(_imported(f"{_ARCHITECTURES}unet"), name)
    given = {**arguments, "input_channels": inputs, "num_classes": outputs, "deep_supervision": False}
    try:
        check_weights(name, shapes_of(maker, given), weights, str(folder))
        network = maker(**given)
        network.load_state_dict(weights)
    except ModelError:
        raise
    except Exception as error:  # it checks its arguments by assertions
        raise ModelError(f"{name} cannot be made as the plans say ({error}).", _LIKE_NNUNET) from error
    assert isinstance(network, nn.Module)
    return network


def _average(networks: list[torch.nn.Module]) -> torch.nn.Module:
    """Return a network whose logits are the mean of those of others, as nnU-Net averages its folds."""
    import torch

    class Average(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.folds = torch.nn.ModuleList(networks)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.stack([fold(images) for fold in self.folds]).mean(dim=0)

    return Average()


def _axes(plans: Mapping[str, Any]) -> list[int]:
    """Return which axis of the file each axis of what the network sees is: nnU-Net reads K, J, I and then transposes."""
    return [2 - int(axis) for axis in plans["transpose_forward"]]


def _prepared_by(plans: Mapping[str, Any], configuration: Mapping[str, Any], reader: str) -> Callable[[Volume], Volume]:
    """Return nnU-Net's preprocessing: transpose, crop to what is not zero, normalise, resample."""
    managers = _imported("nnunetv2.utilities.plans_handling.plans_handler")
    preprocessor = _imported("nnunetv2.preprocessing.preprocessors.default_preprocessor").DefaultPreprocessor(verbose=False)
    manager, settings = managers.PlansManager(dict(plans)), managers.ConfigurationManager(dict(configuration))

    def prepared(volume: Volume) -> Volume:
        seen = volume.canonical() if _READERS[reader] == "RAS" else volume
        properties: dict[str, Any] = {"spacing": list(seen.spacing)[::-1]}
        array = np.ascontiguousarray(seen.data.transpose(0, 3, 2, 1), dtype=np.float32)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                data, _, properties = preprocessor.run_case_npy(array, None, properties, manager, settings, {})
        except (AssertionError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"nnU-Net cannot prepare this scan ({error}).", "Check the scan, or choose another model."
            ) from error
        image = np.asarray(data, dtype=np.float32)
        crop = [int(side[0]) for side in properties["bbox_used_for_cropping"]]
        cropped = properties["shape_after_cropping_and_before_resampling"]
        return replace(seen, data=image, affine=_affine_of(seen, _axes(plans), crop, cropped, image.shape[1:]))

    return prepared


def _affine_of(seen: Volume, axes: list[int], crop: list[int], before: Any, after: tuple[int, ...]) -> NDArray[np.float64]:
    """Return where the voxels lie after a transpose, a crop and a change of size that keeps the outer faces of the voxels."""
    factor = np.array(before, dtype=float) / np.array(after)
    voxels = np.eye(4)
    voxels[:3, :3] = 0
    for place, axis in enumerate(axes):
        voxels[axis, place] = factor[place]
        voxels[axis, 3] = crop[place] + (factor[place] - 1) / 2
    return np.asarray(seen.affine @ voxels)
