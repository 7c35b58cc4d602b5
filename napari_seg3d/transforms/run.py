"""Run a pipeline on a scan and its mask: the one place where steps are applied, for previews, training and prediction alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ConfigError
from napari_seg3d.transforms.pipeline import Pipeline, Step
from napari_seg3d.transforms.torchio_steps import IMAGE, MASK
from napari_seg3d.volumes import Volume, smallest_integer

if TYPE_CHECKING:
    import torchio

_MOST_VOXELS = 2**31
# torchio moves labels as float32, which holds every whole number up to here.
_HIGHEST_LABEL = 2**24


@dataclass(frozen=True)
class Trace:
    """What one step did.

    Parameters
    ----------
    index : int
        Place of the step in `Pipeline.steps`.
    step : Step
        The step.
    seconds : float
        How long it took.
    image, mask : Volume, Volume or None
        After the step.
    applied : bool
        Whether its probability let it act.
    """

    index: int
    step: Step
    seconds: float
    image: Volume
    mask: Volume | None
    applied: bool


def run(
    pipeline: Pipeline,
    image: Volume,
    mask: Volume | None = None,
    seed: int | None = None,
    cancelled: Callable[[], bool] | None = None,
    each: Callable[[Trace], None] | None = None,
) -> tuple[Volume, Volume | None]:
    """Apply the enabled steps of a pipeline one after the other.

    Parameters
    ----------
    pipeline : Pipeline
        The steps.
    image : Volume
        ``(C, I, J, K)``, any voxel order and number type.
    mask : Volume, optional
        Labels on the same grid: one channel, or a channel for each of several overlapping labels. Spatial steps move it exactly like the
        image, intensity steps leave it alone.
    seed : int, optional
        The same seed gives the same result to the bit. Each step draws from it by its place in the list, so that changing or switching
        off one step leaves what the others draw. Left out, every call draws anew.
    cancelled : callable, optional
        Asked before each step whether to stop.
    each : callable, optional
        Told after each step what it did.

    Returns
    -------
    image : Volume
        float32, with the affine of its new grid.
    mask : Volume or None
        On the same grid, of the number type it came with (or the smallest that holds its new values).

    Raises
    ------
    ConfigError
        A step cannot be applied to this scan.
    Cancelled
        `cancelled` returned True.

    Notes
    -----
    The random state of the caller stays as it was.
    """
    name = str(image.source.path) if image.source is not None else "the image"
    subject = _subject(image, mask)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    for index, step in enumerate(pipeline.steps):
        if not step.enabled:
            continue
        if cancelled is not None and cancelled():
            raise Cancelled("The transforms were stopped.")
        _check_fits(step, subject, mask, name)
        start = time.perf_counter()
        before = subject
        subject = _apply(step, subject, [seed, index], name, is_kept=each is not None)
        seconds = time.perf_counter() - start
        if 0 in subject[IMAGE].spatial_shape:
            raise ConfigError(f"{step.name} leaves nothing of {name}.", "Cut less off.")
        if mask is not None and subject[MASK].spatial_shape != subject[IMAGE].spatial_shape:
            raise ConfigError(f"{step.name} left {name} and its mask on different grids.", "Leave this step out.")
        if each is not None:
            each(Trace(index, step, seconds, *_volumes(subject, image, mask), applied=subject is not before))
    return _volumes(subject, image, mask)


def _subject(image: Volume, mask: Volume | None) -> torchio.Subject:
    import torch
    import torchio

    # Copies: torchio refuses negative strides and foreign byte orders, and must not write into the caller's array.
    data = np.array(image.data, dtype=np.float32, order="C")
    images = {IMAGE: torchio.ScalarImage(tensor=torch.from_numpy(data), affine=image.affine)}
    if mask is not None:
        if mask.data.shape[1:] != image.data.shape[1:]:
            raise ConfigError(f"The mask ({mask.grid}) is not on the grid of the image ({image.grid}).", "Resample it first.")
        if mask.data.size and int(mask.data.max()) > _HIGHEST_LABEL:
            raise ConfigError(f"The mask holds the label {int(mask.data.max())}.", f"Give it a number up to {_HIGHEST_LABEL}.")
        labels = np.array(mask.data, dtype=np.int32, order="C")
        for channel, name in enumerate(_mask_names(mask)):
            # The image's affine: both lie on one grid, and a difference in the last digit must not give them two.
            tensor = torch.from_numpy(labels[channel : channel + 1])
            images[name] = torchio.LabelMap(tensor=tensor, affine=image.affine)
    return torchio.Subject(images)


def _volumes(subject: torchio.Subject, image: Volume, mask: Volume | None) -> tuple[Volume, Volume | None]:
    data = subject[IMAGE].data.numpy().astype(np.float32, copy=False)
    affine = np.array(subject[IMAGE].affine, dtype=np.float64)
    channels = image.channels if len(image.channels) == data.shape[0] else ()
    processed = replace(image, data=data, affine=affine, kind="image", channels=channels)
    if mask is None:
        return processed, None
    # torchio gives labels back as float32 after some spatial transforms.
    labels = np.rint(np.concatenate([subject[name].data.numpy() for name in _mask_names(mask)])).astype(np.int32)
    fitting = labels.astype(mask.data.dtype)
    if not np.array_equal(fitting, labels):  # other numbers were asked for than this type holds
        fitting = labels.astype(smallest_integer(0, int(labels.max())))
    return processed, replace(mask, data=fitting, affine=affine)


def _mask_names(mask: Volume) -> list[str]:
    # An image each: some of ITK's interpolators know no voxels of several values.
    return [MASK] + [f"{MASK}{channel}" for channel in range(1, mask.data.shape[0])]


def _apply(step: Step, subject: torchio.Subject, seed: list[int], name: str, is_kept: bool) -> torchio.Subject:
    import torch

    transform = step.to_torchio()
    # torchio copies everything before each step; of a large scan that is a gigabyte, and only somebody who looks at each step needs it.
    transform.copy = is_kept
    # Noise sets the random state of the whole process for a moment, with a seed of its own.
    with _alone() if step.is_random or step.name == "Noise" else _together(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]))
        try:
            return transform(subject)
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise ConfigError(
                f"{step.name} cannot be applied to {name}: {reason}.", "Change this step, or leave the scan out."
            ) from error


def _check_fits(step: Step, subject: torchio.Subject, mask: Volume | None, name: str) -> None:
    for inside in (step, *step.inside):
        if inside.info.needs_mask and (mask is None or mask.data.shape[0] > 1):
            raise ConfigError(
                f"{inside.name} needs a mask whose labels do not overlap, and {name} has none.",
                "Leave this step out, or add one.",
            )
        size = _size_after(inside, subject[IMAGE])
        if size.prod() > _MOST_VOXELS:
            # A wrong unit in a header (metres for millimetres) would ask for terabytes; say so before the memory is gone.
            raise ConfigError(
                f"{inside.name} would make {name} {' x '.join(f'{side:.0f}' for side in size)} voxels.",
                "Check the spacing in its header, or ask for larger voxels or a smaller size.",
            )


def _size_after(step: Step, image: torchio.Image) -> NDArray[np.float64]:
    size, spacing, values = np.array(image.spatial_shape, dtype=float), np.array(image.spacing), step.values
    if step.name == "Resample":
        size = size * spacing / np.array(values["target"])
    elif step.name in ("Resize", "CropOrPad"):
        factor = {"voxels": np.ones(3), "mm": 1 / spacing, "cm": 10 / spacing}[values.get("units", "voxels")]
        size = np.array(values["target_shape"]) * factor
    elif step.name == "Pad":
        size = size + 2 * np.max(values["padding"])
    elif step.name == "ContextSlices":
        size[values["axis"]] *= 2 * values["neighbours"] + 1
    return size


# torch has one random state for all threads. Steps that draw from it run alone, so that a seed replays to the bit while a prediction
# prepares its scan in another thread; those that do not run side by side.
_turn = threading.Condition()
_running = 0


@contextmanager
def _together() -> Iterator[None]:
    global _running
    with _turn:
        _running += 1
    try:
        yield
    finally:
        with _turn:
            _running -= 1
            _turn.notify_all()


@contextmanager
def _alone() -> Iterator[None]:
    with _turn:
        _turn.wait_for(lambda: _running == 0)
        yield
