"""Compare two masks: everything that is measured of each label, and where it is worst."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets import place_mask
from napari_seg3d.errors import Cancelled
from napari_seg3d.evaluation.counts import Counts, check_shapes
from napari_seg3d.evaluation.report import EvaluationRow
from napari_seg3d.evaluation.surfaces import Surface, check_surface, check_tolerance, surface_distances
from napari_seg3d.volumes import Box, Grid, Volume, lattice_offset, place_on

_MOST_GROWTH = 8
_AT_ONCE = 1 << 22
_MOST_BOXES = 1 << 16  # values of labels up to which a list of boxes is no burden


def measure_masks(
    predicted: Volume,
    reference: Volume,
    labels: Mapping[int, str] | Iterable[int] | None = None,
    tolerance_mm: float = 1.0,
    with_surfaces: bool = True,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    surface: Surface = "voxels",
    case: str = "",
) -> list[EvaluationRow]:
    """Measure how well a predicted mask agrees with a reference, label by label, each in the box that holds it in either mask.

    Parameters
    ----------
    predicted, reference : Volume
        Masks of the same voxels, in whatever order they are stored. Labels that overlap lie in a channel each.
    labels : mapping of int to str, or iterable of int, optional
        Which labels, with their names if they have any. Left out, all that either mask holds; the background (0) is never compared.
    tolerance_mm : float
        What the NSD forgives.
    with_surfaces : bool
        Whether to measure distances between surfaces, which take most of the time.
    progress, cancelled : callable, optional
        Told (done, total) after each label, and asked within whether to stop.
    surface : {"voxels", "areas"}
        Which definition of a surface; see :mod:`napari_seg3d.evaluation.surfaces`.
    case : str
        Written into the rows.

    Returns
    -------
    list of EvaluationRow
        By label.

    Raises
    ------
    GeometryError
        The masks do not lie on the same voxels.
    ConfigError
        The tolerance is no length, or there is no such definition of a surface.
    Cancelled
        `cancelled` returned True.
    """
    check_tolerance(tolerance_mm)
    check_surface(surface)
    predicted, reference = on_one_grid(predicted, reference)
    wanted = named(labels, predicted, reference)
    mine, theirs = _Masks(predicted, wanted), _Masks(reference, wanted)
    spacing, voxel_volume = reference.spacing, reference.grid.voxel_volume
    rows = []
    for done, label in enumerate(sorted(wanted), start=1):
        if cancelled is not None and cancelled():
            raise Cancelled("The measurement was stopped.")
        row = EvaluationRow(case, label, wanted[label] or f"label {label}", math.nan, 0.0, 0.0)
        box = _joint(mine.box(label), theirs.box(label))
        if box is not None:
            found, there = mine.mask(label, box), theirs.mask(label, box)
            row = EvaluationRow.of(case, label, row.name, _counts(found, there), voxel_volume)
            if with_surfaces:
                distances = surface_distances(found, there, spacing, surface, cancelled)
                row = row._replace(
                    hd95=distances.hausdorff(95),
                    hausdorff=distances.hausdorff(),
                    assd=distances.average(),
                    nsd=distances.surface_dice(tolerance_mm),
                )
        rows.append(row)
        if progress is not None:
            progress(done, len(wanted))
    return rows


def worst_slice(predicted: NDArray[np.generic], reference: NDArray[np.generic], label: int, axis: int) -> int:
    """Return the slice with the most wrong voxels of a label.

    Parameters
    ----------
    predicted, reference : arrays of one shape
        Label values.
    label : int
        Which label.
    axis : int
        Across which axis slices are counted.

    Returns
    -------
    int
        The first one where several are as bad. Where nothing is wrong, the slice with most of the label; where it is in neither
        mask, the middle one.

    Raises
    ------
    GeometryError
        The shapes differ.
    """
    check_shapes(predicted, reference)
    others = tuple(number for number in range(predicted.ndim) if number != axis % predicted.ndim)
    found, there = predicted == label, reference == label
    for voxels in (found != there, there):
        counts = np.count_nonzero(voxels, axis=others)
        if counts.any():
            return int(np.argmax(counts))
    return int(predicted.shape[axis] // 2)


def named(labels: Mapping[int, str] | Iterable[int] | None, *masks: Volume) -> dict[int, str]:
    """Return the labels to compare with their names ("" where nobody gives one): those asked for, or all that the masks hold."""
    if isinstance(labels, Mapping):
        wanted = {int(label): str(name) for label, name in labels.items()}
    elif labels is not None:
        wanted = {int(label): "" for label in labels}
    else:
        wanted = {value: "" for mask in masks for value in _values(mask.data)}
    for label in wanted:
        names = (mask.labels[label].name for mask in masks if label in mask.labels)
        wanted[label] = wanted[label] or next(names, "")
    return {label: name for label, name in wanted.items() if label != 0}


def on_one_grid(predicted: Volume, reference: Volume) -> tuple[Volume, Volume]:
    """Return prediction and reference voxel for voxel; each may be a DICOM SEG that leaves out slices without content.

    Raises
    ------
    GeometryError
        The masks do not lie on the same voxels.
    """
    if are_pictures(predicted, reference):
        return replace(predicted, affine=reference.affine), reference
    if reference.source is not None and reference.source.format == "dicom":
        reference = place_on(reference, _covering(reference.grid, predicted.grid))
    return place_mask(predicted, reference), reference


def are_pictures(predicted: Volume, reference: Volume) -> bool:
    """Return whether two masks are of one slice and one size, and one of them does not say how it lies."""
    is_unsaid = not (predicted.is_oriented and reference.is_oriented)
    return is_unsaid and predicted.grid.shape == reference.grid.shape and reference.grid.shape[2] == 1


class _Masks:
    """The labels of a volume, each as a boolean mask, and the boxes that hold them."""

    def __init__(self, volume: Volume, labels: Iterable[int]) -> None:
        from scipy.ndimage import find_objects

        self._data = volume.data
        wanted = [label for label in labels if 0 < label < _MOST_BOXES]
        # All boxes in one pass; of a mask with channels, and of labels with outlandish values, each box is looked for by itself.
        is_map = len(self._data) == 1 and self._data.dtype.kind in "iu"
        self._boxes: dict[int, Box | None] = {}
        if is_map and wanted:
            found = find_objects(self._data[0], max_label=max(wanted))
            self._boxes = {label: found[label - 1] for label in wanted}

    def box(self, label: int) -> Box | None:
        if label not in self._boxes:
            self._boxes[label] = _box(self._whole(label))
        return self._boxes[label]

    def mask(self, label: int, box: Box) -> NDArray[np.bool_]:
        layer: NDArray[np.bool_] = (self._data[(slice(None), *box)] == label).any(axis=0)
        return layer

    def _whole(self, label: int) -> NDArray[np.bool_]:
        return self.mask(label, (slice(None), slice(None), slice(None)))


def _box(mask: NDArray[np.bool_]) -> Box | None:
    from scipy.ndimage import find_objects

    box: Box | None = find_objects(mask.view(np.uint8), max_label=1)[0]
    return box


def _joint(one: Box | None, other: Box | None) -> Box | None:
    if one is None or other is None:
        return one or other
    i, j, k = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return i, j, k


def _counts(found: NDArray[np.bool_], there: NDArray[np.bool_]) -> Counts:
    tp = int(np.count_nonzero(found & there))
    return Counts(tp, int(np.count_nonzero(found)) - tp, int(np.count_nonzero(there)) - tp)


def _values(data: NDArray[np.generic]) -> set[int]:
    if data.dtype.kind == "u" and data.dtype.itemsize <= 2:
        # Counting is many times faster than sorting; in parts, because it makes eight bytes of each voxel.
        flat = data.ravel(order="K")
        counts = np.zeros(1 << 8 * data.dtype.itemsize, np.int64)
        for start in range(0, flat.size, _AT_ONCE):
            counts += np.bincount(flat[start : start + _AT_ONCE], minlength=len(counts))
        return {int(value) for value in np.flatnonzero(counts)}
    return {int(value) for value in np.unique(data)}


def _covering(grid: Grid, other: Grid) -> Grid:
    """Return the smallest grid on the voxels of `grid` that holds both; `grid` where the voxels of `other` are not its own."""
    one, part = grid.canonical(), other.canonical()
    offset = lattice_offset(part, one)
    if offset is None:
        return grid
    first = np.minimum(offset, 0)
    shape = np.maximum(np.add(offset, part.shape), one.shape) - first
    if np.prod(shape, dtype=float) > _MOST_GROWTH * (np.prod(one.shape) + np.prod(part.shape)):
        return grid  # parts of different scans, far from each other
    affine = one.affine.copy()
    affine[:3, 3] = one.to_world(first[np.newaxis])[0]
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
