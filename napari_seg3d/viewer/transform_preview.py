"""What a recipe makes of one case: computed in a job, with the functions that training and prediction call, and nothing of its own.

Three things can be looked at: what preprocessing makes of the scan, what augmentation makes of the preprocessed scan, and the patch that
the network is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from napari.utils.colormaps import Colormap
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled
from napari_seg3d.evaluation.counts import UNKNOWN
from napari_seg3d.training import TrainConfig
from napari_seg3d.training.plan import Fingerprint, make_plan
from napari_seg3d.training.samples.sampling import Sampler, make_sampler
from napari_seg3d.training.samples.survey import Surveyed
from napari_seg3d.training.samples.targets import classes_of, known_voxels
from napari_seg3d.transforms import Pipeline, Recipe, Trace, fit, is_fitted, preprocess, run
from napari_seg3d.viewer.frames import Frame
from napari_seg3d.viewer.intensities import contrast_limits, glance_at
from napari_seg3d.viewer.label_colours import label_colour
from napari_seg3d.viewer.layers import LayerTuple, layer_data, sizes
from napari_seg3d.volumes import Label, Volume, resample

#: What is compared: the scan with the preprocessed scan, that with the augmented one, or the network's patch before and after augmentation.
What = Literal["preprocessing", "augmentation", "network"]
Counts = tuple[NDArray[np.generic], NDArray[np.generic]]
Pair = tuple[Volume, Volume | None]

_BINS = 96
_SAMPLED = 50_000  # voxels that a histogram is made of
_THUMBNAIL = 96
_DIFFERENCE = Colormap([[0.2, 0.5, 1.0], [0.0, 0.0, 0.0], [1.0, 0.6, 0.1]], name="less and more")


@dataclass(frozen=True, eq=False)
class Scene:
    """The case that is looked at.

    Parameters
    ----------
    name : str
        Of its layer.
    image : Volume
        The scan, in the voxel order of its file.
    mask : Volume or None
        Labels on the same grid.
    labels : mapping of int to Label
        Their names and colours.
    frame : Frame
        The axes of the display.
    """

    name: str
    image: Volume
    mask: Volume | None
    labels: Mapping[int, Label]
    frame: Frame


@dataclass(frozen=True)
class Ask:
    """What to compute.

    Parameters
    ----------
    recipe : Recipe
        The steps.
    what : {"preprocessing", "augmentation", "network"}
        What is compared with what.
    seed : int
        Of everything random.
    edge : int or None
        Only a block of so many voxels a side, around `point`; None for the whole scan.
    point : three floats
        A place in the display ``(z, y, x)`` in mm.
    upto : int or None
        The last step to run; None for all.
    always : int or None
        A step of the augmentation that is applied whatever its probability.
    samples : int
        How many further random results to make small pictures of.
    order : three ints
        The axes of the display: the one across the pictures, their rows and columns.
    config : TrainConfig
        What a training would be started with, for the patch that the network is shown.
    settings : mapping of str to plain values
        The steps as dotted settings of that training.
    fingerprint : Fingerprint or None
        Of the cases that would be trained on; None where no data set is open.
    values : tuple of int
        The labels that would be learnt; empty for those of the mask.
    difference : bool
        Whether to show what changed instead of the result.
    """

    recipe: Recipe
    what: What
    seed: int
    edge: int | None
    point: tuple[float, ...]
    upto: int | None
    always: int | None
    samples: int
    order: tuple[int, ...]
    config: TrainConfig
    settings: Mapping[str, Any]
    fingerprint: Fingerprint | None
    values: tuple[int, ...]
    difference: bool


@dataclass(frozen=True)
class Timing:
    """How long a step took, and whether chance applied it."""

    index: int
    seconds: float
    applied: bool


@dataclass(frozen=True, eq=False)
class Compared:
    """What there is to show.

    Parameters
    ----------
    what : {"preprocessing", "augmentation", "network"}
        What is compared.
    before, after : list of LayerTuple
        The image, and its mask over it.
    titles : two strings
        What each of them is.
    timings : tuple of Timing
        For each step of `what` that ran.
    histograms : two of (counts, edges)
        Of the intensities before and after, of the same place.
    notes : tuple of str
        What the user should know about what is seen.
    is_block : bool
        Whether `after` is only a block of the scan, around the place that is looked at.
    """

    what: What
    before: list[LayerTuple]
    after: list[LayerTuple]
    titles: tuple[str, str]
    timings: tuple[Timing, ...]
    histograms: tuple[Counts, Counts]
    notes: tuple[str, ...]
    is_block: bool

    @property
    def seconds(self) -> float:
        """How long the steps took together."""
        return sum(timing.seconds for timing in self.timings)


@dataclass(frozen=True, eq=False)
class Sample:
    """A small picture ``(rows, columns, 3)`` of what another seed makes."""

    seed: int
    picture: NDArray[np.uint8]


class Kept:
    """The last scan that was preprocessed as a whole, so that another augmentation does not run the preprocessing again."""

    def __init__(self) -> None:
        self._key: object = None
        self._pair: Pair | None = None
        self._plain: Pair | None = None
        self._shown: tuple[object, list[LayerTuple]] | None = None
        self._values: tuple[object, list[int]] | None = None

    def plain(self, scene: Scene) -> Pair:
        """Return the scan as it is, and its mask: the same pair as long as the scan is the same."""
        if self._plain is None or self._plain[0] is not scene.image or self._plain[1] is not scene.mask:
            self._plain = (scene.image, scene.mask)
        return self._plain

    def values(self, scene: Scene) -> list[int]:
        """Return the labels of a mask, counted once."""
        if self._values is None or self._values[0] is not scene.mask:
            found = np.unique(scene.mask.data).tolist() if scene.mask is not None else []
            self._values = (scene.mask, [value for value in found if value > 0])
        return self._values[1]

    def prepared(self, scene: Scene, pipeline: Pipeline, cancelled: Callable[[], bool]) -> Pair:
        """Return the whole scan and its mask, preprocessed."""
        key = (scene.image.data, scene.mask.data if scene.mask is not None else None, pipeline.to_list())
        if self._pair is None or not _is_same(self._key, key):
            self._pair = None  # two whole scans at a time may not fit
            self._pair = preprocess(fit(pipeline, [scene.image], cancelled), scene.image, scene.mask, cancelled=cancelled)
            self._key = key
        return self._pair

    def layers(self, scene: Scene, pair: Pair) -> list[LayerTuple]:
        """Return the layers of a whole scan, made once."""
        if self._shown is None or self._shown[0] is not pair:
            self._shown = (pair, _layers(scene, pair, scene.frame))
        return self._shown[1]


def compare(scene: Scene, ask: Ask, kept: Kept, cancelled: Callable[[], bool]) -> Compared:
    """Return what a recipe makes of a case.

    Parameters
    ----------
    scene : Scene
        The case; none of its arrays is written to.
    ask : Ask
        What to compute.
    kept : Kept
        What the last call left for this one.
    cancelled : callable
        Asked between two steps.

    Raises
    ------
    ConfigError
        A step cannot be applied; it is named.
    Cancelled
        `cancelled` returned True.
    """
    timings: list[Timing] = []
    notes: list[str] = []

    def note(trace: Trace) -> None:
        timings.append(Timing(trace.index, trace.seconds, trace.applied))

    if ask.what == "network":
        before, after = _network_input(scene, ask, kept, ask.seed, cancelled)
        frame, is_block = Frame(np.eye(3)), False  # a patch lies nowhere but in itself
        shown_before = _layers(scene, before, frame)
    else:
        whole = _whole(scene, ask, kept, cancelled)
        before = _part(scene, ask, whole)
        after = _apply(_steps(before[0], ask, cancelled), before, ask, cancelled, note)
        frame, is_block = scene.frame, before[0] is not whole[0]
        # Around a block, the rest of the scan stays in sight.
        shown_before = kept.layers(scene, whole)
        if is_block:
            notes.append(_block_note(ask))
    if not is_fitted(ask.recipe.preprocessing):
        notes.append(
            "HistogramStandardization is fitted to this scan alone here; training fits it to the cases that it trains on."
        )
    if cancelled():
        raise Cancelled("A newer preview was asked for.")
    same_units = ask.what != "preprocessing"
    shown_after = _layers(scene, after, frame, shown_before[0][1]["contrast_limits"] if same_units else None)
    if ask.difference:
        shown_after[0] = _difference(before[0], after[0], frame, same_units)
    return Compared(
        ask.what,
        shown_before,
        shown_after,
        _titles(scene, ask, after[0]),
        tuple(timings),
        _histograms(before[0], after[0], same_units),
        tuple(notes),
        is_block,
    )


def samples(scene: Scene, ask: Ask, kept: Kept, cancelled: Callable[[], bool]) -> Iterator[Sample]:
    """Yield small pictures of what the seeds that follow make of the case: the middle slice, with the outline of the mask."""
    before, limits = None, None
    if ask.what != "network":
        before = _part(scene, ask, _whole(scene, ask, kept, cancelled))
        steps = _steps(before[0], replace(ask, always=None), cancelled)
    for seed in range(ask.seed + 1, ask.seed + 1 + ask.samples):
        if before is None:
            plain, after = _network_input(scene, ask, kept, seed, cancelled)
            limits, frame = contrast_limits(plain[0].data), Frame(np.eye(3))
        else:
            after, frame = _apply(steps, before, replace(ask, seed=seed), cancelled), scene.frame
            limits = limits or contrast_limits(before[0].data)
        if cancelled():
            return
        yield Sample(seed, _picture(_layers(scene, after, frame, limits), ask.order, limits))


def block(volume: Volume, centre: NDArray[np.floating], edge: int) -> Volume:
    """Return a block of a volume around a place; the volume itself, where it is no larger.

    Parameters
    ----------
    volume : Volume
        Where to cut.
    centre : array of shape (3,)
        A place in the patient, RAS+ mm.
    edge : int
        Voxels along each side; a volume of one slice gives a square with as many voxels as the cube would have.
    """
    shape = np.array(volume.grid.shape)
    thick = int((shape > 1).sum())
    side = edge if thick == 3 else round(edge ** (3 / max(thick, 1)))
    if (shape <= side).all():
        return volume
    voxel = (np.linalg.inv(volume.affine) @ np.append(centre, 1.0))[:3]
    start = np.clip(np.rint(voxel).astype(int) - side // 2, 0, np.maximum(shape - side, 0))
    i, j, k = (slice(int(at), int(at) + side) for at in start)
    affine = volume.affine.copy()
    affine[:3, 3] = volume.grid.to_world(start[np.newaxis])[0]
    return replace(volume, data=volume.data[:, i, j, k], affine=affine)


def _whole(scene: Scene, ask: Ask, kept: Kept, cancelled: Callable[[], bool]) -> Pair:
    """Return what the steps that are looked at begin with."""
    if ask.what == "preprocessing":
        return kept.plain(scene)
    return kept.prepared(scene, ask.recipe.preprocessing, cancelled)


def _part(scene: Scene, ask: Ask, whole: Pair) -> Pair:
    if ask.edge is None:
        return whole
    centre = (scene.frame.to_patient @ (*ask.point[::-1], 1.0))[:3]
    image, mask = whole
    part = block(image, centre, ask.edge)
    return whole if part is image else (part, block(mask, centre, ask.edge) if mask is not None else None)


def _steps(image: Volume, ask: Ask, cancelled: Callable[[], bool]) -> Pipeline:
    """Return the steps to run, up to the one that is asked for."""
    if ask.what == "preprocessing":
        steps = list(fit(ask.recipe.preprocessing, [image], cancelled).steps)
    else:
        steps = list(ask.recipe.augmentation.steps)
        if ask.always is not None and ask.always < len(steps):
            steps[ask.always] = replace(steps[ask.always], probability=1.0)
    return Pipeline(tuple(steps if ask.upto is None else steps[: ask.upto + 1]))


def _apply(
    steps: Pipeline, pair: Pair, ask: Ask, cancelled: Callable[[], bool], each: Callable[[Trace], None] | None = None
) -> Pair:
    """Run steps as training does: preprocessing looks at the scan first, augmentation draws from a seed."""
    if ask.what == "preprocessing":
        return preprocess(steps, *pair, cancelled=cancelled, each=each)
    return run(steps, *pair, seed=ask.seed, cancelled=cancelled, each=each)


# -- the patch that the network is shown ---------------------------------------------------------------------------------------------------


def _network_input(scene: Scene, ask: Ask, kept: Kept, seed: int, cancelled: Callable[[], bool]) -> tuple[Pair, Pair]:
    """Return the patch without and with augmentation, by the plan, preprocessing and sampler of training."""
    labels = dict.fromkeys(ask.values or kept.values(scene) or (1,), "")
    config = ask.config.with_values(ask.settings)
    known = ask.fingerprint or Fingerprint((scene.image.grid,), labels)
    plan = make_plan(config, replace(known, labels=labels, channels=len(scene.image.data)))
    image, mask = kept.prepared(scene, Pipeline.from_list(plan.spec.pipeline), cancelled)
    values, is_overlapping = sorted(plan.spec.labels), plan.spec.targets == "overlapping"
    target = np.zeros((len(values) if is_overlapping else 1, *image.grid.shape), np.uint8)
    meaning = config.targets
    if mask is not None:
        target = classes_of(mask.data, values, is_overlapping)
        painted = known_voxels(mask, meaning)
        if painted is not None:
            target[:, ~painted] = UNKNOWN
    outside = 0 if mask is None or meaning.known == "all" else UNKNOWN
    case = Surveyed(np.asarray(image.data, np.float32), target, len(values), outside)
    config = config.with_values({"optimization.seed": seed})
    plain = make_sampler([case], plan.spec, config, batch_size=1, spacing=plan.spacing, augmentation=None)

    def pair(sampler: Sampler) -> Pair:
        patch, wanted = sampler[0]
        if plan.spec.network.dims == 2:
            patch, wanted = patch[..., np.newaxis], wanted[..., np.newaxis]
        affine = np.diag([*plan.spacing, 1.0])
        wanted = np.where(wanted == UNKNOWN, 0, wanted)
        shown = wanted * np.arange(1, len(wanted) + 1)[:, None, None, None] if is_overlapping else np.array([0, *values])[wanted]
        found = Volume(shown.astype(np.int32), affine, "labels") if mask is not None else None
        return Volume(patch, affine, is_oriented=scene.image.is_oriented), found

    return pair(plain), pair(replace(plain, augmentation=plan.augmentation))


# -- what there is to see ------------------------------------------------------------------------------------------------------------------


def _layers(scene: Scene, pair: Pair, frame: Frame, limits: tuple[float, float] | None = None) -> list[LayerTuple]:
    image, mask = pair
    # Of several channels one tells enough: of the neighbours of a slice, the slice itself.
    middle = replace(image, data=image.data[len(image.data) // 2][np.newaxis], channels=(), fourth="channel")
    layers = layer_data(middle, scene.name, frame=frame, limits=limits)
    if mask is not None:
        for data, settings, kind in layer_data(replace(mask, labels=scene.labels), f"{scene.name} mask", frame=frame):
            layers.append((data, settings | {"opacity": 0.9}, kind))
    return layers


def _difference(before: Volume, after: Volume, frame: Frame, same_units: bool) -> LayerTuple:
    """Return a layer of what was added (orange) and taken away (blue), on the grid of the result."""
    there = resample(before, after.grid, "linear", float(before.data.min()))
    old, new = there[len(there) // 2].astype(np.float32), after.data[len(after.data) // 2].astype(np.float32)
    if not same_units:
        # A window or a normalisation alone is a straight line; what lies off it is what was changed.
        spread = float(old.var())
        slope = float(((old - old.mean()) * (new - new.mean())).mean()) / spread if spread else 0.0
        old = new.mean() + slope * (old - old.mean())
    change = new - old
    reach = float(np.percentile(np.abs(change), 99.5)) or float(np.abs(change).max()) or 1.0
    volume = replace(after, data=change[np.newaxis], channels=(), fourth="channel")
    (data, settings, kind), *_ = layer_data(volume, "difference", frame=frame, limits=(-reach, reach))
    return data, settings | {"colormap": _DIFFERENCE}, kind


def _histograms(before: Volume, after: Volume, same_units: bool) -> tuple[Counts, Counts]:
    values = [_some(volume) for volume in (before, after)]
    ends = [(float(array.min()), float(np.percentile(array, 99.9))) for array in values]
    if same_units:
        ends = [(min(low for low, _ in ends), max(high for _, high in ends))] * 2
    (old, new) = (
        np.histogram(array, _BINS, range=(low, high if high > low else low + 1))
        for array, (low, high) in zip(values, ends, strict=True)
    )
    return old, new


def _some(volume: Volume) -> NDArray[np.floating]:
    values = glance_at(volume.data[len(volume.data) // 2]).astype(np.float64).ravel()
    finite = values[np.isfinite(values)][:: max(1, values.size // _SAMPLED)]
    return finite if finite.size else np.zeros(1)


def _titles(scene: Scene, ask: Ask, after: Volume) -> tuple[str, str]:
    old = {"preprocessing": scene.name, "augmentation": "Preprocessed", "network": "The patch before augmentation"}[ask.what]
    grid = after.grid
    size = f"{sizes(grid.shape)} at {' x '.join(f'{edge:.3g}' for edge in grid.spacing)} mm"
    new = {"preprocessing": "Preprocessed", "augmentation": "Augmented", "network": "What the network sees"}[ask.what]
    if ask.difference:
        new = f"Change: {'more' if ask.what != 'preprocessing' else 'brighter'} is orange, less is blue"
    seed = "" if ask.what == "preprocessing" else f", seed {ask.seed}"
    values = f", mean {after.data.mean():.2f}, sd {after.data.std():.2f}" if ask.what == "network" else ""
    return old, f"{new} ({size}{seed}{values})"


def _block_note(ask: Ask) -> str:
    what = f"Quick: a block of {ask.edge} voxels around the place you look at; click elsewhere to move it."
    return f"{what} Intensities are normalised by the block, not by the whole scan." if ask.what == "preprocessing" else what


def _picture(layers: list[LayerTuple], order: tuple[int, ...], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Return the middle slice of an image with the outline of its mask, as it appears in the views."""
    grey = np.clip((_middle(layers[0], order).astype(np.float32) - limits[0]) / max(limits[1] - limits[0], 1e-9), 0, 1)
    picture = np.repeat((255 * grey).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    for layer in layers[1:]:
        labels = _middle(layer, order)
        inner = np.ones(labels.shape, bool)
        for axis in (0, 1):
            same = np.diff(labels, axis=axis) == 0
            inner &= np.insert(same, 0, True, axis=axis) & np.append(same, np.ones_like(same.take([0], axis)), axis=axis)
        edge = (labels != 0) & ~inner
        for value in np.unique(labels[edge]):
            picture[edge & (labels == value)] = [int(label_colour(int(value))[at : at + 2], 16) for at in (1, 3, 5)]
    return picture


def _middle(layer: LayerTuple, order: tuple[int, ...]) -> NDArray[np.generic]:
    """Return the middle slice across `order[0]`, its rows from top to bottom and columns from left to right as on the screen."""
    data = np.asarray(layer[0])
    plane = data.take(data.shape[order[0]] // 2, axis=order[0])
    rows_first = plane if order[1] < order[2] else plane.T
    step = max(1, round(max(rows_first.shape) / _THUMBNAIL))
    return rows_first[::-step, ::-step]


def _is_same(one: object, other: object) -> bool:
    """Return whether two keys hold the same arrays and equal values."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(
            a is b if isinstance(a, np.ndarray) else a == b for a, b in zip(one, other, strict=True)
        )
    return False
