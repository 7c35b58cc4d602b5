"""Where the windows lie in which a network sees an image (`Tiling`), and how their answers become one (`blended`).

Images and slices alike: everything here is for any number of spatial axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
#: Called with (done, total) after each window.
Progress = Callable[[int, int], None]
#: Returns whether to stop.
CancelCheck = Callable[[], bool]
#: Images ``(N, C, *sides)`` to logits ``(N, channels, *sides)``, float32 and on the CPU.
Forward = Callable[[NDArray[np.float32]], "torch.Tensor"]
_OVERLAP = 0.5


class Watch:
    """Tells how many of all windows are done, and stops between two of them.

    Parameters
    ----------
    total : int
        How many there will be.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each window.
    """

    def __init__(self, total: int, progress: Progress | None = None, cancelled: CancelCheck | None = None) -> None:
        self._total, self._done = total, 0
        self._progress, self._cancelled = progress, cancelled

    def over(self, windows: Iterable[T]) -> Iterator[T]:
        """Yield the windows; raises `Cancelled` before one as soon as somebody asked to stop."""
        for window in windows:
            if self._cancelled is not None and self._cancelled():
                raise Cancelled("The prediction was cancelled.")
            yield window
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)


@dataclass(frozen=True)
class Tiling:
    """Windows of one size that cover an image.

    Parameters
    ----------
    sides : tuple of int
        Of the image.
    window : tuple of int
        Sides of a window; an image that is smaller along an axis is padded on both sides.
    """

    sides: tuple[int, ...]
    window: tuple[int, ...]

    @classmethod
    def whole(cls, sides: Sequence[int], divisor: Sequence[int]) -> Tiling:
        """Return the one window that holds all of an image, its sides divisible by `divisor`."""
        return cls(tuple(sides), tuple(-(-side // step) * step for side, step in zip(sides, divisor, strict=True)))

    @property
    def padded(self) -> tuple[int, ...]:
        """Sides of the image with what is added to it."""
        return tuple(max(side, window) for side, window in zip(self.sides, self.window, strict=True))

    @property
    def place(self) -> tuple[slice, ...]:
        """Where the image lies in the padded one."""
        before = [(padded - side) // 2 for side, padded in zip(self.sides, self.padded, strict=True)]
        return tuple(slice(first, first + side) for first, side in zip(before, self.sides, strict=True))

    @property
    def corners(self) -> list[tuple[int, ...]]:
        """First voxel of each window in the padded image. Half of a window overlaps with the next."""
        return list(product(*(_starts(side, window) for side, window in zip(self.padded, self.window, strict=True))))

    def pad(self, images: NDArray[np.float32], lowest: float) -> NDArray[np.float32]:
        """Return ``(..., *sides)`` as ``(..., *padded)``, with the value `lowest` around it."""
        if self.padded == self.sides:
            return images
        leading = images.ndim - len(self.sides)
        edges = [(place.start, padded - place.stop) for place, padded in zip(self.place, self.padded, strict=True)]
        return np.pad(images, [(0, 0)] * leading + edges, constant_values=lowest)


def blended(network: Forward, images: NDArray[np.float32], tiling: Tiling, lowest: float, watch: Watch) -> torch.Tensor:
    """Return the logits of images that are seen window by window.

    Where windows overlap, their logits are weighted with a Gaussian whose sigma is an eighth of the window, as in nnU-Net (Isensee et
    al., Nature Methods 2021), because a network is least sure at the border of what it sees.

    Parameters
    ----------
    network : callable
        ``(N, C, *window)`` to logits ``(N, channels, *window)``.
    images : array of shape (N, C, *sides)
        Any size.
    tiling : Tiling
        The windows.
    lowest : float
        With what images smaller than a window are padded.
    watch : Watch
        Told of each window.

    Returns
    -------
    tensor of shape (N, channels, *sides)
        float32, on the CPU.

    Raises
    ------
    Cancelled
        `watch` says so.
    """
    import torch

    every = (slice(None), slice(None))  # image and channel
    padded, corners, inside = tiling.pad(images, lowest), tiling.corners, (*every, *tiling.place)
    if len(corners) == 1:
        return next(network(padded) for _ in watch.over(corners))[inside]
    weight = torch.from_numpy(_gaussian(tiling.window))
    weights = torch.zeros(tiling.padded)
    total: torch.Tensor | None = None
    for corner in watch.over(corners):
        window = tuple(slice(start, start + side) for start, side in zip(corner, tiling.window, strict=True))
        logits = network(padded[(*every, *window)])
        if total is None:
            total = torch.zeros((*logits.shape[:2], *tiling.padded))
        total[(*every, *window)] += logits * weight
        weights[window] += weight
    assert total is not None  # there is always at least one window
    # In place: two copies of all classes of a large volume are what peers run out of memory with.
    total /= weights
    return total[inside]


def activated(logits: torch.Tensor, targets: Literal["exclusive", "overlapping"]) -> torch.Tensor:
    """Return the probabilities of logits ``(N, channels, *sides)``, in their place: of classes that sum to one, or of each label."""
    import torch

    return torch.softmax(logits, dim=1, out=logits) if targets == "exclusive" else torch.sigmoid_(logits)


def _starts(side: int, window: int) -> list[int]:
    """Return evenly spaced starts that cover `side`, the last window ending exactly at its end."""
    step = max(1, int(window * (1 - _OVERLAP)))
    count = -(-(side - window) // step) + 1
    return [0] if count == 1 else [round(n * (side - window) / (count - 1)) for n in range(count)]


def _gaussian(sides: Sequence[int]) -> NDArray[np.float32]:
    profile = np.ones((), dtype=np.float64)
    for side in sides:
        axis = np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 8)) ** 2)
        profile = np.multiply.outer(profile, axis)
    # Never zero, so that a voxel seen only by a window's corner still has an answer.
    return np.asarray(np.clip(profile / profile.max(), 1e-3, None), dtype=np.float32)
