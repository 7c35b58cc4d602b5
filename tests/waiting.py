"""Wait for a training process, with an end."""

import time
from collections.abc import Callable

from napari_seg3d.training import Run, Status


def wait_for(run: Run, seconds: float = 240) -> Status:
    """Return how a run ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = run.status()
        if status.ended:
            return status
        time.sleep(0.1)
    run.kill()
    raise AssertionError(f"the run did not end:\n{run.log.read_text()}")


def wait_until(condition: Callable[[], bool], run: Run, seconds: float = 120) -> None:
    """Return when `condition` holds, while the run goes on."""
    end = time.monotonic() + seconds
    while True:
        ended = run.status().ended  # before the condition, which may come true at the end
        if condition():
            return
        assert not ended, run.status().message + run.log.read_text()
        assert time.monotonic() < end, run.log.read_text()
        time.sleep(0.05)


def steps(run: Run) -> int:
    """Return how many steps the run has told about."""
    return sum(event["kind"] == "step" for event in run.events())
