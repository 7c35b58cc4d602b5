"""What is kept of the rounds of a worklist: a folder for each, and which model is the current one.

::

    seg3d-review/rounds/
      current.json         {"round": 2, "run": "…"}: the model that predicts and that the next round goes on from
      001/dataset.yaml     what the first round learnt from, with paths relative to it
      001/round.json       its run, what was new, and how both models did
      001/predictions/     the cases that are not approved, predicted by its model

Making the folder of a round takes its number: two people can begin one at the same time, and each gets their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from napari_seg3d.errors import ConfigError, DatasetError, TrainingError
from napari_seg3d.files import write_error, write_text
from napari_seg3d.review import Worklist
from napari_seg3d.training.rounds.gathering import JudgedOn
from napari_seg3d.training.rounds.judging import ComparedRow, Comparison
from napari_seg3d.training.runs.folder import Run

_FORMAT = "napari-seg3d round 1"
_FOLDER, _RECORD, _CURRENT = "rounds", "round.json", "current.json"
DATASET, PREDICTIONS = "dataset.yaml", "predictions"


@dataclass(frozen=True)
class RoundRecord:
    """A round that was begun.

    Parameters
    ----------
    number : int
        From 1.
    folder : Path
        Where its record lies.
    run, before : Run
        The training, and the one whose model it began with.
    who, at : str
        Who began it, and when.
    new, changed : tuple of str
        Cases that taught for the first time, and those that had another mask.
    old : int
        How many taught as before.
    share : float
        Which part of what was shown was new.
    judged_on : str
        Who judges.
    judges : tuple of str
        Their ids.
    left_out : mapping of str to str
        Approved case -> why it did not teach.
    comparison : Comparison or None
        None while it was not judged.
    is_kept : bool or None
        Whether its model became the current one when it was judged.
    """

    number: int
    folder: Path
    run: Run
    before: Run
    who: str = ""
    at: str = ""
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    old: int = 0
    share: float = math.nan
    judged_on: JudgedOn = "validation cases"
    judges: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    comparison: Comparison | None = None
    is_kept: bool | None = None

    def write(self) -> None:
        """Write it down, whole or not at all; raises WriteError."""
        write_text(self.folder / _RECORD, json.dumps(self._to_json(), indent=1, ensure_ascii=False) + "\n")

    def _to_json(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "format": _FORMAT,
            "number": self.number,
            "who": self.who,
            "at": self.at,
            "run": self.run.folder.as_posix(),
            "before": self.before.folder.as_posix(),
            "new": list(self.new),
            "changed": list(self.changed),
            "old": self.old,
            "share": _number(self.share),
            "judged_on": self.judged_on,
            "judges": list(self.judges),
            "left_out": dict(self.left_out),
            "kept": self.is_kept,
        }
        if self.comparison is not None:
            content["mean_before"] = _number(self.comparison.mean_before)
            content["mean_after"] = _number(self.comparison.mean_after)
            content["scores"] = [{key: _number(value) for key, value in row._asdict().items()} for row in self.comparison.rows]
        return content

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the record in a folder; a DatasetError says why there is none."""
        file = folder / _RECORD
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                raise ValueError("it is of another version")
            comparison = None
            if "scores" in content:
                rows = tuple(ComparedRow(**{key: _float(value) for key, value in row.items()}) for row in content["scores"])
                comparison = Comparison(rows, _float(content["mean_before"]), _float(content["mean_after"]))
            return cls(
                number=int(content["number"]),
                folder=folder,
                run=Run(Path(content["run"])),
                before=Run(Path(content["before"])),
                who=str(content["who"]),
                at=str(content["at"]),
                new=tuple(content["new"]),
                changed=tuple(content["changed"]),
                old=int(content["old"]),
                share=_float(content["share"]),
                judged_on=content["judged_on"],
                judges=tuple(content["judges"]),
                left_out=dict(content["left_out"]),
                comparison=comparison,
                is_kept=content["kept"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{file} is no record of a round ({error}).", "Remove that folder if nobody needs it.") from error


class Rounds:
    """The rounds of a worklist, and the model that is the current one.

    Parameters
    ----------
    worklist : Worklist
        Beside whose journals they are kept.
    """

    def __init__(self, worklist: Worklist) -> None:
        self.folder = worklist.store.folder / _FOLDER

    @property
    def records(self) -> list[RoundRecord]:
        """All rounds that were begun, in their order; a folder without a record is none."""
        folders = sorted(self.folder.glob("[0-9][0-9][0-9]*")) if self.folder.is_dir() else []
        return [RoundRecord.read(folder) for folder in folders if (folder / _RECORD).is_file()]

    @property
    def current(self) -> tuple[int, Run] | None:
        """Number of the round whose model is in use, 0 for the one that was there before all rounds, and its run."""
        try:
            content = json.loads((self.folder / _CURRENT).read_text(encoding="utf-8"))
            return int(content["round"]), Run(Path(content["run"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{self.folder / _CURRENT} cannot be read ({error}).", "Remove it, and name the run to go on from."
            ) from error

    def origin_of(self, run: Run) -> Run:
        """Return the training with which a line of rounds began; the run itself where it is of no round, or that one is gone."""
        by_run = {record.run.folder: record.before for record in self.records}
        first = run
        for _ in by_run:
            first = by_run.get(first.folder, first)
        return first if (first.folder / "run.yaml").is_file() else run

    def begin(self) -> tuple[int, Path]:
        """Take the next number; return it with its folder. Raises WriteError."""
        number = max((int(folder.name) for folder in self.folder.glob("[0-9][0-9][0-9]*") if folder.name.isdecimal()), default=0)
        while True:
            number += 1
            folder = self.folder / f"{number:03d}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:  # somebody else began one at this moment
                continue
            except OSError as error:
                raise write_error(folder, error) from error
            return number, folder

    def use(self, number: int) -> Run:
        """Make the model of a round the current one, of 0 that from before all rounds; return its run.

        Raises
        ------
        ConfigError
            There is no such round.
        TrainingError
            Its model is not there.
        """
        records = {record.number: record for record in self.records}
        if number == 0 and records:
            run = self.origin_of(records[min(records)].before)
        elif number in records:
            run = records[number].run
        else:
            known = ", ".join(map(str, [0, *records])) if records else "none yet"
            raise ConfigError(f"There is no round {number}.", f"There are: {known}.")
        self.set_current(number, run)
        return run

    def set_current(self, number: int, run: Run) -> None:
        """Note whose model is the current one.

        Raises
        ------
        TrainingError
            It is not there.
        """
        if not run.best.is_file():
            raise TrainingError(f"The model of {run.name} is not there ({run.best}).", "Was it deleted, or is its disk away?")
        write_text(self.folder / _CURRENT, json.dumps({"round": number, "run": run.folder.as_posix()}) + "\n")

    def predictions_of(self, number: int) -> Path:
        """Return the folder for the predictions by the model of a round."""
        return self.folder / f"{number:03d}" / PREDICTIONS


def judged(record: RoundRecord, comparison: Comparison) -> RoundRecord:
    """Return a record with how both models did."""
    return replace(record, comparison=comparison, is_kept=comparison.is_better)


def now() -> str:
    """Return the time as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _number(value: Any) -> Any:
    # JSON knows neither NaN nor infinity; a word is read by people, too.
    if not isinstance(value, float) or math.isfinite(value):
        return round(value, 6) if isinstance(value, float) else value
    return None if math.isnan(value) else "infinite"


def _float(value: Any) -> Any:
    return math.nan if value is None else math.inf if value == "infinite" else value
