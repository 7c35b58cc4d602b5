"""Look into every case of a data set, several at a time, and then at all of them together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace

from napari_seg3d.datasets.dataset import Case, Dataset, files_of
from napari_seg3d.datasets.doctor.child import Worker
from napari_seg3d.datasets.doctor.examine import Look, examine
from napari_seg3d.datasets.doctor.findings import Finding, Notebook, Remedy
from napari_seg3d.datasets.doctor.report import Report
from napari_seg3d.datasets.doctor.subjects import join_subjects
from napari_seg3d.datasets.doctor.together import all_labels, ignored_labels, lone_masks, look_at_all, rare_labels
from napari_seg3d.errors import Cancelled

_AT_A_TIME = 4
#: Bytes on disk from which processes of their own are sooner done than threads, although each takes a second to start.
_WORTH_PROCESSES = 200_000_000


def check_dataset(
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    processes: int | None = None,
    aside: Collection[int] = (),
) -> Report:
    """Read every file of a data set and say what is wrong, each with the file, the fix, and the remedy where there is one.

    One bad case never stops the check, and the sound ones can train. Cases that the data set excludes are not looked at. Memory
    holds as many cases as are read at a time, and about 30 kB of each that was read.

    Parameters
    ----------
    dataset : Dataset
        From :func:`napari_seg3d.datasets.open_dataset`.
    progress : callable, optional
        Called after each case with the number of cases done and of all, in the caller's thread.
    cancelled : callable, optional
        Asked after each case whether to give up.
    processes : int, optional
        How many processes read cases, one each at a time; 0 reads them in threads of this process. Left out, threads for small data
        sets and processes for large ones: as many as there are cores, at most four.
    aside : collection of int, optional
        Values in the masks that are no labels and need no name: those of voxels to be ignored, and of painted background.

    Raises
    ------
    Cancelled
        `cancelled` said so.
    """
    cases = [case for case in dataset.cases if case.id not in dataset.excluded]
    declared = {**dict.fromkeys(aside, ""), **dataset.labels} if dataset.labels else {}
    looks = _look(cases, declared, dataset.merged, progress, cancelled, processes)
    ordered = [looks[case.id] for case in cases]
    facts = {look.notebook.case: look.facts for look in ordered if look.facts is not None}
    findings = [Finding.of(problem) for problem in dataset.problems if problem.case not in dataset.excluded]
    findings += [finding for look in ordered for finding in look.notebook.findings]
    findings += look_at_all(cases, ordered)
    findings += lone_masks(dataset, facts)
    refined, seen = join_subjects(dataset, ordered)
    labels = all_labels(dataset, facts, [look.label_names for look in ordered])
    report = Report(replace(refined, labels=labels), facts, (*findings, *seen))
    return replace(report, findings=(*report.findings, *rare_labels(report), *ignored_labels(report, aside)))


def _look(
    cases: Sequence[Case],
    declared: Mapping[int, str],
    merged: Mapping[int, int],
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
    processes: int | None,
) -> dict[str, Look]:
    at_a_time = processes or min(_AT_A_TIME, os.cpu_count() or 1)
    in_processes = _are_worth_processes(cases) if processes is None else processes > 0
    local = threading.local()
    workers: list[Worker] = []
    stopped = threading.Event()

    def look_at(case: Case) -> Look:
        if stopped.is_set():
            return Look(Notebook(case.id))
        if not in_processes:
            return examine(case, declared, merged)
        worker: Worker | None = getattr(local, "worker", None)
        if worker is None:
            local.worker = worker = Worker(declared, merged)
            workers.append(worker)
        return worker.examine(case) or _ended(case)

    looks: dict[str, Look] = {}
    with ThreadPoolExecutor(at_a_time, thread_name_prefix="check") as pool:
        waiting = [pool.submit(look_at, case) for case in cases]
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                look = future.result()
                looks[look.notebook.case] = look
                if progress is not None:
                    progress(done, len(waiting))
                if cancelled is not None and cancelled():
                    raise Cancelled("The check was stopped.")
        finally:
            stopped.set()
            for worker in workers:
                worker.stop()  # the thread that waits for it sees the end of its answers
            pool.shutdown(cancel_futures=True)
    return looks


def _ended(case: Case) -> Look:
    look = Look(Notebook(case.id))
    what = f"Reading {case.images[0].name}, or its mask, ended the process that did it: it is damaged, or there was too little memory."
    fix = "Export the files again; close other programs, or check with fewer processes."
    look.notebook.add("error", "unreadable image", what, fix, case.images[0], Remedy("drop_case", (case.id,), why=what))
    return look


def _are_worth_processes(cases: Sequence[Case]) -> bool:
    size = 0
    for case in cases:
        for path in files_of(case):
            with suppress(OSError):
                size += path.stat().st_size
            if size > _WORTH_PROCESSES:
                return True
    return False
