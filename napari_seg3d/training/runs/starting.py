"""Start a run, or go on with one, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from napari_seg3d.errors import TrainingError, WriteError
from napari_seg3d.files import user_folder
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.runs import process_file
from napari_seg3d.training.runs.discovery import remember
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.runs.process_file import ProcessFile

_SECONDS_TO_LEAVE = 20
_resuming = threading.Lock()

#: Of a process that trains, unless the user's says otherwise.
ENVIRONMENT = {
    # Threads that wait for one another sleep instead of spinning: beside a busy viewer that is several times faster.
    "OMP_WAIT_POLICY": "PASSIVE",
    # glibc keeps the memory of a step for the next one instead of asking the system for it, zeroed, each time: a tenth faster. In one
    # arena, because several grew by tens of megabytes late in a run (benchmarks/memory.py).
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
}


def make_run(config: TrainConfig, folder: str | Path | None = None) -> Run:
    """Make the folder of a run without starting it: `start_run` does that on this machine, ``train --join`` on several.

    Parameters
    ----------
    config : TrainConfig
        What to do.
    folder : path-like, optional
        The run folder; it must be new or empty. Left out, a dated one below ``~/napari-seg3d/runs``.

    Raises
    ------
    WriteError
        The folder cannot be written or holds something already.
    """
    folder = Path(folder).expanduser().absolute() if folder is not None else _new_folder(config)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WriteError(f"{folder} is not empty.", "Choose a new folder for the run: an old one is never written over.")
    config.save(folder / "run.yaml")
    remember(folder)
    return Run(folder)


def start_run(config: TrainConfig, folder: str | Path | None = None, queue: bool = False) -> Run:
    """Start training in a process of its own and return at once.

    The process lives on when the one that started it ends. It runs at low priority, so that a viewer stays smooth beside it. With
    ``config.device.devices`` above one, torchrun starts that many processes, which train together.

    Parameters
    ----------
    config : TrainConfig
        What to do.
    folder : path-like, optional
        The run folder; it must be new or empty. Left out, a dated one below ``~/napari-seg3d/runs``.
    queue : bool
        The process waits (state ``queued``) until the runs of this machine that were started earlier have ended.

    Raises
    ------
    WriteError
        The folder cannot be written or holds something already.
    TrainingError
        The process could not be started, or the config asks for several machines.
    """
    if config.device.nodes > 1:
        raise TrainingError(
            "A run on several machines is started by torchrun or SLURM.",
            "Make its folder with `napari-seg3d train … --prepare`, and start `napari-seg3d train --join FOLDER` on each machine.",
        )
    run = make_run(config, folder)
    _start(run, config, queue)
    return run


def resume_run(run: Run, queue: bool = False) -> Run:
    """Go on with a run that has ended before its time, in the same folder, from its last saved state.

    Events and metrics that came after that state are taken back, so that in deterministic mode the run ends as if it had never been
    interrupted. A setting of ``run.yaml`` that was changed meanwhile counts from now on, such as more minutes.

    Raises
    ------
    TrainingError
        The run is still going, has saved no state yet, or the process could not be started.
    """
    with _resuming:  # somebody who presses twice while the process leaves must not get two of them in one folder
        return _resume(run, queue)


def _resume(run: Run, queue: bool) -> Run:
    if not _has_left(run):
        raise TrainingError(f"{run.name} is still running.", "Let it go on if it is paused, or stop it first.")
    if not run.can_resume:
        raise TrainingError(
            f"{run.name} has no saved state to go on from.",
            "Start a new run with its settings (run.yaml); its best model, if there is one, can be the one to start from.",
        )
    config = run.config()
    (run.folder / "control.json").unlink(missing_ok=True)
    run.add_event("state", state="starting", message="Going on from the saved state.")
    _start(run, config, queue)
    return run


def _has_left(run: Run) -> bool:
    """Return whether the process of a run is gone; one that has said its last words needs a moment to leave."""
    end = time.monotonic() + _SECONDS_TO_LEAVE
    while run.is_alive() and run.status().ended and time.monotonic() < end:
        time.sleep(0.05)
    return not run.is_alive()


def _start(run: Run, config: TrainConfig, queue: bool) -> None:
    module = ["-m", "napari_seg3d.training.child", str(run.folder), *(["--queue"] if queue else [])]
    if config.device.devices > 1:
        together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(config.device.devices)]
        module = [*together, *module]
    environment = {**ENVIRONMENT, **os.environ}
    try:
        with open(run.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-u", *module],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=run.folder,
                env=environment,
                **_detached(),
            )
    except OSError as error:
        raise TrainingError(f"The training process could not be started ({error}).", "Check the Python installation.") from error
    ProcessFile.of(process.pid).write(run.folder)
    # Whoever waits for a child is this process; without it an ended child would stay in the process table.
    process_file.children[:] = [*(child for child in process_file.children if child.poll() is None), process]


def _detached() -> dict[str, Any]:
    if sys.platform == "win32":
        return {
            "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP
            | subprocess.BELOW_NORMAL_PRIORITY_CLASS
            | subprocess.CREATE_NO_WINDOW
        }
    return {"start_new_session": True}


def _new_folder(config: TrainConfig) -> Path:
    data = re.sub(r"[^\w.-]+", "-", config.data.images.name).strip("-.") or "run"
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = user_folder("runs") / f"{data}-{stamp}"
    number = 1
    while folder.exists():
        number += 1
        folder = user_folder("runs") / f"{data}-{stamp}-{number}"
    return folder
