"""The run folder: the one truth about a run. Whoever wants to know or steer a run reads and writes here.

::

    run.yaml           the TrainConfig as it was asked for
    process.json       which process trains, on which machine
    environment.json   versions and device
    split.csv          case, subject, set
    events.jsonl       everything that happened, a line each
    metrics.csv        a row per validation, label and case
    checkpoints/       best.pt and last.pt, to predict with; state.pt, to go on from
    previews/          predictions of the validation cases to watch, after each validation
    tensorboard/       the same curves for TensorBoard
    train.log          what the process printed
    control.json       what the user asked of the process: {"command": "stop" | "pause" | "go on"}

Starting is in ``starting.py``, and which runs there are in ``discovery.py``.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from napari_seg3d.datasets import Case, open_dataset
from napari_seg3d.errors import TrainingError
from napari_seg3d.files import append_bytes, write_error, write_text
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.runs import process_file

State = Literal["starting", "queued", "preparing", "training", "validating", "paused", "finished", "stopped", "failed", "died"]
Command = Literal["stop", "pause", "go on"]
#: States that a run does not leave any more.
ENDED: frozenset[State] = frozenset({"finished", "stopped", "failed", "died"})
Event = dict[str, Any]
# What a run makes in its folder, and what stays of a write that was broken off. A folder with anything else is not ours to delete.
_OWN_FILES = re.compile(
    r"run\.yaml|(process|environment|control)\.json|(split|metrics)\.csv|events\.jsonl|train\.log|checkpoints|previews|tensorboard"
    r"|mlruns|mlflow\.db|wandb|\.room-for-last-words|\.writing-.*"
)


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Parameters
    ----------
    state : State
        ``died`` means that the process is gone without a word (killed, out of memory, power cut).
    message : str
        For an ended run, one readable sentence or two: how it ended, and what to do.
    """

    state: State
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether the run does nothing any more."""
        return self.state in ENDED


@dataclass(frozen=True)
class Run:
    """One training run, known by its folder.

    Events are dictionaries with ``time`` (seconds since 1970) and ``kind``:

    - ``state``: ``state`` (see :data:`State`), ``message``, ``fix``
    - ``progress``: ``what``, ``done``, ``total`` (while preparing and validating)
    - ``plan``: what ``auto`` became: ``device``, ``precision``, ``spacing``, ``patch_size``, ``batch_size``, ``parameters``, ``labels``
      (value -> name), ``reasons`` (of each: ``setting``, ``value``, ``why``), ``train_cases``, ``validation_cases``
    - ``step``: ``iteration``, ``epoch``, ``loss``, ``learning_rate``, ``elapsed`` (seconds since the first step), ``seconds_left``,
      ``iterations_per_second``, ``samples_per_second``, ``wait_share`` (0 to 1), ``memory`` and ``device_memory`` (bytes)
    - ``validation``: ``iteration``, ``epoch``, ``elapsed``, ``dice`` (label name -> mean over cases), ``mean_dice``, ``metrics`` (label
      name -> all of them), ``metric`` and ``score`` (what the best is chosen by), ``cases`` (case id -> mean Dice), ``best`` (whether
      this is the best model so far)
    - ``preview``: ``case``, ``image`` and ``mask`` (path of the source files), ``unknown`` (voxels that nobody painted, or null),
      ``prediction`` (path below the run folder), ``iteration``, ``epoch``, ``dice``
    - ``checkpoint``: ``file`` (below the run folder), ``iteration``
    - ``warning``: ``message``, ``fix``
    - ``resumed``: ``iteration``; what was told after that step was taken back

    In a cascade ``plan``, ``step``, ``validation``, ``preview`` and ``checkpoint`` name their ``stage``: ``find`` or ``segment``, else empty.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def log(self) -> Path:
        """What the process printed, with the traceback of a crash."""
        return self.folder / "train.log"

    @property
    def best(self) -> Path:
        """The checkpoint with the highest validation Dice; may not exist yet."""
        return self.folder / "checkpoints" / "best.pt"

    @property
    def last(self) -> Path:
        """The newest checkpoint; may not exist yet."""
        return self.folder / "checkpoints" / "last.pt"

    @property
    def saved_state(self) -> Path:
        """Everything that an interrupted run needs to go on exactly; may not exist yet."""
        return self.folder / "checkpoints" / "state.pt"

    @property
    def can_resume(self) -> bool:
        """Whether the run has ended before its time, and left a state to go on from."""
        return self.can_resume_after(self.status())

    def can_resume_after(self, status: Status) -> bool:
        """Return whether the run can be resumed, given where it stands."""
        return status.state in ("stopped", "failed", "died") and self.saved_state.exists()

    def config(self) -> TrainConfig:
        """Return what the run was asked to do."""
        return TrainConfig.from_yaml(self.folder / "run.yaml")

    def cases(self, which: Literal["train", "validation", "test"]) -> list[Case]:
        """Return the cases that the run trains on, is judged by, or must not see."""
        data = self.config().data
        try:
            with open(self.folder / "split.csv", newline="", encoding="utf-8") as handle:
                chosen = {row["case"] for row in csv.DictReader(handle) if row["set"] == which}
        except FileNotFoundError as error:
            raise TrainingError(f"{self.folder} has no split.csv yet.", "Wait until the run has looked at its data.") from error
        return [case for case in open_dataset(data.images, data.masks, data.subjects).cases if case.id in chosen]

    def best_dice(self) -> float | None:
        """Return the mean Dice of `best`, or None when it was never judged."""
        return _best_dice(self, self.best.stat().st_mtime_ns if self.best.exists() else 0)

    def events(self) -> list[Event]:
        """Return everything that happened so far."""
        return list(EventReader(self).read())

    def status(self) -> Status:
        """Return where the run stands, looking at its last words and at its process."""
        status = self.status_after(self._last_state_event())
        # Between the two looks it may have said its last words and ended.
        return self.status_after(self._last_state_event()) if status.state == "died" else status

    def _last_state_event(self) -> Event:
        states = [event for event in EventReader(self).read() if event["kind"] == "state"]
        return states[-1] if states else {}

    def status_after(self, last_state_event: Event) -> Status:
        """Return where the run stands, given its newest ``state`` event (empty when there is none yet)."""
        state: State = last_state_event.get("state", "starting")
        if state in ENDED:
            message = "\n".join(part for part in (last_state_event.get("message"), last_state_event.get("fix")) if part)
            return Status(state, message)
        if not self.folder.is_dir():
            return Status(
                "died", f"The folder of {self.name} is gone ({self.folder}).\nWas it deleted or moved, or is its disk away?"
            )
        if self.is_alive():
            return Status(state)
        kept = f" What it learnt up to the last validation is kept in {self.best}." if self.best.exists() else ""
        return Status(
            "died", f"The training process of {self.name} is gone (killed, or out of memory).{kept}\nIts log is {self.log}."
        )

    def is_alive(self) -> bool:
        """Return whether the process that trains is there."""
        return process_file.is_alive(self.folder)

    def stop(self) -> None:
        """Ask the process to end soon and keep what it has learnt; returns at once."""
        self._ask("stop")

    def pause(self) -> None:
        """Ask the process to save its state and wait, without computing, until `go_on`; returns at once."""
        self._ask("pause")

    def go_on(self) -> None:
        """Ask the process to end a pause; also one that it took because the disk was full."""
        self._ask("go on")

    def _ask(self, command: Command) -> None:
        write_text(self.folder / "control.json", json.dumps({"command": command}))

    def command(self) -> Command | None:
        """Return what was last asked of the process, or None."""
        try:
            asked = json.loads((self.folder / "control.json").read_text(encoding="utf-8"))["command"]
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None  # nobody asked, or something damaged the file
        return asked if asked in ("pause", "go on") else "stop"

    def stop_asked(self) -> bool:
        """Return whether somebody asked for the run to stop."""
        return self.command() == "stop"

    def kill(self) -> None:
        """End the process and its loaders now; only checkpoints that are already written stay."""
        process_file.kill(self.folder)

    def delete(self) -> None:
        """Remove the run folder with all models in it; links in it are removed, never what they point to.

        Raises
        ------
        TrainingError
            The run is still going, or the folder is none of a run, or holds what no run makes. Nothing is removed then.
        WriteError
            The folder cannot be removed.
        """
        if self.is_alive():
            raise TrainingError(f"{self.name} is still running.", "Stop it first.")
        if self.folder.is_symlink():
            raise TrainingError(f"{self.folder} is a link to another folder.", "Delete the run where it lies.")
        if not (self.folder / "run.yaml").is_file():
            raise TrainingError(f"{self.folder} is no run folder.", "Choose a folder with a run.yaml.")
        strange = sorted(entry.name for entry in self.folder.iterdir() if not _OWN_FILES.fullmatch(entry.name))
        if strange:
            raise TrainingError(
                f"{self.folder} was not deleted: it holds {', '.join(strange[:3])}, which no run makes.",
                "Move that elsewhere, then delete the run.",
            )
        try:
            shutil.rmtree(self.folder)
        except OSError as error:
            raise write_error(self.folder, error) from error

    def add_event(self, kind: str, **values: Any) -> None:
        """Append an event (for the process that trains)."""
        line = json.dumps({"time": round(time.time(), 3), "kind": kind, **values}) + "\n"
        append_bytes(self.folder / "events.jsonl", line.encode())


