"""`StepTeller`: what a run says about its steps, often enough to look alive and seldom enough that a week still fits a curve."""

from __future__ import annotations

import time
from typing import Any

import psutil

from napari_seg3d.training.clock import Clock
from napari_seg3d.training.learning.learner import Learner
from napari_seg3d.training.record.metrics import MetricsLog
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.samples.loader import Batches

_EVENTS, _SECONDS_BETWEEN = 4000, (0.5, 10.0)
_OFTEN_WITHOUT_BUDGET = 5.0


class StepTeller:
    """Adds ``step`` events, and points to the curves.

    Parameters
    ----------
    run, metrics
        Whom to tell.
    clock, learner, batches
        Who knows.
    stage : str
        ``find`` or ``segment`` in a cascade, else empty.
    samples_per_epoch : int
        How many cases there are.
    """

    def __init__(
        self,
        run: Run,
        metrics: MetricsLog,
        clock: Clock,
        learner: Learner,
        batches: Batches,
        stage: str,
        samples_per_epoch: int,
    ) -> None:
        self._run, self._metrics, self._clock, self._learner, self._batches = run, metrics, clock, learner, batches
        self._stage, self._samples_per_epoch = stage, samples_per_epoch
        usual = clock.budget / _EVENTS if clock.budget < float("inf") else _OFTEN_WITHOUT_BUDGET
        self._between = min(max(usual, _SECONDS_BETWEEN[0]), _SECONDS_BETWEEN[1])
        self._told_at = 0.0
        self._loss = _RecentMean()
        self._process = psutil.Process()
        self.begin_anew()

    @property
    def epoch(self) -> float:
        """How many times every case was shown."""
        return self._learner.samples / self._samples_per_epoch

    def begin_anew(self) -> None:
        """Measure speed and waiting from now on: what came before was no learning."""
        self._since, self._samples = time.perf_counter(), self._learner.samples
        self._batches.reset()

    def note(self, loss: float) -> None:
        """Take note of a step, and tell about it unless another one was told of a moment ago."""
        self._loss.add(loss)
        iteration = self._learner.iteration
        if time.monotonic() - self._told_at < self._between and not self._clock.is_over(iteration):
            return
        self._told_at = time.monotonic()
        passed = max(1e-6, time.perf_counter() - self._since)
        rate = self._learner.learning_rate
        left = self._clock.seconds_left(iteration)
        self._run.add_event(
            "step",
            iteration=iteration,
            epoch=round(self.epoch, 2),
            loss=round(self._loss.value, 5),
            learning_rate=rate,
            elapsed=round(self._clock.elapsed, 1),
            seconds_left=round(left, 1),
            iterations_per_second=round(self._clock.iterations_per_second(iteration), 3),
            samples_per_second=round((self._learner.samples - self._samples) / passed, 3),
            wait_share=round(self._batches.wait_share, 3),
            memory=self._process.memory_info().rss,
            device_memory=self._learner.device_memory,
            stage=self._stage,
        )
        self._metrics.add_step(iteration, self._loss.value, rate, self._batches.wait_share)
        self.begin_anew()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return self._loss.__dict__.copy()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._loss.__dict__.update({name: float(state[name]) for name in self._loss.__dict__})


class _RecentMean:
    """A running mean of the loss over about the last twenty steps: single steps jump too much to be read."""

    def __init__(self) -> None:
        self.sum = self.weight = 0.0

    def add(self, value: float) -> None:
        self.sum = 0.95 * self.sum + value
        self.weight = 0.95 * self.weight + 1

    @property
    def value(self) -> float:
        return self.sum / self.weight
