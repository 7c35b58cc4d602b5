"""`DataModel`: the data set that is open in a viewer, and what a person changes in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from qtpy.QtCore import Signal

from napari_seg3d.datasets import (
    Case,
    Dataset,
    Finding,
    Place,
    Report,
    StoredSplit,
    Test,
    apply_remedies,
    assign,
    check_dataset,
    draw_test,
    freeze_test,
    make_split,
    open_dataset,
    presence_of,
    read_case_image,
    read_case_mask,
    save_dataset,
    save_page,
    unfreeze_test,
    with_pair,
    without_pair,
)
from napari_seg3d.datasets.layouts.manifest import FILE_NAME
from napari_seg3d.errors import DatasetError, GeometryError, LabelError, Seg3dError
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.layer_dataset import LayerPair, dataset_from_layers
from napari_seg3d.viewer.one_job import OneJob
from napari_seg3d.viewer.stage import Picture, Stage

T = TypeVar("T")


class DataModel(OneJob):
    """The data set that is open, how far its check is, what was changed in it and not saved, and the case that is shown."""

    #: A case was shown, or could not be; with the error, or with names of edited masks that stay.
    caseShown = Signal(object, object, list)

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self.folder: Path | None = None
        self.masks: Path | None = None
        self.dataset: Dataset | None = None
        self.report: Report | None = None
        #: Whether there are changes that no file holds.
        self.is_changed = False
        self._case_job: Job | None = None

    @property
    def cases(self) -> tuple[Case, ...]:
        """All cases, with their subjects as far as they are known."""
        return self.dataset.cases if self.dataset is not None else ()

    @property
    def split(self) -> StoredSplit | None:
        """Who trains, validates and tests, where the data set says so."""
        return self.dataset.split if self.dataset is not None else None

    # -- opening, checking, saving -------------------------------------------------------------------------------------------------

    def open(self, folder: Path, masks: Path | None = None) -> None:
        """Open a data set and check it in the background; what is open stays until the new one is found sound."""
        self._work("Opening", lambda _job: open_dataset(folder, masks), lambda found: self._opened(folder, masks, found))

    def check(self) -> None:
        """Check the data set as it is now, in the background."""
        dataset = self._open_dataset()
        self.report = None
        self._work("Checking", lambda job: check_dataset(dataset, job.progress, job.is_cancelled), self._checked)

    def save(self, file: Path | None = None) -> None:
        """Write the data set as ``dataset.yaml``: to `file`, or where it came from or belongs."""
        dataset = self._open_dataset()
        target = file or dataset.file or dataset.root / FILE_NAME
        self._write(lambda: save_dataset(dataset, target), lambda: self._saved(dataset, target), f"Saved to {target}.")

    def save_report(self, file: Path) -> None:
        """Write what the check found as a page."""
        report = self._checked_report()
        self._write(lambda: save_page(report, file), lambda: None, f"The report is {file}.")

    def open_layers(self, pairs: Sequence[LayerPair], folder: Path) -> None:
        """Save layers as a new data set and open it."""
        self._work(
            "Saving the layers",
            lambda job: dataset_from_layers(pairs, folder, job.progress, job.is_cancelled),
            lambda dataset: self._opened(folder, None, dataset),
        )

    # -- what a person changes -----------------------------------------------------------------------------------------------------

    def set_place(self, ids: Iterable[str], place: Place | Test) -> None:
        """Put cases into a set by hand; a subject is never broken apart."""
        self._edit(lambda dataset: replace(dataset, split=assign(dataset.split, dataset.cases, ids, place)))

    def make_split(self, wish: StoredSplit) -> None:
        """Draw who trains and who validates, by the method and numbers of `wish`; the test set stays."""
        self._edit(lambda dataset: replace(dataset, split=self._split_as(wish, dataset.split)))

    def draw_test(self, share: float, wish: StoredSplit) -> None:
        """Draw a test set, and split the other cases as `make_split` does."""

        def drawn(dataset: Dataset) -> Dataset:
            report = self._checked_report()
            test = draw_test(dataset.split, report.sound, share, wish.seed, presence_of(report.facts))
            return replace(dataset, split=self._split_as(wish, test))

        self._edit(drawn)

    def freeze_test(self) -> None:
        """Freeze the test set, in the background: its scans are read."""
        dataset = self._open_dataset()
        split = dataset.split or StoredSplit("lists")
        self._work(
            "Freezing the test set",
            lambda job: freeze_test(split, dataset.cases, job.progress, job.is_cancelled),
            lambda frozen: self._edit(lambda now: replace(now, split=frozen)),
        )

    def unfreeze_test(self) -> None:
        """Let the test set be changed again."""
        self._edit(lambda dataset: replace(dataset, split=unfreeze_test(dataset.split) if dataset.split else None))

    def pair(self, case: str, mask: Path) -> None:
        """Give a case a mask; what was found is then looked for again."""
        self._edit(lambda dataset: with_pair(dataset, case, mask), checks=True)

    def unpair(self, ids: Iterable[str]) -> None:
        """Take the masks of cases away; they are left over."""

        def without(dataset: Dataset) -> Dataset:
            for case in ids:
                dataset = without_pair(dataset, case)
            return dataset

        self._edit(without, checks=True)

    def exclude(self, ids: Iterable[str], why: str = "left out by hand") -> None:
        """Leave cases out of check and training."""
        self._edit(lambda dataset: replace(dataset, excluded={**dataset.excluded, **dict.fromkeys(ids, why)}))

    def include(self, ids: Iterable[str]) -> None:
        """Take cases back that were left out; they are checked with the others."""
        back = set(ids)
        self._edit(
            lambda dataset: replace(dataset, excluded={id: why for id, why in dataset.excluded.items() if id not in back}),
            checks=True,
        )

    def apply(self, findings: Sequence[Finding]) -> None:
        """Apply the remedies of findings, in the background, and check again; source files stay as they are."""
        dataset = self._open_dataset()
        folder = dataset.file.parent if dataset.file is not None else dataset.root
        self._work(
            "Mending",
            lambda job: apply_remedies(dataset, findings, folder, job.progress, job.is_cancelled),
            lambda mended: self._edit(lambda _now: mended, checks=True),
        )

    # -- looking -------------------------------------------------------------------------------------------------------------------

    def show_case(self, case: Case) -> None:
        """Read a case and show it instead of the last one."""
        if self._case_job is not None:
            self._case_job.cancel()

        labels = (self.report.dataset if self.report else self.dataset).labels if self.dataset else {}
        merged = self.dataset.merged if self.dataset else {}

        def read(_job: Job) -> tuple[Picture, Picture | None, Seg3dError | None]:
            image = read_case_image(case)
            picture = Picture.of(image, case.id)
            if case.mask is None:
                return picture, None, None
            try:
                mask = read_case_mask(case, image, merged)
            except (GeometryError, LabelError) as error:
                return picture, None, type(error)(error.what, f"Only the image is shown. {error.fix}")
            return picture, Picture.of(mask, f"{case.id} mask", labels), None

        self._case_job = start_job(
            read,
            returned=lambda found: self._show(case, *found),
            failed=lambda error: self.caseShown.emit(case, error, []),
        )

    def _show(self, case: Case, image: Picture, mask: Picture | None, error: Seg3dError | None) -> None:
        kept = self._stage.show_case(image, mask)
        self.caseShown.emit(case, error, kept)

    # -- how it is done ------------------------------------------------------------------------------------------------------------

    def _split_as(self, wish: StoredSplit, kept: StoredSplit | None) -> StoredSplit:
        report = self._checked_report()
        return make_split(
            report.sound,
            "fraction" if wish.method == "lists" else wish.method,
            validation=wish.validation,
            folds=wish.folds,
            stride=wish.stride,
            seed=wish.seed,
            presence=presence_of(report.facts),
            kept=kept,
        )

    def _open_dataset(self) -> Dataset:
        if self.dataset is None:
            raise DatasetError("No data set is open.", "Open one first.")
        return self.dataset

    def _checked_report(self) -> Report:
        if self.report is None:
            raise DatasetError("The data set is not checked yet.", "Wait until the check is done.")
        return self.report

    def _write(self, write: Callable[[], None], then: Callable[[], None], done: str) -> None:
        """Write a file in the background, beside what goes on there."""
        self.error, self.done = None, ""

        def ended(error: Seg3dError | None) -> None:
            self.error, self.done = error, "" if error else done
            if error is None:
                then()
            self.changed.emit()

        start_job(lambda _job: write(), returned=lambda _none: ended(None), failed=ended)

    def _edit(self, change: Callable[[Dataset], Dataset], checks: bool = False) -> None:
        """Change the data set; what cannot be done becomes the error."""
        self.error, self.done = None, ""
        try:
            dataset = change(self._open_dataset())
        except Seg3dError as error:
            self.error = error
            self.changed.emit()
            return
        self.is_changed = self.is_changed or dataset != self.dataset
        self.dataset = dataset
        if checks:
            self.check()
        elif self.report is not None:
            self.report = _as_decided(self.report, dataset)
        self.changed.emit()

    def _opened(self, folder: Path, masks: Path | None, dataset: Dataset) -> None:
        self.folder, self.masks, self.dataset, self.is_changed = folder, masks, dataset, False
        self.check()

    def _checked(self, report: Report) -> None:
        # The check has seen who is who; what was decided meanwhile stays.
        self.dataset = replace(self._open_dataset(), cases=report.dataset.cases)
        self.report = _as_decided(report, self.dataset)

    def _saved(self, saved: Dataset, file: Path) -> None:
        self.is_changed = self._open_dataset() is not saved
        self.dataset = replace(self._open_dataset(), file=file)
        # Whoever trains opens the data set from there.
        self.folder, self.masks = (self.folder if self.folder == file.parent else file), None


def _as_decided(report: Report, dataset: Dataset) -> Report:
    """Return a report with split and exclusions as the data set has them now."""
    return replace(
        report,
        dataset=replace(report.dataset, split=dataset.split, excluded=dataset.excluded),
        findings=tuple(finding for finding in report.findings if finding.case not in dataset.excluded),
    )
