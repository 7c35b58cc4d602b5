"""`WeightAverage`: a moving average of the weights, which predicts better than the weights of any one step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class WeightAverage:
    """An exponential moving average of a network's weights and buffers (Polyak and Juditsky, 1992).

    The first steps weigh less than the decay says: after n updates the decay is at most ``(1 + n) / (10 + n)``, so that the average
    forgets the random start, and a short run profits too.

    Parameters
    ----------
    network : torch module
        Whose weights; it is not copied, only they are.
    decay : float
        How much of the average stays at each update, at most.
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self._decay, self._updates = decay, 0
        # A network may list a layer under several names (MONAI's DynUNet does); each tensor is averaged, and swapped, once.
        tensors = {tensor.data_ptr(): name for name, tensor in reversed(network.state_dict().items())}
        live = network.state_dict()
        self._live = {name: live[name].detach() for name in tensors.values()}
        self._average = {name: tensor.clone() for name, tensor in self._live.items()}

    def update(self) -> None:
        """Take the weights of a new step into the average."""
        import torch

        self._updates += 1
        share = 1 - min(self._decay, (1 + self._updates) / (10 + self._updates))
        with torch.no_grad():
            floating = [name for name, tensor in self._live.items() if tensor.is_floating_point()]
            torch._foreach_lerp_([self._average[name] for name in floating], [self._live[name] for name in floating], share)
            for name in self._live.keys() - set(floating):  # counters, of batch norm
                self._average[name].copy_(self._live[name])

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Give the network the average, and its own weights back at the end."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"updates": self._updates, "weights": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the state of another average of the same network."""
        self._updates = state["updates"]
        for name, tensor in self._average.items():
            tensor.copy_(state["weights"][name])

    def _swap(self) -> None:
        import torch

        with torch.no_grad():
            for name, live in self._live.items():
                own = live.clone()
                live.copy_(self._average[name])
                self._average[name].copy_(own)
