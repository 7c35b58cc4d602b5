"""Preprocessed cases on disk, so that no epoch reads, decompresses or resamples a scan again.

A case lies in a folder named after what it was made from: files (path, size, time of change; all files of a series), pipeline, labels
and what the mask means. Change any of them and it is made anew; leave them, and the next run finds it. Folders that no run has used for a
month are removed.
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
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets import Case, files_of, read_case_image, read_case_mask
from napari_seg3d.errors import Cancelled, DatasetError, DiskFull
from napari_seg3d.evaluation.counts import UNKNOWN
from napari_seg3d.files import user_folder, write_error
from napari_seg3d.networks.planes import Plane, as_slices, from_slices
from napari_seg3d.training.config import TargetsConfig
from napari_seg3d.training.samples.survey import LOCATIONS, survey
from napari_seg3d.training.samples.targets import make_target
from napari_seg3d.transforms import Pipeline
from napari_seg3d.volumes import Box, Grid, crop

T = TypeVar("T", bound=np.generic)

_VERSION = 4
_KEEP_SECONDS = 30 * 24 * 3600
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
    outside : int
        What the target is around the scan: 0, background, or 255, unknown.
    counts : mapping of int to int
        Voxels of each label that occurs on the preprocessed grid; 0 is the background as far as it is known.
    plane : {"axial", "coronal", "sagittal"}, optional
        The plane whose slices lie one after the other on the disk; left out, scans lie there as blocks.
    """

    id: str
    folder: Path
    grid: Grid
    native: Grid
    lowest: float
    outside: int
    counts: Mapping[int, int]
    plane: Plane | None = None

    @property
    def image(self) -> NDArray[np.float32]:
        """The preprocessed scan ``(C, I, J, K)``."""
        return _unstacked(self._array("image"), self.plane)

    @property
    def target(self) -> NDArray[np.uint8]:
        """What the network should answer ``(T, I, J, K)``, on the preprocessed grid."""
        return _unstacked(self._array("target"), self.plane)

    @property
    def reference(self) -> NDArray[np.uint8]:
        """The same on the native grid ``(T, I, J, K)``, in the file's order: what validation compares with."""
        return self._array("reference")

    @property
    def locations(self) -> Mapping[int, NDArray[np.integer]]:
        """Some voxel indices ``(n, 3)`` of each label that occurs, and of the known background (0), on the preprocessed grid."""
        voxels = self._array("locations")
        ends = np.cumsum([min(count, LOCATIONS) for count in self.counts.values()]).tolist()
        return {label: voxels[start:end] for label, start, end in zip(self.counts, [0, *ends[:-1]], ends, strict=True)}

    @property
    def slices(self) -> NDArray[np.bool_]:
        """Which slices across each axis hold which label, as in a `Survey`."""
        return self._array("slices")

    @property
    def pieces(self) -> NDArray[np.integer]:
        """The boxes of the connected pieces of labels, as in a `Survey`."""
        return self._array("pieces")

    def _array(self, name: str) -> NDArray[Any]:
        # Opened anew each time: a map that stays open keeps the pages that were read, until the memory is full of them.
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")  # type: ignore[no-any-return]


def prepare(
    cases: Sequence[Case],
    pipeline: Pipeline,
    labels: Mapping[int, str],
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    merged: Mapping[int, int] | None = None,
    forbidden: Collection[str] = (),
    targets: TargetsConfig | None = None,
    plane: Plane | None = None,
    boxes: Mapping[str, Box] | None = None,
) -> list[CachedCase]:
    """Return every case preprocessed, making those that are not on disk yet.

    Parameters
    ----------
    cases : sequence of Case
        Sound cases with masks.
    pipeline : Pipeline
        The preprocessing.
    labels : mapping of int to str
        Mask values to learn, after the preprocessing; class 1 is the lowest. Other values become background.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each case.
    merged : mapping of int to int, optional
        What the values in the masks count as: that of the data set.
    forbidden : collection of str
        Ids that must not be among the cases: those of the test set.
    targets : TargetsConfig, optional
        What the masks mean, with its `kind` decided (see `targets.settled`); left out, complete and exclusive.
    plane : {"axial", "coronal", "sagittal"}, optional
        For samples that are slices: the plane whose slices lie together on the disk. Of a scan that lies there as a block, one slice
        costs reading all of it.
    boxes : mapping of str to Box, optional
        By the id of a case: the part of the scan, on its native grid, that stands for all of it.

    Raises
    ------
    DatasetError
        A case is forbidden.
    LabelError
        Labels overlap, and `targets` does not say so.
    DiskFull
        The next case does not fit.
    Cancelled
        `cancelled` returned True.
    """
    refused = sorted({case.id for case in cases} & set(forbidden))
    if refused:
        raise DatasetError(f"{refused[0]} is in the test set.", "Leave it out of the training.")
    root = user_folder("cache") / "cases"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_unused(root)
    meaning = targets or TargetsConfig()
    made: dict[str, CachedCase] = {}

    def one(case: Case) -> CachedCase:
        if cancelled is not None and cancelled():
            raise Cancelled("The preparation was cancelled.")
        box = boxes[case.id] if boxes is not None else None
        return _prepare_one(case, pipeline, sorted(labels), root, merged or {}, meaning, plane, box)

    # Threads, not processes: reading, resampling and writing happen outside the interpreter lock, and one case each bounds the memory.
    unique = list({case.id: case for case in cases}.values())
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(one, case) for case in unique]
        try:
            for future in as_completed(futures):
                cached = future.result()
                made[cached.id] = cached
                if progress is not None:
                    progress(len(made), len(unique))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    return [made[case.id] for case in cases]


