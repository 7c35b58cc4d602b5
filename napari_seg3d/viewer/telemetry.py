"""`Telemetry`: what a run has told so far, as a cockpit shows it; knows no widget, and stays small however long the run is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Event = Mapping[str, Any]

#: What a validation tells of each label, by what the events call it; the last three in % of the label's voxels.
QUANTITIES = {
    "dice": "Dice",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "tp": "Found (TP, %)",
    "fn": "Missed (FN, %)",
    "fp": "Too much (FP, %)",
}
#: Where the mean over the labels is kept.
MEAN = ""
_MOST_POINTS = 2000


class Series:
    """A curve of few enough points to be drawn at once: when there are too many, neighbours are averaged.

    Parameters
    ----------
    most : int
        How many points there may be; even.

    Attributes
    ----------
    added : int
        How many values were ever added.
    """

    def __init__(self, most: int = _MOST_POINTS) -> None:
        self.added = 0
        self._points = np.empty((most, 2))
        self._count = 0  # of full points
        self._stride = 1  # values in each of them
        self._open: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return self._count + bool(self._open)

    def add(self, x: float, y: float) -> None:
        """Append a point; x never falls, and y may be NaN: then there is none."""
        if math.isnan(y):
            return
        self.added += 1
        self._open.append((x, y))
        if len(self._open) < self._stride:
            return
        self._points[self._count] = np.mean(self._open, axis=0)
        self._open.clear()
        self._count += 1
        if self._count == len(self._points):
            self._points[: self._count // 2] = (self._points[0::2] + self._points[1::2]) / 2
            self._count //= 2
            self._stride *= 2

    def points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return x and y, the newest last."""
        full = self._points[: self._count]
        points = np.concatenate([full, np.mean(self._open, axis=0, keepdims=True)]) if self._open else full.copy()
        return points[:, 0], points[:, 1]

    def at(self, x: float | None = None) -> float | None:
        """Return the value of the point nearest to x, or the newest one; None where there is no point."""
        places, values = self.points()
        if not len(places):
            return None
        return float(values[-1 if x is None else np.abs(places - x).argmin()])


@dataclass
class Stage:
    """The curves of a run, or of one stage of a cascade, over its epochs.

    Attributes
    ----------
    loss, learning_rate : Series
        Of the steps.
    metrics : dict of (str, str) to Series
        Quantity (one of `QUANTITIES`) and name of a label (or `MEAN`) -> curve of the validations.
    labels : dict of str to int
        Name -> value in the masks.
    best : Event or None
        The validation with the best model so far.
    """

    loss: Series = field(default_factory=Series)
    learning_rate: Series = field(default_factory=Series)
    metrics: dict[tuple[str, str], Series] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    best: Event | None = None

    def take_step(self, event: Event) -> None:
        """Note a step."""
        self.loss.add(event["epoch"], _number(event["loss"]))
        self.learning_rate.add(event["epoch"], _number(event.get("learning_rate")))

    def take_validation(self, event: Event) -> None:
        """Note a validation; what an older run did not tell is simply not there."""
        metrics = event.get("metrics") or {label: {"dice": dice} for label, dice in event["dice"].items()}
        for quantity in QUANTITIES:
            values = {label: _number(found.get(quantity)) for label, found in metrics.items()}
            if quantity == "dice" and event.get("mean_dice") is not None:
                values[MEAN] = _number(event["mean_dice"])
            elif known := [value for value in values.values() if not math.isnan(value)]:
                values[MEAN] = sum(known) / len(known)
            for label, value in values.items():
                if not math.isnan(value):
                    self.metrics.setdefault((quantity, label), Series()).add(event["epoch"], value)
        if event["best"]:
            self.best = event

    def curves(self, quantity: str) -> dict[str, Series]:
        """Return label -> curve of a quantity, the mean first."""
        found = {label: curve for (name, label), curve in self.metrics.items() if name == quantity}
        return {label: found[label] for label in [MEAN, *self.labels, *found] if label in found}


class Telemetry:
    """All that was told.

    Attributes
    ----------
    stages : dict of str to Stage
        By name: "" of a run with one, "find" and "segment" of a cascade, as they came.
    plan, step, progress : Event or None
        The newest of each kind; `progress` only while it counts.
    warnings : list of Event
        Each message once.
    """

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self.plan: Event | None = None
        self.step: Event | None = None
        self.progress: Event | None = None
        self.warnings: list[Event] = []
        self._now = ""

    @property
    def stage(self) -> str:
        """Name of the stage that goes on, or went on last."""
        return self._now

    def take(self, events: Iterable[Event]) -> None:
        """Note events, oldest first."""
        for event in events:
            match event["kind"]:
                case "plan":
                    self.plan = event
                    stage = self._stage(event)
                    stage.labels = {name: int(value) for value, name in event["labels"].items()}
                case "step":
                    self.step, self.progress = event, None
                    self._stage(event).take_step(event)
                case "validation":
                    self.progress = None
                    self._stage(event).take_validation(event)
                case "progress":
                    self.progress = event
                case "state":
                    self.progress = None
                case "warning" if event["message"] not in [known["message"] for known in self.warnings]:
                    self.warnings.append(event)

    def _stage(self, event: Event) -> Stage:
        self._now = event.get("stage", self._now)
        if self._now not in self.stages:
            labels = {name: int(value) for value, name in self.plan["labels"].items()} if self.plan is not None else {}
            self.stages[self._now] = Stage(labels=labels)
        return self.stages[self._now]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
