"""Levels and filters of the network, and the size of a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.inference import Accelerator, read_spec
from napari_seg3d.networks import (
    NetworkSpec,
    check_sides,
    complete_spec,
    fitting_strides,
    network_info,
    plan_strides,
    round_sides,
)
from napari_seg3d.training.config import NetworkConfig, TrainConfig
from napari_seg3d.training.plan.plan import Reason
from napari_seg3d.training.plan.samples import Samples

# Voxels of a sample, and of a step: more per step learns less per minute on a CPU. Measured with the default U-Net on two cores.
PATCH_VOXELS = {
    3: {"cpu": 64**3, "mps": 96**3, "cuda": 128**3},
    2: {"cpu": 256**2, "mps": 512**2, "cuda": 512**2},
}
_SMALLEST_SIDE = 8
_ONE_SIZE = "The preprocessing brings every scan to one size."
_PIECES = "Random pieces: scans of any size fit the memory, and a batch shows several scans."
# Filters of the finest level, and of the widest one.
_FILTERS = {
    3: {"cpu": (16, 128), "mps": (16, 128), "cuda": (32, 320)},
    2: {"cpu": (32, 256), "mps": (32, 512), "cuda": (32, 512)},
}
_MOST_LEVELS = {3: {"cpu": 4, "mps": 4, "cuda": 6}, 2: {"cpu": 5, "mps": 7, "cuda": 8}}


@dataclass(frozen=True)
class Sizes:
    """What the network is, and what it is shown.

    Parameters
    ----------
    network : NetworkSpec
        With all its levels.
    patch : three ints
        Voxels of a sample; of slices the third is 1.
    mode : {"patches", "whole"}
        Random pieces, or all of a scan (or slice) at once.
    reasons : tuple of Reason
        Why.
    """

    network: NetworkSpec
    patch: tuple[int, int, int]
    mode: Literal["patches", "whole"]
    reasons: tuple[Reason, ...]


def plan_sizes(
    config: TrainConfig,
    samples: Samples,
    in_channels: int,
    out_channels: int,
    accelerator: Accelerator,
    limit: float | None = None,
) -> Sizes:
    """Return network and size of a sample.

    Parameters
    ----------
    config : TrainConfig
        What was asked for.
    samples : Samples
        What a sample is.
    in_channels, out_channels : int
        Of the network.
    accelerator : {"cpu", "cuda", "mps"}
        The device.
    limit : float, optional
        Voxels that a sample may have at most; left out, what the device trains well.

    Raises
    ------
    ConfigError
        The network cannot be made so, or a size that was typed does not fit it.
    """
    wish, asked = config.sampling, config.network
    reasons = []
    sides, edges = samples.sides(), np.array(samples.edges())
    implied = _implied_size(samples, sides) if wish.patch_size == "auto" else None
    mode: Literal["patches", "whole"]
    if wish.mode == "auto":
        mode, why = ("whole", _ONE_SIZE) if implied is not None else ("patches", _PIECES)
        reasons.append(Reason("sampling.mode", mode, why))
    else:
        mode = wish.mode
    limit = limit or (np.inf if mode == "whole" else PATCH_VOXELS[samples.dims][accelerator])
    typical = sides.max(axis=0) if mode == "whole" else np.median(sides, axis=0)
    if implied is not None:
        typical, limit = implied, np.inf

    features = asked.features
    typed = None if wish.patch_size == "auto" else np.array(wish.patch_size, dtype=float)
    if features == "auto":
        shown = typed if typed is not None else _within(typical, edges, samples.dims, limit)
        features, why = _features(asked.name, samples.dims, accelerator, shown, edges)
        reasons.append(Reason("network.features", list(features), why))

    inherited = _strides_of(asked, tuple(features), samples.dims)

    def spec_for(size: NDArray[np.float64]) -> NetworkSpec:
        voxels = [int(side) for side in size]
        strides = inherited or fitting_strides(asked.name, features, voxels, edges.tolist(), samples.dims)
        return complete_spec(
            asked.name,
            dims=samples.dims,
            in_channels=in_channels,
            out_channels=out_channels,
            features=features,
            strides=strides,
            deep_supervision=asked.deep_supervision,
            options=asked.options,
            sides=voxels[: samples.dims],
        )

    if typed is not None:
        network = spec_for(typed)
        check_sides(network, [int(side) for side in typed])
        patch = tuple(int(side) for side in typed)
    else:
        for size in _shrinking(typical, edges, samples.dims):
            network = spec_for(size)
            patch = round_sides(network, [int(np.ceil(side)) for side in size])
            if np.prod(patch) <= limit:
                break
        reasons.append(Reason("sampling.patch_size", list(patch), _why_patch(patch, sides, mode, implied, network, accelerator)))
    i, j, k = patch
    return Sizes(network, (i, j, k), mode, tuple(reasons))


def _strides_of(asked: NetworkConfig, features: tuple[int, ...], dims: int) -> tuple[tuple[int, int, int], ...] | None:
    """Return the strides of the model to start from, where it is the same network: its weights fit no others."""
    spec = read_spec(asked.pretrained) if asked.pretrained is not None else None
    if spec is None or (spec.network.name, spec.network.features, spec.network.dims) != (asked.name, features, dims):
        return None
    return spec.network.strides


def _implied_size(samples: Samples, sides: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the one size that the preprocessing brings all scans to, where it does."""
    brought = any(step.name in ("CropOrPad", "Resize") for step in samples.pipeline.enabled)
    return sides[0] if brought and (sides == sides[0]).all() else None


