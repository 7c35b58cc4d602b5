"""`Clock`: how far a run is, by time or by steps, and when it is worth a validation."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# The first look at a validation case comes after this share of the budget; later ones when training has earned them.
_FIRST_VALIDATION = 0.1
_VALIDATION_SHARE = 0.1


@dataclass
class Clock:
    """Measures a run from the first step on; the preparation of the data, which is done only once, does not count, nor do pauses.

    Where the number of steps is given, progress and validations go by steps alone, so that the same number repeats a run exactly,
    whatever else the machine does; the time is then only another end.

    Parameters
    ----------
    budget : float
        Seconds for steps and validations; may be infinite.
    max_iterations : int or None
        Another end, if that is sooner.
    between : float or None
        Seconds between two validations; None: so many that they take their share of the time.
    """

    budget: float
    max_iterations: int | None
    between: float | None = None
    _before: float = field(default=0.0, init=False)
    _since: float | None = field(default_factory=time.monotonic, init=False)
    _validation_ended: float = field(default=0.0, init=False)
    _validation_seconds: float = field(default=0.0, init=False)
    _all_validation_seconds: float = field(default=0.0, init=False)
    _marks_passed: int = field(default=0, init=False)

    @property
    def elapsed(self) -> float:
        """Seconds since the first step, without pauses."""
        return self._before + (time.monotonic() - self._since if self._since is not None else 0.0)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Do not count the time inside the block: a pause."""
        self._before, self._since = self.elapsed, None
        try:
            yield
        finally:
            self._since = time.monotonic()

    @property
    def validation_seconds(self) -> float:
        """How long the last validation took; 0 before the first."""
        return self._validation_seconds

    @property
    def validation_allowance(self) -> float:
        """How many seconds a validation may take: with more, few steps would be left of a short budget."""
        return max(20.0, _VALIDATION_SHARE * self.budget)

    def note_validation(self, seconds: float) -> None:
        """Take note that a validation has just ended."""
        self._validation_ended = self.elapsed
        self._validation_seconds = seconds
        self._all_validation_seconds += seconds

    def progress(self, iteration: int) -> float:
        """Return the share of the training that is done, 0 to 1."""
        if self.max_iterations is not None:
            return min(1.0, iteration / self.max_iterations)
        return min(1.0, self.elapsed / max(self.budget - self._validation_seconds, 1.0))

    def is_over(self, iteration: int) -> bool:
        """Return whether training shall end, with time left for the last validation."""
        if self.max_iterations is not None and iteration >= self.max_iterations:
            return True
        # At least one step: a run must end with a model.
        return iteration > 0 and self.elapsed >= self.budget - self._validation_seconds

    def is_validation_due(self, iteration: int) -> bool:
        """Return whether it is time for a validation; by time, when it will cost only its share."""
        if self.max_iterations is not None and self.between is None:
            return self._mark_at(iteration) > self._marks_passed
        pause = self.between
        if pause is None:
            pause = max(_FIRST_VALIDATION * self.budget, self._validation_seconds * (1 - _VALIDATION_SHARE) / _VALIDATION_SHARE)
        # The last one comes at the end anyway: none shortly before it.
        return self.elapsed - self._validation_ended >= pause and self.budget - self.elapsed > pause / 2

    def pass_mark(self, iteration: int) -> None:
        """Take note that the validation that was due at `iteration` is done with, whether it was carried out or cut short."""
        self._marks_passed = self._mark_at(iteration)

    def _mark_at(self, iteration: int) -> int:
        every = max(1.0, _FIRST_VALIDATION * (self.max_iterations or 1))
        return int(iteration / every + 1e-9)

    def seconds_left(self, iteration: int) -> float:
        """Return how long the run will go on; infinite before its speed is known."""
        by_time = max(0.0, self.budget - self.elapsed)
        if self.max_iterations is None:
            return by_time
        if iteration == 0:
            return by_time
        return max(0.0, min(by_time, (self.max_iterations - iteration) * self.elapsed / iteration))

    def iterations_per_second(self, iteration: int) -> float:
        """Return the mean speed of the steps so far, validations left out."""
        return iteration / max(1e-3, self.elapsed - self._all_validation_seconds)

    def state_dict(self) -> dict[str, float]:
        """Return what a run needs to go on later."""
        return {
            "elapsed": self.elapsed,
            "validation_ended": self._validation_ended,
            "validation_seconds": self._validation_seconds,
            "all_validation_seconds": self._all_validation_seconds,
            "marks_passed": self._marks_passed,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a saved state."""
        self._before, self._since = state["elapsed"], time.monotonic()
        self._validation_ended = state["validation_ended"]
        self._validation_seconds = state["validation_seconds"]
        self._all_validation_seconds = state["all_validation_seconds"]
        self._marks_passed = int(state["marks_passed"])


def steps_of(max_iterations: int | None, epochs: float | None, iterations_per_epoch: float) -> int | None:
    """Return the number of steps that a run ends after, by its step and its epoch limit; None where there is neither."""
    limits = [] if max_iterations is None else [max_iterations]
    if epochs is not None:
        limits.append(max(1, math.ceil(epochs * iterations_per_epoch)))
    return min(limits, default=None)
