"""The training itself, top to bottom: look at the data, plan, prepare, learn, and say how it ended."""

from __future__ import annotations

from napari_seg3d.inference import choose_accelerator, choose_precision
from napari_seg3d.training.cascade import train_cascade
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.loop import Learning, Lesson, State
from napari_seg3d.training.material import (
    known_plan,
    known_sides,
    look_at_data,
    plan_material,
    prepare_material,
    tell_plan,
)
from napari_seg3d.training.processes import Processes
from napari_seg3d.training.record.trackers import check_trackers
from napari_seg3d.training.runs.control import Listener, when_there_is_room
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.state import load_state, take_back


def train(run: Run) -> None:
    """Train as ``run.yaml`` says, or go on from the saved state, and leave everything in the run folder.

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
    check_trackers(config.record.trackers)
    accelerator = choose_accelerator(config.device.accelerator)
    processes = Processes(config.device, accelerator, choose_precision(accelerator, config.device.precision))
    if not processes.is_first:
        run = Listener(run.folder)
    saved = load_state(run) if run.saved_state.exists() else None
    processes.wait_for_all()
    if saved is not None and processes.is_first:
        take_back(run, saved)
    run.add_event("state", state="preparing")
    if config.cascade.enabled:
        ended_by = train_cascade(run, config, processes, saved)
    else:
        lesson = processes.first_makes(lambda: when_there_is_room(run, lambda: _prepare_lesson(run, config, saved)))
        ended_by = Learning(run, processes, lesson, saved).go()
    message = {
        "stop": "Stopped. The best model so far is checkpoints/best.pt in the run folder; the run can go on later.",
        "stop while finding": "Stopped before the second network had begun: there is no model yet, but the run can go on.",
        "patience": "Finished early: the validations got no better. The best model is checkpoints/best.pt in the run folder.",
        "budget": "Finished. The best model is checkpoints/best.pt in the run folder.",
    }[ended_by]
    run.add_event("state", state="stopped" if ended_by.startswith("stop") else "finished", message=message)


def _prepare_lesson(run: Run, config: TrainConfig, saved: State | None) -> Lesson:
    """Look at the data, plan, and prepare every case; the last alone, where a saved state knows the rest."""
    if saved is None:
        sides = look_at_data(run, config)
        plan = plan_material(run, config, sides)
        tell_plan(run, plan, sides)
    else:
        sides, plan = known_sides(config, saved["sides"]), known_plan(config, saved["plan"])
    return Lesson(config, sides, prepare_material(run, config, sides, plan))
