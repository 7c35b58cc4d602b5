"""Refine by a quick model: a few strokes teach a classifier, which fills a region and follows further strokes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.boxes import Steps, check_image, grown_box, inner
from napari_seg3d.editing.change import Box, Change, box_around, check_change, check_label, no_change
from napari_seg3d.editing.limits import ANYTHING, Limits, touchable
from napari_seg3d.editing.quick_features import Picture, local_features, reach
from napari_seg3d.editing.quick_network import QuickNetwork, Samples
from napari_seg3d.errors import ConfigError, GeometryError

#: In strokes: nothing was painted here.
UNPAINTED = -1
# Strokes of one label are not looked at beyond so many voxels: more teach no more, and take longer.
_MOST = 4000
# Probabilities are smoothed by so many sides of the shortest voxel, so that no speckles are left.
_SMOOTH = 0.7
# Features of so many voxels are made at a time, so that one can stop in between and memory stays small.
_PIECE = 1 << 19


class QuickModel:
    """Learns labels from strokes, and fills a region with them.

    Parameters
    ----------
    image : array
        In two or three dimensions.
    spacing : sequence of float
        The mm of each axis.
    features : array (channels, ...), optional
        More that is known of each voxel of the image: the probabilities of a loaded network, for example.
    place : bool
        Whether the model may tell voxels apart by where they are, too. That helps where several things look alike, and harms far from the
        strokes.

    Raises
    ------
    GeometryError
        The spacing or the features do not fit the image.
    """

    def __init__(
        self,
        image: NDArray[np.generic],
        spacing: Sequence[float],
        features: NDArray[np.floating] | None = None,
        place: bool = False,
    ) -> None:
        if image.ndim not in (2, 3) or len(spacing) != image.ndim or not all(side > 0 for side in spacing):
            raise GeometryError(
                f"The spacing {tuple(spacing)} does not fit an image with {image.ndim} axes.",
                "Give the mm of each axis, above 0.",
            )
        if features is not None and features.shape[1:] != image.shape:
            raise GeometryError(
                f"The features have {features.shape[1:]} voxels, the image has {image.shape}.",
                "Give features on the grid of the image, with their channels first.",
            )
        self._image, self._spacing, self._more, self._place = image, tuple(map(float, spacing)), features, place
        self._box: Box | None = None
        self._features: Picture | None = None
        self._network: QuickNetwork | None = None
        self._labels: NDArray[np.int64] = np.zeros(0, np.int64)

    def prepare(
        self,
        box: Box,
        *,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Make the features of a box, and keep them: `learn` and `fill` in it are quick from then on.

        Raises
        ------
        Cancelled
            `cancelled` said so.
        """
        if self._box is not None and _holds(self._box, box):
            return
        pieces = list(_pieces(box))
        steps = Steps(len(pieces), progress, cancelled)
        made = None
        for piece in pieces:
            found = self._of(piece)
            if made is None:
                made = np.empty((len(found), *(side.stop - side.start for side in box)), np.float32)
            made[(slice(None), *inner(piece, box))] = found
            steps.done()
        self._box, self._features = box, made

    def learn(self, strokes: NDArray[np.integer]) -> None:
        """Learn from strokes anew; what was learnt before is forgotten.

        Parameters
        ----------
        strokes : array of integers
            Of the shape of the image: a label where one was painted, 0 where background was, :data:`UNPAINTED` elsewhere.

        Raises
        ------
        ConfigError
            Fewer than two labels were painted.
        GeometryError
            The strokes are not of the shape of the image.
        """
        check_image(strokes, self._image)
        painted = strokes >= 0
        box = box_around(painted)
        classes = strokes[painted]
        labels, numbers = np.unique(classes, return_inverse=True)
        if box is None or len(labels) < 2:
            raise ConfigError(
                f"Strokes of {len(labels)} label{'' if len(labels) == 1 else 's'} are too few to tell labels apart.",
                "Paint at least one stroke of a label and one of the background, or of another label.",
            )
        if self._box is None or not _holds(self._box, box):
            self.prepare(box)
        random = np.random.default_rng(0)
        chosen = np.concatenate([_some(np.flatnonzero(numbers == number), random) for number in range(len(labels))])
        places = np.argwhere(painted)[chosen]
        self._network = QuickNetwork(self._samples(tuple(places.T)), numbers[chosen], len(labels))
        self._labels = labels.astype(np.int64)

    def fill(
        self,
        mask: NDArray[np.integer],
        box: Box,
        strokes: NDArray[np.integer] | None = None,
        *,
        limits: Limits = ANYTHING,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Change:
        """Give each voxel of a box the label that is most probable there.

        Parameters
        ----------
        mask : array of integers
            Of the shape of the image; labels that were not learnt stay.
        box : tuple of slice
            Which part of it.
        strokes : array of integers, optional
            As in `learn`: where something was painted, that stays.
        limits : Limits
            What may not be touched stays, and locked labels win nothing: the second most probable label is taken.
        progress, cancelled : callable, optional
            Told (done, total) after, and asked before, each step.

        Raises
        ------
        ConfigError
            Nothing was learnt.
        GeometryError, LabelError
            The mask, the box or a label does not fit.
        Cancelled
            `cancelled` said so.
        """
        if self._network is None:
            raise ConfigError("The quick model has learnt nothing.", "Paint strokes of two labels or more, and let it learn.")
        check_image(mask, self._image)
        for label in self._labels.tolist():
            check_label(mask, label)
        check_change(mask, Change(box, mask[box]))
        if mask[box].size == 0:
            return no_change(mask)
        self.prepare(box, progress=progress, cancelled=cancelled)
        open_ = [number for number, label in enumerate(self._labels.tolist()) if label not in limits.locked]
        values = mask[box].copy()
        free = touchable(mask, limits, box) & np.isin(values, np.append(self._labels, 0).astype(mask.dtype))
        if open_:
            probabilities = self._probabilities(box, Steps(1, None, cancelled))
            best = self._labels[open_][np.argmax(probabilities[open_], axis=0)].astype(mask.dtype)
            values[free] = best[free]
        if strokes is not None:
            check_image(strokes, self._image)
            drawn = strokes[box]
            kept = (drawn >= 0) & free & ~np.isin(drawn, sorted(limits.locked))
            values[kept] = drawn[kept].astype(mask.dtype)
        return Change(box, values)

    def probabilities(self, box: Box) -> Picture:
        """Return the smoothed probability of each learnt label in a box, labels first, by rising value.

        Raises
        ------
        ConfigError
            Nothing was learnt.
        """
        if self._network is None:
            raise ConfigError("The quick model has learnt nothing.", "Paint strokes of two labels or more, and let it learn.")
        self.prepare(box)
        return self._probabilities(box, Steps(1))

    def _probabilities(self, box: Box, steps: Steps) -> Picture:
        from scipy import ndimage

        assert self._network is not None
        shape = tuple(side.stop - side.start for side in box)
        result = np.empty((len(self._labels), *shape), np.float32)
        for piece in _pieces(box):
            here = inner(piece, box)
            samples = self._table(piece)
            found = self._network.probabilities(samples).T
            result[(slice(None), *here)] = found.reshape(len(self._labels), *(side.stop - side.start for side in piece))
        steps.done()
        sigmas = [_SMOOTH * min(self._spacing) / side for side in self._spacing]
        for number in range(len(result)):
            ndimage.gaussian_filter(result[number], sigmas, output=result[number], truncate=3.0)
        return result

    def _of(self, box: Box) -> Picture:
        """Return the features of a box, whatever lies around it."""
        around = grown_box(box, reach(self._spacing), self._image.shape)
        here = (slice(None), *inner(box, around))
        found = local_features(self._image[around], self._spacing)[here]
        parts = [found]
        if self._more is not None:
            parts.append(np.asarray(self._more[(slice(None), *box)], np.float32))
        if self._place:
            # In mm; how much that is worth, the model finds out by itself.
            places = np.meshgrid(
                *(np.arange(side.start, side.stop) * mm for side, mm in zip(box, self._spacing, strict=True)), indexing="ij"
            )
            parts.append(np.stack(places).astype(np.float32))
        return np.concatenate(parts)

    def _table(self, box: Box) -> Samples:
        assert self._features is not None
        assert self._box is not None
        part = self._features[(slice(None), *inner(box, self._box))]
        return np.ascontiguousarray(part.reshape(len(part), -1).T)

    def _samples(self, places: tuple[NDArray[np.integer], ...]) -> Samples:
        assert self._features is not None
        assert self._box is not None
        inside = tuple(place - side.start for place, side in zip(places, self._box, strict=True))
        return np.ascontiguousarray(self._features[(slice(None), *inside)].T)


def _some(places: NDArray[np.integer], random: np.random.Generator) -> NDArray[np.integer]:
    return places if len(places) <= _MOST else random.choice(places, _MOST, replace=False)


def _holds(box: Box, other: Box) -> bool:
    return all(side.start <= part.start and part.stop <= side.stop for side, part in zip(box, other, strict=True))


def _pieces(box: Box) -> list[Box]:
    """Return a box in slabs along its first axis."""
    first = box[0]
    rest = int(np.prod([side.stop - side.start for side in box[1:]]))
    step = max(_PIECE // max(rest, 1), 1)
    return [(slice(start, min(start + step, first.stop)), *box[1:]) for start in range(first.start, first.stop, step)]
