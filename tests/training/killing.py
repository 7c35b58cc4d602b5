"""Kill a training at random moments: ``python killing.py RUN_FOLDER KILLS SEED``, in a process of its own that imports torch once.

Each attempt goes on where the one before was killed. After each kill every checkpoint must load; the last attempt must finish.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import lightning_fabric  # noqa: F401  imported here once, not in every process that is forked
import monai.networks.nets  # noqa: F401
import torch
import torch.utils.tensorboard
import torchio  # noqa: F401

from napari_seg3d.errors import ModelError
from napari_seg3d.inference import load_model
from napari_seg3d.training.child import main
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.state import load_state


def begin(folder: Path) -> int:
    """Fork a process that trains; return its id."""
    child = os.fork()
    if child == 0:
        os._exit(main(str(folder)))
    return child


def check(run: Run) -> None:
    """Fail where a checkpoint is there and cannot be read."""
    for path in (run.best, run.last):
        if path.exists():
            load_model(path)
    if run.saved_state.exists():
        try:
            load_state(run)
        except ModelError as error:
            raise AssertionError(f"{run.saved_state} cannot be read: {error}") from error


def kill_often(folder: Path, kills: int, seed: int) -> None:
    """Kill, check, go on; then let it finish."""
    draw, run = random.Random(seed), Run(folder)
    for _ in range(kills):
        steps = sum(event["kind"] in ("step", "checkpoint") for event in run.events())
        child = begin(folder)
        # At least one more thing happens, so that the kills are spread over the run.
        while sum(event["kind"] in ("step", "checkpoint") for event in run.events()) <= steps:
            if os.waitpid(child, os.WNOHANG)[0]:
                return
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.4))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        check(run)
    _, status = os.waitpid(begin(folder), 0)
    assert os.waitstatus_to_exitcode(status) == 0, run.status().message
    check(run)


if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_often(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
