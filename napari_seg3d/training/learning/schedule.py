"""How the learning rate rises and falls over a run."""

from __future__ import annotations

import math
from typing import Any, Literal

Kind = Literal["cosine", "polynomial", "constant", "plateau"]

_START = 0.1  # of the warm-up
_LOWEST = 1e-3
_POWER = 0.9  # of the polynomial, as in nnU-Net (Isensee et al., Nature Methods 2021)
_PLATEAU = 3  # validations without a better one


class Schedule:
    """By what to multiply the learning rate.

    Parameters
    ----------
    kind : {"cosine", "polynomial", "constant", "plateau"}
        ``cosine``: half a cosine down to nearly nothing (Loshchilov and Hutter, ICLR 2017). ``polynomial``: nearly a straight line down.
        ``constant``: as it is. ``plateau``: halved after three validations without a better one.
    warm_up : float
        Share of the budget in which it rises in a straight line from a tenth.
    """

    def __init__(self, kind: Kind, warm_up: float) -> None:
        self._kind, self._warm_up = kind, warm_up
        self._best, self._waited, self._halvings = -math.inf, 0, 0

    def factor(self, progress: float) -> float:
        """Return the factor after a share of the budget, 0 to 1."""
        if progress < self._warm_up:
            return _START + (1 - _START) * progress / self._warm_up
        left = 1 - (min(progress, 1.0) - self._warm_up) / (1 - self._warm_up)
        falls = {
            "cosine": 0.5 * (1 - math.cos(math.pi * left)),
            "polynomial": math.pow(left, _POWER),
            "constant": 1.0,
            "plateau": 0.5**self._halvings,
        }
        return max(_LOWEST, falls[self._kind])

    def note_validation(self, score: float) -> None:
        """Take note of what a validation gave, higher is better; only ``plateau`` minds."""
        if score > self._best:
            self._best, self._waited = score, 0
            return
        self._waited += 1
        if self._waited == _PLATEAU:
            self._waited = 0
            self._halvings += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best": self._best, "waited": self._waited, "halvings": self._halvings}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the state of another schedule."""
        self._best, self._waited, self._halvings = state["best"], state["waited"], state["halvings"]
