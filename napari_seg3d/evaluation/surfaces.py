"""Distances between the surfaces of two masks, in mm: HD95, Hausdorff, the average (ASSD) and the share within a tolerance (NSD).

Two definitions of a surface are in use, and both are here:

``voxels``
    The centres of the border voxels: those with a neighbour across a face outside the mask, or at the edge of the array. All count the
    same. So do MONAI, MedPy and Metrics Reloaded (Maier-Hein et al., Nature Methods 2024), and so does this program where nothing else is
    asked for.
``areas``
    The corners between voxels at which the surface runs through the eight voxels around, each with the area that a triangle mesh has
    there (in 2D: the four around, and the length of the contour). So does DeepMind's surface-distance (Nikolov et al., J Med Internet
    Res 2021;23:e26151), by which NSD was defined.

They differ because border voxels lie half a voxel inside the true surface, on both masks: that cancels out between large objects and not
between thin ones (both sides of a slab of one voxel are the same voxels). And a voxel is one voxel whatever its sides: where slices are
thick, their large faces count for little under ``voxels``, and for what they are under ``areas``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ConfigError, GeometryError
from napari_seg3d.evaluation.counts import check_shapes

Surface = Literal["voxels", "areas"]

_AT_ONCE = 100_000  # elements that are looked up between two looks at `cancelled`
_ROUNDING = 1e-6  # two voxels of 0.7 mm lie 0.7 mm apart, and 0.7000000000000002 by arithmetic; MONAI compares in 32 bit


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """The elements of two surfaces, each with its distance to the other surface.

    Parameters
    ----------
    predicted, reference : arrays (N,) and (M,)
        Distance in mm of each element of the predicted surface to the nearest one of the reference's, and the other way round.
        Infinite where the other mask is empty.
    predicted_areas, reference_areas : arrays (N,) and (M,), or None
        What each element counts, in mm² (in 2D: mm); None where all count the same.
    """

    predicted: NDArray[np.float64]
    reference: NDArray[np.float64]
    predicted_areas: NDArray[np.float64] | None = None
    reference_areas: NDArray[np.float64] | None = None

    def hausdorff(self, percentile: float = 100.0) -> float:
        """Return a percentile of the distances in mm: that of each direction, and the larger of the two; of 100, the Hausdorff distance.

        Among elements that count the same it is interpolated linearly, as MONAI and numpy do; among areas it is the first distance at
        which so much of the area is reached, as in DeepMind's. NaN when both masks are empty, infinite when one is.
        """
        if self._is_nothing:
            return math.nan
        directions = ((self.predicted, self.predicted_areas), (self.reference, self.reference_areas))
        return max(_percentile(distances, areas, percentile) for distances, areas in directions if len(distances))

    def average(self) -> float:
        """Return the average symmetric surface distance (ASSD) in mm: the mean over the elements of both surfaces together.

        As in MONAI and in Heimann et al. (IEEE TMI 2009); DeepMind's gives the two directions one by one. NaN when both masks are empty,
        infinite when one is.
        """
        if self._is_nothing:
            return math.nan
        return float(np.average(np.concatenate([self.predicted, self.reference]), weights=self._both_areas))

    def surface_dice(self, tolerance_mm: float) -> float:
        """Return the normalised surface Dice (NSD): the share of both surfaces that lies within a tolerance of the other.

        NaN when both masks are empty, 0 when one is.

        Raises
        ------
        ConfigError
            The tolerance is no length.
        """
        check_tolerance(tolerance_mm)
        if self._is_nothing:
            return math.nan
        near = np.concatenate([self.predicted, self.reference]) <= tolerance_mm * (1 + _ROUNDING)
        return float(np.average(near, weights=self._both_areas))

    @property
    def _is_nothing(self) -> bool:
        return len(self.predicted) + len(self.reference) == 0

    @property
    def _both_areas(self) -> NDArray[np.float64] | None:
        if self.predicted_areas is None or self.reference_areas is None:
            return None
        return np.concatenate([self.predicted_areas, self.reference_areas])


def surface_distances(
    predicted: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: Sequence[float],
    surface: Surface = "voxels",
    cancelled: Callable[[], bool] | None = None,
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks.

    Parameters
    ----------
    predicted, reference : boolean arrays of one shape, 2D or 3D
        Cut them to the box that holds both: only that is looked at, and beyond it everything counts as outside. Axes of one voxel are
        left out, so that a mask of one slice is measured as a picture, along its contour.
    spacing : sequence of float
        Length of the voxel edges in mm, one for each axis.
    surface : {"voxels", "areas"}
        Which definition of a surface; see the head of this module. ``areas`` loads MONAI, which holds the table of areas.
    cancelled : callable, optional
        Asked from time to time whether to stop.

    Raises
    ------
    GeometryError
        The shapes differ, or the spacing is none of such an array.
    ConfigError
        There is no such definition of a surface.
    Cancelled
        `cancelled` returned True.
    """
    check_shapes(predicted, reference)
    check_surface(surface)
    steps = _steps(predicted, spacing)
    kept = _flat_axes(predicted.shape)
    predicted, reference, steps = predicted.squeeze(kept), reference.squeeze(kept), np.delete(steps, kept)
    elements = _border_voxels if surface == "voxels" else _corners
    mine, theirs = elements(predicted), elements(reference)
    areas = None if surface == "voxels" else _areas(steps)
    return SurfaceDistances(
        _distances(mine, theirs, steps, cancelled),
        _distances(theirs, mine, steps, cancelled),
        None if areas is None else areas[mine[mine > 0]],
        None if areas is None else areas[theirs[theirs > 0]],
    )


