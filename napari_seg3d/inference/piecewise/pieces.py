"""`Pieces`: an image that is read piece by piece, and what can be measured of it that way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError, Seg3dError
from napari_seg3d.inference.stopping import stop_if
from napari_seg3d.inference.windows import CancelCheck
from napari_seg3d.volumes import Box, Grid, Level, Volume, box_of, crop_grid

_MOST_VOXELS = 2**23  # in a piece from the disk: some of 32 MB are in memory at once
_MOST_OF_A_VOLUME = 2**21  # in one from memory, which is no faster for being larger
_HALF = 2**16


@dataclass(frozen=True)
class Pieces:
    """An image that stays where it is.

    Parameters
    ----------
    read : callable
        Returns the values ``(C, i, j, k)`` in a box, float32.
    channels : int
        C.
    grid : Grid
        Where it lies.
    sides : three ints
        Of what is best read at once.
    """

    read: Callable[[Box], NDArray[np.float32]]
    channels: int
    grid: Grid
    sides: tuple[int, ...]

    @property
    def boxes(self) -> Iterator[Box]:
        """Those that make up the image."""
        for corner in product(*(range(0, whole, side) for whole, side in zip(self.grid.shape, self.sides, strict=True))):
            ends = zip(corner, self.sides, self.grid.shape, strict=True)
            yield box_of(corner, [min(start + side, whole) for start, side, whole in ends])

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield the values of each box."""
        return map(self.read, self.boxes)

    def changed(self, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Pieces:
        """Return the same with each value changed by itself, when it is read."""
        return replace(self, read=lambda box: change(self.read(box)))

    def cropped(self, box: Box) -> Pieces:
        """Return a box of it."""

        def read(inside: Box) -> NDArray[np.float32]:
            first = [side.start for side in box]
            moved = [(one.start + at, one.stop + at) for one, at in zip(inside, first, strict=True)]
            return self.read(box_of([start for start, _ in moved], [stop for _, stop in moved]))

        return replace(self, read=read, grid=crop_grid(self.grid, box))

    def stoppable(self, cancelled: CancelCheck | None) -> Pieces:
        """Return the same, read no further when somebody asked to stop."""

        def read(box: Box) -> NDArray[np.float32]:
            stop_if(cancelled)
            return self.read(box)

        return replace(self, read=read)


def pieces_of(volume: Volume) -> Pieces:
    """Return a volume along R, A and S, as float32."""
    data = volume.grid.to_canonical(volume.data)
    j, k = data.shape[2:]

    def read(box: Box) -> NDArray[np.float32]:
        return np.asarray(data[(slice(None), *box)], dtype=np.float32)

    thickness = max(1, _MOST_OF_A_VOLUME // (j * k))
    return Pieces(read, len(data), volume.grid.canonical(), (thickness, j, k))


def canonical_pieces(level: Level, name: str) -> Pieces:
    """Return a level of a pyramid along R, A and S, as float32.

    Raises
    ------
    ReadError
        When a piece is read that is damaged.
    """
    _, i, j, k = level.data.shape
    grid = Grid((i, j, k), level.affine)
    # Only sliced and transposed, which a dask array can as well.
    lazy: Any = grid.to_canonical(cast("Any", level.data))

    def read(box: Box) -> NDArray[np.float32]:
        try:
            return np.asarray(lazy[(slice(None), *box)].compute(scheduler="synchronous"), dtype=np.float32)
        except (Seg3dError, MemoryError):
            raise
        except Exception as error:  # whatever the codec of a damaged block raises
            raise ReadError(f"{name} cannot be read in voxels {_told(box)} ({error}).", "Copy it again.") from error

    shape = grid.canonical().shape
    sides = [min(side, whole) for side, whole in zip(lazy.chunksize[1:], shape, strict=True)]
    while any(side < whole for side, whole in zip(sides, shape, strict=True)) and 2 * np.prod(sides) <= _MOST_VOXELS:
        smallest = min((axis for axis in range(3) if sides[axis] < shape[axis]), key=lambda axis: sides[axis])
        sides[smallest] = min(2 * sides[smallest], shape[smallest])
    return Pieces(read, int(lazy.shape[0]), grid.canonical(), tuple(sides))


def check_sound(image: Pieces, name: str) -> None:
    """Raise a ReadError where `fault_of` would find something wrong with an image."""
    low, high = np.full(image.channels, np.inf), np.full(image.channels, -np.inf)
    broken = 0
    for piece in image:
        broken += piece.size - int(np.count_nonzero(np.isfinite(piece)))
        low = np.minimum(low, piece.min(axis=(1, 2, 3)))
        high = np.maximum(high, piece.max(axis=(1, 2, 3)))
    if broken:
        raise ReadError(
            f"{name} holds {broken} voxels that are no finite numbers (NaN or infinity).",
            "Replace them, for example with the value of air, and write the file again.",
        )
    for lowest, highest in zip(low, high, strict=True):
        if lowest == highest:
            raise ReadError(
                f"{name} is constant: every voxel is {lowest:g}, so there is nothing to see.",
                "Export the scan again; leave it out if it is empty.",
            )


def extremes(image: Pieces) -> tuple[np.float32, np.float32]:
    """Return the smallest and the largest value."""
    found = [(piece.min(), piece.max()) for piece in image]
    return min(low for low, _ in found), max(high for _, high in found)


def mean_and_deviation(image: Pieces) -> tuple[np.float32, np.float32]:
    """Return the mean and the standard deviation of a sample, merged by Chan, Golub and LeVeque's formula (1979)."""
    count, mean, squares = 0, 0.0, 0.0
    for piece in image:
        own = float(piece.mean(dtype=np.float64))
        apart, together = own - mean, count + piece.size
        squares += float(piece.var(dtype=np.float64)) * piece.size + apart**2 * count * piece.size / together
        mean += apart * piece.size / together
        count = together
    return np.float32(mean), np.float32(np.sqrt(squares / max(count - 1, 1)))


def percentiles(image: Pieces, wanted: tuple[float, float]) -> NDArray[np.float64]:
    """Return the values below which so many percent lie, as `numpy.percentile` does: exactly, in two passes.

    The bits of a float32, once those of negative numbers are turned, sort like the numbers. The first pass counts their upper halves,
    the second one the lower halves of the few that the wanted ones lie in.
    """
    upper = np.zeros(_HALF, np.int64)
    for piece in image:
        upper += np.bincount((_sortable(piece) >> 16).ravel(), minlength=_HALF)
    ends = np.cumsum(upper)
    places = [share / 100 * (int(ends[-1]) - 1) for share in wanted]
    ranks = sorted({int(place) for place in places} | {min(int(place) + 1, int(ends[-1]) - 1) for place in places})
    bins = {rank: int(np.searchsorted(ends, rank, side="right")) for rank in ranks}
    lower = {number: np.zeros(_HALF, np.int64) for number in bins.values()}
    for piece in image:
        keys = _sortable(piece).ravel()
        for number, counts in lower.items():
            counts += np.bincount(keys[keys >> 16 == number] & (_HALF - 1), minlength=_HALF)
    values = {}
    for rank, number in bins.items():
        within = rank - int(ends[number] - upper[number])
        key = number << 16 | int(np.searchsorted(np.cumsum(lower[number]), within, side="right"))
        values[rank] = float(_value(key))
    last = int(ends[-1]) - 1
    found = []
    for place in places:
        below, above = values[int(place)], values[min(int(place) + 1, last)]
        found.append(below + (above - below) * (place - int(place)))
    return np.array(found)


def _sortable(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    bits = np.ascontiguousarray(values + np.float32(0)).view(np.uint32)  # minus zero is zero
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _value(key: int) -> np.float32:
    bits = key ^ 1 << 31 if key >> 31 else ~key & 0xFFFFFFFF
    return np.uint32(bits).view(np.float32)


def _told(box: Box) -> str:
    return " x ".join(f"{side.start} to {side.stop}" for side in box)
