"""The process that trains: ``python -m napari_seg3d.training.child RUN_FOLDER``.

The Train dock and the command line both start exactly this. It says everything through the run folder; what it prints goes to
``train.log``. Whatever goes wrong becomes one ``failed`` state with words for the user; the traceback stays in the log.
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
from napari_seg3d.training.queue import wait_in_line
from napari_seg3d.training.runs import Run

# A viewer beside this process stays smooth, and nobody waits for a training that could use the rest of the machine.
_NICENESS = 10
# Kept free on the disk, so that a run that fills it can still say so.
_RESERVE = 64 * 1024


def main(folder: str, queue: bool = False) -> int:
    """Train in `folder`, or go on where its saved state says; return the exit status.

    Parameters
    ----------
    folder : str
        The run folder.
    queue : bool
        Wait until earlier runs of this machine have ended.
    """
    faulthandler.enable()  # a crash in native code leaves its place in the log
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    run = Run(Path(folder))
    reserve = run.folder / ".room-for-last-words"
    try:
        reserve.write_bytes(bytes(_RESERVE))
        # Imported here, so that a broken installation is reported like every other failure.
        from napari_seg3d.training.loop import train

        if queue:
            wait_in_line(run)
        train(run)
    except Cancelled:
        run.add_event("state", state="stopped", message="Stopped before anything was learnt.")
    except BaseException as error:  # noqa: BLE001  whatever it is, the user is told
        reserve.unlink(missing_ok=True)
        traceback.print_exc()
        _say_failed(run, *_in_words(error, run))
        return 1
    reserve.unlink(missing_ok=True)
    return 0


def _in_words(error: BaseException, run: Run) -> tuple[str, str]:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        error = write_error(run.folder, error)
    if isinstance(error, Seg3dError):
        return error.what, error.fix
    text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower():
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
    sys.exit(main(sys.argv[1], queue="--queue" in sys.argv[2:]))
