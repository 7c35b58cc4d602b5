"""The queue of a machine: a run may wait until those that were started earlier have ended."""

from __future__ import annotations

import time
from collections.abc import Iterable

from napari_seg3d.errors import Cancelled
from napari_seg3d.training.runs.discovery import find_runs
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.runs.process_file import ProcessFile

_SECONDS_BETWEEN_LOOKS = 1.0


def wait_in_line(run: Run, known: Iterable[Run] | None = None) -> None:
    """Return when no earlier run of this machine is alive any more.

    Earlier is whose process began earlier, so that of any two runs that wait exactly one waits for the other. A paused run is waited for,
    too: it may go on at any time.

    Parameters
    ----------
    run : Run
        The one that waits; its process is this one.
    known : iterable of Run, optional
        Among which to look; left out, all of this machine.

    Raises
    ------
    Cancelled
        Somebody asked this run to stop.
    """
    told = None
    while True:
        if run.stop_asked():
            raise Cancelled("The run was stopped before its turn.")
        own = ProcessFile.read(run.folder)
        if own is None:  # whoever started this process has not written it down yet
            time.sleep(0.05)
            continue
        ahead = _ahead_of(run, own, find_runs() if known is None else known)
        if not ahead:
            return
        if ahead[0].name != told:
            told = ahead[0].name
            others = f" and {len(ahead) - 1} more" if len(ahead) > 1 else ""
            run.add_event("state", state="queued", message=f"Waits for {told}{others}.")
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _ahead_of(run: Run, own: ProcessFile, known: Iterable[Run]) -> list[Run]:
    place = (own.created, str(run.folder))
    ahead = []
    for other in known:
        record = ProcessFile.read(other.folder)
        if record is not None and (record.created, str(other.folder)) < place and record.process() is not None:
            ahead.append(other)
    return ahead
