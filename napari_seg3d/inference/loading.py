"""From paths to what predicts: a model of ours or from elsewhere, or several as an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_seg3d.inference.calibration import calibration_file
from napari_seg3d.inference.engines import EngineName
from napari_seg3d.inference.ensemble import Ensemble
from napari_seg3d.inference.foreign import load_predictor
from napari_seg3d.inference.postprocess import rules_file
from napari_seg3d.inference.predictor import Predictor


def load_models(
    paths: Sequence[Path], accelerator: str = "auto", precision: str = "auto", engine: EngineName = "auto"
) -> Predictor | Ensemble:
    """Return the model at a path, or those at several paths as one.

    Parameters
    ----------
    paths : sequence of Path
        Checkpoint files, MONAI bundles or nnU-Net folders.
    accelerator, precision, engine
        As for `Predictor.load`.

    Raises
    ------
    ModelError
        There is no model at a path, or they do not find the same labels.
    ConfigError
        The device is not there.
    """
    members = [load_predictor(path, accelerator, precision, engine) for path in paths]
    return members[0] if len(members) == 1 else Ensemble(members)


def model_files(paths: Sequence[Path], postprocess: bool = True) -> list[Path]:
    """Return all files and folders that decide what models predict: theirs, and what lies beside them.

    Parameters
    ----------
    paths : sequence of Path
        As for `load_models`.
    postprocess : bool
        Whether the rules beside them apply.
    """
    beside = [file for path in paths for file in (calibration_file(path), *([rules_file(path)] if postprocess else []))]
    return [*paths, *(file for file in beside if file.is_file())]
