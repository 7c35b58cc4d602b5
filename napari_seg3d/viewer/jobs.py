"""`Job`: work in a thread, with progress, cancel and an error in words; its signals arrive in the thread of the window.

Not napari's `thread_worker`: that swallows every RuntimeError of a generator (out of memory, wrong shapes), and keeps model and arrays
alive when it is told to quit.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from qtpy.QtCore import QEventLoop, QObject, Qt, Signal
from qtpy.QtWidgets import QApplication, QMainWindow, QProgressDialog

from napari_seg3d.errors import Cancelled, Seg3dError

T = TypeVar("T")

_MILLISECONDS_BEFORE_DIALOG = 600
_SECONDS_BETWEEN_PROGRESS = 0.05


class Job(QObject):
    """One piece of work in a thread of its own.

    Make it with `start_job`. Exactly one of `returned`, `failed` and `cancelled` is emitted, then `ended`.
    """

    progressed = Signal(int, int)
    returned = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    ended = Signal()

    def __init__(self, work: Callable[[Job], Any]) -> None:
        super().__init__()
        self._work = work
        self._stop = threading.Event()
        self._began = self._told = time.monotonic()
        # A daemon: a window that closes does not wait for it.
        self._thread = threading.Thread(target=self._run, name="napari-seg3d job", daemon=True)

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self._began

    def start(self) -> None:
        """Begin; called once, by `start_job`, when everybody who wants to hear is connected."""
        # Until its last signal has arrived somebody must hold on to a job: signals of a collected object never arrive.
        _running.add(self)
        self.ended.connect(self._let_go)  # after everybody else
        self._thread.start()

    def cancel(self) -> None:
        """Ask the work to stop; returns at once."""
        self._stop.set()

    def is_cancelled(self) -> bool:
        """Return whether somebody asked it to stop; the work asks this between two steps."""
        return self._stop.is_set()

    def progress(self, done: int, total: int) -> None:
        """Tell how far the work is; called by the work, in its thread."""
        now = time.monotonic()
        if done == total or now - self._told > _SECONDS_BETWEEN_PROGRESS:
            self._told = now
            self._emit(self.progressed, done, total)

    def _run(self) -> None:
        try:
            result = self._work(self)
        except Cancelled:
            self._emit(self.cancelled)
        except Seg3dError as error:
            self._emit(self.failed, error)
        except Exception as error:  # noqa: BLE001  whatever it is, it becomes words in the dock
            traceback.print_exc()
            text = str(error).strip().splitlines()
            self._emit(
                self.failed,
                Seg3dError(f"Something unexpected went wrong ({type(error).__name__}: {text[0] if text else ''}).", _REPORT),
            )
        else:
            if self.is_cancelled():
                self._emit(self.cancelled)
            else:
                self._emit(self.returned, result)
        self._emit(self.ended)

    def _emit(self, signal: Any, *values: object) -> None:
        # The window, and this object's other half in it, may be gone by now.
        with contextlib.suppress(RuntimeError):
            signal.emit(*values)

    def _let_go(self) -> None:
        _running.discard(self)


_running: set[Job] = set()
_REPORT = "The terminal that started napari shows the details; please report them."


def start_job(work: Callable[[Job], Any], **slots: Callable[..., Any]) -> Job:
    """Run ``work(job)`` in a thread.

    Parameters
    ----------
    work : callable
        Called with the job; may raise anything.
    **slots : callable
        What to call when a signal of that name arrives (`progressed`, `returned`, `failed`, `cancelled`, `ended`). They are connected
        before the thread starts: a quick job would else be done before anybody listens.
    """
    job = Job(work)
    for name, slot in slots.items():
        getattr(job, name).connect(slot)
    job.start()
    return job


def wait_for(work: Callable[[Job], T], text: str) -> T:
    """Run ``work(job)`` in a thread and return what it returns, while the window goes on living.

    For callers that need the result at once, such as a reader that napari calls. A dialog with a Cancel button covers the window when it
    takes longer than a moment, so that nothing else is begun meanwhile.

    Raises
    ------
    Seg3dError
        What the work raised.
    Cancelled
        The user had enough.
    """
    if QApplication.instance() is None:
        return work(Job(work))
    loop = QEventLoop()
    outcome: list[T] = []
    errors: list[Seg3dError] = []
    dialog = QProgressDialog(text, "Cancel", 0, 0, _main_window())
    dialog.setWindowModality(Qt.WindowModality.WindowModal)
    dialog.setMinimumDuration(_MILLISECONDS_BEFORE_DIALOG)
    dialog.setValue(0)

    def show_progress(done: int, total: int) -> None:
        dialog.setMaximum(total)
        dialog.setValue(min(done, total - 1))  # at its maximum the dialog would close itself

    job = start_job(
        work,
        progressed=show_progress,
        returned=outcome.append,
        failed=errors.append,
        ended=loop.quit,
    )
    dialog.canceled.connect(job.cancel)
    loop.exec()
    dialog.canceled.disconnect()
    dialog.close()
    dialog.deleteLater()
    if errors:
        raise errors[0]
    if not outcome:
        raise Cancelled("It was cancelled.")
    return outcome[0]


def _main_window() -> QMainWindow | None:
    windows = [widget for widget in QApplication.topLevelWidgets() if isinstance(widget, QMainWindow) and widget.isVisible()]
    return next((window for window in windows if window.isActiveWindow()), windows[0] if windows else None)