def check_tolerance(tolerance_mm: float) -> None:
    """Raise a ConfigError when a tolerance is no length."""
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise ConfigError(
            f"A tolerance of {tolerance_mm} mm is no length.", "Give the millimetres that do not matter, such as 1."
        )


def check_surface(surface: str) -> None:
    """Raise a ConfigError when there is no such definition of a surface."""
    if surface not in get_args(Surface):
        raise ConfigError(f"There is no surface {surface!r}.", f"Choose {' or '.join(get_args(Surface))}.")


def _steps(mask: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float64]:
    steps = np.asarray(spacing, np.float64)
    if steps.shape != (mask.ndim,) or not (np.isfinite(steps).all() and (steps > 0).all()):
        raise GeometryError(
            f"The spacing {tuple(map(float, np.atleast_1d(steps)))} does not fit a mask of {mask.ndim} axes.",
            "Give the length of a voxel in mm, above 0, for each axis.",
        )
    if mask.ndim not in (2, 3):
        raise GeometryError(f"A mask of {mask.ndim} axes has no surface.", "Give a mask of two or three axes.")
    return steps


def _flat_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of one voxel that are left out; two axes stay in any case."""
    flat = [axis for axis, length in enumerate(shape) if length == 1]
    return tuple(flat[: max(0, len(shape) - 2)])


def _border_voxels(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return 1 where a voxel of the mask has a neighbour outside."""
    padded = np.pad(mask, 1)
    within = (slice(1, -1),) * mask.ndim
    inside = padded[within].copy()
    for axis in range(mask.ndim):
        for beside in (slice(0, -2), slice(2, None)):
            inside &= padded[(*within[:axis], beside, *within[axis + 1 :])]
    return (padded[within] & ~inside).view(np.uint8)


def _corners(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return for each corner between voxels which of those around it are in the mask, a bit each; 0 where all or none are."""
    padded = np.pad(mask, 1).view(np.uint8)
    around = 2**mask.ndim
    codes = np.zeros([length + 1 for length in mask.shape], np.uint8)
    for number, offset in enumerate(np.ndindex((2,) * mask.ndim)):
        part = padded[tuple(slice(start, start + length) for start, length in zip(offset, codes.shape, strict=True))]
        codes |= part << (around - 1 - number)
    codes[codes == 2**around - 1] = 0
    return codes


def _areas(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much surface a corner holds by its code, in mm² (in 2D, mm): the table of Nikolov et al., as MONAI has it."""
    from monai.metrics.utils import get_code_to_measure_table

    table, _ = get_code_to_measure_table(tuple(float(step) for step in steps))
    return np.asarray(table, np.float64)


def _distances(
    these: NDArray[np.uint8], others: NDArray[np.uint8], steps: NDArray[np.float64], cancelled: Callable[[], bool] | None
) -> NDArray[np.float64]:
    """Return the distance of each element of a surface to the nearest one of another, in the order of the array."""
    from scipy.spatial import KDTree

    is_shared = others[these > 0] > 0
    distances = np.where(is_shared, 0.0, math.inf)
    apart = np.flatnonzero(~is_shared)
    if not len(apart) or not others.any():
        return distances
    # Not balanced: of two concentric balls, where each element is as near as the next, a balanced tree takes fifty times longer.
    tree = KDTree(np.argwhere(others) * steps, leafsize=32, balanced_tree=False, compact_nodes=False)
    wanted = np.argwhere(these)[apart] * steps
    for start in range(0, len(apart), _AT_ONCE):
        if cancelled is not None and cancelled():
            raise Cancelled("The measurement was stopped.")
        part = slice(start, start + _AT_ONCE)
        distances[apart[part]] = tree.query(wanted[part], workers=-1)[0]
    return distances


def _percentile(distances: NDArray[np.float64], areas: NDArray[np.float64] | None, percentile: float) -> float:
    if np.isinf(distances).any():
        return math.inf  # all of them are: the other mask is empty
    if areas is None:
        return float(np.percentile(distances, percentile))
    order = np.argsort(distances, kind="stable")
    reached = np.cumsum(areas[order])
    place = int(np.searchsorted(reached, percentile / 100 * reached[-1] * (1 - _ROUNDING)))
    return float(distances[order[min(place, len(order) - 1)]])
