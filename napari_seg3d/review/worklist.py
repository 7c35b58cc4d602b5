"""`Worklist`: the cases of a data set in the order in which they should be looked at, with what became of each."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from napari_seg3d.datasets import Case, Dataset, open_dataset
from napari_seg3d.errors import ConfigError, DatasetError
from napari_seg3d.review.entry import Entry, MaskInUse, fold
from napari_seg3d.review.events import Json
from napari_seg3d.review.measures import Measures, oddness
from napari_seg3d.review.orders import Order, beside, ordered
from napari_seg3d.review.predictions import predictions_in
from napari_seg3d.review.states import State, state_of
from napari_seg3d.review.store import ReviewStore, review_folder

_LONGEST_COMMENT = 10_000
_LEFT_BEHIND: tuple[State, ...] = ("approved",)


class Worklist:
    """The review of a data set. Whatever is said is noted in its folder, never in the data set.

    Parameters
    ----------
    dataset : Dataset
        Whose cases.
    who : str, optional
        The reviewer; left out, what the operating system calls the user.
    folder : Path, optional
        Where the review is kept; left out, ``seg3d-review`` beside the data set.

    Raises
    ------
    DatasetError
        The folder may not be read.
    """

    def __init__(self, dataset: Dataset, who: str = "", folder: Path | None = None) -> None:
        self.dataset = dataset
        self.store = ReviewStore(folder or review_folder(dataset), who)
        self._cases = {case.id: case for case in dataset.cases}
        self._predictions: tuple[str, dict[str, Path]] = ("", {})
        # With what they were made from: a data set has thousands of cases, and one of them changes at a time.
        self._entries: dict[tuple[str, str], tuple[object, Entry]] = {}
        self._odd: tuple[Mapping[str, Mapping[int, float]], dict[str, float]] | None = None

    @classmethod
    def open(cls, source: Path, masks: Path | None = None, predictions: Path | None = None, who: str = "") -> Worklist:
        """Return the worklist of a data set, or of a plain folder of scans.

        Parameters
        ----------
        source : Path
            As for `open_dataset`.
        masks : Path, optional
            The masks of the data set, if they lie elsewhere.
        predictions : Path, optional
            A folder of predicted masks, which is kept in mind.
        who : str
            The reviewer.

        Raises
        ------
        DatasetError
            There are no scans, or no predictions that belong to them.
        """
        worklist = cls(open_dataset(source, masks), who)
        if predictions is not None:
            worklist.use_predictions(predictions)
        return worklist

    @property
    def who(self) -> str:
        """The reviewer."""
        return self.store.who

    @property
    def readers(self) -> tuple[str, ...]:
        """Who reads the cases apart from the others, without seeing what they say; empty while nobody does."""
        found = self._last("readers")
        return tuple(text for text in found if isinstance(text, str)) if isinstance(found, list) else ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All cases, in the order of the data set."""
        return self._seen_by(self.who)

    def seen_by_nobody(self) -> tuple[Entry, ...]:
        """Return all cases without what one of the readers must not know of the others."""
        return self._seen_by("")

    def _seen_by(self, who: str) -> tuple[Entry, ...]:
        events = self.store.by_case()
        readers, given = self.readers, self._given_predictions()
        found = []
        for case in self._cases.values():
            said = tuple(events.get(case.id, ()))
            made_from = (said, readers, given.get(case.id))
            known = self._entries.get((who, case.id))
            if known is None or known[0] != made_from:
                entry = fold(case, said, self.located, self.start_of(case.id), who, readers)
                known = self._entries[who, case.id] = (made_from, entry)
            found.append(known[1])
        measured = {entry.case.id: entry.measures.volumes for entry in found if entry.measures is not None}
        if self._odd is None or self._odd[0] != measured:
            self._odd = (measured, oddness(measured))
        odd = self._odd[1]
        return tuple(replace(entry, oddness=odd[entry.case.id]) if entry.case.id in odd else entry for entry in found)

    def entry(self, case: str) -> Entry:
        """Return one case; a DatasetError where there is none of this id."""
        self._require(case)
        return next(entry for entry in self.entries if entry.case.id == case)

    def start_of(self, case: str) -> MaskInUse | None:
        """Return the mask of a case before anybody said anything: the one in the folder of predictions, else that of the data set."""
        given = self._given_predictions().get(case)
        if given is not None:
            return MaskInUse(given, "prediction", self.written(given))
        return MaskInUse(None, "data set") if self._cases[case].mask is not None else None

    def left_at(self) -> str | None:
        """Return the case that the reviewer was at last; None where they have not begun."""
        for event in reversed(self.store.events):
            # Predictions and measures come by themselves, of whichever case.
            is_said = event.field in ("comment", "seconds", "correction") or (
                event.field == "state" and event.value != "predicted"
            )
            if is_said and event.who == self.who and event.case in self._cases:
                return event.case
        return None

    def case_with(self, *files: Path) -> str | None:
        """Return the id of the case that one of these scans or masks belongs to; None where none does."""
        wanted = {file.absolute() for file in files}
        for entry in self.entries:
            mask = entry.mask.file if entry.mask is not None else None
            if wanted & {path.absolute() for path in (*entry.case.images, entry.case.mask, mask) if path is not None}:
                return entry.case.id
        return None

    def strangers(self) -> list[str]:
        """Return ids of cases that the review knows and the data set does not hold; what was said of them is kept."""
        return sorted(set(self.store.by_case()) - {""} - set(self._cases))

    # -- what somebody says --------------------------------------------------------------------------------------------------------

    def set_state(self, case: str, state: State | str) -> None:
        """Say where a case is; ConfigError where `state` is none, DatasetError where there is no such case."""
        self.say(case, "state", state_of(state))

    def set_comment(self, case: str, comment: str) -> None:
        """Say something about a case, instead of the last comment."""
        if len(comment) > _LONGEST_COMMENT:
            raise ConfigError(f"The comment has {len(comment)} letters.", f"Say it in {_LONGEST_COMMENT}.")
        self.say(case, "comment", comment)

    def add_seconds(self, case: str, seconds: float) -> None:
        """Note for how long a case was open."""
        self.say(case, "seconds", round(seconds, 1))

    def use_correction(self, case: str, mask: Path) -> None:
        """Use a mask that a person corrected."""
        self.say(case, "correction", self.written(mask))

    def use_prediction(self, case: str, mask: Path) -> None:
        """Use a mask that a model made, also where there is a correction; that one stays where it is."""
        self.say(case, "prediction", self.written(mask))

    def use_predictions(self, folder: Path) -> None:
        """Use the masks of a folder of predictions where nobody has corrected anything.

        Raises
        ------
        DatasetError
            It holds no mask that belongs to a case.
        """
        found = predictions_in(folder.expanduser().absolute(), self.dataset.cases)
        written = self.written(folder)
        self._predictions = (written, found)
        if self._last("predictions") != written:
            self.store.say(("", "predictions", written))

    def set_measures(self, case: str, mask: MaskInUse, measures: Measures) -> None:
        """Note what was measured of a mask of a case."""
        self.say(case, "measured", {"file": mask.written, **measures.to_json()})

    def set_readers(self, readers: Iterable[str]) -> None:
        """Let these people read the cases apart: none sees the state, comment or mask of another one before all are done with a case."""
        self.store.say(("", "readers", [name.strip() for name in readers if name.strip()]))

    def say(self, case: str, name: str, value: Json) -> None:
        """Note something in memory; `write` writes it down."""
        self._require(case)
        self.store.say((case, name, value))

    def write(self) -> None:
        """Write down what was said; raises as `ReviewStore.write` does."""
        self.store.write()

    def refresh(self) -> bool:
        """Read what others said since; return whether there was something."""
        return self.store.refresh()

    # -- which one next ------------------------------------------------------------------------------------------------------------

    def next_case(
        self,
        order: Order = "case",
        after: str | None = None,
        skip: Collection[State] = _LEFT_BEHIND,
        descending: bool | None = None,
        step: int = 1,
    ) -> Entry | None:
        """Return the case that comes after another one; None at the end.

        Parameters
        ----------
        order, descending
            As for `ordered`.
        after : str, optional
            Id of that case; left out, the first one is meant.
        skip : collection of State
            Cases in these states are passed over.
        step : {1, -1}
            Forward, or back.
        """
        rows = ordered(self.entries, order, descending)
        return beside(rows, after, skip, step)

    def approved(self) -> tuple[Case, ...]:
        """Return the approved cases, each with the mask that was approved: what a training can learn from."""
        return tuple(
            entry.case
            if entry.mask.file is None
            else replace(entry.case, mask=entry.mask.file, parts=(), reason=f"approved by {entry.reviewer}", sureness=1.0)
            for entry in self.entries
            if entry.state == "approved" and entry.mask is not None and not entry.is_blinded
        )

    # -- paths ---------------------------------------------------------------------------------------------------------------------

    def written(self, path: Path) -> str:
        """Return a path as the journals have it: from their folder on, so that a data set can move; on another drive, as it is."""
        path, base = path.expanduser().absolute(), self.store.folder.absolute()
        try:
            return Path(os.path.relpath(path, base)).as_posix()
        except ValueError:  # another drive of Windows
            return path.as_posix()

    def located(self, written: str) -> Path:
        """Return where the file lies that a journal names."""
        return Path(os.path.normpath(self.store.folder.absolute() / written))

    def _given_predictions(self) -> Mapping[str, Path]:
        written = self._last("predictions")
        if not isinstance(written, str) or not written:
            return {}
        if self._predictions[0] != written:
            try:
                found = predictions_in(self.located(written), self.dataset.cases)
            except DatasetError:
                found = {}  # the folder is gone, or on a drive that is not connected: the cases are there all the same
            self._predictions = (written, found)
        return self._predictions[1]

    def _last(self, name: str) -> Json:
        return next((event.value for event in reversed(self.store.by_case().get("", ())) if event.field == name), None)

    def _require(self, case: str) -> None:
        if case not in self._cases:
            raise DatasetError(f"There is no case {case!r} in {self.dataset.name}.", "Check the id.")
