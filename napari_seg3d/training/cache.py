"""Preprocessed cases on disk, so that no epoch reads, decompresses or resamples a scan again.

A case lies in a folder named after what it was made from: files (path, size, time of change; all files of a series), pipeline and
labels. Change any of them and it is made anew; leave them, and the next run finds it. Folders that no run has used for a month are
removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets import Case, files_of, read_case_image, read_case_mask
from napari_seg3d.errors import Cancelled, DatasetError, WriteError
from napari_seg3d.files import user_folder, write_error
from napari_seg3d.transforms import Pipeline, label_steps, preprocess, run
from napari_seg3d.volumes import Grid, Volume, smallest_integer

_VERSION = 2
_KEEP_SECONDS = 30 * 24 * 3600
_LOCATIONS = 20_000
_HEADERS = (".mhd", ".hdr", ".nhdr")  # of formats that keep the voxels in a second file


@dataclass(frozen=True)
class CachedCase:
    """One preprocessed case.

    Arrays are memory-mapped: opening one reads nothing, cutting a patch reads the patch.

    Parameters
    ----------
    id : str
        Of the case.
    folder : Path
        Where the arrays lie.
    grid, native : Grid
        The preprocessed grid, and the file's own.
    lowest : float
        Lowest value of the preprocessed scan, with which it is padded.
    """

    id: str
    folder: Path
    grid: Grid
    native: Grid
    lowest: float

    @property
    def image(self) -> NDArray[np.float32]:
        """The preprocessed scan ``(C, I, J, K)``."""
        return np.load(self.folder / "image.npy", mmap_mode="r")  # type: ignore[no-any-return]

    @property
    def target(self) -> NDArray[np.integer]:
        """The class of every voxel of the preprocessed grid ``(I, J, K)``."""
        return np.load(self.folder / "target.npy", mmap_mode="r")  # type: ignore[no-any-return]

    @property
    def reference(self) -> NDArray[np.integer]:
        """The class of every voxel of the native grid, in the file's order: what validation compares with."""
        return np.load(self.folder / "reference.npy", mmap_mode="r")  # type: ignore[no-any-return]

    @property
    def locations(self) -> dict[int, NDArray[np.integer]]:
        """Some voxel indices ``(n, 3)`` of each class that occurs, on the preprocessed grid."""
        with np.load(self.folder / "locations.npz") as stored:
            return {int(name): stored[name] for name in stored.files}


def prepare(
    cases: Sequence[Case],
    pipeline: Pipeline,
    labels: Mapping[int, str],
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    merged: Mapping[int, int] | None = None,
    forbidden: Collection[str] = (),
) -> list[CachedCase]:
    """Return every case preprocessed, making those that are not on disk yet.

    Parameters
    ----------
    cases : sequence of Case
        Sound cases with masks.
    pipeline : Pipeline
        The preprocessing.
    labels : mapping of int to str
        Mask values to learn; class 1 is the lowest. Other values become background.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each case.
    merged : mapping of int to int, optional
        What the values in the masks count as: that of the data set.
    forbidden : collection of str
        Ids that must not be among the cases: those of the test set.

    Raises
    ------
    DatasetError
        A case is forbidden.
    WriteError
        The disk is full.
    Cancelled
        `cancelled` returned True.
    """
    refused = sorted({case.id for case in cases} & set(forbidden))
    if refused:
        raise DatasetError(f"{refused[0]} is in the test set.", "Leave it out of the training.")
    root = user_folder("cache") / "cases"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_unused(root)
    values = sorted(labels)
    made: dict[str, CachedCase] = {}

    def one(case: Case) -> CachedCase:
        if cancelled is not None and cancelled():
            raise Cancelled("The preparation was cancelled.")
        return _prepare_one(case, pipeline, values, root, merged or {})

    # Threads, not processes: reading, resampling and writing happen outside the interpreter lock, and one case each bounds the memory.
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(one, case) for case in cases]
        try:
            for future in as_completed(futures):
                cached = future.result()
                made[cached.id] = cached
                if progress is not None:
                    progress(len(made), len(cases))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    return [made[case.id] for case in cases]


