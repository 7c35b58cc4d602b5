"""What the network is shown: patches, slices or whole scans, cut from the cache and augmented.

Sample number n of a run is a pure function of the seed and n. It does not matter which process makes it, nor how many there are, nor
whether the run was interrupted in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import TrainingError
from napari_seg3d.evaluation.counts import UNKNOWN
from napari_seg3d.inference import ModelSpec
from napari_seg3d.networks.planes import AXIS, Plane, neighbours
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.samples.cache import CachedCase
from napari_seg3d.transforms import Pipeline
from napari_seg3d.transforms.augment import Augmentation, in_plane

T = TypeVar("T", bound=np.generic)
# Case weights become whole numbers of turns; so many for the least one come near enough to any ratio.
_MOST_TURNS = 4
_NEAR = 0.05
Sample = tuple[NDArray[np.float32], NDArray[np.uint8]]


class Prepared(Protocol):
    """A preprocessed case to cut from: a `CachedCase`, or one that is only looked at."""

    @property
    def image(self) -> NDArray[np.float32]:
        """``(C, I, J, K)``."""

    @property
    def target(self) -> NDArray[np.uint8]:
        """``(T, I, J, K)``: class indices, or 0 and 1 for each of several overlapping labels; 255 is unknown."""

    @property
    def locations(self) -> Mapping[int, NDArray[np.integer]]:
        """Some voxel indices ``(n, 3)`` of each label that occurs, and of the known background (0)."""

    @property
    def slices(self) -> NDArray[np.bool_]:
        """Which slices across each axis hold which label, as in a `Survey`."""

    @property
    def pieces(self) -> NDArray[np.integer]:
        """The boxes of the connected pieces of labels, as in a `Survey`."""

    @property
    def counts(self) -> Mapping[int, int]:
        """Voxels of each label that occurs, and of the known background (0)."""

    @property
    def lowest(self) -> float:
        """What a scan that is smaller than a patch is padded with."""

    @property
    def outside(self) -> int:
        """What the target is around the scan: 0, background, or 255, unknown."""


@dataclass(frozen=True)
class Change:
    """How a sample is changed at random: arguments of an `Augmentation`, and the augmentation."""

    augmentation: Augmentation
    spacing: tuple[float, float, float]
    seed: int
    outside: int


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """The endless series of samples of a run, as a map-style torch data set.

    A sample is an image and what the network should answer: ``(C, i, j, k)`` and ``(T, i, j, k)``, of slices ``(C, a, b)`` and
    ``(T, a, b)``; float32 and uint8, where 255 is unknown.

    Parameters
    ----------
    cases : sequence of Prepared
        What to cut from. Each is used once before any is used again.
    patch_size : three ints
        Sides of a sample, of slices the two sides and 1; a smaller scan is padded with its lowest value, around the case.
    dims : {2, 3}
        Slices or volumes.
    whole : bool
        Samples are whole scans or slices, cropped or padded around their middle.
    draw : {"mixed", "uniform", "labels", "lesions"}
        Where patches come from: a share of them around labelled voxels and at least one of each batch, the rest anywhere; anywhere; all
        around labelled voxels; or anywhere in a window around one connected piece of a label.
    foreground : float
        With ``"mixed"``: share of patches around a labelled voxel.
    weights : mapping of int to float
        How often each label (1, 2, …; 0 is the background) is aimed at; empty: all but the background equally often.
    window : three ints, optional
        With ``"lesions"``: the window around a piece; left out, one and a half patches.
    positive : bool
        Only slices that hold a label are drawn.
    planes : tuple of {"axial", "coronal", "sagittal"}
        Along which slices are cut.
    context : int
        Neighbours on each side of a slice that are further channels, as `with_context` orders them.
    augmentation : Pipeline or None
        Random changes.
    spacing : three floats
        Voxel edges along R, A and S in mm.
    seed : int
        Start of all random numbers.
    batch_size : int
        Samples of one step, over all processes.

    Notes
    -----
    The cases with labels are spread evenly over each round, so that with ``"mixed"`` every batch holds a labelled patch wherever at
    least one case in `batch_size` has labels.
    Where masks are painted in part, each patch holds at least one known voxel: one of unknown voxels alone would teach nothing.
    """

    cases: Sequence[Prepared]
    patch_size: tuple[int, int, int]
    dims: Literal[2, 3] = 3
    whole: bool = False
    draw: Literal["mixed", "uniform", "labels", "lesions"] = "mixed"
    foreground: float = 0.5
    weights: Mapping[int, float] = field(default_factory=dict)
    window: tuple[int, int, int] | None = None
    positive: bool = False
    planes: tuple[Plane, ...] = ("axial",)
    context: int = 0
    augmentation: Pipeline | None = None
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    seed: int = 0
    batch_size: int = 1

    def __getitem__(self, index: int) -> Sample:
        random = np.random.default_rng((self.seed, index))
        case, plane = self.case_of(index), self._plane(index)
        order = _order_of(plane)
        image = case.image.transpose(0, *(1 + axis for axis in order))
        target = case.target.transpose(0, *(1 + axis for axis in order))
        start = self._corner(case, order, index, random)
        patch = self._cut_image(image, start, case.lowest)
        wanted = cut(target, start, self.patch_size, case.outside)
        if self.augmentation is not None:
            change = self.change_of(index)
            patch, wanted = change.augmentation(patch, wanted, change.spacing, change.seed, change.outside)
        return (patch, wanted) if plane is None else (patch[..., 0], wanted[..., 0])

    @cached_property
    def _changes(self) -> dict[Plane | None, Augmentation]:
        """What changes the samples of each plane, or patches; nothing where there is no augmentation."""
        if self.augmentation is None:
            return {}
        if self.dims == 3:
            return {None: Augmentation(self.augmentation)}
        return {plane: Augmentation(in_plane(self.augmentation, plane)) for plane in self.planes}

    def change_of(self, index: int) -> Change:
        """Return how a sample is changed at random; for samplers with an augmentation."""
        plane = self._plane(index)
        i, j, k = (self.spacing[axis] for axis in _order_of(plane))
        seed = int(np.random.SeedSequence((self.seed, 2, index)).generate_state(1, np.uint64)[0] >> 2)
        return Change(self._changes[plane], (i, j, k), seed, self.case_of(index).outside)

    def _plane(self, index: int) -> Plane | None:
        if self.dims == 3:
            return None
        return self.planes[int(np.random.default_rng((self.seed, 4, index)).integers(len(self.planes)))]

    def _cut_image(self, image: NDArray[np.float32], start: Sequence[int], fill: float) -> NDArray[np.float32]:
        if not self.context:
            return cut(image, start, self.patch_size, fill)
        places = neighbours(start[2], self.context, image.shape[3])
        return np.concatenate([cut(image, (*start[:2], place), self.patch_size, fill) for place in places])

    # -- which case -----------------------------------------------------------------------------------------------------------------------

    def case_of(self, index: int) -> Prepared:
        """Return the case that a sample is cut from."""
        return self.cases[self._case(index)]

    def _case(self, index: int) -> int:
        order = _order(self.seed, index // len(self.cases), self._labelled)
        return int(order[index % len(self.cases)])

    @cached_property
    def _labelled(self) -> tuple[bool, ...]:
        return tuple(any(label > 0 for label in case.counts) for case in self.cases)

    def _is_aimed(self, index: int) -> bool:
        """Return whether a sample is to show a label: always, never, or as the draw for its batch says."""
        if self.draw != "mixed" or not self.foreground:
            return self.draw == "labels"
        batch, place = divmod(index, self.batch_size)
        random = np.random.default_rng((self.seed, 3, batch))
        aimed = random.random(self.batch_size) < self.foreground
        able = np.array([self._labelled[self._case(batch * self.batch_size + other)] for other in range(self.batch_size)])
        if able.any() and not (aimed & able).any():
            aimed[random.choice(np.flatnonzero(able))] = True
        return bool(aimed[place])

    # -- where in the case ----------------------------------------------------------------------------------------------------------------

    def _corner(self, case: Prepared, order: tuple[int, int, int], index: int, random: np.random.Generator) -> list[int]:
        """Return the first voxel of a sample along the axes in `order`; of a slice the last one is its number."""
        shape = [case.target.shape[1 + axis] for axis in order]
        low = [min(0, side - patch) for side, patch in zip(shape, self.patch_size, strict=True)]
        high = [max(0, side - patch) for side, patch in zip(shape, self.patch_size, strict=True)]
        corner = [int(random.integers(first, last + 1)) for first, last in zip(low, high, strict=True)]
        if self.dims == 2:
            corner[2] = self._slice(case, order[2], shape[2], random)
        wanted = self._around_a_piece(case, order, random) if self.draw == "lesions" else None
        if wanted is None:
            wanted = self._around_a_voxel(case, order, index, random)
        if wanted is not None:
            # Where the scan is smaller than the patch, it may lie anywhere in it.
            corner = [
                int(np.clip(first, least, most)) if most > 0 else at
                for first, least, most, at in zip(wanted, low, high, corner, strict=True)
            ]
        if self.whole:
            middle = [(side - patch) // 2 for side, patch in zip(shape, self.patch_size, strict=True)]
            corner = middle if self.dims == 3 else [*middle[:2], corner[2]]
        return corner

    def _slice(self, case: Prepared, axis: int, count: int, random: np.random.Generator) -> int:
        marked = case.slices[axis, :, :count]
        usable = np.flatnonzero(marked[1:].any(axis=0) if self.positive else marked.any(axis=0))
        return int(random.choice(usable)) if len(usable) else int(random.integers(count))

    def _around_a_voxel(
        self, case: Prepared, order: tuple[int, int, int], index: int, random: np.random.Generator
    ) -> list[int] | None:
        """Return where a patch begins that shows a label or, of a mask that is painted in part, anything known; None: anywhere."""
        locations = case.locations
        if self._is_aimed(index):
            label = self._label([label for label in locations if label > 0 or label in self.weights], random)
            if label is not None:
                voxel = locations[label][random.integers(len(locations[label]))]
                return [int(voxel[axis]) - patch // 2 for axis, patch in zip(order, self.patch_size, strict=True)]
        if case.outside == UNKNOWN and case.counts and not (self.dims == 2 and self.positive):
            labels, voxels = zip(*case.counts.items(), strict=True)
            label = int(random.choice(labels, p=np.array(voxels) / sum(voxels)))
            voxel = locations[label][random.integers(len(locations[label]))]
            # Anywhere in the patch, so that what lies around it is seen from all sides.
            return [int(voxel[axis]) - int(random.integers(patch)) for axis, patch in zip(order, self.patch_size, strict=True)]
        return None

    def _around_a_piece(self, case: Prepared, order: tuple[int, int, int], random: np.random.Generator) -> list[int] | None:
        pieces = case.pieces
        label = self._label(np.unique(pieces[:, 0]).tolist(), random)
        if label is None:
            return None
        chosen = np.asarray(random.choice(pieces[pieces[:, 0] == label]))
        first, end = chosen[1:4][list(order)], chosen[4:][list(order)]
        patch = np.array(self.patch_size)
        window = np.maximum(np.array(self.window) if self.window is not None else patch + patch // 2, patch)
        start = (first + end) // 2 - window // 2 + random.integers(0, window - patch + 1)
        if self.dims == 2:
            start[2] = random.integers(first[2], end[2])
        return [int(place) for place in start]

    def _label(self, labels: Sequence[int], random: np.random.Generator) -> int | None:
        """Draw one of some labels by their weights."""
        weights = np.array([self.weights.get(label, 0.0) if self.weights else 1.0 for label in labels])
        if not weights.sum():
            return None
        return int(random.choice(labels, p=weights / weights.sum()))


def make_sampler(
    cases: Sequence[Prepared],
    spec: ModelSpec,
    config: TrainConfig,
    *,
    batch_size: int,
    spacing: tuple[float, float, float],
    augmentation: Pipeline | None,
) -> Sampler:
    """Return the samples of a run.

    Parameters
    ----------
    cases : sequence of Prepared
        Those that train. Those that cannot teach what is asked for are left out: nothing known in them, or no label where only labels are
        looked at.
    spec : ModelSpec
        The model that is trained, for its patches, slices and labels.
    config : TrainConfig
        For sampling and seed.
    batch_size : int
        Samples of one step, over all processes.
    spacing : three floats
        Voxel edges along R, A and S in mm.
    augmentation : Pipeline or None
        Random changes.

    Raises
    ------
    TrainingError
        No case is left, or all have the weight 0.
    """
    wishes = config.sampling
    is_flat = spec.network.dims == 2
    needs_labels = wishes.draw in ("labels", "lesions") or (is_flat and wishes.slices == "positive")
    used = [case for case in cases if any(label > 0 or not needs_labels for label in case.counts)]
    if not used:
        raise TrainingError(
            "None of the training cases holds a label." if needs_labels else "None of the training cases is painted anywhere.",
            "Paint some slices, or check that Targets says what is painted in the masks.",
        )
    used = weighted(used, wishes.case_weights)
    labels = {value: index for index, value in enumerate(spec.label_values)}
    return Sampler(
        cases=used,
        patch_size=spec.patch_size,
        dims=spec.network.dims,
        whole=spec.mode == "whole",
        draw=wishes.draw,
        foreground=wishes.foreground,
        weights={labels[value]: weight for value, weight in wishes.label_weights.items() if value in labels},
        window=wishes.window,
        positive=is_flat and wishes.slices == "positive",
        planes=spec.planes,
        context=spec.context if is_flat else 0,
        augmentation=augmentation,
        spacing=spacing,
        seed=config.optimization.seed,
        batch_size=batch_size,
    )


def weighted(cases: Sequence[Prepared], weights: Mapping[str, float]) -> list[Prepared]:
    """Return the cases, each as often as its weight says: they are gone through in turn, and an epoch is all of that list.

    Parameters
    ----------
    cases : sequence of Prepared
        Which; only a `CachedCase` has an id to be named by.
    weights : mapping of str to float
        Case id -> how often it is drawn, beside the others; 1 where it is not named.

    Raises
    ------
    TrainingError
        All have the weight 0.
    """
    if not weights:
        return list(cases)
    wanted = np.array([weights.get(case.id, 1.0) if isinstance(case, CachedCase) else 1.0 for case in cases])
    if not wanted.any():
        raise TrainingError(
            "All training cases have the weight 0.", "Give some of them a larger one, or leave Case weights empty."
        )
    ratios = wanted / wanted[wanted > 0].min()

    def turns(least: int) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = np.rint(ratios * least).astype(np.int64)
        return counts

    def is_near(least: int) -> bool:
        return bool(np.all(np.abs(turns(least) - ratios * least) <= _NEAR * ratios * least))

    counts = turns(next((least for least in range(1, _MOST_TURNS) if is_near(least)), _MOST_TURNS))
    return [case for case, count in zip(cases, counts, strict=True) for _ in range(count)]


def cut(array: NDArray[T], start: Sequence[int], size: Sequence[int], fill: float) -> NDArray[T]:
    """Return a block of `array` ``(C, I, J, K)``, in memory in that order; places outside get `fill`."""
    inside, place = [slice(None)], [slice(None)]
    for first, length, side in zip(start, size, array.shape[1:], strict=True):
        low = min(max(0, first), side)
        high = max(low, min(side, first + length))
        inside.append(slice(low, high))
        place.append(slice(low - first, high - first))
    block = array[tuple(inside)]
    if block.shape[1:] == tuple(size):
        return np.array(block, order="C", subok=False)
    out = np.full((array.shape[0], *size), fill, dtype=array.dtype)
    out[tuple(place)] = block
    return out


def _order_of(plane: Plane | None) -> tuple[int, int, int]:
    """Return the axes of a volume in the order in which a sample has them: of slices, that across them is the last."""
    if plane is None:
        return 0, 1, 2
    first, second = (axis for axis in range(3) if axis != AXIS[plane])
    return first, second, AXIS[plane]


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, labelled: tuple[bool, ...]) -> NDArray[np.integer]:
    """Return the cases of a round in random order, those with labels at even distances."""
    random = np.random.default_rng((seed, 1, epoch))
    having = np.array(labelled, dtype=bool)
    count, total = int(having.sum()), len(labelled)
    # The same places in each round, so that the distances hold from the end of one to the beginning of the next as well.
    places = np.zeros(total, dtype=bool)
    places[np.arange(count) * total // max(count, 1)] = True
    order = np.empty(total, dtype=np.int64)
    order[places] = random.permutation(np.flatnonzero(having))
    order[~places] = random.permutation(np.flatnonzero(~having))
    return order
