"""What a network sees of a scan: all of it or windows, and how much around a region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import numpy as np

from napari_seg3d.inference.cascade import box_on
from napari_seg3d.inference.model import ModelSpec
from napari_seg3d.inference.options import PredictOptions
from napari_seg3d.inference.piecewise.steps import can_prepare
from napari_seg3d.inference.windows import Tiling
from napari_seg3d.networks import network_info
from napari_seg3d.networks.planes import AXIS
from napari_seg3d.transforms import Pipeline
from napari_seg3d.volumes import Box, Grid, box_of

#: Voxels of a scan from which on copies of it are avoided: one takes 128 MB.
LARGE = 2**25


def is_coarse(spec: ModelSpec) -> bool:
    """Return whether the network answers at its deepest level; it then always sees the scan as a whole."""
    return network_info(spec.network.name).answers != "voxels"


def sees_whole(spec: ModelSpec, options: PredictOptions) -> bool:
    """Return whether the network sees scans (slices, for a 2D network) as a whole."""
    return is_coarse(spec) or (spec.mode if options.mode == "auto" else options.mode) == "whole"


def windows_of(spec: ModelSpec, options: PredictOptions) -> Callable[[tuple[int, ...]], Tiling]:
    """Return what lays the windows for images or slices with the given sides."""
    dims = spec.network.dims
    if sees_whole(spec, options):
        return partial(Tiling.whole, divisor=spec.network.divisor[:dims])
    return partial(Tiling, window=spec.patch_size[:dims], overlap=options.overlap, blending=options.blending)


def seen_for(region: Box, spec: ModelSpec, grid: Grid, native: Grid, options: PredictOptions) -> Box:
    """Return the part of the preprocessed scan, on `grid`, that the network sees to answer for a region of the native one."""
    whole, around = sees_whole(spec, options), [spec.context] * 3
    for plane in spec.planes if spec.network.dims == 2 else (None,):
        in_plane = [axis for axis in range(3) if plane is None or axis != AXIS[plane]]
        for axis, side in zip(in_plane, spec.patch_size, strict=False):
            around[axis] = max(around[axis], grid.shape[axis] if whole else side // 2)
    box = box_on(region, native, grid)
    first = [max(0, side.start - more) for side, more in zip(box, around, strict=True)]
    last = [min(end, side.stop + more) for side, more, end in zip(box, around, grid.shape, strict=True)]
    return box_of(first, last)


def longest_two(sides: Sequence[int]) -> tuple[int, int]:
    """Return the axes along which the windows of a volume follow one another: least is kept of their answers so."""
    longest = np.argsort(sides, kind="stable")[::-1]
    return int(longest[0]), int(longest[1])


def prepares_in_pieces(spec: ModelSpec, pipeline: Pipeline, shape: Sequence[int], options: PredictOptions) -> bool:
    """Return whether a scan in memory, ``(C, I, J, K)``, is prepared piece by piece.

    Small ones are prepared at once, as in training, of which this differs in the last digits of a mean; so are those that are seen as a
    whole or in slices, and those whose preprocessing needs the whole.
    """
    is_large = prod(shape) >= LARGE
    return is_large and spec.network.dims == 3 and not sees_whole(spec, options) and can_prepare(pipeline)
