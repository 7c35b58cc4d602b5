"""`summarise`: the layers of a network, and the memory that a step of training needs, without computing anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from napari_seg3d.networks.sides import check_sides
from napari_seg3d.networks.spec import NetworkSpec
from napari_seg3d.networks.zoo import build_network

if TYPE_CHECKING:
    from torch import Tensor, nn

# Numbers of 4 bytes for each weight: itself, its gradient, both moments of Adam, and its moving average.
_NUMBERS_PER_WEIGHT = 5
# Copies of the logits, in 4 bytes each, that a loss makes on its way and back: probabilities, their logarithms, targets, products.
_COPIES_IN_LOSS = 6
# Features as large as the largest that are alive together on the way back: the gradient that comes, the one that goes, and a copy in the
# order that a kernel likes.
_LARGEST_TOGETHER = 3
# A step must leave something for the loader, for fragments between the blocks and for the kernels' own buffers.
_RESERVE = 0.15


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Parameters
    ----------
    name : str
        Where it stands in the network, such as ``down.0.2``.
    kind : str
        Its type, such as ``Conv3d``.
    shape : tuple of int
        Of its output: batch, channels, sides.
    parameters : int
        Its weights.
    forward_bytes : int
        Its output; 0 where it overwrites its input.
    backward_bytes : int
        The gradients of its output and of its weights.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    forward_bytes: int
    backward_bytes: int


@dataclass(frozen=True)
class Summary:
    """A network, layer by layer, for one size of input.

    Parameters
    ----------
    rows : tuple of Layer
        In the order in which they compute.
    parameters : int
        All weights that learn.
    kept_bytes : int
        What the way forward keeps for the way back.
    passing_bytes : int
        The largest gradients that are alive together on the way back, and what the loss needs.
    state_bytes : int
        Weights, gradients, the state of Adam and the moving average.
    """

    rows: tuple[Layer, ...]
    parameters: int
    kept_bytes: int
    passing_bytes: int
    state_bytes: int

    @property
    def forward_bytes(self) -> int:
        """The outputs of all layers together."""
        return sum(row.forward_bytes for row in self.rows)

    @property
    def backward_bytes(self) -> int:
        """The gradients of all layers together; they are not alive at the same time."""
        return sum(row.backward_bytes for row in self.rows)

    @property
    def total_bytes(self) -> int:
        """The estimated peak of a step of training."""
        return self.kept_bytes + self.passing_bytes + self.state_bytes

    def fits(self, free_bytes: int) -> bool:
        """Return whether a step fits into so much free memory, with some left over."""
        return self.total_bytes <= free_bytes * (1 - _RESERVE)


def summarise(
    spec: NetworkSpec, sides: Sequence[int], batch_size: int = 1, precision: Literal["32", "bf16", "16"] = "32"
) -> Summary:
    """Return the layers of a network and what a step of training needs.

    The network runs on the meta device, where tensors have shapes and no values, so that this costs neither time nor memory. What the
    way back needs is what autograd says that it keeps.

    Parameters
    ----------
    spec : NetworkSpec
        The network.
    sides : two or three ints
        Size of a sample; for slices the third, if any, is 1.
    batch_size : int
        Samples per step.
    precision : {"32", "bf16", "16"}
        How features are stored; weights and their gradients have 32 bits always.

    Raises
    ------
    ConfigError
        The network does not take this size.
    """
    import torch

    check_sides(spec, sides)
    network = meta_network(spec).train()
    number = 4 if precision == "32" else 2
    counter = _Counter(network, number)
    image = torch.zeros(batch_size, spec.in_channels, *sides[: spec.dims], device="meta")
    with torch.autograd.graph.saved_tensors_hooks(counter.keep, lambda kept: kept):
        logits = counter.run(image)
    parameters = sum(weight.numel() for weight in network.parameters())
    answered = sum(found.numel() for found in (logits if isinstance(logits, list) else [logits]))
    largest = max(*counter.kept.values(), *(row.forward_bytes for row in counter.rows))
    return Summary(
        tuple(counter.rows),
        parameters,
        kept_bytes=sum(counter.kept.values()),
        passing_bytes=_LARGEST_TOGETHER * largest + answered * 4 * _COPIES_IN_LOSS,
        state_bytes=parameters * (4 * _NUMBERS_PER_WEIGHT + (number if number == 2 else 0)),
    )


def meta_network(spec: NetworkSpec) -> nn.Module:
    """Return a network that has shapes and no values."""
    import torch

    with torch.device("meta"):
        return build_network(spec).to("meta")


class _Counter:
    """Watches a network compute once."""

    def __init__(self, network: nn.Module, number: int) -> None:
        self.rows: list[Layer] = []
        self.kept: dict[int, int] = {}
        self._alive: list[Tensor] = []
        self._network, self._number = network, number
        self._weights = {weight.untyped_storage()._cdata for weight in [*network.parameters(), *network.buffers()]}

    def run(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return what the network makes of an image, having noted each of its layers."""
        watched = [
            module.register_forward_hook(self._noted(name))
            for name, module in self._network.named_modules()
            if not any(True for _ in module.children())
        ]
        try:
            logits: Tensor | list[Tensor] = self._network(image)
        finally:
            for handle in watched:
                handle.remove()
        return logits

    def keep(self, tensor: Tensor) -> Tensor:
        """Count what is kept for the way back, once for each piece of memory, and weights not at all."""
        memory = tensor.untyped_storage()
        if memory._cdata not in self._weights:
            stored = self._number if tensor.is_floating_point() else tensor.element_size()
            self.kept[memory._cdata] = memory.nbytes() // tensor.element_size() * stored
            self._alive.append(tensor)  # or another tensor could get the same address
        return tensor

    def _noted(self, name: str) -> Any:
        def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not hasattr(output, "shape"):
                return
            parameters = sum(weight.numel() for weight in module.parameters())
            size = prod(output.shape) * self._number
            forward = 0 if getattr(module, "inplace", False) or output is inputs[0] else size
            self.rows.append(Layer(name, type(module).__name__, tuple(output.shape), parameters, forward, size + 4 * parameters))

        return note
