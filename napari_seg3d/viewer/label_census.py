"""How large each label is, how bright the scan is under it, and where to look for it: one pass over a mask, plane by plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled

# Counting by table is the quickest as long as the table fits a cache; instance numbers are counted by sorting.
_LARGEST_IN_TABLE = 2**16


class Array(Protocol):
    """Anything that gives its planes: an array in memory, or one that is read when it is asked."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    def __getitem__(self, index: tuple[int, ...]) -> NDArray[np.generic]:
        """Return a plane."""


@dataclass
class Count:
    """What was found of one label.

    Parameters
    ----------
    voxels : int
        How many.
    measured : int
        How many of them have an intensity: an image may hold NaN outside of what was scanned.
    total : float
        Sum of these intensities.
    plane : tuple of int
        Index, along all axes but the last two, of the plane that shows most of it.
    """

    voxels: int = 0
    measured: int = 0
    total: float = 0.0
    plane: tuple[int, ...] = ()
    _most: int = 0

    @property
    def mean(self) -> float | None:
        """Mean intensity; None without an image."""
        return self.total / self.measured if self.measured else None

    def add(self, plane: tuple[int, ...], voxels: int, measured: int, total: float) -> None:
        """Take in what was found on one more plane."""
        self.voxels += voxels
        self.measured += measured
        self.total += total
        if voxels > self._most:
            self.plane, self._most = plane, voxels


def take_census(labels: Array, image: Array | None = None, is_cancelled: Callable[[], bool] = lambda: False) -> dict[int, Count]:
    """Count the labels of a mask.

    Needs the memory of a few planes, whatever the size of the mask.

    Parameters
    ----------
    labels : array of integers of shape (..., Y, X)
        The mask; 0 is background.
    image : array of the same shape, optional
        The scan under it.
    is_cancelled : callable
        Asked once a plane.

    Returns
    -------
    dict of int to Count
        By value, in ascending order.

    Raises
    ------
    Cancelled
        When `is_cancelled` says so.
    """
    counts: dict[int, Count] = {}
    for plane in np.ndindex(tuple(labels.shape[:-2])):
        if is_cancelled():
            raise Cancelled("The count was stopped.")
        values = np.asarray(labels[plane])
        marked = values != 0
        if not marked.any():
            continue
        intensities = None if image is None else np.asarray(image[plane])[marked].astype(np.float64)
        for value, voxels, measured, total in _tally(values[marked], intensities):
            counts.setdefault(value, Count()).add(plane, voxels, measured, total)
    return dict(sorted(counts.items()))


def middle(plane: NDArray[np.integer], value: int) -> tuple[int, int] | None:
    """Return a voxel ``(y, x)`` of a label in the middle of the row that holds most of it; None where it is not on this plane.

    The mean would lie outside of a ring, and between two kidneys.
    """
    marked = plane == value
    rows = marked.sum(axis=1)
    row = int(rows.argmax())
    if not rows[row]:
        return None
    columns = np.flatnonzero(marked[row])
    return row, int(columns[len(columns) // 2])


def _tally(values: NDArray[np.integer], intensities: NDArray[np.float64] | None) -> list[tuple[int, int, int, float]]:
    """Return what values there are; with each its voxels, how many of them have an intensity, and the sum of these."""
    if int(values.min()) >= 0 and int(values.max()) < _LARGEST_IN_TABLE:
        present, places = None, values.astype(np.intp)
    else:
        present, places = np.unique(values, return_inverse=True)
        places = places.reshape(-1)
    voxels = np.bincount(places)
    there = np.flatnonzero(voxels)
    measured = np.zeros_like(voxels)
    totals: NDArray[np.generic] = np.zeros(len(voxels))
    if intensities is not None:
        real = np.isfinite(intensities)
        if not real.all():
            places, intensities = places[real], intensities[real]
        measured = np.bincount(places, minlength=len(voxels))
        totals = np.bincount(places, intensities, len(voxels))
    found = there if present is None else present[there]
    return list(zip(found.tolist(), voxels[there].tolist(), measured[there].tolist(), totals[there].tolist(), strict=True))