@dataclass
class EventReader:
    """Reads the events of a run that were added since the last call.

    When a run goes on from a saved state, what came after that state is taken back and an event ``resumed`` is added: whoever
    follows the run gets that one next, and forgets later points itself.
    """

    run: Run
    _offset: int = field(default=0, init=False)
    _file: int = field(default=0, init=False)

    def read(self) -> Iterator[Event]:
        """Give the new events, oldest first; a line that is still being written waits for the next call."""
        path = self.run.folder / "events.jsonl"
        try:
            with open(path, "rb") as handle:
                file = os.fstat(handle.fileno()).st_ino
                if self._offset and file != self._file:
                    self._offset = _begin_of_last_resumption(handle.read())
                self._file = file
                handle.seek(self._offset)
                for line in handle:
                    if not line.endswith(b"\n"):
                        return
                    self._offset += len(line)
                    try:
                        event = json.loads(line)
                    except ValueError:
                        continue  # half a line of a process that was killed while it wrote
                    if isinstance(event, dict) and isinstance(event.get("kind"), str):
                        yield event
        except FileNotFoundError:
            return


def _begin_of_last_resumption(content: bytes) -> int:
    at = content.rfind(b'"kind": "resumed"')
    return content.rfind(b"\n", 0, at) + 1 if at >= 0 else 0


@lru_cache(maxsize=256)
def _best_dice(run: Run, _written: int) -> float | None:
    # Reading through all events of a long run takes a while; the answer changes only with the checkpoint.
    judged = [
        event["mean_dice"]
        for event in EventReader(run).read()
        if event["kind"] == "validation" and event["best"] and event.get("stage") != "find"
    ]
    return judged[-1] if judged else None
