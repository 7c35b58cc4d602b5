"""The numbers of a run, as a table for people and as curves for TensorBoard."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping

from napari_seg3d.evaluation import Evaluation, EvaluationRow
from napari_seg3d.files import write_error
from napari_seg3d.training.runs import Run

_COLUMNS = ("iteration", "epoch", "elapsed", *EvaluationRow._fields)


class MetricsLog:
    """Appends to ``metrics.csv`` and ``tensorboard/`` of a run.

    Parameters
    ----------
    run : Run
        Where.
    labels : mapping of int to str
        Mask value -> name.
    """

    def __init__(self, run: Run, labels: Mapping[int, str]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._table = run.folder / "metrics.csv"
        self._labels = labels
        self._board = SummaryWriter(log_dir=str(run.folder / "tensorboard"))
        self._append([_COLUMNS])

    def add_step(self, iteration: int, loss: float, learning_rate: float) -> None:
        """Add a point to the curves of loss and learning rate."""
        self._board.add_scalar("loss", loss, iteration)
        self._board.add_scalar("learning rate", learning_rate, iteration)

    def add_validation(self, iteration: int, epoch: float, elapsed: float, evaluation: Evaluation) -> None:
        """Add a row for each case and label, and a point to the curves of Dice."""
        self._append([(iteration, f"{epoch:.2f}", elapsed, *_without_nan(row)) for row in evaluation.rows])
        for value, dice in evaluation.per_label().items():
            self._board.add_scalar(f"Dice/{self._labels[value]}", dice, iteration)
        self._board.add_scalar("Dice/mean", evaluation.mean_dice, iteration)
        self._board.flush()

    def close(self) -> None:
        """Write what is still held back."""
        self._board.close()

    def _append(self, rows: list[tuple[object, ...]]) -> None:
        try:
            with open(self._table, "a", newline="", encoding="utf-8") as handle:
                csv.writer(handle).writerows(rows)
        except OSError as error:
            raise write_error(self._table, error) from error


def _without_nan(row: EvaluationRow) -> tuple[object, ...]:
    return tuple("" if isinstance(value, float) and math.isnan(value) else value for value in row)
