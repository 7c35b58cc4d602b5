"""The pieces of a mask, and the holes in it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray


def pieces_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return the number of the piece that each voxel belongs to (0 for none), and the voxels of piece 1, 2, ….

    Voxels that share a face, an edge or a corner belong to one piece.
    """
    from scipy import ndimage

    pieces, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim, np.bool_))
    return pieces, np.bincount(pieces.ravel(), minlength=count + 1)[1:]


def enclosed(mask: NDArray[np.bool_], across: Collection[int] = ()) -> NDArray[np.bool_]:
    """Return what a mask encloses, connected by faces; along the axes of `across` nothing needs to be closed."""
    from scipy import ndimage

    around, _ = ndimage.label(~mask, structure=_faces(mask.ndim, across))
    open_ = np.zeros(around.max(initial=0) + 1, dtype=bool)
    open_[0] = True  # the mask itself
    for axis in set(range(mask.ndim)) - set(across):
        ends = np.moveaxis(around, axis, 0)
        open_[ends[0]] = open_[ends[-1]] = True
    inside: NDArray[np.bool_] = ~open_[around]
    return inside


def holes_of(data: NDArray[np.generic], label: int, across: Collection[int] = ()) -> NDArray[np.bool_]:
    """Return the background of a label's box that the label encloses and touches.

    A speck in a tumour in a liver belongs to the tumour. The background is connected by faces.

    Parameters
    ----------
    data : array
        The box of the label.
    label : int
        The label.
    across : collection of int
        Axes along which nothing needs to be closed: a hole in the slices across them is one.
    """
    from scipy import ndimage

    own = data == label
    faces = _faces(data.ndim, across)
    specks, count = ndimage.label(enclosed(own, across) & (data == 0), structure=faces)
    touched = np.zeros(count + 1, dtype=bool)
    if count:
        touched[specks[ndimage.binary_dilation(own, structure=faces)]] = True
    touched[0] = False
    holes: NDArray[np.bool_] = touched[specks]
    return holes


def _faces(axes: int, across: Collection[int]) -> NDArray[np.bool_]:
    """Return the neighbours of a voxel that share a face with it, but for those along some axes."""
    faces = np.zeros((3,) * axes, np.bool_)
    for axis in range(axes):
        sides = [1] * axes
        for side in (1,) if axis in across else (0, 1, 2):
            sides[axis] = side
            faces[tuple(sides)] = True
    return faces
