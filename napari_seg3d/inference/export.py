"""A model for other programs: one file of ours, ONNX, or OpenVINO, with a description of what goes in and comes out."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from napari_seg3d.errors import ConfigError, ModelError, WriteError
from napari_seg3d.files import atomic_path, write_text
from napari_seg3d.inference.model import Model, ModelSpec, load_model, save_model
from napari_seg3d.inference.offline import import_openvino
from napari_seg3d.networks import build_network, network_info, output_sides

Format = Literal["model", "onnx", "openvino"]
#: How the files of each format end.
ENDINGS: dict[Format, str] = {"model": ".pt", "onnx": ".onnx", "openvino": ".xml"}
_LARGEST_SIDE = 4096
_BATCH = 2  # of the example: an axis of length one would be taken for one that never changes


def export_model(path: str | Path, out: str | Path, kind: Format, *, overwrite: bool = False) -> list[Path]:
    """Write a model in a form that other programs read.

    ONNX and OpenVINO hold the network alone: a scan must be preprocessed before, and the answer resampled afterwards. What that takes
    stands in a JSON file of the same name: labels, preprocessing, spacing, patch size. The first network of a cascade gets files of
    its own, ``…_roi``.

    Parameters
    ----------
    path : path-like
        The model file.
    out : path-like
        The file to make; one without an ending gets that of the format.
    kind : {"model", "onnx", "openvino"}
        One file of ours, which predicts on its own; or the network for ONNX Runtime or OpenVINO.
    overwrite : bool
        Whether files that are there already may be replaced; the model itself never is.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ModelError
        The file is no model of ours, or its network cannot be described to other programs.
    ConfigError
        A package that this takes is not installed.
    WriteError
        A file cannot be written, or is there already.
    """
    model = load_model(path)
    target = Path(out)
    if target.suffix.lower() != ENDINGS[kind]:
        target = target.with_name(target.name + ENDINGS[kind])
    parts = {target: model}
    if kind != "model" and model.roi is not None:
        parts[target.with_stem(f"{target.stem}_roi")] = model.roi
    files = [file for part in parts for file in _files(part, kind)]
    for file in files:
        if file.exists() and file.samefile(path):
            raise WriteError(f"{file} is the model itself.", "Choose another name.")
        if file.exists() and not overwrite:
            raise WriteError(f"{file} exists already.", "Choose another name, or allow overwriting.")
    if kind == "model":
        save_model(target, model.spec, model.weights, model.roi)
        return files
    for part, one in parts.items():
        with atomic_path(part) as temporary:
            network = temporary.with_suffix(".onnx")
            _write_onnx(one, network, Path(path).name)
            if kind == "openvino":
                openvino = import_openvino()
                openvino.save_model(openvino.Core().read_model(network), temporary, compress_to_fp16=False)
                network.unlink()
        write_text(part.with_suffix(".json"), json.dumps(description(one.spec, part.name), indent=2, ensure_ascii=False) + "\n")
    return files


def description(spec: ModelSpec, file: str) -> dict[str, Any]:
    """Return what another program must know to use the network in `file`, as plain values.

    Beside what `ModelSpec` says, ``channels`` names each channel of the answer, ``activation`` is what makes probabilities of it, and
    ``sides_fixed`` says whether the network takes images of `patch_size` alone or of any sides that `sides_divisible_by` divides.
    """
    names = [name for _, name in sorted(spec.labels.items())]
    dims = spec.network.dims
    return {
        "network": file,
        "input": {"name": "image", "axes": _axes(dims), "channels": spec.network.in_channels},
        "output": {
            "name": "logits",
            "axes": _axes(dims),
            "sides_for_patch_size": list(output_sides(spec.network, spec.patch_size[:dims])),
        },
        "dims": dims,
        "labels": {str(value): name for value, name in sorted(spec.labels.items())},
        "channels": ["background", *names] if spec.targets == "exclusive" else names,
        "targets": spec.targets,
        "activation": "softmax" if spec.targets == "exclusive" else "sigmoid",
        "preprocessing": spec.pipeline,
        "spacing": next((step["parameters"]["target"] for step in reversed(spec.pipeline) if step["name"] == "Resample"), None),
        "mode": spec.mode,
        "patch_size": list(spec.patch_size[:dims]),
        "sides_fixed": not _takes_any_sides(spec),
        "sides_divisible_by": list(spec.network.divisor[:dims]),
        "planes": list(spec.planes) if dims == 2 else [],
        "context": spec.context,
        "crop": spec.crop.model_dump() if spec.crop is not None else None,
    }


def _files(target: Path, kind: Format) -> list[Path]:
    beside = {"model": [], "onnx": [".json"], "openvino": [".bin", ".json"]}[kind]
    return [target, *(target.with_suffix(ending) for ending in beside)]


def _axes(dims: int) -> list[str]:
    return ["batch", "channel", *("RAS" if dims == 3 else ("first of the slice", "second of the slice"))]


def _takes_any_sides(spec: ModelSpec) -> bool:
    return spec.mode == "whole" or network_info(spec.network.name).answers != "voxels"


def _write_onnx(model: Model, path: Path, name: str) -> None:
    """Write a network for batches of any size; for sides of any length too, where it was trained on whole scans or slices."""
    import torch
    from torch.export import Dim

    missing = [package for package in ("onnx", "onnxscript") if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"Exporting takes {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed.",
            'Install what is missing with pip install "napari-seg3d[export]".',
        )
    spec = model.spec
    network = build_network(spec.network).eval()
    network.load_state_dict(model.weights)
    sides: tuple[int, ...] = spec.patch_size[: spec.network.dims]
    shapes = {0: Dim("batch", min=1, max=_LARGEST_SIDE)}
    if _takes_any_sides(spec):
        # Sides of their own, so that no two axes are taken to be equal, and none is so short that it is taken for fixed.
        steps = list(zip(spec.network.divisor, spec.network.shrinking, strict=True))[: spec.network.dims]
        sides = tuple(level * (axis + 2) for axis, (_, level) in enumerate(steps))
        shapes |= {
            2 + axis: step * Dim(f"side{axis}", min=level // step, max=_LARGEST_SIDE // step)
            for axis, (step, level) in enumerate(steps)
        }
    example = torch.zeros(_BATCH, spec.network.in_channels, *sides)
    try:
        with torch.inference_mode(False), _quiet():
            torch.onnx.export(
                network,
                (example,),
                path,
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=["image"],
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # whatever torch cannot trace, it says in its own way
        raise ModelError(
            f"The network of {name} ({spec.network.name}) cannot be exported ({str(error).strip().splitlines()[0][:200]}).",
            "Export it as a model of ours, which predicts everywhere this program runs.",
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch's exporter prints about packages that it does not need here from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
