"""`PreviewModel`: a kept validation case of a run, with its prediction of any epoch and what is wrong in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_seg3d.datasets import place_mask
from napari_seg3d.errors import Seg3dError, TrainingError
from napari_seg3d.training import EventReader, Run
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.label_colours import label_colour
from napari_seg3d.viewer.run_watch import RunWatch
from napari_seg3d.viewer.stage import Picture, Preview, Stage
from napari_seg3d.volumes import Label, Volume, read_volume

#: Values of the layer of errors.
MISSED, TOO_MUCH = 1, 2
# Unlike each other for the colour-blind, and unlike the first labels.
_ERRORS = {MISSED: Label("missed", "#ff2d2d"), TOO_MUCH: Label("too much", "#00d5ff")}
# Predictions that were read stay in memory, so that scrubbing to and fro waits for nothing.
_MOST_BYTES = 1 << 29
_Wanted = tuple[Run, str, int]  # run, case, iteration


def errors_between(prediction: NDArray[np.generic], reference: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return where a prediction is wrong, voxel by voxel.

    Parameters
    ----------
    prediction, reference : array of shape (C, I, J, K)
        Label values; overlapping labels have a channel each.

    Returns
    -------
    array of shape (1, I, J, K)
        `MISSED` where a label of the reference was not predicted, also where another label was predicted instead; `TOO_MUCH` where
        only labels were predicted that are not there; else 0.
    """
    if len(prediction) == len(reference) == 1:
        differs = prediction != reference
        missed, surplus = differs & (reference != 0), differs & (reference == 0)
    else:
        missed = np.zeros((1, *reference.shape[1:]), bool)
        surplus = missed.copy()
        for value in {int(found) for data in (prediction, reference) for found in np.unique(data)} - {0}:
            predicted, there = ((data == value).any(axis=0) for data in (prediction, reference))
            missed[0] |= there & ~predicted
            surplus[0] |= predicted & ~there
    return np.where(missed, MISSED, np.where(surplus, TOO_MUCH, 0)).astype(np.uint8)


