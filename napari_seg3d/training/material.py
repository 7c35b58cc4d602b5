"""What a network learns from: the data is looked at and divided, a plan is made, and every case is prepared.

A run that goes on from a saved state takes all of it from there: who trains, and the plan to the last number. What is free on the device, or
which files were added to the folder meanwhile, then makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pydantic import ValidationError

from napari_seg3d.datasets import Case, Dataset, Report, check_dataset, open_dataset, read_case_image
from napari_seg3d.errors import ConfigError, ModelError, TrainingError
from napari_seg3d.inference import ModelSpec
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.plan import Fingerprint, Plan, Reason, fingerprint_of, make_plan, tried_on_device
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.runs.progress import ProgressEvents
from napari_seg3d.training.samples.cache import CachedCase, prepare
from napari_seg3d.training.samples.sides import choose_sides
from napari_seg3d.training.samples.targets import values_aside
from napari_seg3d.transforms import Pipeline, fit, is_fitted
from napari_seg3d.volumes import Volume

_MOST_WARNINGS = 50


@dataclass(frozen=True)
class Sides:
    """Who trains and who validates, and what is known about them.

    Parameters
    ----------
    dataset : Dataset
        Where they are from.
    train, validation : list of Case
        Those that teach, and those that judge.
    test : frozenset of str
        Ids that may do neither.
    shown : list of str
        Ids of those that judge, the most worth watching first: those that show most labels.
    fingerprint : Fingerprint or None
        What the training cases are like; None where the plan is made already.
    """

    dataset: Dataset
    train: list[Case]
    validation: list[Case]
    test: frozenset[str]
    shown: list[str]
    fingerprint: Fingerprint | None = None

    def as_values(self) -> dict[str, Any]:
        """Return this as plain values for the saved state: ids and labels alone."""
        return {
            "train": [case.id for case in self.train],
            "validation": [case.id for case in self.validation],
            "test": sorted(self.test),
            "shown": self.shown,
            "labels": dict(self.dataset.labels),
        }


@dataclass(frozen=True)
class Material:
    """What a network learns from.

    Parameters
    ----------
    plan : Plan
        With a preprocessing that has seen the training cases.
    train, validation : list of CachedCase
        Those that teach, and those that judge.
    shown : list of Case
        Those that judge, in the order in which they are worth watching.
    """

    plan: Plan
    train: list[CachedCase]
    validation: list[CachedCase]
    shown: list[Case]


def look_at_data(run: Run, config: TrainConfig) -> Sides:
    """Check a data set, say what is wrong with it, and divide it.

    Raises
    ------
    Seg3dError
        Nothing in it can be trained on, or a case of a test set would be.
    Cancelled
        Somebody asked the run to stop.
    """
    dataset = _opened(config)
    dataset.require_pairs()
    told = ProgressEvents(run, "Checking the cases")
    report = check_dataset(dataset, told, run.stop_asked, aside=values_aside(config.targets))
    for problem in report.problems[:_MOST_WARNINGS]:
        run.add_event("warning", message=problem.what, fix=problem.fix)
    if not report.sound:
        errors = [problem for problem in report.problems if problem.severity == "error"]
        first = f" The first problem: {errors[0].what}" if errors else ""
        raise TrainingError(f"No case of {config.data.images} can be trained on.{first}", errors[0].fix if errors else "")
    if not report.dataset.labels:
        raise TrainingError(
            f"The masks of {config.data.images} hold no labels at all.", "Choose masks with something marked in them."
        )
    channels = {report.facts[case.id].channels for case in report.sound}
    if len(channels) > 1:
        raise TrainingError(f"The scans have different numbers of channels ({sorted(channels)}).", "Train on scans of one kind.")
    split = choose_sides(config.data, report, ProgressEvents(run, "Comparing with the frozen test set"), run.stop_asked)
    if set(split.train) & set(split.validation):
        run.add_event(
            "warning",
            message="There is one subject only, which trains and judges: its Dice tells how well it was learnt, not how well others will be.",
            fix="Add scans of other subjects, and a mask for at least one of them.",
        )
    split.save(run.folder / "split.csv", report.dataset.cases)
    cases = {case.id: case for case in report.sound}
    return Sides(
        report.dataset,
        [cases[name] for name in split.train],
        [cases[name] for name in split.validation],
        frozenset(split.test),
        _by_labels(report, split.validation),
        fingerprint_of(report, split.train),
    )


def known_sides(config: TrainConfig, values: Mapping[str, Any]) -> Sides:
    """Return who trains and validates as a saved state says.

    Raises
    ------
    TrainingError
        A case is not there any more.
    """
    # Which labels there are, the files alone may not say: the check has looked into them.
    dataset = replace(_opened(config), labels=dict(values["labels"]))
    cases = {case.id: case for case in dataset.cases}
    gone = [name for name in (*values["train"], *values["validation"]) if name not in cases]
    if gone:
        raise TrainingError(
            f"{gone[0]}{f' and {len(gone) - 1} more cases' if len(gone) > 1 else ''} of the interrupted run cannot be found any more.",
            f"Put the scans back to {config.data.images}, or start a new run.",
        )
    return Sides(
        dataset,
        [cases[name] for name in values["train"]],
        [cases[name] for name in values["validation"]],
        frozenset(values["test"]),
        list(values["shown"]),
    )


def plan_material(run: Run, config: TrainConfig, sides: Sides) -> Plan:
    """Make the plan, and let the preprocessing see the training cases where it has to."""
    assert sides.fingerprint is not None
    plan = tried_on_device(make_plan(config, sides.fingerprint), config)
    pipeline = Pipeline.from_list(plan.spec.pipeline)
    if is_fitted(pipeline):
        return plan
    told = ProgressEvents(run, "Learning the intensities")
    pipeline = fit(pipeline, _told(sides.train, told), run.stop_asked)
    return replace(plan, spec=plan.spec.model_copy(update={"pipeline": pipeline.to_list()}))


def tell_plan(run: Run, plan: Plan, sides: Sides, stage: str = "") -> None:
    """Say what the plan is, and why."""
    run.add_event("plan", **plan.as_event(), train_cases=len(sides.train), validation_cases=len(sides.validation), stage=stage)


def prepare_material(
    run: Run, config: TrainConfig, sides: Sides, plan: Plan, merged: Mapping[int, int] | None = None
) -> Material:
    """Prepare every case as the plan says, or find it prepared.

    Parameters
    ----------
    run, config, sides, plan
        Of the run.
    merged : mapping of int to int, optional
        What the values in the masks count as; left out, as the data set says.
    """
    cached = prepare(
        [*sides.train, *sides.validation],
        Pipeline.from_list(plan.spec.pipeline),
        plan.spec.labels,
        ProgressEvents(run, "Preparing the cases"),
        run.stop_asked,
        sides.dataset.merged if merged is None else merged,
        forbidden=sides.test,
        targets=config.targets.model_copy(update={"kind": plan.spec.targets}),
        plane=plan.spec.planes[0] if plan.spec.network.dims == 2 else None,
    )
    return Material(plan, cached[: len(sides.train)], cached[len(sides.train) :], shown_cases(sides))


def shown_cases(sides: Sides) -> list[Case]:
    """Return the cases that judge, in the order in which they are worth watching."""
    judging = {case.id: case for case in sides.validation}
    return [judging[name] for name in sides.shown]


def plan_as_values(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain values, for the saved state."""
    values = {field.name: getattr(plan, field.name) for field in fields(plan)}
    return {
        **values,
        "spec": plan.spec.model_dump(mode="json"),
        "augmentation": plan.augmentation.to_list() if plan.augmentation is not None else None,
        "reasons": [reason.as_dict() for reason in plan.reasons],
    }


