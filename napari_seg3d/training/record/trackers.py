"""Other programs that follow a run: MLflow and Weights & Biases, where the user named them and has them installed.

Nothing here is loaded, and nothing leaves the machine, unless ``record.trackers`` names it. Where a data set lies and what its cases are
called is told to nobody.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, Protocol

from napari_seg3d.errors import ConfigError
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.runs.folder import Run

TrackerName = Literal["mlflow", "wandb"]
_PROJECT = "napari-seg3d"


class Tracker(Protocol):
    """Another program that is told the numbers of a run."""

    name: TrackerName

    def add(self, values: Mapping[str, float], iteration: int) -> None:
        """Add a point to some curves."""

    def close(self) -> None:
        """Say that nothing more will come."""


def check_trackers(names: Collection[TrackerName]) -> None:
    """Raise a ConfigError when one of these programs is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"The run is to be followed by {name}, which is not installed.",
                f"pip install {name}, or take it out of Trackers.",
            )


def open_trackers(run: Run, config: TrainConfig) -> list[Tracker]:
    """Tell each program that the config names of a run that begins or goes on.

    MLflow writes where ``MLFLOW_TRACKING_URI`` says, else to ``mlflow.db`` in the run folder. Weights & Biases sends where somebody is logged
    in, and else writes to ``wandb`` in the run folder.

    Raises
    ------
    ConfigError
        One is not installed.
    """
    check_trackers(config.record.trackers)
    settings = {
        f"{section}.{name}": value
        for section, values in config.to_dict().items()
        if section != "data"
        for name, value in values.items()
        if name != "pretrained"  # a path
    }
    kinds: dict[TrackerName, type[_MLflow] | type[_WandB]] = {"mlflow": _MLflow, "wandb": _WandB}
    return [kinds[name](run, settings) for name in config.record.trackers]


class _MLflow:
    name: TrackerName = "mlflow"

    def __init__(self, run: Run, settings: Mapping[str, Any]) -> None:
        # It would tell its makers how it is used.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(run.folder / 'mlflow.db').as_posix()}")
        known = self._client.get_experiment_by_name(_PROJECT)
        experiment = known.experiment_id if known else self._client.create_experiment(_PROJECT)
        self._run = self._client.create_run(experiment, run_name=run.name).info.run_id
        for name, value in settings.items():
            self._client.log_param(self._run, name, value)

    def add(self, values: Mapping[str, float], iteration: int) -> None:
        for name, value in values.items():
            # All that its names may hold.
            self._client.log_metric(self._run, re.sub(r"[^\w.: /-]", "_", name), value, step=iteration)

    def close(self) -> None:
        self._client.set_terminated(self._run)


class _WandB:
    name: TrackerName = "wandb"

    def __init__(self, run: Run, settings: Mapping[str, Any]) -> None:
        import wandb

        # It would ask for a key where nobody can answer.
        is_decided = "WANDB_MODE" in os.environ or wandb.login(prompt=False)
        mode = None if is_decided else "offline"
        self._run = wandb.init(project=_PROJECT, name=run.name, dir=str(run.folder), config=dict(settings), mode=mode)

    def add(self, values: Mapping[str, float], iteration: int) -> None:
        self._run.log(dict(values), step=iteration)

    def close(self) -> None:
        self._run.finish()


def defined(values: Mapping[str, float | None]) -> dict[str, float]:
    """Return the values that are numbers."""
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
