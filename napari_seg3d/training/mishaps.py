"""What went wrong in a step: a number that is none, or no memory left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from napari_seg3d.errors import Seg3dError

if TYPE_CHECKING:
    import torch


class NotFinite(Seg3dError):  # noqa: N818  a fact about a number
    """A loss or gradient is infinite or no number; the weights have not been changed by it.

    Parameters
    ----------
    what : str
        Which of both, and its value.
    batches : sequence of (image, target)
        What the step looked at.
    """

    def __init__(self, what: str, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__(what)
        self.batches = batches


def find_cause(
    network: torch.nn.Module,
    loss_of: Callable[[Any, torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    target: torch.Tensor,
    cases: Sequence[str],
) -> str:
    """Run a batch once more, looking at every number on its way, and say where the first one is that is none.

    Parameters
    ----------
    network : torch module
        As it was in that step.
    loss_of : callable
        Of logits and target.
    image, target : tensors of shape (N, C, ...) and (N, T, ...)
        The batch, on the device of the network.
    cases : sequence of str
        From which case each sample is.

    Returns
    -------
    str
        A sentence; empty when every number is finite this time.
    """
    import torch

    broken = [name for name, weight in network.named_parameters() if not bool(torch.isfinite(weight).all())]
    if broken:
        return f"The weights themselves were no numbers any more ({broken[0]})."
    finite = [bool(torch.isfinite(one).all()) for one in image]
    if not all(finite):
        return f"The input holds values that are no numbers: {_names(cases, finite)}."
    first_layer: list[str] = []
    handles = [
        module.register_forward_hook(_watch(name, first_layer))
        for name, module in network.named_modules()
        if name and not list(module.children())
    ]
    try:
        network.zero_grad(set_to_none=True)
        logits = network(image)
        highest = logits[0] if isinstance(logits, list) else logits
        if first_layer:
            finite = [bool(torch.isfinite(one).all()) for one in highest]
            seen = f", for {_names(cases, finite)}" if not all(finite) else ""
            return f"The output of the layer {first_layer[0]} was no number any more{seen}."
        loss = loss_of(logits, target)
        if not bool(torch.isfinite(loss)):
            levels = logits if isinstance(logits, list) else [logits]
            alone = [loss_of([level[n : n + 1] for level in levels], target[n : n + 1]) for n in range(len(image))]
            return f"The loss of finite outputs was no number: {_names(cases, [bool(torch.isfinite(one)) for one in alone])}."
        loss.backward()  # type: ignore[no-untyped-call]
        for name, weight in network.named_parameters():
            if weight.grad is not None and not bool(torch.isfinite(weight.grad).all()):
                return f"The gradient was no number any more, first at {name}, from a loss of {float(loss):.4g}."
        return ""
    finally:
        for handle in handles:
            handle.remove()
        network.zero_grad(set_to_none=True)


def _watch(name: str, found: list[str]) -> Callable[..., None]:
    import torch

    def look(module: torch.nn.Module, _input: Any, output: Any) -> None:
        if not found and isinstance(output, torch.Tensor) and not bool(torch.isfinite(output).all()):
            found.append(f"{name} ({type(module).__name__})")

    return look


def _names(cases: Sequence[str], finite: Sequence[bool]) -> str:
    names = sorted({case for case, good in zip(cases, finite, strict=True) if not good}) or sorted(set(cases))
    return ", ".join(names)
