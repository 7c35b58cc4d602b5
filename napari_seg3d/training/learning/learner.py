"""`Learner`: a network as it learns, step by step, with everything that a later step depends on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_seg3d.errors import TrainingError
from napari_seg3d.inference.device import is_out_of_memory
from napari_seg3d.training.config import OptimizationConfig
from napari_seg3d.training.learning.average import WeightAverage
from napari_seg3d.training.learning.optimizer import make_optimizer
from napari_seg3d.training.learning.schedule import Schedule
from napari_seg3d.training.learning.speed import Layout, arrange, as_compiled, memory_format
from napari_seg3d.training.losses import build_loss
from napari_seg3d.training.mishaps import NotFinite, find_cause
from napari_seg3d.training.plan import Plan
from napari_seg3d.training.processes import Processes

if TYPE_CHECKING:
    import torch

    Batch = tuple[torch.Tensor, torch.Tensor]


class Learner:
    """A network as it learns.

    Parameters
    ----------
    plan : Plan
        Batch size, loss, learning rate and weight average.
    wishes : OptimizationConfig
        The rest: optimiser, schedule, accumulation, clipping.
    network : torch module
        What learns, on the device; the same object all the time, whatever wraps it.
    processes : Processes
        Those that train together.
    layout : Layout
        How the network lies in memory, and whether it is compiled.
    bring_down : callable, optional
        What makes of a target the one that the network answers to, where it does not answer for each voxel.

    Attributes
    ----------
    iteration : int
        Steps done.
    samples : int
        Samples seen by all processes: the number of the next one.
    chunk : int
        Samples that go through the network at once: the batch size, or less when the memory ran out.
    """

    def __init__(
        self,
        plan: Plan,
        wishes: OptimizationConfig,
        network: torch.nn.Module,
        processes: Processes,
        layout: Layout,
        bring_down: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.network = network
        self.iteration = self.samples = 0
        self.chunk = self.batch_size = plan.batch_size
        self.highest_rate = plan.learning_rate
        self._wishes, self._processes, self._layout, self._brought_down = wishes, processes, layout, bring_down
        arrange(network, layout.channels_last)
        self._optimizer = make_optimizer(network, wishes.model_copy(update={"learning_rate": plan.learning_rate}))
        self.schedule = Schedule(wishes.schedule, wishes.warm_up)
        fabric = processes.fabric
        self._model, self._wrapped_optimizer = fabric.setup(as_compiled(network) if layout.compiled else network, self._optimizer)
        overlapping = plan.spec.targets == "overlapping"
        build = partial(build_loss, plan.loss, overlapping, plan.spec.network.out_channels, plan.class_weights)
        self._loss_of_all = build(processes.sum if processes.count > 1 else None)
        self._loss_of_one = build()
        self.average = WeightAverage(network, plan.ema) if plan.ema else None

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return float(self._optimizer.param_groups[0]["lr"])

    @property
    def samples_per_step(self) -> int:
        """Samples of one step, over all processes."""
        return self._wishes.accumulate * self.batch_size * self._processes.count

    @property
    def device_memory(self) -> int:
        """Bytes of the GPU that torch holds; 0 on a CPU."""
        import torch

        device = self._processes.fabric.device
        return int(torch.cuda.memory_reserved(device)) if device.type == "cuda" else 0

    @property
    def bytes(self) -> int:
        """About what a saved state takes on the disk."""
        weights = sum(int(weight.numel() * weight.element_size()) for weight in self.network.state_dict().values())
        return weights * (4 if self.average is not None else 3)

    def step(self, batches: Iterator[Batch], progress: float) -> float:
        """Look at the next batches, and change the weights once.

        Parameters
        ----------
        batches : iterator
            Of images ``(N, C, ...)`` and targets ``(N, T, ...)``.
        progress : float
            Share of the training that is done, for the schedule.

        Returns
        -------
        float
            The loss.

        Raises
        ------
        NotFinite
            The loss or a gradient is none; the weights are as they were before.
        TrainingError
            There is not even memory for one sample.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self.highest_rate * self.schedule.factor(progress)
        taken = [next(batches) for _ in range(self._wishes.accumulate)]
        while True:
            try:
                loss = self._accumulate(taken)
                break
            except (RuntimeError, MemoryError) as error:
                self._after_error(error)
        self._check(loss, taken)
        self._wrapped_optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()
        self.iteration += 1
        self.samples += self.samples_per_step
        return loss

    def _accumulate(self, taken: list[Batch]) -> float:
        """Add up the gradients of some batches, a chunk of each at a time; return their mean loss."""
        fabric = self._processes.fabric
        self._optimizer.zero_grad(set_to_none=True)
        chunks = [
            (image[first : first + self.chunk], target[first : first + self.chunk], len(image))
            for image, target in taken
            for first in range(0, len(image), self.chunk)
        ]
        total = 0.0
        for number, (image, target, together) in enumerate(chunks, start=1):
            share = len(image) / together / len(taken)
            with fabric.no_backward_sync(self._model, enabled=number < len(chunks)):
                loss = self._loss_of_all(self._model(self._image(image)), self._target(target))
                fabric.backward(loss * share)
            total += float(loss.detach()) * share
        return total

    def _image(self, image: torch.Tensor) -> torch.Tensor:
        layout = memory_format(image, self._layout.channels_last)
        return image.to(self._processes.fabric.device, non_blocking=True).contiguous(memory_format=layout)

    def _target(self, target: torch.Tensor) -> torch.Tensor:
        target = target.to(self._processes.fabric.device, non_blocking=True)
        return self._brought_down(target) if self._brought_down is not None else target

    def _after_error(self, error: BaseException) -> None:
        """Let fewer samples go through the network at once, if it is for want of memory; else raise the error again."""
        import torch

        if not is_out_of_memory(error):
            raise error
        self._optimizer.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self._processes.count > 1:
            # The others wait for this one's gradients: they cannot be told to begin the step anew.
            raise TrainingError(
                f"The memory of process {self._processes.rank} ran out with {self.chunk} samples at once.",
                "Choose a smaller batch size or patch, and resume the run.",
            ) from error
        if self.chunk == 1:
            raise TrainingError(
                "The memory ran out with a single sample.", "Choose a smaller patch, fewer features, or a larger spacing."
            ) from error
        self.chunk = (self.chunk + 1) // 2

    def _check(self, loss: float, taken: list[Batch]) -> None:
        """Clip the gradients; raise NotFinite when there is nothing finite to learn from."""
        import torch

        if not math.isfinite(loss):
            raise NotFinite(f"The loss became {loss}", taken)
        fabric = self._processes.fabric
        clip = self._wishes.gradient_clip
        norm = fabric.clip_gradients(self._model, self._wrapped_optimizer, max_norm=clip or math.inf, error_if_nonfinite=False)
        # With 16 bit the scaler leaves out such a step by itself, and scales less from then on.
        if norm is not None and self.scaler is None and not bool(torch.isfinite(norm)):
            raise NotFinite(f"The gradient became {float(norm)}", taken)

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """What keeps small gradients apart from zero in 16 bit."""
        return getattr(self._processes.fabric.strategy.precision, "scaler", None)

    def cause_of(self, error: NotFinite, cases: list[list[str]]) -> str:
        """Return a sentence about where in a step the first number was none; `cases` names the case of each sample of its batches."""
        for (image, target), names in zip(error.batches, cases, strict=True):
            with self._processes.fabric.autocast():
                found = find_cause(self.network, self._loss_of_one, self._image(image), self._target(target), names)
            if found:
                return found
        return "Looked at once more, every number of that step was finite."

    def is_finite(self) -> bool:
        """Return whether all weights are numbers."""
        import torch

        return all(bool(torch.isfinite(weight).all()) for weight in self.network.state_dict().values())

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, but for the data and the random numbers."""
        return {
            "iteration": self.iteration,
            "samples": self.samples,
            "chunk": self.chunk,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises
        ------
        TrainingError
            It is that of another network or optimiser.
        """
        try:
            self.network.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            if self.average is not None and state["average"] is not None:
                self.average.load_state_dict(state["average"])
            if self.scaler is not None and state["scaler"] is not None:
                self.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(
                f"The saved state does not fit the network or the optimiser of run.yaml ({str(error).splitlines()[0]}).",
                "Undo the changes in run.yaml, or start a new run from best.pt.",
            ) from error
        self.iteration, self.samples = state["iteration"], state["samples"]
        self.chunk = min(state["chunk"], self.batch_size)
