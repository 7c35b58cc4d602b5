"""`PlanModel`: what `auto` chooses for the data set that is open, why, and how large the network is that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_seg3d.errors import Seg3dError
from napari_seg3d.inference import free_memory
from napari_seg3d.networks import Summary, summarise
from napari_seg3d.training import TrainConfig
from napari_seg3d.training.plan import Reason, plan_for
from napari_seg3d.viewer.data_model import DataModel
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.run_watch import RunWatch


@dataclass(frozen=True)
class Layers:
    """The network of a plan, layer by layer, and the memory of the device that it must fit.

    Parameters
    ----------
    summary : Summary
        The layers.
    free : int
        Bytes of memory that the device has free.
    """

    summary: Summary
    free: int

    @property
    def fits(self) -> bool:
        """Whether a step fits the device."""
        return self.summary.fits(self.free)

    @property
    def verdict(self) -> str:
        """Whether a step fits the device, in a sentence."""
        needed, free = self.summary.total_bytes / 1e9, self.free / 1e9
        if self.fits:
            return f"Needs about {needed:.1f} GB of {free:.0f} GB: fits."
        return f"Needs about {needed:.1f} GB, and {free:.0f} GB are free: choose a smaller patch or batch."


class PlanModel(QObject):
    """The newest plan: asked for with the settings of the form, or told by the run that is followed.

    Attributes
    ----------
    reasons : tuple of Reason
        What was chosen, and why.
    layers : Layers or None
        The network of the plan that was asked for.
    of : str
        Whose plan it is: "these settings", or the name of a run; empty while there is none.
    error : Seg3dError or None
        Why there is no plan.
    job : Job or None
        While it is made.
    """

    #: One of the attributes is another.
    changed = Signal()

    def __init__(self, data: DataModel, watch: RunWatch) -> None:
        super().__init__()
        self.reasons: tuple[Reason, ...] = ()
        self.layers: Layers | None = None
        self.of = ""
        self.error: Seg3dError | None = None
        self.job: Job | None = None
        self._data, self._watch = data, watch
        self._report = data.report
        data.changed.connect(self._mind_the_data)
        watch.eventsArrived.connect(self._take)

    @property
    def is_possible(self) -> bool:
        """Whether there is a checked data set to plan for."""
        return self._data.report is not None and bool(self._data.report.sound)

    def make(self, config: TrainConfig) -> None:
        """Plan for the data set that is open, in the background."""
        report = self._data.report
        if report is None:
            return

        def work(_job: Job) -> tuple[tuple[Reason, ...], Layers]:
            plan = plan_for(config, report)
            summary = summarise(plan.spec.network, plan.sides, plan.batch_size, plan.precision)
            return plan.reasons, Layers(summary, free_memory(plan.accelerator))

        if self.job is not None:
            self.job.cancel()

        def ended(error: Seg3dError | None = None) -> None:
            if self.job is job:
                self.job, self.error = None, error
                self.changed.emit()

        def returned(found: tuple[tuple[Reason, ...], Layers]) -> None:
            if self.job is job:
                (self.reasons, self.layers), self.of = found, "these settings"
                ended()

        job = start_job(work, returned=returned, failed=ended, cancelled=ended)
        self.job = job
        self.changed.emit()

    def _take(self, events: Sequence[dict[str, Any]]) -> None:
        plan = next((event for event in reversed(events) if event["kind"] == "plan" and event.get("reasons")), None)
        if plan is not None and self._watch.run is not None:
            self.reasons = tuple(Reason(found["setting"], found["value"], found["why"]) for found in plan["reasons"])
            self.of = self._watch.run.name
            self.changed.emit()

    def _mind_the_data(self) -> None:
        if self._data.report is not self._report:
            self._report = self._data.report
            if self.job is not None:
                self.job.cancel()
            self.reasons, self.layers, self.of, self.error = (), None, "", None
        self.changed.emit()
