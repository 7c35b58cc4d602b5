"""Preprocessing of an image that does not fit into memory: each step as what it does to `Pieces`.

Where values depend on all others (percentiles, mean), these are measured piece by piece first. Percentiles are those of the step in memory;
a mean differs in the last digits, where torch adds up in single precision and this in double.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ConfigError
from napari_seg3d.inference.piecewise.pieces import Pieces, extremes, mean_and_deviation, percentiles, pieces_of
from napari_seg3d.transforms import Pipeline, Step, grid_after, run
from napari_seg3d.volumes import Box, Grid, Volume, box_of, crop_grid

_MOVING = ("ToCanonical", "Resample")
_RESAMPLED = 128  # voxels of what is resampled at once
_REACH = 10.0  # standard deviations after which ITK's recursive Gaussian has no weight that float32 could hold


def can_prepare(pipeline: Pipeline) -> bool:
    """Return whether a pipeline can be done piece by piece."""
    try:
        check_pipeline(pipeline)
    except ConfigError:
        return False
    return True


def check_pipeline(pipeline: Pipeline) -> None:
    """Raise a ConfigError that names the step which needs more than a piece, and numbers that are measured in pieces."""
    steps = pipeline.enabled
    if not steps or steps[0].name != "ToCanonical":
        raise ConfigError(
            "The preprocessing does not begin with ToCanonical, so the scan cannot be prepared piece by piece.",
            "Crop the scan, or take a model whose preprocessing does.",
        )
    for step in steps:
        _check(step)


def prepared(pipeline: Pipeline, scan: Pieces, keep: Callable[[Pieces], Pieces]) -> Pieces:
    """Return a canonical scan after the steps of a pipeline.

    Parameters
    ----------
    pipeline : Pipeline
        The steps.
    scan : Pieces
        Along R, A and S.
    keep : callable
        Called with the scan after those steps that move voxels, to keep what would cost much to read again; later steps are done whenever
        they are read.

    Raises
    ------
    ConfigError
        A step needs more than a piece and such numbers.
    """
    check_pipeline(pipeline)
    steps = pipeline.enabled
    last = max((number for number, step in enumerate(steps) if step.name in _MOVING), default=-1)
    for step in steps[: last + 1]:
        scan = _after(step, scan)
    scan = keep(scan)
    for step in steps[last + 1 :]:
        scan = _after(step, scan)
    return scan


def kept(image: Pieces) -> Pieces:
    """Return the same image out of an array in memory, that is filled now."""
    array = np.empty((image.channels, *image.grid.shape), np.float32)
    for box in image.boxes:
        array[(slice(None), *box)] = image.read(box)
    return pieces_of(Volume(array, image.grid.affine))


def stored(image: Pieces, folder: Path, sides: tuple[int, ...]) -> Pieces:
    """Return the same image out of an array in `folder`, that is written now."""
    import zarr

    blocks = tuple(min(side, whole) for side, whole in zip(sides, image.grid.shape, strict=True))
    # Not compressed: each voxel is read many times, and the array lives no longer than the prediction.
    array = zarr.create_array(
        folder, shape=(image.channels, *image.grid.shape), chunks=(image.channels, *blocks), dtype="f4", compressors=None
    )
    for box in image.boxes:
        array[(slice(None), *box)] = image.read(box)

    def read(box: Box) -> NDArray[np.float32]:
        return np.asarray(array[(slice(None), *box)], dtype=np.float32)

    return Pieces(read, image.channels, image.grid, tuple(4 * side for side in blocks) if np.prod(blocks) < 2**17 else blocks)


def _check(step: Step) -> None:
    reason = ""
    if step.name not in _STREAMED:
        reason = "needs the scan as a whole"
    elif step.probability < 1:
        reason = "is left to chance"
    elif step.values.get("masking_method") is not None:
        reason = "measures only a part of the scan"
    elif step.name == "Resample" and step.values["image_interpolation"] not in ("linear", "nearest"):
        reason = f"interpolates by {step.values['image_interpolation']}, which needs the scan as a whole"
    if reason:
        raise ConfigError(
            f"The preprocessing step {step.name} {reason}, so the scan cannot be prepared piece by piece.",
            f"Crop the scan, or take a model whose preprocessing is made of {', '.join(_STREAMED)}.",
        )


def _after(step: Step, image: Pieces) -> Pieces:
    return _STREAMED[step.name](step, image)


def _by_voxel(step: Step, image: Pieces) -> Pieces:
    alone = Pipeline((step,))

    def change(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(run(alone, Volume(values, np.eye(4)))[0].data, dtype=np.float32)

    return image.changed(change)


def _rescaled(step: Step, image: Pieces) -> Pieces:
    low, high = percentiles(image, tuple(step.values["percentiles"]))
    first, last = (np.float32(np.clip(end, low, high)) for end in extremes(image))
    if step.values["in_min_max"] is not None:
        first, last = step.values["in_min_max"]
    if first == last:
        return image
    lowest, highest = step.values["out_min_max"]

    def change(values: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.clip(values, low, high, out=np.empty_like(values))
        found -= first
        found /= last - first
        found *= highest - lowest
        found += lowest
        return found

    return image.changed(change)


def _normalised(step: Step, image: Pieces) -> Pieces:
    mean, deviation = mean_and_deviation(image)
    if not deviation > 0:
        return image.changed(np.zeros_like)
    return image.changed(lambda values: (values - mean) / deviation)


def _resampled(step: Step, image: Pieces) -> Pieces:
    grid = grid_after(Pipeline((step,)), image.grid)
    if grid is image.grid:
        return image
    factors = np.array(grid.spacing) / np.array(image.grid.spacing)
    first = np.linalg.solve(image.grid.affine, grid.affine @ (0, 0, 0, 1))[:3]
    # The blur that `Resample` chooses (Cardoso et al., MICCAI 2015), in voxels.
    blur = np.sqrt(np.clip(factors**2 - 1, 0, None) / (8 * np.log(2))) if step.values["antialias"] else np.zeros(3)
    margin = 2 + np.ceil(_REACH * blur).astype(int)

    def read(box: Box) -> NDArray[np.float32]:
        ends = np.array([[side.start, side.stop - 1] for side in box])
        places = first[:, None] + factors[:, None] * ends
        low = np.clip(np.floor(places[:, 0]).astype(int) - margin, 0, np.array(image.grid.shape) - 1)
        high = np.clip(np.ceil(places[:, 1]).astype(int) + margin + 1, low + 1, image.grid.shape)
        around = box_of(low.tolist(), high.tolist())
        return _on(step, image.read(around), crop_grid(image.grid, around), crop_grid(grid, box))

    sides = tuple(min(_RESAMPLED, side) for side in grid.shape)
    return Pieces(read, image.channels, grid, sides)


def _on(step: Step, values: NDArray[np.float32], grid: Grid, wanted: Grid) -> NDArray[np.float32]:
    """Return values on another grid, as `Resample` brings them there."""
    import torch
    import torchio

    from napari_seg3d.transforms.own import Resample

    target = (wanted.shape, np.array(wanted.affine))
    resample = Resample(target, image_interpolation=step.values["image_interpolation"], antialias=step.values["antialias"])
    subject = torchio.Subject(image=torchio.ScalarImage(tensor=torch.from_numpy(values.copy()), affine=grid.affine))
    # That of torchio: ours first compares spacings, and the target here is a grid.
    return np.asarray(torchio.Resample.apply_transform(resample, subject)["image"].data.numpy(), dtype=np.float32)


_STREAMED: dict[str, Callable[[Step, Pieces], Pieces]] = {
    "ToCanonical": lambda _, image: image,  # it is already
    "Resample": _resampled,
    "HUWindow": _by_voxel,
    "Clamp": _by_voxel,
    "RescaleIntensity": _rescaled,
    "ZNormalization": _normalised,
}
