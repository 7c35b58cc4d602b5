"""Slices of a volume along one of the three planes, and the neighbours that a 2.5D network sees beside each of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)
Plane = Literal["axial", "coronal", "sagittal"]
#: The axis of a canonical (RAS) volume ``(I, J, K)`` along which the slices of each plane are stacked.
AXIS = MappingProxyType({"sagittal": 0, "coronal": 1, "axial": 2})
#: The plane whose slices are stacked along each axis.
PLANE_OF: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")


def as_slices(array: NDArray[T], plane: Plane) -> NDArray[T]:
    """Return a canonical volume as a stack of slices.

    Parameters
    ----------
    array : array of shape (C, I, J, K)
        In canonical (RAS) order.
    plane : {"axial", "coronal", "sagittal"}
        Along which to cut.

    Returns
    -------
    array of shape (C, a, b, slices)
        A view. Axial slices have the sides (I, J), coronal ones (I, K), sagittal ones (J, K).
    """
    return np.moveaxis(array, AXIS[plane] + 1, 3)


def from_slices(array: NDArray[T], plane: Plane) -> NDArray[T]:
    """Return a stack of slices ``(C, a, b, slices)`` as a canonical volume ``(C, I, J, K)``: the inverse of `as_slices`, a view."""
    return np.moveaxis(array, 3, AXIS[plane] + 1)


def with_context(slices: NDArray[T], index: int, context: int) -> NDArray[T]:
    """Return one slice with its neighbours as further channels.

    Parameters
    ----------
    slices : array of shape (C, a, b, slices)
        As `as_slices` gives them.
    index : int
        Which slice.
    context : int
        How many neighbours on each side. At the ends the last slice is repeated.

    Returns
    -------
    array of shape ((2 * context + 1) * C, a, b)
        All channels of slice ``index - context``, then of the next one, up to slice ``index + context``. A view without context, else
        a copy.
    """
    if context == 0:
        return slices[..., index]
    return np.concatenate([slices[..., place] for place in neighbours(index, context, slices.shape[-1])])


def neighbours(index: int, context: int, slices: int) -> Sequence[int]:
    """Return the slices that stand for ``index - context`` to ``index + context`` of a stack: at its ends, the last one again."""
    return np.clip(np.arange(index - context, index + context + 1), 0, slices - 1).tolist()  # type: ignore[no-any-return]
