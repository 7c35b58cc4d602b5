"""`Epochs`: which epoch of a run is looked at, on which of its validation cases."""

from __future__ import annotations

from qtpy.QtCore import QObject, Signal

from napari_seg3d.datasets import open_dataset, read_case_image, read_case_mask
from napari_seg3d.errors import DatasetError, GeometryError, LabelError, Seg3dError
from napari_seg3d.training.runs.history import Kept, RunHistory, Validation
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.preview_model import PreviewModel, mask_picture
from napari_seg3d.viewer.stage import Picture, Stage

# Read before somebody asks for them: so many on each side of the one that is shown.
_AHEAD = 4


class Epochs(QObject):
    """The kept predictions of one run, one of which is shown.

    What is shown is known by the `PreviewModel` alone: whoever changes it, in whichever dock, is seen in all.

    Parameters
    ----------
    stage : Stage
        Where cases without a kept prediction appear.
    preview : PreviewModel
        Shows the kept ones.

    Attributes
    ----------
    history : RunHistory or None
        The run that is looked at.
    case : str
        The case that is looked at; empty when none was kept.
    """

    #: The run, the case or what is shown is another.
    changed = Signal()
    #: A case could not be shown, or only in part; with the error.
    failed = Signal(object)

    def __init__(self, stage: Stage, preview: PreviewModel) -> None:
        super().__init__()
        self.history: RunHistory | None = None
        self.case = ""
        self._stage, self._preview = stage, preview
        self._job: Job | None = None
        preview.changed.connect(self._follow)

    @property
    def kept(self) -> list[Kept]:
        """The kept predictions of the case, oldest first; of a cascade, those of the newest stage."""
        if self.history is None:
            return []
        found = self.history.kept_of(self.case)
        return [kept for kept in found if kept.stage == found[-1].stage]

    @property
    def shown(self) -> Kept | None:
        """The kept prediction that is in the viewer, or on its way there."""
        shown = self._preview.shown if self._preview.is_on else None
        if shown is None or self.history is None or shown[:2] != (self.history.run, self.case):
            return None
        return next((kept for kept in self.kept if kept.iteration == shown[2]), None)

    @property
    def validation(self) -> Validation | None:
        """What was judged when the shown prediction was made; the newest judgement while none is shown."""
        if self.history is None or not self.history.validations:
            return None
        shown = self.shown
        if shown is None:
            return self.history.validations[-1]
        same = (found for found in self.history.validations if (found.iteration, found.stage) == (shown.iteration, shown.stage))
        return next(same, None)

    def look_at(self, history: RunHistory | None) -> None:
        """Look at another run, or at the same one that tells more by now; the viewer stays as it is."""
        self.history = history
        cases = history.shown_cases if history is not None else []
        if self.case not in cases:
            self.case = cases[0] if cases else ""
        self.changed.emit()

    def choose_case(self, case: str) -> None:
        """Look at another case, at the same epoch as the one before."""
        before = self.shown
        self.case = case
        if before is not None:
            self.go_to_epoch(before.epoch)
        self.changed.emit()

    def go_to_epoch(self, epoch: float) -> None:
        """Show the kept prediction that is nearest to an epoch."""
        if self.kept:
            self._show(min(self.kept, key=lambda kept: abs(kept.epoch - epoch)))

    def go_to(self, index: int) -> None:
        """Show the kept prediction at a place in `kept`."""
        kept = self.kept
        if kept:
            self._show(kept[min(max(index, 0), len(kept) - 1)])

    def step(self, by: int) -> None:
        """Show the next kept prediction, or the one before; the newest at first."""
        shown = self.shown
        self.go_to(self.kept.index(shown) + by if shown is not None else len(self.kept) - 1)

    def show_case(self, case: str) -> None:
        """Show a case of the newest validation: with its prediction where that was kept, else its scan with the truth."""
        if self.history is None:
            return
        if case in self.history.shown_cases:
            validation = self.validation
            self.case = case
            if validation is not None:
                self.go_to_epoch(validation.epoch)
            return
        self._show_files(self.history, case)

    def _show(self, kept: Kept) -> None:
        assert self.history is not None
        if kept != self.shown:
            self._preview.show(self.history.run, kept.case, kept.iteration)
        kept_ones = self.kept
        at = kept_ones.index(kept)
        near = sorted(range(max(0, at - _AHEAD), min(len(kept_ones), at + _AHEAD + 1)), key=lambda index: abs(index - at))
        self._preview.read_ahead(self.history.run, kept.case, [kept_ones[index].iteration for index in near[1:]])

    def _follow(self) -> None:
        shown = self._preview.shown
        if shown is not None and self.history is not None and shown[0] == self.history.run:
            self.case = shown[1]
        self.changed.emit()

    def _show_files(self, history: RunHistory, case: str) -> None:
        if self._job is not None:
            self._job.cancel()

        def read(_job: Job) -> tuple[Picture, Picture | None, Seg3dError | None]:
            data = history.run.config().data
            dataset = open_dataset(data.images, data.masks, data.subjects)
            found = next((one for one in dataset.cases if one.id == case), None)
            if found is None:
                raise DatasetError(
                    f"{case} is no longer in {data.images}.", "The data set was changed after the run: look for the case by hand."
                )
            image = read_case_image(found)
            picture = Picture.of(image, case)
            try:
                mask = read_case_mask(found, image, dataset.merged, overlapping=True)
            except (DatasetError, GeometryError, LabelError) as error:
                return picture, None, type(error)(error.what, f"Only the image is shown. {error.fix}")
            name = f"{case} mask"
            return picture, mask_picture(mask, name, history.labels) if history.labels else Picture.of(mask, name), None

        self._job = start_job(read, returned=lambda found: self._put(*found), failed=self.failed.emit)

    def _put(self, image: Picture, mask: Picture | None, error: Seg3dError | None) -> None:
        self._stage.show_case(image, mask)
        if error is not None:
            self.failed.emit(error)
