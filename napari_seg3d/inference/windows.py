"""Where the windows lie in which a network sees an image (`Tiling`), and how their answers are weighted.

Images and slices alike: everything here is for any number of spatial axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
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
#: How the answers of windows that overlap are weighted.
Blending = Literal["gaussian", "hann", "average", "crop"]
_LEAST = 1e-3


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
    overlap : float
        Which share of a window the next one sees again, 0 to 0.9.
    blending : {"gaussian", "hann", "average", "crop"}
        How answers are weighted where windows overlap. gaussian: sigma an eighth of the window (Isensee et al., nnU-Net, Nature Methods
        2021), because a network is least sure at the border of what it sees, and nowhere below a thousandth, as in MONAI; hann: a raised
        cosine, as in TorchIO; average: all alike; crop: that of the window whose centre is nearest.
    """

    sides: tuple[int, ...]
    window: tuple[int, ...]
    overlap: float = 0.5
    blending: Blending = "gaussian"

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
    def starts(self) -> tuple[list[int], ...]:
        """First voxels of the windows along each axis of the padded image."""
        return tuple(_starts(side, window, self.overlap) for side, window in zip(self.padded, self.window, strict=True))

    @property
    def corners(self) -> list[tuple[int, ...]]:
        """First voxel of each window in the padded image."""
        return list(product(*self.starts))

    def weights(self) -> Callable[[Sequence[int]], NDArray[np.float32]]:
        """Return what tells the weights ``(*window)`` of the window with a number along each axis; never all zero at a voxel.

        The answer at a voxel is the sum of those of the windows there, times their weights, divided by the sum of these.
        """
        if self.blending == "crop":
            owned = [_owned(starts, side, all_) for starts, side, all_ in zip(self.starts, self.window, self.padded, strict=True)]
            return lambda number: _outer([along[at] for along, at in zip(owned, number, strict=True)])
        same = _outer([_profile(side, self.blending) for side in self.window])
        if self.blending == "gaussian":
            # In a corner of the image there is one window alone, and next to it some that all hardly count.
            np.maximum(same, _LEAST, out=same)
        return lambda number: same

    def pad(self, images: NDArray[np.float32], lowest: float) -> NDArray[np.float32]:
        """Return ``(..., *sides)`` as ``(..., *padded)``, with the value `lowest` around it."""
        if self.padded == self.sides:
            return images
        leading = images.ndim - len(self.sides)
        edges = [(place.start, padded - place.stop) for place, padded in zip(self.place, self.padded, strict=True)]
        return np.pad(images, [(0, 0)] * leading + edges, constant_values=lowest)


def activated(logits: torch.Tensor, targets: Literal["exclusive", "overlapping"], channels: int | None = None) -> torch.Tensor:
    """Return the probabilities of logits ``(N, channels, *sides)``, in their place: of classes that sum to one, or of each label.

    Channels beyond the first `channels` are no logits, and stay as they are.
    """
    import torch

    part = logits[:, :channels]
    if targets == "exclusive":
        torch.softmax(part, dim=1, out=part)
    else:
        torch.sigmoid_(part)
    return logits


def _starts(side: int, window: int, overlap: float) -> list[int]:
    """Return starts in steps of what windows do not share, the last window ending exactly at the end of `side`: as MONAI and TorchIO."""
    step = max(1, int(window * (1 - overlap)))
    return [*range(0, side - window, step), side - window]


def _owned(starts: Sequence[int], window: int, side: int) -> list[NDArray[np.float32]]:
    """Return along one axis, for each window, 1 where its centre is the nearest."""
    centres = np.array(starts) + (window - 1) / 2
    nearest = np.abs(np.arange(side)[:, None] - centres).argmin(axis=1)
    return [(nearest[start : start + window] == number).astype(np.float32) for number, start in enumerate(starts)]


def _profile(side: int, blending: Blending) -> NDArray[np.float32]:
    """Return the weights along a window, never zero."""
    if blending == "hann":
        return np.asarray(np.sin(np.pi * (np.arange(side) + 1) / (side + 1)) ** 2, np.float32)
    if blending == "gaussian":
        return np.asarray(np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 8)) ** 2), np.float32)
    return np.ones(side, np.float32)


def _outer(profiles: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(reduce(np.multiply.outer, profiles), np.float32)
