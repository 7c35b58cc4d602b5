"""Reads what a run folder tells, and later only what is new in it.

A folder may be large, still be written, be damaged, or come from an older version. Whatever can be read is told; what cannot is counted.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_seg3d.errors import Cancelled
from napari_seg3d.training.runs.folder import ENDED, Event, Run, Status
from napari_seg3d.training.runs.history import LABEL_QUANTITIES, Curve, CurveKey, Kept, RunHistory, Validation
from napari_seg3d.training.runs.settings import read_settings

# Lines that come so often that a summary needs only the newest of several in a row.
_FREQUENT = re.compile(rb'[^\n]{0,40}"kind": "(step|progress)"')
_IDLE = ("queued", "paused")
_BEGINNINGS = ("starting", "queued", "preparing")


class HistoryReader:
    """Reads a run folder again and again; each time only what is new.

    Parameters
    ----------
    run : Run
        Whom to read about.
    every_step : bool
        Whether the curves of the steps shall have all their points. Without them a long run is read many times faster, and all else
        is the same.
    """

    def __init__(self, run: Run, every_step: bool = True) -> None:
        self.run = run
        self._every_step = every_step
        self._ledger = _Ledger(self.run.folder)
        self._offset = 0
        self._stamps: tuple[_Stamp | None, ...] | None = None
        self._settings: tuple[dict[str, Any], str] = {}, ""
        self._history: RunHistory | None = None

    def read(self) -> RunHistory:
        """Return what the folder tells now; never raises for what is in it."""
        stamps = events, settings = tuple(_stamp(self.run.folder / name) for name in ("events.jsonl", "run.yaml"))
        last = self._stamps
        if self._history is not None and stamps == last and self._status() == self._history.status:
            return self._history
        known = last[0] if last is not None else None
        if events is None or events.size < self._offset or (known is not None and known.inode != events.inode):
            self._ledger, self._offset = _Ledger(self.run.folder), 0  # a run that is resumed begins its file anew
        if last is None or last[1] != settings:
            self._settings = read_settings(self.run.folder)
        self._stamps = stamps
        for _ in range(2):
            for line in self._lines():
                self._ledger.take(line)
            status = self._status()
            if status.state != "died":
                break  # else it may have said its last words between the two looks
        self._history = self._ledger.history(self.run, status, *self._settings)
        return self._history

    def _status(self) -> Status:
        if not self._ledger.state and not (self.run.folder / "process.json").exists():
            return Status("starting")  # it was made, and waits for somebody to start it
        return self.run.status_after(self._ledger.state)

    def _lines(self) -> Iterator[bytes]:
        held = b""
        try:
            with open(self.run.folder / "events.jsonl", "rb") as handle:
                handle.seek(self._offset)
                for line in handle:
                    if not line.endswith(b"\n"):
                        break  # it is still being written
                    self._offset += len(line)
                    if not self._every_step and _FREQUENT.match(line):
                        held = line
                        continue
                    if held:
                        yield held
                        held = b""
                    yield line
        except OSError:
            pass  # there is none yet, or no longer
        if held:
            yield held


class HistoryShelf:
    """Summaries of many runs; those that did not change since are not read again."""

    def __init__(self) -> None:
        self._readers: dict[Run, HistoryReader] = {}

    def read(self, runs: Sequence[Run], is_cancelled: Callable[[], bool] = lambda: False) -> list[RunHistory]:
        """Return a summary of each run, in their order; Cancelled when somebody has enough."""
        self._readers = {run: self._readers.get(run) or HistoryReader(run, every_step=False) for run in runs}
        histories = []
        for reader in self._readers.values():
            if is_cancelled():
                raise Cancelled("Reading the runs was cancelled.")
            histories.append(reader.read())
        return histories


class _Series:
    """Points whose iterations rise. A run that was resumed does some iterations again: what it says last counts."""

    def __init__(self) -> None:
        self._iterations, self._epochs, self._values = array("d"), array("d"), array("d")

    def add(self, iteration: float, epoch: float, value: float | None) -> None:
        while self._iterations and self._iterations[-1] >= iteration:
            for column in (self._iterations, self._epochs, self._values):
                column.pop()
        self._iterations.append(iteration)
        self._epochs.append(epoch)
        self._values.append(math.nan if value is None else value)

    def curve(self) -> Curve:
        return Curve(np.array(self._iterations), np.array(self._epochs), np.array(self._values))


class _Ledger:
    """What the events so far come to."""

    def __init__(self, folder: Path) -> None:
        self.state: Event = {}
        self._folder = folder
        self._plan: Event = {}
        self._labels: dict[int, str] = {}
        self._stage = ""
        self._curves: dict[CurveKey, _Series] = {}
        self._validations: dict[str, list[Validation]] = {}  # by stage
        self._kept: dict[tuple[str, str], list[Kept]] = {}  # by stage and case
        self._iteration, self._epoch, self._seconds = 0, 0.0, 0.0
        self._time: float | None = None
        self._damaged = 0

    def take(self, line: bytes) -> None:
        """Note an event; a line that is none, or not one as it should be, is only counted."""
        try:
            event = json.loads(line)
            self._note_time(_needed(event, "time"), event)
            match event["kind"]:
                case "state":
                    self.state = {name: str(event[name]) for name in ("state", "message", "fix") if event.get(name)}
                case "plan":
                    self._labels = {int(value): str(name) for value, name in event["labels"].items()}
                    self._plan, self._stage = event, str(event.get("stage", ""))
                case "step":
                    self._take_step(event)
                case "validation":
                    self._take_validation(event)
                case "preview":
                    self._take_preview(event)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._damaged += 1

    def history(self, run: Run, status: Status, settings: Mapping[str, Any], problem: str) -> RunHistory:
        """Return what is known by now."""
        stages = list(dict.fromkeys(stage for stage, _ in self._kept))
        return RunHistory(
            run=run,
            status=status,
            settings=settings,
            problem=problem,
            plan=self._plan,
            labels=self._labels,
            curves={key: series.curve() for key, series in self._curves.items()},
            validations=tuple(chain.from_iterable(self._validations.values())),
            kept=tuple(
                sorted(chain.from_iterable(self._kept.values()), key=lambda kept: (stages.index(kept.stage), kept.iteration))
            ),
            iteration=self._iteration,
            epoch=self._epoch,
            seconds=self._seconds,
            size=folder_size(run.folder),
            damaged=self._damaged,
        )

    def _note_time(self, time: float, event: Event) -> None:
        last = self.state.get("state")
        is_idle = last in ENDED or last in _IDLE
        begins = event["kind"] == "state" and event["state"] in _BEGINNINGS and last not in _BEGINNINGS  # resumed after a crash
        if self._time is not None and not is_idle and not begins:
            self._seconds += max(0.0, time - self._time)
        self._time = time

    def _take_step(self, event: Event) -> None:
        self._note_place(event)
        for quantity, name in (("loss", "loss"), ("learning rate", "learning_rate")):
            self._add(CurveKey(quantity, "", self._stage), _number(event.get(name)))

    def _take_validation(self, event: Event) -> None:
        mean, metrics = _number(event["mean_dice"]), event.get("metrics")
        cases = {str(case): _number(dice) for case, dice in event["cases"].items()}
        per_label = metrics or {label: {"dice": dice} for label, dice in event["dice"].items()}
        found = {
            CurveKey(quantity, str(label)): _number(values.get(quantity))
            for label, values in per_label.items()
            for quantity in LABEL_QUANTITIES
            if quantity in values
        }
        for quantity in {key.quantity for key in found}:
            known = [value for key, value in found.items() if key.quantity == quantity and value is not None]
            found[CurveKey(quantity)] = sum(known) / len(known) if known else None
        found[CurveKey("dice")] = mean
        found[CurveKey("score")] = score = _number(event["score"]) if "score" in event else mean
        self._note_place(event)
        for key, value in found.items():
            self._add(key._replace(stage=self._stage), value)
        judged = Validation(
            self._iteration, self._epoch, self._stage, score, str(event.get("metric", "dice")), event.get("best") is True, cases
        )
        _append(self._validations.setdefault(self._stage, []), judged)

    def _take_preview(self, event: Event) -> None:
        case, mask = str(event["case"]), event.get("mask")
        image, prediction = Path(event["image"]), self._folder / event["prediction"]
        self._note_place(event)
        dice = _number(event.get("dice"))
        if dice is None:
            same = (found for found in reversed(self._validations.get(self._stage, [])) if found.iteration == self._iteration)
            dice = next((found.cases.get(case) for found in same), None)
        truth = self._folder / mask if mask else None
        kept = Kept(case, self._iteration, self._epoch, self._stage, image, prediction, truth, dice)
        _append(self._kept.setdefault((self._stage, case), []), kept)

    def _note_place(self, event: Event) -> None:
        iteration, epoch = int(_needed(event, "iteration")), _needed(event, "epoch")
        self._iteration, self._epoch, self._stage = iteration, epoch, str(event.get("stage", self._stage))

    def _add(self, key: CurveKey, value: float | None) -> None:
        self._curves.setdefault(key, _Series()).add(self._iteration, self._epoch, value)


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below a folder; links are not followed."""
    total, waiting = 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # it was deleted meanwhile, or may not be read
    return total


def _append(found: list[Any], new: Validation | Kept) -> None:
    """Append what takes the place of all that a resumed run does again."""
    while found and found[-1].iteration >= new.iteration:
        found.pop()
    found.append(new)


def _number(value: object) -> float | None:
    """Return a number that can be drawn, None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > sys.float_info.max:
        return None  # so is what is infinite
    return None if math.isnan(value) else float(value)


def _needed(event: Event, name: str) -> float:
    value = _number(event[name])
    if value is None:
        raise ValueError(f"{name} is no number")
    return value


class _Stamp(NamedTuple):
    inode: int
    written: int  # nanoseconds since 1970
    size: int


def _stamp(path: Path) -> _Stamp | None:
    """Return what is another when a file is; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _Stamp(found.st_ino, found.st_mtime_ns, found.st_size)
