"""Where the slices of a stack lie: their order, their spacing, and whether they form a regular grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_seg3d.errors import GeometryError
from napari_seg3d.volumes.dicom.frames import Frame
from napari_seg3d.volumes.grid import FloatArray

#: DICOM keeps places in LPS+ millimetres, we in RAS+: x and y change their sign.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

#: Slices that slide by less than this share of a pixel over the whole stack are not tilted.
SHEAR_TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class Plane:
    """The directions and voxel edges that all slices of a stack share (LPS).

    Parameters
    ----------
    axes : array of shape (3, 3)
        Unit vectors along I (a row, growing column), J (a column, growing row) and the normal, as columns.
    spacing : tuple of float
        Voxel edges along I and J in mm.
    """

    axes: FloatArray
    spacing: tuple[float, float]

    @property
    def normal(self) -> FloatArray:
        """The direction in which slices are ordered."""
        return np.asarray(self.axes[:, 2])

    def coordinates(self, positions: FloatArray) -> FloatArray:
        """Return places ``(n, 3)`` along the three axes, in mm."""
        return np.asarray(positions @ self.axes)

    def affine(self, position: FloatArray, gap: float) -> FloatArray:
        """Return the RAS+ affine of a grid whose first voxel lies at `position` and whose slices are `gap` apart."""
        affine = np.eye(4)
        affine[:3, :3] = self.axes * (*self.spacing, gap)
        affine[:3, 3] = position
        return np.asarray(LPS_TO_RAS @ affine)


def plane_of(frame: Frame) -> Plane:
    """Return the plane of a frame.

    Raises
    ------
    GeometryError
        Its orientation or pixel size is missing or impossible.
    """
    if len(frame.orientation) != 6:
        raise GeometryError("The header does not say how the slice is oriented.", "Export it with its orientation.")
    row, column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not (np.allclose(lengths, 1, atol=0.01) and abs(row @ column) < 0.01):
        raise GeometryError(
            "The orientation in the header is impossible: its two directions are not perpendicular unit vectors.",
            "Export the series again.",
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    if len(frame.spacing) != 2 or min(frame.spacing) <= 0:
        raise GeometryError("The header does not give the size of a pixel (PixelSpacing).", "Export the series again.")
    # PixelSpacing is the distance between rows first, then between columns; I runs along a row, from column to column.
    between_rows, between_columns = frame.spacing
    return Plane(np.stack([row, column, np.cross(row, column)], axis=1), (between_columns, between_rows))


@dataclass(frozen=True, eq=False)
class Spread:
    """How the slices of a stack lie to one another.

    Parameters
    ----------
    places : array of shape (K,)
        Where each slice lies along the normal, ascending, in mm.
    gap : float
        The usual distance between neighbours in mm (the median); 0 for a single slice.
    tilt : float
        Degrees between the normal and the line on which the slices lie; 0 where they slide by no more than rounding.
    slide : float
        How far a slice lies beside the normal through the first one at most, in mm; 0 as above.
    is_even : bool
        Whether all gaps are the same, within what rounding explains.
    """

    places: FloatArray
    gap: float
    tilt: float
    slide: float
    is_even: bool

    @property
    def is_regular(self) -> bool:
        """Whether the slices are the planes of one rectangular grid."""
        return self.is_even and self.slide == 0

    @property
    def gaps(self) -> FloatArray:
        """The distances between neighbours in mm."""
        return np.diff(self.places)


def spread_of(plane: Plane, positions: FloatArray) -> Spread:
    """Return how slices at `positions` ``(K, 3)``, in their order along the normal, lie to one another."""
    coordinates = plane.coordinates(positions)
    places = coordinates[:, 2]
    if len(places) < 2:
        return Spread(places, 0.0, 0.0, 0.0, True)
    gaps = np.diff(places)
    gap = float(np.median(gaps))
    # Positions are often rounded to a tenth of a millimetre; at gaps below half a millimetre that would be no rounding any more.
    tolerance = max(0.01 * gap, min(0.05, 0.1 * gap))
    step = (places[-1] - places[0]) / (len(places) - 1)
    drift = np.abs(places - (places[0] + step * np.arange(len(places)))).max()
    is_even = bool(np.abs(gaps - gap).max() <= tolerance and drift <= 2 * tolerance)
    shift = coordinates[:, :2] - coordinates[0, :2]
    tilt = slide = 0.0
    if np.abs(shift / plane.spacing).max() >= SHEAR_TOLERANCE:
        along = places - places[0]
        slide = float(np.linalg.norm(shift, axis=1).max())
        tilt = float(np.degrees(np.arctan(np.linalg.norm(shift.T @ along) / (along @ along))))
    return Spread(places, gap, tilt, slide, is_even)


def positions_of(frames: Sequence[Frame]) -> FloatArray:
    """Return where frames that say so lie ``(n, 3)``, in LPS mm."""
    return np.array([frame.position for frame in frames], np.float64).reshape(-1, 3)