def _features(
    name: str, dims: int, accelerator: Accelerator, shown: NDArray[np.float64], edges: NDArray[np.float64]
) -> tuple[tuple[int, ...], str]:
    if name != "dynunet":
        return network_info(name).features, f"As {name} was published."
    finest, widest = _FILTERS[dims][accelerator]
    strides = plan_strides(_MOST_LEVELS[dims][accelerator], [int(side) for side in shown], edges.tolist(), dims)
    levels = max(network_info(name).levels[0], 1 + sum(max(stride) > 1 for stride in strides))
    features = tuple(min(finest * 2**level, widest) for level in range(levels))
    device = {"cpu": "a CPU", "mps": "this GPU", "cuda": "a GPU"}[accelerator]
    why = f"{levels} levels, as far as a sample of this size can be halved or {device} gains from it; {finest} filters suit {device}."
    return features, why


def _within(typical: NDArray[np.float64], edges: NDArray[np.float64], dims: int, limit: float) -> NDArray[np.float64]:
    size = typical
    for size in _shrinking(typical, edges, dims):
        if size.prod() <= limit:
            break
    return size


def _shrinking(typical: NDArray[np.float64], edges: NDArray[np.float64], dims: int) -> Iterator[NDArray[np.float64]]:
    """Yield the typical size, then smaller and smaller ones: each time the side that is longest in mm is shortened."""
    size = typical.copy()
    size[:dims] = np.maximum(size[:dims], _SMALLEST_SIDE)
    while True:
        yield size.copy()
        shrinkable = np.where(size > _SMALLEST_SIDE, size * edges, 0)
        if not shrinkable.any():
            return
        longest = int(shrinkable.argmax())
        size[longest] = max(_SMALLEST_SIDE, min(size[longest] * 0.9, size[longest] - 1))


def _why_patch(
    patch: tuple[int, ...],
    sides: NDArray[np.float64],
    mode: str,
    implied: NDArray[np.float64] | None,
    network: NetworkSpec,
    accelerator: Accelerator,
) -> str:
    fitting = f", rounded up to what {len(network.features)} levels can halve" if max(network.divisor) > 1 else ""
    if implied is not None:
        return f"The size that the preprocessing brings every scan to{fitting}."
    if mode == "whole":
        return f"The largest of the training cases{fitting}."
    typical = np.median(sides, axis=0)
    share = float(np.prod(np.minimum(patch, typical) / typical))
    if share > 0.95:
        return f"The typical scan{fitting}: the network sees everything at once."
    device = "a CPU" if accelerator == "cpu" else "the GPU"
    hint = "; with a larger spacing it would see more of the body at once" if share < 0.1 else ""
    what = "scan" if network.dims == 3 else "slice"
    return f"As large as {device} trains well{fitting}. It shows {100 * share:.0f} % of a typical {what}{hint}."
