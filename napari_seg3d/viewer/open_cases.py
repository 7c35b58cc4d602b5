"""`OpenCases`: the cases of a worklist that nobody has begun with, predicted one after the other while people go through the list."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Signal

from napari_seg3d.datasets import Problem
from napari_seg3d.errors import Cancelled, Seg3dError
from napari_seg3d.inference import Ensemble, Predictor
from napari_seg3d.review import Entry, Worklist, measure_missing
from napari_seg3d.viewer.jobs import Job
from napari_seg3d.viewer.one_job import OneJob
from napari_seg3d.viewer.review_masks import keep_prediction, predict_case


class OpenCases(OneJob):
    """Predicts what is still to do. No dock has to stay open for it, and what is done when it is cancelled counts."""

    #: The case of this id has another mask.
    predicted = Signal(str)

    @staticmethod
    def of(worklist: Worklist) -> list[Entry]:
        """Return the cases that are still to do. A mask of the data set does not count: it is what a prediction is compared with."""
        return [entry for entry in worklist.entries if entry.state == "to do"]

    def begin(self, worklist: Worklist, load: Callable[[], Predictor | Ensemble]) -> None:
        """Predict all cases that are to do; a case that somebody begins with meanwhile is left to them.

        Parameters
        ----------
        worklist : Worklist
            Whose.
        load : callable
            Returns the model; called in a thread.
        """
        if self.job is not None:
            return
        cases = self.of(worklist)

        def is_open(case: str) -> bool:
            return worklist.entry(case).state == "to do"

        def work(job: Job) -> list[Problem]:
            predictor, problems = load(), []
            for done, entry in enumerate(cases, start=1):
                if job.is_cancelled():
                    raise Cancelled("The predictions were stopped.")
                try:
                    if is_open(entry.case.id):
                        found = predict_case(entry, predictor, cancelled=job.is_cancelled)
                        if is_open(entry.case.id):
                            keep_prediction(worklist, entry.case.id, found)
                            problems += measure_missing(worklist, [worklist.entry(entry.case.id)])
                            self.predicted.emit(entry.case.id)
                except Cancelled:
                    raise
                except Seg3dError as error:
                    problems.append(Problem("error", error.what, error.fix, entry.case.id))
                job.progress(done, len(cases))
            return problems

        def ended(problems: list[Problem]) -> None:
            self.done = "The open cases are predicted."
            if problems:
                self.done += f" Not {', '.join(sorted({str(problem.case) for problem in problems}))}: {problems[0].what}"

        def stopped() -> None:
            if self.error is None:
                self.done = "The predictions were stopped; the cases that were done stay predicted."

        self._work("Predicting", work, ended, stopped)
