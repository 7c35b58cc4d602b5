"""`Clock`: how far a run is, by time or by steps, and when it is worth a validation."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

# The first look at a validation case comes after this share of the budget; later ones when training has earned them.
_FIRST_VALIDATION = 0.1
_VALIDATION_SHARE = 0.1
_WARM_UP = 0.03


@dataclass
class Clock:
    """Measures a run from the first step on; the preparation of the data, which is done only once, does not count.

    Parameters
    ----------
    budget : float
        Seconds for steps and validations.
    max_iterations : int or None
        Another end, if that is sooner.
    """

    budget: float
    max_iterations: int | None
    _began: float = field(default_factory=time.time, init=False)
    _validation_ended: float = field(default_factory=time.time, init=False)
    _validation_seconds: float = field(default=0.0, init=False)
    _all_validation_seconds: float = field(default=0.0, init=False)

    @property
    def elapsed(self) -> float:
        """Seconds since the first step."""
        return time.time() - self._began

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
        self._validation_ended = time.time()
        self._validation_seconds = seconds
        self._all_validation_seconds += seconds

    def progress(self, iteration: int) -> float:
        """Return the share of the training that is done, 0 to 1."""
        if self.max_iterations is not None:
            # By steps alone, so that the same number of steps repeats a run whatever else the machine does.
            return min(1.0, iteration / self.max_iterations)
        return min(1.0, self.elapsed / max(self.budget - self._validation_seconds, 1.0))

    def learning_rate_factor(self, iteration: int) -> float:
        """Return by what to multiply the learning rate: a short linear warm-up, then half a cosine down to nearly nothing."""
        progress = self.progress(iteration)
        if progress < _WARM_UP:
            return 0.1 + 0.9 * progress / _WARM_UP
        return max(1e-3, 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP))))

    def is_over(self, iteration: int) -> bool:
        """Return whether training shall end, with time left for the last validation."""
        if self.max_iterations is not None and iteration >= self.max_iterations:
            return True
        # At least one step: a run must end with a model.
        return iteration > 0 and self.elapsed >= self.budget - self._validation_seconds

    def is_validation_due(self) -> bool:
        """Return whether enough training has passed for the next validation to cost only its share."""
        pause = max(_FIRST_VALIDATION * self.budget, self._validation_seconds * (1 - _VALIDATION_SHARE) / _VALIDATION_SHARE)
        # The last one comes at the end anyway: none shortly before it.
        return time.time() - self._validation_ended >= pause and self.budget - self.elapsed > pause / 2

    def seconds_left(self, iteration: int) -> float:
        """Return how long the run will go on."""
        by_time = self.budget - self.elapsed
        if self.max_iterations is None:
            return max(0.0, by_time)
        by_steps = (self.max_iterations - iteration) * self.elapsed / max(1, iteration)
        return max(0.0, min(by_time, by_steps))

    def iterations_per_second(self, iteration: int) -> float:
        """Return the mean speed of the steps so far, validations left out."""
        return iteration / max(1e-3, self.elapsed - self._all_validation_seconds)
