"""The answers of windows that overlap, put together block by block: each block is given away as soon as no window adds to it any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.inference.windows import Forward, Tiling, Watch

if TYPE_CHECKING:
    import torch

#: Where in an image something lies.
Place = tuple[slice, ...]
MOST_NUMBERS = 2**20  # in a block that is given away: some of 4 MB are nothing beside what is kept
_EVERY = (slice(None), slice(None))  # image and channel


def blocks(
    network: Forward,
    images: NDArray[np.float32],
    tiling: Tiling,
    lowest: float,
    watch: Watch,
    axes: tuple[int, int] = (0, 1),
    *,
    ahead: bool = False,
) -> Iterator[tuple[Place, torch.Tensor]]:
    """Yield the logits of images that are seen window by window, block after block.

    The windows go in rows along the first of `axes`, and in columns along the second. Kept are what the windows of one column add to, and
    what the rows so far have added to the next one: with an overlap of one half, half a window across the image, however long that is.

    Parameters
    ----------
    network : callable
        ``(N, C, *window)`` to logits ``(N, channels, *window)``.
    images : array of shape (N, C, *sides)
        Any size; two or three sides.
    tiling : Tiling
        The windows.
    lowest : float
        With what images smaller than a window are padded. A window that holds nothing else (the air around the patient, clipped) is
        answered once: the network would say the same each time.
    watch : Watch
        Told of each window.
    axes : two ints
        Among the sides: along which the rows follow one another, and the blocks of a row.
    ahead : bool
        Whether the network sees the next window while the answer of one is put in its place; of use where another device computes.

    Yields
    ------
    tuple of slice
        Where in the image the block lies: of the other axis, if there is one, it holds everything.
    tensor of shape (N, channels, *sides of the block)
        float32, on the CPU. It may be changed, and holds until the next one is asked for.

    Raises
    ------
    Cancelled
        `watch` says so.
    """
    padded = tiling.pad(images, lowest)
    if len(tiling.corners) == 1:
        whole = tuple(slice(0, side) for side in tiling.sides)
        yield whole, next(network(padded) for _ in watch.over(tiling.corners))[(*_EVERY, *tiling.place)]
        return
    asked = _Asked(network, padded, lowest)
    # Everything from here on is in the order rows, columns, the rest.
    order = [*axes, *(axis for axis in range(len(tiling.sides)) if axis not in axes)]
    back = [order.index(axis) for axis in range(len(order))]
    lattice = _Lattice(tiling, order)
    starts = lattice.starts
    window, sides = [tiling.window[axis] for axis in order], [tiling.padded[axis] for axis in order]
    image = [tiling.place[axis] for axis in order]
    rows = _rows(starts[0])
    first_row = [starts[0][row[0]] for row in rows]
    span = max(starts[0][row[-1]] - starts[0][row[0]] for row in rows) + window[0]
    reached = first_row[0] + window[0] - first_row[1] if len(rows) > 1 else 0
    band: torch.Tensor | None = None  # what the windows of a column add to: rows x columns x the rest
    later: dict[int, torch.Tensor] = {}  # what the rows so far have added to the planes of the next one, column by column
    numbers = [
        (row, column, (one, column, *rest))
        for row, column in product(range(len(rows)), range(len(starts[1])))
        for one, *rest in product(rows[row], *(range(len(along)) for along in starts[2:]))
    ]

    places = [lattice.place(number) for _, _, number in numbers]
    answers = asked.of([tuple(place[axis] for axis in back) for place in places], watch, ahead=ahead)
    for (row, column), windows in groupby(numbers, key=lambda number: number[:2]):
        planes, columns = _free(first_row, row, sides[0]), _free(starts[1], column, sides[1])
        height, width = planes.stop - planes.start, columns.stop - columns.start
        for _, _, number in windows:
            logits = next(answers)
            if band is None:
                band = logits.new_zeros((*logits.shape[:2], span, window[1], *sides[2:]))
            if column in later:
                band[:, :, :reached, :width] += later.pop(column)
            place = lattice.place(number)
            target = (*_EVERY, _moved(place[0], -first_row[row]), slice(None), *place[2:])
            band[target].addcmul_(logits.permute(0, 1, *(2 + axis for axis in order)), lattice.weights(number))
            del logits  # it is as large as what the network makes next
        assert band is not None  # a column has at least one window
        done = band[:, :, :, :width]
        if row + 1 < len(rows):
            later[column] = done[:, :, height : window[0]].clone()
        done[:, :, :height] /= lattice.total([planes, columns, *(slice(0, side) for side in sides[2:])])
        # In pieces, because whoever gets a block makes some copies of it; the same in each row.
        most = max(1, MOST_NUMBERS // band[:, :, :, 0].numel())
        for piece in (slice(at, min(at + most, columns.stop)) for at in range(columns.start, columns.stop, most)):
            seen = [_common(part, side) for part, side in zip([planes, piece, *image[2:]], image, strict=True)]
            if any(part.start >= part.stop for part in seen):
                continue
            inside = [
                _moved(part, -at) for part, at in zip(seen, [planes.start, columns.start, *[0] * len(seen[2:])], strict=True)
            ]
            box = [_moved(part, -side.start) for part, side in zip(seen, image, strict=True)]
            yield tuple(box[axis] for axis in back), done[(*_EVERY, *inside)].permute(0, 1, *(2 + axis for axis in back))
        kept = window[1] - width
        for start in range(0, kept, width):  # in pieces that do not lie over where they go
            piece = slice(start, min(start + width, kept))
            band[:, :, :, piece] = band[:, :, :, _moved(piece, width)]
        band[:, :, :, kept:] = 0
    next(answers, None)  # the last window is told as done


class _Lattice:
    """The windows of a tiling, with its axes in another order."""

    def __init__(self, tiling: Tiling, order: Sequence[int]) -> None:
        every = tiling.starts
        self.starts = [every[axis] for axis in order]
        self._window = [tiling.window[axis] for axis in order]
        self._order, self._back = order, [order.index(axis) for axis in range(len(order))]
        self._weights = tiling.weights()

    def place(self, number: Sequence[int]) -> Place:
        """Return where a window lies."""
        firsts = [along[at] for along, at in zip(self.starts, number, strict=True)]
        return tuple(slice(first, first + side) for first, side in zip(firsts, self._window, strict=True))

    def weights(self, number: Sequence[int]) -> torch.Tensor:
        """Return its weights."""
        import torch

        return torch.from_numpy(self._weights([number[axis] for axis in self._back])).permute(*self._order)

    def total(self, box: Sequence[slice]) -> torch.Tensor:
        """Return the sum of the weights of all windows in a box."""
        import torch

        total = torch.zeros([part.stop - part.start for part in box])
        reach = [
            [number for number, start in enumerate(along) if start < part.stop and start + side > part.start]
            for along, side, part in zip(self.starts, self._window, box, strict=True)
        ]
        for number in product(*reach):
            place = self.place(number)
            shared = [_common(one, other) for one, other in zip(place, box, strict=True)]
            target = tuple(_moved(part, -whole.start) for part, whole in zip(shared, box, strict=True))
            source = tuple(_moved(part, -whole.start) for part, whole in zip(shared, place, strict=True))
            total[target] += self.weights(number)[source]
        return total


def _rows(starts: list[int]) -> list[list[int]]:
    """Return the numbers of the windows of each row: the last two make one row where they share more than others do.

    What a row has added to the next one is then as little as for the others.
    """
    rows = [[number] for number in range(len(starts))]
    if len(starts) > 2 and starts[-1] - starts[-2] < starts[1] - starts[0]:
        rows[-2:] = [rows[-2] + rows[-1]]
    return rows


def _free(starts: list[int], number: int, end: int) -> slice:
    """Return what no window after this one reaches."""
    return slice(starts[number], starts[number + 1] if number + 1 < len(starts) else end)


def _common(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def blended(network: Forward, images: NDArray[np.float32], tiling: Tiling, lowest: float, watch: Watch) -> torch.Tensor:
    """Return the logits of images that are seen window by window, all at once; the parameters are those of `blocks`."""
    whole: torch.Tensor | None = None
    for box, logits in blocks(network, images, tiling, lowest, watch):
        if logits.shape[2:] == tiling.sides:
            return logits
        if whole is None:
            whole = logits.new_empty((*logits.shape[:2], *tiling.sides))
        whole[(*_EVERY, *box)] = logits
    assert whole is not None  # there is at least one block
    return whole


class _Asked:
    """A network that is asked once about all windows that hold nothing."""

    def __init__(self, network: Forward, padded: NDArray[np.float32], lowest: float) -> None:
        self._network, self._padded, self._lowest = network, padded, lowest
        self._empty: torch.Tensor | None = None

    def of(self, boxes: Sequence[Place], watch: Watch, *, ahead: bool) -> Iterator[torch.Tensor]:
        """Yield the answer for each window; where asked, the next one is computed while this one is used."""
        if not ahead:
            yield from (self(box) for box in watch.over(boxes))
            return
        with ThreadPoolExecutor(1, thread_name_prefix="network") as thread:
            following = thread.submit(self, boxes[0])
            for number in watch.over(range(len(boxes))):
                answer = following
                if number + 1 < len(boxes):
                    following = thread.submit(self, boxes[number + 1])
                yield answer.result()

    def __call__(self, box: Place) -> torch.Tensor:
        seen = self._padded[(*_EVERY, *box)]
        if not (seen == self._lowest).all():
            return self._network(seen)
        if self._empty is None:
            self._empty = self._network(seen)
        return self._empty
