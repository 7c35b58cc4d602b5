"""What a step needs, and whether the device has it."""

from __future__ import annotations

import numpy as np

from napari_seg3d.inference import Precision
from napari_seg3d.networks import NetworkSpec, build_network

# Feature maps of each level that are alive at the peak of a step: outputs of convolutions, norms and activations on the way down and
# up, and their gradients. On the low side: a run is refused only when it is hopeless.
_MAPS_PER_LEVEL = 12


def step_bytes(network: NetworkSpec, sides: tuple[int, ...], batch: int, precision: Precision) -> int:
    """Return how many bytes a step of training needs, on the low side."""
    voxels = float(np.prod(sides)) * batch
    needed = 0.0
    for features, stride in zip(network.features, ((1, 1, 1), *network.strides), strict=True):
        voxels /= np.prod(stride)
        needed += voxels * features * _MAPS_PER_LEVEL * (2 if precision == "bf16" else 4)
    return int(needed)


def parameters_of(network: NetworkSpec) -> int:
    """Return the number of weights of a network."""
    import torch

    with torch.device("meta"):
        return sum(weight.numel() for weight in build_network(network).parameters())
