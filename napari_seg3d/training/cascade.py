"""Two networks in one run: the first finds the object in the whole scan, the second segments inside its box.

The first sees whole scans, shrunk, with all labels as one, and answers in coarse voxels; it gets its share of the budget. The second sees
the scan around the object as finely as its plan says: while training around the true box, whose margins are drawn at random, and in every
validation around what the first one finds, so that its Dice is that of predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets import Case, read_case_image
from napari_seg3d.errors import TrainingError
from napari_seg3d.evaluation import UNKNOWN
from napari_seg3d.inference import Computer, Predictor, grown_box
from napari_seg3d.inference.model import Crop
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.judging.judge import Judge
from napari_seg3d.training.judging.validation import Validation
from napari_seg3d.training.loop import Learning, Lesson, State
from napari_seg3d.training.material import (
    Material,
    Sides,
    known_plan,
    known_sides,
    look_at_data,
    plan_as_values,
    plan_material,
    prepare_material,
    shown_cases,
    tell_plan,
)
from napari_seg3d.training.plan import Plan, planned_preprocessing
from napari_seg3d.training.processes import Processes
from napari_seg3d.training.runs.control import when_there_is_room
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.runs.progress import ProgressEvents
from napari_seg3d.training.samples.cache import CachedCase, prepare
from napari_seg3d.training.samples.targets import learnt_labels
from napari_seg3d.transforms import Pipeline, Step
from napari_seg3d.volumes import Box, Grid, box_of, crop, crop_grid, fault_of

if TYPE_CHECKING:
    import torch

#: The model of the first stage, below ``checkpoints``.
FOUND_BY = "find.pt"
# Longest side of what the first network sees, in voxels. The runner-up of the decathlon took 180 on a GPU.
_LONGEST_SIDE = {"cpu": 96, "mps": 128, "cuda": 180}
_SHORTEST_SIDE = 24
# Boxes of each training case with margins of their own: from a quarter of the margin to nearly twice as much.
_BOXES_PER_CASE = 2
_LEAST_MARGIN, _MOST_MARGIN = 0.25, 1.75
_FAR_AWAY = 1e7  # mm


def train_cascade(run: Run, config: TrainConfig, processes: Processes, saved: State | None) -> str:
    """Train both stages, or go on with the one that was interrupted; return what ended the last one, as `Learning.go` does."""
    stage = saved["stage"] if saved is not None else "find"
    finding = processes.first_makes(lambda: when_there_is_room(run, lambda: _prepare_finding(run, config, processes, saved)))
    if stage == "find":
        if processes.is_first and saved is None:
            tell_plan(run, finding.material.plan, finding.sides, "find")
        ended_by = Learning(
            run, processes, finding, saved, bring_down=coarse_target(finding.material.plan), make_judge=_Finder
        ).go()
        if ended_by == "stop":
            return "stop while finding"
        saved = None
        run.add_event("state", state="preparing")
    plan = finding.material.plan
    roi = Predictor.load(run.folder / "checkpoints" / FOUND_BY, plan.accelerator, plan.precision)
    segmenting = processes.first_makes(
        lambda: when_there_is_room(run, lambda: _prepare_segmenting(run, config, finding, roi, saved))
    )
    if processes.is_first and saved is None:
        tell_plan(run, segmenting.material.plan, segmenting.sides, "segment")
    return Learning(run, processes, segmenting, saved, roi=roi).go()


# -- finding ------------------------------------------------------------------------------------------------------------------------------


def _prepare_finding(run: Run, config: TrainConfig, processes: Processes, saved: State | None) -> Lesson:
    """Look at the data and plan both stages, so that what cannot work is said before anything is learnt."""
    sides = look_at_data(run, config) if saved is None else known_sides(config, saved["sides"])
    labels = learnt_labels(sides.dataset.labels, config.targets)
    if saved is None:
        fingerprint = sides.fingerprint
        assert fingerprint is not None
        both = {min(labels): "object"}
        found = replace(sides, fingerprint=replace(fingerprint, labels=both, overlapping=False, share={}))
        pipeline = planned_preprocessing(config, fingerprint)
        asked = _finding_config(config, pipeline, processes.fabric.device.type)
        plan = plan_material(run, asked, found)
    else:
        # Its batch size is its own: what run.yaml says is that of the second network.
        plan = known_plan(config.with_values({"optimization.batch_size": "auto"}), saved["plans"]["find"])
        asked = _finding_config(config, Pipeline.from_list(plan.spec.pipeline), plan.accelerator)
    merged = {**dict.fromkeys(labels, min(labels)), **_merged(sides, labels)}
    material = prepare_material(run, asked, sides, plan, merged)
    if saved is None:
        plans = {"find": plan_as_values(plan), "segment": plan_as_values(_segmenting_plan(run, config, sides, material))}
    else:
        plans = saved["plans"]
    return Lesson(asked, sides, material, "find", plans)


def _merged(sides: Sides, labels: Mapping[int, str]) -> dict[int, int]:
    return {value: min(labels) if other in labels else other for value, other in sides.dataset.merged.items()}


def _finding_config(config: TrainConfig, pipeline: Pipeline, device: str) -> TrainConfig:
    """Return the settings of the first stage: a small whole scan, one label, its share of the budget."""
    limit = Step("LimitSize", {"smallest": _SHORTEST_SIDE, "largest": _LONGEST_SIDE.get(device, _LONGEST_SIDE["cpu"])})
    steps = [step for step in pipeline.steps if step.info.kind != "label"]
    if not steps or steps[-1] != limit:
        steps.append(limit)
    return _with_budget(config, config.cascade.share).with_values(
        {
            "cascade.enabled": False,
            "transforms.preprocessing": Pipeline(tuple(steps)).to_list(),
            "targets.kind": "overlapping",
            "network.name": "cascade-roi",
            "network.dims": 3,
            # Those of the cascade's own second network are meant for both, which are alike; of another they would be too deep here.
            "network.features": config.network.features if config.network.name == "cascade-unet" else "auto",
            "network.deep_supervision": "auto",
            "network.options": {},
            "network.pretrained": None,
            "sampling.mode": "whole",
            "sampling.patch_size": "auto",
            "sampling.label_weights": {},
            "optimization.batch_size": "auto",
            "optimization.class_weights": {},
            "optimization.metric": "dice",
            "optimization.metric_label": None,
        }
    )


def _with_budget(config: TrainConfig, share: float) -> TrainConfig:
    wishes = config.optimization
    return config.with_values(
        {
            "optimization.minutes": wishes.minutes * share if wishes.minutes is not None else None,
            "optimization.max_iterations": max(1, round(wishes.max_iterations * share)) if wishes.max_iterations else None,
            "optimization.epochs": wishes.epochs * share if wishes.epochs is not None else None,
        }
    )


class _CoarseTarget:
    """What the first network answers to: whether anything of the object lies in a block.

    Parameters
    ----------
    divisor : three ints
        Sides of a block.
    """

    def __init__(self, divisor: Sequence[int]) -> None:
        self._divisor = tuple(divisor)

    def __call__(self, target: torch.Tensor) -> torch.Tensor:
        """Return ``(N, 1, i, j, k)`` for a target ``(N, 1, I, J, K)``; a block is unknown where nothing known in it is of the object."""
        from torch.nn.functional import max_pool3d

        unknown = target == UNKNOWN
        found = max_pool3d(target.masked_fill(unknown, 0).float(), self._divisor) > 0
        doubtful = max_pool3d(unknown.float(), self._divisor) > 0
        return found.to(target.dtype).masked_fill(doubtful & ~found, UNKNOWN)


def coarse_target(plan: Plan) -> _CoarseTarget:
    """Return what makes of a target the one of a network that answers at its deepest level."""
    return _CoarseTarget(plan.spec.network.divisor)


class _Finder(Judge):
    """Judges the first network, and keeps its models apart from those that can predict."""

    def save(self, name: str, iteration: int) -> None:
        """Write the model; the best one only where none was judged."""
        if name != "best.pt" or not (self._run.folder / "checkpoints" / FOUND_BY).exists():
            super().save(name, iteration)

    def _save(self, name: str, iteration: int, result: Validation | None = None) -> None:
        super()._save({"best.pt": FOUND_BY, "last.pt": "find-last.pt"}[name], iteration, result)


# -- segmenting ---------------------------------------------------------------------------------------------------------------------------


def _segmenting_plan(run: Run, config: TrainConfig, sides: Sides, found: Material) -> Plan:
    assert sides.fingerprint is not None
    wanted = _crop(config)
    boxes = [(case.native, box) for case in found.train if (box := true_box(case.reference)) is not None]
    if not boxes:
        raise TrainingError("None of the training cases shows a label.", "Mark some, or train without the cascade.")
    grids = tuple(crop_grid(native, grown_box(box, native.shape, wanted)) for native, box in boxes)
    plan = plan_material(run, config, replace(sides, fingerprint=replace(sides.fingerprint, grids=grids)))
    return replace(plan, spec=plan.spec.model_copy(update={"crop": wanted}))


def _prepare_segmenting(run: Run, config: TrainConfig, finding: Lesson, roi: Predictor, saved: State | None) -> Lesson:
    asked, sides = _with_budget(config, 1 - config.cascade.share), finding.sides
    plan = known_plan(config, finding.plans["segment"])
    wanted, truth = plan.spec.crop or _crop(config), finding.material
    teaching = [(case, box) for case in truth.train if (box := true_box(case.reference)) is not None]
    random = np.random.default_rng((config.optimization.seed, 4))
    train: list[CachedCase] = []
    for variant in range(_BOXES_PER_CASE):
        boxes = {
            case.id: grown_box(box, case.native.shape, wanted)
            if variant == 0
            else drawn_box(box, case.native.shape, wanted, random)
            for case, box in teaching
        }
        cases = [case for case in sides.train if case.id in boxes]
        train += _prepared(run, asked, sides, plan, cases, boxes)
    judging = _judging(run, asked, sides, plan, truth.validation, roi)
    return Lesson(asked, sides, Material(plan, train, judging, shown_cases(sides)), "segment", finding.plans)


def _judging(
    run: Run, config: TrainConfig, sides: Sides, plan: Plan, whole: Sequence[CachedCase], roi: Predictor
) -> list[CachedCase]:
    """Return the validation cases as the second network sees them behind the first."""
    wanted = plan.spec.crop or _crop(config)
    finder = Predictor(plan.spec, Computer(roi.network, plan.accelerator, plan.precision), roi=roi)
    told = ProgressEvents(run, "Finding the object")
    found: dict[str, Box | None] = {}
    for done, case in enumerate(sides.validation):
        told(done, len(sides.validation))
        scan = read_case_image(case)
        box = finder.find(scan, run.stop_asked)
        found[case.id] = box if box is not None and fault_of(crop(scan, box)) is None else None
    marked = {case.id: true_box(case.reference) for case in whole}
    true = {case.id: grown_box(marked[case.id] or _whole(case.native), case.native.shape, wanted) for case in whole}
    seen = _prepared(run, config, sides, plan, sides.validation, {name: box or true[name] for name, box in found.items()})
    wished = _prepared(run, config, sides, plan, sides.validation, true)
    return [
        _BehindAnother(
            **{**seeing.__dict__, "native": full.native},
            truth=truth,
            box=true[full.id],
        )
        if found[full.id] is not None
        else _BehindAnother(
            **{**truth.__dict__, "native": full.native, "grid": _elsewhere(truth.grid)}, truth=truth, box=true[full.id]
        )
        for seeing, truth, full in zip(seen, wished, whole, strict=True)
    ]


def _prepared(
    run: Run, config: TrainConfig, sides: Sides, plan: Plan, cases: Sequence[Case], boxes: Mapping[str, Box]
) -> list[CachedCase]:
    return prepare(
        cases,
        Pipeline.from_list(plan.spec.pipeline),
        plan.spec.labels,
        ProgressEvents(run, "Preparing the cases"),
        run.stop_asked,
        sides.dataset.merged,
        forbidden=sides.test,
        targets=config.targets.model_copy(update={"kind": plan.spec.targets}),
        plane=plan.spec.planes[0] if plan.spec.network.dims == 2 else None,
        boxes=boxes,
    )


@dataclass(frozen=True, kw_only=True)
class _BehindAnother(CachedCase):
    """A validation case: the scan around what the first network found, judged on the grid of the whole scan.

    Parameters
    ----------
    truth : CachedCase
        The scan around the true object.
    box : Box
        Where that lies in the scan.
    """

    truth: CachedCase
    box: Box

    @property
    def reference(self) -> NDArray[np.uint8]:
        """What is true on the grid of the whole scan ``(T, I, J, K)``, also where the first network did not look."""
        inside = self.truth.reference
        whole = np.full((len(inside), *self.native.shape), self.outside, dtype=np.uint8)
        whole[(slice(None), *self.box)] = inside
        return whole


def true_box(reference: NDArray[np.uint8]) -> Box | None:
    """Return the box around all that is marked in a mask ``(1, I, J, K)``, None where nothing is."""
    marked = (reference[0] != 0) & (reference[0] != UNKNOWN)
    if not marked.any():
        return None
    spans = [np.flatnonzero(marked.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    return box_of([span[0] for span in spans], [span[-1] + 1 for span in spans])


def drawn_box(box: Box, shape: Sequence[int], wanted: Crop, random: np.random.Generator) -> Box:
    """Return a box with a margin of its own on each side, as the first network would find it: not exactly."""
    first, last = [], []
    for side, voxels in zip(box, shape, strict=True):
        margins = random.uniform(_LEAST_MARGIN, _MOST_MARGIN, 2) * wanted.margin * (side.stop - side.start)
        first.append(max(0, side.start - round(margins[0])))
        last.append(min(voxels, side.stop + round(margins[1])))
    return grown_box(box_of(first, last), shape, Crop(margin=0, smallest=wanted.smallest))


def _crop(config: TrainConfig) -> Crop:
    return Crop(margin=config.cascade.margin, smallest=config.cascade.smallest)


def _whole(grid: Grid) -> Box:
    return box_of((0, 0, 0), grid.shape)


def _elsewhere(grid: Grid) -> Grid:
    """Return a grid far outside of the scan: what a network says there never comes home, as where the first one found nothing."""
    affine = grid.affine.copy()
    affine[:3, 3] += _FAR_AWAY
    return Grid(grid.shape, affine)
