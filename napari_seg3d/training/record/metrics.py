"""The numbers of a run: a table for people, curves and pictures for TensorBoard, and whatever other programs the user named."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.evaluation import Evaluation, EvaluationRow
from napari_seg3d.files import write_error
from napari_seg3d.training.record.trackers import Tracker, defined
from napari_seg3d.training.runs.folder import Run

# Distances between surfaces are not measured during a training, which they would slow down.
_MEASURED = ("case", "label", "name", "dice", "reference_ml", "prediction_ml", "precision", "recall", "tp", "fn", "fp")
_COLUMNS = ("iteration", "epoch", "elapsed", *_MEASURED, "stage")
_TITLES = {"dice": "Dice", "precision": "precision", "recall": "recall", "f1": "F1"}
_SHARES = {"tp": "found (%)", "fn": "missed (%)", "fp": "too much (%)"}


class MetricsLog:
    """Appends to ``metrics.csv`` and ``tensorboard/`` of a run.

    Parameters
    ----------
    run : Run
        Where.
    labels : mapping of int to str
        Mask value -> name.
    stage : str
        Of a cascade; its curves go to a folder of their own.
    trackers : sequence of Tracker
        Who is told as well. One that fails is told nothing more, and a warning says so: the run goes on.
    silent : bool
        Write nothing: another process does.
    """

    def __init__(
        self, run: Run, labels: Mapping[int, str], stage: str = "", trackers: Sequence[Tracker] = (), silent: bool = False
    ) -> None:
        self._run, self._labels, self._stage, self._silent = run, labels, stage, silent
        self._trackers = list(trackers)
        self._board: Any = None

    def add_step(self, iteration: int, loss: float, learning_rate: float, wait_share: float | None = None) -> None:
        """Add a point to the curves of loss, learning rate and the share of the time that was spent waiting for data."""
        self._add_scalars({"loss": loss, "learning rate": learning_rate, "wait share": wait_share}, iteration)

    def add_validation(self, iteration: int, epoch: float, elapsed: float, evaluation: Evaluation) -> None:
        """Add a row for each case and label, and a point to the curves of each label."""
        rows = [(iteration, f"{epoch:.2f}", elapsed, *_without_nan(row), self._stage) for row in evaluation.rows]
        self._append(rows)
        curves = {}
        for value, metrics in evaluation.metrics().items():
            for name, title in (_TITLES | _SHARES).items():
                curves[f"{title}/{self._labels[value]}"] = metrics[name]
        for name, title in _TITLES.items():
            curves[f"{title}/mean"] = evaluation.score(name)  # type: ignore[arg-type]  # these are the metrics
        self._add_scalars(curves, iteration)
        self._to_board(iteration, lambda board: board.flush())

    def add_picture(self, case: str, picture: NDArray[np.uint8], iteration: int) -> None:
        """Add a picture ``(height, width, 3)`` of a case to TensorBoard."""
        self._to_board(iteration, lambda board: board.add_image(f"prediction/{case}", picture, iteration, dataformats="HWC"))

    def close(self) -> None:
        """Write what is still held back."""
        if self._board is not None:
            self._to_board(0, lambda board: board.close())
            self._board = None
        self._to_trackers(lambda tracker: tracker.close())
        self._trackers = []

    def _add_scalars(self, values: Mapping[str, float | None], iteration: int) -> None:
        known = defined(values)

        def add(board: Any) -> None:
            for name, value in known.items():
                board.add_scalar(name, value, iteration)

        self._to_board(iteration, add)
        told = {f"{self._stage}/{name}" if self._stage else name: value for name, value in known.items()}
        self._to_trackers(lambda tracker: tracker.add(told, iteration))

    def _to_board(self, iteration: int, tell: Callable[[Any], None]) -> None:
        if self._silent:
            return
        folder = self._run.folder / "tensorboard" / self._stage
        try:
            if self._board is None:
                from torch.utils.tensorboard import SummaryWriter

                # A run that was resumed does some iterations again: what it says last counts.
                self._board = SummaryWriter(log_dir=str(folder), purge_step=iteration)
            tell(self._board)
        except OSError as error:
            self._board = None  # it would fail for ever, even when there is room again
            raise write_error(folder, error) from error

    def _to_trackers(self, tell: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                tell(tracker)
            except Exception as error:  # noqa: BLE001  whatever another program or its server does must not end a training
                self._trackers.remove(tracker)
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                self._run.add_event(
                    "warning",
                    message=f"{tracker.name} could not be told any more ({reason}).",
                    fix="The run goes on without it; metrics.csv and TensorBoard have all numbers.",
                )

    def _append(self, rows: Sequence[tuple[object, ...]]) -> None:
        if self._silent:
            return
        table = self._run.folder / "metrics.csv"
        try:
            with open(table, "a", newline="", encoding="utf-8") as handle:
                head = [_COLUMNS] if handle.tell() == 0 else []
                csv.writer(handle).writerows([*head, *rows])
        except OSError as error:
            raise write_error(table, error) from error


def _without_nan(row: EvaluationRow) -> tuple[object, ...]:
    values = [getattr(row, name) for name in _MEASURED]
    return tuple("" if isinstance(value, float) and math.isnan(value) else value for value in values)
