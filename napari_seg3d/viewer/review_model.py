"""`ReviewModel`: the worklist that is open in a viewer, the case that is looked at, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Labels, Layer
from qtpy.QtCore import Signal

from napari_seg3d.datasets import Problem, open_dataset
from napari_seg3d.editing.versions import Version
from napari_seg3d.errors import DatasetError, ModelError, Seg3dError
from napari_seg3d.inference import Ensemble, Predictor
from napari_seg3d.review import (
    STATES,
    Agreement,
    Entry,
    MaskInUse,
    Order,
    State,
    Worklist,
    agreement,
    beside,
    corrections_of,
    measure_missing,
    ordered,
    take_table,
    write_summary,
)
from napari_seg3d.training import find_runs
from napari_seg3d.viewer.data_model import DataModel
from napari_seg3d.viewer.jobs import Job
from napari_seg3d.viewer.layers import native_of
from napari_seg3d.viewer.one_job import OneJob
from napari_seg3d.viewer.open_cases import OpenCases
from napari_seg3d.viewer.prediction_model import PredictionModel
from napari_seg3d.viewer.review_case import CasePictures, ReadAhead, read_pictures
from napari_seg3d.viewer.review_clock import ReviewClock
from napari_seg3d.viewer.review_comparison import ReviewComparison, masks_to_compare
from napari_seg3d.viewer.review_journal import ReviewJournal
from napari_seg3d.viewer.review_masks import keep_prediction, predict_case, take_mask
from napari_seg3d.viewer.review_stage import ReviewStage
from napari_seg3d.viewer.stage import Stage

if TYPE_CHECKING:
    from napari import Viewer

_MILLISECONDS_BETWEEN_LOOKS = 5000
_LEFT_BEHIND: tuple[State, ...] = ("approved",)
_FIRST, _LAST = "That was the first case of the list.", "That was the last case of the list."


class ReviewModel(OneJob):
    """What the Review dock shows. It works without a model and without a GPU.

    Whatever is said is in memory at once, and in the journal moments later; a mask that was edited is written before the next case
    comes, and where that fails the case stays.

    Attributes
    ----------
    worklist : Worklist or None
        The one that is open.
    current : str or None
        Id of the case that is looked at.
    is_opening : bool
        Whether a case is being saved or read.
    order, descending
        How the rows are sorted.
    states : frozenset of State
        The rows that are shown.
    comparison : ReviewComparison
        With the reference, or another mask.
    """

    #: A case is on the stage; with what could not be shown, and names of masks that stay in the viewer.
    caseShown = Signal(object, list)

    def __init__(self, viewer: Viewer, stage: Stage, data: DataModel, prediction: PredictionModel) -> None:
        super().__init__()
        self._data, self._prediction = data, prediction
        self._stage = ReviewStage(viewer, stage)
        self.comparison = ReviewComparison(viewer, stage, self._stage)
        self.comparison.changed.connect(self.changed)
        self.worklist: Worklist | None = None
        self.current: str | None = None
        self.is_opening = False
        self.order: Order = "case"
        self.descending: bool | None = None
        self.states: frozenset[State] = frozenset(STATES)
        #: How two readers agree, when somebody asked.
        self.agreement: Agreement | None = None
        self._ahead = ReadAhead(self._read)
        self._target: str | None = None  # the case that is being opened
        self._shown: MaskInUse | None = None  # the mask whose voxels are in the layers
        self._clock = ReviewClock()
        self.changed.connect(self._clock.touch)
        viewer.dims.events.current_step.connect(self._clock.touch)
        #: Those that nobody has begun with, on the way to their predictions.
        self.open_cases = OpenCases()
        self.open_cases.changed.connect(self.changed)
        self.open_cases.predicted.connect(self._predicted)
        self._rows: tuple[object, list[Entry]] | None = None
        self._journal = ReviewJournal()
        self._journal.changed.connect(self.changed)
        self._journal.failed.connect(self._fail)

    # -- the list ------------------------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> list[Entry]:
        """The cases that are shown, in their order."""
        if self.worklist is None:
            return []
        entries = self.worklist.entries
        made_from = (entries, self.order, self.descending, self.states)
        if self._rows is None or self._rows[0] != made_from:
            self._rows = (made_from, [one for one in ordered(entries, self.order, self.descending) if one.state in self.states])
        return self._rows[1]

    @property
    def entry(self) -> Entry | None:
        """The case that is looked at."""
        if self.worklist is None or self.current is None:
            return None
        return self.worklist.entry(self.current)

    def open_data(self, who: str = "") -> None:
        """Review the data set that is open in the Data dock."""
        dataset = self._data.report.dataset if self._data.report is not None else self._data.dataset
        if dataset is None:
            self._fail(DatasetError("No data set is open.", "Open one in the Data dock, or choose a folder of scans here."))
            return
        self._open(lambda: Worklist(dataset, who))

    def open(self, source: Path, predictions: Path | None = None, who: str = "") -> None:
        """Review a data set or a plain folder of scans, and the masks in a folder of predictions."""

        def opened() -> Worklist:
            worklist = Worklist(open_dataset(source), who)
            if predictions is not None:
                worklist.use_predictions(predictions)
            return worklist

        self._open(opened)

    def use_predictions(self, folder: Path) -> None:
        """Start from the masks in a folder of predictions, where nobody has corrected anything."""
        worklist = self._required()
        self._leave(lambda: self._work("Looking for predictions", lambda _job: worklist.use_predictions(folder), self._reopened))

    def set_reviewer(self, who: str) -> None:
        """Say who reviews from now on."""
        if self.worklist is not None and who.strip() and who.strip() != self.worklist.who:
            worklist = self.worklist
            self._note_time()

            def renamed() -> None:
                worklist.store.who = who.strip()
                self._reopened()

            self._leave(renamed)

    @property
    def opening(self) -> str | None:
        """Id of the case that is being opened."""
        return self._target

    def set_order(self, order: Order, descending: bool | None = None) -> None:
        """Sort the rows."""
        self.order, self.descending = order, descending
        self._prepare_next()
        self.changed.emit()

    def set_states(self, states: Collection[State]) -> None:
        """Show only the cases in these states."""
        self.states = frozenset(states)
        self._prepare_next()
        self.changed.emit()

    # -- going through it ----------------------------------------------------------------------------------------------------------

    def show(self, case: str) -> None:
        """Open a case; an edited mask of the last one is written first."""
        if self.worklist is None or case == self._target or (case == self.current and not self.is_opening and self._stage.images):
            return
        self.comparison.end()
        self._target, self.is_opening = case, True
        self._leave(lambda: self._want(case))

    def go(self, step: int = 1) -> None:
        """Open the next case that is not approved, or with -1 the one before; at first, where the reviewer left the list last time."""
        found = self._beside(step)
        if found is not None:
            self.show(found.case.id)
        else:
            self.tell(_LAST if step > 0 else _FIRST)

    def say(self, state: State, goes_on: bool = False) -> None:
        """Put the case that is looked at into a state, with its mask as it is now; then open the next one if that is wanted."""
        if self.worklist is None or self.current is None or self.is_opening:
            return
        worklist, case = self.worklist, self.current
        following = self._beside(1) if goes_on else None  # by the order of now: a new state may move the row

        def said() -> None:
            worklist.set_state(case, state)
            self._write()
            if following is not None:
                self.show(following.case.id)
            elif goes_on:
                self.tell(_LAST)
            self.changed.emit()

        self._leave(said)

    def comment(self, text: str) -> None:
        """Say something about the case that is looked at."""
        entry = self.entry
        if self.worklist is not None and entry is not None and text != entry.comment:
            self._try(lambda: self._required().set_comment(entry.case.id, text))
            self._write()

    def tell(self, text: str) -> None:
        """Say what was done that cannot be seen otherwise."""
        self.error, self.done = None, text
        self.changed.emit()

    def take_mask(self, file: Path) -> None:
        """Use the mask in a file for the case that is looked at; the file is read where it lies and never changed."""
        entry = self._open_entry()
        worklist = self._required()

        def work(_job: Job) -> None:
            take_mask(worklist, entry, file)

        self._leave(lambda: self._work("Reading the mask", work, self._reopened))

    def predict(self) -> None:
        """Make a new prediction of the case that is looked at, with the model of the Predict dock, else the newest that was trained."""
        entry, worklist, load = self._open_entry(), self._required(), self._model_to_ask()
        if load is None:
            return

        def work(job: Job) -> None:
            found = predict_case(entry, load(), job.progress, job.is_cancelled)
            keep_prediction(worklist, entry.case.id, found)

        self._leave(lambda: self._work("Predicting", work, self._reopened))

    def predict_open(self) -> None:
        """Predict all cases that are to do, in the background, with the model that `predict` asks."""
        worklist, load = self._required(), self._model_to_ask()
        if load is not None:
            self.error = None
            self.open_cases.begin(worklist, load)

    def masks_to_compare(self) -> list[tuple[str, MaskInUse]]:
        """Return the masks that the one in use can be compared with, by name."""
        entry = self.entry
        return masks_to_compare(self.worklist, entry) if self.worklist is not None and entry is not None else []

    def compare(self, which: int = 0) -> None:
        """Begin a comparison with one of `masks_to_compare`, or end it."""
        if self.comparison.is_on:
            self.comparison.end()
            return
        masks, entry = self.masks_to_compare(), self.entry
        if entry is None or which >= len(masks):
            self._fail(
                DatasetError("There is nothing to compare the mask with.", "Choose a case with a reference or a prediction.")
            )
            return
        name, other = masks[which]
        self.comparison.begin(entry, self._required().dataset, other, name)

    def measure(self) -> None:
        """Measure in the background what is not measured, the case that is looked at first."""
        worklist, current = self.worklist, self.current or self._target
        if worklist is None:
            return
        missing = [entry for entry in worklist.entries if entry.mask is not None and entry.measures is None]
        if not missing:
            return
        missing.sort(key=lambda entry: entry.case.id != current)

        def measured(problems: list[Problem]) -> None:
            self._write()
            if problems:
                self.done = f"The masks of {len(problems)} cases could not be measured; open one to see why."

        self._work("Measuring", lambda job: measure_missing(worklist, missing, job.progress, job.is_cancelled), measured)

    # -- readers and tables --------------------------------------------------------------------------------------------------------

    def set_readers(self, readers: list[str]) -> None:
        """Let people read the cases apart, or with an empty list together again."""
        self._required().set_readers(readers)
        self._write()
        self.changed.emit()

    def compare_readers(self) -> None:
        """Find out how the readers agree."""
        worklist = self._required()

        def found(result: Agreement) -> None:
            self.agreement = result

        self._work("Comparing the readers", lambda job: agreement(worklist, progress=job.progress), found)

    def save_table(self, file: Path) -> None:
        """Write the list as a table."""
        worklist = self._required()

        def written(path: Path) -> None:
            self.done = f"The table is {path}."

        self._work("Writing", lambda _job: write_summary(worklist, file), written)

    def take_table(self, file: Path) -> None:
        """Take states and comments from a table."""
        worklist = self._required()

        def taken(count: int) -> None:
            self.done = f"{count} changes were taken from {file.name}."
            self._write()

        self._work("Reading", lambda _job: take_table(worklist, file), taken)

    def save(self, then: Callable[[], None] | None = None) -> None:
        """Write the mask that is looked at, if it was edited, as a new file beside the journals."""
        self._leave(then or _nothing)

    def keep_at_once(self) -> None:
        """Write the mask that is looked at, if it was edited, and what was said, before this returns: the window is about to close."""
        if self.worklist is not None and self.current is not None:
            self._note_time()
            try:
                self._stage.keep_at_once(self.worklist, self.current)
                self.worklist.write()
            except Seg3dError:
                return  # edits are written down as well, and are offered the next time

    def case_of(self, *layers: Layer | None) -> str | None:
        """Return the id of the case that a mask or scan belongs to, whoever opened it; None where it is none of the worklist."""
        if self.worklist is None:
            return None
        if any(layer in self._stage.masks for layer in layers):
            return self.current
        natives = [native_of(layer) for layer in layers if layer is not None]
        return self.worklist.case_with(
            *(native.source.path for native in natives if native is not None and native.source is not None)
        )

    def keep(self, case: str, layer: Labels, then: Callable[[], None], failed: Callable[[Seg3dError], None]) -> None:
        """Write a layer as the corrected mask of a case, whoever opened it, if it was edited; `failed` is told why that cannot be."""
        if layer in self._stage.masks:
            self._leave(then)
            return

        def kept() -> None:
            self.masks_changed()
            then()

        self._stage.keep(self._required(), case, [layer], kept, failed)

    def corrections_of(self, case: str) -> list[Version]:
        """Return the corrected masks of a case, the oldest first."""
        return corrections_of(self._required(), case)

    def masks_changed(self) -> None:
        """Write down that cases have other masks, and show the case that is looked at anew if its own is one of them."""
        if self.worklist is not None:
            self._reopened()

    def close(self) -> None:
        """Write down what was said; the window goes."""
        self._note_time()
        self._clock.stop()
        self._ahead.forget()
        self.cancel()
        self.open_cases.cancel()
        self._journal.stop()

    # -- how it is done ------------------------------------------------------------------------------------------------------------

    def _read(self, entry: Entry) -> CasePictures:
        return read_pictures(entry, self._required().dataset)

    def _model_to_ask(self) -> Callable[[], Predictor | Ensemble] | None:
        """Return what loads the model that was asked last, else the newest one; None where there is none, which is said."""
        last = self._prediction.last
        models = last[0] if last is not None else tuple(run.best for run in find_runs() if run.best.exists())[:1]
        if not models:
            self._fail(ModelError("There is no model.", "Train one, or choose one in the Predict dock."))
            return None
        return partial(self._prediction.predictor, models, last[1] if last is not None else "auto")

    def _predicted(self, case: str) -> None:
        """One of the open cases has its prediction."""
        if case == self.current:
            self._reopened()
        else:
            self._write()
        self._prepare_next()

    def _required(self) -> Worklist:
        if self.worklist is None:
            raise DatasetError("No worklist is open.", "Open one first.")
        return self.worklist

    def _open_entry(self) -> Entry:
        entry = self.entry
        if entry is None:
            raise DatasetError("No case is open.", "Open one first.")
        return entry

    def _open(self, make: Callable[[], Worklist]) -> None:
        def work(_job: Job) -> Worklist:
            worklist = make()
            worklist.entries  # noqa: B018  folding thousands of events is not for the window's thread
            return worklist

        self._leave(lambda: self._work("Opening", work, self._opened))

    def _opened(self, worklist: Worklist) -> None:
        self._note_time()
        self.open_cases.cancel()
        self._journal.stop()
        self._ahead.forget()
        self._clock.stop()
        self.worklist, self.current, self.agreement = worklist, None, None
        self._target = self._shown = None
        self._stage.let_go()
        self._journal.follow(worklist)
        self.measure()

    def _reopened(self, _result: object = None) -> None:
        """Show the case that is looked at anew, if its mask is another; who has painted meanwhile keeps what was painted."""
        self._write()
        self._leave(self._show_again)

    def _show_again(self) -> None:
        entry = self.entry
        if entry is not None and not self.is_opening and entry.mask != self._shown:
            self._want(entry.case.id)
        self.measure()
        self.changed.emit()

    def _beside(self, step: int) -> Entry | None:
        skip = _LEFT_BEHIND if step > 0 and self.states != frozenset(_LEFT_BEHIND) else ()
        after = self._target or self.current
        if after is None and step > 0 and self.order == "case" and self.worklist is not None:
            # In an order by need, the neediest case comes first instead.
            left = self.worklist.left_at()
            if left is not None and not self.worklist.entry(left).is_done:
                return self.worklist.entry(left)
            return beside(self.rows, left, skip, step) or beside(self.rows, None, skip, step)
        return beside(self.rows, after, skip, step)

    def _want(self, case: str) -> None:
        worklist = self._required()
        self._note_time()
        self._target, self.is_opening = case, True
        self.error, self.done = None, ""
        self.changed.emit()
        entry = worklist.entry(case)
        self._ahead.want(entry, lambda pictures: self._show(entry, pictures), lambda error: self._not_shown(case, error))

    def _show(self, entry: Entry, pictures: CasePictures) -> None:
        self.comparison.end()
        kept = self._stage.show(pictures)
        self.current, self._target, self.is_opening = entry.case.id, None, False
        self.error, self._shown = pictures.error, entry.mask
        self._clock.start()
        self.caseShown.emit(pictures.error, kept)
        self.changed.emit()
        if self._required().entry(entry.case.id).mask != entry.mask:
            self._reopened()  # it was predicted while it was read
        self._prepare_next()

    def _not_shown(self, case: str, error: Seg3dError) -> None:
        self._stage.clear()
        self.current, self._target, self.is_opening, self.error = case, None, False, error
        self._clock.start()
        self.changed.emit()
        self._prepare_next()

    def _prepare_next(self) -> None:
        if self.current is not None and not self.is_opening:
            self._ahead.prepare(self._beside(1))

    def _leave(self, then: Callable[[], None]) -> None:
        """Write the mask that is looked at where it was edited, then go on; where it cannot be written, stay."""
        if self.worklist is None or self.current is None:
            then()
            return

        def kept() -> None:
            self.is_opening, self.error = False, None
            entry = self.entry
            self._shown = entry.mask if entry is not None else None  # the layers hold what was just written
            self._write()
            then()

        def failed(error: Seg3dError) -> None:
            self._target, self.is_opening = None, False
            self._fail(error)

        if not self._stage.is_edited and not self._stage.is_saving:
            then()
            return
        self.is_opening = True
        self._stage.save(self.worklist, self.current, kept, failed)
        self.changed.emit()

    def _note_time(self) -> None:
        seconds = self._clock.take()
        if self.worklist is not None and self.current is not None and seconds >= 1:
            self.worklist.add_seconds(self.current, seconds)

    def _write(self) -> None:
        self._journal.write()
        self.changed.emit()

    def _try(self, action: Callable[[], None]) -> None:
        self.error = None
        try:
            action()
        except Seg3dError as error:
            self.error = error


def _nothing() -> None:
    """Do nothing more."""
