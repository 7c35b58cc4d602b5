"""The training itself, top to bottom: look at the data, prepare it, learn until the time is up, validate now and then."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import napari_seg3d
from napari_seg3d.datasets import Case, check_dataset, open_dataset, split_by_subject
from napari_seg3d.errors import Cancelled, TrainingError
from napari_seg3d.evaluation import Evaluation
from napari_seg3d.files import write_text
from napari_seg3d.inference import Predictor, save_model
from napari_seg3d.networks import build_network
from napari_seg3d.training.cache import CachedCase, prepare
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.losses import build_loss
from napari_seg3d.training.metrics import MetricsLog
from napari_seg3d.training.plan import Plan, make_plan
from napari_seg3d.training.runs import Run
from napari_seg3d.training.sampling import Sampler, make_loader
from napari_seg3d.training.validation import Validation, validate
from napari_seg3d.transforms import Pipeline, augmentation_pipeline
from napari_seg3d.volumes import Volume, read_grid, smallest_integer, write_volume

# The first look at a validation case comes after this share of the budget; later ones when training has earned them.
_FIRST_VALIDATION = 0.1
_VALIDATION_SHARE = 0.1
_WARM_UP = 0.03
_GRADIENT_NORM = 12.0
# Stopping waits for a last validation only as long as a person at the screen would.
_PATIENCE_SECONDS = 60.0
# Often enough to look alive, seldom enough that the events of a week still fit a curve.
_STEP_EVENTS, _SECONDS_BETWEEN_STEP_EVENTS = 4000, (0.5, 10.0)
_MOST_WARNINGS = 50


@dataclass(frozen=True)
class _Data:
    """Who trains and who validates."""

    plan: Plan
    train: list[CachedCase]
    validation: list[CachedCase]
    shown: Case


def train(run: Run, started: float) -> None:
    """Train as ``run.yaml`` says and leave everything in the run folder.

    Parameters
    ----------
    run : Run
        Its folder holds the config; events, checkpoints and the rest are added to it.
    started : float
        When the budget began, in seconds since 1970.

    Raises
    ------
    Seg3dError
        Whatever keeps the run from going on, in words for the user.
    """
    config = run.config()
    try:
        data = _prepare_data(run, config)
        ended_by = _learn(run, config, data, started)
    except Cancelled:
        run.add_event("state", state="stopped", message="Stopped before anything was learnt.")
        return
    if ended_by == "stop":
        run.add_event("state", state="stopped", message=f"Stopped. The model is {run.best}.")
    else:
        run.add_event("state", state="finished", message=f"Finished. The model is {run.best}.")


def _prepare_data(run: Run, config: TrainConfig) -> _Data:
    run.add_event("state", state="preparing")
    dataset = open_dataset(config.data.images, config.data.masks, config.data.subjects)
    dataset.require_pairs()
    report = check_dataset(dataset, progress=_Progress(run, "Checking the cases"), cancelled=run.stop_asked)
    for problem in report.problems[:_MOST_WARNINGS]:
        run.add_event("warning", message=problem.what, fix=problem.fix)
    if not report.sound:
        errors = [problem for problem in report.problems if problem.severity == "error"]
        first = f" The first problem: {errors[0].what}" if errors else ""
        raise TrainingError(f"No case of {config.data.images} can be trained on.{first}", errors[0].fix if errors else "")
    labels = report.dataset.labels
    if not labels:
        raise TrainingError(
            f"The masks of {config.data.images} hold no labels at all.", "Choose masks with something marked in them."
        )
    split = split_by_subject(report.sound, config.data.validation, config.data.split_seed)
    split.save(run.folder / "split.csv", report.sound)

    cases = {case.id: case for case in report.sound}
    channels = {report.facts[case.id].channels for case in report.sound}
    if len(channels) > 1:
        raise TrainingError(f"The scans have different numbers of channels ({sorted(channels)}).", "Train on scans of one kind.")
    plan = make_plan(config, [report.facts[name].grid for name in split.train], labels, channels.pop())
    run.add_event("plan", **plan.as_event(), train_cases=len(split.train), validation_cases=len(split.validation))
    ordered = [cases[name] for name in (*split.train, *split.validation)]
    cached = prepare(
        ordered, Pipeline.from_list(plan.spec.pipeline), labels, _Progress(run, "Preparing the cases"), run.stop_asked
    )
    # The case to watch: the one that shows most labels.
    shown = max((cases[name] for name in split.validation), key=lambda case: (len(report.facts[case.id].label_counts), case.id))
    return _Data(plan, cached[: len(split.train)], cached[len(split.train) :], shown)


def _learn(run: Run, config: TrainConfig, data: _Data, started: float) -> str:
    """Run the loop; return "budget" or "stop"."""
    import torch
    from lightning_fabric import Fabric

    plan, wishes = data.plan, config.optimization
    fabric = Fabric(accelerator=plan.accelerator, devices=1, precision="bf16-mixed" if plan.precision == "bf16" else "32-true")
    torch.manual_seed(wishes.seed)
    network = build_network(plan.spec.network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=wishes.learning_rate, weight_decay=wishes.weight_decay)
    loss_of = build_loss(wishes.loss)
    predictor = Predictor(plan.spec, network, plan.accelerator, plan.precision)
    model, optimizer = fabric.setup(network, optimizer)
    _save_environment(run, plan, sum(weight.numel() for weight in network.parameters()))

    sampler = Sampler(
        data.train,
        plan.spec.patch_size,
        config.sampling.mode == "whole",
        config.sampling.foreground,
        augmentation_pipeline() if config.sampling.augmentation else None,
        plan.spacing,
        wishes.seed,
    )
    batches = iter(make_loader(sampler, plan.batch_size, config.device.workers))
    iterations_per_epoch = math.ceil(len(data.train) / plan.batch_size)
    clock = _Clock(started, time.time(), wishes.minutes * 60, wishes.max_iterations)
    judge = _Judge(run, config, data, predictor)
    run.add_event("state", state="training")

    iteration, last_event, recent = 0, 0.0, _RecentMean()
    between_events = min(max(clock.budget / _STEP_EVENTS, _SECONDS_BETWEEN_STEP_EVENTS[0]), _SECONDS_BETWEEN_STEP_EVENTS[1])
    network.train()
    while True:
        if run.stop_asked():
            ended_by = "stop"
            break
        if clock.is_over(iteration, judge.seconds):
            ended_by = "budget"
            break
        for group in optimizer.param_groups:
            group["lr"] = wishes.learning_rate * _schedule(clock.progress(iteration, judge.seconds))

        image, target = next(batches)
        image = image.to(fabric.device, memory_format=torch.channels_last_3d)
        loss = loss_of(model(image), target.to(fabric.device))
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=_GRADIENT_NORM, error_if_nonfinite=False)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss became {value} at step {iteration + 1}.",
                f"Start again with a lower learning rate than {wishes.learning_rate:g}. Earlier checkpoints are kept.",
            )
        optimizer.step()
        iteration += 1
        recent.add(value)

        now = time.time()
        if now - last_event >= between_events or clock.is_over(iteration, judge.seconds):
            last_event = now
            epoch = iteration / iterations_per_epoch
            judge.metrics.add_step(iteration, recent.value, optimizer.param_groups[0]["lr"])
            run.add_event(
                "step",
                iteration=iteration,
                epoch=round(epoch, 2),
                loss=round(recent.value, 5),
                learning_rate=optimizer.param_groups[0]["lr"],
                elapsed=round(now - started, 1),
                seconds_left=round(clock.seconds_left(iteration), 1),
                iterations_per_second=round(iteration / clock.training_seconds(judge.total_seconds), 3),
            )
        if clock.is_validation_due(judge.ended, judge.seconds) and not clock.is_over(iteration, judge.seconds):
            judge.judge(iteration, iteration / iterations_per_epoch, started)
            run.add_event("state", state="training")

    # What the last steps learnt is saved before it is judged: the judging may be cut short.
    judge.save("last.pt", iteration, None)
    if judge.iteration != iteration and (ended_by == "budget" or judge.seconds < _PATIENCE_SECONDS):
        judge.judge(iteration, iteration / iterations_per_epoch, started)
    if not run.best.exists():
        judge.save("best.pt", iteration, None)
    judge.metrics.close()
    return ended_by


class _Judge:
    """Validates, keeps the best and the last model, and tells about both."""

    def __init__(self, run: Run, config: TrainConfig, data: _Data, predictor: Predictor) -> None:
        self.run, self.data, self.predictor = run, data, predictor
        self.settings = {
            name: value for name, value in config.to_dict().items() if name != "data"
        }  # no paths in a model that is passed on
        self.metrics = MetricsLog(run, predictor.labels)
        self.best = -1.0
        self.iteration = -1  # of the last validation
        self.seconds = 0.0  # of the last validation
        self.total_seconds = 0.0
        self.ended = time.time()

    def judge(self, iteration: int, epoch: float, started: float) -> None:
        self.run.add_event("state", state="validating")
        self.predictor.network.eval()
        try:
            result = validate(
                self.predictor,
                self.data.validation,
                self.data.shown.id,
                _Progress(self.run, "Validating"),
                cancelled=lambda: False,
            )
        finally:
            self.predictor.network.train()
        self.iteration, self.seconds, self.ended = iteration, result.seconds, time.time()
        self.total_seconds += result.seconds
        mean = result.evaluation.mean_dice
        is_best = not math.isnan(mean) and mean > self.best
        self.save("last.pt", iteration, result)
        if is_best:
            self.best = mean
            self.save("best.pt", iteration, result)
        elapsed = round(time.time() - started, 1)
        self.metrics.add_validation(iteration, epoch, elapsed, result.evaluation)
        labels = self.predictor.labels
        self.run.add_event(
            "validation",
            iteration=iteration,
            epoch=round(epoch, 2),
            elapsed=elapsed,
            dice=_by_name(result.evaluation, labels),
            mean_dice=_number(mean),
            cases={case: _number(dice) for case, dice in result.evaluation.per_case().items()},
            best=is_best,
        )
        self._save_preview(iteration, epoch, result)

    def save(self, name: str, iteration: int, result: Validation | None) -> None:
        info: dict[str, object] = {"iteration": iteration, "settings": self.settings, "version": napari_seg3d.__version__}
        if result is not None:
            info["mean_dice"] = _number(result.evaluation.mean_dice)
            info["dice"] = _by_name(result.evaluation, self.predictor.labels)
        spec = self.predictor.spec.model_copy(update={"info": info})
        weights = {key: value.detach().cpu().contiguous() for key, value in self.predictor.network.state_dict().items()}
        save_model(self.run.folder / "checkpoints" / name, spec, weights)
        self.run.add_event("checkpoint", file=f"checkpoints/{name}", iteration=iteration)

    def _save_preview(self, iteration: int, epoch: float, result: Validation) -> None:
        case = self.data.shown
        if result.shown is None:
            return
        values = np.array(self.predictor.spec.label_values)
        labels = values.astype(smallest_integer(0, int(values.max())))[result.shown][np.newaxis]
        grid = read_grid(case.images[0])
        name = f"previews/{iteration:07d}.nii.gz"
        write_volume(Volume(labels, grid.affine, "labels"), self.run.folder / name, overwrite=True)
        self.run.add_event(
            "preview",
            case=case.id,
            image=case.images[0].as_posix(),
            mask=case.mask.as_posix() if case.mask is not None else None,
            prediction=name,
            iteration=iteration,
            epoch=round(epoch, 2),
        )


@dataclass(frozen=True)
class _Clock:
    """How far the run is, by time or by steps."""

    started: float
    training_began: float
    budget: float
    max_iterations: int | None

    def progress(self, iteration: int, validation_seconds: float) -> float:
        """Return the share of the training that is done, 0 to 1."""
        if self.max_iterations is not None:
            # By steps alone, so that the same number of steps repeats a run whatever else the machine does.
            return min(1.0, iteration / self.max_iterations)
        end = max(self.started + self.budget - validation_seconds, self.training_began + 1)
        return min(1.0, (time.time() - self.training_began) / (end - self.training_began))

    def is_over(self, iteration: int, validation_seconds: float) -> bool:
        """Return whether training shall end, with time left for the last validation."""
        if self.max_iterations is not None and iteration >= self.max_iterations:
            return True
        # At least one step, however long the preparation took: a run must end with a model.
        return iteration > 0 and time.time() >= self.started + self.budget - validation_seconds

    def is_validation_due(self, last_ended: float, last_seconds: float) -> bool:
        """Return whether enough training has passed for the next validation to cost only its share."""
        pause = max(_FIRST_VALIDATION * self.budget, last_seconds * (1 - _VALIDATION_SHARE) / _VALIDATION_SHARE)
        # The last one comes at the end anyway: none shortly before it.
        return time.time() - last_ended >= pause and self.started + self.budget - time.time() > pause / 2

    def seconds_left(self, iteration: int) -> float:
        """Return how long the run will go on."""
        by_time = self.started + self.budget - time.time()
        if self.max_iterations is None:
            return max(0.0, by_time)
        by_steps = (self.max_iterations - iteration) * (time.time() - self.training_began) / max(1, iteration)
        return max(0.0, min(by_time, by_steps))

    def training_seconds(self, validation_seconds: float) -> float:
        """Return the time spent on steps so far."""
        return max(1e-3, time.time() - self.training_began - validation_seconds)


class _RecentMean:
    """A running mean of the loss over about the last twenty steps: single steps jump too much to be read."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0

    def add(self, value: float) -> None:
        self._sum = 0.95 * self._sum + value
        self._weight = 0.95 * self._weight + 1

    @property
    def value(self) -> float:
        return self._sum / self._weight


