"""The grid of a volume: how many voxels, where each lies in the patient, and whether two grids are the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from nibabel.orientations import aff2axcodes, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError

#: Two grids are the same when no corner voxel lies further apart than this share of the smallest voxel edge. Writers store
#: directions in float32 or with a few decimals, which moves the far corner by up to 0.03 voxel; a real shift starts at 0.5.
TOLERANCE = 0.05

Shape3 = tuple[int, int, int]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel grid in the patient.

    Parameters
    ----------
    shape : tuple of int
        Number of voxels ``(I, J, K)``.
    affine : array of shape (4, 4)
        Voxel index to millimetres, in RAS+ (x to the patient's right, y to anterior, z to superior).

    Raises
    ------
    GeometryError
        The affine is not finite, or collapses an axis.
    """

    shape: Shape3
    affine: FloatArray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError("The affine holds values that are not finite numbers.", "Mend the header of the file.")
        edges = np.linalg.norm(affine[:3, :3], axis=0)
        if (edges == 0).any() or abs(np.linalg.det(affine[:3, :3] / edges)) < 1e-3:
            raise GeometryError(
                f"The affine does not span three dimensions (voxel edges {_numbers(edges)} mm).", "Mend the header of the file."
            )
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Length of the voxel edges along I, J and K in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @cached_property
    def orientation(self) -> str:
        """The patient directions nearest to I, J and K, such as ``"RAS"``."""
        return "".join(aff2axcodes(self.affine))

    @property
    def is_oblique(self) -> bool:
        """Whether an axis leaves its nearest patient direction by more than the tolerance at the far corner."""
        straight = np.zeros((3, 3))
        for axis, (target, sign) in enumerate(io_orientation(self.affine)):
            straight[int(target), axis] = sign * self.spacing[axis]
        away = np.abs((self.affine[:3, :3] - straight) @ np.maximum(np.array(self.shape) - 1, 1))
        return bool(away.max() > TOLERANCE * min(self.spacing))

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm^3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def canonical(self) -> Grid:
        """Return this grid with its axes permuted and flipped to lie nearest to R, A and S."""
        orientation = io_orientation(self.affine)
        i, j, k = np.argsort(orientation[:, 0])
        return Grid((self.shape[i], self.shape[j], self.shape[k]), self.affine @ inv_ornt_aff(orientation, self.shape))

    def to_canonical(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return a view of `array` ``(..., I, J, K)``, which lies on this grid, in the axis order of `canonical()`."""
        self._check_fits(array)
        return _reorder(array, io_orientation(self.affine))

    def from_canonical(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return a view of `array`, which lies on `canonical()`, in the axis order of this grid."""
        self.canonical()._check_fits(array)
        forth = io_orientation(self.affine)
        back = np.empty_like(forth)
        for axis, (target, sign) in enumerate(forth):
            back[int(target)] = axis, sign
        return _reorder(array, back)

    def box_from_canonical(self, box: tuple[slice, slice, slice]) -> tuple[slice, slice, slice]:
        """Return a box of voxels of `canonical()` as the same voxels of this grid."""
        i, j, k = (
            box[int(target)] if sign > 0 else slice(side - box[int(target)].stop, side - box[int(target)].start)
            for side, (target, sign) in zip(self.shape, io_orientation(self.affine), strict=True)
        )
        return i, j, k

    def to_world(self, voxels: NDArray[np.generic]) -> FloatArray:
        """Return the places in mm ``(n, 3)`` of voxel indices ``(n, 3)``."""
        return np.asarray(voxels) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def distance(self, other: Grid) -> float:
        """Return how far corresponding corner voxels lie apart at most, in mm (the shapes must be equal)."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        return float(np.linalg.norm(self.to_world(corners) - other.to_world(corners), axis=1).max())

    def matches(self, other: Grid) -> bool:
        """Return whether both grids are the same within :data:`TOLERANCE` of the smallest voxel edge."""
        return self.shape == other.shape and self.distance(other) <= TOLERANCE * min(*self.spacing, *other.spacing)

    def difference(self, other: Grid) -> str:
        """Return in words how `other` differs from this grid; empty when they match."""
        if self.matches(other):
            return ""
        parts = []
        if self.shape != other.shape:
            parts.append(f"{_sizes(self.shape)} voxels against {_sizes(other.shape)}")
        if not np.allclose(self.spacing, other.spacing, rtol=1e-3):
            parts.append(f"spacing {_numbers(self.spacing)} mm against {_numbers(other.spacing)} mm")
        if self.orientation != other.orientation:
            parts.append(f"axis order {self.orientation} against {other.orientation}")
        if not parts:
            parts.append(f"the corners lie {self.distance(other):.3g} mm apart")
        return ", ".join(parts)

    def __str__(self) -> str:
        oblique = ", oblique" if self.is_oblique else ""
        return f"{_sizes(self.shape)} voxels of {_numbers(self.spacing)} mm, {self.orientation}{oblique}"

    def _check_fits(self, array: NDArray[np.generic]) -> None:
        if array.shape[-3:] != self.shape:
            raise GeometryError(
                f"An array of {_sizes(array.shape[-3:])} voxels does not lie on a grid of {_sizes(self.shape)}.",
                "Use the mask together with the image that it was drawn on.",
            )


def _reorder(array: NDArray[np.generic], orientation: NDArray[np.float64]) -> NDArray[np.generic]:
    # By slicing and transposing alone, so that it stays a view, and works on dask arrays as well.
    leading = array.ndim - 3
    flips = (slice(None),) * leading + tuple(slice(None, None, int(sign)) for sign in orientation[:, 1])
    order = [leading + int(axis) for axis in np.argsort(orientation[:, 0])]
    return array[flips].transpose((*range(leading), *order))


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)


def _numbers(values: object) -> str:
    return " x ".join(f"{value:.3g}" for value in np.asarray(values))
