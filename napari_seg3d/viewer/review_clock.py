"""`ReviewClock`: how long somebody really looks at a case."""

from __future__ import annotations

import time

from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QApplication

_TICK = 1.0
# Whoever moves neither the mouse nor to another slice for so long is on the telephone.
_IDLE = 120.0


class ReviewClock(QObject):
    """Counts the seconds in which a case is open, the program is the one that is used, and somebody is there."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds = 0.0
        self._last = self._touched = time.monotonic()
        self._cursor = QCursor.pos()
        self._timer = QTimer(self)
        self._timer.setInterval(int(1000 * _TICK))
        self._timer.timeout.connect(self._tick)

    @property
    def is_running(self) -> bool:
        """Whether a case is open."""
        return self._timer.isActive()

    def start(self) -> None:
        """A case is open from now on."""
        self._last = self._touched = time.monotonic()
        if not self._timer.isActive():
            self._timer.start()

    def stop(self) -> None:
        """No case is open any more."""
        if self._timer.isActive():
            self._tick()
            self._timer.stop()

    def take(self) -> float:
        """Return the seconds since the last call."""
        if self._timer.isActive():
            self._tick()
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def touch(self, _event: object = None) -> None:
        """Somebody has done something; that the mouse moves is seen without being told."""
        self._touched = time.monotonic()

    def _tick(self) -> None:
        now = time.monotonic()
        if QCursor.pos() != self._cursor:
            self._cursor, self._touched = QCursor.pos(), now
        # A computer that slept does not count.
        passed, self._last = min(now - self._last, 3 * _TICK), now
        is_used = QApplication.applicationState() == Qt.ApplicationState.ApplicationActive
        if is_used and now - self._touched < _IDLE:
            self._seconds += passed
