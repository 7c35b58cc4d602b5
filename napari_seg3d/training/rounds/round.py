"""`make_round`: a training that goes on from a model, with what was approved since and with what it learnt before."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_seg3d.datasets import read_case_mask
from napari_seg3d.errors import Cancelled, ConfigError, LabelError, TrainingError
from napari_seg3d.inference import ModelSpec, load_model, read_spec
from napari_seg3d.review import Worklist
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.rounds.gathering import Gathered, gather
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.samples.targets import values_aside
from napari_seg3d.transforms import Pipeline, label_steps

# Half of what is shown is new and half is old, as in experience replay (Rolnick et al., NeurIPS 2019): with less the few new cases are
# hardly seen in a short training, with more the old ones are forgotten.
_SHARE = 0.5
# But no case is shown more than so many times as often as another: a network learns one scan by heart soon.
_MOST_OFTEN = 8.0
# Of the budget of the first training: half of what as many cases took there, a fifth at least.
_OF_BUDGET, _LEAST_OF_BUDGET = 0.5, 0.2


@dataclass(frozen=True)
class Round:
    """A training that goes on from a model; nothing is written yet.

    Parameters
    ----------
    before : Run
        Whose best model it begins with.
    gathered : Gathered
        What it learns from, and who judges.
    config : TrainConfig
        How; the place of its data set is filled in when it starts.
    share : float
        Which part of what the network is shown is new.
    """

    before: Run
    gathered: Gathered
    config: TrainConfig
    share: float

    def in_words(self) -> str:
        """Say what will be done."""
        return in_words(self.gathered, self.share, self.config)


def make_round(
    worklist: Worklist,
    run: Run,
    *,
    origin: Run | None = None,
    share: float | None = None,
    minutes: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Round:
    """Return a training that goes on from the best model of a run: with the approved cases, and with those that it learnt from before.

    What the network is (network, preprocessing with all its numbers, patches, labels) stays as it was trained, so that all weights fit.

    Parameters
    ----------
    worklist : Worklist
        Whose approved cases join.
    run : Run
        Whose best model goes on.
    origin : Run, optional
        The training with which it all began; left out, `run`. The budget is measured by it, so that it does not shrink from round to
        round.
    share : float, optional
        Which part of what the network is shown is new, between 0 and 1. Left out, half, as long as no case is shown more than eight times as
        often as another; where more of the cases are new than that, all are shown equally often.
    minutes : float, optional
        How long; left out, planned from the budget of `origin` and the number of cases.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each mask is read.

    Raises
    ------
    DatasetError
        No approved case would teach anything, or nobody is left to judge.
    LabelError
        An approved mask holds labels that the model does not know, or labels of the same number mean other things.
    ConfigError
        The run cannot be gone on with like this, or the share is none.
    TrainingError
        The run has no model.
    Cancelled
        `cancelled` returned True.
    """
    if not run.best.is_file():
        raise TrainingError(f"{run.name} has no model yet.", "Wait for its first validation, or choose another run.")
    config, spec = run.config(), read_spec(run.best) or load_model(run.best).spec
    _refuse_special(config, spec, run)
    gathered = gather(worklist, run)
    _check_names(worklist, spec)
    _check_labels(gathered, spec, config, progress, cancelled)
    first = (origin or run).config()
    new = len(gathered.new) + len(gathered.changed)
    chosen = planned_share(new, len(gathered.old)) if share is None else share
    changes: dict[str, Any] = {
        **_as_trained(spec, config),
        "data.masks": None,
        "data.subjects": None,
        "data.split": "auto",
        "network.pretrained": str(run.best),
        "sampling.case_weights": _weights(gathered, chosen),
        **_budget(first, new, len(gathered.old), minutes),
    }
    return Round(run, gathered, config.with_values(changes), chosen)


def in_words(gathered: Gathered, share: float, config: TrainConfig | None = None) -> str:
    """Say what a round does, for people."""
    parts = [f"{len(gathered.new)} new"]
    if gathered.changed:
        parts.append(f"{len(gathered.changed)} corrected again")
    text = f"Learns from {' and '.join(parts)} and {len(gathered.old)} old cases, {share:.0%} of the time from the new ones"
    if config is not None and config.optimization.minutes is not None:
        text += f", for {config.optimization.minutes:g} min"
    judges = len(gathered.judges)
    text += f". Judged by {judges} {'case' if judges == 1 else 'cases'} of the {gathered.judged_on}."
    if gathered.judged_on == "validation cases":
        text = text.replace("of the validation cases.", "that validate: there is no test set that is held back.")
    return text


def planned_share(new: int, old: int) -> float:
    """Return which part of what the network is shown is new, where nobody says it."""
    if not old:
        return 1.0
    equal = new / (new + old)
    return max(equal, min(_SHARE, _MOST_OFTEN * new / (_MOST_OFTEN * new + old)))


def _weights(gathered: Gathered, share: float) -> dict[str, float]:
    new, old = (*gathered.new, *gathered.changed), gathered.old
    if not 0 < share <= 1 or (old and share == 1):
        raise ConfigError(
            f"A share of {share:g} leaves out the old cases or the new ones.", "Choose one between 0 and 1, such as 0.5."
        )
    if not old:
        return {}
    weight = share / (1 - share) * len(old) / len(new)
    if math.isclose(weight, 1.0, rel_tol=0.02):
        return {}
    if not 0.01 <= weight <= 100:
        raise ConfigError(
            f"With a share of {share:g}, some cases would be shown {max(weight, 1 / weight):.0f} times as often as others.",
            "Choose a share that is nearer to that of the cases.",
        )
    return dict.fromkeys(new, round(weight, 4))


def _budget(first: TrainConfig, new: int, old: int, minutes: float | None) -> dict[str, Any]:
    """Return how long a round takes: a part of what the first training did, by the number of new cases beside the old ones."""
    if minutes is not None:
        return {"optimization.minutes": minutes, "optimization.max_iterations": None, "optimization.epochs": None}
    part = min(1.0, max(_LEAST_OF_BUDGET, _OF_BUDGET * new / max(old, 1)))
    given = first.optimization
    return {
        "optimization.minutes": round(max(part * given.minutes, min(1.0, given.minutes)), 2)
        if given.minutes is not None
        else None,
        "optimization.max_iterations": math.ceil(part * given.max_iterations) if given.max_iterations is not None else None,
        "optimization.epochs": part * given.epochs if given.epochs is not None else None,
    }


def _as_trained(spec: ModelSpec, config: TrainConfig) -> dict[str, Any]:
    """Return the settings that make the same network see the same, whatever `auto` would make of more cases."""
    network = spec.network
    fixed: dict[str, Any] = {
        "transforms.preprocessing": spec.pipeline,
        "targets.kind": spec.targets,
        "sampling.mode": spec.mode,
        "sampling.patch_size": list(spec.patch_size),
        "sampling.planes": list(spec.planes),
        "sampling.context": spec.context if network.dims == 2 else 0,
        "network.name": network.name,
        "network.dims": network.dims,
        "network.features": list(network.features),
        "network.deep_supervision": network.deep_supervision,
        "network.options": dict(network.options),
    }
    if network.dims == 2 and config.targets.known == "slices":
        fixed["targets.plane"] = spec.planes[0]
    return fixed


def _refuse_special(config: TrainConfig, spec: ModelSpec, run: Run) -> None:
    if config.cascade.enabled or spec.crop is not None:
        raise ConfigError(
            f"{run.name} trained two networks, one that finds and one that segments; a round goes on with one.",
            "Train anew with the approved cases, or learn from a run of one network.",
        )
    if label_steps(Pipeline.from_list(spec.pipeline)).steps:
        raise ConfigError(
            f"The preprocessing of {run.name} changes the numbers of labels, so that corrected predictions and old masks number them "
            "differently.",
            "Train anew on masks that are numbered as the predictions are.",
        )


def _check_names(worklist: Worklist, spec: ModelSpec) -> None:
    for value, name in sorted(worklist.dataset.labels.items()):
        known = spec.labels.get(value, "")
        if known and name and f"label {value}" not in (known, name) and known.casefold() != name.casefold():
            raise LabelError(
                f"Label {value} is {name} in {worklist.dataset.name}, and {known} for the model.",
                "Give the labels of the data set the numbers and names that the model learnt.",
            )


def _check_labels(
    gathered: Gathered,
    spec: ModelSpec,
    config: TrainConfig,
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    known = {0, *spec.labels, *values_aside(config.targets)}
    joining = [*gathered.new, *gathered.changed]
    for done, name in enumerate(joining, start=1):
        if cancelled is not None and cancelled():
            raise Cancelled("The round was not begun.")
        mask = read_case_mask(gathered.dataset.case(name), merged=gathered.dataset.merged, overlapping=True)
        strange = sorted({int(value) for value in np.unique(mask.data)} - known)
        if strange:
            told = ", ".join(map(str, strange[:5]))
            names = ", ".join(f"{value} {label}" for value, label in sorted(spec.labels.items()))
            raise LabelError(
                f"The approved mask of {name} holds label {told}, which the model does not know (it knows {names}).",
                "Change that label in the mask, or train anew on all cases: a model cannot learn another label in a round.",
            )
        if progress is not None:
            progress(done, len(joining))


def stored_config(config: TrainConfig, file: Path) -> TrainConfig:
    """Return the config with the data set that was written."""
    return config.with_values({"data.images": str(file)})
