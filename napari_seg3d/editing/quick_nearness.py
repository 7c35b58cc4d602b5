"""How near the strokes of a label are to each voxel of a box, which weighs what the quick model says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.change import Box

Weights = NDArray[np.float32]

# A label weighs by this power of the distance less, so that what lies twice as far from its strokes as from those of another is an
# eighth as likely; far from all strokes the distances are alike, and what a voxel looks like decides.
_POWER = 3.0
# Distances are computed for so many places at most, and are linear between them.
_MOST = 1 << 17


class Nearness:
    """How near the strokes of one label are in a box.

    Parameters
    ----------
    places : array (n, axes)
        Voxels of the strokes.
    spacing : sequence of float
        The mm of each axis.
    box : tuple of slice
        Where it is wanted.
    """

    def __init__(self, places: NDArray[np.integer], spacing: Sequence[float], box: Box) -> None:
        from scipy.spatial import cKDTree

        sides = np.asarray(spacing, np.float64)
        step = max(int(np.ceil((np.prod([side.stop - side.start for side in box]) / _MOST) ** (1 / len(box)))), 1)
        self._nodes = [np.unique(np.append(np.arange(side.start, side.stop, step), side.stop - 1)) for side in box]
        nodes = np.stack(np.meshgrid(*self._nodes, indexing="ij"), axis=-1) * sides
        far = cKDTree(places * sides).query(nodes.reshape(-1, len(box)))[0]
        self._far = far.astype(np.float32).reshape(nodes.shape[:-1])
        self._shortest = np.float32(sides.min())

    def weights(self, part: Box) -> Weights:
        """Return what the probability of the label in each voxel of a part of the box is multiplied by.

        These are inverse distances (D. Shepard, A two-dimensional interpolation function for irregularly-spaced data, 1968).
        """
        far = self._far
        for axis, (side, nodes) in enumerate(zip(part, self._nodes, strict=True)):
            far = _along(far, axis, nodes, np.arange(side.start, side.stop))
        weights: Weights = (far + self._shortest) ** np.float32(-_POWER)
        return weights


def _along(values: Weights, axis: int, nodes: NDArray[np.integer], wanted: NDArray[np.integer]) -> Weights:
    """Interpolate linearly along an axis."""
    if np.array_equal(nodes, wanted):
        return values
    # One after the other along each axis, as a product of matrices.
    shares = np.stack([np.interp(wanted, nodes, one) for one in np.eye(len(nodes))]).astype(np.float32)
    found: Weights = np.moveaxis(np.tensordot(values, shares, (axis, 0)), -1, axis)
    return np.ascontiguousarray(found)
