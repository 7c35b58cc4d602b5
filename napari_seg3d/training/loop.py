"""The loop: learn until the budget is over; validate, save and wait now and then."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from napari_seg3d.errors import DiskFull, TrainingError
from napari_seg3d.inference import Computer, Predictor
from napari_seg3d.networks import build_network
from napari_seg3d.training.beginning import save_environment, seed, start_from
from napari_seg3d.training.clock import Clock, steps_of
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.judging.judge import Judge
from napari_seg3d.training.learning.learner import Learner
from napari_seg3d.training.learning.speed import Layout, choose_layout
from napari_seg3d.training.material import (
    Material,
    Sides,
    plan_as_values,
)
from napari_seg3d.training.mishaps import NotFinite
from napari_seg3d.training.processes import Processes
from napari_seg3d.training.record.teller import StepTeller
from napari_seg3d.training.runs.control import full_disk_as_such, wait_for_go_on, wait_for_room, when_there_is_room
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.samples.cache import CachedCase
from napari_seg3d.training.samples.loader import Batches, make_loader
from napari_seg3d.training.samples.sampling import make_sampler
from napari_seg3d.training.state import cut_to, load_state, random_state, save_state, set_random_state

if TYPE_CHECKING:
    import torch

State = dict[str, Any]

# Stopping waits for a last validation only as long as a person at the screen would.
_PATIENCE_SECONDS = 60.0


class Turn(IntEnum):
    """What comes next in the loop; the first process decides, for all."""

    STEP = 0
    VALIDATE = 1
    SAVE = 2
    PAUSE = 3
    STOP = 4
    END = 5


@dataclass(frozen=True)
class Lesson:
    """What a network has to learn: all of a run, or a stage of a cascade.

    Parameters
    ----------
    config : TrainConfig
        With the budget of this lesson.
    sides : Sides
        Who trains and who validates.
    material : Material
        Their prepared scans, and the plan.
    stage : str
        ``find`` or ``segment`` in a cascade, else empty.
    plans : mapping of str to dict
        Of a cascade: the plans of both stages, as the saved state keeps them.
    """

    config: TrainConfig
    sides: Sides
    material: Material
    stage: str = ""
    plans: Mapping[str, State] = field(default_factory=dict)


class Learning:
    """A lesson being learnt.

    Parameters
    ----------
    run : Run
        Whom to tell, and who may ask for a pause.
    processes : Processes
        Those that train together.
    lesson : Lesson
        What to learn.
    saved : dict or None
        The state to go on from.
    roi : Predictor, optional
        The network of the stage before, in a cascade.
    bring_down : callable, optional
        What makes of a target the one that the network answers to, where it does not answer for each voxel.
    make_judge : callable
        Who judges, called as `Judge` is.
    """

    def __init__(
        self,
        run: Run,
        processes: Processes,
        lesson: Lesson,
        saved: State | None,
        roi: Predictor | None = None,
        bring_down: Callable[[torch.Tensor], torch.Tensor] | None = None,
        make_judge: Callable[..., Judge] = Judge,
    ) -> None:
        self._run, self._processes, self._lesson = run, processes, lesson
        self._config, self._plan = lesson.config, lesson.material.plan
        config, plan, wishes = self._config, self._plan, self._config.optimization
        device = processes.fabric.device
        seed(wishes, plan.accelerator)
        self._network = build_network(plan.spec.network).to(device)
        if config.network.pretrained is not None and saved is None:
            start_from(run, config.network.pretrained, self._network)
        self._sampler = make_sampler(
            lesson.material.train,
            plan.spec,
            config,
            batch_size=plan.batch_size * processes.count,
            spacing=plan.spacing,
            augmentation=plan.augmentation,
        )
        per_epoch = len(self._sampler.cases) / (plan.batch_size * wishes.accumulate * processes.count)
        by_time = config.record.validate_every != "auto" and not wishes.deterministic
        self._clock = Clock(
            (wishes.minutes or math.inf) * 60,
            steps_of(wishes.max_iterations, wishes.epochs, per_epoch),
            float(config.record.validate_every) * 60 if by_time else None,
        )
        self._layout = Layout(**saved["layout"]) if saved is not None else self._chosen_layout()
        self._learner = Learner(plan, wishes, self._network, processes, self._layout, bring_down)
        self._judge = make_judge(
            run,
            config,
            self._clock,
            Predictor(plan.spec, Computer(self._network, plan.accelerator, plan.precision), roi=roi),
            lesson.material.validation,
            lesson.material.shown[: config.record.shown_cases],
            average=self._learner.average,
            processes=processes,
            stage=lesson.stage,
        )
        if saved is not None:
            self._learner.load_state_dict(saved["learner"])
        self._batches = Batches(
            make_loader(
                self._sampler,
                plan.batch_size,
                plan.workers,
                self._learner.samples,
                processes.rank,
                processes.count,
                pinned=device.type == "cuda",
                augmented=plan.augment_on == "loader",
            ),
            device if plan.augment_on == "device" else None,
        )
        told = (self._clock, self._learner, self._batches, lesson.stage, len(self._sampler.cases))
        self._teller = StepTeller(run, self._judge.metrics, *told)
        if processes.is_first:
            save_environment(run, plan, self._layout)
        self._last_saved = -math.inf
        if saved is not None:
            self._go_on_from(saved)

    def go(self) -> str:
        """Learn; return what ended it: "budget", "patience" or "stop"."""
        said = False
        self._network.train()
        while True:
            # What depends on the time is decided by the first process, for all of them.
            numbers = [float(self._next_turn()), self._clock.progress(self._learner.iteration)]
            number, progress = self._processes.agree(numbers)
            turn = Turn(int(number))
            if turn in (Turn.STOP, Turn.END):
                break
            try:
                with full_disk_as_such():
                    if turn is Turn.STEP:
                        if not said:
                            self._run.add_event("state", state="training")
                            self._teller.begin_anew()
                        said = True
                        self._step(progress)
                        continue
                    said = False
                    if turn is Turn.VALIDATE:
                        self._validate(self._allowance, self._run.stop_asked)
                        self._clock.pass_mark(self._learner.iteration)
                    self._save(self._snapshot())
                    if turn is Turn.PAUSE:
                        with self._clock.standing():
                            wait_for_go_on(self._run)
            except DiskFull as error:
                said = False
                with self._clock.standing():
                    wait_for_room(self._run, error, 2 * self._learner.bytes)
        self._finish(stopped=turn is Turn.STOP)
        if turn is Turn.STOP:
            return "stop"
        return "budget" if self._clock.is_over(self._learner.iteration) else "patience"

    # -- the turns ------------------------------------------------------------------------------------------------------------------------

    def _next_turn(self) -> Turn:
        command, iteration = self._run.command(), self._learner.iteration
        if command == "stop":
            return Turn.STOP
        if self._clock.is_over(iteration) or self._judge.is_over:
            return Turn.END
        if command == "pause":
            return Turn.PAUSE
        if self._clock.is_validation_due(iteration):
            return Turn.VALIDATE
        is_due = self._clock.elapsed - self._last_saved >= 60 * self._config.record.checkpoint_minutes
        return Turn.SAVE if is_due else Turn.STEP

    def _step(self, progress: float) -> None:
        chunk = self._learner.chunk
        try:
            loss = self._learner.step(self._batches, progress)
        except NotFinite as error:
            raise self._explained(error) from error
        if self._learner.chunk < chunk:
            self._run.add_event(
                "warning",
                message=f"The memory ran out with {chunk} samples at once: from now on {self._learner.chunk} go through the network at a "
                f"time. Their gradients are summed, so that a step still learns from {self._learner.samples_per_step}.",
                fix="Choose a smaller batch or patch to be faster.",
            )
        self._teller.note(loss)

    def _validate(self, seconds: float, stop_asked: Callable[[], bool]) -> None:
        metrics = self._run.folder / "metrics.csv"
        before = self._judge.state_dict(), metrics.stat().st_size if metrics.exists() else 0
        alone = self._processes.count == 1
        self._processes.share_buffers(self._network)
        try:
            # Several processes judge together: none of them may leave early.
            asked = stop_asked if alone else lambda: False
            score = self._judge.judge(self._learner.iteration, self._teller.epoch, asked, seconds)
        except DiskFull:
            self._judge.load_state_dict(before[0])
            cut_to(metrics, before[1])
            raise
        if score is not None:
            self._learner.schedule.note_validation(score)

    def _finish(self, stopped: bool) -> None:
        # What the last steps learnt is saved before it is judged: the judging may be cut short.
        needed = 2 * self._learner.bytes
        state = self._snapshot()
        when_there_is_room(self._run, lambda: self._keep("last.pt"), needed)
        when_there_is_room(self._run, lambda: self._save(state), needed)
        if not stopped:
            when_there_is_room(self._run, lambda: self._validate(self._allowance, lambda: False), needed)
        elif self._clock.validation_seconds < _PATIENCE_SECONDS:
            when_there_is_room(self._run, lambda: self._validate(_PATIENCE_SECONDS, lambda: False), needed)
        if not self._run.best.exists():
            when_there_is_room(self._run, lambda: self._keep("best.pt"), needed)
        self._batches.close()
        self._judge.metrics.close()

    # -- what is kept ---------------------------------------------------------------------------------------------------------------------

    @property
    def _allowance(self) -> float:
        return math.inf if self._config.optimization.deterministic else self._clock.validation_allowance

    def _keep(self, name: str) -> None:
        self._judge.save(name, self._learner.iteration)

    def _snapshot(self) -> State:
        return {
            "stage": self._lesson.stage,
            "sides": self._lesson.sides.as_values(),
            "plan": plan_as_values(self._plan),
            "plans": dict(self._lesson.plans),
            "layout": asdict(self._layout),
            "learner": self._learner.state_dict(),
            "clock": self._clock.state_dict(),
            "judge": self._processes.gather(self._judge.state_dict()),
            "teller": self._teller.state_dict(),
            "random": self._processes.gather(random_state()),
        }

    def _save(self, state: State) -> None:
        if self._processes.is_first:
            save_state(self._run, state)
            self._run.add_event(
                "checkpoint", file="checkpoints/state.pt", iteration=self._learner.iteration, stage=self._lesson.stage
            )
        self._last_saved = self._clock.elapsed

    def _go_on_from(self, saved: State) -> None:
        self._clock.load_state_dict(saved["clock"])
        self._teller.load_state_dict(saved["teller"])
        place = self._processes.rank % len(saved["random"])
        self._judge.load_state_dict(saved["judge"][place])
        # Last of all: whatever was made until here has drawn random numbers of its own.
        set_random_state(saved["random"][place])
        self._last_saved = self._clock.elapsed

    def _chosen_layout(self) -> Layout:
        plan, network = self._plan, self._network
        shape = (plan.batch_size, plan.spec.network.in_channels, *plan.sides)
        deterministic = self._config.optimization.deterministic
        layout = choose_layout(self._config.device, deterministic, self._clock.budget, network, shape, self._processes.fabric)
        return self._processes.share(layout)

    def _explained(self, error: NotFinite) -> TrainingError:
        """Keep what is left to keep, and return what went wrong in words."""
        learner, size = self._learner, self._plan.batch_size
        step = learner.iteration + 1
        cases = [
            [
                self._case_name(learner.samples + (batch * self._processes.count + self._processes.rank) * size + n)
                for n in range(size)
            ]
            for batch in range(len(error.batches))
        ]
        cause = learner.cause_of(error, cases)
        if not learner.is_finite() and self._run.saved_state.exists():
            learner.load_state_dict(load_state(self._run)["learner"])
        self._keep("last.pt")
        return TrainingError(
            f"{error.what} at step {step}. {cause} The weights of step {learner.iteration} are kept in checkpoints/last.pt.",
            f"Start again with a lower learning rate than {learner.highest_rate:g}, and look at the cases that are named.",
        )

    def _case_name(self, sample: int) -> str:
        case = self._sampler.case_of(sample)
        return case.id if isinstance(case, CachedCase) else ""
