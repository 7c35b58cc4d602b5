"""A round from its beginning to its end: the training is started, both models are judged, the better one is kept, and predicts the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from napari_seg3d.datasets import Problem, open_dataset, save_dataset
from napari_seg3d.errors import TrainingError
from napari_seg3d.files import user_folder
from napari_seg3d.inference import PredictOptions, Predictor
from napari_seg3d.inference.batch import batch_model, predict_cases
from napari_seg3d.inference.batch_folder import BatchFolder, BatchOutput
from napari_seg3d.inference.loading import model_files
from napari_seg3d.review import Entry, Worklist, measure_missing
from napari_seg3d.training.rounds.judging import judge_round
from napari_seg3d.training.rounds.records import DATASET, RoundRecord, Rounds, judged, now
from napari_seg3d.training.rounds.round import Round, stored_config
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.runs.starting import start_run

_UNSURE = PredictOptions(uncertainty=True)


def start_round(worklist: Worklist, planned: Round, folder: Path | None = None, queue: bool = False) -> RoundRecord:
    """Write what a round learns from, and start its training in a process of its own; returns at once.

    The training is a run like any other: the Runs dock lists it, and it can be stopped and resumed.

    Parameters
    ----------
    worklist : Worklist
        Beside whose journals the round is kept.
    planned : Round
        From `make_round`.
    folder : Path, optional
        The run folder; left out, one among the user's runs.
    queue : bool
        Whether it waits for the trainings of this machine that were started before.

    Raises
    ------
    WriteError, DatasetError
        Its record or its data set cannot be written.
    TrainingError
        The process could not be started.
    """
    rounds = Rounds(worklist)
    number, place = rounds.begin()
    gathered = planned.gathered
    save_dataset(gathered.dataset, place / DATASET)
    if rounds.current is None:
        rounds.set_current(0, planned.before)
    run = start_run(stored_config(planned.config, place / DATASET), folder or _run_folder(worklist.dataset.name, number), queue)
    record = RoundRecord(
        number,
        place,
        run,
        planned.before,
        worklist.who,
        now(),
        gathered.new,
        gathered.changed,
        len(gathered.old),
        planned.share,
        gathered.judged_on,
        tuple(case.id for case in gathered.judges),
        gathered.left_out,
    )
    record.write()
    return record


def finish_round(
    worklist: Worklist,
    record: RoundRecord,
    *,
    with_surfaces: bool = True,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> RoundRecord:
    """Judge the model of a round whose training has ended beside the one before, and keep the better one as the current one.

    Raises
    ------
    TrainingError
        The training goes on, or has left no model.
    Seg3dError
        As `judge_round`.
    Cancelled
        `cancelled` returned True; nothing is decided.
    """
    status = record.run.status()
    if not status.ended:
        raise TrainingError(f"{record.run.name} is still training.", "Wait until it ends, or stop it.")
    if status.state not in ("finished", "stopped") or not record.run.best.is_file():
        raise TrainingError(f"{record.run.name} has left no model to judge: {status.message}", "Begin another round.")
    by_id = {case.id: case for case in open_dataset(record.folder / DATASET).cases}
    judges = [by_id[name] for name in record.judges if name in by_id]
    comparison = judge_round(
        record.before, record.run, judges, with_surfaces=with_surfaces, progress=progress, cancelled=cancelled
    )
    done = judged(record, comparison)
    done.write()
    if done.is_kept:
        Rounds(worklist).set_current(record.number, record.run)
    return done


def waiting(worklist: Worklist) -> list[Entry]:
    """Return the cases that a model should predict for a person to look at next: not approved, flagged or corrected, and of no test set."""
    split = worklist.dataset.split
    held = split.held_back if split is not None else frozenset()
    return [
        entry
        for entry in worklist.entries
        if entry.state in ("to do", "predicted")
        and (entry.mask is None or entry.mask.origin == "prediction")
        and entry.case.id not in held
        and not entry.is_blinded
    ]


def predict_waiting(
    worklist: Worklist,
    number: int,
    run: Run,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Problem]:
    """Predict the waiting cases with a model and note how unsure it is of each, so that the order by uncertainty is that of this model.

    Masks that this model made before are kept; what is done when it is cancelled counts.

    Parameters
    ----------
    worklist : Worklist
        Whose; nothing is written before `Worklist.write`.
    number : int
        The round whose model it is, 0 for the one before all rounds.
    run : Run
        The model.
    progress, cancelled : callable, optional
        Told (done, total) after each case, and asked before each window.

    Returns
    -------
    list of Problem
        Cases that could not be predicted or measured.

    Raises
    ------
    Seg3dError
        The model cannot be read, or the folder not be written.
    Cancelled
        `cancelled` returned True.
    """
    entries = waiting(worklist)
    if not entries:
        return []
    predictor = Predictor.load(run.best)
    model = batch_model(predictor, model_files([run.best]))
    folder = BatchFolder(BatchOutput(Rounds(worklist).predictions_of(number)), model, _UNSURE, [entry.case for entry in entries])
    problems = []
    for done, result in enumerate(predict_cases(predictor, folder, _UNSURE, cancelled=cancelled), start=1):
        if result.error is not None:
            problems.append(Problem("error", result.error.what, result.error.fix, result.case))
        else:
            worklist.use_prediction(result.case, result.files[0])
            problems += measure_missing(worklist, [worklist.entry(result.case)], cancelled=cancelled)
        if progress is not None:
            progress(done, len(entries))
    return problems


def use_round(worklist: Worklist, number: int) -> Run:
    """Make the model of a round the current one, of 0 that from before all rounds; raises as `Rounds.use`."""
    return Rounds(worklist).use(number)


def _run_folder(name: str, number: int) -> Path:
    data = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder, more = user_folder("runs") / f"{data}-round-{number}-{stamp}", 1
    while folder.exists():
        more += 1
        folder = folder.with_name(f"{data}-round-{number}-{stamp}-{more}")
    return folder
