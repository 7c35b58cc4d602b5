"""Run a 2D network over a volume: slice by slice, along one plane or the average of several, with neighbours as channels or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.inference.windows import CancelCheck, Forward, Progress, Tiling, Watch, activated, blended
from napari_seg3d.networks.planes import Plane, as_slices, with_context

# So many pixels go through the network at once: enough to keep it busy, few enough for any memory.
_PIXELS_AT_ONCE = 2**18


def slice_probabilities(
    network: Forward,
    image: NDArray[np.float32],
    planes: Sequence[Plane],
    context: int,
    tile: Callable[[tuple[int, ...]], Tiling],
    targets: Literal["exclusive", "overlapping"],
    progress: Progress | None = None,
    cancelled: CancelCheck | None = None,
) -> NDArray[np.float32]:
    """Return the probabilities of a volume that a 2D network sees in slices.

    Parameters
    ----------
    network : callable
        ``(N, (2 * context + 1) * C, a, b)`` to logits ``(N, channels, a, b)``.
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
    lowest = float(image.min())
    work = []
    for plane in planes:
        slices = as_slices(image, plane)
        tiling = tile(slices.shape[1:3])
        at_once = max(1, _PIXELS_AT_ONCE // int(np.prod(tiling.window)))
        work += [(plane, tiling, range(slices.shape[3])[first : first + at_once]) for first in range(0, slices.shape[3], at_once)]
    watch = Watch(sum(len(tiling.corners) for _, tiling, _ in work), progress, cancelled)
    total: NDArray[np.float32] | None = None
    for plane, tiling, batch in work:
        slices = as_slices(image, plane)
        seen = np.stack([with_context(slices, index, context) for index in batch])
        probabilities = activated(blended(network, seen, tiling, lowest, watch), targets).numpy()
        if total is None:
            total = np.zeros((probabilities.shape[1], *image.shape[1:]), dtype=np.float32)
        as_slices(total, plane)[..., batch.start : batch.stop] += np.moveaxis(probabilities, 0, -1)
    assert total is not None  # there is always at least one slice
    total /= len(planes)
    return total
