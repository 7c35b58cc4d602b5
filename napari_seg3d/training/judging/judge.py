"""`Judge`: validates, keeps the best and the last model, and tells about both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import napari_seg3d
from napari_seg3d.datasets import Case, read_case_image
from napari_seg3d.errors import Cancelled, ReadError
from napari_seg3d.evaluation import Evaluation
from napari_seg3d.inference import Model, Predictor, save_model
from napari_seg3d.training.clock import Clock
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.judging.stopping import EarlyStopping
from napari_seg3d.training.judging.validation import Validation, together, validate
from napari_seg3d.training.learning.average import WeightAverage
from napari_seg3d.training.record.metrics import MetricsLog
from napari_seg3d.training.record.pictures import Overlay
from napari_seg3d.training.record.previews import Previews
from napari_seg3d.training.record.trackers import open_trackers
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.runs.progress import ProgressEvents
from napari_seg3d.training.samples.cache import CachedCase

if TYPE_CHECKING:
    import torch

    from napari_seg3d.training.processes import Processes


class Judge:
    """Judges the model of a run now and then.

    With several processes each has a judge, and all call :meth:`judge` at the same iterations: each predicts its share of the cases, and
    all of them know the result. Only the first one writes.

    Parameters
    ----------
    run : Run
        Where models, metrics and previews go.
    config : TrainConfig
        Its settings, all but the data, become part of the model file.
    clock : Clock
        Knows how long a validation may take.
    predictor : Predictor
        The network that is trained, as it will predict; of a cascade with the network that finds.
    cases : sequence of CachedCase
        Whom to judge by.
    shown : sequence of Case
        Some of them, the one most worth watching first: of as many as `record.shown_cases` says, predictions are kept as previews.
    average : WeightAverage, optional
        Of the network's weights: it is what is judged and saved.
    processes : Processes, optional
        Those that train together.
    stage : str
        Of a cascade: "find" or "segment".

    Attributes
    ----------
    metrics : MetricsLog
        Where the loop adds its steps.

    Raises
    ------
    ConfigError
        The label to judge by is none of the model's, or a tracker is not installed.
    """

    def __init__(
        self,
        run: Run,
        config: TrainConfig,
        clock: Clock,
        predictor: Predictor,
        cases: Sequence[CachedCase],
        shown: Sequence[Case],
        average: WeightAverage | None = None,
        processes: Processes | None = None,
        stage: str = "",
    ) -> None:
        self._run, self._clock, self._predictor, self._stage = run, clock, predictor, stage
        self._average, self._processes = average, processes
        wishes = config.optimization
        # The first network of a cascade knows no label by itself.
        label = wishes.metric_label if stage != "find" else None
        self._metric = wishes.metric if label is None else f"{wishes.metric} of {label}"
        self._stopping = EarlyStopping(wishes.metric, label, wishes.patience, predictor.labels)
        # No paths in a model that is passed on.
        self._settings = {name: value for name, value in config.to_dict().items() if name != "data"}
        self._settings["network"].pop("pretrained")
        trackers = open_trackers(run, config) if self._writes else ()
        self.metrics = MetricsLog(run, predictor.labels, stage, trackers, silent=not self._writes)
        self._shown = list(shown[: config.record.shown_cases])
        by_id = {case.id: case for case in cases}
        self._previews = Previews(run, predictor, self._shown, by_id, stage)
        # The cases that a person watches come first: when time is short, they are judged all the same.
        watched = [by_id[case.id] for case in self._shown]
        self._watched = watched[0]
        self._cases = self._share(watched, [case for case in cases if case.id not in {one.id for one in self._shown}])
        self._judged = list(by_id)
        self._overlay: Overlay | None = None
        self._judged_iteration = -1

    @property
    def is_over(self) -> bool:
        """Whether so many validations were no better that the run shall end early."""
        return self._stopping.is_over

    def judge(self, iteration: int, epoch: float, stop_asked: Callable[[], bool], seconds: float) -> float | None:
        """Validate for about so many seconds at most, and keep the model that is better.

        Nothing happens when this iteration was judged already, or when somebody asks to stop meanwhile.

        Returns
        -------
        float or None
            The number that is judged by, NaN when no case shows the label; None when nothing happened.

        Raises
        ------
        WriteError
            Something could not be written. What was judged is then as if it had not been: call again when there is room.
        """
        if iteration == self._judged_iteration:
            return None
        self._tell("state", state="validating")
        with self._averaged():
            result = self._validate(stop_asked, seconds)
            if result is None:
                return None
            is_best = self._stopping.is_better(result.evaluation)
            self._save("last.pt", iteration, result)
            if is_best:
                self._save("best.pt", iteration, result)
        self._stopping.note(result.evaluation)
        self._judged_iteration = iteration
        self._clock.note_validation(result.seconds)
        self._mind_the_time(list(result.evaluation.per_case()))
        if self._writes:
            self._tell_result(iteration, epoch, result, is_best)
        return self._stopping.score(result.evaluation)

    def save(self, name: str, iteration: int) -> None:
        """Write the model as it is now to ``checkpoints``."""
        with self._averaged():
            self._save(name, iteration)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know, as plain values."""
        return {
            "stopping": self._stopping.state_dict(),
            "judged_iteration": self._judged_iteration,
            "judged": self._judged,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of another judge of the same run."""
        self._stopping.load_state_dict(state["stopping"])
        self._judged_iteration = state["judged_iteration"]
        self._judge_only(state["judged"])

    @property
    def _writes(self) -> bool:
        return self._processes is None or self._processes.is_first

    def _share(self, watched: list[CachedCase], others: list[CachedCase]) -> list[CachedCase]:
        """Return the cases of this process: the first one has those that it shows."""
        if self._processes is None or self._processes.count == 1:
            return [*watched, *others]
        count = self._processes.count
        more = max(0, math.ceil((len(watched) + len(others)) / count) - len(watched))
        return [*watched, *others[:more]] if self._writes else others[more:][self._processes.rank - 1 :: count - 1]

    def _validate(self, stop_asked: Callable[[], bool], seconds: float) -> Validation | None:
        network = self._predictor.network.eval()
        progress = ProgressEvents(self._run, "Validating") if self._writes else _silent
        shown = {case.id for case in self._shown}
        part: Validation | None
        try:
            part = validate(self._predictor, self._cases, shown, progress, stop_asked, seconds)
        except Cancelled:
            part = None
        finally:
            network.train()
        parts = [part] if self._processes is None else self._processes.gather(part)
        done = [one for one in parts if one is not None]
        return together(done) if len(done) == len(parts) else None

    def _averaged(self) -> AbstractContextManager[None]:
        return self._average.swapped() if self._average is not None else nullcontext()

    def _save(self, name: str, iteration: int, result: Validation | None = None) -> None:
        if not self._writes:
            return
        info: dict[str, object] = {"iteration": iteration, "settings": self._settings, "version": napari_seg3d.__version__}
        if result is not None:
            evaluation = result.evaluation
            info["mean_dice"] = _number(evaluation.mean_dice)
            info["dice"] = _by_name(evaluation, self._predictor.labels)
            info["metric"], info["score"] = self._metric, _number(self._stopping.score(evaluation))
        spec = self._predictor.spec.model_copy(update={"info": info})
        roi = self._predictor.roi
        found_by = Model(roi.spec, _weights(roi)) if roi is not None else None
        save_model(self._run.folder / "checkpoints" / name, spec, _weights(self._predictor), found_by)
        self._tell("checkpoint", file=f"checkpoints/{name}", iteration=iteration, stage=self._stage)

    def _mind_the_time(self, judged: list[str]) -> None:
        if len(judged) < len(self._judged):
            self._tell(
                "warning",
                message=f"Validations judge {len(judged)} of the {len(self._judged)} validation cases: all would take too much of the time.",
                fix="Give the run more minutes, or evaluate the finished model on all of them.",
            )
            self._judge_only(judged)

    def _judge_only(self, cases: list[str]) -> None:
        # From now on the same ones each time, so that the numbers can be compared.
        self._judged = cases
        self._cases = [case for case in self._cases if case.id in cases]

    def _tell(self, kind: str, **values: Any) -> None:
        if self._writes:
            self._run.add_event(kind, **values)

    def _tell_result(self, iteration: int, epoch: float, result: Validation, is_best: bool) -> None:
        evaluation, labels = result.evaluation, self._predictor.labels
        elapsed = round(self._clock.elapsed, 1)
        per_case = {case: _number(dice) for case, dice in evaluation.per_case().items()}
        self.metrics.add_validation(iteration, epoch, elapsed, evaluation)
        self._tell(
            "validation",
            iteration=iteration,
            epoch=round(epoch, 2),
            elapsed=elapsed,
            dice=_by_name(evaluation, labels),
            mean_dice=_number(evaluation.mean_dice),
            metrics={
                labels[value]: {name: _number(number) for name, number in metrics.items()}
                for value, metrics in evaluation.metrics().items()
            },
            metric=self._metric,
            score=_number(self._stopping.score(evaluation)),
            cases=per_case,
            best=is_best,
            stage=self._stage,
        )
        for case in self._shown:
            if case.id in result.shown:
                self._previews.add(case.id, result.shown[case.id], iteration, epoch, per_case[case.id])
        if self._watched.id in result.shown:
            self._draw(result.shown[self._watched.id], iteration)

    def _draw(self, predicted: NDArray[np.integer], iteration: int) -> None:
        if self._overlay is None:
            try:
                scan = read_case_image(self._shown[0])
            except ReadError:  # moved or changed since it was prepared: training goes on without it
                return
            self._overlay = Overlay(scan.data[0], self._watched.reference, scan.grid)
        self.metrics.add_picture(self._watched.id, self._overlay.draw(predicted), iteration)


def _weights(predictor: Predictor) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in predictor.network.state_dict().items()}


def _silent(_done: int, _total: int) -> None:
    return


def _by_name(evaluation: Evaluation, labels: Mapping[int, str]) -> dict[str, float | None]:
    return {labels[value]: _number(dice) for value, dice in evaluation.per_label().items()}


def _number(value: float) -> float | None:
    # JSON knows no NaN.
    return None if math.isnan(value) else round(value, 6)
