"""`FolderPrediction`: the masks of a folder of scans, made in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from qtpy.QtCore import QObject, Signal

from napari_seg3d.datasets import cases_in
from napari_seg3d.errors import Seg3dError
from napari_seg3d.inference import PredictOptions, model_files
from napari_seg3d.inference.batch import Predicts, batch_model, predict_cases
from napari_seg3d.inference.batch_folder import BatchFolder, BatchOutput, CaseResult
from napari_seg3d.viewer.jobs import Job, start_job


class FolderPrediction(QObject):
    """What becomes of the scans of a folder; the same again goes on where it stopped."""

    #: It began or ended.
    changed = Signal()
    #: Scans done, and all of them.
    progressed = Signal(int, int)
    #: A `CaseResult`.
    caseDone = Signal(object)

    _found = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.job: Job | None = None
        self.error: Seg3dError | None = None
        #: Of the scans that are done.
        self.results: list[CaseResult] = []
        #: Value -> name of the labels, once the model is loaded.
        self.labels: dict[int, str] = {}
        self.was_cancelled = False
        self._found.connect(self._note)

    def begin(
        self, load: Callable[[], Predicts], models: Sequence[Path], scans: Path, output: BatchOutput, options: PredictOptions
    ) -> None:
        """Predict every scan of a folder.

        Parameters
        ----------
        load : callable
            Returns the model; called in a thread.
        models : sequence of Path
            The files or folders that it comes from.
        scans : Path
            A folder of scans or series, or a data set.
        output : BatchOutput
            Where the masks go, and how.
        options : PredictOptions
            How.
        """
        self.error, self.results, self.was_cancelled = None, [], False

        def work(job: Job) -> None:
            predictor = load()
            self.labels = dict(predictor.stored_labels)
            cases = cases_in([scans])
            folder = BatchFolder(output, batch_model(predictor, model_files(models, options.postprocess)), options, cases)
            with closing(predict_cases(predictor, folder, options, cancelled=job.is_cancelled)) as results:  # type: ignore[type-var]
                for done, result in enumerate(results, start=1):
                    self._found.emit(result)
                    job.progress(done, len(cases))

        self.job = start_job(
            work,
            progressed=self.progressed.emit,
            failed=self._failed,
            cancelled=self._cancelled,
            ended=self._ended,
        )
        self.changed.emit()

    def cancel(self) -> None:
        """Stop after the window that is computed; masks that are written stay."""
        if self.job is not None:
            self.job.cancel()

    def _note(self, result: CaseResult) -> None:
        """Keep a result; a slot of this object, so that it runs in the window's thread."""
        self.results.append(result)
        self.caseDone.emit(result)

    def _failed(self, error: Seg3dError) -> None:
        self.error = error

    def _cancelled(self) -> None:
        self.was_cancelled = True

    def _ended(self) -> None:
        self.job = None
        self.changed.emit()
