"""What a run folder tells: how far the run is, its curves, Dice of each case over the epochs, and the predictions it kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.training.runs.folder import Event, Run, Status

#: What validations tell of each label: similarity measures from 0 to 1, then shares in % of the label's voxels.
LABEL_QUANTITIES = ("dice", "precision", "recall", "f1", "tp", "fn", "fp")


class CurveKey(NamedTuple):
    """Which curve.

    Parameters
    ----------
    quantity : str
        ``"loss"``, ``"learning rate"``, ``"score"`` (by which the best model is chosen), or one of `LABEL_QUANTITIES`.
    label : str
        Name of a label; empty for the mean over all, and for what labels do not have.
    stage : str
        ``"find"`` or ``"segment"`` of a cascade, else empty.
    """

    quantity: str
    label: str = ""
    stage: str = ""


@dataclass(frozen=True, eq=False)
class Curve:
    """A quantity over the training.

    Parameters
    ----------
    iterations, epochs, values : arrays of shape (n,)
        Where, and how much; iterations rise. A value may be NaN where it is not defined.
    """

    iterations: NDArray[np.float64]
    epochs: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Validation:
    """One look at the validation cases.

    Parameters
    ----------
    iteration, epoch : int, float
        When.
    stage : str
        As in `CurveKey`.
    score : float or None
        What the best model is chosen by; None where it is not defined.
    metric : str
        Its name, such as ``"dice"``.
    is_best : bool
        Whether this was the best model so far.
    cases : mapping of str to float or None
        Case id -> mean Dice.
    """

    iteration: int
    epoch: float
    stage: str
    score: float | None
    metric: str
    is_best: bool
    cases: Mapping[str, float | None]


@dataclass(frozen=True)
class Kept:
    """A prediction that the run kept of a validation case.

    Parameters
    ----------
    case : str
        Id of the case.
    iteration, epoch : int, float
        When.
    stage : str
        As in `CurveKey`.
    image, prediction : Path
        The scan, where it was when the run began, and the prediction in the run folder.
    mask : Path or None
        The truth as it is learnt, in the run folder.
    dice : float or None
        Mean Dice of this prediction, where it was told.
    """

    case: str
    iteration: int
    epoch: float
    stage: str
    image: Path
    prediction: Path
    mask: Path | None
    dice: float | None


@dataclass(frozen=True, eq=False)
class RunHistory:
    """All that a run folder tells at one moment.

    Parameters
    ----------
    run : Run
        Whose.
    status : Status
        Where the run stands.
    settings : mapping
        What ``run.yaml`` holds, section -> setting -> value; empty when it cannot be read.
    problem : str
        Why the settings cannot be read, else empty.
    plan : Event
        The newest ``plan`` event; empty when there is none yet.
    labels : mapping of int to str
        Mask value -> name.
    curves : mapping of CurveKey to Curve
        Every curve; of a summary, those of the steps have few points.
    validations : tuple of Validation
        Oldest first.
    kept : tuple of Kept
        Oldest first.
    iteration, epoch : int, float
        How far the run is.
    seconds : float
        How long it worked, without the time in which it was stopped, paused or waiting.
    size : int
        Bytes on the disk.
    damaged : int
        Lines of ``events.jsonl`` that cannot be read.
    """

    run: Run
    status: Status
    settings: Mapping[str, Any]
    problem: str
    plan: Event
    labels: Mapping[int, str]
    curves: Mapping[CurveKey, Curve]
    validations: tuple[Validation, ...]
    kept: tuple[Kept, ...]
    iteration: int
    epoch: float
    seconds: float
    size: int
    damaged: int

    @property
    def data(self) -> str:
        """Name of the folder of the data set."""
        images = self._setting("data", "images")
        return Path(images).name if isinstance(images, str) else ""

    @property
    def network(self) -> str:
        """Name of the network."""
        name = self.plan.get("network") or self._setting("network", "name")
        return str(name) if name else ""

    @property
    def stage(self) -> str:
        """The newest stage that was judged: only models of one stage can be compared."""
        return self.validations[-1].stage if self.validations else ""

    @property
    def best(self) -> Validation | None:
        """The best model of the newest stage."""
        return next((found for found in reversed(self.validations) if found.is_best and found.stage == self.stage), None)

    @property
    def shown_cases(self) -> list[str]:
        """Ids of the cases whose predictions were kept, as they came."""
        return list(dict.fromkeys(kept.case for kept in self.kept))

    def kept_of(self, case: str) -> list[Kept]:
        """Return the kept predictions of a case, oldest first."""
        return [kept for kept in self.kept if kept.case == case]

    def _setting(self, section: str, name: str) -> Any:
        found = self.settings.get(section)
        return found.get(name) if isinstance(found, dict) else None
