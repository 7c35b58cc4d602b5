"""`EarlyStopping`: which validation was the best, and whether it is worth going on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from napari_seg3d.errors import ConfigError
from napari_seg3d.evaluation import Evaluation, Metric


class EarlyStopping:
    """Follows one number over the validations of a run.

    Of equal numbers the higher Dice is better: a network that marks everything has the highest recall there is, and so has a good one.

    Parameters
    ----------
    metric : {"dice", "precision", "recall", "f1"}
        What is judged.
    label : str or None
        Name of the label that is judged; None: the mean of all.
    patience : int or None
        After how many validations without a better one it is time to stop; None: never.
    labels : mapping of int to str
        Mask value -> name.

    Raises
    ------
    ConfigError
        There is no such label.
    """

    def __init__(self, metric: Metric, label: str | None, patience: int | None, labels: Mapping[int, str]) -> None:
        values = {name: value for value, name in labels.items()}
        if label is not None and label not in values:
            raise ConfigError(
                f"The run is to be judged by the label {label}, which the masks do not have.",
                f"Choose one of {', '.join(values)}, or leave it empty for the mean of all.",
            )
        self._metric, self._label, self._patience = metric, values.get(label) if label is not None else None, patience
        self._best, self._waited = (-math.inf, -math.inf), 0

    @property
    def best(self) -> float:
        """The best score so far; minus infinity before the first."""
        return self._best[0]

    @property
    def is_over(self) -> bool:
        """Whether patience has run out."""
        return self._patience is not None and self._waited >= self._patience

    def score(self, evaluation: Evaluation) -> float:
        """Return the number that is judged; NaN when no case shows the label."""
        return evaluation.score(self._metric, self._label)

    def is_better(self, evaluation: Evaluation) -> bool:
        """Return whether a validation is better than all that were noted."""
        return self._rank(evaluation) > self._best

    def note(self, evaluation: Evaluation) -> None:
        """Take note of a validation."""
        if self.is_better(evaluation):
            self._best, self._waited = self._rank(evaluation), 0
        else:
            self._waited += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best": list(self._best), "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the state of another one."""
        score, dice = state["best"]
        self._best, self._waited = (score, dice), state["waited"]

    def _rank(self, evaluation: Evaluation) -> tuple[float, float]:
        return self.score(evaluation), evaluation.score("dice", self._label)
