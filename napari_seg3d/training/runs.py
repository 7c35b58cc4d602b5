"""The run folder: the one truth about a run. Whoever wants to know or steer a run reads and writes here.

::

    run.yaml           the TrainConfig as it was asked for
    process.json       which process trains, on which machine
    environment.json   versions and device
    split.csv          case, subject, set
    events.jsonl       everything that happened, a line each
    metrics.csv        a row per validation, label and case
    checkpoints/       best.pt, last.pt
    previews/          the prediction of one validation case after each validation
    tensorboard/       the same curves for TensorBoard
    train.log          what the process printed
    control.json       what the user asked of the process
"""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import psutil

from napari_seg3d.datasets import Case, open_dataset
from napari_seg3d.errors import TrainingError, WriteError
from napari_seg3d.files import user_folder, write_error, write_text
from napari_seg3d.training.config import TrainConfig

State = Literal["starting", "preparing", "training", "validating", "finished", "stopped", "failed", "died"]
#: States that a run does not leave any more.
ENDED: frozenset[State] = frozenset({"finished", "stopped", "failed", "died"})
Event = dict[str, Any]


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
    - ``plan``: what ``auto`` became: ``device``, ``precision``, ``spacing``, ``patch_size``, ``batch_size``, ``parameters``,
      ``labels`` (value -> name), ``train_cases``, ``validation_cases``, ``iterations_per_epoch``
    - ``step``: ``iteration``, ``epoch``, ``loss``, ``learning_rate``, ``elapsed`` (seconds since the first step), ``seconds_left``,
      ``iterations_per_second``
    - ``validation``: ``iteration``, ``epoch``, ``elapsed``, ``dice`` (label name -> mean over cases), ``mean_dice``,
      ``cases`` (case id -> mean Dice), ``best`` (whether this is the best model so far)
    - ``preview``: ``case``, ``image`` and ``mask`` (path of the source files), ``prediction`` (path below the run folder),
      ``iteration``, ``epoch``
    - ``checkpoint``: ``file`` (below the run folder), ``iteration``
    - ``warning``: ``message``, ``fix``
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
        if self.is_alive():
            return Status(state)
        kept = f" What it learnt up to the last validation is kept in {self.best}." if self.best.exists() else ""
        return Status(
            "died", f"The training process of {self.name} is gone (killed, or out of memory).{kept}\nIts log is {self.log}."
        )

    def is_alive(self) -> bool:
        """Return whether the process that trains is there."""
        try:
            record = json.loads((self.folder / "process.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return False
        if record["host"] != platform.node():
            # Another machine on a shared disk: its process cannot be seen, only whether it wrote lately.
            events = self.folder / "events.jsonl"
            return events.exists() and time.time() - events.stat().st_mtime < 300
        try:
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["created"]) < 2  # process ids are used again
            if process.status() == psutil.STATUS_ZOMBIE:
                for child in _children:
                    child.poll()  # takes an ended child of ours off the process table
                return False
            return bool(same)
        except psutil.NoSuchProcess:
            return False

    def stop(self) -> None:
        """Ask the process to end soon and keep what it has learnt; returns at once."""
        write_text(self.folder / "control.json", json.dumps({"command": "stop"}))

    def stop_asked(self) -> bool:
        """Return whether somebody asked for the run to stop."""
        return (self.folder / "control.json").exists()

    def kill(self) -> None:
        """End the process and its loaders now; only checkpoints that are already written stay."""
        try:
            record = json.loads((self.folder / "process.json").read_text(encoding="utf-8"))
            process = psutil.Process(record["pid"])
            if abs(process.create_time() - record["created"]) >= 2:
                return
            for member in [*process.children(recursive=True), process]:
                member.kill()
        except (OSError, json.JSONDecodeError, psutil.NoSuchProcess):
            return

    def add_event(self, kind: str, **values: Any) -> None:
        """Append an event (for the process that trains)."""
        line = json.dumps({"time": round(time.time(), 3), "kind": kind, **values})
        try:
            with open(self.folder / "events.jsonl", "a", encoding="utf-8") as handle:
                handle.write(line + "\n")
        except OSError as error:
            raise write_error(self.folder / "events.jsonl", error) from error


@dataclass
class EventReader:
    """Reads the events of a run that were added since the last call."""

    run: Run
    _offset: int = field(default=0, init=False)

    def read(self) -> Iterator[Event]:
        """Give the new events, oldest first; a line that is still being written waits for the next call."""
        try:
            with open(self.run.folder / "events.jsonl", "rb") as handle:
                handle.seek(self._offset)
                for line in handle:
                    if not line.endswith(b"\n"):
                        return
                    self._offset += len(line)
                    try:
                        yield json.loads(line)
                    except json.JSONDecodeError:
                        continue  # half a line of a process that was killed while it wrote
        except FileNotFoundError:
            return


def start_run(config: TrainConfig, folder: str | Path | None = None) -> Run:
    """Start training in a process of its own and return at once.

    The process lives on when the one that started it ends. It runs at low priority, so that a viewer stays smooth beside it.

    Parameters
    ----------
    config : TrainConfig
        What to do.
    folder : path-like, optional
        The run folder; it must be new or empty. Left out, a dated one below ``~/napari-seg3d/runs``.

    Raises
    ------
    WriteError
        The folder cannot be written or holds something already.
    TrainingError
        The process could not be started.
    """
    folder = Path(folder).expanduser().absolute() if folder is not None else _new_folder(config)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WriteError(f"{folder} is not empty.", "Choose a new folder for the run: an old one is never written over.")
    config.save(folder / "run.yaml")
    run = Run(folder)
    # Threads that wait for one another sleep instead of spinning: beside a busy viewer that is several times faster.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    try:
        with open(run.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", "napari_seg3d.training.child", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
                **_detached(),
            )
    except OSError as error:
        raise TrainingError(f"The training process could not be started ({error}).", "Check the Python installation.") from error
    record = {"pid": process.pid, "created": psutil.Process(process.pid).create_time(), "host": platform.node()}
    write_text(folder / "process.json", json.dumps(record))
    # Whoever waits for the child is this process; without it the ended child would stay in the process table.
    _children.append(process)
    _remember(folder)
    return run


def find_runs() -> list[Run]:
    """Return all runs known on this machine, newest first: those in the default folder and those started elsewhere."""
    folders = {path.parent for path in user_folder("runs").glob("*/run.yaml")}
    register = user_folder("state") / "runs.txt"
    if register.exists():
        folders |= {Path(line) for line in register.read_text(encoding="utf-8").splitlines() if line}
    runs = [folder for folder in folders if (folder / "run.yaml").exists()]
    return [Run(folder) for folder in sorted(runs, key=lambda folder: (folder / "run.yaml").stat().st_mtime, reverse=True)]


def live_runs() -> list[Run]:
    """Return the runs that are training now, newest first."""
    return [run for run in find_runs() if not run.status().ended]


@lru_cache(maxsize=256)
def _best_dice(run: Run, _written: int) -> float | None:
    # Reading through all events of a long run takes a while; the answer changes only with the checkpoint.
    judged = [event["mean_dice"] for event in EventReader(run).read() if event["kind"] == "validation" and event["best"]]
    return judged[-1] if judged else None


_children: list[subprocess.Popen[bytes]] = []


def _detached() -> dict[str, Any]:
    if sys.platform == "win32":
        return {
            "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP
            | subprocess.BELOW_NORMAL_PRIORITY_CLASS
            | subprocess.CREATE_NO_WINDOW
        }
    return {"start_new_session": True}


def _new_folder(config: TrainConfig) -> Path:
    data = re.sub(r"[^\w.-]+", "-", config.data.images.name).strip("-.") or "run"
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = user_folder("runs") / f"{data}-{stamp}"
    number = 1
    while folder.exists():
        number += 1
        folder = user_folder("runs") / f"{data}-{stamp}-{number}"
    return folder


def _remember(folder: Path) -> None:
    register = user_folder("state") / "runs.txt"
    try:
        with open(register, "a", encoding="utf-8") as handle:
            handle.write(f"{folder}\n")
    except OSError as error:
        raise write_error(register, error) from error