def plan_from_values(values: Mapping[str, Any]) -> Plan:
    """Return the plan that `plan_as_values` described."""
    return Plan(
        **{
            **values,
            "spec": ModelSpec.model_validate(values["spec"]),
            "augmentation": Pipeline.from_list(values["augmentation"]) if values["augmentation"] is not None else None,
            "reasons": tuple(Reason(**reason) for reason in values["reasons"]),
        }
    )


def known_plan(config: TrainConfig, values: Mapping[str, Any]) -> Plan:
    """Return the plan of an interrupted run; learning rate and batch size may have been changed in its run.yaml since.

    Raises
    ------
    ModelError
        The values describe no plan.
    """
    try:
        plan = plan_from_values(values)
    except (ValidationError, ConfigError, KeyError, TypeError) as error:
        raise ModelError(f"The saved state holds no plan of a run ({error}).", "Start a new run.") from error
    wishes = config.optimization
    if wishes.learning_rate != "auto":
        plan = replace(plan, learning_rate=wishes.learning_rate)
    if wishes.batch_size != "auto":
        plan = replace(plan, batch_size=wishes.batch_size)
    return plan


def _opened(config: TrainConfig) -> Dataset:
    return open_dataset(config.data.images, config.data.masks, config.data.subjects)


def _by_labels(report: Report, names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: (len(report.facts[name].label_counts), name), reverse=True)


def _told(cases: list[Case], progress: ProgressEvents) -> Iterator[Volume]:
    for done, case in enumerate(cases):
        progress(done, len(cases))
        yield read_case_image(case)
