"""What an image says about the outline between two painted slices, and how much of that is to be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.between_pieces import Contour, Flat
from napari_seg3d.editing.between_shapes import Depth, Sides, depths_of, reached

Picture = NDArray[np.float32]

# In pixels: how much the image is smoothed before it is looked at, how far around a pixel the label and what lies beside it are measured,
# and how much the evidence is smoothed.
_NOISE, _AROUND, _SMOOTH = 0.7, 4.0, 1.0
# A pixel lies beside the label if that is at least so much of what is around it.
_BESIDE = 0.05
# No single pixel is more certain than that.
_SURE = 3.0
# However even one side of the outline is, it is thought to vary by this part of what both do.
_LEAST_SPREAD = 0.01
# The outline moves by so many parts of the distance between painted slices for each unit of evidence; the best of these is taken.
_WEIGHTS = np.array([0.0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4], np.float32)
# Before anything was tried: shapes are wrong by about a tenth of that distance. No weight at all, or twice the usual one, must put right
# this part of the wrong pixels of a slice more than the usual one does.
_USUAL, _TRUST = 0.1, 0.5
# On so many painted slices it is tried, and one with hardly a wrong pixel counts as if it had a few.
_TRIALS, _FEW = 8, 10
#: Depths are needed so many pixels around a shape, where an image may move its outline.
REACH = 6


@dataclass(frozen=True)
class _Look:
    """One painted slice: the image, the label, what lies beside it, and how bright both are around each pixel."""

    smooth: Picture
    flat: Flat
    beside: Flat
    inside: Picture
    outside: Picture


class Evidence:
    """What the image says between the painted slices of a label.

    Around each pixel, the brightness of the label and of what lies beside it are taken from the painted slices next to it; how well they
    tell it, the painted slices show of each other. The logarithm of how much better the one fits than the other, smoothed, moves the
    outline. How far is tried on painted slices: each is interpolated from its neighbours, and what would have been best there holds.

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
    step : callable
        Called `steps_of(contours)` times.
    """

    def __init__(
        self,
        image: NDArray[np.generic],
        contours: Sequence[Contour],
        spacing: Sequence[float],
        thickness: float,
        step: Callable[[], None],
    ) -> None:
        self._image, self._thickness = image, thickness
        self._looks: dict[int, _Look] = {}
        contours = _with_content(contours)
        for contour in contours:
            self._looks[contour.at] = self._look(contour)
            step()
        self._spreads = self._spread()
        self._weight = self._fitted(contours, spacing, step)

    @staticmethod
    def steps_of(contours: Sequence[Contour]) -> int:
        """Return in how many steps it learns from the painted slices."""
        contours = _with_content(contours)
        return len(contours) + len(_trials(contours))

    def move(self, at: int, depth: Depth) -> None:
        """Change the depths in a slice, in place, as the image says; not where no painted slice goes before or follows."""
        neighbours = self._neighbours(at)
        if self._weight and neighbours is not None:
            sides = reached(depth)
            depth[sides] += self._weight * self._says(at, neighbours, sides)

    def _look(self, contour: Contour) -> _Look:
        smooth, flat = self._smooth(contour.at), contour.pieces > 0
        share = _blurred(flat.astype(np.float32), _AROUND)
        inside, outside = _mean_around(smooth, flat, share), _mean_around(smooth, ~flat, 1 - share)
        return _Look(smooth, flat, ~flat & (share > _BESIDE), inside, outside)

    def _spread(self) -> NDArray[np.float32]:
        """Return how far (mean square) a label, and what lies beside it, are from what the painted slice before or after tells."""
        squares: tuple[list[float], list[float]] = ([], [])
        for first, second in pairwise(self._looks.values()):
            for one, other in ((first, second), (second, first)):
                for found, where, told in zip(squares, (one.flat, one.beside), (other.inside, other.outside), strict=True):
                    if where.any():
                        found.append(float(np.mean((one.smooth - told)[where] ** 2)))
        spread = np.array([np.mean(found) if found else 0.0 for found in squares])
        spreads: NDArray[np.float32] = np.maximum(spread, _LEAST_SPREAD * spread.sum() + 1e-12).astype(np.float32)
        return spreads

    def _says(self, at: int, neighbours: tuple[int, int], sides: Sides) -> Picture:
        """Return by how many mm the depths in a part of a slice would change with a weight of 1."""
        before, after = neighbours
        first, last = self._looks[before], self._looks[after]
        time = np.float32((at - before) / (after - before))
        smooth = self._smooth(at, sides)
        inside, outside = (
            (smooth - (1 - time) * one[sides] - time * other[sides]) ** 2 / (2 * spread) + np.log(spread) / 2
            for one, other, spread in zip((first.inside, first.outside), (last.inside, last.outside), self._spreads, strict=True)
        )
        # Nothing is known at a painted slice that is not in it: the image counts most in the middle.
        share = np.float32(self._thickness * 2 * min(at - before, after - at))
        says: Picture = share * _blurred(np.clip(outside - inside, -_SURE, _SURE), _SMOOTH)
        return says

    def _fitted(self, contours: Sequence[Contour], spacing: Sequence[float], step: Callable[[], None]) -> np.float32:
        """Return the weight that would have been best for painted slices, each interpolated from its neighbours."""
        score = -_TRUST * (_WEIGHTS / _USUAL - 1) ** 2
        for number in _trials(contours):
            hidden = contours[number]
            known = contours[number - 3 if number > 2 else number - 1 : number + 4 : 2]
            for at, depth in depths_of(known, spacing, self._thickness, {hidden.at}, REACH):
                sides = reached(depth)
                says = self._says(at, (contours[number - 1].at, contours[number + 1].at), sides)
                truth = hidden.pieces[sides] > 0
                wrong = np.array([np.count_nonzero((depth[sides] + weight * says > 0) != truth) for weight in _WEIGHTS])
                score += (wrong[0] - wrong) / max(wrong[0], _FEW)
            step()
        return np.float32(_WEIGHTS[np.argmax(score)])

    def _neighbours(self, at: int) -> tuple[int, int] | None:
        """Return the painted slices with content before and after a slice; None where one is missing."""
        before = [one for one in self._looks if one < at]
        after = [one for one in self._looks if one > at]
        return (max(before), min(after)) if before and after else None

    def _smooth(self, at: int, sides: Sides = (slice(None), slice(None))) -> Picture:
        # What is no number says nothing that could be computed with.
        return _blurred(np.nan_to_num(np.asarray(self._image[at][sides], np.float32), posinf=0, neginf=0), _NOISE)


def _with_content(contours: Sequence[Contour]) -> list[Contour]:
    return [contour for contour in contours if contour.count]


def _trials(contours: Sequence[Contour]) -> list[int]:
    """Return the numbers of some painted slices, evenly from those that lie between others."""
    between = len(contours) - 2
    return np.linspace(1, between, min(between, _TRIALS)).round().astype(int).tolist() if between > 0 else []


def _mean_around(picture: Picture, where: Flat, share: Picture) -> Picture:
    """Return the mean around each pixel of those that are meant, of which there are so many; far from all of them, the mean of all."""
    total = _blurred(np.where(where, picture, np.float32(0)), _AROUND)
    mean = np.float32(picture[where].mean()) if where.any() else np.float32(0)
    little = np.float32(1e-3)
    around: Picture = (total + little * mean) / (share + little)
    return around


def _blurred(picture: Picture, pixels: float) -> Picture:
    from scipy import ndimage

    blurred: Picture = ndimage.gaussian_filter(picture, pixels, truncate=3.0)
    return blurred
