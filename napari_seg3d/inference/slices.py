"""Run a 2D network over a volume: slice by slice, along one plane or the average of several, with neighbours as channels or without."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.inference.blocks import Place, blended
from napari_seg3d.inference.windows import CancelCheck, Forward, Progress, Tiling, Watch, activated
from napari_seg3d.networks.planes import AXIS, Plane, as_slices, with_context

# So many pixels go through the network at once: enough to keep it busy, few enough for any memory.
_PIXELS_AT_ONCE = 2**18


def slice_probabilities(
    networks: Callable[[Plane], Forward],
    image: NDArray[np.float32],
    planes: Sequence[Plane],
    context: int,
    tile: Callable[[tuple[int, ...]], Tiling],
    targets: Literal["exclusive", "overlapping"],
    channels: int,
    progress: Progress | None = None,
    cancelled: CancelCheck | None = None,
) -> NDArray[np.float32]:
    """Return the probabilities of a volume that a 2D network sees in slices.

    Parameters
    ----------
    networks : callable
        Of each plane, what takes ``(N, (2 * context + 1) * C, a, b)`` to logits ``(N, channels, a, b)``.
    image : array of shape (C, I, J, K)
        In canonical (RAS) order.
    planes : sequence of {"axial", "coronal", "sagittal"}
        Along which to cut; the probabilities of several are averaged.
    context : int
        How many neighbours on each side a slice is shown with.
    tile : callable
        The windows for slices with the sides ``(a, b)``.
    targets : {"exclusive", "overlapping"}
        Softmax or sigmoid.
    channels : int
        How many of the network's channels are logits, as for `activated`.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each window of each batch of slices.

    Returns
    -------
    array of shape (channels, I, J, K)
        float32.

    Raises
    ------
    Cancelled
        `cancelled` returned True.
    """
    watch = Watch(sum(window_count(image, plane, tile) for plane in planes), progress, cancelled)
    total: NDArray[np.float32] | None = None
    for plane in planes:
        for box, slab in slice_slabs(networks(plane), image, plane, context, tile, targets, channels, watch):
            if total is None:
                total = np.zeros((len(slab), *image.shape[1:]), dtype=np.float32)
            total[(slice(None), *box)] += slab
    assert total is not None  # there is always at least one slice
    total /= len(planes)
    return total


def slice_slabs(
    network: Forward,
    image: NDArray[np.float32],
    plane: Plane,
    context: int,
    tile: Callable[[tuple[int, ...]], Tiling],
    targets: Literal["exclusive", "overlapping"],
    channels: int,
    watch: Watch,
) -> Iterator[tuple[Place, NDArray[np.float32]]]:
    """Yield the probabilities of one plane's slices, some at a time: where they lie, and ``(channels, i, j, k)``.

    The parameters are those of `slice_probabilities`, with the network of this plane; `watch` is told of each window of each batch of slices.
    """
    slices, lowest = as_slices(image, plane), float(image.min())
    tiling, at_once = tile(slices.shape[1:3]), slices_at_once(slices.shape[1:3], tile)
    for first in range(0, slices.shape[3], at_once):
        batch = range(slices.shape[3])[first : first + at_once]
        seen = np.stack([with_context(slices, index, context) for index in batch])
        probabilities = activated(blended(network, seen, tiling, lowest, watch), targets, channels).numpy()
        place = slice(first, first + len(batch))
        box = tuple(place if axis == AXIS[plane] else slice(0, side) for axis, side in enumerate(image.shape[1:]))
        yield box, np.moveaxis(probabilities, 0, 1 + AXIS[plane])


def window_count(image: NDArray[np.float32], plane: Plane, tile: Callable[[tuple[int, ...]], Tiling]) -> int:
    """Return of how many windows a watch over one plane's slices is told."""
    slices = as_slices(image, plane)
    sides = slices.shape[1:3]
    batches: int = math.ceil(slices.shape[3] / slices_at_once(sides, tile))
    return len(tile(sides).corners) * batches


def slices_at_once(sides: tuple[int, ...], tile: Callable[[tuple[int, ...]], Tiling]) -> int:
    """Return how many slices with the given sides go through the network together."""
    return max(1, _PIXELS_AT_ONCE // int(np.prod(tile(sides).window)))
