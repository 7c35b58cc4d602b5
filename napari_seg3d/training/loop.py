"""The training itself, top to bottom: look at the data, prepare it, learn until the time is up, validate now and then."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

import napari_seg3d
from napari_seg3d.datasets import Case, check_dataset, open_dataset, read_case_image
from napari_seg3d.errors import Cancelled, TrainingError
from napari_seg3d.files import write_text
from napari_seg3d.inference import Predictor
from napari_seg3d.networks import build_network
from napari_seg3d.training.cache import CachedCase, prepare
from napari_seg3d.training.clock import Clock
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.judge import Judge
from napari_seg3d.training.loader import Batches, make_loader
from napari_seg3d.training.losses import build_loss
from napari_seg3d.training.plan import Plan, plan_for
from napari_seg3d.training.progress import ProgressEvents
from napari_seg3d.training.runs import Run
from napari_seg3d.training.sampling import make_sampler
from napari_seg3d.training.sides import choose_sides
from napari_seg3d.transforms import Pipeline, fit, is_fitted
from napari_seg3d.volumes import Volume

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


def train(run: Run) -> None:
    """Train as ``run.yaml`` says and leave everything in the run folder.

    Parameters
    ----------
    run : Run
        Its folder holds the config; events, checkpoints and the rest are added to it.

    Raises
    ------
    Seg3dError
        Whatever keeps the run from going on, in words for the user.
    """
    config = run.config()
    try:
        data = _prepare_data(run, config)
        ended_by = _learn(run, config, data)
    except Cancelled:
        run.add_event("state", state="stopped", message="Stopped before anything was learnt.")
        return
    if ended_by == "stop":
        run.add_event(
            "state", state="stopped", message="Stopped. The best model so far is checkpoints/best.pt in the run folder."
        )
    else:
        run.add_event("state", state="finished", message="Finished. The best model is checkpoints/best.pt in the run folder.")


def _prepare_data(run: Run, config: TrainConfig) -> _Data:
    run.add_event("state", state="preparing")
    dataset = open_dataset(config.data.images, config.data.masks, config.data.subjects)
    dataset.require_pairs()
    report = check_dataset(dataset, progress=ProgressEvents(run, "Checking the cases"), cancelled=run.stop_asked)
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
    told = ProgressEvents(run, "Comparing with the frozen test set")
    split = choose_sides(config.data, report, told, run.stop_asked)
    split.save(run.folder / "split.csv", report.dataset.cases)

    cases = {case.id: case for case in report.sound}
    channels = {report.facts[case.id].channels for case in report.sound}
    if len(channels) > 1:
        raise TrainingError(f"The scans have different numbers of channels ({sorted(channels)}).", "Train on scans of one kind.")
    plan = plan_for(config, report, split.train)
    run.add_event("plan", **plan.as_event(), train_cases=len(split.train), validation_cases=len(split.validation))
    plan = _fitted(plan, [cases[name] for name in split.train], run)
    ordered = [cases[name] for name in (*split.train, *split.validation)]
    cached = prepare(
        ordered,
        Pipeline.from_list(plan.spec.pipeline),
        plan.spec.labels,
        ProgressEvents(run, "Preparing the cases"),
        run.stop_asked,
        dataset.merged,
        forbidden=split.test,
        targets=config.targets.model_copy(update={"kind": plan.spec.targets}),
    )
    # The case to watch: the one that shows most labels.
    shown = max((cases[name] for name in split.validation), key=lambda case: (len(report.facts[case.id].label_counts), case.id))
    return _Data(plan, cached[: len(split.train)], cached[len(split.train) :], shown)


def _fitted(plan: Plan, train_cases: list[Case], run: Run) -> Plan:
    """Return the plan with a preprocessing that has seen the training cases, and only those."""
    pipeline = Pipeline.from_list(plan.spec.pipeline)
    if is_fitted(pipeline):
        return plan
    told = ProgressEvents(run, "Learning the intensities")
    pipeline = fit(pipeline, _told(train_cases, told), run.stop_asked)
    return replace(plan, spec=plan.spec.model_copy(update={"pipeline": pipeline.to_list()}))


def _told(cases: list[Case], progress: ProgressEvents) -> Iterator[Volume]:
    for done, case in enumerate(cases):
        progress(done, len(cases))
        yield read_case_image(case)


def _learn(run: Run, config: TrainConfig, data: _Data) -> str:
    """Run the loop; return what ended it, "budget" or "stop"."""
    import torch
    from lightning_fabric import Fabric

    plan, wishes = data.plan, config.optimization
    fabric = Fabric(accelerator=plan.accelerator, devices=1, precision="bf16-mixed" if plan.precision == "bf16" else "32-true")
    torch.manual_seed(wishes.seed)
    highest_rate = 2e-3 if wishes.learning_rate == "auto" else wishes.learning_rate
    network = build_network(plan.spec.network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=highest_rate, weight_decay=wishes.weight_decay)
    name = "dice_ce" if wishes.loss == "auto" else wishes.loss
    loss_of = build_loss(name, plan.spec.targets == "overlapping", plan.spec.network.out_channels)
    predictor = Predictor(plan.spec, network, plan.accelerator, plan.precision)
    model, optimizer = fabric.setup(network, optimizer)
    _save_environment(run, plan, sum(weight.numel() for weight in network.parameters()))

    sampler = make_sampler(
        data.train, plan.spec, config, batch_size=plan.batch_size, spacing=plan.spacing, augmentation=plan.augmentation
    )
    batches = Batches(make_loader(sampler, plan.batch_size, plan.workers))
    iterations_per_epoch = math.ceil(len(data.train) / plan.batch_size)
    clock = Clock((wishes.minutes or math.inf) * 60, wishes.max_iterations)
    judge = Judge(run, config, clock, predictor, data.validation, data.shown)
    run.add_event("state", state="training")

    iteration, last_event, recent = 0, 0.0, _RecentMean()
    between_events = min(max(clock.budget / _STEP_EVENTS, _SECONDS_BETWEEN_STEP_EVENTS[0]), _SECONDS_BETWEEN_STEP_EVENTS[1])
    network.train()
    while not (stopped := run.stop_asked()) and not clock.is_over(iteration):
        for group in optimizer.param_groups:
            group["lr"] = highest_rate * clock.learning_rate_factor(iteration)

        image, target = next(batches)
        image = image.to(fabric.device, memory_format=torch.channels_last_3d)
        loss = loss_of(model(image), target.to(fabric.device).view(len(image), -1, *image.shape[2:]))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss became {value} at step {iteration + 1}.",
                f"Start again with a lower learning rate than {highest_rate:g}. Earlier checkpoints are kept.",
            )
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=_GRADIENT_NORM, error_if_nonfinite=False)
        optimizer.step()
        iteration += 1
        recent.add(value)

        epoch = iteration / iterations_per_epoch
        if time.time() - last_event >= between_events or clock.is_over(iteration):
            last_event = time.time()
            judge.metrics.add_step(iteration, recent.value, optimizer.param_groups[0]["lr"])
            run.add_event(
                "step",
                iteration=iteration,
                epoch=round(epoch, 2),
                loss=round(recent.value, 5),
                learning_rate=optimizer.param_groups[0]["lr"],
                elapsed=round(clock.elapsed, 1),
                seconds_left=round(clock.seconds_left(iteration), 1),
                iterations_per_second=round(clock.iterations_per_second(iteration), 3),
            )
        if clock.is_validation_due() and not clock.is_over(iteration):
            judge.judge(iteration, epoch, run.stop_asked, clock.validation_allowance)
            run.add_event("state", state="training")

    # What the last steps learnt is saved before it is judged: the judging may be cut short.
    judge.save("last.pt", iteration)
    if not stopped:
        judge.judge(iteration, iteration / iterations_per_epoch, lambda: False, clock.validation_allowance)
    elif clock.validation_seconds < _PATIENCE_SECONDS:
        judge.judge(iteration, iteration / iterations_per_epoch, lambda: False, _PATIENCE_SECONDS)
    if not run.best.exists():
        judge.save("best.pt", iteration)
    judge.metrics.close()
    return "stop" if stopped else "budget"


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
