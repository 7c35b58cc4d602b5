"""Refine by a quick model: a few strokes teach a classifier, which fills a region and follows further strokes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.boxes import Steps, check_image, grown_box, inner, is_any
from napari_seg3d.editing.change import Box, Change, box_around, check_change, check_label, no_change
from napari_seg3d.editing.limits import ANYTHING, Limits, touchable
from napari_seg3d.editing.quick_features import FEATURES, Picture, local_features, reach
from napari_seg3d.editing.quick_nearness import Nearness
from napari_seg3d.editing.quick_network import QuickNetwork, Samples
from napari_seg3d.editing.side_by_side import side_by_side
from napari_seg3d.errors import ConfigError, GeometryError

#: In strokes: nothing was painted here.
UNPAINTED = -1
# Strokes of one label are not looked at beyond so many voxels: more teach no more, and take longer.
_MOST = 4000
# Probabilities are smoothed by so many sides of the shortest voxel, so that no speckles are left.
_SMOOTH = 0.7
# So many standard deviations of that around a voxel have a part in it.
_REACH = 3.0
# Features of so many voxels are made at a time, so that memory stays small; and those of the last ones are kept, so that further strokes
# are quick.
_PIECE = 1 << 22


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
    near : bool
        Whether a label is likelier near its strokes (`Nearness`). Without, only what a voxel looks like counts.

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
        near: bool = True,
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
        self._image, self._spacing, self._more, self._near = image, tuple(map(float, spacing)), features, near
        # The features that were made last, and of which voxels.
        self._kept: tuple[Box, Picture] | None = None
        self._network: QuickNetwork | None = None
        self._labels: NDArray[np.int64] = np.zeros(0, np.int64)
        #: Voxels of each label.
        self._strokes: list[NDArray[np.integer]] = []

    def learn(
        self,
        strokes: NDArray[np.integer],
        box: Box | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Learn from strokes anew; what was learnt before is forgotten.

        Parameters
        ----------
        strokes : array of integers
            Of the shape of the image: a label where one was painted, 0 where background was, :data:`UNPAINTED` elsewhere.
        box : tuple of slice, optional
            What is to be filled with it: what has to be known of each voxel is made there at once, if that is not too much to keep.
        progress, cancelled : callable, optional
            Told (done, total) after, and asked before, each step.

        Raises
        ------
        ConfigError
            Fewer than two labels were painted.
        GeometryError
            The strokes are not of the shape of the image.
        Cancelled
            `cancelled` said so; what was learnt before is still known.
        """
        check_image(strokes, self._image)
        painted = strokes >= 0
        around = box_around(painted)
        classes = strokes[painted]
        labels, numbers = np.unique(classes, return_inverse=True)
        if around is None or len(labels) < 2:
            raise ConfigError(
                f"Strokes of {len(labels)} label{'' if len(labels) == 1 else 's'} are too few to tell labels apart.",
                "Paint at least one stroke of a label and one of the background, or of another label.",
            )
        random = np.random.default_rng(0)
        chosen = np.concatenate([_some(np.flatnonzero(numbers == number), random) for number in range(len(labels))])
        places = np.argwhere(painted)[chosen]
        self._network = QuickNetwork(self._samples(places, around, box, progress, cancelled), numbers[chosen], len(labels))
        self._labels = labels.astype(np.int64)
        sampled = numbers[chosen]
        self._strokes = [places[sampled == number] for number in range(len(labels))]

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
        open_ = [number for number, label in enumerate(self._labels.tolist()) if label not in limits.locked]
        values = mask[box].copy()
        free = touchable(mask, limits, box) & is_any(values, [*self._labels.tolist(), 0])
        if open_:
            for piece, probabilities in self._probabilities(box, progress, cancelled):
                here = inner(piece, box)
                best = self._labels[open_][np.argmax(probabilities[open_], axis=0)].astype(mask.dtype)
                values[here] = np.where(free[here], best, values[here])
        if strokes is not None:
            check_image(strokes, self._image)
            drawn = strokes[box]
            kept = (drawn >= 0) & free & ~is_any(drawn, limits.locked)
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
        result = np.empty((len(self._labels), *(side.stop - side.start for side in box)), np.float32)
        for piece, probabilities in self._probabilities(box):
            result[(slice(None), *inner(piece, box))] = probabilities
        return result

    def _probabilities(
        self, box: Box, progress: Callable[[int, int], None] | None = None, cancelled: Callable[[], bool] | None = None
    ) -> Iterator[tuple[Box, Picture]]:
        """Yield a box in pieces, each with the smoothed probabilities of the labels."""
        from scipy import ndimage

        assert self._network is not None
        pieces = _pieces(box)
        steps = Steps(len(pieces) * (FEATURES + 1), progress, cancelled)
        sigmas = [_SMOOTH * min(self._spacing) / side for side in self._spacing]
        steps.ask()
        strokes = self._strokes if self._near else []
        near = side_by_side([partial(Nearness, places, self._spacing, self._smoothed(box)) for places in strokes], steps.ask)
        for piece in pieces:
            around = self._smoothed(piece)
            features = self._features(around, steps)
            shape = features.shape[1:]
            found = self._network.probabilities(features.reshape(len(features), -1), steps.ask).reshape(-1, *shape)
            side_by_side(
                [partial(_weigh, chances, nearness, around) for chances, nearness in zip(found, near, strict=False)], steps.ask
            )
            found /= found.sum(axis=0)
            smooth = partial(ndimage.gaussian_filter, sigma=sigmas, truncate=_REACH)
            side_by_side([partial(smooth, chances, output=chances) for chances in found], steps.ask)
            yield piece, found[(slice(None), *inner(piece, around))]
            steps.done()

    def _smoothed(self, box: Box) -> Box:
        """Return the box of the voxels that have a part in the smoothed probabilities of a box."""
        reach_of_smoothing = [int(np.ceil(_REACH * _SMOOTH * min(self._spacing) / side)) for side in self._spacing]
        return grown_box(box, reach_of_smoothing, self._image.shape)

    def _samples(
        self,
        places: NDArray[np.integer],
        around: Box,
        box: Box | None,
        progress: Callable[[int, int], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> Samples:
        """Return the features ``(n, features)`` of some places, around which there is a box, and for which others may ask soon."""
        if box is not None and len(_pieces(box)) == 1 and _holds(box, around):
            parts = [(np.arange(len(places)), self._smoothed(box))]
        else:
            parts = [
                (rows, _box_of(places[rows]))
                for piece in _pieces(around)
                if (rows := np.flatnonzero((places[:, 0] >= piece[0].start) & (places[:, 0] < piece[0].stop))).size
            ]
        steps = Steps(len(parts) * FEATURES, progress, cancelled)
        samples: list[Samples] = []
        for rows, part in parts:
            inside = places[rows] - [side.start for side in part]
            samples.append(self._features(part, steps)[(slice(None), *inside.T)].T)
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        return np.concatenate(samples)[order]

    def _features(self, box: Box, steps: Steps) -> Picture:
        """Return the features of a box ``(features, ...)``, in as many steps as there are filters; those that were made last are kept."""
        if self._kept is None or not _holds(self._kept[0], box):
            self._kept = None  # not two of them at a time
            self._kept = box, self._of(box, steps)
        else:
            for _ in range(FEATURES):
                steps.done()
        kept, features = self._kept
        return features[(slice(None), *inner(box, kept))]

    def _of(self, box: Box, steps: Steps) -> Picture:
        around = grown_box(box, reach(self._spacing), self._image.shape)
        here = (slice(None), *inner(box, around))
        found = local_features(self._image[around], self._spacing, steps.done)[here]
        return found if self._more is None else np.concatenate([found, np.asarray(self._more[(slice(None), *box)], np.float32)])


def _weigh(chances: Picture, nearness: Nearness, box: Box) -> None:
    chances *= nearness.weights(box)


def _some(places: NDArray[np.integer], random: np.random.Generator) -> NDArray[np.integer]:
    return places if len(places) <= _MOST else random.choice(places, _MOST, replace=False)


def _box_of(places: NDArray[np.integer]) -> Box:
    return tuple(slice(int(first), int(last) + 1) for first, last in zip(places.min(axis=0), places.max(axis=0), strict=True))


def _holds(box: Box, other: Box) -> bool:
    return all(side.start <= part.start and part.stop <= side.stop for side, part in zip(box, other, strict=True))


def _pieces(box: Box) -> list[Box]:
    """Return a box in slabs along its first axis."""
    first = box[0]
    rest = int(np.prod([side.stop - side.start for side in box[1:]]))
    step = max(_PIECE // max(rest, 1), 1)
    return [(slice(start, min(start + step, first.stop)), *box[1:]) for start in range(first.start, first.stop, step)]
