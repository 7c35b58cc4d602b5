"""Let a window live until something holds: real timers, real threads, with an end."""

import faulthandler
import time
from collections.abc import Callable

from qtpy.QtCore import QEventLoop, QTimer


def pump(seconds: float) -> None:
    """Let the window run its events for a while."""
    loop = QEventLoop()
    QTimer.singleShot(int(1000 * seconds), loop.quit)
    loop.exec()


def pump_until(condition: Callable[[], object], seconds: float = 60, what: str = "what the test waits for") -> None:
    """Let the window run its events until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            faulthandler.dump_traceback()  # who waits for whom
            raise AssertionError(f"{what} did not happen")
        pump(0.05)
