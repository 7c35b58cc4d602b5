"""What an image says about the outline between two painted slices, and how much of that is to be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.between_pieces import Contour, Flat
from napari_seg3d.editing.between_shapes import depths_of

Picture = NDArray[np.float32]

# In pixels: how much the image is smoothed before it is looked at, how far around a pixel the label and what lies beside it are measured,
# and how much the evidence is smoothed.
_NOISE, _AROUND, _SMOOTH = 0.7, 4.0, 1.0
# No single pixel is more certain than that.
_SURE = 3.0
# The outline moves by so many parts of the distance between painted slices for each unit of evidence; the best of these is taken.
_WEIGHTS = (0.0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
# A weight must be right in so many more of the pixels that the shape alone gets wrong; otherwise the image is not looked at.
_LEAST_GAIN = 0.02
# With fewer slices to try it on, and within so many standard errors, a gain may be luck.
_LEAST_SLICES, _CAUTION = 8, 1.5
#: Depths are needed so many pixels around a shape, where an image may move its outline.
REACH = 6


@dataclass(frozen=True)
class _Look:
    """How bright a label and what lies beside it are, around each pixel of a painted slice."""

    inside: Picture
    outside: Picture


class Evidence:
    """What the image says between the painted slices of a label.

    Around each pixel, the brightness of the label and of what lies beside it are taken from the painted slices next to it. The logarithm
    of how much better one fits than the other, smoothed, moves the outline. How far is tried on the painted slices: every second one is
    interpolated from the others, and what would have been best there holds; where it is not sure that the image helps, it is not looked at.

    Parameters
    ----------
    image : array (slices, rows, columns)
        The part of the image under the label.
    contours : sequence of Contour
        The painted slices.
    spacing : two floats
        mm in the slices.
    thickness : float
        mm from a slice to the next.
    """

    def __init__(
        self, image: NDArray[np.generic], contours: Sequence[Contour], spacing: Sequence[float], thickness: float
    ) -> None:
        self._image, self._thickness = image, thickness
        self._looks: dict[int, _Look] = {}
        squares = []
        for contour in contours:
            flat, smooth = contour.pieces > 0, self._smooth(contour.at)
            if flat.any():
                look = self._looks[contour.at] = _Look(_mean_around(smooth, flat), _mean_around(smooth, ~flat))
                squares.append(float(np.mean((smooth - look.inside)[flat] ** 2)))
        self._variance = max(float(np.mean(squares)), 1e-12) if squares else 1.0
        self.weight = self._fitted([contour for contour in contours if contour.count], spacing)

    def moved(self, at: int, neighbours: tuple[int, int], weight: float | None = None) -> Picture:
        """Return by how many mm the depths in a slice between two painted ones change."""
        first, last = (self._looks[at] for at in neighbours)
        gap = neighbours[1] - neighbours[0]
        time = np.float32((at - neighbours[0]) / gap)
        smooth = self._smooth(at)
        inside, outside = (
            (1 - time) * one + time * other for one, other in ((first.inside, last.inside), (first.outside, last.outside))
        )
        better = ((smooth - outside) ** 2 - (smooth - inside) ** 2) / np.float32(2 * self._variance)
        # Nothing is known at a painted slice that is not in it: the image counts most in the middle.
        share = (self.weight if weight is None else weight) * self._thickness * 2 * min(at - neighbours[0], neighbours[1] - at)
        moved: Picture = np.float32(share) * _blurred(np.clip(better, -_SURE, _SURE), _SMOOTH)
        return moved

    def between(self, at: int) -> tuple[int, int] | None:
        """Return the painted slices with content before and after a slice; None where one is missing."""
        before = [one for one in self._looks if one < at]
        after = [one for one in self._looks if one > at]
        return (max(before), min(after)) if before and after else None

    def _fitted(self, contours: list[Contour], spacing: Sequence[float]) -> float:
        """Return the weight that would have been best for painted slices, each interpolated from its neighbours."""
        gains, wrong = [], 0
        for start in (0, 1):
            known = contours[start::2]
            hidden = {one.at: one for one in contours[1 - start :: 2] if len(known) > 1 and known[0].at < one.at < known[-1].at}
            for at, depth in depths_of(known, spacing, self._thickness, set(hidden), REACH).items() if hidden else ():
                truth = hidden[at].pieces > 0
                unit = self.moved(at, _neighbours(at, known), 1.0)
                right = [int(np.count_nonzero((depth + np.float32(weight) * unit > 0) == truth)) for weight in _WEIGHTS]
                gains.append(np.subtract(right, right[0]))
                wrong += truth.size - right[0]
        if len(gains) < _LEAST_SLICES:
            return 0.0
        spread = np.std(gains, axis=0, ddof=1) / np.sqrt(len(gains))
        sure = np.mean(gains, axis=0) - _CAUTION * spread
        best = int(np.argmax(sure))
        # Between slices that are twice as far apart, a shape is wrong by four times as much, and an image as useful again.
        return _WEIGHTS[best] / 2 if sure[best] * len(gains) > _LEAST_GAIN * wrong else 0.0

    def _smooth(self, at: int) -> Picture:
        return _blurred(np.asarray(self._image[at], np.float32), _NOISE)


def _neighbours(at: int, contours: Sequence[Contour]) -> tuple[int, int]:
    return max(one.at for one in contours if one.at < at), min(one.at for one in contours if one.at > at)


def _mean_around(picture: Picture, where: Flat) -> Picture:
    """Return the mean around each pixel of those that are meant; far from all of them, the mean of all."""
    share = _blurred(where.astype(np.float32), _AROUND)
    total = _blurred(np.where(where, picture, 0).astype(np.float32), _AROUND)
    mean = np.float32(picture[where].mean()) if where.any() else np.float32(0)
    little = np.float32(1e-3)
    around: Picture = (total + little * mean) / (share + little)
    return around


def _blurred(picture: Picture, pixels: float) -> Picture:
    from scipy import ndimage

    blurred: Picture = ndimage.gaussian_filter(picture, pixels, truncate=3.0)
    return blurred
