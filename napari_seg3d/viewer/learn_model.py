"""`LearnModel`: the rounds of learning of the worklist that is open, from the plan to the better model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from qtpy.QtCore import QTimer

from napari_seg3d.datasets import Problem
from napari_seg3d.errors import ConfigError, Seg3dError
from napari_seg3d.review import Worklist
from napari_seg3d.training import Run, Status, find_runs
from napari_seg3d.training.rounds import (
    RoundRecord,
    Rounds,
    finish_round,
    gather,
    in_words,
    make_round,
    planned_share,
    predict_waiting,
    start_round,
    use_round,
)
from napari_seg3d.viewer.jobs import Job
from napari_seg3d.viewer.one_job import OneJob
from napari_seg3d.viewer.review_model import ReviewModel
from napari_seg3d.viewer.run_watch import RunWatch

Step = Literal["", "planning", "training", "judging", "predicting"]
_MILLISECONDS_BEFORE_PLAN = 300


class LearnModel(OneJob):
    """What the Review dock shows of learning. The training is a run of its own: nothing here has to stay open for it.

    Attributes
    ----------
    step : str
        What goes on: ``planning``, ``training``, ``judging``, ``predicting``, or nothing.
    count : int
        Cases that the next round would learn from anew.
    words : str
        What the next round would do, or why there is nothing to do.
    runs : list of Run
        Those that the next round can go on from, the current model's first.
    records : list of RoundRecord
        The rounds so far.
    current : (int, Run) or None
        The model in use.
    watch : RunWatch
        The training of the round.
    """

    def __init__(self, review: ReviewModel) -> None:
        super().__init__()
        self._review = review
        self.watch = RunWatch()
        self.watch.statusChanged.connect(self._run_moved)
        self.step: Step = ""
        self.count, self.words = 0, ""
        self.runs: list[Run] = []
        self.records: list[RoundRecord] = []
        self.current: tuple[int, Run] | None = None
        self._record: RoundRecord | None = None  # whose training is followed
        self._chosen: Run | None = None
        self._planned_for: object = None
        self._is_shown = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_MILLISECONDS_BEFORE_PLAN)
        self._soon.timeout.connect(self._plan)
        review.changed.connect(self._review_changed)

    @property
    def worklist(self) -> Worklist | None:
        """That of the Review dock."""
        return self._review.worklist

    @property
    def last(self) -> RoundRecord | None:
        """The newest round that was judged."""
        return next((record for record in reversed(self.records) if record.comparison is not None), None)

    @property
    def run(self) -> Run | None:
        """The run that the next round goes on from: the chosen one, else that of the current model, else the newest."""
        return self._chosen if self._chosen in self.runs else self.runs[0] if self.runs else None

    def set_shown(self, is_shown: bool) -> None:
        """Keep up to date while somebody looks, and leave the disk alone while nobody does."""
        self._is_shown = is_shown
        self._review_changed()

    def choose(self, run: Run) -> None:
        """Go on from another run."""
        self._chosen, self._planned_for = run, None
        self._review_changed()

    def learn(self, minutes: float | None = None) -> None:
        """Do a round: train, judge both models, keep the better one, predict the cases that are not approved."""
        worklist, run = self.worklist, self.run
        if worklist is None or run is None or self.step:
            return

        def work(job: Job) -> RoundRecord:
            origin = Rounds(worklist).origin_of(run)
            planned = make_round(worklist, run, origin=origin, minutes=minutes, progress=job.progress, cancelled=job.is_cancelled)
            return start_round(worklist, planned, queue=True)

        # What is being painted is kept first: an approved mask is the one on the disk.
        self._review.save(lambda: self._begin("planning", work, self._follow))

    def stop(self) -> None:
        """End what goes on: a training keeps what it has learnt, and is judged; the rest is done when it is asked for again."""
        if self.step == "training" and self.watch.run is not None:
            self.watch.run.stop()
        else:
            self.cancel()

    def use(self, number: int) -> None:
        """Make the model of a round the current one, of 0 that from before all rounds, and order the cases by it."""
        worklist = self.worklist
        if worklist is None or self.step:
            return
        try:
            use_round(worklist, number)
        except Seg3dError as error:
            self._fail(error)
            return
        self._chosen = None
        self._predict(worklist)

    def close(self) -> None:
        """Look no more; a training goes on, and is found again."""
        self._soon.stop()
        self.watch.stop_looking()
        self.cancel()

    # -- what the next round would do ----------------------------------------------------------------------------------------------

    def _review_changed(self) -> None:
        if self._is_shown and not self.step and self._planned_for != self._state():
            self._soon.start()

    def _state(self) -> object:
        worklist = self.worklist
        if worklist is None:
            return None
        approved = tuple((case.id, case.mask) for case in worklist.approved())
        return id(worklist), approved, self._chosen

    def _plan(self) -> None:
        worklist, state = self.worklist, self._state()
        if self.step or state == self._planned_for:
            return
        self._planned_for = state
        if worklist is None:
            self.count, self.words, self.runs, self.records, self.current = 0, "", [], [], None
            self.changed.emit()
            return
        chosen = self._chosen

        def work(_job: Job) -> tuple[list[RoundRecord], tuple[int, Run] | None, list[Run], int, str]:
            rounds = Rounds(worklist)
            records, current = rounds.records, rounds.current
            runs = [run for run in find_runs() if run.best.is_file()]
            if current is not None:
                runs = [current[1], *(run for run in runs if run != current[1])]
            run = chosen if chosen in runs else runs[0] if runs else None
            if run is None:
                return records, current, runs, 0, "There is no model to go on from yet: train one first."
            try:
                found = gather(worklist, run)
            except Seg3dError as error:
                return records, current, runs, 0, error.what
            count = len(found.new) + len(found.changed)
            words = in_words(found, planned_share(count, len(found.old)))
            if found.left_out:
                words += " Left out: " + " ".join(list(found.left_out.values())[:3])
            return records, current, runs, count, words

        def planned(found: tuple[list[RoundRecord], tuple[int, Run] | None, list[Run], int, str]) -> None:
            self.records, self.current, self.runs, self.count, self.words = found
            self._go_on_with_the_last(worklist)

        self._begin("planning", work, planned)

    def _go_on_with_the_last(self, worklist: Worklist) -> None:
        """Follow a training that was begun before this window was opened, or judge it if it has ended since."""
        record = self.records[-1] if self.records else None
        if record is not None and record.comparison is None and record.run.folder.is_dir():
            status = record.run.status()
            if not status.ended or (status.state in ("finished", "stopped") and record.run.best.is_file()):
                self._follow(record)

    # -- a round -------------------------------------------------------------------------------------------------------------------

    def _follow(self, record: RoundRecord) -> None:
        self._record, self.step = record, "training"
        self.watch.follow(record.run)
        self.changed.emit()

    def _run_moved(self) -> None:
        status: Status = self.watch.status
        record, worklist = self._record, self.worklist
        if record is None or self.step != "training" or not status.ended:
            return
        self._record, self.step = None, ""
        if worklist is None or Rounds(worklist).folder != record.folder.parent:
            self._planned_for = None  # another worklist was opened meanwhile; this round is judged when its own is open again
            self._review_changed()
            return
        if status.state not in ("finished", "stopped"):
            self._fail(ConfigError(*status.message.partition("\n")[::2]))
            return

        def work(job: Job) -> RoundRecord:
            return finish_round(worklist, record, progress=job.progress, cancelled=job.is_cancelled)

        def judged(_done: RoundRecord) -> None:
            self._chosen = None
            self._predict(worklist)

        self._begin("judging", work, judged)

    def _predict(self, worklist: Worklist) -> None:
        rounds = Rounds(worklist)
        self.records, self.current = rounds.records, rounds.current
        current = self.current
        if current is None:
            return

        def work(job: Job) -> list[Problem]:
            return predict_waiting(worklist, *current, progress=job.progress, cancelled=job.is_cancelled)

        def predicted(_problems: list[Problem]) -> None:
            self._review.masks_changed()
            self._review.set_order("uncertainty")
            self._planned_for = None
            self._review_changed()

        self._begin("predicting", work, predicted)

    def _begin(self, step: Step, work: Callable[[Job], Any], then: Callable[[Any], None]) -> None:
        self.step = step

        def done(result: Any) -> None:
            self.step = ""
            then(result)

        def not_done() -> None:
            self.step = ""
            if step == "predicting":
                self._review.masks_changed()  # what was predicted until then counts

        self._work(step, work, done, not_done)
