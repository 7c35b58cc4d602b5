"""A picture of one slice: the scan, the outline of the truth, and what the model says filled in."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.evaluation import UNKNOWN
from napari_seg3d.volumes import Grid

_OPACITY = 0.4
_GOLDEN = 0.618034  # neighbouring labels get colours far from each other


class Overlay:
    """The axial slice of a case that shows most of its labels, the patient's right on the left and anterior up.

    Parameters
    ----------
    scan : array of shape (I, J, K)
        In the voxel order of its file.
    reference : array of shape (T, I, J, K)
        The truth.
    grid : Grid
        Where both lie.
    """

    def __init__(self, scan: NDArray[np.generic], reference: NDArray[np.integer], grid: Grid) -> None:
        self._grid = grid
        known = grid.to_canonical(np.where(reference == UNKNOWN, 0, reference))
        per_slice = np.count_nonzero(known, axis=(0, 1, 2))
        self._index = int(per_slice.argmax()) if per_slice.any() else known.shape[3] // 2
        plane = np.nan_to_num(self._plane(scan[np.newaxis])[0].astype(np.float32), posinf=0.0, neginf=0.0)
        low, high = np.percentile(plane, (1, 99))
        self._grey = np.clip((plane - low) / (high - low or 1), 0, 1)
        self._reference = self._plane(np.where(reference == UNKNOWN, 0, reference))

    def draw(self, predicted: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return a picture ``(height, width, 3)`` of a prediction ``(T, I, J, K)``."""
        picture = np.repeat(self._grey[..., np.newaxis], 3, axis=2)
        for label, mask in _masks(self._plane(predicted)):
            picture[mask] = (1 - _OPACITY) * picture[mask] + _OPACITY * _colour(label)
        for label, mask in _masks(self._reference):
            picture[_outline(mask)] = _colour(label)
        return np.round(255 * picture).astype(np.uint8)

    def _plane(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        # Canonical axes run to the right and anterior; a picture runs to the right of the page and down.
        return self._grid.to_canonical(array)[..., self._index][:, ::-1, ::-1].swapaxes(1, 2)


def _masks(classes: NDArray[np.generic]) -> list[tuple[int, NDArray[np.bool_]]]:
    if len(classes) > 1:
        return [(channel, plane == 1) for channel, plane in enumerate(classes, start=1)]
    return [(int(value), classes[0] == value) for value in np.unique(classes) if value]


def _colour(label: int) -> NDArray[np.float64]:
    return np.array(colorsys.hsv_to_rgb(label * _GOLDEN % 1, 0.8, 1.0))


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(mask, 1)
    inner: NDArray[np.bool_] = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