class PreviewModel(QObject):
    """Brings a validation case onto the stage: the newest prediction of the followed run, or the one that somebody asks for.

    Attributes
    ----------
    is_on : bool
        Whether a validation case is shown at all.
    is_following : bool
        Whether each newer prediction of the followed run takes the place of the one that is shown.
    cases : list of str
        The cases of the followed run whose predictions are kept.
    case : str
        Which of them is looked at; empty while there is none.
    """

    #: One of the attributes is another, or another prediction is shown.
    changed = Signal()
    #: A preview could not be read; with the error.
    failed = Signal(object)

    def __init__(self, stage: Stage, watch: RunWatch) -> None:
        super().__init__()
        self.is_on = self.is_following = True
        self.cases: list[str] = []
        self.case = ""
        self._newest: dict[str, int] = {}  # case -> iteration
        self._wanted: _Wanted | None = None
        self._is_due = False  # nobody has begun to read it
        self._ahead: list[_Wanted] = []
        self._job: Job | None = None
        self._record: _Record | None = None  # touched by the job alone, of which there is one at a time
        self._stage, self._watch = stage, watch
        watch.runChanged.connect(self._begin_anew)
        watch.eventsArrived.connect(self._take)

    @property
    def shown(self) -> _Wanted | None:
        """Run, case and iteration that are shown, or about to be."""
        return self._wanted

    def show(self, run: Run, case: str, iteration: int) -> None:
        """Show what a run predicted for a kept case at an iteration, and stay there until `follow` is called."""
        self.is_on, self.is_following = True, False
        self._want(run, case, iteration)
        self.changed.emit()

    def read_ahead(self, run: Run, case: str, iterations: Sequence[int]) -> None:
        """Read what may be asked for next, the likeliest first, whenever there is nothing else to read."""
        self._ahead = [(run, case, iteration) for iteration in iterations]
        if self._job is None:
            self._read_one_ahead()

    def follow(self) -> None:
        """Show the newest prediction of the followed run, and each newer one."""
        self.is_on = self.is_following = True
        self._show_newest()
        self.changed.emit()

    def choose(self, case: str) -> None:
        """Look at another kept case of the followed run, at its newest prediction."""
        self.case = case
        self.follow()

    def set_on(self, is_on: bool) -> None:
        """Choose whether a validation case is shown; turned on, it comes to the front."""
        self.is_on = is_on
        self._stage.remove_preview()
        if is_on and not self.is_following and self._wanted is not None:
            self._want(*self._wanted)
        elif is_on:
            self._show_newest()
        self.changed.emit()

    def _take(self, events: list[dict[str, Any]]) -> None:
        previews = [event for event in events if event["kind"] == "preview"]
        if not previews:
            return
        for event in previews:
            self._newest[event["case"]] = event["iteration"]
        known = list(self._newest)
        if known != self.cases:
            self.cases, self.case = known, self.case or known[0]
            self.changed.emit()
        if self.is_on and self.is_following:
            self._show_newest()

    def _show_newest(self) -> None:
        if self._watch.run is not None and self.case in self._newest:
            self._want(self._watch.run, self.case, self._newest[self.case])

    def _want(self, run: Run, case: str, iteration: int) -> None:
        self._wanted, self._is_due = (run, case, iteration), True
        if self._job is None:
            self._read_next()

    def _read_next(self) -> None:
        wanted = self._wanted
        assert wanted is not None
        self._is_due = False
        error: list[Seg3dError] = []

        def ended() -> None:
            self._job = None
            if self._wanted not in (None, wanted):
                self._read_next()  # somebody scrubs faster than files are read
            elif error and self._wanted is not None:
                self.failed.emit(error[0])
            if self._job is None:
                self._read_one_ahead()

        self._job = start_job(
            lambda _job: self._read(*wanted),
            returned=lambda preview: self._put(wanted, preview),
            failed=error.append,
            ended=ended,
        )

    def _read_one_ahead(self) -> None:
        if not self._ahead:
            return
        ahead = self._ahead.pop(0)

        def ended() -> None:
            self._job = None
            if self._is_due and self._wanted is not None:
                self._read_next()
            else:
                self._read_one_ahead()

        # What cannot be read is said when somebody asks for it.
        self._job = start_job(lambda _job: self._read(*ahead), ended=ended)

    def _read(self, run: Run, case: str, iteration: int) -> Preview:
        if self._record is None or self._record.run != run:
            self._record = _Record(run)
        return self._record.preview(case, iteration)

    def _put(self, wanted: _Wanted, preview: Preview) -> None:
        # While somebody scrubs, what was passed on the way is shown, too, but nothing of another run or case.
        if self.is_on and self._wanted is not None and self._wanted[:2] == wanted[:2]:
            self._stage.show_preview(preview)
            self.changed.emit()

    def _begin_anew(self) -> None:
        self.cases, self.case, self._newest = [], "", {}
        self.is_following, self._wanted = True, None
        self._stage.remove_preview()
        self.changed.emit()


