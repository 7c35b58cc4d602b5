"""`ProgressEvents`: how far a lengthy part of a run is, told a few times a second at most."""

from __future__ import annotations

import time

from napari_seg3d.training.runs.folder import Run

_SECONDS_BETWEEN = 0.25


class ProgressEvents:
    """Adds ``progress`` events to a run; called with (done, total).

    Parameters
    ----------
    run : Run
        Whom to tell.
    what : str
        What is done.
    """

    def __init__(self, run: Run, what: str) -> None:
        self._run, self._what, self._last = run, what, 0.0

    def __call__(self, done: int, total: int) -> None:
        """Tell how far it is, unless that was told a moment ago."""
        if done == total or time.time() - self._last > _SECONDS_BETWEEN:
            self._last = time.time()
            self._run.add_event("progress", what=self._what, done=done, total=total)
