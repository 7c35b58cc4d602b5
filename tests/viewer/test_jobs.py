import gc
import threading
import time
from collections.abc import Callable

import pytest

from napari_seg3d.errors import Cancelled, ReadError, Seg3dError
from napari_seg3d.viewer.jobs import Job, start_job
from tests.pumping import pump_until

pytestmark = pytest.mark.usefixtures("qapp")


def _outcome(work: Callable[[Job], object], cancel: bool = False) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    ended: list[threading.Thread] = []
    job = start_job(
        work,
        progressed=lambda done, total: found.append(("progressed", (done, total))),
        returned=lambda value: found.append(("returned", value)),
        failed=lambda error: found.append(("failed", error)),
        cancelled=lambda: found.append(("cancelled", None)),
        ended=lambda: ended.append(threading.current_thread()),
    )
    if cancel:
        job.cancel()
    pump_until(lambda: ended)
    assert ended == [threading.main_thread()]
    return found


def test_it_works_elsewhere_and_answers_here():
    ((kind, thread),) = _outcome(lambda job: threading.current_thread())
    assert kind == "returned"
    assert thread is not threading.main_thread()


def test_progress_arrives():
    def work(job: Job) -> None:
        time.sleep(0.1)
        job.progress(1, 1)

    assert _outcome(work) == [("progressed", (1, 1)), ("returned", None)]


def _fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), ValueError("bad"), MemoryError(), KeyError("x")])
def test_any_error_becomes_words(error, capsys):
    ((kind, said),) = _outcome(lambda job: _fail(error))
    assert kind == "failed"
    assert isinstance(said, Seg3dError)
    assert type(error).__name__ in said.what
    assert "Traceback" in capsys.readouterr().err


def test_our_own_errors_pass_unchanged():
    error = ReadError("knee.nii.gz is cut off.", "Copy it again.")
    assert _outcome(lambda job: _fail(error)) == [("failed", error)]


@pytest.mark.parametrize("raises", [True, False])
def test_a_cancelled_job_returns_nothing(raises):
    def work(job: Job) -> str:
        while not job.is_cancelled():
            time.sleep(0.01)
        if raises:
            raise Cancelled("stopped")
        return "too late"

    assert _outcome(work, cancel=True) == [("cancelled", None)]


def test_a_job_that_nobody_holds_arrives_all_the_same():
    arrived = []
    for number in range(50):
        start_job(lambda job, number=number: number, returned=arrived.append)
    gc.collect()
    pump_until(lambda: len(arrived) == 50)
    assert sorted(arrived) == list(range(50))
