"""From probabilities on the preprocessed grid to labels on the scan's own: resampled first, decided afterwards.

Resampled labels would lose thin structures that resampled probabilities keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.volumes import Box, Grid, Volume, crop_grid, lattice_offset, resample, smallest_integer

_HAIR = 1e-3  # voxels: what an affine's last digits may be off by at the far corner of a scan


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
    return np.ascontiguousarray(native.from_canonical(_decided(probabilities, grid, canonical, targets)))


def bring_slabs_home(
    slabs: Iterable[tuple[int, NDArray[np.float32]]],
    grid: Grid,
    native: Grid,
    targets: Literal["exclusive", "overlapping"],
    axis: int = 0,
) -> NDArray[np.integer]:
    """As `bring_home`, of probabilities that come slab after slab, so that all of them never exist at once.

    Parameters
    ----------
    slabs : iterable of (int, array of shape (channels, i, j, k))
        First voxel along `axis`, and the probabilities from there on; one after the other, without gaps.
    grid : Grid
        Where all of them together lie.
    native, targets
        As for `bring_home`.
    axis : int
        Along which the slabs follow one another.
    """
    canonical = native.canonical()
    planes = _planes_along(grid, canonical, axis)
    if planes is None:
        # Axes of the two that are not parallel: a plane of the scan meets all slabs.
        return bring_home(np.concatenate([slab for _, slab in slabs], axis=1 + axis), grid, native, targets)
    along, place = planes
    labels: NDArray[np.integer] | None = None
    before: NDArray[np.float32] | None = None  # the last plane of the slab before: values between the two need both
    is_done = np.zeros(len(place), dtype=bool)
    for first, slab in slabs:
        end = first + slab.shape[1 + axis]
        if before is not None:
            first, slab = first - 1, np.concatenate([before, slab], axis=1 + axis)
        before = np.take(slab, [-1], axis=1 + axis)
        is_last = end == grid.shape[axis]
        ready = np.flatnonzero(~is_done & (is_last | (place <= end - 1)))
        if len(ready) == 0:
            continue
        is_done[ready] = True
        part = slice(int(ready.min()), int(ready.max()) + 1)
        known = crop_grid(grid, _box(grid, axis, slice(first, end)))
        found = _decided(slab, known, crop_grid(canonical, _box(canonical, along, part)), targets)
        if labels is None:
            labels = np.zeros((len(found), *canonical.shape), dtype=found.dtype)
        labels[(slice(None), *_box(canonical, along, part))] = found
    assert labels is not None  # there is always at least one slab, and the last one completes the scan
    return np.ascontiguousarray(native.from_canonical(labels))


def _planes_along(grid: Grid, canonical: Grid, axis: int) -> tuple[int, NDArray[np.float64]] | None:
    """Return which axis of `canonical` runs along `axis` of `grid`, and where on that each of its planes lies; None for oblique ones."""
    voxels = np.linalg.solve(grid.affine, canonical.affine)
    along = int(np.abs(voxels[axis, :3]).argmax())
    across = np.delete(voxels[axis, :3] * (np.array(canonical.shape) - 1), along)
    if np.abs(across).sum() > _HAIR:
        return None
    place = voxels[axis, along] * np.arange(canonical.shape[along]) + voxels[axis, 3]
    return along, np.round(place, 6)


def _box(grid: Grid, axis: int, part: slice) -> Box:
    i, j, k = (part if at == axis else slice(0, side) for at, side in enumerate(grid.shape))
    return i, j, k


def _decided(
    probabilities: NDArray[np.float32], grid: Grid, canonical: Grid, targets: Literal["exclusive", "overlapping"]
) -> NDArray[np.integer]:
    """Return labels ``(T, I, J, K)`` on the grid `canonical`."""
    channels = _channels_on(probabilities, grid, canonical)
    if targets == "overlapping":
        return np.stack([(channel > 0.5).astype(np.uint8) for channel in channels])
    best = np.full(canonical.shape, -1.0, dtype=np.float32)
    labels = np.zeros((1, *canonical.shape), dtype=smallest_integer(0, len(probabilities) - 1))
    for index, channel in enumerate(channels):
        labels[0][channel > best] = index
        np.maximum(best, channel, out=best)
    return labels


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
