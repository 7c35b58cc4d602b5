"""`ReviewModel`: the worklist that is open in a viewer, the case that is looked at, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, QTimer, Signal

from napari_seg3d.datasets import open_dataset, place_mask, read_case_image, read_mask
from napari_seg3d.errors import DatasetError, ModelError, Seg3dError, WriteError
from napari_seg3d.inference import PredictOptions
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
    explain_folder,
    keep_mask,
    measure_entry,
    measure_missing,
    ordered,
    take_table,
    write_summary,
)
from napari_seg3d.training import find_runs
from napari_seg3d.viewer.data_model import DataModel
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.prediction_model import PredictionModel
from napari_seg3d.viewer.review_case import CasePictures, ReadAhead, read_pictures
from napari_seg3d.viewer.review_clock import ReviewClock
from napari_seg3d.viewer.review_comparison import ReviewComparison
from napari_seg3d.viewer.saving import join_labels, layer_to_volume
from napari_seg3d.viewer.stage import Stage
from napari_seg3d.volumes import Volume, volume_name, write_volume

if TYPE_CHECKING:
    from napari import Viewer

L = TypeVar("L", bound=Layer)

_MILLISECONDS_BETWEEN_LOOKS = 5000
_LEFT_BEHIND: tuple[State, ...] = ("approved",)


class ReviewModel(QObject):
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

    #: Something of the above, the job or the error is another.
    changed = Signal()
    progressed = Signal(int, int)
    #: A case is on the stage; with what could not be shown, and names of masks that stay in the viewer.
    caseShown = Signal(object, list)

    def __init__(self, viewer: Viewer, stage: Stage, data: DataModel, prediction: PredictionModel) -> None:
        super().__init__()
        self._viewer, self._stage, self._data, self._prediction = viewer, stage, data, prediction
        self.comparison = ReviewComparison(viewer, stage)
        self.comparison.changed.connect(self.changed)
        self.worklist: Worklist | None = None
        self.current: str | None = None
        self.is_opening = False
        self.order: Order = "case"
        self.descending: bool | None = None
        self.states: frozenset[State] = frozenset(STATES)
        self.job: Job | None = None
        #: What the job does, as a person says it.
        self.doing = ""
        self.error: Seg3dError | None = None
        #: What was done that cannot be seen otherwise.
        self.done = ""
        #: How two readers agree, when somebody asked.
        self.agreement: Agreement | None = None
        self._ahead = ReadAhead(self._read)
        # What is on the stage may be somebody else's: only these layers are of the case that is looked at.
        self._images: list[Image] = []
        self._masks: list[Labels] = []
        self._target: str | None = None  # the case that is being opened
        self._after_saving: Callable[[], None] | None = None
        self._clock = ReviewClock()
        self._rows: tuple[object, list[Entry]] | None = None
        self._write_job: Job | None = None
        self._look_job: Job | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_MILLISECONDS_BETWEEN_LOOKS)
        self._timer.timeout.connect(self._look)

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
        if (
            self.worklist is None
            or case == self._target
            or (case == self.current and not self.is_opening and self._there(self._images))
        ):
            return
        self.comparison.end()
        self._target, self.is_opening = case, True
        self._leave(lambda: self._want(case))

    def go(self, step: int = 1) -> None:
        """Open the next case that is not approved, or with -1 the one before."""
        found = self._beside(step)
        if found is not None:
            self.show(found.case.id)
        else:
            self.error, self.done = (
                None,
                "That was the last case of the list." if step > 0 else "That was the first case of the list.",
            )
            self.changed.emit()

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
            self.changed.emit()

        self._leave(said)

    def comment(self, text: str) -> None:
        """Say something about the case that is looked at."""
        entry = self.entry
        if self.worklist is not None and entry is not None and text != entry.comment:
            self._try(lambda: self._required().set_comment(entry.case.id, text))
            self._write()

    def take_mask(self, file: Path) -> None:
        """Use the mask in a file for the case that is looked at; the file is read where it lies and never changed."""
        entry = self._open_entry()
        worklist = self._required()

        def work(_job: Job) -> None:
            place_mask(read_mask(file, overlapping=True), read_case_image(entry.case))  # raises where it is none of this scan
            worklist.use_prediction(entry.case.id, file)

        self._leave(lambda: self._work("Reading the mask", work, self._reopened))

    def predict(self) -> None:
        """Make a new prediction of the case that is looked at, with the model of the Predict dock, else the newest that was trained."""
        entry, worklist = self._open_entry(), self._required()
        last = self._prediction.last
        models = last[0] if last is not None else tuple(run.best for run in find_runs() if run.best.exists())[:1]
        engine = last[1] if last is not None else "auto"
        if not models:
            self._fail(
                ModelError("There is no model.", "Train one, or choose one in the Predict dock and predict a scan with it.")
            )
            return

        def work(job: Job) -> None:
            predictor = self._prediction.predictor(models, engine)
            scan = read_case_image(entry.case)
            found = predictor.predict(scan, PredictOptions(uncertainty=True), job.progress, job.is_cancelled)
            file = keep_mask(worklist, entry.case.id, found.labels, "prediction")
            if found.uncertainty is not None:
                write_volume(found.uncertainty, file.with_name(f"{volume_name(file)}_uncertainty.nii.gz"))
            # Another prediction is another start: what was said of the last mask does not hold for it.
            worklist.set_state(entry.case.id, "predicted")

        self._leave(lambda: self._work("Predicting", work, self._reopened))

    def masks_to_compare(self) -> list[tuple[str, MaskInUse]]:
        """Return the masks that the one in use can be compared with, by name: the reference, what it began as, those of other reviewers."""
        entry = self.entry
        if self.worklist is None or entry is None or entry.mask is None:
            return []
        found: list[tuple[str, MaskInUse]] = []
        if entry.has_reference or (entry.case.mask is not None and entry.mask.origin == "data set"):
            found.append(("the reference", MaskInUse(None, "data set")))
        start = self.worklist.start_of(entry.case.id)
        if start is not None and start.origin == "prediction":
            found.append(("the prediction", start))
        for who, reading in entry.readings.items():
            if reading.mask is not None and who != self.worklist.who:
                found.append((f"the mask of {who}", reading.mask))
        return found

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
        """Measure in the background what is not measured."""
        worklist = self.worklist
        if worklist is None or not any(entry.mask is not None and entry.measures is None for entry in worklist.entries):
            return

        def work(job: Job) -> int:
            return len(measure_missing(worklist, None, job.progress, job.is_cancelled))

        def measured(problems: int) -> None:
            self._write()
            if problems:
                self.done = f"The masks of {problems} cases could not be measured; open one to see why."

        self._work("Measuring", work, measured)

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

    def cancel(self) -> None:
        """End what goes on."""
        if self.job is not None:
            self.job.cancel()

    def save(self, then: Callable[[], None] | None = None) -> None:
        """Write the mask that is looked at, if it was edited, as a new file beside the journals."""
        self._leave(then or _nothing)

    def close(self) -> None:
        """Write down what was said; the window goes."""
        self._note_time()
        self._clock.stop()
        self._timer.stop()
        self._ahead.forget()
        self.cancel()
        if self.worklist is not None and not self.worklist.store.is_written:
            try:
                self.worklist.write()
            except Seg3dError as error:
                self.error = error

    # -- how it is done ------------------------------------------------------------------------------------------------------------

    def _read(self, entry: Entry) -> CasePictures:
        return read_pictures(entry, self._required().dataset)

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
        self._ahead.forget()
        self._clock.stop()
        self.worklist, self.current, self.agreement = worklist, None, None
        self._images, self._masks, self._target = [], [], None
        self.comparison.set_case([], [])
        self._timer.start()
        self.measure()

    def _reopened(self, _result: object = None) -> None:
        """Show the case that is looked at anew: its mask is another."""
        case, self.current = self.current, None
        self._write()
        if case is not None:
            self._want(case)
        self._measure_current(case)
        self.changed.emit()

    def _beside(self, step: int) -> Entry | None:
        skip = _LEFT_BEHIND if step > 0 and self.states != frozenset(_LEFT_BEHIND) else ()
        return beside(self.rows, self._target or self.current, skip, step)

    def _want(self, case: str) -> None:
        worklist = self._required()
        self._note_time()
        self._target, self.is_opening = case, True
        self.error, self.done = None, ""
        self.changed.emit()
        entry = worklist.entry(case)
        self._ahead.want(entry, lambda pictures: self._show(case, pictures), lambda error: self._not_shown(case, error))

    def _show(self, case: str, pictures: CasePictures) -> None:
        self.comparison.end()
        kept = self._stage.show_case(pictures.image, pictures.mask)
        self._images, self._masks = self._stage.case_images, self._stage.case_masks
        self.comparison.set_case(self._images, self._masks)
        self.current, self._target, self.is_opening = case, None, False
        self.error = pictures.error
        self._clock.start()
        self.caseShown.emit(pictures.error, kept)
        self.changed.emit()
        self._prepare_next()

    def _not_shown(self, case: str, error: Seg3dError) -> None:
        self._stage.remove_all([layer for layer in (*self._images, *self._masks) if not self._is_edited(layer)])
        self._images, self._masks = [], []
        self.comparison.set_case([], [])
        self.current, self._target, self.is_opening, self.error = case, None, False, error
        self._clock.start()
        self.changed.emit()
        self._prepare_next()

    def _prepare_next(self) -> None:
        if self.current is not None and not self.is_opening:
            self._ahead.prepare(self._beside(1))

    def _leave(self, then: Callable[[], None]) -> None:
        """Write the mask that is looked at where it was edited, then go on; where it cannot be written, stay."""
        if self._after_saving is not None:
            self._after_saving = then
            return
        masks = self._there(self._masks)
        if self.worklist is None or self.current is None or not any(map(self._is_edited, masks)):
            then()
            return
        worklist, case = self.worklist, self.current
        try:
            mask = join_labels([layer_to_volume(layer, self._viewer.layers) for layer in masks])
        except Seg3dError as error:
            self._target, self.is_opening = None, False
            self._fail(error)
            return
        mask = mask.with_data(mask.data.copy())  # whoever goes on painting does not paint into the file
        checksums = [self._stage.checksum(layer) for layer in masks]

        def work(_job: Job) -> None:
            _keep(worklist, case, mask)

        def kept(_none: object) -> None:
            for layer, checksum in zip(masks, checksums, strict=True):
                self._stage.mark_saved(layer, checksum)
            self._stage.remove_all(
                [layer for layer in masks if layer not in self._stage.case_masks and not self._is_edited(layer)]
            )
            following, self._after_saving = self._after_saving or then, None
            self.is_opening, self.error = False, None
            self._write()
            following()

        def failed(error: Seg3dError) -> None:
            self._after_saving, self._target, self.is_opening = None, None, False
            self._fail(error)

        self._after_saving, self.is_opening = then, True
        start_job(work, returned=kept, failed=failed)
        self.changed.emit()

    def _there(self, layers: list[L]) -> list[L]:
        return [layer for layer in layers if layer in self._viewer.layers]

    def _is_edited(self, layer: Layer) -> bool:
        return isinstance(layer, Labels) and layer in self._viewer.layers and self._stage.is_edited(layer)

    def _measure_current(self, case: str | None) -> None:
        worklist = self.worklist
        if worklist is None or case is None:
            return
        entry = worklist.entry(case)
        if entry.mask is None or entry.measures is not None:
            return

        def work(_job: Job) -> None:
            measures = measure_entry(entry, worklist.dataset)
            if measures is not None and entry.mask is not None:
                worklist.set_measures(case, entry.mask, measures)

        start_job(work, returned=lambda _none: self._write())

    def _note_time(self) -> None:
        seconds = self._clock.take()
        if self.worklist is not None and self.current is not None and seconds >= 1:
            self.worklist.add_seconds(self.current, seconds)

    def _write(self) -> None:
        """Put what was said into the journal, in a thread; whoever says something meanwhile is written next."""
        worklist = self.worklist
        self.changed.emit()
        if worklist is None or worklist.store.is_written or (self._write_job is not None and self._write_job.is_running):
            return

        def work(_job: Job) -> WriteError | None:
            worklist.write()
            try:
                explain_folder(worklist)
                write_summary(worklist)
            except WriteError as error:  # a spreadsheet has the table open: it is only a copy
                return error
            return None

        def ended() -> None:
            self._write_job = None
            if not worklist.store.is_written and self.error is None:
                self._write()

        self._write_job = start_job(work, failed=self._fail, ended=ended)

    def _look(self) -> None:
        """See what others said since, and write down the time."""
        if self.worklist is None or (self._look_job is not None and self._look_job.is_running):
            return
        worklist = self.worklist
        if not worklist.store.is_written:
            self._write()

        def seen(is_new: bool) -> None:
            if is_new and worklist is self.worklist:
                self.changed.emit()

        self._look_job = start_job(lambda _job: worklist.refresh(), returned=seen, failed=self._fail)

    def _work(self, doing: str, work: Callable[[Job], Any], then: Callable[[Any], None]) -> None:
        """Do something in the background instead of what goes on there, and then something with what it returns."""
        self.cancel()
        self.error, self.done, self.doing = None, "", doing

        def ended(error: Seg3dError | None) -> None:
            if self.job is job:
                self.job, self.error = None, error
                self.changed.emit()

        def returned(result: Any) -> None:
            if self.job is job:
                self.job = None
                then(result)
                self.changed.emit()

        job = start_job(work, progressed=self.progressed.emit, returned=returned, failed=ended, cancelled=lambda: ended(None))
        self.job = job
        self.changed.emit()

    def _try(self, action: Callable[[], None]) -> None:
        self.error = None
        try:
            action()
        except Seg3dError as error:
            self.error = error

    def _fail(self, error: Seg3dError) -> None:
        self.error = error
        self.changed.emit()


def _nothing() -> None:
    """Do nothing more."""


def _keep(worklist: Worklist, case: str, mask: Volume) -> None:
    """Write a corrected mask, measure it, and note that somebody is at work on the case."""
    keep_mask(worklist, case, mask, "correction")
    worklist.set_state(case, "in work")
    entry = worklist.entry(case)
    measures = measure_entry(entry, worklist.dataset)
    if measures is not None and entry.mask is not None:
        worklist.set_measures(case, entry.mask, measures)
