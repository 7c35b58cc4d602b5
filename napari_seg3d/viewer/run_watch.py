"""`RunWatch`: what is known of the training run that the user looks at, kept up to date from its folder."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_seg3d.errors import Seg3dError
from napari_seg3d.training import EventReader, Run, Status, TrainConfig, live_runs, resume_run, start_run
from napari_seg3d.viewer.jobs import start_job

_SECONDS_BETWEEN_LOOKS = 0.4
_MOST_EVENTS = 40_000  # some tens of MB
Event = dict[str, Any]


class RunWatch(QObject):
    """Follows one run through its folder; the run itself knows nothing of it.

    Attributes
    ----------
    run : Run or None
        Whom it follows.
    status : Status
        Where the run stands.
    events : list of dict
        Everything that the run has said so far; of a very long run only some of its steps.
    is_resuming : bool
        Whether the followed run, which has ended, is about to go on.
    """

    #: Another run is followed, or none.
    runChanged = Signal()
    #: New events, oldest first.
    eventsArrived = Signal(list)
    #: The status changed.
    statusChanged = Signal()
    #: A run could not be resumed; with the error.
    failed = Signal(object)
    _looked = Signal(object, list, object)
    _takenBack = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.run: Run | None = None
        self.status = Status("starting")
        self.events: list[Event] = []
        self.is_resuming = False
        self._last_state: Event = {}
        self._stop = threading.Event()
        self._looked.connect(self._take)
        self._takenBack.connect(lambda run: self.follow(run) if run == self.run else None)

    @property
    def is_running(self) -> bool:
        """Whether the followed run goes on."""
        return self.run is not None and not self.status.ended

    @property
    def says(self) -> str:
        """What a run that goes on said about its state, such as for whom it waits; empty where it said nothing."""
        words = [str(self._last_state[name]) for name in ("message", "fix") if self._last_state.get(name)]
        return " ".join(words) if self.is_running else ""

    def start(self, config: TrainConfig, folder: Path | None = None, queue: bool = False) -> Run:
        """Start a run, or let it wait for those that go on, and follow it unless another one is still followed.

        Raises as `start_run` does.
        """
        run = start_run(config, folder, queue)
        if not (queue and self.is_running):
            self.follow(run)
        return run

    def resume(self) -> None:
        """Go on with the followed run, which has ended before its time."""
        run = self.run
        if run is None or self.is_resuming:
            return

        def fail(error: Seg3dError) -> None:
            self.is_resuming = False
            self.failed.emit(error)

        self.is_resuming = True
        # Its process may need a moment to leave.
        start_job(lambda _job: resume_run(run), returned=self.follow, failed=fail)

    def follow(self, run: Run | None) -> None:
        """Follow another run, from its first event on."""
        self._stop.set()
        self._stop = threading.Event()
        self.run, self.status, self.events, self._last_state = run, Status("starting"), [], {}
        self.is_resuming = False
        self.runChanged.emit()
        if run is not None:
            thread = threading.Thread(target=self._look, args=(run, self._stop), name="napari-seg3d watch", daemon=True)
            thread.start()

    def find_again(self) -> None:
        """Follow the newest run that is still going on, unless one is followed already; look again if nobody did for a while."""
        if self.run is None:
            running = live_runs()
            if running:
                self.follow(running[0])
        elif self._stop.is_set() and not self.status.ended:
            self.follow(self.run)

    def stop_looking(self) -> None:
        """End the thread; the run goes on."""
        self._stop.set()

    def _look(self, run: Run, stop: threading.Event) -> None:
        reader = EventReader(run)
        last_state: Event = {}
        is_first = True
        while not stop.is_set():
            alive = run.is_alive()  # asked first: what an ended process said last is read below
            events = list(reader.read())
            if is_first:
                is_first = False
            elif any(event["kind"] == "resumed" for event in events):
                # Somebody lets it go on from a saved state: what came after that state is taken back.
                with contextlib.suppress(RuntimeError):
                    self._takenBack.emit(run)
                return
            for event in events:
                if event["kind"] == "state":
                    last_state = event
            status = run.status_after(last_state) if not alive or last_state.get("state") else Status("starting")
            with contextlib.suppress(RuntimeError):  # the window is gone
                self._looked.emit(run, events, status)
            if status.ended:
                return
            stop.wait(_SECONDS_BETWEEN_LOOKS)

    def _take(self, run: Run, events: list[Event], status: Status) -> None:
        if run != self.run:
            return  # a last word about the run that was followed before
        if events:
            self._last_state = next((event for event in reversed(events) if event["kind"] == "state"), self._last_state)
            self.events += events
            if len(self.events) > _MOST_EVENTS:
                self.events = _thinned(self.events)
            self.eventsArrived.emit(events)
        if status != self.status:
            self.status = status
            self.statusChanged.emit()


def _thinned(events: list[Event]) -> list[Event]:
    """Return events without the old progress, and with every second step: a run of weeks must not fill the memory."""
    steps = {id(event) for event in [event for event in events if event["kind"] == "step"][1::2]}
    return [event for event in events if event["kind"] != "progress" and id(event) not in steps]
