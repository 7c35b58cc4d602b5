"""A test set that no training may touch: its cases are known by what their scans hold, not by what their files are called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.datasets.layouts.manifest import FILE_NAME, load_dataset
from napari_seg3d.datasets.reading import read_case_image
from napari_seg3d.datasets.splits.split import Split
from napari_seg3d.datasets.splits.stored import StoredSplit
from napari_seg3d.errors import Cancelled, DatasetError
from napari_seg3d.volumes import Volume

_AT_A_TIME = 4
_UP = 3  # folders above a scan in which a dataset.yaml is looked for
_FIX = "Leave it out of the training, or unfreeze the test set: the results so far then no longer say how good a model is."


def content_of(image: Volume) -> str:
    """Return what tells a scan apart by its voxels: its `mark_of`, and a SHA-256 of the values.

    A copy has the same under another name, compressed otherwise, in another format, number type or order of axes; a copy whose
    values were scaled or resampled has not. Voxel sizes and headers do not count.

    Parameters
    ----------
    image : Volume
        ``(C, I, J, K)``. It is gone through plane by plane, so that nothing is copied whole.
    """
    data = image.canonical().data
    digest = hashlib.sha256()
    low, high = np.inf, -np.inf
    for channel in data:
        for plane in range(channel.shape[2]):
            stored = channel[:, :, plane].T
            finite = stored[np.isfinite(stored)] if stored.dtype.kind == "f" else stored
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            with np.errstate(over="ignore", invalid="ignore"):
                values = np.ascontiguousarray(stored, dtype="<f4")
            values = np.where(np.isnan(values), np.float32(np.nan), values) + np.float32(0)  # one zero, and one NaN
            digest.update(values.tobytes())
    return f"{mark_of(data.shape, low, high)}-{digest.hexdigest()}"


def mark_of(shape: Sequence[int], minimum: float, maximum: float) -> str:
    """Return what is known of a scan's content after a check, so that few scans need to be read again.

    Parameters
    ----------
    shape : sequence of int
        ``(C, I, J, K)`` in canonical order.
    minimum, maximum : float
        Over its finite voxels.
    """
    with np.errstate(over="ignore"):
        low, high = (np.float32(value) + np.float32(0) for value in (minimum, maximum))
    return f"{'x'.join(map(str, shape))}_{low:.9g}_{high:.9g}"


def freeze_test(
    split: StoredSplit,
    cases: Sequence[Case],
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> StoredSplit:
    """Return the split with its test set frozen: from now on training refuses these scans under whatever name.

    Parameters
    ----------
    split : StoredSplit
        With a test set.
    cases : sequence of Case
        All cases of the data set. Cases of the same subjects as those of the test set join it.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each scan is read.

    Raises
    ------
    DatasetError
        There is no test set, or one of its cases is gone.
    ReadError
        One of its scans cannot be read.
    Cancelled
        `cancelled` returned True.
    """
    if split.is_frozen:
        return split
    if not split.test:
        raise DatasetError("There is no test set to freeze.", "Put some cases into the set test first.")
    missing = sorted(set(split.test) - {case.id for case in cases})
    if missing:
        raise DatasetError(f"{missing[0]} of the test set is not in the data set any more.", "Take it out of the test set.")
    subjects = {case.subject for case in cases if case.id in split.test}
    test = [case for case in cases if case.subject in subjects]
    content = contents(test, progress, cancelled)
    sets = {case: place for case, place in split.sets.items() if case not in content}
    return replace(split, sets=sets, test=tuple(content), test_content=content)


def unfreeze_test(split: StoredSplit) -> StoredSplit:
    """Return the split with a test set that may change again; until it does, nobody trains on it."""
    return replace(split, test=tuple(split.held_back), test_content={})


def refuse_test_cases(
    split: StoredSplit,
    sides: Split,
    cases: Sequence[Case],
    marks: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Refuse a training that would see the test set.

    Parameters
    ----------
    split : StoredSplit
        Whose test set it is.
    sides : Split
        Who would train and validate.
    cases : sequence of Case
        All cases of the data set.
    marks : mapping of str to str, optional
        Case id -> :func:`mark_of` its scan, where it is known: only scans with the mark of one of the test set are read.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each scan is read.

    Raises
    ------
    DatasetError
        A case of the test set would train or validate: by its id, its subject, or what its scan holds.
    """
    subjects = {case.subject: case.id for case in cases if case.id in split.held_back}
    used = [case for case in cases if case.id in {*sides.train, *sides.validation}]
    for case in used:
        side = "train" if case.id in sides.train else "validate"
        if case.id in split.held_back:
            raise DatasetError(f"{case.id} is in the test set of this data set, and would {side}.", _FIX)
        if case.subject in subjects:
            raise DatasetError(
                f"{case.id} would {side}, and shows the same subject as {subjects[case.subject]} of the test set.", _FIX
            )
    refuse_same_scans(split.test_content, used, "this data set", marks, progress, cancelled)


def refuse_same_scans(
    frozen: Mapping[str, str],
    used: Sequence[Case],
    whose: str,
    marks: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Refuse a training on `used` when one of these shows a scan of a frozen test set under whatever name.

    Parameters
    ----------
    frozen : mapping of str to str
        Id in the test set -> :func:`content_of` its scan.
    used : sequence of Case
        Who would train and validate.
    whose : str
        What the test set belongs to, for the error.
    marks, progress, cancelled
        As for :func:`refuse_test_cases`.

    Raises
    ------
    DatasetError
        One of them does.
    """
    owner = {content: case for case, content in frozen.items()}
    frozen_marks = {content.rpartition("-")[0] for content in owner}
    path_of = {case.id: case.images[0] for case in used}
    suspects = [case for case in used if marks is None or marks.get(case.id) in (None, *frozen_marks)]
    for case, content in contents(suspects, progress, cancelled).items():
        if content in owner:
            raise DatasetError(
                f"{case} ({path_of[case]}) is the same scan as {owner[content]} in the frozen test set of {whose}.", _FIX
            )


def frozen_beside(cases: Sequence[Case], but: Path | None = None) -> list[tuple[Path, StoredSplit]]:
    """Return the ``dataset.yaml`` files around the scans that hold a frozen test set, except one."""
    folders = {folder for case in cases for folder in list(case.images[0].absolute().parents)[:_UP]}
    found = []
    for file in sorted(folder / FILE_NAME for folder in folders):
        if file == but or not file.is_file():
            continue
        try:
            split = load_dataset(file).split
        except DatasetError:
            continue  # other programs, too, call a file so
        if split is not None and split.is_frozen:
            found.append((file, split))
    return found


def contents(
    cases: Sequence[Case],
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, str]:
    """Return case id -> :func:`content_of` its scan, in the order of `cases`."""

    def one(case: Case) -> str:
        if cancelled is not None and cancelled():
            raise Cancelled("Reading the scans was stopped.")
        return content_of(read_case_image(case, resample_irregular=True))

    found: dict[str, str] = {}
    with ThreadPoolExecutor(min(_AT_A_TIME, os.cpu_count() or 1), thread_name_prefix="content") as pool:
        waiting = {pool.submit(one, case): case.id for case in cases}
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                found[waiting[future]] = future.result()
                if progress is not None:
                    progress(done, len(waiting))
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
    return {case.id: found[case.id] for case in cases}
