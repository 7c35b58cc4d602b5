"""Where the object is: from what the first network of a cascade says to the box of the scan that the second one sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.inference.model import Crop
from napari_seg3d.inference.windows import Tiling
from napari_seg3d.volumes import Box, Grid, box_of

# Of the largest piece: what is smaller is a mistake rather than a part of the object.
_WORTH = 0.1
_HAIR = 1e-6  # voxels: no box grows because of the last digit of an affine


def object_box(found: NDArray[np.bool_]) -> Box | None:
    """Return the box around an object, None where there is nothing.

    All its pieces count that have at least a tenth of the voxels of the largest one. The largest alone would lose the second kidney for
    good, and nothing later could bring it back; all of them would let a single voxel on the other side of the body stretch the box over
    the whole scan.

    Parameters
    ----------
    found : array of shape (I, J, K)
        Where the object is.
    """
    from scipy import ndimage

    pieces, count = ndimage.label(found, structure=np.ones((3, 3, 3)))
    if count == 0:
        return None
    voxels = np.bincount(pieces.ravel())
    voxels[0] = 0
    boxes = ndimage.find_objects(pieces)
    worth = [box for box, size in zip(boxes, voxels[1:], strict=True) if size >= _WORTH * voxels.max()]
    starts = np.array([[side.start for side in box] for box in worth])
    stops = np.array([[side.stop for side in box] for box in worth])
    return box_of(starts.min(axis=0), stops.max(axis=0))


def grown_box(box: Box, shape: Sequence[int], crop: Crop) -> Box:
    """Return a box with its margin, of the smallest size at least, inside a scan of `shape` voxels."""
    first, last = [], []
    for side, voxels in zip(box, shape, strict=True):
        length = side.stop - side.start
        wanted = min(voxels, max(length + 2 * int(np.ceil(length * crop.margin)), crop.smallest))
        # At the border of the scan it moves inwards rather than become smaller.
        start = min(max(0, (side.start + side.stop - wanted) // 2), voxels - wanted)
        first.append(start)
        last.append(start + wanted)
    return box_of(first, last)


def coarse_grid(grid: Grid, tiling: Tiling, shape: Sequence[int]) -> Grid:
    """Return where the voxels of an answer of `shape` lie, each of which stands for a block of the padded image."""
    factor = np.array(tiling.padded) / np.array(shape)
    voxels = np.diag([*factor, 1.0])
    voxels[:3, 3] = (factor - 1) / 2 - [side.start for side in tiling.place]
    i, j, k = shape
    return Grid((i, j, k), grid.affine @ voxels)


def box_on(box: Box, grid: Grid, native: Grid) -> Box:
    """Return the voxels of `native` that a box of `grid` touches, in whichever axis order the two are."""
    edges = [(side.start - 0.5, side.stop - 0.5) for side in box]
    corners = np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = (np.linalg.inv(native.affine) @ np.c_[grid.to_world(corners), np.ones(8)].T)[:3]
    first = np.floor(voxels.min(axis=1) + 0.5 + _HAIR).astype(int)
    last = np.ceil(voxels.max(axis=1) + 0.5 - _HAIR).astype(int)
    first = np.clip(first, 0, np.array(native.shape) - 1)
    return box_of(first, np.clip(last, first + 1, native.shape))
