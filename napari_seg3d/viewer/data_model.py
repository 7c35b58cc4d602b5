"""`DataModel`: the data set that is open in a viewer."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject, Signal

from napari_seg3d.datasets import Case, Dataset, Report, check_dataset, open_dataset, read_case_image, read_case_mask
from napari_seg3d.errors import GeometryError, LabelError, Seg3dError
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.stage import Picture, Stage


class DataModel(QObject):
    """The data set that is open, how far its check is, and the case that is shown."""

    #: The data set, its report, the job or the error is another.
    changed = Signal()
    progressed = Signal(int, int)
    #: A case was shown, or could not be; with the error, or with names of edited masks that stay.
    caseShown = Signal(object, object, list)

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self.folder: Path | None = None
        self.masks: Path | None = None
        self.dataset: Dataset | None = None
        self.report: Report | None = None
        self.error: Seg3dError | None = None
        self.job: Job | None = None
        self._case_job: Job | None = None

    def open(self, folder: Path, masks: Path | None = None) -> None:
        """Open a data set and check it in the background; what is open stays until the new one is found sound."""
        if self.job is not None:
            self.job.cancel()
        self.error = None
        self.job = job = start_job(
            lambda _job: open_dataset(folder, masks),
            returned=lambda dataset: self._opened(job, folder, masks, dataset),
            failed=lambda error: self._failed(job, error),
        )
        self.changed.emit()

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

    def _opened(self, job: Job, folder: Path, masks: Path | None, dataset: Dataset) -> None:
        if job is not self.job:
            return
        self.folder, self.masks, self.dataset, self.report = folder, masks, dataset, None
        self.job = check = start_job(
            lambda checking: check_dataset(dataset, checking.progress, checking.is_cancelled),
            progressed=self.progressed.emit,
            returned=lambda report: self._checked(check, report),
            failed=lambda error: self._failed(check, error),
            cancelled=lambda: self._failed(check, None),
        )
        self.changed.emit()

    def _checked(self, job: Job, report: Report) -> None:
        if job is self.job:
            self.job, self.report = None, report
            self.changed.emit()

    def _failed(self, job: Job, error: Seg3dError | None) -> None:
        if job is self.job:
            self.job, self.error = None, error
            self.changed.emit()