@dataclass
class _Record:
    """The kept predictions of one run, and the scan of the case that was read last."""

    run: Run
    _events: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    _labels: dict[str, dict[int, str]] = field(default_factory=dict)  # by stage
    _case: _CaseFiles | None = None
    _read_before: dict[tuple[str, int], tuple[int, Preview]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reader = EventReader(self.run)

    def preview(self, case: str, iteration: int) -> Preview:
        """Return what there is to see of a case at an iteration; a TrainingError where no prediction was kept."""
        if (case, iteration) not in self._events:
            self._read_on()
        event = self._events.get((case, iteration))
        if event is None:
            raise TrainingError(
                f"{self.run.name} kept no prediction of {case} at step {iteration}.", "Choose another epoch, or another case."
            )
        if self._case is None or not self._case.belongs_to(event):
            self._case = _CaseFiles.read(self.run, event, self._labels_of(event))
        files = self._case
        path = self.run.folder / event["prediction"]
        written = path.stat().st_mtime_ns if path.exists() else 0  # a run that is resumed may predict it again
        known = self._read_before.pop((case, iteration), None)
        if known is None or known[0] != written:
            known = written, self._read(files, event)
        self._read_before[case, iteration] = known  # the newest last
        while len(self._read_before) > 1 and sum(_bytes(preview) for _, preview in self._read_before.values()) > _MOST_BYTES:
            del self._read_before[next(iter(self._read_before))]
        return known[1]

    def _read(self, files: _CaseFiles, event: dict[str, Any]) -> Preview:
        case = files.id
        prediction = place_mask(read_volume(self.run.folder / event["prediction"], "labels"), files.volume)
        errors = None
        if files.reference is not None:
            marks = errors_between(prediction.data, files.reference.data)
            if files.unknown is not None:
                marks[files.unknown] = 0
            errors = Picture.of(
                replace(files.reference, data=marks, labels={}), f"{case} errors: {_ERRORS[1].name}, {_ERRORS[2].name}", _ERRORS
            )
        return Preview(
            (self.run, case, event.get("stage", "")),
            files.image,
            files.mask,
            mask_picture(prediction, f"{case} epoch {event['epoch']:g}", self._labels_of(event)),
            errors,
        )

    def _labels_of(self, event: dict[str, Any]) -> dict[int, str]:
        return self._labels.get(event.get("stage", ""), {})

    def _read_on(self) -> None:
        for event in self._reader.read():
            if event["kind"] == "plan":
                self._labels[event.get("stage", "")] = {int(value): name for value, name in event["labels"].items()}
            elif event["kind"] == "preview":
                self._events[event["case"], event["iteration"]] = event


@dataclass(frozen=True)
class _CaseFiles:
    """What is the same for all predictions of a case."""

    id: str
    stage: str
    volume: Volume
    image: Picture
    reference: Volume | None
    unknown: NDArray[np.bool_] | None  # (1, I, J, K): where nobody knows what is right
    mask: Picture | None

    @classmethod
    def read(cls, run: Run, event: dict[str, Any], labels: Mapping[int, str]) -> _CaseFiles:
        case = event["case"]
        volume = read_volume(event["image"], "image")

        def marked(file: str | None) -> Volume | None:
            return place_mask(read_volume(run.folder / file, "labels"), volume) if file else None

        reference, unknown = marked(event["mask"]), marked(event.get("unknown"))
        return cls(
            case,
            event.get("stage", ""),
            volume,
            Picture.of(volume, case),
            reference,
            unknown.data != 0 if unknown is not None else None,
            mask_picture(reference, f"{case} mask", labels) if reference is not None else None,
        )

    def belongs_to(self, event: dict[str, Any]) -> bool:
        # The stages of a cascade learn other masks of the same scan.
        return (self.id, self.stage) == (event["case"], event.get("stage", ""))


def _bytes(preview: Preview) -> int:
    pictures = (picture for picture in (preview.prediction, preview.errors) if picture is not None)
    return sum(layer[0].nbytes for picture in pictures for layer in picture.layers)


def mask_picture(mask: Volume, name: str, labels: Mapping[int, str]) -> Picture:
    """Return the picture of a mask; overlapping labels have a layer each, with the name and colour of their value.

    They are kept with a channel for each value, of which those in between may be no labels, or for each label where the values are
    too large for that.
    """
    if len(mask.data) == 1:
        return Picture.of(mask, name, labels)
    values = sorted(labels)
    places = values if values[-1] <= len(mask.data) else range(1, len(values) + 1)
    known = {place: Label(labels[value], label_colour(value)) for place, value in zip(places, values, strict=True)}
    data = mask.data[[place - 1 for place in known]]
    return Picture.of(replace(mask, data=data, channels=tuple(label.name for label in known.values()), labels={}), name, known)
