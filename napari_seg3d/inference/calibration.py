"""Temperature scaling: probabilities that mean what they say, and the file beside a model that keeps the temperature.

A network that was trained to be right is surer of itself than it is often right. Its logits are divided by one number, fitted on cases it was
not trained on (Guo et al., On Calibration of Modern Neural Networks, ICML 2017); which class is the likeliest stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_seg3d.errors import ConfigError
from napari_seg3d.inference.beside import Beside

_COLDEST, _HOTTEST = 0.05, 20.0
_BINS = 15  # as Guo et al.
_SMALLEST = 1e-30

Targets = Literal["exclusive", "overlapping"]


class Calibration(BaseModel):
    """What the logits of a model are divided by, and what that did to the voxels it was fitted on.

    Parameters
    ----------
    temperature : float
        Above 1 the model was too sure of itself.
    cases : int
        How many scans it was fitted on.
    error_before, error_after : float
        Expected calibration error: how far the probability of the answer is from how often it is right, on average; 0 is best.
    likelihood_before, likelihood_after : float
        Mean negative log-likelihood of the truth in nats, which the fit makes smallest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(1.0, ge=_COLDEST, le=_HOTTEST)
    cases: int = Field(0, ge=0)
    error_before: float = Field(0.0, ge=0, le=1)
    error_after: float = Field(0.0, ge=0, le=1)
    likelihood_before: float = Field(0.0, ge=0)
    likelihood_after: float = Field(0.0, ge=0)


@dataclass(frozen=True)
class Voxels:
    """Some voxels of a case.

    Parameters
    ----------
    probabilities : array of shape (n, channels)
        At temperature 1.
    truth : array of shape (n,) or (n, channels)
        Exclusive labels: the class. Overlapping ones: whether the label is there.
    """

    probabilities: NDArray[np.float32]
    truth: NDArray[np.integer]


def fit_temperature(cases: Iterable[Voxels], targets: Targets) -> Calibration:
    """Return the temperature at which the truth is likeliest.

    Parameters
    ----------
    cases : iterable of Voxels
        All are kept at once.
    targets : {"exclusive", "overlapping"}
        Softmax or sigmoid.

    Raises
    ------
    ConfigError
        There is no voxel.
    """
    from scipy.optimize import minimize_scalar

    parts = [case for case in cases if len(case.truth)]
    if not parts:
        raise ConfigError("There is no voxel to fit a temperature on.", "Choose cases with masks.")
    logits, truth = _binary(parts) if targets == "overlapping" else _classes(parts)
    found = minimize_scalar(
        lambda log: _unlikeliness(logits, truth, np.exp(log)), bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded"
    )
    temperature = float(np.clip(np.exp(found.x), _COLDEST, _HOTTEST))
    before = _unlikeliness(logits, truth, 1.0)
    if _unlikeliness(logits, truth, temperature) >= before:
        temperature = 1.0
    return Calibration(
        temperature=temperature,
        cases=len(parts),
        error_before=_calibration_error(logits, truth, 1.0),
        error_after=_calibration_error(logits, truth, temperature),
        likelihood_before=before,
        likelihood_after=_unlikeliness(logits, truth, temperature),
    )


_CALIBRATION = Beside(
    "calibration.yaml", "napari-seg3d calibration", Calibration, "calibration", "napari-seg3d calibrate RUN", 1 << 16
)


def calibration_file(model: str | Path) -> Path:
    """Return where the calibration of a model file lies."""
    return _CALIBRATION.file(model)


def calibration_beside(model: str | Path) -> Calibration | None:
    """Return the calibration that lies beside a model file, None where there is none.

    Raises
    ------
    ConfigError
        There is such a file, and it cannot be read or holds something else: the message names it.
    OtherModel
        It was fitted on another model.
    """
    return _CALIBRATION.read(model)


def save_calibration(path: Path, calibration: Calibration, *, made_for: str | None = None, overwrite: bool = False) -> None:
    """Write a calibration as YAML, whole or not at all; `made_for` is the fingerprint of the model that it was fitted on.

    Raises
    ------
    WriteError
        The file is there already, or cannot be written.
    """
    _CALIBRATION.save(path, calibration.model_dump(), made_for, overwrite=overwrite)


def _classes(parts: list[Voxels]) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    probabilities = np.concatenate([part.probabilities for part in parts]).astype(np.float64)
    # The logarithm of a softmax is the logits, but for a number that softmax does not see.
    return np.log(np.clip(probabilities, _SMALLEST, None)), np.concatenate([part.truth for part in parts])


def _binary(parts: list[Voxels]) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    """Return each label of each voxel as a choice between two classes."""
    there = np.concatenate([part.probabilities.ravel() for part in parts]).astype(np.float64)
    both = np.stack([1 - there, there], axis=1)
    return np.log(np.clip(both, _SMALLEST, None)), np.concatenate([part.truth.ravel() for part in parts])


def _scaled(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    from scipy.special import log_softmax

    return np.asarray(log_softmax(logits / temperature, axis=1))


def _unlikeliness(logits: NDArray[np.float64], truth: NDArray[np.integer], temperature: float) -> float:
    return float(-_scaled(logits, temperature)[np.arange(len(truth)), truth].mean())


def _calibration_error(logits: NDArray[np.float64], truth: NDArray[np.integer], temperature: float) -> float:
    probability = np.exp(_scaled(logits, temperature))
    sure, right = probability.max(axis=1), probability.argmax(axis=1) == truth
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    difference = np.bincount(bins, weights=right - sure, minlength=_BINS)
    return float(np.abs(difference).sum() / len(truth))
