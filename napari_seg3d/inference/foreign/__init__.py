"""Models from elsewhere: MONAI bundles and nnU-Net result folders, predicted by the same code as ours.

Such a file is untrusted: nothing in it is ever run, and it can name nothing but what is on the lists of this package.
"""

from __future__ import annotations

from pathlib import Path

from napari_seg3d.inference.engines import EngineName
from napari_seg3d.inference.foreign.monai_bundle import MonaiBundle, open_bundle
from napari_seg3d.inference.foreign.nnunet import NnunetResults, open_results
from napari_seg3d.inference.foreign.predictor import ForeignPredictor
from napari_seg3d.inference.predictor import Predictor

__all__ = ["ForeignPredictor", "MonaiBundle", "NnunetResults", "load_predictor", "open_foreign"]


def open_foreign(path: str | Path) -> MonaiBundle | NnunetResults | None:
    """Return the model from elsewhere at a path, recognised by its content; None for everything else, our own models among it.

    Parameters
    ----------
    path : path-like
        A MONAI bundle: its folder or zip archive. Or the results of nnU-Net v2: the folder of a trained configuration (all its folds are
        averaged), one of its folds, or a checkpoint in one.

    Raises
    ------
    ModelError
        It is such a model, and asks for something that is not on our lists, or is damaged.
    """
    path = Path(path)
    return open_bundle(path) or open_results(path)


def load_predictor(
    path: str | Path, accelerator: str = "auto", precision: str = "auto", engine: EngineName = "auto"
) -> Predictor:
    """Return the model at a path, ours or from elsewhere, ready to predict.

    Parameters
    ----------
    path, accelerator, precision, engine
        As for `Predictor.load`; `path` may also be what `open_foreign` takes.

    Raises
    ------
    ModelError
        There is no model at that path, or one that cannot be used.
    ConfigError
        The device is not there.
    """
    foreign = open_foreign(path)
    if foreign is None:
        return Predictor.load(path, accelerator, precision, engine)
    return foreign.predictor(accelerator, precision, engine)
