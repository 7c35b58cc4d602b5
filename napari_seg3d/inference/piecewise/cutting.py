"""Windows that are cut out of an image in pieces, for whoever expects an array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.inference.piecewise.pieces import Pieces
from napari_seg3d.inference.windows import Tiling
from napari_seg3d.volumes import box_of


class Windows:
    """An image out of which windows are cut, padded where they reach beyond it."""

    def __init__(self, image: Pieces, tiling: Tiling, lowest: float) -> None:
        self._image, self._place, self._lowest = image, tiling.place, lowest

    def __getitem__(self, place: tuple[slice, ...]) -> NDArray[np.float32]:
        box = place[2:]
        seen = [(max(side.start, at.start), min(side.stop, at.stop)) for side, at in zip(box, self._place, strict=True)]
        sides = [side.stop - side.start for side in box]
        values = np.full((1, self._image.channels, *sides), self._lowest, np.float32)
        inside = tuple(slice(first - side.start, last - side.start) for (first, last), side in zip(seen, box, strict=True))
        read = [(first - at.start, last - at.start) for (first, last), at in zip(seen, self._place, strict=True)]
        values[0][(slice(None), *inside)] = self._image.read(box_of([first for first, _ in read], [last for _, last in read]))
        return values


class PaddedWhenRead(Tiling):
    """Windows over an image that is padded window by window."""

    def pad(self, images: NDArray[np.float32], lowest: float) -> NDArray[np.float32]:
        """Return `images`, which are `Windows`."""
        return images
