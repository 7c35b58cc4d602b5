"""Many scans -> masks in a folder: while the network sees one scan, the next is read and the last is written.

::

    model = batch_model(predictor, [path])
    for result in predict_cases(predictor, BatchFolder(output, model, options, cases), options):
        print(result.case, result.error or result.files)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from napari_seg3d.datasets import Case, read_case_image
from napari_seg3d.errors import Cancelled, ConfigError, DiskFull, ModelError, Seg3dError
from napari_seg3d.inference.batch_folder import BatchFolder, BatchModel, CaseResult, model_identity, volumes_in
from napari_seg3d.inference.beyond import StoredPrediction, predict_beyond_memory
from napari_seg3d.inference.model import ModelSpec
from napari_seg3d.inference.options import PredictOptions
from napari_seg3d.inference.prediction import Prediction
from napari_seg3d.inference.predictor import Predictor
from napari_seg3d.inference.windows import CancelCheck, Progress
from napari_seg3d.volumes import Volume, volume_name, write_label_files, write_volume

_AS_TRAINED = PredictOptions()
#: What may be written beside a mask: fields of `Prediction`.
MAPS = ("probabilities", "uncertainty")

#: Told the case that the network sees, and how many of its windows are done and how many it has.
CaseProgress = Callable[[str, int, int], None]


class Predicts(Protocol):
    """What a batch needs of a model: a `Predictor`, or something that predicts like one."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def spec(self) -> ModelSpec:
        """What it is."""

    @property
    def stored_labels(self) -> dict[int, str]:
        """Value -> name, as in predictions."""

    @property
    def predict(self) -> Callable[..., Prediction]:
        """Return the labels of a volume; takes the options, and `progress` and `cancelled` by name."""


def batch_model(predictor: Predicts, files: Iterable[Path]) -> BatchModel:
    """Return what a batch must know of a model that was loaded from these files or folders."""
    has_channels = predictor.spec.targets == "overlapping" and len(predictor.stored_labels) > 1
    return BatchModel(predictor.name, predictor.stored_labels, has_channels, model_identity(files))


def predict_cases(
    predictor: Predicts,
    folder: BatchFolder,
    options: PredictOptions = _AS_TRAINED,
    progress: CaseProgress | None = None,
    cancelled: CancelCheck | None = None,
) -> Iterator[CaseResult]:
    """Yield what becomes of each scan, as soon as its mask is written and its row is in the table.

    Reading, the network and writing have a thread each, and at most two scans are on their way, so that memory holds one scan ahead. Masks
    that are there already come first. Whoever stops listening ends the work, after the window that is computed.

    Parameters
    ----------
    predictor : Predicts
        The model.
    folder : BatchFolder
        Where the masks go, and which are to be made.
    options : PredictOptions, optional
        How.
    progress, cancelled : callable, optional
        Told after, and asked before, each window, in a thread of the batch.

    Yields
    ------
    CaseResult
        Of every case: an error of one is told in its result, and the rest goes on.

    Raises
    ------
    DiskFull
        There is no room for a mask; masks that are written stay.
    Cancelled
        `cancelled` returned True.
    """
    yield from folder.known
    stop = threading.Event()

    def is_cancelled() -> bool:
        return stop.is_set() or (cancelled is not None and cancelled())

    def read(case: Case) -> Volume | None:
        if is_cancelled():
            raise Cancelled("The prediction was cancelled.")
        if folder.stays_on_disk(case):
            return None
        return read_case_image(case, folder.output.resample_irregular)

    def compute(case: Case, scan: Future[Volume | None]) -> Prediction | StoredPrediction:
        told = None if progress is None else lambda done, total: progress(case.id, done, total)
        volume = scan.result()
        if volume is None:
            return _piece_by_piece(predictor, case, folder.target_of(case), options, told, is_cancelled)
        return predictor.predict(volume, options, progress=told, cancelled=is_cancelled)

    def write(case: Case, prediction: Future[Prediction | StoredPrediction]) -> CaseResult:
        result = outcome(case.id, lambda: written(case, prediction.result(), folder.target_of(case), folder.output.per_label))
        folder.note(result)
        return result

    with ExitStack() as threads:
        reader, network, writer = (_thread(threads, name) for name in ("read", "network", "write"))
        threads.callback(stop.set)  # before the threads are waited for
        on_their_way: deque[Future[CaseResult]] = deque()
        for case in folder.todo:
            scan = reader.submit(read, case)
            prediction = network.submit(compute, case, scan)
            on_their_way.append(writer.submit(write, case, prediction))
            del scan, prediction  # what is done with goes
            if len(on_their_way) == 2:
                yield on_their_way.popleft().result()
        while on_their_way:
            yield on_their_way.popleft().result()


def _piece_by_piece(
    predictor: Predicts,
    case: Case,
    target: Path,
    options: PredictOptions,
    progress: Progress | None,
    cancelled: CancelCheck | None,
) -> StoredPrediction:
    if not isinstance(predictor, Predictor):
        raise ModelError(
            f"{predictor.name} are several models, and a scan can be predicted piece by piece by one alone.", "Take one of them."
        )
    if len(case.images) > 1:
        raise ConfigError(
            f"The channels of {case.id} lie in {len(case.images)} files, and a scan is predicted piece by piece out of one.",
            "Put the channels into one OME-Zarr.",
        )
    # What stands there is replaced, as by `written`.
    return predict_beyond_memory(predictor, case.images[0], target, options, progress, cancelled, overwrite=True)


def written(case: Case, prediction: Prediction | StoredPrediction, target: Path, per_label: bool) -> CaseResult:
    """Write the masks of a case and return what became of it.

    What stands there is replaced: the `BatchFolder` looked before, and a computer that failed may have left half of the masks of each label.
    """
    if isinstance(prediction, StoredPrediction):
        return CaseResult(case.id, (prediction.path,), prediction.seconds, prediction.volumes, prediction.notes)
    labels = prediction.labels
    for name in MAPS:
        maps: Volume | None = getattr(prediction, name)
        if maps is not None:
            write_volume(maps, map_file(target, name), overwrite=True)
    # The masks come last: a case is done when they are there.
    write = write_label_files if per_label else _write_one
    return CaseResult(
        case.id,
        tuple(write(labels, target, overwrite=True)),
        prediction.seconds,
        volumes_in(labels, labels.labels),
        prediction.notes,
    )


def map_file(target: Path, name: str) -> Path:
    """Return where a map of a case goes whose mask is `target`: NIfTI beside it, a volume for each channel."""
    return target.with_name(f"{volume_name(target)}_{name}.nii.gz")


def outcome(case: str, work: Callable[[], CaseResult]) -> CaseResult:
    """Return what work on a case returns, or its error; what would stop every other case, too, is raised."""
    try:
        return work()
    except (Cancelled, DiskFull):
        raise
    except Seg3dError as error:
        return CaseResult(case, error=error)
    except Exception as error:  # noqa: BLE001  one scan that surprises us must not cost a night the others
        unexpected = Seg3dError(
            f"{case}: something unexpected went wrong ({type(error).__name__}: {error}).", "Please report it."
        )
        unexpected.__cause__ = error
        return CaseResult(case, error=unexpected)


def _write_one(labels: Volume, target: Path, *, overwrite: bool) -> list[Path]:
    return [write_volume(labels, target, overwrite=overwrite)]


def _thread(threads: ExitStack, name: str) -> ThreadPoolExecutor:
    executor = ThreadPoolExecutor(1, f"napari-seg3d {name}")
    threads.callback(executor.shutdown, wait=True, cancel_futures=True)
    return executor
