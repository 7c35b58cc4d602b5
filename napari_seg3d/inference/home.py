"""From probabilities on the preprocessed grid to labels on the scan's own: resampled first, decided afterwards.

Resampled labels would lose thin structures that resampled probabilities keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.inference.blocks import Place
from napari_seg3d.inference.stopping import stop_if
from napari_seg3d.inference.windows import CancelCheck
from napari_seg3d.volumes import Box, Grid, Volume, box_of, crop_grid, lattice_offset, resample, smallest_integer

#: Told of a part of a scan that is decided: its box, and the labels in it, in the voxel order of the scan.
Partly = Callable[[Box, NDArray[np.generic]], None]
_SMALLEST = 1e-12  # keeps a logarithm finite
_HAIR = 1e-3  # voxels: what an affine's last digits may be off by at the far corner of a scan


@dataclass(frozen=True)
class Wanted:
    """What a prediction is asked for beside the labels.

    Parameters
    ----------
    probabilities : bool
        Those of each channel.
    uncertainty : bool
        The entropy, and where several answers were averaged how much they disagree.
    """

    probabilities: bool = False
    uncertainty: bool = False


@dataclass(frozen=True)
class Answer:
    """What is where on a grid.

    Parameters
    ----------
    labels : array of shape (T, I, J, K)
        Exclusive: T = 1, class indices. Overlapping: 0 and 1 for each label.
    probabilities : array of shape (channels, I, J, K), optional
        float32. Outside of what the network saw all are 0.
    uncertainty : array of shape (1 or 2, I, J, K), optional
        float32, 0 to 1. The entropy, where 1 is that of classes which are all alike likely (of overlapping labels, that of one label
        which may as well be there as not); and the disagreement in the same units, where there were several answers.
    """

    labels: NDArray[np.integer]
    probabilities: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Those that there are, by name."""
        found = {"labels": self.labels, "probabilities": self.probabilities, "uncertainty": self.uncertainty}
        return {name: array for name, array in found.items() if array is not None}

    def in_box(self, box: Box, shape: tuple[int, ...]) -> Answer:
        """Return the same in a box of a larger grid that is background otherwise."""

        def placed(array: NDArray[np.generic]) -> NDArray[np.generic]:
            whole = np.zeros((len(array), *shape), dtype=array.dtype)
            whole[(slice(None), *box)] = array
            return whole

        return Answer(**{name: placed(array) for name, array in self.arrays.items()})  # type: ignore[arg-type]

    def cut(self, box: Box) -> Answer:
        """Return a box of it."""
        return Answer(**{name: array[(slice(None), *box)] for name, array in self.arrays.items()})  # type: ignore[arg-type]

    def on(self, native: Grid) -> Answer:
        """Return the same in the voxel order of `native`, of whose canonical grid it is."""
        return Answer(**{name: np.ascontiguousarray(native.from_canonical(array)) for name, array in self.arrays.items()})