def _prepare_one(case: Case, pipeline: Pipeline, values: list[int], root: Path, merged: Mapping[int, int]) -> CachedCase:
    folder = root / _key(case, pipeline, values, merged)
    if not (folder / "case.json").exists():
        image = read_case_image(case)
        mask = read_case_mask(case, image, merged)
        processed, target, reference = _in_classes(pipeline, image, mask, values)
        arrays = {"image": processed.data, "target": target, "reference": reference}
        description = {"grid": _as_lists(processed.grid), "native": _as_lists(image.grid), "lowest": float(processed.data.min())}
        _store(folder, arrays, _locations(target), description)
    else:
        os.utime(folder)
    stored = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    return CachedCase(case.id, folder, _grid(stored["grid"]), _grid(stored["native"]), stored["lowest"])


def _in_classes(
    pipeline: Pipeline, image: Volume, mask: Volume, values: list[int]
) -> tuple[Volume, NDArray[np.integer], NDArray[np.integer]]:
    """Return the preprocessed scan, and the classes on its grid and on the native one."""
    relabelling = label_steps(pipeline)
    if relabelling.steps:
        # Such steps speak of the values in the mask; what validation compares with must have gone through them too.
        processed, target = preprocess(pipeline, image, mask)
        _, reference = run(relabelling, image, mask)
        assert target is not None
        assert reference is not None
        return processed, _to_classes(target.data, values)[0], _to_classes(reference.data, values)[0]
    reference = mask.with_data(_to_classes(mask.data, values))
    processed, target = preprocess(pipeline, image, reference)
    assert target is not None
    return processed, target.data[0], reference.data[0]


def _key(case: Case, pipeline: Pipeline, values: list[int], merged: Mapping[int, int]) -> str:
    paths = [path.absolute() for path in files_of(case)]
    files = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for path in paths for file in _files_of(path)]
    parts = [part.value for part in case.parts]
    text = json.dumps([_VERSION, files, pipeline.to_list(), values, parts, sorted(merged.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _files_of(path: Path) -> list[Path]:
    """Return every file that a scan may lie in: all in its folder, or those of its name beside a header (.mhd and .raw)."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.suffix.lower() in _HEADERS:
        return sorted(file for file in path.parent.iterdir() if file.stem == path.stem and file.is_file())
    return [path]


def _to_classes(data: NDArray[np.generic], values: list[int]) -> NDArray[np.integer]:
    classes = np.zeros(data.shape, dtype=smallest_integer(0, len(values)))
    for index, value in enumerate(values, start=1):
        classes[data == value] = index
    return classes


def _locations(target: NDArray[np.generic]) -> dict[str, NDArray[np.uint16]]:
    # Enough voxels to aim at; the same ones every time, so that a run can be repeated.
    random = np.random.default_rng(0)
    found = {}
    for index in np.unique(target):
        voxels = np.argwhere(target == index)
        if len(voxels) > _LOCATIONS:
            voxels = voxels[random.choice(len(voxels), _LOCATIONS, replace=False)]
        found[str(index)] = voxels.astype(np.uint16)
    return found


def _store(
    folder: Path, arrays: Mapping[str, NDArray[np.generic]], locations: Mapping[str, NDArray[np.uint16]], description: object
) -> None:
    needed = sum(array.nbytes for array in arrays.values())
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise WriteError(
            f"The disk is full: {folder.parent} has {free / 1e6:.0f} MB left, the next case needs {needed / 1e6:.0f} MB.",
            "Free some space, or set NAPARI_SEG3D_HOME to a folder on a larger disk.",
        )
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
        np.savez(temporary / "locations.npz", **locations)  # type: ignore[arg-type]  # the stubs take the names for options
        (temporary / "case.json").write_text(json.dumps(description), encoding="utf-8")
        try:
            temporary.rename(folder)
        except OSError:
            # Another run was faster with the same case.
            if not (folder / "case.json").exists():
                raise
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_unused(root: Path) -> None:
    for folder in root.iterdir():
        if time.time() - folder.stat().st_mtime > _KEEP_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _as_lists(grid: Grid) -> dict[str, object]:
    return {"shape": list(grid.shape), "affine": grid.affine.tolist()}


def _grid(stored: Mapping[str, object]) -> Grid:
    return Grid(tuple(stored["shape"]), np.array(stored["affine"]))  # type: ignore[arg-type]
