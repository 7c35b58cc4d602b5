"""How much memory a prediction will need, reckoned before its first step from the model, the grid of the scan and the choices.

Nothing is read or computed, and nothing waits for torch, so that a dock may ask at each change of a choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from napari_seg3d.inference.blocks import MOST_NUMBERS
from napari_seg3d.inference.model import ModelSpec
from napari_seg3d.inference.options import PredictOptions
from napari_seg3d.inference.seeing import is_coarse, prepares_in_pieces, seen_for, windows_of
from napari_seg3d.inference.slices import slices_at_once
from napari_seg3d.networks.planes import AXIS
from napari_seg3d.transforms import Pipeline, channels_after, grid_after
from napari_seg3d.volumes import Grid, crop_grid

_AS_TRAINED = PredictOptions()
_NUMBER = 4  # bytes of a float32
# Measured on CPUs: what is alive together, in float32 numbers for each voxel.
_PIECES = 100e6  # what is alive of a scan that is prepared piece by piece
_FRAGMENTS = 60e6  # what allocators hold back between one array and the next
_PREPARING = 2.25  # of each channel: the scan, a copy that is sorted for its percentiles, and a mask of bytes
_RESAMPLING = 2.0  # copies of a channel for ITK, smoothed, beside what comes and goes
_FEATURES = {"torchio-unet": 13, "vnet": 11, "mini-vnet": 11, "attentionunet": 9, "mednext": 11, "swinunetr": 16, "segresnet": 4}
_USUAL_FEATURES = 5.5  # for each feature of each level: what goes in, what comes out, and what a kernel takes beside them
_DECIDING = 2.25  # the channel that is compared, the highest so far, and where it is higher
_BRINGING = 3.0  # copies of a channel for ITK on the way to another spacing
_DOUBT = 4.0  # entropies, and what they are made from
_PIECE_COPIES = 4.0  # of it: with its neighbours, resampled


def planned_memory(models: Sequence[ModelSpec], scan: Grid, channels: int = 1, options: PredictOptions = _AS_TRAINED) -> int:
    """Return the bytes that the prediction of a scan needs at its peak, above the scan itself.

    An estimate for CPUs. Program and weights are not counted. Of a cascade it is what the second network needs where the first one finds
    something everywhere, which is the most.

    Parameters
    ----------
    models : sequence of ModelSpec
        One, or those of an ensemble.
    scan : Grid
        Where the scan lies.
    channels : int
        Of the scan.
    options : PredictOptions
        How it is predicted.

    Raises
    ------
    GeometryError
        The region does not lie in the scan.
    """
    if len(models) == 1:
        return int(_of_one(models[0], scan, channels, options))
    asked = replace(options, probabilities=True, uncertainty=False)
    voxels = prod(scan.shape)
    mean = _NUMBER * models[0].channels * voxels  # of the members so far, while the next one answers with as much
    if options.uncertainty:
        mean += _NUMBER * voxels
    return int(max(_of_one(spec, scan, channels, asked) for spec in models) + mean)


def _of_one(spec: ModelSpec, scan: Grid, channels: int, options: PredictOptions) -> float:
    pipeline = Pipeline.from_list(spec.pipeline)
    grid, voxels = grid_after(pipeline, scan), prod(scan.shape)
    before, prepared = _NUMBER * channels * voxels, _NUMBER * channels_after(pipeline, channels) * prod(grid.shape)
    preparing = _PREPARING * max(before, prepared)
    is_resampled = not np.allclose(grid.spacing, scan.canonical().spacing)
    if is_resampled:
        preparing = max(preparing, before + prepared + _RESAMPLING * _NUMBER * max(voxels, prod(grid.shape)))

    if prepares_in_pieces(spec, pipeline, (channels, *scan.shape), options):
        # What was moved is kept, and everything else is done to one window at a time.
        prepared *= is_resampled
        preparing = prepared + _PIECES

    answered, seen = scan, grid.shape
    if options.region is not None:
        answered = crop_grid(scan, options.region)
        seen = crop_grid(grid, seen_for(options.region, spec, grid, scan, options)).shape
    maps = _NUMBER * (spec.channels * options.probabilities + (1 + bool(options.flips)) * options.uncertainty)
    labels = 1 if spec.targets == "exclusive" else spec.channels
    answer = (maps + labels) * prod(answered.shape)
    computing = _computing(spec, seen, prod(answered.shape), options, is_resampled)
    # At the end once more: in the voxel order of the file, and in the whole scan.
    ordered = answer if scan.orientation == "RAS" else 2 * answer
    placed = 0 if options.region is None else answer + (maps + labels) * voxels
    return _FRAGMENTS + max(preparing, prepared + max(answer + computing, ordered, placed), (maps + 2 * labels) * voxels)


def _computing(spec: ModelSpec, seen: Sequence[int], answered: int, options: PredictOptions, is_resampled: bool) -> float:
    """Return what the windows of a prepared scan need, until they are the answer for so many voxels."""
    network, windows, dims = spec.network, windows_of(spec, options), spec.network.dims
    channels = spec.channels + (bool(options.flips) and options.uncertainty)
    logits = _NUMBER * channels * (3 if options.flips else 1)  # of a pixel, and of its mirror images
    # What it takes to decide a voxel when all of its channels are there.
    deciding = _NUMBER * (_DECIDING + _BRINGING * is_resampled + _DOUBT * options.uncertainty)
    if dims == 2:
        planes = [[seen[axis] for axis in range(3) if axis != AXIS[plane]] for plane in spec.planes]
        tilings = [windows(tuple(sides)) for sides in planes]
        batches = [min(slices_at_once(tiling.sides, windows), max(seen)) for tiling in tilings]
        slab = max(
            batch * (_alive(spec, prod(t.window)) + logits * prod(t.window) * 2 + _NUMBER * channels * prod(t.padded) * 2)
            for t, batch in zip(tilings, batches, strict=True)
        )
        if len(spec.planes) == 1:
            return slab
        total = _NUMBER * channels * prod(seen)
        return total + max(slab, deciding * answered)
    tiling = windows(tuple(seen))
    window, padded = prod(tiling.window), prod(tiling.padded)
    seeing = _alive(spec, window) + _NUMBER * network.in_channels * (2 * window + padded * (tiling.padded != tiling.sides))
    if len(tiling.corners) == 1:
        every = _NUMBER * channels * window if not is_coarse(spec) else 0
        return max(seeing + logits * window, every + deciding * answered)
    rows, columns, rest = sorted(range(3), key=lambda axis: seen[axis], reverse=True)
    reached = tiling.window[rows] - (tiling.starts[rows][1] if len(tiling.starts[rows]) > 1 else tiling.window[rows])
    band = tiling.window[rows] * tiling.window[columns] * tiling.padded[rest]
    later = reached * tiling.padded[columns] * tiling.padded[rest]
    piece = _PIECE_COPIES * _NUMBER * min(MOST_NUMBERS, channels * (band + later))
    # On a GPU the next window is computed while one is put into its place.
    return seeing + (2 * logits + _NUMBER) * window + _NUMBER * channels * (band + later) + piece


def _alive(spec: ModelSpec, pixels: float) -> float:
    """Return what a network holds while it computes so many pixels."""
    numbers = 0.0
    for features, stride in zip(spec.network.features, [*spec.network.strides, (1, 1, 1)], strict=True):
        numbers += features * pixels
        pixels /= prod(stride)
    return _NUMBER * numbers * _FEATURES.get(spec.network.name, _USUAL_FEATURES)