def _prepare_one(
    case: Case,
    pipeline: Pipeline,
    values: list[int],
    root: Path,
    merged: Mapping[int, int],
    targets: TargetsConfig,
    plane: Plane | None,
    box: Box | None,
) -> CachedCase:
    folder = root / _key(case, pipeline, values, merged, targets, plane, box)
    if not (folder / "case.json").exists():
        image = read_case_image(case)
        mask = read_case_mask(case, image, merged, overlapping=targets.kind == "overlapping")
        if box is not None:
            image, mask = crop(image, box), crop(mask, box)
        processed, target, reference = make_target(pipeline, image, mask, values, targets)
        found = survey(target, len(values))
        description = {
            "grid": _as_lists(processed.grid),
            "native": _as_lists(image.grid),
            "lowest": float(processed.data.min()),
            "outside": 0 if targets.known == "all" else UNKNOWN,
            "counts": list(found.counts.items()),
        }
        locations = np.concatenate([np.zeros((0, 3), np.uint16), *(found.locations[label] for label in found.counts)])
        arrays = {"image": _stacked(processed.data, plane), "target": _stacked(target, plane), "reference": reference}
        arrays |= {"locations": locations, "slices": found.slices, "pieces": found.pieces}
        _store(folder, arrays, description)
    else:
        os.utime(folder)
    stored = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    grids = (_grid(stored["grid"]), _grid(stored["native"]))
    return CachedCase(case.id, folder, *grids, stored["lowest"], stored["outside"], dict(stored["counts"]), plane)


def _stacked(array: NDArray[np.generic], plane: Plane | None) -> NDArray[np.generic]:
    """Return a volume ``(C, I, J, K)`` as it is stored: slices ``(slices, C, a, b)`` of a plane, or as it is."""
    return array if plane is None else np.ascontiguousarray(np.moveaxis(as_slices(array, plane), 3, 0))


def _unstacked(array: NDArray[T], plane: Plane | None) -> NDArray[T]:
    return array if plane is None else from_slices(np.moveaxis(array, 0, 3), plane)


def _key(
    case: Case,
    pipeline: Pipeline,
    values: list[int],
    merged: Mapping[int, int],
    targets: TargetsConfig,
    plane: Plane | None,
    box: Box | None,
) -> str:
    paths = [path.absolute() for path in files_of(case)]
    files = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for path in paths for file in _files_of(path)]
    parts = [part.value for part in case.parts]
    meaning = targets.model_dump() | {"kind": "overlapping" if targets.kind == "overlapping" else "exclusive"}
    sides = [(side.start, side.stop) for side in box] if box is not None else None
    text = json.dumps([_VERSION, files, pipeline.to_list(), values, parts, sorted(merged.items()), meaning, plane, sides])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _files_of(path: Path) -> list[Path]:
    """Return every file that a scan may lie in: all in its folder, or those of its name beside a header (.mhd and .raw)."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.suffix.lower() in _HEADERS:
        return sorted(file for file in path.parent.iterdir() if file.stem == path.stem and file.is_file())
    return [path]


def _store(folder: Path, arrays: Mapping[str, NDArray[np.generic]], description: object) -> None:
    needed = sum(array.nbytes for array in arrays.values())
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise DiskFull(
            f"The disk is full: {folder.parent} has {free / 1e6:.0f} MB left, the next case needs {needed / 1e6:.0f} MB.",
            "Free some space, or set NAPARI_SEG3D_HOME to a folder on a larger disk.",
        )
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
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
