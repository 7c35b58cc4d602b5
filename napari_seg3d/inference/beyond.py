"""From a scan that does not fit into memory to its mask, OME-Zarr both; memory holds some windows across the scan, however long that is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets import Case
from napari_seg3d.errors import ConfigError, ModelError, Seg3dError, WriteError
from napari_seg3d.files import atomic_folder
from napari_seg3d.inference.foreign.predictor import ForeignPredictor
from napari_seg3d.inference.home import blocks_home
from napari_seg3d.inference.memory import planned_memory
from napari_seg3d.inference.options import PredictOptions
from napari_seg3d.inference.piecewise.pieces import Pieces, canonical_pieces, check_sound
from napari_seg3d.inference.piecewise.steps import prepared, stored
from napari_seg3d.inference.predictor import Predictor
from napari_seg3d.inference.seeing import longest_two, sees_whole
from napari_seg3d.inference.windows import CancelCheck, Progress
from napari_seg3d.transforms import channels_after
from napari_seg3d.volumes import Box, Grid, Label, crop_grid, free_memory, open_pyramid, recognise
from napari_seg3d.volumes.formats.ome_zarr_labels import StoredLabels

_AS_TRAINED = PredictOptions()
#: How a mask is named that can be written piece by piece.
STORED_ENDINGS = (".ome.zarr", ".zarr")


@dataclass(frozen=True)
class StoredPrediction:
    """A mask on the disk.

    Parameters
    ----------
    path : Path
        An OME-Zarr folder.
    seconds : float
        How long it took, reading and writing included.
    volumes : dict of int to float
        Label value -> ml.
    notes : tuple of str
        What the user should know about it.
    """

    path: Path
    seconds: float
    volumes: dict[int, float]
    notes: tuple[str, ...] = ()


def predict_beyond_memory(
    predictor: Predictor,
    scan: str | Path,
    target: str | Path,
    options: PredictOptions = _AS_TRAINED,
    progress: Progress | None = None,
    cancelled: CancelCheck | None = None,
    *,
    overwrite: bool = False,
) -> StoredPrediction:
    """Predict an OME-Zarr that need not fit into memory; its mask is what `Predictor.predict` would find.

    The prepared scan lies beside the mask meanwhile: 4 bytes for each voxel and channel.

    Parameters
    ----------
    predictor : Predictor
        A model of ours that sees a scan in 3D windows.
    scan : path-like
        An OME-Zarr image.
    target : path-like
        Where the mask goes, as OME-Zarr: whole or not at all.
    options : PredictOptions
        How; probabilities, uncertainty and a region are not to be had this way.
    progress, cancelled : callable, optional
        As for `Predictor.predict`.
    overwrite : bool
        Whether a mask that is there may be replaced.

    Raises
    ------
    ConfigError
        A choice, or a step of the preprocessing, needs the scan as a whole.
    ModelError
        So does the model, or it was trained on another number of channels.
    ReadError
        The scan is no OME-Zarr, damaged or constant.
    WriteError
        The mask cannot be written, or something is there already.
    Cancelled
        `cancelled` returned True.
    """
    start = time.perf_counter()
    scan, target = Path(scan), Path(target)
    _check_possible(predictor, options)
    _check_target(scan, target, overwrite)
    pyramid = open_pyramid(scan)
    level = pyramid.levels[0]
    _, i, j, k = level.data.shape
    native, source = Grid((i, j, k), level.affine), canonical_pieces(level, str(scan))
    wanted = predictor.spec.network.in_channels
    if channels_after(predictor.pipeline, source.channels) != wanted:
        raise ModelError(
            f"The scan has {source.channels} channels, the model was trained on {wanted}.", "Choose another scan or model."
        )
    source = source.stoppable(cancelled)
    check_sound(source, str(scan))
    window = predictor.spec.patch_size
    # A window then is made of few blocks.
    sides = tuple(max(32, int(side * (1 - options.overlap))) for side in window)
    names = {value: Label(name) for value, name in predictor.stored_labels.items()}
    with atomic_folder(target) as whole:
        keep = partial(stored, folder=whole.parent / "prepared", sides=sides)
        image = prepared(predictor.pipeline, source, keep).stoppable(cancelled)
        mask: StoredLabels | None = None
        counts = np.zeros(max(names) + 1, np.int64)
        axes = longest_two(image.grid.shape)
        decided = _decided(predictor, image, native, options, axes, progress, cancelled)
        for canonical_box, classes in _rows(decided, native.canonical(), axes[0]):
            box = native.box_from_canonical(canonical_box)
            values = crop_grid(native, box).from_canonical(predictor.label_values.of(classes))
            if mask is None:
                mask = StoredLabels(whole, native, values.dtype, names, len(values), pyramid.is_oriented)
            mask.write(box, values)
            for plane in (plane for channel in values for plane in channel):  # counting takes eight bytes for each voxel
                counts += np.bincount(plane.ravel(), minlength=len(counts))
    ml = native.voxel_volume / 1000
    return StoredPrediction(
        target, time.perf_counter() - start, {value: float(counts[value]) * ml for value in names}, pyramid.notes
    )


def too_large(predictor: object, cases: Iterable[Case], options: PredictOptions = _AS_TRAINED) -> frozenset[str]:
    """Return the ids of the cases that do not fit into memory, and that can be predicted piece by piece.

    Nothing but metadata is read; a scan that cannot be opened is left to whoever predicts it.
    """
    if not isinstance(predictor, Predictor):
        return frozenset()
    try:
        _check_possible(predictor, options)
    except Seg3dError:
        return frozenset()
    free = free_memory()
    return frozenset(case.id for case in cases if len(case.images) == 1 and _needed(predictor, case.images[0], options) > free)


def _needed(predictor: Predictor, scan: Path, options: PredictOptions) -> int:
    """Return about how many bytes an OME-Zarr takes to be predicted in memory."""
    try:
        level = open_pyramid(scan).levels[0] if is_ome_zarr(scan) else None
    except Seg3dError:
        return 0
    if level is None:
        return 0
    channels, i, j, k = level.data.shape
    return int(level.data.nbytes) + planned_memory([predictor.spec], Grid((i, j, k), level.affine), channels, options)


def is_ome_zarr(path: Path) -> bool:
    """Return whether a path is an OME-Zarr image."""
    found = recognise(path) if path.is_dir() else None
    return found is not None and found.name == "OME-Zarr"


def _decided(
    predictor: Predictor,
    image: Pieces,
    native: Grid,
    options: PredictOptions,
    axes: tuple[int, int],
    progress: Progress | None,
    cancelled: CancelCheck | None,
) -> Iterator[tuple[Box, NDArray[np.integer]]]:
    """Yield classes ``(T, i, j, k)`` on the canonical grid of the scan, box by box in rows and columns along two axes, and where they lie."""
    spec = predictor.spec
    found = predictor.blocks_in_pieces(image, options, axes, progress, cancelled)
    for box, answer in blocks_home(found, image.grid, native.canonical(), spec.targets, axes, channels=spec.channels):
        yield box, answer.labels


def _rows(
    boxes: Iterator[tuple[Box, NDArray[np.integer]]], canonical: Grid, axis: int
) -> Iterator[tuple[Box, NDArray[np.integer]]]:
    """Yield the same in rows along an axis, each with all of the other axes: each block on the disk is then written once or twice."""
    row: NDArray[np.integer] | None = None
    place: slice | None = None
    for box, classes in boxes:
        if row is not None and box[axis] != place:
            yield _across(canonical, axis, place), row
            row = None
        if row is None:
            place = box[axis]
            sides = [side.stop - side.start for side in _across(canonical, axis, place)]
            row = np.zeros((len(classes), *sides), classes.dtype)
        inside = [slice(None), *box]
        inside[1 + axis] = slice(None)
        row[tuple(inside)] = classes
    assert row is not None  # there is at least one box
    yield _across(canonical, axis, place), row


def _across(grid: Grid, axis: int, place: slice | None) -> Box:
    i, j, k = (slice(0, side) if at != axis or place is None else place for at, side in enumerate(grid.shape))
    return i, j, k


def _check_possible(predictor: Predictor, options: PredictOptions) -> None:
    spec = predictor.spec
    kind = ""
    if isinstance(predictor, ForeignPredictor):
        kind = "comes from elsewhere and prepares scans in its own way"
    elif predictor.roi is not None:
        kind = "is a cascade, which first looks at the whole scan"
    elif spec.network.dims == 2:
        kind = "sees slices"
    elif sees_whole(spec, options):
        kind = "sees scans as a whole"
    if kind:
        raise ModelError(
            f"The model {predictor.name} {kind}, so a scan cannot be predicted piece by piece.",
            "Take a model that sees patches in 3D, or crop the scan so that it fits into memory.",
        )
    asked = {
        "probabilities": options.probabilities,
        "the uncertainty": options.uncertainty,
        "a region": options.region is not None,
    }
    for name in (name for name, is_asked in asked.items() if is_asked):
        raise ConfigError(f"A scan that is predicted piece by piece cannot have {name}.", f"Leave out {name}, or crop the scan.")
    if options.postprocess and predictor.rules is not None:
        raise ConfigError(
            f"The rules beside the model {predictor.name} need the mask as a whole, and the scan is predicted piece by piece.",
            "Leave them out (--no-postprocess), or crop the scan.",
        )


def _check_target(scan: Path, target: Path, overwrite: bool) -> None:
    if not target.name.lower().endswith(STORED_ENDINGS):
        raise WriteError(f"{target} is no OME-Zarr, and only that can be written piece by piece.", "Let it end in .ome.zarr.")
    if not os.path.lexists(target):
        return
    if scan.exists() and target.samefile(scan):
        raise WriteError(f"{target} is the scan itself.", "Choose another name: a source is never overwritten.")
    if not overwrite:
        raise WriteError(f"{target} exists already.", "Choose another name, or allow overwriting.")
    if not is_ome_zarr(target):
        raise WriteError(f"{target} is something else than an OME-Zarr.", "Choose another name.")
