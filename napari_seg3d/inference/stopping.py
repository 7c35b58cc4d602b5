"""Stopping a network in the middle of what it computes: of a whole volume, it sees a single window."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled
from napari_seg3d.inference.slabs import convolved
from napari_seg3d.inference.windows import CancelCheck

if TYPE_CHECKING:
    import torch


class StoppableForward(Protocol):
    """Images ``(N, C, *sides)`` to logits ``(N, channels, *sides)``, float32 and on the CPU; raises `Cancelled` in between."""

    def __call__(self, images: NDArray[np.float32], cancelled: CancelCheck | None = None) -> torch.Tensor:
        """Compute them."""


def asking(cancelled: CancelCheck | None, in_slabs: bool = True) -> AbstractContextManager[object]:
    """Return a context in which torch asks before each of its functions that this thread calls, and raises `Cancelled`.

    Networks from elsewhere need to know nothing of it, and what other threads compute is left alone.

    Parameters
    ----------
    cancelled : callable or None
        What is asked.
    in_slabs : bool
        Whether it is also asked within a convolution that takes long, see `convolved`. Not where the functions are only noted down.
    """
    if cancelled is None:
        return nullcontext()
    from torch.overrides import TorchFunctionMode

    class Asking(TorchFunctionMode):
        def __torch_function__(
            self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            stop_if(cancelled)
            if in_slabs and cancelled is not None:
                return convolved(function, args, kwargs or {}, cancelled)
            return function(*args, **kwargs or {})

    return Asking()


def stop_if(cancelled: CancelCheck | None) -> None:
    """Raise `Cancelled` if somebody asked to stop."""
    if cancelled is not None and cancelled():
        raise Cancelled("The prediction was cancelled.")