def bring_home(
    probabilities: NDArray[np.float32],
    grid: Grid,
    native: Grid,
    targets: Literal["exclusive", "overlapping"],
    wanted: Wanted = Wanted(),
    channels: int | None = None,
    cancelled: CancelCheck | None = None,
) -> Answer:
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
    wanted : Wanted
        What is returned beside the labels.
    channels : int, optional
        How many channels are probabilities; one more is the mean entropy of several answers, as `mirrored` gives it. Left out: all.
    cancelled : callable, optional
        Asked before each channel.

    Returns
    -------
    Answer
        On `native`. Outside of the preprocessed grid is background.

    Raises
    ------
    Cancelled
        `cancelled` returned True.
    """
    return _decided(probabilities, grid, native.canonical(), targets, wanted, channels, cancelled).on(native)


def bring_blocks_home(
    blocks: Iterable[tuple[Place, NDArray[np.float32]]],
    grid: Grid,
    native: Grid,
    targets: Literal["exclusive", "overlapping"],
    axes: tuple[int, int] = (0, 1),
    wanted: Wanted = Wanted(),
    channels: int | None = None,
    partly: Partly | None = None,
    cancelled: CancelCheck | None = None,
) -> Answer:
    """As `bring_home`, of probabilities that come block after block, so that all of them never exist at once.

    Parameters
    ----------
    blocks, grid, native, targets, axes, wanted, channels, cancelled
        As for `blocks_home`.
    partly : callable, optional
        Told of each box of the scan that is decided.
    """
    canonical = native.canonical()
    answer: Answer | None = None
    for box, found in blocks_home(blocks, grid, canonical, targets, axes, wanted, channels, cancelled):
        if answer is None:
            blank = {name: np.zeros((len(array), *canonical.shape), array.dtype) for name, array in found.arrays.items()}
            answer = Answer(**blank)
        for name, array in found.arrays.items():
            answer.arrays[name][(slice(None), *box)] = array
        if partly is not None:
            part = native.box_from_canonical(box)
            partly(part, crop_grid(native, part).from_canonical(found.labels))
    assert answer is not None  # there is always at least one block, and the last one completes the scan
    return answer.on(native)


def blocks_home(
    blocks: Iterable[tuple[Place, NDArray[np.float32]]],
    grid: Grid,
    canonical: Grid,
    targets: Literal["exclusive", "overlapping"],
    axes: tuple[int, int] = (0, 1),
    wanted: Wanted = Wanted(),
    channels: int | None = None,
    cancelled: CancelCheck | None = None,
) -> Iterator[tuple[Box, Answer]]:
    """Yield what is where in box after box of the scan, each as soon as the blocks so far decide it.

    Parameters
    ----------
    blocks : iterable of (tuple of slice, array of shape (channels, i, j, k))
        Where they lie, and the probabilities, in rows along the first of `axes`, and within a row along the second; of the third they hold
        everything.
    grid : Grid
        Where all of them together lie.
    canonical : Grid
        The scan's own grid, in canonical order.
    targets, wanted, channels, cancelled
        As for `bring_home`.
    axes : two ints
        Along which the blocks follow one another.

    Yields
    ------
    tuple of slice
        Of `canonical`. The boxes of all make up the scan.
    Answer
        In that box.
    """
    ways = [_Way.along(grid, canonical, axis) for axis in axes]
    rows, columns = ways
    if rows is None or columns is None:
        # Axes of the two that are not parallel: a plane of the scan meets all blocks.
        whole = box_of((0, 0, 0), canonical.shape)
        yield whole, _decided(_joined(blocks, grid), grid, canonical, targets, wanted, channels, cancelled)
        return
    seams = _Seams(axes)
    for place, block in blocks:
        if seams.is_new_row(place):
            rows.step(place[axes[0]].stop)
            columns.restart()
        columns.step(place[axes[1]].stop)
        known, seen = seams.joined(place, block)
        if not rows.ready or not columns.ready:
            continue
        part = [slice(0, side) for side in canonical.shape]
        part[rows.axis], part[columns.axis] = rows.part, columns.part
        i, j, k = part
        inside = crop_grid(canonical, (i, j, k))
        yield (i, j, k), _decided(seen, crop_grid(grid, known), inside, targets, wanted, channels, cancelled)


class _Way:
    """The planes of the scan along an axis of the blocks, each of which is decided once: by the first block that reaches beyond it."""

    def __init__(self, axis: int, place: NDArray[np.float64], length: int) -> None:
        self.axis, self._place, self._length = axis, place, length
        self.restart()

    @classmethod
    def along(cls, grid: Grid, canonical: Grid, axis: int) -> _Way | None:
        """Return the planes of `canonical` along an axis of `grid`; None for oblique ones."""
        voxels = np.linalg.solve(grid.affine, canonical.affine)
        along = int(np.abs(voxels[axis, :3]).argmax())
        across = np.delete(voxels[axis, :3] * (np.array(canonical.shape) - 1), along)
        if np.abs(across).sum() > _HAIR:
            return None
        place = voxels[axis, along] * np.arange(canonical.shape[along]) + voxels[axis, 3]
        return cls(along, np.round(place, 6), grid.shape[axis])

    def restart(self) -> None:
        """Begin anew, as each row does with its columns."""
        self._is_done = np.zeros(len(self._place), dtype=bool)
        self._now = self._is_done.copy()

    def step(self, end: int) -> None:
        """Go on to what ends before plane `end` of the blocks."""
        self._is_done |= self._now
        self._now = ~self._is_done & ((end == self._length) | (self._place <= end - 1))

    @property
    def ready(self) -> bool:
        """Whether there are planes to decide."""
        return bool(self._now.any())

    @property
    def part(self) -> slice:
        """Which ones."""
        found = np.flatnonzero(self._now)
        return slice(int(found[0]), int(found[-1]) + 1)


class _Seams:
    """The last planes of the blocks before: values between two blocks need both."""

    def __init__(self, axes: tuple[int, int]) -> None:
        self._row, self._column = axes
        self._top: int | None = None
        self._above: list[NDArray[np.float32]] = []  # the last planes of the row before, one for each of its blocks
        self._below: list[NDArray[np.float32]] = []
        self._beside: NDArray[np.float32] | None = None

    def is_new_row(self, box: Place) -> bool:
        """Return whether a block begins a row, and turn to that."""
        if box[self._row].start == self._top:
            return False
        self._top, self._above, self._below, self._beside = box[self._row].start, self._below, [], None
        return True

    def joined(self, box: Place, block: NDArray[np.float32]) -> tuple[Box, NDArray[np.float32]]:
        """Return a block with the planes before it along both axes, where there are any, and where that lies."""
        known, seen = list(box), block
        self._below.append(np.take(block, [-1], axis=1 + self._row))
        if self._above:
            # Rows have the same columns: the windows stand in a lattice.
            seen = np.concatenate([self._above[len(self._below) - 1], seen], axis=1 + self._row)
            known[self._row] = slice(box[self._row].start - 1, box[self._row].stop)
        if self._beside is not None:
            seen = np.concatenate([self._beside, seen], axis=1 + self._column)
            known[self._column] = slice(box[self._column].start - 1, box[self._column].stop)
        self._beside = np.take(seen, [-1], axis=1 + self._column)
        i, j, k = known
        return (i, j, k), seen


def _joined(blocks: Iterable[tuple[Place, NDArray[np.float32]]], grid: Grid) -> NDArray[np.float32]:
    whole: NDArray[np.float32] | None = None
    for box, block in blocks:
        if whole is None:
            whole = np.empty((len(block), *grid.shape), dtype=np.float32)
        whole[(slice(None), *box)] = block
    assert whole is not None  # there is always at least one block
    return whole


def _decided(
    probabilities: NDArray[np.float32],
    grid: Grid,
    canonical: Grid,
    targets: Literal["exclusive", "overlapping"],
    wanted: Wanted,
    channels: int | None,
    cancelled: CancelCheck | None,
) -> Answer:
    """Return the answer on the grid `canonical`."""
    count = len(probabilities) if channels is None else channels
    return decided(_channels_on(probabilities, grid, canonical, cancelled), count, canonical.shape, targets, wanted)


def decided(
    found: Iterable[NDArray[np.float32]],
    count: int,
    shape: tuple[int, ...],
    targets: Literal["exclusive", "overlapping"],
    wanted: Wanted,
) -> Answer:
    """Return the answer that probabilities give.

    Parameters
    ----------
    found : iterable of arrays of shape (I, J, K)
        Of each channel in turn; one more is the mean entropy of several answers.
    count : int
        How many are probabilities.
    shape : tuple of int
        ``(I, J, K)``.
    targets, wanted
        As for `bring_home`.
    """
    kept = np.zeros((count, *shape), dtype=np.float32) if wanted.probabilities else None
    doubt = _Doubt(targets, count) if wanted.uncertainty else None
    exclusive = targets == "exclusive"
    labels: NDArray[np.integer] = np.zeros(
        (1 if exclusive else count, *shape), dtype=smallest_integer(0, count - 1) if exclusive else np.uint8
    )
    best = np.full(shape, -1.0, dtype=np.float32) if exclusive else None
    for index, channel in enumerate(found):
        if index == count:
            if doubt is not None:
                doubt.compare(channel)
            break
        if best is not None:
            labels[0][channel > best] = index
            np.maximum(best, channel, out=best)
        else:
            labels[index] = channel > 0.5
        if kept is not None:
            kept[index] = channel
        if doubt is not None:
            doubt.add(channel)
    return Answer(labels, kept, doubt.maps() if doubt is not None else None)


class _Doubt:
    """The entropy of the probabilities of a voxel, added up channel by channel."""

    def __init__(self, targets: Literal["exclusive", "overlapping"], channels: int) -> None:
        self._exclusive = targets == "exclusive"
        self._highest = np.log(max(channels, 2)) if self._exclusive else np.log(2)
        self._total: NDArray[np.float32] | None = None
        self._worst: NDArray[np.float32] | None = None  # of overlapping labels, the most doubtful one is what matters
        self._disagreement: NDArray[np.float32] | None = None

    def add(self, probability: NDArray[np.float32]) -> None:
        entropy = entropy_of_channel(probability, "exclusive" if self._exclusive else "overlapping")
        if self._total is None or self._worst is None:
            self._total, self._worst = entropy, entropy.copy()
        else:
            self._total += entropy
            np.maximum(self._worst, entropy, out=self._worst)

    def compare(self, mean_entropy: NDArray[np.float32]) -> None:
        assert self._total is not None
        self._disagreement = self._total - mean_entropy

    def maps(self) -> NDArray[np.float32]:
        entropy = self._total if self._exclusive else self._worst
        assert entropy is not None
        maps = [entropy] if self._disagreement is None else [entropy, self._disagreement]
        return np.asarray(np.clip(np.stack(maps) / self._highest, 0, 1), dtype=np.float32)


def entropy_of_channel(probability: NDArray[np.float32], targets: Literal["exclusive", "overlapping"]) -> NDArray[np.float32]:
    """Return what a channel adds to the entropy of a voxel, in nats: of a label that may overlap others, there or not there."""
    entropy = -probability * np.log(np.clip(probability, _SMALLEST, None))
    if targets == "overlapping":
        entropy -= (1 - probability) * np.log(np.clip(1 - probability, _SMALLEST, None))
    return np.asarray(entropy, dtype=np.float32)


def _channels_on(
    probabilities: NDArray[np.float32], grid: Grid, canonical: Grid, cancelled: CancelCheck | None
) -> Iterator[NDArray[np.float32]]:
    """Yield each channel on the grid `canonical`."""
    known = Volume(probabilities, grid.affine).canonical()
    offset = lattice_offset(known.grid, canonical)
    if offset is None:
        for channel in probabilities:
            stop_if(cancelled)
            yield resample(Volume(channel[np.newaxis], grid.affine), canonical)[0]
        return
    # The same voxels, perhaps cropped or padded.
    ends = [(start, start + side) for start, side in zip(offset, known.grid.shape, strict=True)]
    target = tuple(slice(max(0, first), max(0, last)) for first, last in ends)
    inside = tuple(
        slice(max(0, -first), max(0, min(last, side) - first)) for (first, last), side in zip(ends, canonical.shape, strict=True)
    )
    for channel in known.data:
        stop_if(cancelled)
        whole = np.zeros(canonical.shape, dtype=np.float32)
        whole[target] = channel[inside]
        yield whole
