"""What a step needs, and whether the device has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_seg3d.inference import Precision
from napari_seg3d.networks import NetworkSpec, summarise

# A step must leave something for the loader, for fragments between the blocks and for the kernels' own buffers.
_RESERVE = 0.15


@dataclass(frozen=True)
class Needs:
    """What training a network needs.

    Parameters
    ----------
    parameters : int
        Its weights.
    constant : int
        Bytes for the weights, their gradients and what the optimiser keeps of each.
    per_sample : int
        Bytes for each sample of a step.
    """

    parameters: int
    constant: int
    per_sample: int

    def bytes(self, batch: int) -> int:
        """Return the bytes at the peak of a step."""
        return self.constant + batch * self.per_sample

    def most(self, free: float) -> int:
        """Return how many samples fit into so many bytes, with some left over; 0 where not even one does."""
        return max(0, int((free * (1 - _RESERVE) - self.constant) // self.per_sample))


def needs_of(network: NetworkSpec, sides: Sequence[int], precision: Precision) -> Needs:
    """Return what training a network on samples of this size needs, without computing anything."""
    summary = summarise(network, sides, 1, precision)
    return Needs(summary.parameters, summary.state_bytes, summary.total_bytes - summary.state_bytes)
