"""Which memory layout, and whether compiling, makes the steps faster here: measured, because devices and networks differ."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_seg3d.inference.device import is_out_of_memory
from napari_seg3d.training.config import DeviceConfig

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

_TIMED_STEPS = 2
# Beside so long a step the choice of kernels is nothing: the first one says enough.
_LONG_STEP = 3.0
# Compiling takes a minute or more, and pays only over many steps.
_SHORTEST_RUN_TO_COMPILE = 1800.0


@dataclass(frozen=True)
class Layout:
    """How the network lies in memory and runs.

    Parameters
    ----------
    channels_last : bool
        Whether the channels of a voxel lie side by side.
    compiled : bool
        Whether torch compiles the network.
    """

    channels_last: bool = True
    compiled: bool = False


def choose_layout(
    wishes: DeviceConfig, deterministic: bool, budget: float, network: torch.nn.Module, shape: tuple[int, ...], fabric: Fabric
) -> Layout:
    """Return the layout that a config asks for, or the faster one.

    Parameters
    ----------
    wishes : DeviceConfig
        What was asked for.
    deterministic : bool
        Nothing is measured: repetitions must choose the same.
    budget : float
        Seconds that the run will take.
    network : torch module
        On its device.
    shape : tuple of int
        Of a batch: ``(N, C, *sides)``.
    fabric : Fabric
        Its device and precision.
    """
    import torch

    channels_last, compiled = wishes.channels_last == "on", wishes.compile == "on"
    # Measured on a copy: running means and random numbers shall not know of it.
    with torch.random.fork_rng():
        if wishes.channels_last == "auto":
            channels_last = deterministic or _seconds(network, shape, fabric, True) <= _seconds(network, shape, fabric, False)
        if wishes.compile == "auto" and not deterministic and budget >= _SHORTEST_RUN_TO_COMPILE:
            plain = _seconds(network, shape, fabric, channels_last)
            compiled = _seconds(network, shape, fabric, channels_last, as_compiled) < plain
    return Layout(channels_last, compiled)


def arrange(network: torch.nn.Module, channels_last: bool) -> None:
    """Lay out the weights of a network in memory; their numbers stay."""
    for parameter in network.parameters():
        if parameter.ndim in (4, 5):
            parameter.data = parameter.data.contiguous(memory_format=memory_format(parameter, channels_last))


def memory_format(tensor: torch.Tensor, channels_last: bool) -> torch.memory_format:
    """Return torch's name of the layout of a batch of slices or volumes."""
    import torch

    if not channels_last:
        return torch.contiguous_format
    return torch.channels_last_3d if tensor.ndim == 5 else torch.channels_last


def as_compiled(network: torch.nn.Module) -> Any:
    """Return a network that torch compiles at its first use."""
    import torch

    return torch.compile(network)


def _seconds(
    network: torch.nn.Module,
    shape: tuple[int, ...],
    fabric: Fabric,
    channels_last: bool,
    prepared: Callable[[torch.nn.Module], Any] = lambda network: network,
) -> float:
    """Return how long a step forward and backward takes; infinite where it does not work at all."""
    import torch

    copied = copy.deepcopy(network)
    arrange(copied, channels_last)
    try:
        model = prepared(copied)
        image = torch.zeros(shape, device=fabric.device)
        image = image.contiguous(memory_format=memory_format(image, channels_last))
        fastest = float("inf")
        # The first one also chooses kernels, and compiles.
        for step in range(1 + _TIMED_STEPS):
            start = time.perf_counter()
            with fabric.autocast():
                output = model(image)
            levels = output if isinstance(output, list) else [output]
            sum(level.float().square().mean() for level in levels).backward()
            if fabric.device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - start
            if step > 0 or seconds > _LONG_STEP:
                fastest = min(fastest, seconds)
            if seconds > _LONG_STEP and prepared is not as_compiled:
                break
        return fastest
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) and prepared is not as_compiled:
            raise
        return float("inf")
