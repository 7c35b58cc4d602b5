"""`Judge`: validates, keeps the best and the last model, and tells about both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

import napari_seg3d
from napari_seg3d.datasets import Case
from napari_seg3d.errors import Cancelled
from napari_seg3d.evaluation import Evaluation
from napari_seg3d.inference import Predictor, save_model
from napari_seg3d.training.cache import CachedCase
from napari_seg3d.training.clock import Clock
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.metrics import MetricsLog
from napari_seg3d.training.progress import ProgressEvents
from napari_seg3d.training.runs import Run
from napari_seg3d.training.validation import Validation, validate
from napari_seg3d.volumes import Volume, read_grid, smallest_integer, write_volume


class Judge:
    """Judges the model of a run now and then.

    Parameters
    ----------
    run : Run
        Where models, metrics and previews go.
    config : TrainConfig
        Its settings, all but the data, become part of the model file.
    clock : Clock
        Knows how long a validation may take.
    predictor : Predictor
        The network that is trained, as it will predict.
    cases : sequence of CachedCase
        Whom to judge by.
    shown : Case
        The one of them whose prediction is kept as a preview.
    """

    def __init__(
        self, run: Run, config: TrainConfig, clock: Clock, predictor: Predictor, cases: Sequence[CachedCase], shown: Case
    ) -> None:
        self.metrics = MetricsLog(run, predictor.labels)
        self._run, self._clock, self._predictor, self._shown = run, clock, predictor, shown
        # No paths in a model that is passed on.
        self._settings = {name: value for name, value in config.to_dict().items() if name != "data"}
        # The case that a person watches comes first: when time is short, it is judged all the same.
        self._cases = sorted(cases, key=lambda case: case.id != shown.id)
        self._best = -1.0
        self._judged_iteration = -1

    def judge(self, iteration: int, epoch: float, stop_asked: Callable[[], bool], seconds: float) -> None:
        """Validate for about so many seconds at most, and keep the model that is better.

        Nothing happens when this iteration was judged already, or when somebody asks to stop meanwhile.
        """
        if iteration == self._judged_iteration:
            return
        self._run.add_event("state", state="validating")
        network = self._predictor.network.eval()
        try:
            progress = ProgressEvents(self._run, "Validating")
            result = validate(self._predictor, self._cases, self._shown.id, progress, stop_asked, seconds)
        except Cancelled:
            return
        finally:
            network.train()
        self._clock.note_validation(result.seconds)
        self._judged_iteration = iteration
        self._mind_the_time(len(result.evaluation.per_case()))
        mean = result.evaluation.mean_dice
        is_best = not math.isnan(mean) and mean > self._best
        self.save("last.pt", iteration, result)
        if is_best:
            self._best = mean
            self.save("best.pt", iteration, result)
        self._tell(iteration, epoch, result, is_best)

    def save(self, name: str, iteration: int, result: Validation | None = None) -> None:
        """Write the model as it is now."""
        info: dict[str, object] = {"iteration": iteration, "settings": self._settings, "version": napari_seg3d.__version__}
        if result is not None:
            info["mean_dice"] = _number(result.evaluation.mean_dice)
            info["dice"] = _by_name(result.evaluation, self._predictor.labels)
        spec = self._predictor.spec.model_copy(update={"info": info})
        weights = {key: value.detach().cpu().contiguous() for key, value in self._predictor.network.state_dict().items()}
        save_model(self._run.folder / "checkpoints" / name, spec, weights)
        self._run.add_event("checkpoint", file=f"checkpoints/{name}", iteration=iteration)

    def _mind_the_time(self, judged: int) -> None:
        if judged < len(self._cases):
            # From now on the same ones each time, so that the numbers can be compared.
            self._run.add_event(
                "warning",
                message=f"Validations judge {judged} of the {len(self._cases)} validation cases: all would take too much of the time.",
                fix="Give the run more minutes, or evaluate the finished model on all of them.",
            )
            self._cases = self._cases[:judged]

    def _tell(self, iteration: int, epoch: float, result: Validation, is_best: bool) -> None:
        elapsed = round(self._clock.elapsed, 1)
        self.metrics.add_validation(iteration, epoch, elapsed, result.evaluation)
        self._run.add_event(
            "validation",
            iteration=iteration,
            epoch=round(epoch, 2),
            elapsed=elapsed,
            dice=_by_name(result.evaluation, self._predictor.labels),
            mean_dice=_number(result.evaluation.mean_dice),
            cases={case: _number(dice) for case, dice in result.evaluation.per_case().items()},
            best=is_best,
        )
        if result.shown is None:
            return
        name, reference = f"previews/{iteration:07d}.nii.gz", "previews/reference.nii.gz"
        self._draw(result.shown, name)
        # The truth as it is learnt: out of however many files, with labels merged.
        if not (self._run.folder / reference).exists():
            self._draw(self._cases[0].reference[0], reference)
        self._run.add_event(
            "preview",
            case=self._shown.id,
            image=self._shown.images[0].as_posix(),
            mask=reference,
            prediction=name,
            iteration=iteration,
            epoch=round(epoch, 2),
        )

    def _draw(self, classes: NDArray[np.integer], name: str) -> None:
        values = np.array(self._predictor.spec.label_values)
        labels = values.astype(smallest_integer(0, int(values.max())))[classes][np.newaxis]
        grid = read_grid(self._shown.images[0])
        write_volume(Volume(labels, grid.affine, "labels"), self._run.folder / name, overwrite=True)


def _by_name(evaluation: Evaluation, labels: Mapping[int, str]) -> dict[str, float | None]:
    return {labels[value]: _number(dice) for value, dice in evaluation.per_label().items()}


def _number(value: float) -> float | None:
    # JSON knows no NaN.
    return None if math.isnan(value) else round(value, 6)