class _Progress:
    """Tells the run about progress, a few times a second at most."""

    def __init__(self, run: Run, what: str) -> None:
        self.run, self.what, self.last = run, what, 0.0

    def __call__(self, done: int, total: int) -> None:
        if done == total or time.time() - self.last > 0.25:
            self.last = time.time()
            self.run.add_event("progress", what=self.what, done=done, total=total)


def _schedule(progress: float) -> float:
    """Return the share of the learning rate at `progress`: a short linear warm-up, then half a cosine down to nearly nothing."""
    if progress < _WARM_UP:
        return 0.1 + 0.9 * progress / _WARM_UP
    return max(1e-3, 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP))))


def _save_environment(run: Run, plan: Plan, parameters: int) -> None:
    import lightning_fabric
    import monai
    import torch
    import torchio

    versions = {module.__name__: module.__version__ for module in (napari_seg3d, torch, torchio, monai, lightning_fabric, np)}
    content = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions,
        "parameters": parameters,
        **plan.as_event(),
    }
    write_text(run.folder / "environment.json", json.dumps(content, indent=2) + "\n")


def _by_name(evaluation: Evaluation, labels: Mapping[int, str]) -> dict[str, float | None]:
    return {labels[value]: _number(dice) for value, dice in evaluation.per_label().items()}


def _number(value: float) -> float | None:
    # JSON knows no NaN.
    return None if math.isnan(value) else round(value, 6)
