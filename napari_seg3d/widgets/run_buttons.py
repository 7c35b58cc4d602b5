"""The buttons of a run: start, pause and go on, stop and keep, kill, queue."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QElapsedTimer, Signal
from qtpy.QtWidgets import QApplication, QHBoxLayout, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_seg3d.errors import Seg3dError
from napari_seg3d.training import live_runs
from napari_seg3d.viewer.run_watch import RunWatch

_START, _STOP = "Start training", "Stop and keep"


class RunButtons(QWidget):
    """Steers the run that is followed; what to start is for others to say.

    Parameters
    ----------
    watch : RunWatch
        The run.

    Attributes
    ----------
    start, pause, kill, queue : QPushButton
        `start` stops while a run goes on, and `pause` also goes on and resumes.
    """

    #: A run shall start; whether it shall wait for those that go on.
    wanted = Signal(bool)
    #: Something could not be done; with the error.
    failed = Signal(object)

    def __init__(self, watch: RunWatch) -> None:
        super().__init__()
        self._watch = watch
        watch.failed.connect(self._say_failure)
        self._blocked = ""  # why nothing can be started now
        self._since_start = QElapsedTimer()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        self.start, self.pause, self.kill, self.queue = QPushButton(_START), QPushButton(), QPushButton("Kill"), QPushButton()
        self.start.clicked.connect(self._start_or_stop)
        self.pause.clicked.connect(self._pause_or_go_on)
        self.kill.setToolTip(
            "<p>End the training process at once. Only what was saved last is kept; Stop and keep loses nothing.</p>"
        )
        self.kill.clicked.connect(self._kill)
        self.queue.setText("Queue a further run")
        self.queue.setToolTip("<p>Start a run with the settings above when the ones before it have ended.</p>")
        self.queue.clicked.connect(lambda: self.wanted.emit(True))
        row.addWidget(self.start, 2)
        row.addWidget(self.pause, 1)
        row.addWidget(self.kill)
        column.addLayout(row)
        column.addWidget(self.queue)

    def update_for(self, blocked: str) -> None:
        """Offer what can be done now.

        Parameters
        ----------
        blocked : str
            Why no run can be started with the settings as they are; empty when one can.
        """
        self._blocked = blocked
        running, run, state = self._watch.is_running, self._watch.run, self._watch.status.state
        asked = run.command() if running and run is not None else None
        self.kill.setVisible(running)
        self.queue.setVisible(running)
        self.queue.setEnabled(not blocked)
        if running:
            self.start.setText("Stopping…" if asked == "stop" else _STOP)
            self.start.setToolTip("<p>Ends the training after this step, judges the model once more and keeps it.</p>")
            self.start.setEnabled(asked != "stop")
        else:
            self.start.setText(_START)
            self.start.setToolTip(
                f"<p>{blocked or 'Trains in the background with the settings above. The viewer stays free, and may be closed.'}</p>"
            )
            self.start.setEnabled(not blocked and not self._watch.is_resuming)
        self.pause.setVisible((running and state != "queued") or self._can_resume())
        self.pause.setEnabled(asked != "stop" if running else not self._watch.is_resuming)
        if not running:
            self._say_pause("Resume", "Goes on with this run from its last saved state, as if it had never been interrupted.")
        elif state == "paused":
            self._say_pause("Go on", "Goes on where the run was paused.")
        elif asked == "pause":
            self._say_pause("Pausing…", "The run pauses after this step. Click again to let it go on.")
        else:
            self._say_pause(
                "Pause", "Saves everything and waits without computing, so that the machine is free for other things."
            )

    def _say_pause(self, text: str, tooltip: str) -> None:
        self.pause.setText(text)
        self.pause.setToolTip(f"<p>{tooltip}</p>")

    def _can_resume(self) -> bool:
        run, state = self._watch.run, self._watch.status.state
        return run is not None and state in ("stopped", "failed", "died") and run.saved_state.exists()

    def _start_or_stop(self) -> None:
        if self._since_start.isValid() and not self._since_start.hasExpired(QApplication.doubleClickInterval()):
            return  # the second click of a double click would stop what the first one began
        run = self._watch.run
        if run is not None and self._watch.is_running:
            self._try(run.stop)
            return
        others = live_runs()
        if not others:
            self.wanted.emit(False)
            self._since_start.start()
            return
        box = QMessageBox(self)
        box.setWindowTitle("Another run goes on")
        box.setText(f"{others[0].name} goes on. Two runs at a time take turns on this machine, and both take longer.")
        wait = box.addButton("Start when it has ended", QMessageBox.ButtonRole.AcceptRole)
        now = box.addButton("Start now", QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(wait)
        box.exec()
        if box.clickedButton() in (wait, now):
            self.wanted.emit(box.clickedButton() is wait)

    def _pause_or_go_on(self) -> None:
        run = self._watch.run
        if run is None:
            return
        if not self._watch.is_running:
            self._watch.resume()
            self.update_for(self._blocked)
        elif self._watch.status.state == "paused" or run.command() == "pause":
            self._try(run.go_on)
        else:
            self._try(run.pause)

    def _kill(self) -> None:
        run = self._watch.run
        answer = QMessageBox.question(self, "Kill the training", "End the process at once and keep only what was saved last?")
        if answer == QMessageBox.StandardButton.Yes and run is not None:
            run.kill()

    def _say_failure(self, error: Seg3dError) -> None:
        self.failed.emit(error)
        self.update_for(self._blocked)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Seg3dError as error:
            self._say_failure(error)
        else:
            self.update_for(self._blocked)
