"""The scans of a folder, spread over the workers of a Dask cluster: each loads the model once and writes the masks that it computes."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_seg3d.datasets import Case, read_case_image
from napari_seg3d.errors import Cancelled, ConfigError, ModelError, Seg3dError
from napari_seg3d.inference.batch import Predicts, batch_model, outcome, written
from napari_seg3d.inference.batch_folder import BatchFolder, BatchModel, BatchOutput, CaseResult, measured
from napari_seg3d.inference.options import PredictOptions
from napari_seg3d.inference.windows import CancelCheck

if TYPE_CHECKING:
    from distributed import Client

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_ANSWER = 15
_CORES_FOR_ONE = 4
# In a worker: one scan is computed, and one is read or written meanwhile.
_places = threading.Semaphore(2)
_network = threading.Lock()


class DaskBatch:
    """A cluster whose workers predict scans.

    A worker computes one scan at a time, with as many threads as Dask gave it, and reads or writes another meanwhile if it has more than
    one. Scans of a worker that dies go to the others. The folders of model, scans and masks must be seen by all workers under the same paths.

    Parameters
    ----------
    address : str
        That of a scheduler, such as ``tcp://10.0.0.1:8786``; or ``local`` for workers on this machine, ``local:3`` for three.
    load : callable
        Returns the model; it is called in the workers and must be picklable: a function of a module, or a `functools.partial` of one.
    files : sequence of Path
        What it loads the model from: a worker that finds others there refuses to work.

    Raises
    ------
    ConfigError
        Dask distributed is not installed, or the scheduler does not answer.
    ModelError, ReadError
        A worker cannot load the model.
    """

    def __init__(self, address: str, load: Callable[[], Predicts], files: Sequence[Path]) -> None:
        self._load, self._files = pickle.dumps(load), tuple(file.absolute() for file in files)
        with ExitStack() as opened:
            self._client: Client = _client(address, opened)
            #: What the workers loaded.
            self.model: BatchModel = self._client.submit(_model, self._load, self._files, pure=False).result()
            self._opened = opened.pop_all()

    def __enter__(self) -> DaskBatch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; local workers end."""
        self._opened.close()

    def predict_cases(
        self, folder: BatchFolder, options: PredictOptions, cancelled: CancelCheck | None = None
    ) -> Iterator[CaseResult]:
        """Yield what becomes of each scan, as `napari_seg3d.inference.batch.predict_cases` does, in the order in which they are done.

        Raises
        ------
        DiskFull
            There is no room for a mask; masks that are written stay.
        Cancelled
            `cancelled` returned True. What a worker has begun it ends.
        """
        from distributed import as_completed

        yield from folder.known
        output = replace(folder.output, folder=folder.output.folder.absolute())
        waiting = {}
        for case in folder.todo:
            absolute = replace(case, images=tuple(path.absolute() for path in case.images))
            place = _Place(folder.target_of(case).absolute(), {file.absolute(): _changed(file) for file in folder.files_of(case)})
            task = self._client.submit(
                _predict, self._load, self._files, self.model, absolute, place, output, options, pure=False
            )
            waiting[task] = case
        done = as_completed(list(waiting), loop=self._client.loop)
        try:
            while waiting:
                if cancelled is not None and cancelled():
                    raise Cancelled("The prediction was cancelled.")
                if not done.has_ready():
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
                    continue
                task = next(done)
                result = _result_of(task, waiting.pop(task))
                folder.note(result)
                yield result
        finally:
            self._client.cancel(list(waiting))


def _client(address: str, opened: ExitStack) -> Client:
    """Return a client of the cluster, which is closed with `opened`."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ConfigError(
            "Dask distributed is not installed, so scans cannot be spread over machines.", "pip install 'napari-seg3d[dask]'"
        ) from error
    kind, _, count = address.partition(":")
    if kind != "local":
        try:
            return opened.enter_context(Client(address, timeout=_SECONDS_TO_ANSWER, set_as_default=False))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"No Dask scheduler answers at {address}.", "Check the address that dask-scheduler printed, or use local."
            ) from error
    if count and not (count.isdecimal() and int(count) > 0):
        raise ConfigError(f"{address} names no number of workers.", "Write local, or for instance local:3.")
    import psutil

    cores = psutil.cpu_count() or 1
    workers = int(count) if count else max(1, cores // _CORES_FOR_ONE)
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=max(1, cores // workers),
        # What a network takes is planned by us; a worker that Dask pauses or ends for it would lose its scan.
        memory_limit=0,
        dashboard_address=":0",
    )
    opened.enter_context(cluster)
    return opened.enter_context(Client(cluster, set_as_default=False))


def _result_of(task: Any, case: Case) -> CaseResult:
    from distributed import KilledWorker

    try:
        result: CaseResult = task.result()
    except CancelledError as error:
        raise Seg3dError(
            "The Dask cluster is gone.", "Start it and give the same command: it goes on where it stopped."
        ) from error
    except KilledWorker:
        what = f"{case.id}: every worker that had this scan died."
        return CaseResult(case.id, error=Seg3dError(what, "Most often memory ran out: use fewer workers, or larger machines."))
    return result


@dataclass(frozen=True)
class _Place:
    """Where the masks of a case go, and when those that were there at the start were made."""

    target: Path
    files: dict[Path, int | None]

    @property
    def is_done(self) -> bool:
        """Whether all of them were made since."""
        return all(_changed(file) not in (None, before) for file, before in self.files.items())


def _changed(file: Path) -> int | None:
    return file.stat().st_mtime_ns if file.exists() else None


def _predict(
    load: bytes,
    files: tuple[Path, ...],
    model: BatchModel,
    case: Case,
    place: _Place,
    output: BatchOutput,
    options: PredictOptions,
) -> CaseResult:
    """Predict a scan in a worker."""

    def work() -> CaseResult:
        if place.is_done:  # by a worker that died before it could say so
            return replace(measured(case.id, tuple(place.files), model.labels, output.per_label), was_there=False)
        predictor, loaded = _warm(load, files)
        if loaded.identity != model.identity:
            raise ModelError("The model's file has changed since the start.", "Start again, into another folder.")
        scan = read_case_image(case, output.resample_irregular)
        with _network:
            _take_share()
            prediction = predictor.predict(scan, options)
        return written(case, prediction, place.target, output.per_label)

    with _places:
        return outcome(case.id, work)


def _model(load: bytes, files: tuple[Path, ...]) -> BatchModel:
    return _warm(load, files)[1]


def _warm(load: bytes, files: tuple[Path, ...]) -> tuple[Predicts, BatchModel]:
    with _network:
        _take_share()
        return _loaded(load, files)


@lru_cache(maxsize=1)
def _loaded(load: bytes, files: tuple[Path, ...]) -> tuple[Predicts, BatchModel]:
    predictor: Predicts = pickle.loads(load)()
    return predictor, batch_model(predictor, files)


def _take_share() -> None:
    """Compute with as many threads as Dask gave this worker: others may share the machine."""
    import torch
    from distributed import get_worker

    torch.set_num_threads(max(1, get_worker().state.nthreads))
