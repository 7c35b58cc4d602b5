"""From probabilities on the preprocessed grid to labels on the scan's own: resampled first, decided afterwards.

Resampled labels would lose thin structures that resampled probabilities keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.volumes import Grid, Volume, lattice_offset, resample, smallest_integer


def bring_home(
    probabilities: NDArray[np.float32], grid: Grid, native: Grid, targets: Literal["exclusive", "overlapping"]
) -> NDArray[np.integer]:
    """Return what is where on the scan's own grid.

    One channel is resampled at a time, because all of them together may be larger than the memory.

    Parameters
    ----------
    probabilities : array of shape (channels, i, j, k)
        Of the classes, the background first, or of each label.
    grid : Grid
        Where they lie.
    native : Grid
        The scan's own grid.
    targets : {"exclusive", "overlapping"}
        Whether the likeliest class of a voxel is taken, or each label that is likelier than not.

    Returns
    -------
    array of shape (T, I, J, K)
        On `native`. Exclusive: T = 1, class indices. Overlapping: 0 and 1 for each label. Outside of the preprocessed grid is background.
    """
    canonical = native.canonical()
    channels = _channels_on(probabilities, grid, canonical)
    if targets == "overlapping":
        labels = np.stack([(channel > 0.5).astype(np.uint8) for channel in channels])
    else:
        best = np.full(canonical.shape, -1.0, dtype=np.float32)
        labels = np.zeros((1, *canonical.shape), dtype=smallest_integer(0, len(probabilities) - 1))
        for index, channel in enumerate(channels):
            labels[0][channel > best] = index
            np.maximum(best, channel, out=best)
    return np.ascontiguousarray(native.from_canonical(labels))


def _channels_on(probabilities: NDArray[np.float32], grid: Grid, canonical: Grid) -> Iterator[NDArray[np.float32]]:
    """Yield each channel on the grid `canonical`."""
    known = Volume(probabilities, grid.affine).canonical()
    offset = lattice_offset(known.grid, canonical)
    if offset is None:
        for channel in probabilities:
            yield resample(Volume(channel[np.newaxis], grid.affine), canonical)[0]
        return
    # The same voxels, perhaps cropped or padded.
    ends = [(start, start + side) for start, side in zip(offset, known.grid.shape, strict=True)]
    target = tuple(slice(max(0, first), max(0, last)) for first, last in ends)
    inside = tuple(
        slice(max(0, -first), max(0, min(last, side) - first)) for (first, last), side in zip(ends, canonical.shape, strict=True)
    )
    for channel in known.data:
        whole = np.zeros(canonical.shape, dtype=np.float32)
        whole[target] = channel[inside]
        yield whole
