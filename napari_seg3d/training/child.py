"""The process that trains: ``python -m napari_seg3d.training.child RUN_FOLDER``.

The Train dock and the command line both start exactly this. It says everything through the run folder; what it prints goes to
``train.log``. Whatever goes wrong becomes one ``failed`` state with words for the user; the traceback stays in the log. Of several processes
that train together (see ``processes.py``) each is one of these.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import sys
import traceback
from pathlib import Path

from napari_seg3d.errors import Cancelled, Seg3dError
from napari_seg3d.files import write_error
from napari_seg3d.inference.device import is_out_of_memory
from napari_seg3d.training.processes import is_first_process
from napari_seg3d.training.runs.control import Listener, give_reserve, take_reserve
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.runs.process_file import ProcessFile
from napari_seg3d.training.runs.queue import wait_in_line

# A viewer beside this process stays smooth, and nobody waits for a training that could use the rest of the machine.
_NICENESS = 10


def main(folder: str, queue: bool = False, join: bool = False) -> int:
    """Train in `folder`, or go on where its saved state says; return the exit status.

    Parameters
    ----------
    folder : str
        The run folder.
    queue : bool
        Wait until earlier runs of this machine have ended.
    join : bool
        Nobody has written down which process trains: SLURM or torchrun started it.
    """
    faulthandler.enable()  # a crash in native code leaves its place in the log
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    first = is_first_process()
    run = Run(Path(folder).absolute()) if first else Listener(Path(folder).absolute())
    try:
        if join and first:
            ProcessFile.of(os.getpid()).write(run.folder)
        if first:
            take_reserve(run.folder)
        if queue:
            wait_in_line(run)
        # Imported here, so that a broken installation is reported like every other failure.
        from napari_seg3d.training.train import train

        train(run)
    except Cancelled:
        run.add_event("state", state="stopped", message="Stopped before anything was learnt.")
    except BaseException as error:  # noqa: BLE001  whatever it is, the user is told
        give_reserve(run.folder)
        traceback.print_exc()
        # Any of several processes may be the one that fails: the others only see that it is gone.
        _say_failed(Run(run.folder), *_in_words(error, run))
        return 1
    if first:
        give_reserve(run.folder)
    return 0


def _in_words(error: BaseException, run: Run) -> tuple[str, str]:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        error = write_error(run.folder, error)
    if isinstance(error, Seg3dError):
        return error.what, error.fix
    text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    if is_out_of_memory(error):
        return (
            f"The memory ran out while training ({text}).",
            f"Use a smaller patch or batch, or a larger spacing. The log is {run.log}.",
        )
    return f"The training ended with an unexpected error ({text}).", f"The log {run.log} holds the details; please report them."


def _say_failed(run: Run, message: str, fix: str) -> None:
    try:
        run.add_event("state", state="failed", message=message, fix=fix)
    except Seg3dError:
        # The disk is full or gone: the log has the words, and whoever watches sees that the process ended.
        traceback.print_exc()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], queue="--queue" in sys.argv[2:], join="--join" in sys.argv[2:]))
