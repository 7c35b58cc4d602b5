"""The part of a scan that the user drew around: from a Shapes layer to a box of voxels."""

from __future__ import annotations

from itertools import product

import numpy as np
from napari.layers import Layer, Shapes

from napari_seg3d.errors import GeometryError, Seg3dError
from napari_seg3d.viewer.layers import native_of
from napari_seg3d.volumes import Box, Grid, box_of

# World units. Shapes on one slice have no extent across it, but for the last digits.
_FLAT = 1e-6


def drawn_region(shapes: Shapes, image: Layer, grid: Grid) -> Box:
    """Return the box of a scan around everything that is drawn in a layer.

    Parameters
    ----------
    shapes : Shapes
        Rectangles, or anything else. What is drawn on a single slice reaches through all of them; shapes on several slices reach from the
        first to the last one.
    image : Layer
        The scan's layer.
    grid : Grid
        The voxels of its file.

    Raises
    ------
    Seg3dError
        Nothing is drawn.
    GeometryError
        What is drawn lies outside of the scan.
    """
    if not len(shapes.data):
        raise Seg3dError(
            f"Nothing is drawn in the layer {shapes.name}.", "Draw a rectangle around what matters, or choose the whole scan."
        )
    drawn = np.concatenate([_corners(shapes, number) for number in range(len(shapes.data))])
    extent = image.extent.world[:, -3:]
    first, last = drawn.min(axis=0), drawn.max(axis=0)
    flat = last - first < _FLAT
    first, last = np.where(flat, extent[0], first), np.where(flat, extent[1], last)
    if (first > extent[1]).any() or (last < extent[0]).any():
        raise GeometryError(
            f"What is drawn in the layer {shapes.name} lies outside of the scan {image.name}.", "Draw it on the scan."
        )
    native = native_of(image)
    to_patient = native.placement.frame.to_patient if native is not None else np.eye(4)
    corners = np.array(list(product(*zip(first, last, strict=True))))[:, ::-1]  # z, y, x -> x, y, z
    voxels = (np.linalg.inv(grid.affine) @ to_patient @ np.c_[corners, np.ones(8)].T).T[:, :3]
    start = np.clip(np.floor(voxels.min(axis=0) + 0.5), 0, np.array(grid.shape) - 1)
    stop = np.clip(np.ceil(voxels.max(axis=0) + 0.5), start + 1, grid.shape)
    return box_of(start.astype(int), stop.astype(int))


def _corners(shapes: Shapes, number: int) -> np.ndarray:
    """Return the corners of one shape as ``(n, 3)`` in the world: z, y, x."""
    corners = np.array([shapes.data_to_world(corner) for corner in np.asarray(shapes.data[number])], dtype=float)
    if corners.shape[1] < 3:
        raise Seg3dError(
            f"The layer {shapes.name} has two axes only.", "Draw in a shapes layer that was made while the scan was open."
        )
    return corners[:, -3:]
