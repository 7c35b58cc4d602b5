"""`Frame`: the axes along which a viewer shows the patient, and how a grid is brought onto them.

napari cannot slice permuted or oblique affines. So the first scan says which way the axes of the display run, straight along its own
voxels, and everything else is placed in that frame: exactly where its voxels run along the same axes, and resampled for the display
where they do not. What is saved is never what was resampled, see `layers.layer_to_volume`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from napari_seg3d.volumes import Box, Grid, Volume, box_of, crop_grid, resample

_LETTERS = ("LR", "PA", "IS")  # towards minus and plus x, y and z
# An axis that leans by more than this share towards a second direction has both letters.
_LEANING = np.sin(np.deg2rad(20))


@dataclass(frozen=True, eq=False)
class Frame:
    """Three axes at right angles.

    Parameters
    ----------
    axes : array of shape (3, 3)
        Columns are the directions of the display's x, y and z in the patient (RAS+); they lie nearest to right, anterior and superior.
    """

    axes: NDArray[np.float64]

    @classmethod
    def of(cls, grid: Grid) -> Frame:
        """Return the frame that shows `grid` along its own voxel axes."""
        if not grid.is_oblique:
            return cls(np.eye(3))
        canonical = grid.canonical()
        directions = canonical.affine[:3, :3] / np.array(canonical.spacing)
        # Two axes at right angles are the plane of the slices, which stays as it is, whatever a sheared third axis does. In a file the
        # slices nearly always follow each other along the last axis.
        cosines = np.abs([np.dot(directions[:, (k + 1) % 3], directions[:, (k + 2) % 3]) for k in range(3)])
        last = int(io_orientation(grid.affine)[2, 0])
        across = last if cosines[last] < cosines.min() + 1e-4 else int(cosines.argmin())
        first, second = (across + 1) % 3, (across + 2) % 3
        axes = directions.copy()
        axes[:, across] = np.cross(axes[:, first], axes[:, second])
        axes[:, across] /= np.linalg.norm(axes[:, across])
        axes[:, second] = np.cross(axes[:, across], axes[:, first])
        return cls(axes)

    @cached_property
    def to_patient(self) -> NDArray[np.float64]:
        """4x4 matrix from the display's x, y and z in mm to RAS+ mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.axes
        return matrix

    def is_like(self, other: Frame) -> bool:
        """Return whether both have the same axes."""
        return bool(np.allclose(self.axes, other.axes, atol=1e-4))

    def letters(self, axis: int) -> tuple[str, str]:
        """Return where the display's axis 0 (x), 1 (y) or 2 (z) comes from and goes to in the patient, such as ``("L", "R")``."""
        direction = self.axes[:, axis]
        order = [int(at) for at in np.argsort(-np.abs(direction)) if abs(direction[at]) > _LEANING]
        towards = "".join(_LETTERS[at][int(direction[at] > 0)] for at in order)
        opposite = "".join(_LETTERS[at][int(direction[at] < 0)] for at in order)
        return opposite, towards


@dataclass(frozen=True, eq=False)
class Placement:
    """How a grid appears in a frame.

    Parameters
    ----------
    grid : Grid
        The voxels as they lie in the file.
    frame : Frame
        The axes of the display.
    """

    grid: Grid
    frame: Frame

    @cached_property
    def _local(self) -> Grid:
        """The grid of the file, in the coordinates of the frame."""
        return Grid(self.grid.shape, np.linalg.inv(self.frame.to_patient) @ self.grid.affine)

    @property
    def is_resampled(self) -> bool:
        """Whether the voxel axes do not run along those of the frame."""
        return self._local.is_oblique

    @cached_property
    def shown(self) -> Grid:
        """The grid of the layer, in the coordinates of the frame: upright, ascending along x, y and z."""
        if not self.is_resampled:
            return self._local.canonical()
        local = self._local
        ends = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in local.shape])).reshape(3, -1).T
        corners = local.to_world(ends)
        spacing = np.array(local.canonical().spacing)
        low, high = corners.min(axis=0), corners.max(axis=0)
        shape = np.maximum(1, np.ceil((high - low) / spacing - 1e-6).astype(int))
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = (low + high) / 2 - spacing * (shape - 1) / 2
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    def to_display(self, data: NDArray[np.generic], is_labels: bool) -> NDArray[np.generic]:
        """Return values ``(..., I, J, K)`` of the file as ``(..., x, y, z)`` of the display; a view, where nothing is resampled."""
        if not self.is_resampled:
            return self._local.to_canonical(data)
        channels = data.reshape((-1, *data.shape[-3:]))
        target = Grid(self.shown.shape, self.frame.to_patient @ self.shown.affine)
        volume = Volume(channels, self.grid.affine, "labels" if is_labels else "image")
        # Around the scan there is air, not grey.
        outside = 0.0 if is_labels else float(channels.min())
        found = resample(volume, target, "nearest" if is_labels else "linear", outside)
        return found.reshape((*data.shape[:-3], *self.shown.shape))

    def put(self, shown: NDArray[np.generic], labels: NDArray[np.generic], box: Box) -> None:
        """Bring one box of labels to the display, as `to_display` does all of them.

        Parameters
        ----------
        shown : array of shape (x, y, z)
            The labels of the display, which change.
        labels : array of shape (I, J, K)
            Those of the file.
        box : tuple of slice
            What is new in `labels`.
        """
        if not self.is_resampled:
            self._local.from_canonical(shown)[box] = labels[box]
            return
        target = Grid(self.shown.shape, self.frame.to_patient @ self.shown.affine)
        beside = _box_around(box, self.grid, target)
        # A box that lies askew on the screen has neighbours in its corners, which must not be wiped out.
        seen = _box_around(beside, target, self.grid)
        part = Volume(labels[seen][np.newaxis], crop_grid(self.grid, seen).affine, "labels")
        shown[beside] = resample(part, crop_grid(target, beside), "nearest")[0]

    def from_display(self, data: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return labels ``(x, y, z)`` of the display as ``(I, J, K)`` of the file; the nearest ones, where voxels do not coincide."""
        if not self.is_resampled:
            return self._local.from_canonical(data)
        shown = Volume(data[np.newaxis], self.frame.to_patient @ self.shown.affine, "labels")
        return resample(shown, self.grid, "nearest")[0]


def _box_around(box: Box, grid: Grid, other: Grid) -> Box:
    """Return the box of `other` that holds a box of `grid`, and a voxel more on each side."""
    ends = np.array(np.meshgrid(*[(side.start - 1, side.stop) for side in box])).reshape(3, -1).T
    places = np.linalg.solve(other.affine, np.c_[grid.to_world(ends), np.ones(len(ends))].T)[:3]
    first = np.maximum(np.floor(places.min(axis=1)) - 1, 0)
    last = np.minimum(np.ceil(places.max(axis=1)) + 2, other.shape)
    return box_of(first, last)
