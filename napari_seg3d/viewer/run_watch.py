"""`RunWatch`: what is known of the training run that the user looks at, kept up to date from its folder."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_seg3d.training import EventReader, Run, Status, TrainConfig, live_runs, start_run

_SECONDS_BETWEEN_LOOKS = 0.4
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
        Everything that the run has said so far.
    """

    #: Another run is followed, or none.
    runChanged = Signal()
    #: New events, oldest first.
    eventsArrived = Signal(list)
    #: The status changed.
    statusChanged = Signal()
    _looked = Signal(object, list, object)

    def __init__(self) -> None:
        super().__init__()
        self.run: Run | None = None
        self.status = Status("starting")
        self.events: list[Event] = []
        self._stop = threading.Event()
        self._looked.connect(self._take)

    @property
    def is_running(self) -> bool:
        """Whether the followed run goes on."""
        return self.run is not None and not self.status.ended

    def start(self, config: TrainConfig, folder: Path | None = None) -> None:
        """Start a run and follow it; raises as `start_run` does."""
        self.follow(start_run(config, folder))

    def follow(self, run: Run | None) -> None:
        """Follow another run, from its first event on."""
        self._stop.set()
        self._stop = threading.Event()
        self.run, self.status, self.events = run, Status("starting"), []
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
        while not stop.is_set():
            alive = run.is_alive()  # asked first: what an ended process said last is read below
            events = list(reader.read())
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
            self.events += events
            self.eventsArrived.emit(events)
        if status != self.status:
            self.status = status
            self.statusChanged.emit()
